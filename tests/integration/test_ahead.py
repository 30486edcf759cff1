#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Small files fetched ahead of a program that walks a tree: in its order, and no other."""

import os

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

PER_FILESYSTEM = True
FILES = {'d%d/f%d' % (i // 10, i): noise(2000 + i * 13, i) for i in range(40)}


def in_order(path):
    """Every file below it, in the order in which tar and grep -r meet them."""
    found = []
    with os.scandir(path) as entries:
        for entry in entries:
            found += in_order(entry.path) if entry.is_dir() else [entry.path]
    return found


def read_all(paths):
    """By one thread, as a program does."""
    def read():
        data = []
        for path in paths:
            with open(path, 'rb') as f:
                data.append(f.read())
        return data
    return isolated(read)


class Ahead(CloudsyncTest):
    def original(self, path):
        return FILES[os.path.relpath(path, self.file())]

    def cold(self, paths):
        return [p for p in paths if os.stat(p).st_blocks == 0]

    def test_a_walk_is_fetched_ahead(self):
        self.engine(FILES)
        paths = in_order(self.file())
        self.assertEqual(len(self.cold(paths)), len(FILES))
        for path, data in zip(paths, read_all(paths[:2])):
            self.assertBytes(data, self.original(path), path)
        wait_until(lambda: not self.cold(paths), 'the rest of the tree is here')
        self.assertEqual(len(self.web.gets(self.engines[-1])), len(FILES), 'something came twice')
        for path, data in zip(paths, read_all(paths)):
            self.assertBytes(data, self.original(path), path)

    def test_another_order_is_not(self):
        self.engine(FILES)
        paths = in_order(self.file())[::-1]
        read_all(paths[:8])
        self.store.status(paths[0])  # what the daemon began before this would be asked for by now
        self.assertEqual(len(self.web.gets(self.engines[-1])), 8)

    def test_one_thread_for_each_file_is_not(self):
        self.engine(FILES)
        for path in in_order(self.file())[:6]:
            self.assertBytes(self.read(path), self.original(path), path)
        self.assertEqual(len(self.web.gets(self.engines[-1])), 6)

    def test_other_engines_are_left_alone(self):
        prefix = self.unique()
        first = self.engine(FILES, prefix=prefix + '/a')
        other = self.engine({'x%d' % i: noise(3000, i) for i in range(10)}, prefix=prefix + '/b')
        paths = in_order(self.store.file(prefix + '/a'))
        read_all(paths)
        self.assertEqual(self.web.gets(other), [])
        self.assertEqual(len(self.web.gets(first)), len(FILES))

    def test_large_files_are_left_alone(self):
        files = {'f%02d' % i: noise(3 * MIB if i % 2 else 1000, i) for i in range(12)}
        self.engine(files)
        paths = in_order(self.file())
        small = [p for p in paths if os.stat(p).st_size < MIB]
        read_all(small)
        self.assertEqual(len(self.cold(paths)), 6)
        self.assertEqual(len(self.web.gets(self.engines[-1])), 6)


if __name__ == '__main__':
    main()
