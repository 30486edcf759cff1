#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What test_changes does not do on each file system, since it takes its time."""

import os
import shutil
import time

import test_changes
from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import


class Many(test_changes.DropboxChanges):

    def test_10000_files_moved(self):
        """A folder with 10,000 files, 50 of them here."""
        self.dropbox({'do': 'bulk', 'path': '/many', 'count': 10000, 'folder': 10000})
        for i in range(50):
            self.assertBytes(self.read(self.file('many/D0000/File %06d.txt' % (i * 200))), b'%d\n' % (i * 200))
        before, began = self.downloads(), time.monotonic()
        self.control({'do': 'move', 'path': '/many', 'to': '/moved'})
        wait_until(lambda: not os.path.exists(self.file('many')), 'the old place is gone')
        wait_until(lambda: os.path.exists(self.file('moved/D0000')) and
                   len(self.names('moved/D0000')) == 10000, 'all are at the new place')
        print('# 10,000 files moved in %.1f s' % (time.monotonic() - began))
        self.assertEqual(os.listdir(self.store.file('.cloudsync/staging')), [])
        fetched = self.downloads()
        for i in range(50):
            self.assertBytes(self.read(self.file('moved/D0000/File %06d.txt' % (i * 200))), b'%d\n' % (i * 200))
        # What is fetched ahead of a reader counts as well: but of those that were here none is.
        self.assertEqual(fetched, before)
        wait_until(lambda: not self.attic(), 'the attic is empty', 60)


class Polled(test_changes.WebChanges):

    def test_by_the_clock(self):
        """refresh=10: what changes at a web server is seen without a call, all over the tree; a file
        that a user changed stays."""
        files = {'d%d/e%d/f%d' % (i % 7, i % 5, i): noise(100, i) for i in range(70)}
        self.engine(files, refresh='10')
        self.read(self.file('d0/e0/f0'))
        access('append', self.file('d0/e0/f0'), 'mine')
        put(self.remote('d1/e1/f1'), noise(200, 1), mtime=1650000000)
        put(self.remote('new/f'), b'new')
        os.unlink(self.remote('d2/e2/f2'))
        wait_until(lambda: os.stat(self.file('d1/e1/f1')).st_size == 200, 'the new version')
        wait_until(lambda: os.path.exists(self.file('new/f')), 'the new directory')
        wait_until(lambda: not os.path.exists(self.file('d2/e2/f2')), 'removed')
        self.assertBytes(self.read(self.file('d0/e0/f0')), noise(100, 0) + b'mine')
        for bad in ('9', 'often', '0x10', ''):
            result = self.store.register('bad', 'httpfs', 'bad', {'url': 'http://127.0.0.1:9/', 'refresh': bad},
                                         check=False)
            self.assertNotEqual(result.returncode, 0, bad)
            self.assertIn('refresh is 0, or from 10 to 2592000 seconds', result.stderr)


class Complete(GateTest):

    def test_complete_during_a_poll(self):
        """A refresh by the clock may bring a directory at any moment, and be killed before the daemon itself
        knows of it: so the next start must look for such, or it would be read as empty."""
        engine = self.gated({'d/f': b'x'}, refresh='10')
        complete = self.store.file('.cloudsync/complete')
        if self.store.fs != 'btrfs':  # there by a clean stop alone
            wait_until(lambda: os.path.exists(complete), 'nothing is pending')
        self.gate.rule(engine + '/d/', 'hold')
        self.gate.wait_waiting()
        self.assertFalse(os.path.exists(complete), 'what is new may be unlisted at any moment')
        self.gate.release()
        if self.store.fs != 'btrfs':
            wait_until(lambda: os.path.exists(complete), 'nothing is pending again')


class Orphan(GateTest):

    def test_moved_before_it_was_listed_and_gone(self):
        """A user moves a directory that is not here yet, and the remote removes it: in the end it is the user's,
        and keeps nobody waiting for it."""
        name = self.unique()
        self.gate.rule(name + '/d/', 'hold')
        self.gated({'d/f': b'x', 'stays': b'x'}, wait=None)
        self.gate.wait_waiting()
        os.rename(self.file('d'), self.store.file('mine'))
        shutil.rmtree(os.path.join(self.gate.root, name, 'd'))
        self.gate.release()
        self.store.wait_state(name)
        self.assertEqual(isolated(lambda: os.listdir(self.store.file('mine'))), [])
        put(self.store.file('mine/own'), b'own')


if __name__ == '__main__':
    main()
