#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everybody who is not the daemon, at his worst: engine hosts that break or bend the protocol,
remotes that change at the wrong moment, users and programs in unlucky order, disks that
fail, machines that lose power. No reader gets a wrong byte, no user loses one, nobody
waits for ever, and the daemon goes on."""

import errno
import fcntl
import os
import random
import select
import struct
import threading

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import
from support import rawhost
from support.rawcase import RawTest

PER_FILESYSTEM = True


class Protocol(RawTest):

    def test_dies_between_the_last_byte_and_done(self):
        """All bytes came, DONE did not: the next host is asked again for what is not sure."""
        data = noise(50001, 1)
        channel = self.raw([{'name': 'f', 'size': len(data)}])
        reader = self.spawn(['cat', self.file('f')])
        message = channel.wait('FETCH')
        channel.data(message['request'], 0, data)
        channel.close()
        for _ in range(3):  # and again
            channel = self.accept().ready()
            message = channel.wait('FETCH')
            channel.data(message['request'], message['offset'], data[message['offset']:])
            channel.close()
        channel = self.accept().ready()
        self.serve(channel, channel.wait('FETCH'), data)
        status, out, err = finish(reader)
        self.assertEqual(status, 0, err)
        self.assertBytes(out, data)

    def test_passing_fault_after_the_last_byte(self):
        data = noise(300001, 2)
        channel = self.raw([{'name': 'f', 'size': len(data)}])
        reader = self.spawn(['cat', self.file('f')])
        message = channel.wait('FETCH')
        channel.data(message['request'], 0, data)
        channel.done(message['request'], -errno.ECONNRESET)
        self.serve(channel, channel.wait('FETCH'), data)
        status, out, err = finish(reader)
        self.assertEqual(status, 0, err)
        self.assertBytes(out, data)

    def test_other_bytes_the_second_time(self):
        """What came before a fault is of the same version by promise; a piece that was not
        confirmed is replaced by the confirmed one."""
        data = noise(3000, 3)
        channel = self.raw([{'name': 'f', 'size': len(data)}])
        reader = self.spawn(['cat', self.file('f')])
        message = channel.wait('FETCH')
        channel.data(message['request'], 0, bytes(3000))
        channel.done(message['request'], -errno.EPROTO)
        self.serve(channel, channel.wait('FETCH'), data)
        status, out, err = finish(reader)
        self.assertEqual(status, 0, err)
        self.assertBytes(out, data)

    def breaks(self, act, content=noise(200000, 4)):
        """act(channel, fetch) breaks the protocol: that host is ended, the next one serves."""
        channel = self.raw([{'name': 'f', 'size': len(content)}])
        reader = self.spawn(['cat', self.file('f')])
        message = channel.wait('FETCH')
        try:
            act(channel, message, content)
        except (BrokenPipeError, ConnectionResetError):
            pass
        channel = self.accept().ready()
        self.serve(channel, channel.wait('FETCH'), content)
        status, out, err = finish(reader)
        self.assertEqual(status, 0, err)
        self.assertBytes(out, content)
        self.store.unregister(self.engines[-1])

    def test_breaks_the_protocol(self):
        def beyond(channel, message, content):
            channel.data(message['request'], 0, content + b'x')

        def gap(channel, message, content):
            channel.put('DATA', message['request'], channel.slot(), content[4096:8192], offset=4096)

        def entries(channel, message, content):
            channel.entries(message['request'], [{'name': 'x', 'size': 1}])

        def unknown(channel, message, content):
            channel.send('DONE', request=message['request'] + 1000)

        def slot_in_use(channel, message, content):
            channel.put('DATA', message['request'], 5, content[:65536], offset=0)
            for at in range(0, 60):
                channel.put('DATA', message['request'], 5, content[:1], offset=65536 + at)

        def malformed(channel, message, content):
            channel.socket.send(b'hello, world')

        def from_dispatcher(channel, message, content):
            channel.send('QUIT')

        for act in (beyond, gap, entries, unknown, slot_in_use, malformed, from_dispatcher):
            with self.subTest(act=act.__name__):
                self.breaks(act)

    def test_done_twice(self):
        data = noise(1000, 5)
        channel = self.raw([{'name': 'f', 'size': 1000}, {'name': 'g', 'size': 1000}])
        reader = self.spawn(['cat', self.file('f')])
        message = channel.wait('FETCH')
        self.serve(channel, message, data)
        channel.done(message['request'])
        self.assertBytes(finish(reader)[1], data)
        channel = self.accept().ready()
        reader = self.spawn(['cat', self.file('g')])
        self.serve(channel, channel.wait('FETCH'), data)
        self.assertBytes(finish(reader)[1], data)

    def test_data_for_a_cancelled_request(self):
        """The engine goes, its fetch is cancelled; a reader killed does not stop the fetch."""
        data = noise(100000, 6)
        channel = self.raw([{'name': 'f', 'size': len(data)}])
        reader = self.spawn(['cat', self.file('f')])
        message = channel.wait('FETCH')
        kill_session(reader.pid)
        reader.wait()
        self.serve(channel, message, data)
        self.assertBytes(self.read(self.file('f')), data)

    def test_ready_twice(self):
        channel = self.raw([{'name': 'f', 'size': 1000}])
        for n in (1, 96, 5):
            channel.send('READY', flags=1, max_requests=n)
        reader = self.spawn(['cat', self.file('f')])
        self.serve(channel, channel.wait('FETCH'), noise(1000))
        self.assertBytes(finish(reader)[1], noise(1000))

    def test_stops_reading(self):
        """A host that takes nothing from its channel is ended; meanwhile others are served."""
        data = noise(1000, 7)
        channel = self.raw([{'name': 'f%d' % i, 'size': 1000} for i in range(50)])
        other = self.engines[-1]
        readers = [self.spawn(['cat', self.store.file(other, 'f%d' % i)]) for i in range(50)]
        second = self.raw([{'name': 'f', 'size': 1000}])
        reader = self.spawn(['cat', self.file('f')])
        self.serve(second, second.wait('FETCH'), data)
        self.assertBytes(finish(reader)[1], data)
        again = self.accept(timeout=60)
        self.assertEqual(again.engine, other)
        again.ready()
        for _ in range(50):
            self.serve(again, again.wait('FETCH'), data)
        for reader in readers:
            self.assertBytes(finish(reader)[1], data)
        self.assertNotEqual(channel.pid, again.pid)

    def test_a_child_keeps_the_channel(self):
        """A dead host whose child holds its end of the channel."""
        data = noise(1000, 8)
        channel = self.raw([{'name': 'f', 'size': 1000}])
        os.kill(channel.pid, signal.SIGKILL)  # the test keeps the socket open
        reader = self.spawn(['cat', self.file('f')])
        again = self.accept(timeout=60)
        again.ready()
        self.serve(again, again.wait('FETCH'), data)
        self.assertBytes(finish(reader)[1], data)


def pread(path, size, offset=0):
    """One pread(2) of `size` bytes."""
    def attempt():
        fd = os.open(path, os.O_RDONLY)
        try:
            return os.pread(fd, size, offset)
        finally:
            os.close(fd)
    return isolated(attempt)


class Versions(RawTest):
    """The remote moves on, by a host that says so at the worst moment."""

    def moved_on(self, old, new, hydration):
        channel = self.raw([{'name': 'f', 'size': len(old), 'version': 'one'}],
                           hydration=hydration)
        path = self.file('f')
        result = []
        reader = threading.Thread(target=lambda: result.append(pread(path, 8 * MIB)))
        reader.start()
        channel.done(channel.wait('FETCH')['request'], -errno.ESTALE)
        end = time.monotonic() + TIMEOUT
        while not result and time.monotonic() < end:
            try:
                message = channel.receive(timeout=0.3)
            except TimeoutError:  # the reader has all it asks for, and is slow to say so
                continue
            if message['type'] == 'STAT':
                channel.entries(message['request'], [{'name': '-', 'size': len(new),
                                                      'version': 'two', 'mtime': 1650000000}])
                channel.done(message['request'])
            elif message['type'] == 'FETCH' and message['file_version'] == 'two':
                self.serve(channel, message, new)
            elif message['type'] == 'FETCH':
                channel.done(message['request'], -errno.ESTALE)
        reader.join()
        self.assertBytes(result[0], new, hydration)

    def test_grows_under_a_waiting_reader(self):
        for hydration in ('ranges', 'whole'):
            with self.subTest(hydration=hydration):
                self.moved_on(noise(MIB + 1000, 1), noise(2 * MIB + MIB // 2, 2), hydration)

    def test_shrinks_under_a_waiting_reader(self):
        for hydration in ('ranges', 'whole'):
            with self.subTest(hydration=hydration):
                self.moved_on(noise(2 * MIB + 999, 3), noise(MIB + 5, 4), hydration)
                self.moved_on(noise(2 * MIB + 999, 3), b'small', hydration)

    def test_reads_of_a_stale_file_ask_seldom(self):
        """A part was read, the remote moved on: a program that tries again and again does not
        become a flood at the remote, nor in memory."""
        data = noise(2 * MIB, 5)
        channel = self.raw([{'name': 'f', 'size': len(data), 'version': 'one'}],
                           hydration='ranges')
        path = self.file('f')
        holder = self.spawn([ACCESS, 'hold-range', path, '0', '100'])
        while not select.select([holder.stdout], [], [], 0.2)[0]:
            try:
                self.serve(channel, channel.wait('FETCH', timeout=0.1), data)
            except TimeoutError:
                pass
        stats = []
        reader = self.spawn(['python3', '-c', 'import os, sys\n'
                             'for i in range(100):\n'
                             ' try: os.pread(os.open(sys.argv[1], os.O_RDONLY), 100, 1500000)\n'
                             ' except OSError: pass\n'
                             ' else: sys.exit("read")\n', path])
        # Until the program has ended (a busy machine takes its time), and 4 s at the least: the
        # daemon asks by itself, too, with pauses of 0.3, 2, 10 and 60 s.
        end = time.monotonic() + 4
        while reader.poll() is None or time.monotonic() < end:
            try:
                message = channel.receive(timeout=0.2)
            except TimeoutError:
                continue
            if message['type'] == 'STAT':
                stats.append(message)
                channel.done(message['request'], -errno.EACCES)
            elif message['type'] == 'FETCH':
                channel.done(message['request'], -errno.ESTALE)
        status, _, err = finish(reader)
        self.assertEqual(status, 0, err)
        self.assertLess(len(stats), 10)


class Listings(RawTest):

    SIZE = '1G'

    def test_one_impossible_entry(self):
        """Entries that this file system cannot hold are left out; the others are there."""
        data = noise(1000, 1)
        channel = self.raw([{'name': 'a', 'size': 1000}, {'name': 'huge', 'size': 2 ** 63 - 1},
                            {'name': 'big', 'size': 2 ** 62}, {'name': 'b' * 255, 'size': 1000},
                            {'name': b'\xff\xfe', 'size': 1000}, {'name': 'z', 'size': 1000}])
        self.assertIn('z', os.listdir(self.file()))
        reader = self.spawn(['cat', self.file('b' * 255)])
        self.serve(channel, channel.wait('FETCH'), data)
        self.assertBytes(finish(reader)[1], data)

    def test_longest_locator_and_version(self):
        data = noise(1000, 1)
        entries = [{'name': 'f', 'size': 1000, 'locator': 'l' * 3500, 'version': 'v' * 200},
                   {'name': 'd', 'directory': True, 'locator': 'd' * 3500},
                   {'name': 'z', 'size': 1000}]
        channel = self.raw()
        self.list(channel, entries)
        message = channel.wait('LIST')
        self.assertEqual(message['locator'], 'd' * 3500)
        channel.done(message['request'])
        self.store.wait_state(self.engines[-1])
        reader = self.spawn(['cat', self.file('f')])
        message = channel.wait('FETCH')
        self.assertEqual((message['locator'], message['file_version']), ('l' * 3500, 'v' * 200))
        self.serve(channel, message, data)
        self.assertBytes(finish(reader)[1], data)

    def descriptors(self):
        return len(os.listdir('/proc/%d/fd' % self.store.daemon.pid))

    def test_many_directories_wait(self):
        """As many directories as there are: none of them takes a descriptor while it waits."""
        before = self.descriptors()
        channel = self.raw()
        self.list(channel, [{'name': 'd%d' % i, 'directory': True} for i in range(3000)])
        wait_until(lambda: os.stat(self.file()).st_nlink in (1, 3002), 'all directories are made')
        self.assertLess(self.descriptors(), before + 300)

    def test_registered_again_while_listing(self):
        """The engine goes while directories are being listed, and one of its name comes back."""
        channel = self.raw()
        directories = [{'name': 'd%d' % i, 'directory': True} for i in range(40)]
        self.list(channel, directories)
        channel.wait('LIST')
        engine = self.engines[-1]
        for _ in range(3):
            self.store.unregister(engine)
            channel.close()
            self.store.register(engine, 'unruly', self.prefix, {})
            channel = self.accept().ready()
            channel.wait('LIST')
        self.store.unregister(engine)
        channel.close()
        self.store.register(engine, 'unruly', self.prefix, {})
        channel = self.accept().ready()
        end = time.monotonic() + 20 * SLOW
        while self.store.engine_state(engine) != 'ready' and time.monotonic() < end:
            try:
                message = channel.wait('LIST', timeout=0.5)
            except TimeoutError:
                continue
            if message['locator']:
                channel.entries(message['request'], [{'name': 'f', 'size': 10, 'locator':
                                                      message['locator'] + '/f'}])
            else:
                channel.entries(message['request'], directories)
            channel.done(message['request'])
        self.assertEqual(self.store.engine_property(engine, 'DirectoriesPending'), 0)
        for i in range(40):
            self.assertEqual(os.listdir(self.file('d%d' % i)), ['f'])

    def rss(self):
        with open('/proc/%d/status' % self.store.daemon.pid, encoding='ascii') as f:
            return int(re.search(r'VmRSS:\s+(\d+)', f.read())[1]) * 1024

    def test_flood_of_conditions(self):
        """An engine that cannot decide whether it needs a login fills neither log nor bus, and the last word counts."""
        host = self.raw()
        name = self.engines[-1]
        since = len(self.store.daemon.log_text())
        for i in range(4000):
            host.send('CONDITION', condition=(i + 1) % 2, detail='flood %d' % i)
        host.send('CONDITION', condition=1, detail='at last')
        wait_until(lambda: 'at last' in self.store.engine_property(name, 'StateDetail'), 'the last one counts')
        self.assertEqual(self.store.engine_state(name), 'needs-login')
        lines = self.store.daemon.log_text()[since:].count(name.encode())
        self.assertLess(lines, 40)
        host.close()

    def test_flood_of_changes(self):
        """A host that says without end that a directory changed costs no memory."""
        channel = self.raw([{'name': 'f', 'size': 10}])
        before = self.rss()
        packet = rawhost.build('CHANGED')
        for _ in range(50000):
            channel.socket.send(packet)
        message = channel.wait('LIST')
        self.assertLess(self.rss() - before, 8 * MIB)
        # And what changed while it was being listed is found by another listing.
        channel.entries(message['request'], [{'name': 'f', 'size': 10}])
        channel.done(message['request'])
        message = channel.wait('LIST')
        channel.entries(message['request'], [{'name': 'f', 'size': 10}, {'name': 'g', 'size': 1}])
        channel.done(message['request'])
        wait_until(lambda: os.path.exists(self.file('g')), 'the new file is there')

    def test_fails_half_way(self):
        """A listing that breaks in the middle shows nothing as complete, and is tried again."""
        channel = self.raw()
        request = channel.wait('LIST')['request']
        channel.entries(request, [{'name': 'a', 'size': 10}])
        channel.done(request, -errno.EACCES)
        wait_until(lambda: b'half-way: : the directory cannot be listed' in
                   self.store.daemon.log_text(), 'the listing has failed')
        lister = self.spawn(['ls', self.file()])
        request = channel.wait('LIST')['request']
        channel.entries(request, [{'name': 'a', 'size': 10}, {'name': 'b', 'size': 10}])
        channel.close()
        channel = self.accept().ready()
        request = channel.wait('LIST')['request']
        channel.entries(request, [{'name': 'b', 'size': 10}, {'name': 'c', 'size': 10}])
        channel.done(request)
        self.assertEqual(finish(lister)[1].split(), [b'a', b'b', b'c'])

    def test_removed_while_it_is_listed(self):
        channel = self.raw()
        self.list(channel, [{'name': 'd', 'directory': True}, {'name': 'e', 'directory': True}])
        waiting = [channel.wait('LIST') for _ in range(2)]
        os.rmdir(self.file('d'))
        os.rename(self.file('e'), self.store.file('moved-e'))
        for message in waiting:
            channel.entries(message['request'], [{'name': 'f', 'size': 10, 'locator': 'x/f'},
                                                 {'name': 's', 'directory': True}])
            channel.done(message['request'])
        message = channel.wait('LIST')
        channel.done(message['request'])
        self.assertEqual(sorted(os.listdir(self.store.file('moved-e'))), ['f', 's'])


class Boots(GateTest):
    """Another boot (a boot id of its own for the next daemon): what the page cache knew is not
    believed any more, and what users did before is still theirs."""

    def another_boot(self, kill=False):
        path = self.world.path('boot-id')
        with open(path, 'w', encoding='ascii') as f:
            f.write('%032x\n' % random.getrandbits(128))
        self.store.kill() if kill else self.store.stop()
        run(['mount', '--bind', path, '/proc/sys/kernel/random/boot_id'])
        self.store.start()

    CHANGES = {
        'cut-and-grow': ([('truncate', 5000), ('truncate', 200000)], lambda d: d[:5000] + bytes(195000)),
        'cut-to-0-and-grow': ([('truncate', 0), ('truncate', 200000)], lambda d: bytes(200000)),
        'cut': ([('truncate', 5000)], lambda d: d[:5000]),
        'cut-to-0': ([('truncate', 0)], lambda d: b''),
        'grow': ([('truncate', 300000)], lambda d: d + bytes(100000)),
        'punch': ([('punch', 4096, 8192)], lambda d: d[:4096] + bytes(8192) + d[12288:]),
        'write': ([('write-at', 100000, 'MINE')], lambda d: d[:100000] + b'MINE' + d[100004:]),
    }

    def changed(self, first, hold, kill=False):
        """`first`: read before it is changed. hold: kept open by a reader all the while."""
        data = noise(200000, 1)
        engine = self.engine({n: data for n in self.CHANGES})
        holders, expected = [], {}
        for name, (calls, result) in self.CHANGES.items():
            if first:
                self.read(self.file(name))
            if hold:
                holder = self.spawn([ACCESS, 'hold', self.file(name)])
                self.assertEqual(holder.stdout.readline(), b'open\n')
                holders.append(holder)
            for call in calls:
                access(call[0], self.file(name), *call[1:])
            expected[name] = result(data)
        if kill:
            run(['sync', '-f', self.store.path])
        for holder in holders:
            kill_session(holder.pid)
            holder.wait()
        self.another_boot(kill)
        self.store.wait_state(engine)
        for name, want in expected.items():
            with self.subTest(file=name):
                self.assertBytes(self.read(self.file(name)), want, name)

    def test_changed_while_cold(self):
        self.changed(False, False)

    def test_truncated_while_filled(self):
        self.changed(True, False)

    def test_truncated_while_filled_and_open(self):
        self.changed(True, True)

    def test_cut_and_grown_then_lost(self):
        """truncate(2) of what was just fetched, which raises no event, and, some seconds later, another
        boot without a clean stop: the hole is the user's. Also while somebody has the file open."""
        data = noise(200000, 1)
        engine = self.engine({'free': data, 'held': data})
        for name in ('free', 'held'):
            self.read(self.file(name))
        holder = self.spawn([ACCESS, 'hold', self.file('held')])
        self.assertEqual(holder.stdout.readline(), b'open\n')
        for name in ('free', 'held'):
            os.truncate(self.file(name), 5000)
            os.truncate(self.file(name), 200000)
        for name in ('free', 'held'):
            wait_until(lambda n=name: os.getxattr(self.file(n), 'security.bpf.cloudsync')[2] == 3, 'WHOLE')
        kill_session(holder.pid)
        holder.wait()
        self.another_boot(kill=True)
        self.store.wait_state(engine)
        for name in ('free', 'held'):
            self.assertBytes(self.read(self.file(name)), data[:5000] + bytes(195000), name)

    def test_killed_while_it_was_switched(self):
        """Stamped SWITCHING for a new version, and no more: the next reader gets that, and its date,
        and nobody takes the old date for a user's."""
        data = noise(200000, 3)
        self.engine({'f': data})
        path, stamp = self.file('f'), 'security.bpf.cloudsync'
        when = os.stat(path).st_mtime
        value = bytearray(os.getxattr(path, stamp))
        value[2] = 4
        os.setxattr(path, stamp, bytes(value))
        os.utime(path, (1500000000, 1500000000))
        self.store.restart()
        self.store.wait_state(self.engines[-1])
        self.assertBytes(self.read(path), data)
        self.assertEqual(os.stat(path).st_mtime, when)
        self.assertEqual(self.store.status(path)['State'], 'hydrated')

    def test_touched_then_read_then_lost(self):
        """A user's mtime on a placeholder, then filled, then another boot without a clean stop."""
        data = noise(200000, 2)
        engine = self.engine({'f': data})
        os.utime(self.file('f'), ns=(10 ** 18, 10 ** 18))
        self.read(self.file('f'))
        self.another_boot(kill=True)
        self.store.wait_state(engine)
        self.assertBytes(self.read(self.file('f')), data)
        self.assertEqual(os.stat(self.file('f')).st_mtime_ns, 10 ** 18)


class Moved(CloudsyncTest):
    """What a user moved stays where he put it."""

    def test_renamed_in_its_directory(self):
        engine = self.engine({'a': noise(1000, 1), 'b': noise(1000, 2), 'd/x': noise(1000, 3),
                              'd/e/y': noise(1000, 4)})
        self.read(self.file('b'))
        os.rename(self.file('a'), self.file('A'))
        os.rename(self.file('b'), self.file('B'))
        os.rename(self.file('d'), self.file('D'))
        self.store.refresh(self.prefix)
        self.store.wait_state(engine)
        self.assertBytes(self.read(self.file('A')), noise(1000, 1))
        self.assertBytes(self.read(self.file('B')), noise(1000, 2))
        self.assertBytes(self.read(self.file('D', 'x')), noise(1000, 3))
        self.assertBytes(self.read(self.file('D', 'e', 'y')), noise(1000, 4))

    def test_deep_tree_and_a_killed_daemon(self):
        """A user's directories, one in the other, deeper than anyone expects."""
        engine = self.engine({'a': noise(1000, 1)})
        def dig():
            os.chdir(self.store.path)
            for _ in range(1500):
                os.mkdir('d')
                os.chdir('d')
        isolated(dig)
        self.engine({'f': noise(10, 1)}, url='http://127.0.0.1:9/', wait=None)  # stays unlisted
        self.store.kill()
        self.store.start()
        self.assertBytes(self.read(self.store.file(engine, 'a')), noise(1000, 1))


class Walkers(GateTest):
    """Several programs walk the same cold tree at once, and some of its files cannot be had:
    what is fetched ahead for one is read, failed and asked for again by the others."""

    WALK = ('import os, sys\n'
            'bad = 0\n'
            'for d, ds, fs in os.walk(sys.argv[1]):\n'
            ' for f in fs:\n'
            '  try: data = open(os.path.join(d, f), "rb").read()\n'
            '  except OSError: bad += 1; continue\n'
            '  if data != open(os.path.join(sys.argv[2], os.path.relpath(os.path.join(d, f),\n'
            '    sys.argv[1])), "rb").read(): sys.exit("wrong: " + f)\n'
            'print(bad)\n')

    def test_many_walk(self):
        for turn in range(3):
            name = self.unique()
            files = {'d%d/f%d' % (i % 7, i): noise(10 + i * 37, i) for i in range(400)}
            refused = sorted(files)[::10]
            root = os.path.join(self.gate.root, name)
            self.origin(files, root)
            self.engine(name=name, url=self.gate.url(name + '/'))
            for path in refused:
                self.gate.rule('%s/%s' % (name, path), 'status', status=403)
            walkers = [self.spawn(['/usr/bin/python3', '-c', self.WALK, self.file(), root])
                       for _ in range(6)]
            for walker in walkers:
                status, out, err = finish(walker)
                self.assertEqual(status, 0, err)
                self.assertEqual(int(out), 40, 'turn %d' % turn)
            self.gate.release()
            walker = self.spawn(['/usr/bin/python3', '-c', self.WALK, self.file(), root])
            self.assertEqual(finish(walker)[1], b'0\n')


LEASE = """
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
os.setgid(1234); os.setuid(1234)
fd = os.open(sys.argv[1], os.O_RDONLY)
os.pread(fd, 100, 0)
for i in range(1000):
    try: fcntl.fcntl(fd, fcntl.F_SETLEASE, getattr(fcntl, sys.argv[2]))
    except BlockingIOError: time.sleep(0.01)  # the daemon still has it open to fill it
    else: break
print('leased', flush=True)
sys.stdin.read()
"""


class Leases(CloudsyncTest):
    """A local user with leases on files of his own stops nobody but himself."""

    def lease(self, path, kind):
        holder = self.spawn(['/usr/bin/python3', '-c', LEASE, path, kind])
        line = holder.stdout.readline()
        self.assertEqual(line, b'leased\n', '' if line else holder.stderr.read())
        return holder

    def others_go_on(self, name='other'):
        began = time.monotonic()
        self.assertBytes(self.read(self.file(name), timeout=20), noise(1000, 9))
        self.assertLess(time.monotonic() - began, 10 * SLOW)

    def test_read_lease_on_a_file_partly_here(self):
        big = noise(3 * MIB, 1)
        engine = self.engine({'big': big, 'other': noise(1000, 9), 'third': noise(1000, 9)},
                             hydration='ranges')
        path = self.file('big')
        os.chown(path, 1234, 1234)
        holder = self.lease(path, 'F_RDLCK')
        reader = self.spawn(['/usr/bin/python3', '-c',
                             'import os,sys; f = os.open(sys.argv[1], os.O_RDONLY); '
                             'sys.stdout.buffer.write(os.pread(f, 5000, 2000000))', path])
        self.others_go_on()
        writer = self.spawn([ACCESS, 'write-at', path, '5', 'MINE'])
        self.others_go_on('third')
        kill_session(holder.pid)
        status, out, err = finish(reader)
        if status == 0:
            self.assertBytes(out, big[2000000:2005000])
        self.store.wait_state(engine)
        finish(writer)
        self.assertEqual(self.read(path)[10:], big[10:])

    def test_leases_on_whole_files(self):
        self.engine({'f': noise(1000, 1), 'other': noise(1000, 9), 'third': noise(1000, 9)})
        path = self.file('f')
        os.chown(path, 1234, 1234)
        for kind, name in (('F_RDLCK', 'other'), ('F_WRLCK', 'third')):
            holder = self.lease(path, kind)
            writer = self.spawn([ACCESS, 'write-at', path, '5', 'MINE'])
            self.others_go_on(name)
            self.store.refresh(self.prefix)
            kill_session(holder.pid)
            finish(writer)


class Crowd(GateTest):
    """Very many at once."""

    CONFIG = {'Hydration': {'FullBelow': '1M', 'MaxPending': '64'}}

    def test_more_readers_than_may_wait(self):
        files = {'f%d' % i: noise(100 + i, i) for i in range(1500)}
        self.engine(files)
        program = (
            'import os, sys, threading\n'
            'threading.stack_size(65536)\n'
            'bad = []\n'
            'def read(i):\n'
            ' data = open("%s/f%d" % (sys.argv[1], i), "rb").read()\n'
            ' if len(data) != 100 + i or hash(data) == 0: bad.append(i)\n'
            ' results[i] = data\n'
            'results = {}\n'
            'threads = [threading.Thread(target=read, args=(i,)) for i in range(1500)]\n'
            '[t.start() for t in threads]; [t.join() for t in threads]\n'
            'sys.stdout.buffer.write(b"".join(results.get(i, b"?") for i in range(1500)))\n'
            'sys.exit(len(bad))\n')
        out = run(['/usr/bin/python3', '-c', program, self.file()]).stdout
        self.assertBytes(out, b''.join(files['f%d' % i] for i in range(1500)))

    def test_everything_at_once_to_one_file(self):
        """A hundred threads read, write and cut one cold file. A byte read is the remote's, the
        writers' or a hole of a cut; nobody hangs; and what is there at the end stays."""
        for hydration in ('whole', 'ranges'):
            data = bytes(x | 1 for x in noise(2 * MIB, 1)).replace(b'W', b'w')
            name = self.unique()
            self.origin({'f': data}, os.path.join(self.gate.root, name))
            self.engine(name=name, url=self.gate.url(name + '/'), hydration=hydration)
            path = self.file('f')
            self.gate.rule('*', 'stall', after=300000)
            program = (
                'import os, sys, threading, random\n'
                'path, size = sys.argv[1], int(sys.argv[2])\n'
                'bad = []\n'
                'want = open(sys.argv[3], "rb").read()\n'
                'def look(fd, at, n):\n'
                ' got = os.pread(fd, n, at)\n'
                ' for i, b in enumerate(got):\n'
                '  if b != want[at + i] and b not in (0, 87): bad.append((at + i, b)); return\n'
                'def work(i):\n'
                ' dice = random.Random(i)\n'
                ' at = dice.randrange(size)\n'
                ' if i % 10 < 6:\n'
                '  fd = os.open(path, os.O_RDONLY)\n'
                '  for _ in range(5): look(fd, dice.randrange(size), 5000)\n'
                ' elif i % 10 < 8:\n'
                '  fd = os.open(path, os.O_WRONLY); os.pwrite(fd, b"W" * 100, min(at, size - 100)); os.close(fd)\n'
                ' elif i % 10 == 8: os.truncate(path, at); os.truncate(path, size)\n'
                ' else: os.close(os.open(path, os.O_RDONLY | os.O_TRUNC)) if i == 99 else os.stat(path)\n'
                'ts = [threading.Thread(target=work, args=(i,)) for i in range(100)]\n'
                '[t.start() for t in ts]; [t.join() for t in ts]\n'
                'print(bad[:3]); sys.exit(len(bad) > 0)\n')
            process = self.spawn(['/usr/bin/python3', '-c', program, path, str(len(data)),
                                  os.path.join(self.gate.root, name, 'f')])
            self.gate.wait_waiting()
            time.sleep(0.3)
            self.gate.release()
            status, out, err = finish(process)
            self.assertEqual((status, err), (0, b''), out)
            before = self.read(path)
            self.store.restart()
            self.store.wait_state(name)
            self.assertBytes(self.read(path), before, 'after a restart')


class Disk(CloudsyncTest):
    """The disk under the store fails."""

    def setUp(self):
        super().setUp()
        self.small = self.world.new_directory('small')
        run(['mount', '-t', 'tmpfs', '-o', 'size=150M', 'none',
             self.small])

    def tearDown(self):
        if self.second.daemon.alive():
            self.second.kill()
        subprocess.run(['umount', '-l', self.small], check=False)
        super().tearDown()

    def check(self, store, name, files, when):
        good = 0
        for path, data in files.items():
            result = run(['cat', store.file(name, path)], check=False)
            if result.returncode == 0:
                self.assertBytes(result.stdout, data, '%s, %s' % (path, when))
                good += 1
        return good

    def test_the_image_cannot_grow(self):
        """What could not be written back is not there: never zeros."""
        bus = Bus(self.world, 'bus-%d' % self.world.counter)
        image = os.path.join(self.small, 'image')
        name = self.unique()
        files = {'f%d' % i: noise(4 * MIB, i) for i in range(60)}
        self.origin(files, os.path.join(self.web.root, name))
        run([CTL, 'store', 'create', '--size', '800M', '--fs', FS, image])
        self.second = Store(self.world, bus, size='300M', name='second', fs=FS)
        self.second.configure({'Store': {'Device': image}, 'Hydration': {'FullBelow': '1M'}})
        self.second.start()
        self.second.register(name, 'httpfs', name, {'url': self.web.url(name + '/', 'json')})
        self.second.wait_state(name)
        self.check(self.second, name, files, 'at first')
        subprocess.run(['sync', '-f', self.second.path], check=False, stderr=subprocess.DEVNULL)
        wait_until(lambda: b'cannot be synced' in self.second.daemon.log_text(), 'the sync fails')
        time.sleep(3)  # the pages are gone, and the files are placeholders again
        self.check(self.second, name, files, 'a little later')
        run(['mount', '-o', 'remount,size=1500M', self.small])
        self.check(self.second, name, files, 'with room again')
        # Without what the page cache still knows.
        self.second.kill()
        wait_until(lambda: not loops_below(image), 'the file system is gone')
        if FS == 'ext4':
            subprocess.run(['e2fsck', '-fy', image], check=False, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        self.second.start()
        self.second.wait_state(name)
        self.assertEqual(self.check(self.second, name, files, 'from disk'), len(files))
        self.second.kill()
        self.second.start()
        self.assertEqual(self.check(self.second, name, files, 'from disk, again'), len(files))


if __name__ == '__main__':
    main()
