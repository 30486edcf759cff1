# SPDX-License-Identifier: LGPL-2.1-or-later
"""Times, medians, and what a row of the table is."""

import dataclasses
import os
import statistics
import time

from support.processes import run

median = statistics.median


@dataclasses.dataclass
class Row:
    """One line of the table. `value` is compared with `limit` as `better` says."""
    name: str       # for --row
    title: str
    value: float
    limit: float
    measured: str   # for people
    target: str
    better: str = 'less'
    samples: dict = dataclasses.field(default_factory=dict)

    @property
    def met(self):
        return self.value <= self.limit if self.better == 'less' else self.value >= self.limit


def took(argv, **kwargs):
    """Seconds that a program ran; it must succeed."""
    begin = time.perf_counter()
    run(argv, timeout=600, **kwargs)
    return time.perf_counter() - begin


def alternate(rounds, first, second):
    """Calls first(round) and second(round) in turn, each going first every other time.
    Returns the two lists of what they returned."""
    ours, theirs = [], []
    for i in range(rounds):
        for function, results in ((first, ours), (second, theirs))[::1 if i % 2 == 0 else -1]:
            results.append(function(i))
    return ours, theirs


def ratio(ours, theirs):
    return median(ours) / median(theirs)


def numbers(argv):
    """What a helper prints, one number a line."""
    return [int(line) for line in run(argv, timeout=600).stdout.split()]


def proportional_memory(pid):
    """Pss in bytes: private pages, and a share of the shared ones."""
    with open('/proc/%d/smaps_rollup' % pid, encoding='ascii') as f:
        for line in f:
            if line.startswith('Pss:'):
                return int(line.split()[1]) * 1024
    raise AssertionError('no Pss of process %d' % pid)


def settle(path):
    """Writes back what the last measurement left dirty, so that the next one does not pay."""
    run(['sync', '-f', path], timeout=600)


def remove(path):
    run(['rm', '-rf', path], timeout=600)


def seconds(s):
    return '%.2f s' % s if s >= 0.1 else '%.1f ms' % (s * 1e3) if s >= 1e-3 else '%.1f µs' % (s * 1e6)


def exists(path):
    """stat(2) raises no event."""
    return os.path.lexists(path)
