#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the guard (src/guard) costs those who have nothing to do with it: instructions, counted."""

import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'integration'))

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import,wrong-import-position
from cloud import STORE, CloudCase  # pylint: disable=wrong-import-position

PER_FILESYSTEM = False
TIMEOUT = 1200
SHORT = None

GUARD = '/usr/libexec/cloudsync-guard'
COST = '/usr/lib/cloudsync-vm/cost'

# The most that it may add elsewhere, instructions: to a read, an open, a mmap; to a whole file of 8 KiB,
# which is an open and two reads. (A program that does nothing adds 165 already.)
ONE, WHOLE = 220, 660
RUNS = 6


class Cost(CloudCase):
    MACHINE = {'guard': True, 'counts': True}
    BOOT = 'lsm=landlock,lockdown,yama,integrity,apparmor,bpf'

    def cost(self, path):
        """The least of several: where the kernel's allocator finds its memory differs from process to process."""
        least = {}
        for _ in range(RUNS):
            for line in self.machine.run(COST, path).stdout.splitlines():
                name, count = line.split()
                least[name] = min(int(count), least.get(name, sys.maxsize))
        return least

    def test_cost(self):
        self.cloud.engine('docs', files=1, big=1)
        places = {'ext4': '/var/tmp/file', 'tmpfs': '/run/file', 'the store, a whole file': STORE + '/docs/big0',
                  "the store, a user's own": STORE + '/own'}
        for place in places.values():
            if '/docs/' not in place:
                self.machine.sh('head -c 8192 /dev/urandom >"$1"', place)
        self.machine.run('cat', STORE + '/docs/big0')
        self.machine.run('sleep', '20')  # until it is WHOLE, and silent
        with_guard, without = {}, {}
        for path in places.values():
            with_guard[path] = self.cost(path)
        self.machine.run(GUARD, 'unload')
        self.machine.run('sleep', '10')  # the kernel detaches programs when it has time
        for path in places.values():
            without[path] = self.cost(path)
        self.machine.run(GUARD, 'load')
        for place, path in places.items():
            before, after = without[path], with_guard[path]
            print('# %s: %s' % (place, ', '.join('%s %d %+d (%+.1f %%)' % (
                name, n, after[name] - n, 100 * (after[name] - n) / n) for name, n in before.items())), file=sys.stderr)
        for place, path in places.items():
            added = {name: with_guard[path][name] - n for name, n in without[path].items()}
            self.assertLess(abs(added.pop('stat')), 20, place)
            if not path.startswith(STORE):
                self.assertLess(added.pop('whole'), WHOLE, place)
                self.assertLess(max(added.values()), ONE, place)


if __name__ == '__main__':
    main()
