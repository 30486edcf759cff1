# SPDX-License-Identifier: LGPL-2.1-or-later
"""Rows about the daemon: placeholders, memory, start, an event's round trip, far servers."""

import json
import os
import signal
import time

from measure import (Row, alternate, exists, median, numbers, proportional_memory, ratio, remove,
                     seconds, settle, took)
from scene import EVENTS, Plain, Scene, helper
from support.processes import finish, run, start, wait_until
from support.settings import MIB, SOURCE

PER_DIRECTORY = 1000
LINKS = 60000  # ext4 takes 65000 names for one inode


def write_manifest(path, n):
    """A listing of n files that nobody will read."""
    with open(path, 'w', encoding='utf-8') as f:
        for i in range(n):
            f.write('{"path":"d%04d/f%07d","size":4096,"mtime":%d,"etag":"\\"%x-1000\\""}\n' % (
                i // PER_DIRECTORY, i, 1600000000 + i, 1600000000 + i))


def make_tree(root, n):
    """The same as real files, for nginx to list: names of a few inodes."""
    for i in range(n):
        directory = '%s/d%04d' % (root, i // PER_DIRECTORY)
        if i % PER_DIRECTORY == 0:
            os.makedirs(directory)
        path = '%s/f%07d' % (directory, i)
        if i % LINKS == 0:
            first = path
            with open(path, 'wb') as f:
                f.write(b'x' * 4096)
            os.utime(path, (1600000000, 1600000000))
        else:
            os.link(first, path)


def wait_listed(scene, engine):
    """What the daemon leaves on the disk when every directory is listed."""
    begin = time.monotonic()
    path = scene.store.file('.cloudsync', 'complete')
    while not exists(path):
        if time.monotonic() - begin > 2:
            scene.store.wait_state(engine, 'ready', timeout=600)
            begin = time.monotonic()
        time.sleep(0.002)


def count_files(path):
    return int(run(['sh', '-c', 'find "$0" -type f | wc -l', path], timeout=600).stdout)


# ------------------------------------------------------------------ placeholders

def placeholders(sizes, wanted):
    n = sizes['placeholders']
    rows = []
    with Scene('placeholders', size='2G') as scene:
        make_tree(scene.origin('tree'), n)
        os.mkdir(scene.origin('manifest'))
        write_manifest(scene.origin('manifest', 'all.jsonl'), n)
        plain = Plain(scene.world, '2048M')

        def listed(**settings):
            begin = time.perf_counter()
            engine = scene.engine(wait=None, **settings)
            wait_listed(scene, engine)
            result = time.perf_counter() - begin
            assert scene.store.engine_state(engine) == 'ready'
            if count_files(scene.store.file(engine)) != n:
                raise AssertionError('there are not %d placeholders' % n)
            scene.remove_engine(engine)
            settle(scene.store.path)
            return result

        def bare(_):
            total = 0
            for i in range(n // PER_DIRECTORY):
                directory = os.path.join(plain.path, str(i))
                os.mkdir(directory)
                total += numbers([EVENTS, 'create', directory, str(PER_DIRECTORY)])[0]
            run(['sh', '-c', 'rm -rf "$0"/*', plain.path])
            settle(plain.path)
            return total / 1e9

        for name, title, settings in (
                ('placeholders-manifest', 'a manifest',
                 {'url': scene.web.url('manifest/'), 'manifest': 'all.jsonl'}),
                ('placeholders-json', 'nginx\'s JSON index', {'url': scene.web.url('tree/', 'json')})):
            if not wanted(name):
                continue
            a, b = alternate(sizes['rounds'], lambda _, s=settings: listed(**s), bare)
            rows.append(Row(name, '%d placeholders made from %s, from registration on' % (n, title),
                            n / median(a), 50000, '%.0f/s (a loop of `open`, `ftruncate`, `close` '
                            'makes %.0f plain files/s)' % (n / median(a), n / median(b)),
                            '≥ 50,000/s', 'more', samples={'ours': a, 'loop': b}))
        plain.close()
    return rows


# ------------------------------------------------------------------ a million of them

def million(sizes, wanted):
    n = sizes['many']
    with Scene('many', size='%dG' % sizes['many_store']) as scene:
        os.mkdir(scene.origin('manifest'))
        write_manifest(scene.origin('manifest', 'all.jsonl'), n)
        engine = scene.engine(scene.web.url('manifest/'), wait=None, manifest='all.jsonl')
        wait_listed(scene, engine)
        scene.store.wait_state(engine, 'ready')
        made = settled_memory(scene)
        if wanted('restart'):
            assert count_files(scene.store.file(engine)) == n
        starts = []
        for _ in range(sizes['restarts']):
            scene.store.stop()
            settle(scene.world.dir)
            begin = time.perf_counter()
            scene.store.start(wait=False)
            while 'READY=1' not in scene.store.notifications():
                time.sleep(0.0005)
            starts.append(time.perf_counter() - begin)
            scene.store.wait_state(engine, 'ready')
        again = settled_memory(scene)
        cold, here = takeovers(scene, sizes['restarts']) if wanted('takeover') or wanted('takeover-here') else ([], [])
    rows = []
    if wanted('memory'):
        rows += [Row('memory', 'daemon memory (Pss, both processes) with {:,} placeholders, just made'.format(n),
                     made / MIB, 16, '%.1f MiB' % (made / MIB), '≤ 16 MiB'),
                 Row('memory', '… and after a restart', again / MIB, 16, '%.1f MiB' % (again / MIB),
                     '≤ 16 MiB')]
    if wanted('restart'):
        rows.append(Row('restart', 'from exec to READY with {:,} placeholders'.format(n),
                        median(starts) * 1e3, 100, '%.0f ms' % (median(starts) * 1e3), '≤ 100 ms',
                        samples={'starts': starts}))
    for name, what, times in (('takeover', 'that is not here', cold), ('takeover-here', 'that is here', here)):
        if wanted(name):
            rows.append(Row(name, 'from SIGKILL of the worker to the end of a read of a file {}, among {:,}'.format(
                what, n), median(times) * 1e3, 100, '%.0f ms' % (median(times) * 1e3), '≤ 100 ms',
                samples={'reads': times}))
    return rows


def takeovers(scene, rounds):
    """How long a reader waits whose open comes when the worker has just been killed: for a small file
    that is fetched by a new host, and for the same when it is here."""
    names = scene.small_files('few', 2 * rounds, 1)
    engine = scene.engine(scene.web.url('few/', 'json'))

    def read(name):
        reader = start(['sh', '-c', 'read go && exec cat "$1"', 'sh', scene.store.file(engine, name)])
        worker = scene.store.worker_pid()
        begin = time.perf_counter()
        os.kill(worker, signal.SIGKILL)
        status, _, err = finish(reader, input=b'go\n')
        if status != 0:
            raise AssertionError(err)
        result = time.perf_counter() - begin
        settled_bus(scene, engine)
        return result
    wanted_names = names[::2]  # not one after the other: nothing is fetched ahead
    return [read(name) for name in wanted_names], [read(name) for name in wanted_names]


def settled_bus(scene, engine):
    """Until the new worker is on the bus, and at rest."""
    def ready():
        try:
            return scene.store.engine_state(engine) == 'ready'
        except AssertionError:
            return False
    wait_until(ready, 'the engine is ready', timeout=120)
    time.sleep(0.2)


def settled_memory(scene):
    """After what was under way is over."""
    time.sleep(2)
    return sum(proportional_memory(pid) for pid in scene.daemon_pids())


# ------------------------------------------------------------------ an event

def event(sizes, wanted):
    """An access that is asked for and allowed, again and again: a part of a placeholder that
    is here already, and a user's own file the first time that it is opened."""
    n = sizes['events']
    size = 64 * 1024
    rows = []
    with Scene('event', size='1G', config={'Hydration': {'FullBelow': '1M'}}) as scene:
        scene.big_file(64 * MIB, ['big'])
        engine = scene.engine(scene.web.url('big/', 'json'), hydration='ranges')
        path = scene.store.file(engine, 'big')
        numbers([EVENTS, 'pread', path, '1', str(size)])
        plain = Plain(scene.world)
        other = os.path.join(plain.path, 'big')
        with open(other, 'wb') as f:
            f.write(os.urandom(size))
        loop, _ = helper(scene.world, 'loop', [EVENTS, 'answer', plain.path], 'ready')

        def compare(name, title, ours, theirs):
            a, b = alternate(sizes['event_rounds'], ours, theirs)
            rows.append(Row(name, title + ', against the smallest loop', ratio(a, b), 1.2,
                            '%.2f× (%.1f µs; loop %.1f µs)' % (ratio(a, b), median(a) / 1e3, median(b) / 1e3),
                            '≤ 1.2×', samples={'ours': a, 'loop': b}))
        if wanted('event'):
            for length in (size, 4096):
                argv = [str(n), str(length)]
                compare('event', 'an answered event: %d KiB of a part that is here' % (length // 1024),
                        lambda _, argv=argv: median(numbers([EVENTS, 'pread', path, *argv])),
                        lambda _, argv=argv: median(numbers([EVENTS, 'pread', other, *argv])))
        if wanted('event-open'):
            count = sizes['opens']

            def opens(root, i, where):
                directory = os.path.join(root, '%s-%d' % (where, i))
                os.mkdir(directory)
                # made elsewhere and moved in: nothing has met these files yet
                run(['sh', '-c', 'for i in $(seq 0 $(($1 - 1))); do : >"$0/$i"; done', directory,
                     str(count)])
                if where == 'ours':
                    forget(scene)
                return median(numbers([EVENTS, 'opens', directory, str(count)]))
            compare('event-open', 'the first open of a user\'s own file',
                    lambda i: opens(scene.store.path, i, 'ours'),
                    lambda i: opens(plain.path, i, 'loop'))
        loop.kill()
        plain.close()
    return rows


def forget(scene):
    """A new daemon has no file silenced."""
    scene.without_daemon()
    scene.with_daemon()


# ------------------------------------------------------------------ far away

def far(sizes, wanted):
    """grep -r over one-file directories of a server that is 20 ms away."""
    n, rtt = sizes['far'], 20
    with Scene('far', size='512M') as scene:
        names = scene.small_files('far', n, 1)
        relay, port = helper(scene.world, 'relay', [
            '/usr/bin/python3', SOURCE + '/bench/delay.py', str(scene.web.port), str(rtt)], 'port')
        url = 'http://127.0.0.1:%s/' % port
        config, target = scene.world.path('curl.conf'), scene.store.file('curl-parallel')
        with open(config, 'w', encoding='utf-8') as f:
            for name in names:
                f.write('url=%sfar/%s\noutput=%s/%s\n' % (url, name, target, name))

        def ours(_):
            engine = scene.engine(url + 'json/far/')
            path = scene.store.file(engine)
            begin = time.perf_counter()
            status = run(['grep', '-rc', 'no such word', path], check=False, timeout=600)
            result = time.perf_counter() - begin
            if len(status.stdout.splitlines()) != n or status.returncode != 1:
                raise AssertionError('grep read something else: ' + status.stderr.decode())
            scene.remove_engine(engine)
            return result

        def theirs(_):
            result = took(['curl', '-s', '-f', '--create-dirs', '--parallel', '--parallel-max', '32',
                           '-K', config])
            remove(target)
            return result
        a, b = alternate(sizes['far_rounds'], ours, theirs)
        relay.kill()
    return [Row('far', '`grep -r` of %d one-file directories, %d ms away' % (n, rtt), median(a), 1.0,
                '%s (`curl --parallel` %s)' % (seconds(median(a)), seconds(median(b))), '≤ 1.0 s',
                samples={'ours': a, 'curl': b})]


GROUPS = [
    (placeholders, ['placeholders-manifest', 'placeholders-json']),
    (million, ['memory', 'restart', 'takeover', 'takeover-here']),
    (event, ['event', 'event-open']),
    (far, ['far']),
]
