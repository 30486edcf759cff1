# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rows about reading: one large file, many small ones; cold and warm."""

import os
import time

from measure import Row, alternate, median, numbers, ratio, remove, seconds, settle, took
from scene import EVENTS, Scene
from support.processes import isolated, run
from support.settings import MIB


def drain(path):
    """Reads it as a person would."""
    return took(['sh', '-c', 'exec cat -- "$0" >/dev/null', path])


def tar(path):
    """Archives a tree. Not to /dev/null: GNU tar knows that, and reads nothing."""
    return took(['tar', '-C', path, '-cf', '/dev/zero', '.'])


# ------------------------------------------------------------------ a large file

def cold_sequential(scene, sizes, name, hydration):
    """cat of a placeholder against curl -o to the same file system."""
    size = sizes['big']
    engine = scene.engine(scene.web.url('big/', 'json'), hydration=hydration)
    target = scene.store.file('curl-o')

    def ours(i):
        path = scene.store.file(engine, 'big%d' % i)
        assert os.stat(path).st_blocks == 0, 'not cold'
        result = drain(path)
        remove(path)
        settle(scene.store.path)
        return result

    def theirs(i):
        result = took(['curl', '-s', '-f', '-o', target, scene.web.url('big/big%d' % i)])
        assert os.stat(target).st_size == size
        remove(target)
        settle(scene.store.path)
        return result

    theirs(0)  # the remote's page cache, and curl itself
    a, b = alternate(sizes['rounds'], ours, theirs)
    scene.remove_engine(engine)
    what = {'whole': 'whole at open', 'ranges': '`hydration=ranges`'}[hydration]
    return Row(name, 'cold sequential read of %d MiB, %s, against `curl -o`' % (size // MIB, what),
               ratio(a, b), 1.10, '%.2f× (%s; curl %s)' % (ratio(a, b), seconds(median(a)),
                                                         seconds(median(b))),
               '≤ 1.10×', samples={'ours': a, 'curl': b})


def cold_random(scene, sizes):
    """64 reads of 4 KiB at random places of a file of which nothing is here."""
    engine = scene.engine(scene.web.url('big/', 'json'), hydration='ranges')
    ours, theirs, fetched = [], [], []
    for i in range(sizes['rounds']):
        path = scene.store.file(engine, 'big%d' % i)
        before = sum(r['sent'] for r in scene.web.gets('/big'))
        ours += numbers([EVENTS, 'random', path, '64'])
        fetched.append(sum(r['sent'] for r in scene.web.gets('/big')) - before)
        theirs += isolated(lambda: bare_ranges(scene, sizes['big']))
    scene.remove_engine(engine)
    return [
        Row('cold-random', '64 cold random reads of 4 KiB of a %d MiB file, by ranges: median' %
            (sizes['big'] // MIB), median(ours) / 1e6, 1.0,
            '%.2f ms (%.1f× a bare range request on an open connection)' %
            (median(ours) / 1e6, median(ours) / median(theirs)), '≤ 1 ms',
            samples={'ours': ours, 'http': theirs}),
        Row('cold-random', '… fetched for them', median(fetched) / MIB, 16,
            '%.1f MiB' % (median(fetched) / MIB), '≤ 16 MiB', samples={'fetched': fetched}),
    ]


def bare_ranges(scene, size):
    """The same number of requests, as small, without a file system."""
    import http.client  # pylint: disable=import-outside-toplevel
    import random  # pylint: disable=import-outside-toplevel
    connection = http.client.HTTPConnection('127.0.0.1', scene.web.port)
    result = []
    for _ in range(64):
        at = random.randrange(size // 4096) * 4096
        begin = time.perf_counter_ns()
        connection.request('GET', '/big/big0', headers={'Range': 'bytes=%d-%d' % (at, at + 65535)})
        connection.getresponse().read()
        result.append(time.perf_counter_ns() - begin)
    return result


def warm_big(scene, sizes, wanted):
    """The same file, read with the daemon and without: sequentially, and at random."""
    engine = scene.engine(scene.web.url('big/', 'json'), hydration='whole')
    path = scene.store.file(engine, 'big0')
    drain(path)
    scene.wait_whole([path])
    rows = []
    if wanted('warm-sequential'):
        a, b = with_and_without(scene, sizes['warm_rounds'], lambda: drain(path))
        rows.append(warm_row('warm-sequential', 'warm sequential read of %d MiB' %
                             (sizes['big'] // MIB), a, b, seconds))
    if wanted('warm-random'):
        a, b = with_and_without(scene, sizes['warm_rounds'], lambda: median(numbers(
            [EVENTS, 'random', path, str(sizes['reads'])])) / 1e9)
        rows.append(warm_row('warm-random', 'warm random reads of 4 KiB: median of %d' %
                             sizes['reads'], a, b, lambda s: '%.0f ns' % (s * 1e9)))
    scene.remove_engine(engine)
    return rows


def with_and_without(scene, rounds, measure):
    """Each side: one pass that is not counted, then the median of three. The daemon is
    killed for the one and started again for the other; the mount stays, and the cache."""
    def once():
        measure()
        return median(measure() for _ in range(3))

    def ours(_):
        if not scene.store.daemon.alive():
            scene.with_daemon()
        return once()

    def theirs(_):
        if scene.store.daemon.alive():
            scene.without_daemon()
        return once()
    a, b = alternate(rounds, ours, theirs)
    if not scene.store.daemon.alive():
        scene.with_daemon()
    return a, b


def warm_row(name, title, a, b, shown):
    return Row(name, title + ', against no daemon', ratio(a, b), 1.02, '%.3f× (%s; without %s)' % (
        ratio(a, b), shown(median(a)), shown(median(b))), '≤ 1.02×', samples={'with': a, 'without': b})


def big(sizes, wanted):
    rows = []
    with Scene('big', size='%dG' % sizes['big_store']) as scene:
        scene.big_file(sizes['big'], ['big%d' % i for i in range(sizes['rounds'])])
        if wanted('cold-whole'):
            rows.append(cold_sequential(scene, sizes, 'cold-whole', 'whole'))
        if wanted('cold-ranges'):
            rows.append(cold_sequential(scene, sizes, 'cold-ranges', 'ranges'))
        if wanted('warm-sequential') or wanted('warm-random'):
            rows += warm_big(scene, sizes, wanted)
        if wanted('cold-random'):
            rows += cold_random(scene, sizes)
    return rows


# ------------------------------------------------------------------ small files

def cold_tar(scene, sizes, names):
    """tar of a tree of placeholders against curl --parallel of the same files."""
    config = scene.world.path('curl.conf')
    target = scene.store.file('curl-parallel')
    url = scene.web.url('small/')
    with open(config, 'w', encoding='utf-8') as f:
        for name in names:
            f.write('url=%s%s\noutput=%s/%s\n' % (url, name, target, name))

    def ours(_):
        engine = scene.engine(scene.web.url('small/', 'json'))
        settle(scene.store.path)
        result = tar(scene.store.file(engine))
        if not any(os.stat(scene.store.file(engine, n)).st_blocks for n in names):
            raise AssertionError('tar read nothing')
        scene.remove_engine(engine)
        settle(scene.store.path)
        return result

    def theirs(_):
        for directory in {os.path.dirname(n) for n in names}:
            os.makedirs(os.path.join(target, directory))
        result = took(['curl', '-s', '-f', '--parallel', '--parallel-max', '32', '-K', config])
        remove(target)
        settle(scene.store.path)
        return result

    theirs(0)
    a, b = alternate(sizes['rounds'], ours, theirs)
    rate, their_rate = len(names) / median(a), len(names) / median(b)
    return Row('cold-tar', 'cold `tar` of %d files of 1–8 KiB' % len(names), rate, 4000,
               '%.0f files/s (`curl --parallel` %.0f/s; %.2f× its time)' % (
                   rate, their_rate, ratio(a, b)), '≥ 4,000 files/s', 'more',
               samples={'ours': a, 'curl': b})


def warm_tar(scene, sizes, names):
    engine = scene.engine(scene.web.url('small/', 'json'))
    path = scene.store.file(engine)
    tar(path)
    scene.wait_whole([scene.store.file(engine, n) for n in names])
    a, b = with_and_without(scene, sizes['warm_rounds'], lambda: tar(path))
    scene.remove_engine(engine)
    return warm_row('warm-tar', 'warm `tar` of %d files of 1–8 KiB' % len(names), a, b, seconds)


def small(sizes, wanted):
    rows = []
    with Scene('small', size='1G') as scene:
        names = scene.small_files('small', sizes['files'], 100)
        if wanted('cold-tar'):
            rows.append(cold_tar(scene, sizes, names))
        if wanted('warm-tar'):
            rows.append(warm_tar(scene, sizes, names))
    return rows


GROUPS = [
    (big, ['cold-whole', 'cold-ranges', 'warm-sequential', 'warm-random', 'cold-random']),
    (small, ['cold-tar', 'warm-tar']),
]
