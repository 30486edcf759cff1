#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Dropbox in the store: the real daemon and host, the dropbox module, and a Dropbox API server
(tests/servers/dropbox_api.py)."""

import errno
import os
import random
import re
import time

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import
from support.dropbox import DropboxTest, made_up


def hosts_below(worker):
    """The engine hosts that this worker has started."""
    try:
        with open('/proc/%d/task/%d/children' % (worker, worker), encoding='ascii') as f:
            return [int(pid) for pid in f.read().split()]
    except FileNotFoundError:
        return []


class Dropbox(DropboxTest):

    def test_tree(self):
        self.dropbox({'do': 'write', 'path': '/Docs/A file.txt', 'text': 'hello', 'modified': 1600000000},
                     {'do': 'write', 'path': '/Docs/D\u00e4ep/big', 'seed': 'big', 'size': 20 * MIB + 5},
                     {'do': 'write', 'path': '/empty', 'text': ''},
                     {'do': 'mkdir', 'path': '/Nothing'},
                     {'do': 'bulk', 'path': '/many', 'count': 500, 'folder': 100})
        self.await_names(['Docs', 'Nothing', 'empty', 'many'])
        self.assertEqual(self.names('Docs'), ['A file.txt', 'D\u00e4ep'])
        path = self.file('Docs', 'A file.txt')
        self.assertCold(path, 5)
        self.assertEqual(os.stat(path).st_mtime, 1600000000)
        self.assertBytes(self.read(path), b'hello')
        big = self.file('Docs', 'D\u00e4ep', 'big')
        self.assertCold(big, 20 * MIB + 5)
        self.assertBytes(self.read(big), made_up('big', 20 * MIB + 5))
        for i in range(0, 500, 7):
            self.assertBytes(self.read(self.file('many', 'D%04d' % (i // 100), 'File %06d.txt' % i)), b'%d\n' % i)

    def test_changes(self):
        self.dropbox({'do': 'write', 'path': '/Folder/one', 'text': 'one'},
                     {'do': 'write', 'path': '/Folder/two', 'seed': 'two', 'size': 100000})
        self.await_names(['one', 'two'], 'Folder')
        self.assertBytes(self.read(self.file('Folder', 'one')), b'one')
        self.control({'do': 'write', 'path': '/Folder/Sub/three', 'text': 'three'},
                     {'do': 'write', 'path': '/Folder/one', 'text': 'another one'})
        wait_until(lambda: 'Sub' in self.names('Folder'), 'the new folder is there')
        wait_until(lambda: self.read(self.file('Folder', 'one')) == b'another one', 'the change is there')
        self.assertBytes(self.read(self.file('Folder', 'Sub', 'three')), b'three')

    def test_changes_over_kills(self):
        """No change is lost, whoever is killed while it is on its way into the store."""
        chance = random.Random(4711)
        want = {'d%d' % i: ['first'] for i in range(4)}
        self.dropbox(*({'do': 'write', 'path': '/%s/first' % d, 'text': 'x'} for d in want))
        self.await_names(sorted(want))
        for directory in want:
            self.assertEqual(self.names(directory), ['first'])
        for i in range(16):
            directory = chance.choice(sorted(want))
            if chance.random() < 0.3 and len(want[directory]) > 1:
                self.control({'do': 'remove', 'path': '/%s/%s' % (directory, want[directory].pop())})
            else:
                self.control({'do': 'write', 'path': '/%s/n%02d' % (directory, i), 'text': '%d' % i})
                want[directory].append('n%02d' % i)
            time.sleep(chance.random() * 0.08)  # somewhere on the way
            if i % 2:
                self.store.kill_worker()
            else:
                for pid in hosts_below(self.store.worker_pid()):
                    os.kill(pid, signal.SIGKILL)
        for directory, names in want.items():
            self.await_names(sorted(names), directory)
            for name in names:
                if name != 'first':
                    self.assertBytes(self.read(self.file(directory, name)), b'%d' % int(name[1:]))

    def test_change_dies_with_the_worker(self):
        """The engine has told of a change, and the worker is killed before it has heard: it is told again."""
        self.dropbox({'do': 'write', 'path': '/d/first', 'text': 'x'})
        self.await_names(['d'])
        self.assertEqual(self.names('d'), ['first'])
        polls = lambda: self.calls('files/list_folder/longpoll')
        wait_until(lambda: polls() > 0, 'the engine waits for changes')
        worker, before = self.store.worker_pid(), polls()
        os.kill(worker, signal.SIGSTOP)
        try:
            self.control({'do': 'write', 'path': '/d/second', 'text': 'y'})
            wait_until(lambda: polls() > before, 'the engine has taken it, and waits for the next one')
        finally:
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: self.store.worker_pid() != worker, 'there is a new worker')
        self.await_names(['first', 'second'], 'd')
        self.assertBytes(self.read(self.file('d', 'second')), b'y')

    def test_wrong_content(self):
        """A byte that is not the one that Dropbox hashed is never read."""
        engine = self.dropbox({'do': 'write', 'path': '/small', 'seed': 's', 'size': 1000},
                     {'do': 'write', 'path': '/medium', 'seed': 'm', 'size': 2 * MIB},
                     {'do': 'write', 'path': '/large', 'seed': 'l', 'size': 40 * MIB})
        self.await_names(['large', 'medium', 'small'])
        for name, size in (('small', 1000), ('medium', 2 * MIB), ('large', 40 * MIB)):
            with self.subTest(file=name):
                self.control({'do': 'fault', 'route': 'files/download', 'count': 1, 'corrupt': 500})
                self.assertBytes(self.read(self.file(name)), made_up(name[0], size))
        self.assertEqual(self.store.engine_property(engine, 'ChecksumErrors'), 3)
        status = run([CTL, '--bus', self.bus.address, 'status'], text=True).stdout
        self.assertIn("3 fetches brought content without the remote's checksum", status)
        # A server that does it always: an error, and no wrong byte afterwards either.
        self.control({'do': 'write', 'path': '/never', 'seed': 'n', 'size': 2 * MIB})
        self.await_names(['large', 'medium', 'never', 'small'])
        self.control({'do': 'fault', 'route': 'files/download', 'count': 1000, 'corrupt': 500})
        self.assertEqual(self.read_error(self.file('never')), errno.EIO)
        self.control({'do': 'no_faults'})
        self.assertBytes(self.read(self.file('never')), made_up('n', 2 * MIB))

    def test_host_killed(self):
        """A large file of which an engine process that was killed had brought a part: verified all the same."""
        size, cut = 9 * MIB, 9 * MIB  # 4.5 MiB arrive: one block of Dropbox's hash, and a part of the second
        engine = self.dropbox(*({'do': 'write', 'path': '/%d' % i, 'seed': 's%d' % i, 'size': size} for i in range(3)))
        self.await_names(['0', '1', '2'])
        for i, corrupt in enumerate((None, 1000, 4 * MIB + 300000)):
            with self.subTest(corrupt=corrupt):
                fault = {'do': 'fault', 'route': 'files/download', 'cut': cut, 'stall': 20}
                self.control(fault if corrupt is None else {**fault, 'corrupt': corrupt})
                errors = self.store.engine_property(engine, 'ChecksumErrors')
                fetched = self.store.engine_property(engine, 'BytesFetched')
                reader = self.spawn(['cat', self.file(str(i))])
                wait_until(lambda: self.store.engine_property(engine, 'BytesFetched') - fetched >= cut // 2 - 256 * KIB,
                           'half of it is here')
                os.kill(self.store.host_pid(engine), signal.SIGKILL)
                status, out, err = finish(reader)
                self.assertEqual(status, 0, err)
                self.assertBytes(out, made_up('s%d' % i, size))
                self.assertEqual(self.store.engine_property(engine, 'ChecksumErrors') - errors, 0 if corrupt is None else 1)
                if corrupt is None:
                    with urllib.request.urlopen(self.hosts['www'] + '/.control') as answer:
                        ranges = json.load(answer)['ranges']
                    self.assertEqual(ranges, [None, 'bytes=%d-%d' % (4 * MIB, size - 1)])  # a part of one block twice


class Many(DropboxTest):
    """CLOUDSYNC_TEST_ENTRIES=300000 for more than what fits in a quick test."""

    COUNT = int(os.environ.get('CLOUDSYNC_TEST_ENTRIES') or 12000)
    SIZE = '%dM' % (1024 + COUNT // 25)

    def resident(self, pid):
        with open('/proc/%d/status' % pid, encoding='ascii') as f:
            return int(re.search(r'VmRSS:\s+(\d+)', f.read())[1]) / 1024

    def test_many(self):
        """How far it is can be seen, and memory does not grow with the account."""
        name = self.dropbox({'do': 'bulk', 'path': '/many', 'count': self.COUNT, 'folder': 250}, login=False)
        self.store.wait_state(name, 'needs-login')
        worker, host = self.store.worker_pid(), self.store.host_pid(name)
        before = self.resident(worker), self.resident(host)
        begin = time.monotonic()
        self.login(name)
        seen, details = set(), set()

        def ready():
            seen.add((self.store.engine_property(name, 'DirectoriesListed'),
                      self.store.engine_property(name, 'DirectoriesPending')))
            details.add(self.store.engine_property(name, 'StateDetail'))
            return self.store.engine_state(name) == 'ready'
        wait_until(ready, 'all is listed', timeout=60 + self.COUNT / 1000)
        took = time.monotonic() - begin
        after = self.resident(worker), self.resident(host)
        print('# %d entries: %.1f s; MiB resident, daemon %.1f more, host %.1f more; %d steps seen, last: %s' % (
            self.COUNT, took, after[0] - before[0], after[1] - before[1], len(seen), max(details, key=len)))
        listed = self.store.engine_property(name, 'DirectoriesListed')
        self.assertGreaterEqual(listed, self.COUNT // 250 + 2)
        self.assertTrue([1 for done, left in seen if 0 < done < listed and left > 0], 'on the way: %s' % seen)
        if SLOW == 1:  # a sanitizer keeps what is freed
            self.assertLess(after[0] - before[0], 64)
            self.assertLess(after[1] - before[1], 64)
        self.assertEqual(len(self.names('many')), (self.COUNT + 249) // 250)
        self.assertEqual(len(self.names('many', 'D0007')), 250)
        self.assertCold(self.file('many', 'D0007', self.names('many', 'D0007')[0]))


if __name__ == '__main__':
    main()
