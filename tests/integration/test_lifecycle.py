#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Starting, stopping, restarting, refusing to start; a full disk; hosts that die or hang."""

import errno
import os
import shutil
import signal
import time

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

PER_FILESYSTEM = True

UNRULY_LARGE = bytes((i * 7 + i // 4096) & 255 for i in range(3000000))


def no_access_when_stopped(test):
    data = {'d%d/f%03d' % (i % 10, i): b'content %d' % i for i in range(1000)}
    test.engine(data)
    paths = [test.file(name) for name in data]
    test.store.stop()

    def attempts():
        seen = {}
        for path in paths:
            try:
                with open(path, 'rb') as f:
                    what = 'zeros' if f.read().strip(b'\0') == b'' else 'bytes'
            except OSError as e:
                what = errno.errorcode[e.errno]
            seen[what] = seen.get(what, 0) + 1
        return seen
    test.assertEqual(isolated(attempts), {'ENOENT': 1000})


THREAD = """
import ctypes, os, sys, threading, time
f = open(sys.argv[1], 'rb')
def stay():
    time.sleep(0.2)
    os.write(1, b'open\\n')
    time.sleep(600)
threading.Thread(target=stay).start()
ctypes.CDLL(None).syscall(60, 0)  # exit(2): this thread alone
"""


class Unseen:
    """Who has a file open, and is shown by no process."""

    def stops_unseen(self, *holder, before=None, after=None, status=0):
        """Somebody whom no process shows has a file of which a part is here: the group stays until that is gone.
        before, after: what is done before the stop and after it. status: how the daemon ends."""
        data = noise(4 * MIB, 5)
        self.serve_in_ranges({'f': data})
        holder = self.spawn([a if a != 'FILE' else self.file('f') for a in holder] + [str(2 * MIB), '4096'])
        self.assertEqual(holder.stdout.readline(), b'held\n')
        if before:
            before()
        self.store.daemon.signal(signal.SIGTERM)
        log = self.store.daemon.log_text
        wait_until(lambda: b'by what no process shows' in log() or not self.store.daemon.alive(), 'the stop goes on')
        self.assertTrue(self.store.daemon.alive(), 'the group is gone, and a file is open')
        holder.stdin.write(b'go\n')
        holder.stdin.flush()
        self.assertEqual((holder.stdout.readline(), holder.stdout.readline()), (b'EIO\n', b'read\n'))
        self.assertTrue(self.store.daemon.alive())
        self.assertNotIn(self.store.path, mounts_below(self.world.dir))
        holder.stdin.write(b'go\n')
        holder.stdin.flush()
        self.assertEqual(self.store.daemon.wait(), status)
        if after:
            after()
        wait_until(lambda: not loops_below(self.world.dir), 'the loop device goes')
        self.start_again()
        self.assertBytes(self.read(self.file('f')), data)

    def test_stop_with_a_file_in_flight(self):
        self.stops_unseen(sys.executable, '-c', FLIGHT, 'FILE')

    def test_stop_with_another_node_in_dev(self):
        """What has the store's name in /dev is not its device any more."""
        node = loops_below(self.store.image)[0]
        self.addCleanup(run, ['umount', '-q', node], check=False)
        self.stops_unseen(sys.executable, '-c', FLIGHT, 'FILE', after=lambda: run(['umount', node]),
                          before=lambda: run(['mount', '--bind', '/dev/null', node]))

    def test_stop_whose_worker_is_killed(self):
        """The worker dies while it stops: nothing is attached again."""
        def before():
            self.store.daemon.signal(signal.SIGTERM)
            wait_until(lambda: self.store.path not in mounts_below(self.world.dir), 'detached')
            os.kill(self.store.worker_pid(), signal.SIGKILL)
        self.stops_unseen(sys.executable, '-c', FLIGHT, 'FILE', before=before, status=1)


class Stopping(Unseen, GateTest):

    def test_stop_after_a_device_is_replaced(self):
        """btrfs moves to another block device, and the one that it was mounted from is free."""
        if FS != 'btrfs':
            self.skipTest('of btrfs alone')
        other = self.world.path('other.img')
        with open(other, 'wb') as f:
            f.truncate(1 << 30)
        loop = run(['losetup', '--find', '--show', other]).stdout.decode().strip()
        old = loops_below(self.store.image)[0]

        def after():
            run(['losetup', '--detach', loop])
            run(['cp', '--sparse=always', other, self.store.image])
        self.stops_unseen(
            sys.executable, '-c', FLIGHT, 'FILE', after=after,
            before=lambda: run(['btrfs', 'replace', 'start', '-B', '-f', old, loop, self.store.path]))

    def serve_in_ranges(self, files):
        self.gated(files, hydration='ranges')

    def start_again(self):
        self.store.start()

    def no_zeros(self, process, data, what):
        """A process that was reading `data` when the daemon stopped: it failed, or what it read
        is right. Returns whether it failed."""
        status, out, err = finish(process)
        self.assertBytes(out, data[:len(out)], what)
        if status == 0:
            self.assertEqual(len(out), len(data), what + ': success without all bytes')
        return status != 0, err

    def test_stop_with_blocked_readers(self):
        data = {'f%d' % i: noise(50000 + i, i) for i in range(8)}
        name = self.gated(data)
        self.gate.rule(name + '/*', 'hold')
        readers = {file: self.spawn(['cat', self.file(file)]) for file in data}
        wait_until(lambda: self.store.property('EventsPending') >= 8, 'the readers wait')
        self.store.stop()
        for file, reader in readers.items():
            failed, err = self.no_zeros(reader, data[file], file)
            self.assertTrue(failed)
            self.assertIn(b'Input/output error', err)
        self.assertEqual(mounts_below(self.store.path), [])
        wait_until(lambda: not loops_below(self.world.dir), 'the loop device goes')
        self.gate.release()
        self.store.start()
        self.store.wait_state(name)
        for file in data:
            self.assertBytes(self.read(self.file(file)), data[file], file)

    def test_stop_during_a_transfer(self):
        """Half of a file has come: after the restart the rest comes, and all is right."""
        data = noise(3 * MIB, 1)
        name = self.gated({'f': data})
        self.gate.rule(name + '/*', 'stall', after=1500000)
        reader = self.spawn(['cat', self.file('f')])
        self.gate.wait_waiting()
        self.store.stop()
        failed, _ = self.no_zeros(reader, data, 'the reader')
        self.assertTrue(failed)
        self.gate.release()
        self.store.start()
        self.store.wait_state(name)
        self.assertBytes(self.read(self.file('f')), data)

    def test_stop_with_an_open_file(self):
        """A file fetched in part is open: what is read of it after SIGTERM is right or an error."""
        data = noise(4 * MIB, 2)
        self.gated({'f': data}, hydration='ranges')
        holder = self.spawn([ACCESS, 'hold-range', self.file('f'), '0', '4096'])
        self.assertEqual(holder.stdout.readline(), b'read\n')
        self.store.daemon.signal(signal.SIGTERM)
        wait_until(lambda: self.store.path not in mounts_below(self.world.dir), 'detached')
        who = b'(process %d: an open file)' % holder.pid
        wait_until(lambda: who in self.store.daemon.log_text(), 'it tells whom it waits for')
        wait_until(lambda: any(line.startswith('STATUS=Waiting') and who.decode() in line
                               for line in self.store.notifications()), 'the service manager is told')
        holder.stdin.write(b'go\n')
        holder.stdin.flush()
        self.no_zeros(holder, data, 'the open file')
        self.assertEqual(self.store.daemon.wait(), 0)
        wait_until(lambda: not loops_below(self.world.dir), 'the loop device goes')
        self.store.start()
        self.store.wait_state(self.engines[0])
        self.assertBytes(self.read(self.file('f')), data)

    def test_stop_with_a_file_open_in_a_thread(self):
        """Its process's first thread has ended, and shows no files any more."""
        data = noise(4 * MIB, 2)
        self.gated({'f': data}, hydration='ranges')
        holder = self.spawn([sys.executable, '-c', THREAD, self.file('f')])
        self.assertEqual(holder.stdout.readline(), b'open\n')
        self.store.daemon.signal(signal.SIGTERM)
        wait_until(lambda: self.store.path not in mounts_below(self.world.dir), 'detached')
        who = b'(process %d: an open file)' % holder.pid
        wait_until(lambda: who in self.store.daemon.log_text() or not self.store.daemon.alive(), 'the stop goes on')
        self.assertTrue(self.store.daemon.alive(), 'the group is gone, and a file is open')
        kill_session(holder.pid)
        self.assertEqual(self.store.daemon.wait(), 0)
        self.store.start()

    def test_stop_with_a_file_in_an_io_uring(self):
        self.stops_unseen(ACCESS, 'hold-uring', 'FILE')

    def test_stop_with_a_loop_device_on_a_file(self):
        self.gated({'f': noise(MIB, 7)})
        loop = run(['losetup', '--find', '--show', '--read-only', self.file('f')]).stdout.decode().strip()
        try:
            self.store.daemon.signal(signal.SIGTERM)
            wait_until(lambda: b'by what no process shows' in self.store.daemon.log_text() or
                       not self.store.daemon.alive(), 'the stop goes on')
            self.assertTrue(self.store.daemon.alive())
        finally:
            run(['losetup', '--detach', loop])
        self.assertEqual(self.store.daemon.wait(), 0)
        self.store.start()

    def test_no_access_when_stopped(self):
        """A thousand placeholders, asked for by path while no daemon runs: none is there."""
        no_access_when_stopped(self)
        self.store.start()

    def test_stop_with_a_directory_open(self):
        """A working directory in the store keeps the superblock, not the mark."""
        data = noise(5000, 3)
        self.gated({'f': data})
        sitter = self.spawn(['sh', '-c', 'cd "$1" && echo in && read x && exec cat f', 'sh',
                             self.file()])
        self.assertEqual(sitter.stdout.readline(), b'in\n')
        self.store.daemon.signal(signal.SIGTERM)
        wait_until(lambda: self.store.path not in mounts_below(self.world.dir), 'detached')
        sitter.stdin.write(b'go\n')
        sitter.stdin.flush()
        self.no_zeros(sitter, data, 'by the working directory')
        self.assertEqual(self.store.daemon.wait(), 0)
        self.store.start()

    def test_stop_under_load(self):
        """Readers all over the place while SIGTERM comes; several times."""
        data = {'d%d/f%d' % (i % 5, i): noise(20000 + 997 * i, i) for i in range(120)}
        data['large'] = noise(4 * MIB, 4)
        directory = self.world.new_directory('outputs')
        for turn in range(3):
            name = self.gated(data, hydration='ranges')
            readers = []
            for file in data:
                for verb in ('mmap-private', 'pread', 'uring') if file == 'large' else ('read',):
                    out = os.path.join(directory, '%d-%s-%s' % (turn, verb, os.path.basename(file)))
                    with open(out, 'wb') as f:  # a full pipe would keep the file open
                        readers.append((file, out, self.spawn([ACCESS, verb, self.file(file)],
                                                              stdout=f)))
            wait_until(lambda: self.store.property('EventsAnswered') > 0, 'some are answered')
            self.store.stop()
            for file, out, reader in readers:
                status, _, _ = finish(reader)
                with open(out, 'rb') as f:
                    got = f.read()
                self.assertBytes(got, data[file][:len(got)], '%s, turn %d' % (file, turn))
                if status == 0:
                    self.assertEqual(len(got), len(data[file]), file)
            self.store.start()
            self.store.wait_state(name)
            for file in list(data)[::9] + ['large']:
                self.assertBytes(self.read(self.file(file)), data[file], file)

    def test_restart_many_times(self):
        name = self.gated({'f%d' % i: noise(3000, i) for i in range(6)})
        for i in range(6):
            self.store.restart()
            self.store.wait_state(name)
            self.assertBytes(self.read(self.file('f%d' % i)), noise(3000, i))
            if i < 5:
                self.assertCold(self.file('f5'))

    def test_start_after_kill(self):
        """After SIGKILL, with nobody waiting, the next daemon serves what is cold."""
        data = {'a': noise(5000, 1), 'b': noise(2 * MIB, 2), 'c': noise(7000, 3)}
        name = self.gated(data, hydration='ranges')
        self.read(self.file('a'))
        access('pread-at', self.file('b'), MIB, 100)
        self.store.kill()
        wait_until(lambda: not loops_below(self.world.dir), 'the loop device goes')
        # As after a boot: there is nothing to be read before the daemon is there.
        self.assertEqual(os.listdir(self.store.path), [])
        self.store.start()
        self.store.wait_state(name)
        for file in data:
            self.assertBytes(self.read(self.file(file)), data[file], file)

    def test_notify(self):
        self.store.stop()
        lines = self.store.notifications()
        self.assertIn('STOPPING=1', lines)
        self.store.start()


class Refusing(CloudsyncTest):
    """One clear line each, an exit status, nothing left mounted."""

    def refused(self, store, *words, extra=()):
        store.start(*extra, wait=False)
        status = store.daemon.wait()
        self.assertNotEqual(status, 0)
        text = store.daemon.log_text().decode('utf-8', 'replace')
        self.assertNotIn('READY=1', store.notifications())
        lines = [line for line in text.splitlines() if line.strip()]
        self.assertTrue(lines, 'it says nothing')
        for word in words:
            self.assertIn(word.lower(), lines[-1].lower())
        self.assertEqual(mounts_below(store.path), [])
        self.assertEqual([l for l in loops_below(self.world.dir)
                          if l not in self.loops], [], 'a loop device is left')
        return text

    def setUp(self):
        super().setUp()
        self.loops = loops_below(self.world.dir)

    def another(self, **config):
        self.world.counter += 1
        store = Store(self.world, Bus(self.world, 'bus%d' % self.world.counter),
                      name='store%d' % self.world.counter)
        store.configure(config)
        return store

    def test_second_daemon_on_the_same_store(self):
        second = self.another()
        second.image = self.store.image
        second.configure({})
        self.refused(second)
        self.engine({'f': b'still served'})
        self.assertEqual(self.read(self.file('f')), b'still served')

    def test_unknown_key(self):
        self.refused(self.another(Hydration={'FulBelow': '1M'}), 'FulBelow')

    def test_bad_value(self):
        self.refused(self.another(Hydration={'FullBelow': 'much'}), 'FullBelow')

    def test_no_such_device(self):
        store = self.another(Store={'Device': self.world.path('missing.img')})
        self.refused(store, 'missing.img')

    def test_not_a_file_system(self):
        junk = self.world.path('junk.img')
        with open(junk, 'wb') as f:
            f.write(noise(MIB))
        self.refused(self.another(Store={'Device': junk}), 'junk.img')

    def test_no_such_path(self):
        self.refused(self.another(Store={'Path': self.world.path('nowhere')}), 'nowhere')

    def test_path_that_is_no_mount(self):
        plain = self.world.new_directory('plain')
        self.refused(self.another(Store={'Path': plain, 'Device': None}), plain)

    def test_file_system_that_cannot(self):
        """tmpfs takes no pre-content mark."""
        point = self.world.new_directory('tmpfs')
        run(['mount', '-t', 'tmpfs', 'none', point])
        try:
            store = self.another(Store={'Path': point, 'Device': None})
            store.start(wait=False)
            self.assertNotEqual(store.daemon.wait(), 0)
            self.assertIn('tmpfs', store.daemon.log_text().decode())
        finally:
            run(['umount', point])

    def test_bus_that_is_not_there(self):
        store = self.another()
        store.bus.kill()
        self.refused(store)

    def test_module_directory_of_others(self):
        """Modules that somebody else may write are refused, with the reason."""
        store = self.another()
        store.modules = self.world.new_directory('their-modules')
        shutil.copy(self.store.modules + '/httpfs.so', store.modules)
        os.chmod(store.modules + '/httpfs.so', 0o664)
        store.start()
        result = store.register('e', 'httpfs', 'e', {'url': self.web.url()}, check=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn('writ', result.stderr)
        store.stop()
        store.bus.kill()


class MountedAlready(Unseen, CloudsyncTest):
    """Path= without Device=: a file system that somebody else mounted. It is unmounted when the
    daemon stops: without it a read of a placeholder would give zeros."""

    @classmethod
    def make(cls):
        cls.bus = Bus(cls.world)
        cls.web = Web(cls.world)
        cls.store = Store(cls.world, cls.bus)
        cls.mount()
        cls.store.configure(dict(cls.CONFIG, Store={'Device': None}))
        cls.store.start()

    @classmethod
    def mount(cls):
        run(['mount', '-o', 'loop', cls.store.image, cls.store.path])

    def serve_in_ranges(self, files):
        self.engine(files, hydration='ranges')

    def start_again(self):
        self.mount()
        self.store.start()

    def test_serves(self):
        data = {'a': noise(5000, 1), 'b': zero_runs(2 * MIB, 2)}
        self.engine(data)
        for file in data:
            self.assertBytes(self.read(self.file(file)), data[file])

    def test_stop_and_start(self):
        self.engine({'f': noise(5000, 3)})
        self.store.stop()
        wait_until(lambda: not loops_below(self.world.dir), 'the loop device goes')
        self.mount()
        self.store.start()
        self.store.wait_state(self.engines[0])
        self.assertBytes(self.read(self.file('f')), noise(5000, 3))


    def test_no_access_when_stopped(self):
        no_access_when_stopped(self)
        self.mount()
        self.store.start()

    def test_started_in_the_store(self):
        """The supervisor's own working directory does not keep it from its end."""
        self.store.stop()
        self.mount()
        before = os.getcwd()
        os.chdir(self.store.path)
        try:
            self.store.start()
        finally:
            os.chdir(before)
        self.store.stop()
        self.mount()
        self.store.start()


class FullDisk(CloudsyncTest):

    def fill(self, leave):
        """Leaves about so many bytes."""
        ballast = self.store.file('ballast')
        for _ in range(20):
            free = os.statvfs(self.store.path)
            free = free.f_bavail * free.f_frsize - leave
            if free < 256 * KIB:
                return
            size = os.path.getsize(ballast) if os.path.exists(ballast) else 0
            result = run(['fallocate', '-o', str(size), '-l', str(free), ballast], check=False)
            if result.returncode != 0:
                run(['fallocate', '-o', str(size), '-l', str(max(free // 2, 65536)), ballast],
                    check=False)
            run(['sync', '-f', self.store.path])

    def test_full_and_free_again(self):
        data = {'big%d' % i: noise(24 * MIB, i) for i in range(2)}
        data['small'] = noise(3000, 5)
        self.engine(data)
        self.fill(4 * MIB)
        for file in ('big0', 'big1'):
            self.assertEqual(self.read_error(self.file(file)), errno.ENOSPC, file)
        self.assertTrue(self.store.daemon.alive())
        os.unlink(self.store.file('ballast'))
        run(['sync', '-f', self.store.path])
        for file in data:
            wait_until(lambda file=file: self.read_error(self.file(file)) == 0, file + ' is readable')
            self.assertBytes(self.read(self.file(file)), data[file], file)


class Hosts(GateTest):
    """An engine host that dies or hangs in the middle: nobody notices but the log."""

    def test_killed_during_a_transfer(self):
        data = noise(3 * MIB, 1)
        name = self.gated({'f': data})
        self.gate.rule(name + '/*', 'stall', after=1500000, times=1)
        reader = self.spawn(['cat', self.file('f')])
        self.gate.wait_waiting()
        os.kill(self.store.host_pid(name), signal.SIGKILL)
        status, out, err = finish(reader)
        self.assertEqual(status, 0, err)
        self.assertBytes(out, data)
        self.assertGreaterEqual(self.store.engine_property(name, 'HostRestarts'), 1)

    def test_killed_while_idle(self):
        name = self.gated({'f': noise(5000, 2)})
        os.kill(self.store.host_pid(name), signal.SIGKILL)
        self.assertBytes(self.read(self.file('f')), noise(5000, 2))

    def test_killed_many_times(self):
        """Under 12 readers of small and large files."""
        data = {'f%d' % i: noise(20000 + 100000 * (i % 12), i) for i in range(60)}
        name = self.gated(data, hydration='ranges')
        readers = [(file, self.spawn(['cat', self.file(file)])) for file in data]
        for _ in range(4):
            pid = self.store.engine_property(name, 'Pid')
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                wait_until(lambda pid=pid: self.store.engine_property(name, 'Pid') not in (0, pid),
                           'a new host')
        for file, reader in readers:
            status, out, err = finish(reader)
            self.assertEqual(status, 0, err)
            self.assertBytes(out, data[file], file)

    def test_stopped_host_is_replaced(self):
        data = noise(5000, 3)
        name = self.gated({'f': data})
        pid = self.store.host_pid(name)
        os.kill(pid, signal.SIGSTOP)
        self.assertBytes(self.read(self.file('f'), timeout=240), data)
        self.assertNotEqual(self.store.host_pid(name), pid)

    def test_unruly_once(self):
        self.engine(module='unruly', mode='once')
        self.assertBytes(self.read(self.file('large')), UNRULY_LARGE)

    def test_crash_at_every_start(self):
        """Reported as failed; its readers get EIO; the others never notice."""
        self.engine({'f': b'the other'}, name='other')
        other = self.file('f')
        self.engine(module='unruly', mode='fine', name='crasher')
        self.store.unregister('crasher')
        self.engine(module='unruly', mode='open', name='crasher', wait='failed')
        self.assertNotEqual(self.store.engine_property('crasher', 'StateDetail'), '')
        self.assertEqual(self.read_error(self.file('large')), errno.EIO)
        self.assertEqual(self.read(other), b'the other')
        self.assertEqual(self.store.engine_state('other'), 'ready')

    def test_module_that_refuses(self):
        self.engine(module='unruly', mode='refuse', wait='failed')
        self.assertNotEqual(self.store.engine_property(self.engines[0], 'StateDetail'), '')

    def test_crash_in_every_fetch(self):
        self.engine({'f': b'the other'}, name='other')
        other = self.file('f')
        self.engine(module='unruly', mode='fetch')
        self.assertEqual(self.read_error(self.file('large'), timeout=300), errno.EIO)
        self.assertEqual(self.read(other), b'the other')

    def test_answers_too_short_or_too_much(self):
        """What was delivered is right; the host turns the lie into an error or it is asked again."""
        for mode in ('short', 'too-much'):
            self.engine(module='unruly', mode=mode)
            for file, data in (('small', UNRULY_LARGE[:1000]), ('large', UNRULY_LARGE)):
                error = self.read_error(self.file(file), timeout=300)
                self.assertIn(error, (0, errno.EIO), (mode, file))
                if error == 0:
                    self.assertBytes(self.read(self.file(file)), data, (mode, file))

    def test_errnos(self):
        """What an engine says of a fetch, and what the reader gets."""
        for number in (errno.ENOENT, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO):
            self.engine(module='unruly', mode='errno', errno=str(number))
            self.assertEqual(self.read_error(self.file('small')), errno.EIO, number)

    def test_impossible_names(self):
        self.engine(module='unruly', mode='names')
        self.assertEqual(sorted(isolated(lambda: os.listdir(self.file()))), ['large', 'small'])
        self.assertBytes(self.read(self.file('small')), UNRULY_LARGE[:1000])
        self.assertGreaterEqual(self.store.engine_property(self.engines[0], 'EntriesSkipped'), 5)

    def test_host_has_no_view_of_the_store(self):
        """Another user, no capabilities, no new privileges, the store not in its mounts."""
        name = self.gated({'f': noise(5000, 4)})
        pid = self.store.host_pid(name)
        with open('/proc/%d/status' % pid, encoding='utf-8') as f:
            status = dict(line.rstrip('\n').split(':\t', 1) for line in f if ':\t' in line)
        self.assertNotEqual(status['Uid'].split(), ['0'] * 4)
        for key in ('CapEff', 'CapPrm', 'CapInh', 'CapAmb', 'CapBnd'):
            self.assertEqual(int(status[key], 16), 0, key)
        self.assertEqual(status['NoNewPrivs'], '1')
        self.assertEqual(status['Seccomp'], '2')
        seen = isolated(lambda: os.path.exists('/proc/%d/root%s' % (pid, self.file('f'))))
        self.assertFalse(seen, 'the host sees the store')


class Deadline(GateTest):

    CONFIG = {'Hydration': {'FullBelow': '1M', 'Deadline': '3'}}

    def test_server_that_never_answers(self):
        data = noise(5000, 1)
        name = self.gated({'f': data})
        self.gate.rule(name + '/*', 'hold')
        began = time.monotonic()
        self.assertEqual(self.read_error(self.file('f')), errno.EIO)
        self.assertGreater(time.monotonic() - began, 2.5)
        self.gate.release()
        self.assertBytes(self.read(self.file('f')), data)

    def test_server_that_is_down(self):
        """EIO within the deadline, and service again when it is back."""
        data = {'f': noise(5000, 2), 'g': noise(2 * MIB, 3)}
        name = self.gated(data)
        self.gate.kill()
        began = time.monotonic()
        for file in data:
            self.assertEqual(self.read_error(self.file(file)), errno.EIO)
        self.assertLess(time.monotonic() - began, 30 * SLOW)
        self.gate.again()
        for file in data:
            wait_until(lambda file=file: self.read_error(self.file(file)) == 0, 'it is back')
            self.assertBytes(self.read(self.file(file)), data[file])
        self.assertIn(self.store.engine_state(name), ('ready', 'listing'))

    def test_hanging_engine(self):
        self.engine(module='unruly', mode='hang')
        self.assertEqual(self.read_error(self.file('small')), errno.EIO)
        self.assertTrue(self.store.daemon.alive())


if FS != 'ext4':  # these do not depend on the file system, and take their time
    del Refusing, Hosts, Deadline


if __name__ == '__main__':
    main()
