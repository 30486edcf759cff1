#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Listings that do not see all: what is not seen is not removed, and a directory that cannot be listed says
so, soon."""

import errno
import os
import time

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

PER_FILESYSTEM = True


class Unseen(GateTest):
    """Each file is asked for by HEAD, and some of those fail."""

    CONFIG = {'Hydration': {'FullBelow': '1M', 'Deadline': '12'}}
    COUNT = 200

    def listed(self, wait='ready'):
        """An engine whose files f0, f1, … are listed without dates; f0 is whole, if it is ready."""
        name = self.unique()
        self.content = {'f%d' % i: noise(1000 + i, i) for i in range(self.COUNT)}
        self.origin(self.content, os.path.join(self.gate.root, name))
        self.gate.rule(name + '/', 'inexact')
        return self.engine(name=name, url=self.gate.url(name + '/'), wait=wait)

    def head(self, name, status):
        self.gate.rule('%s/%s' % (self.unique_name, name), 'status', status=status, method='HEAD')

    def setUp(self):
        super().setUp()
        self.unique_name = self.unique()

    def names(self):
        return sorted(os.listdir(self.file()))

    def refresh(self):
        return self.store.call('Refresh', 'sb', self.prefix, 'true', check=False)

    def test_refused_is_not_removed(self):
        """401, 403, an answer without sense, and 500 for a few (204 is answered by GET): those files stay, whole or not, and the
        rest of the directory goes on as if nothing were."""
        engine = self.listed()
        self.read(self.file('f0'))
        skipped = self.store.engine_property(engine, 'EntriesSkipped')
        for name, status in (('f0', 403), ('f1', 401), ('f2', 400), ('f3', 500), ('f4', 204)):
            self.head(name, status)
        self.head('unseen', 403)
        put(os.path.join(self.gate.root, engine, 'unseen'), b'?')
        os.unlink(os.path.join(self.gate.root, engine, 'f5'))
        put(os.path.join(self.gate.root, engine, 'new'), b'new')
        self.assertEqual(self.refresh().returncode, 0)
        self.assertEqual(self.names(), sorted({*self.content, 'new'} - {'f5'}))
        self.assertEqual(self.store.engine_property(engine, 'EntriesSkipped'), skipped + 5)
        for name in ('f0', 'f1', 'f2', 'f3', 'f4'):
            self.assertBytes(self.read(self.file(name)), self.content[name])
        self.gate.release()
        self.assertEqual(self.refresh().returncode, 0)
        self.assertEqual(self.names(), sorted({*self.content, 'new', 'unseen'} - {'f5'}))

    def test_all_refused(self):
        """The credentials do not count any more: nothing is gone."""
        self.listed()
        self.head('*', 403)
        self.assertEqual(self.refresh().returncode, 0)
        self.assertEqual(self.names(), sorted(self.content))

    def test_gone_is_removed(self):
        self.listed()
        self.head('f1', 404)
        self.head('f2', 410)
        self.assertEqual(self.refresh().returncode, 0)
        self.assertEqual(self.names(), sorted(set(self.content) - {'f1', 'f2'}))

    def test_busy_fails_the_refresh(self):
        """503 for one: nothing is removed, and whoever asked is told; what is new is there."""
        engine = self.listed()
        self.head('f1', 503)
        os.unlink(os.path.join(self.gate.root, engine, 'f5'))
        put(os.path.join(self.gate.root, engine, 'new'), b'new')
        began = time.monotonic()
        self.assertNotEqual(self.refresh().returncode, 0)
        self.assertLess(time.monotonic() - began, 40 * SLOW)
        self.assertEqual(self.names(), sorted({*self.content, 'new'}))
        self.gate.release()
        self.assertEqual(self.refresh().returncode, 0)
        self.assertEqual(self.names(), sorted({*self.content, 'new'} - {'f5'}))

    def test_busy_fails_the_first_listing(self):
        """A directory of which one file cannot be told is not shown without it: EIO after the
        deadline, however often the rest of it was told meanwhile. By their names the others are there."""
        self.head('f1', 503)
        engine = self.listed(wait=None)
        begin = time.monotonic()
        self.assertEqual(isolated(self.attempt_list), errno.EIO)
        self.assertLess(time.monotonic() - begin, 40 * SLOW)
        self.assertBytes(self.read(self.file('f7')), self.content['f7'])
        self.assertFalse(os.path.lexists(self.file('f1')))
        self.gate.release()
        self.assertEqual(self.refresh().returncode, 0)
        self.store.wait_state(engine)
        self.assertEqual(self.names(), sorted(self.content))

    def attempt_list(self):
        try:
            os.listdir(self.file())
        except OSError as e:
            return e.errno
        return 0


if __name__ == '__main__':
    main()
