#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an access sees when it waits over a crash: one of each kind, over the death of the worker, and
over that of supervisor and worker together. test_crash.py has the plain cases, test_deaths.py each
kind of death, test_storm.py the many."""

import os
import time

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import
from support.outlive import FdStoreTest, OutliveTest

PER_FILESYSTEM = True

SCRIPT = b'#!/bin/sh\necho ran\n'


class Accesses(OutliveTest):
    """One of each kind, all waiting at once, and the worker is killed under them, twice."""

    def test_every_kind_of_access(self):
        data = {name: noise(9000 + 1000 * i, i) for i, name in enumerate(
            ('read', 'pread', 'mmap', 'uring', 'sendfile', 'copy', 'append', 'write', 'cut', 'zero'))}
        data['script'] = SCRIPT
        with open('/bin/true', 'rb') as f:
            data['elf'] = f.read()
        name = self.gated(data)
        for program in ('script', 'elf'):
            os.chmod(self.file(program), 0o755)
        self.gate.rule(name + '/*', 'hold')
        out = os.path.join(self.world.new_directory('copy'), 'copy')
        readers = {
            'read': ['cat', self.file('read')],
            'pread': [ACCESS, 'pread', self.file('pread')],
            'mmap': [ACCESS, 'mmap-private', self.file('mmap')],
            'uring': [ACCESS, 'uring', self.file('uring')],
            'sendfile': [ACCESS, 'sendfile', self.file('sendfile')],
            'copy': ['cp', self.file('copy'), out],
            'append': ['sh', '-c', 'printf END >>"$1"', 'sh', self.file('append')],
            'write': [ACCESS, 'write-at', self.file('write'), '4100', 'USER'],
            'cut': [ACCESS, 'truncate', self.file('cut'), '5000'],
            'zero': [ACCESS, 'truncate', self.file('zero'), '0'],
            'script': ['sh', '-c', 'exec "$1"', 'sh', self.file('script')],
            'elf': ['sh', '-c', 'exec "$1"', 'sh', self.file('elf')],
        }
        running = {kind: self.spawn(argv) for kind, argv in readers.items()}
        self.pending(len(readers))
        self.die()
        self.pending(len(readers))  # all of them are the new worker's
        self.die()
        self.pending(len(readers))
        self.gate.release()
        for kind, process in running.items():
            with self.subTest(kind):
                want = data[kind] if kind in ('read', 'pread', 'mmap', 'uring', 'sendfile') else None
                got = self.served(process, want)
                if kind == 'script':
                    self.assertEqual(got, b'ran\n')
        with open(out, 'rb') as f:
            self.assertBytes(f.read(), data['copy'], 'the copy')
        after = {'append': data['append'] + b'END',
                 'write': data['write'][:4100] + b'USER' + data['write'][4104:],
                 'cut': data['cut'][:5000], 'zero': b''}
        for kind in data:
            self.assertBytes(self.read(self.file(kind)), after.get(kind, data[kind]), kind)
        self.no_event_left()

    def test_ranges(self):
        """Readers of parts of large files wait in the middle of them."""
        data = {'f%d' % i: noise(3 * MIB, i) for i in range(4)}
        name = self.gated(data, hydration='ranges')
        self.gate.rule(name + '/*', 'hold')
        running = []
        for i, file in enumerate(data):
            for offset in (0, MIB + 5000 * i, 2 * MIB + 123, 3 * MIB - 4000):
                running.append((file, offset, self.spawn(
                    [ACCESS, 'pread-at', self.file(file), str(offset), '70000'])))
        self.pending(len(data))
        for _ in range(3):
            self.die()
        self.gate.release()
        for file, offset, process in running:
            self.served(process, data[file][offset:offset + 70000])
        for file in data:
            self.assertBytes(self.read(self.file(file)), data[file], file)

    def test_version_switch(self):
        """The remote has new versions of what is half here, is whole, or was never read; the worker
        dies again and again while they are taken."""
        old = {'f%d' % i: noise(200000 + i, i) for i in range(40)}
        new = {name: noise(210000 + i, 1000 + i) for i, name in enumerate(old)}
        name = self.gated(old)
        for file in list(old)[:20]:
            self.read(self.file(file))
        root = os.path.join(self.gate.root, name)
        for i, (file, data) in enumerate(new.items()):
            put(os.path.join(root, file), data, mtime=1700000000 + i)
        refresh = self.spawn(['busctl', '--address=' + self.bus.address, 'call', BUS_NAME, ROOT_OBJECT,
                              MANAGER, 'Refresh', 'sb', self.file(), 'true'])
        readers = [(file, self.spawn(['cat', self.file(file)])) for file in list(new)[::3]]
        for _ in range(4):
            self.die()
            time.sleep(0.02)
        for file, reader in readers:
            out = self.served(reader)
            self.assertIn(out, (old[file], new[file]), 'a mix of two versions of ' + file)
        refresh.kill()
        self.settled(name)
        self.store.refresh(self.file())
        for file, data in new.items():
            wait_until(lambda file=file, data=data: os.stat(self.file(file)).st_size == len(data),
                       file + ' is of the new size')
            self.assertBytes(self.read(self.file(file)), data, file)


class BothKilled(FdStoreTest, Accesses):
    """Every kind of access again, over the death of supervisor and worker together."""


if __name__ == '__main__':
    main()
