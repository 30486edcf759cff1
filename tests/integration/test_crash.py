#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""SIGKILL of cloudsyncd under readers: the supervisor starts a new worker, and nobody gets a
wrong byte or a failed read."""

import os
import random
import signal
import sys
import time

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import
from support.outlive import PathAlone

PER_FILESYSTEM = True

STORM = 4  # seconds


class Worker(GateTest):

    SIZE = '1500M'  # two storms of 400 files

    def held(self, data, **settings):
        """Readers of every file, all of them waiting for the server."""
        name = self.gated(data, **settings)
        self.gate.rule(name + '/*', 'hold')
        readers = {file: self.spawn(['cat', self.file(file)]) for file in data}
        wait_until(lambda: self.store.property('EventsPending') >= len(data), 'the readers wait')
        return readers

    def all_served(self, readers, data):
        for file, reader in readers.items():
            status, out, err = finish(reader)
            self.assertEqual(status, 0, (file, err))
            self.assertBytes(out, data[file], file)

    def test_killed_with_blocked_readers(self):
        data = {'f%d' % i: noise(5000 + 30000 * i, i) for i in range(12)}
        readers = self.held(data)
        self.store.kill_worker()
        self.gate.release()
        self.all_served(readers, data)
        self.assertEqual(self.store.property('EventsPending'), 0)

    def test_killed_three_times(self):
        data = {'f%d' % i: noise(5000 + 30000 * i, i) for i in range(6)}
        readers = self.held(data)
        for _ in range(3):
            self.store.kill_worker()
        self.gate.release()
        self.all_served(readers, data)

    def test_killed_during_a_transfer(self):
        for hydration in ('auto', 'ranges'):
            with self.subTest(hydration=hydration):
                data = zero_runs(3 * MIB, 1)
                name = self.gated({'f': data}, hydration=hydration)
                self.gate.rule(name + '/*', 'stall', after=300000)
                reader = self.spawn(['cat', self.file('f')])
                self.gate.wait_waiting()
                self.store.kill_worker()
                self.gate.release()
                self.all_served({'f': reader}, {'f': data})

    def test_killed_under_a_listing(self):
        name = self.unique()
        self.origin({'a/f': b'content'}, os.path.join(self.gate.root, name))
        self.gate.rule(name + '/a/', 'hold')
        self.engine(name=name, url=self.gate.url(name + '/'), wait=None)
        wait_until(lambda: os.path.isdir(self.file('a')), 'the directory appears')
        lister = self.spawn(['ls', self.file('a')])
        wait_until(lambda: self.store.property('EventsPending') >= 1, 'ls waits')
        self.store.kill_worker()
        self.gate.release()
        status, out, err = finish(lister)
        self.assertEqual((status, out), (0, b'f\n'), err)

    def test_killed_with_a_part_open(self):
        """A reader of ranges goes on after the crash."""
        data = noise(4 * MIB, 2)
        self.gated({'f': data}, hydration='ranges')
        holder = self.spawn([ACCESS, 'hold-range', self.file('f'), '0', '4096'])
        self.assertEqual(holder.stdout.readline(), b'read\n')
        self.store.kill_worker()
        status, out, err = finish(holder, input=b'go\n')
        self.assertEqual(status, 0, err)
        self.assertBytes(out, data)

    def test_killed_with_a_writer(self):
        """What a user wrote before and after the crash is there, the rest is the remote's."""
        data = noise(2 * MIB, 3)
        self.gated({'f': data})
        writer = self.spawn([ACCESS, 'write-hold', self.file('f'), '1000', 'WRITTEN'])
        self.assertEqual(writer.stdout.readline(), b'written\n')
        self.store.kill_worker()
        self.assertEqual(finish(writer, input=b'go\n')[0], 0)
        self.assertBytes(self.read(self.file('f')),
                         data[:1000] + b'WRITTENWRITTEN' + data[1014:])

    def test_stop_after_a_crash(self):
        data = {'f': noise(5000, 4)}
        readers = self.held(data)
        self.store.kill_worker()
        self.store.stop()
        status, out, _ = finish(readers['f'])
        self.assertNotEqual(status, 0)
        self.assertEqual(out, b'')
        self.assertEqual(mounts_below(self.store.path), [])
        self.gate.release()
        self.store.start()

    def storm(self, kill, seconds=STORM):
        """16 readers of random cold files, small and large, while kill() strikes."""
        dice = random.Random(7)
        data = {'d%d/f%d' % (i % 7, i): noise(dice.choice((100, 5000, 70000, 400000, 2 * MIB)), i)
                for i in range(400)}
        self.engine(data, hydration='ranges')
        digests = {name: digest(content) for name, content in data.items()}
        names, running, killed = list(data), [], 0
        outputs = self.world.new_directory('outputs')
        dice.shuffle(names)
        end, next_kill = time.monotonic() + seconds, time.monotonic() + 0.3

        def check(name, process):
            status, _, err = finish(process)
            self.assertEqual(status, 0, (name, err))
            with open(os.path.join(outputs, os.path.basename(name)), 'rb') as f:
                got = f.read()
            if digest(got) != digests[name]:
                self.assertBytes(got, data[name], name + ', in the file now: %s' % difference(
                    self.read(self.file(name)), data[name]))
        read = 0
        while time.monotonic() < end:
            while names and len(running) < 16:
                name = names.pop()
                with open(os.path.join(outputs, os.path.basename(name)), 'wb') as out:
                    running.append((name, self.spawn(['cat', self.file(name)], stdout=out)))
            for item in [i for i in running if i[1].poll() is not None]:
                running.remove(item)
                check(*item)
                read += 1
            if not running and not names:
                break
            if time.monotonic() >= next_kill:
                kill()
                killed += 1
                next_kill = time.monotonic() + 0.3
            time.sleep(0.005)
        for item in running:
            check(*item)
        self.assertGreater(killed, 2)
        for name in names[::5] + dice.sample(list(data), 20):
            self.assertBytes(self.read(self.file(name)), data[name], name)
        wait_until(lambda: self.store.property('EventsPending') == 0, 'no event is left')

    def test_storm_of_worker_kills(self):
        def kill():
            try:
                os.kill(self.store.worker_pid(), signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.storm(kill)

    def test_storm_of_host_kills(self):
        def kill():
            pid = self.store.engine_property(self.engines[0], 'Pid')
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.storm(kill)


class FdStore(GateTest):
    """Supervisor and worker are killed together; the group lives on in the service manager's
    fd store, played by the harness."""

    @classmethod
    def make(cls):
        super().make()
        cls.store.stop()
        cls.store.start(fd_store={})

    def again(self):
        self.store.start(fd_store=self.store.fd_store)

    def test_layer_is_shown(self):
        self.assertIn('fdstore', self.store.property('Layers'))

    def test_both_killed_with_blocked_readers(self):
        data = {'f%d' % i: noise(5000 + 300000 * i, i) for i in range(8)}
        name = self.gated(data)
        self.gate.rule(name + '/*', 'hold')
        readers = {file: self.spawn(['cat', self.file(file)]) for file in data}
        wait_until(lambda: self.store.property('EventsPending') >= len(data), 'the readers wait')
        self.store.kill_both()
        self.assertEqual(len(self.store.fd_store), 2)
        late = self.spawn(['cat', self.file('f0')])
        self.assertIsNone(late.poll())
        self.again()
        self.gate.release()
        for file, reader in list(readers.items()) + [('f0', late)]:
            status, out, err = finish(reader)
            self.assertEqual(status, 0, (file, err))
            self.assertBytes(out, data[file], file)

    def test_both_killed_while_idle(self):
        name = self.gated({'f': noise(2 * MIB, 1)}, hydration='ranges')
        access('pread-at', self.file('f'), MIB, 100)
        self.store.kill_both()
        reader = self.spawn(['cat', self.file('f')])
        self.again()
        status, out, err = finish(reader)
        self.assertEqual(status, 0, err)
        self.assertBytes(out, noise(2 * MIB, 1))
        self.store.wait_state(name)

    def test_killed_while_it_stops(self):
        """A program has a file open that is partly here, the stop waits for it, and is killed: with a fd
        store that keeps the group, what it reads waits for the next start. (What systemd does with
        FileDescriptorStorePreserve=yes, from 254.)"""
        data = noise(4 * MIB, 3)
        name = self.gated({'f': data}, hydration='ranges')
        holder = self.spawn([ACCESS, 'hold-range', self.file('f'), '0', '4096'])
        self.assertEqual(holder.stdout.readline(), b'read\n')
        self.store.daemon.signal(signal.SIGTERM)
        wait_until(lambda: self.store.path not in mounts_below(self.world.dir), 'detached')
        self.store.kill_both()
        self.assertEqual(len(self.store.fd_store), 2)
        holder.stdin.write(b'go\n')
        holder.stdin.flush()
        self.again()
        self.store.wait_state(name)
        status, out, err = finish(holder)
        self.assertEqual(status, 0, err)
        self.assertBytes(out, data)
        self.assertEqual(mounts_below(self.store.path), [self.store.path])

    def test_killed_while_it_waits_for_what_is_not_shown(self):
        """The same, of a file that is in flight, when the worker is gone already."""
        name = self.gated({'f': noise(4 * MIB, 3)}, hydration='ranges')
        holder = self.spawn([sys.executable, '-c', FLIGHT, self.file('f'), str(2 * MIB), '4096'])
        self.assertEqual(holder.stdout.readline(), b'held\n')
        self.store.daemon.signal(signal.SIGTERM)
        wait_until(lambda: b'by what no process shows' in self.store.daemon.log_text(), 'it waits')
        self.store.daemon.kill()
        self.assertEqual(len(self.store.fd_store), 2)
        holder.stdin.write(b'go\n')
        holder.stdin.flush()
        self.again()
        self.store.wait_state(name)
        self.assertEqual((holder.stdout.readline(), holder.stdout.readline()), (b'bytes\n', b'read\n'))
        self.assertBytes(self.read(self.file('f')), noise(4 * MIB, 3))

    def test_both_killed_and_the_image_replaced(self):
        """By a copy, in which every file has its old number: what waits reads from the old one still."""
        if FS != 'ext4':
            self.skipTest('the kernel mounts no second one of the same UUID')
        name = self.gated({'f': noise(2 * MIB, 1)}, hydration='ranges')
        access('pread-at', self.file('f'), 0, 100)
        self.gate.rule(name + '/*', 'hold')
        reader = self.spawn([ACCESS, 'pread-at', self.file('f'), str(MIB), '4096'])
        wait_until(lambda: self.store.property('EventsPending') == 1, 'it waits')
        run(['sync', '-f', self.store.path])
        self.store.kill_both()
        while self.store.path in mounts_below(self.world.dir):
            run(['umount', '-l', self.store.path])
        run(['cp', '--sparse=always', self.store.image, self.store.image + '.copy'])
        os.replace(self.store.image + '.copy', self.store.image)
        self.gate.release()
        self.again()
        status, out, err = finish(reader)
        self.assertFalse(status == 0 and out == bytes(4096), 'zeros')
        self.assertIn(b'Input/output error', err)
        self.store.wait_state(name)
        self.assertBytes(self.read(self.file('f')), noise(2 * MIB, 1))

    def test_restart_without_a_failed_read(self):
        """A clean stop forgets the group: nothing is left in the fd store."""
        name = self.gated({'f': noise(5000, 2)})
        self.store.stop()
        self.store.notifications()
        self.assertEqual(self.store.fd_store, {})
        self.again()
        self.store.wait_state(name)
        self.assertBytes(self.read(self.file('f')), noise(5000, 2))


class PathAloneWorker(PathAlone, Worker):
    """The same with Path= alone. (The storms are about the worker, not about the store.)"""

    SIZE = '512M'
    test_storm_of_worker_kills = test_storm_of_host_kills = None

    def test_before_the_start(self):
        """Nothing protects a file system that somebody else mounted before the daemon marks it: zeros.
        What was read then does not stay."""
        data = {'f': noise(50000, 5), 'g': noise(2 * MIB, 6)}
        name = self.gated(data)
        self.store.stop()
        self.store.mount()
        for file, content in data.items():
            self.assertEqual(self.read(self.file(file)), bytes(len(content)), 'README.md is too modest')
        self.store.start()
        self.store.wait_state(name)
        for file, content in data.items():
            self.assertBytes(self.read(self.file(file)), content, file)


class PathAloneFdStore(PathAlone, FdStore):
    """The same with Path= alone, and a service manager."""

    FD_STORE = {}


del PathAlone


if __name__ == '__main__':
    main()
