#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can happen to the store's file system and its disk: no inodes left, read-only, unmounted by
somebody, shut down, its backing disk gone. Readers get right bytes or an error, the daemon lives and
does not spin, and when the cause is gone all is well, or the log says what to do."""

import errno
import fcntl
import os
import signal
import struct
import time

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import
from support.outlive import OutliveTest

PER_FILESYSTEM = True

FS_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32): ext4, xfs
SHUTDOWN_NOLOGFLUSH = 2
# EPERM: the kernel's own answer, where it could not open the file for the event.
DEAD = (errno.EIO, errno.EROFS, errno.EPERM)


def shut_down(path):
    """The file system at `path` is dead from now on, as if its disk had gone."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack('I', SHUTDOWN_NOLOGFLUSH))
    finally:
        os.close(fd)


class MachineTest(OutliveTest):

    def worker_cpu(self):
        with open('/proc/%d/stat' % self.store.worker_pid(), encoding='ascii', errors='replace') as f:
            fields = f.read().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def idle(self):
        """Alive, and at rest, give or take what was begun. (A worker that cannot take over a dead disk is
        tried again once a second.)"""
        self.assertTrue(self.store.daemon.alive())

        def rests():
            worker, before = self.store.worker_pid(), self.worker_cpu()
            time.sleep(0.5)
            return self.store.worker_pid() != worker or self.worker_cpu() - before < 0.2 * SLOW
        wait_until(rests, 'the daemon does not spin')

    def right_or_error(self, name, data, *errors):
        """Not one wrong byte. The errno, or 0."""
        path = self.file(name)

        def attempt():
            got = b''
            try:
                with open(path, 'rb', buffering=0) as f:
                    while True:
                        piece = f.read(1 << 20)
                        if not piece:
                            break
                        got += piece
                number = 0
            except OSError as e:
                number = e.errno
            return number, got
        number, got = isolated(attempt)
        self.assertBytes(got, data[:len(got)], name)
        if number == 0:
            self.assertEqual(len(got), len(data), name)
        else:
            self.assertIn(number, errors, name)
        return number

    def well_again(self, data):
        for name, content in data.items():
            wait_until(lambda name=name: self.read_error(self.file(name)) == 0, name + ' can be read')
            self.assertBytes(self.read(self.file(name)), content, name)


class ReadOnly(MachineTest):

    def remount(self, *options):
        """A superblock becomes read-only only while nobody writes."""
        wait_until(lambda: run(['mount', '-o', ','.join(('remount',) + options), self.store.path],
                               check=False).returncode == 0, 'it is remounted')

    def test_public_mount(self):
        """Programs may not write; what they read is fetched all the same."""
        data = {'f': noise(5000, 1), 'g': noise(2 * MIB, 2)}
        self.gated(data)
        self.remount('bind', 'ro')
        try:
            for name, content in data.items():
                self.assertBytes(self.read(self.file(name)), content, name)
            self.assertEqual(isolated(lambda: self.writes('f')), errno.EROFS)
            self.die()
            self.assertBytes(self.read(self.file('g')), data['g'])
            self.assertEqual(isolated(lambda: self.writes('f')), errno.EROFS)
        finally:
            self.remount('bind', 'rw')
        self.assertEqual(isolated(lambda: self.writes('f')), 0)

    def writes(self, name):
        try:
            with open(self.file(name), 'r+b') as f:
                f.write(b'mine')
            return 0
        except OSError as e:
            return e.errno

    def test_superblock(self):
        """Nothing can be fetched, also by the next worker; what is whole is read; then all goes on."""
        data = {'d%d/f' % i: noise(5000 + i, i) for i in range(6)}
        name = self.gated(data)
        self.assertBytes(self.read(self.file('d0/f')), data['d0/f'])
        self.settled(name)
        self.remount('ro')
        try:
            self.assertBytes(self.read(self.file('d0/f')), data['d0/f'])
            self.assertNotEqual(self.right_or_error('d1/f', data['d1/f'], errno.EROFS, errno.EIO), 0)
            self.die()
            self.pending(0)
            self.assertBytes(self.read(self.file('d0/f')), data['d0/f'])
            for i in range(1, 4):
                self.assertNotEqual(self.right_or_error('d%d/f' % i, data['d%d/f' % i], errno.EROFS, errno.EIO), 0)
            self.idle()
        finally:
            self.remount('rw')
        self.well_again(data)
        more = {'new/f': noise(5000, 99)}
        self.gated(more)  # directories can be made again
        self.assertBytes(self.read(self.file('new/f')), more['new/f'])

    def test_stopped_and_started(self):
        """A start says why it cannot, and leaves nothing; the next one can."""
        data = {'f': noise(5000, 1)}
        name = self.gated(data)
        self.store.stop()
        wait_until(lambda: not loops_below(self.world.dir), 'the loop device goes')
        os.chmod(self.store.image, 0o400)
        run(['mount', '--bind', self.store.image, self.store.image])
        run(['mount', '-o', 'remount,bind,ro', self.store.image])
        try:
            self.store.start(wait=False)
            self.assertNotEqual(self.store.daemon.wait(), 0)
            self.assertIn(b'Read-only file system', self.store.daemon.log_text())
            self.assertEqual(mounts_below(self.store.path), [])
        finally:
            run(['umount', self.store.image])
        self.store.start()
        self.settled(name)
        self.well_again(data)


class Unmounted(MachineTest):

    def test_by_somebody_else(self):
        """By path nobody gets in; who has something open is served; the log says what to do."""
        data = noise(4 * MIB, 2)
        name = self.gated({'f': data, 'g': noise(5000, 1)}, hydration='ranges')
        holder = self.spawn([ACCESS, 'hold-range', self.file('f'), '0', '4096'])
        self.assertEqual(holder.stdout.readline(), b'read\n')
        run(['umount', '-l', self.store.path])
        self.assertEqual(isolated(lambda: os.listdir(self.store.path)), [])
        wait_until(lambda: b'was unmounted by somebody else' in self.store.daemon.log_text(), 'it is said')
        status, out, err = finish(holder, input=b'go\n')
        self.assertEqual(status, 0, err)
        self.assertBytes(out, data)
        self.idle()
        worker = self.store.worker_pid()
        self.store.daemon.signal(signal.SIGHUP)  # what it says
        wait_until(lambda: self.store.worker_pid() != worker, 'there is a new worker')
        wait_until(lambda: self.store.path in mounts_below(self.world.dir), 'it is back')
        self.settled(name)
        self.assertBytes(self.read(self.file('g')), noise(5000, 1))
        self.assertEqual(mounts_below(self.store.path), [self.store.path])

    def test_and_the_worker_killed(self):
        data = {'f': noise(5000, 1)}
        name = self.gated(data)
        run(['umount', '-l', self.store.path])
        self.die()
        wait_until(lambda: self.store.path in mounts_below(self.world.dir), 'it is back')
        self.settled(name)
        self.well_again(data)

    def test_and_stopped(self):
        data = {'f': noise(5000, 1)}
        name = self.gated(data)
        run(['umount', '-l', self.store.path])
        self.store.stop()
        wait_until(lambda: not loops_below(self.world.dir), 'the loop device goes')
        self.store.start()
        self.settled(name)
        self.well_again(data)

    def test_loop_device_detached(self):
        """losetup -d of a device in use takes effect when its last user goes: nobody notices."""
        data = {'f': noise(5000, 1), 'g': noise(2 * MIB, 2)}
        name = self.gated(data)
        for loop in loops_below(self.world.dir):
            run(['losetup', '-d', loop], check=False)
        self.assertBytes(self.read(self.file('f')), data['f'])
        self.die()
        self.settled(name)
        self.well_again(data)

    def test_image_removed(self):
        """Its name only: the loop device has it. Also over the worker's death."""
        data = {'f': noise(5000, 1), 'g': noise(2 * MIB, 2)}
        name = self.gated(data)
        aside = self.store.image + '.aside'
        os.rename(self.store.image, aside)
        try:
            self.die()
            self.settled(name)
            self.well_again(data)
        finally:
            os.rename(aside, self.store.image)


class Dead(MachineTest):
    """The disk is gone. Nothing brings this mount back: a stop and a start do."""

    def again(self, name, data, before=lambda: None):
        # 1: no worker could be started on it, and the supervisor brought about the end.
        self.assertIn(self.store.daemon.stop(), (0, 1))
        self.assertNotIn(self.store.path, mounts_below(self.world.dir))
        wait_until(lambda: self.store.image not in [
            open(p, encoding='utf-8').read().strip() for p in glob.glob('/sys/block/loop*/loop/backing_file')],
                   'the loop device goes')
        before()
        self.store.start()
        self.settled(name)
        self.well_again(data)

    def files(self):
        data = {'d%d/f' % i: noise(5000 + i, i) for i in range(8)}
        data['large'] = noise(3 * MIB, 50)
        return data

    def test_file_system_shut_down(self):
        if FS == 'btrfs':
            self.skipTest('btrfs of this kernel has no FS_IOC_SHUTDOWN; see test_backing_disk_dies')
        data = self.files()
        name = self.gated(data)
        self.assertBytes(self.read(self.file('d0/f')), data['d0/f'])
        self.gate.rule(name + '/*', 'hold')
        waiting = self.spawn(['cat', self.file('d1/f')])
        self.pending(1)
        shut_down(self.store.path)
        self.gate.release()
        status, out, _ = finish(waiting)
        self.assertBytes(out, data['d1/f'][:len(out)])
        self.assertEqual(status == 0, len(out) == len(data['d1/f']))
        for file, content in data.items():
            self.right_or_error(file, content, *DEAD)
        self.idle()
        self.die()
        for file in list(data)[:3]:  # each may wait for a next try to take over
            self.right_or_error(file, data[file], *DEAD)
        self.idle()
        self.again(name, data)

    def test_image_truncated(self):
        """By somebody's mistake. What was in the store is lost; a new one is filled again."""
        data = self.files()
        name = self.gated(data)
        self.assertBytes(self.read(self.file('d0/f')), data['d0/f'])
        run(['sync', '-f', self.store.path])
        os.truncate(self.store.image, MIB)
        for file, content in data.items():
            self.right_or_error(file, content, *DEAD)
        run(['sync', '-f', self.store.path], check=False)
        for file in list(data)[:3]:
            self.right_or_error(file, data[file], *DEAD)
        self.idle()

        def new_image():
            os.unlink(self.store.image)
            run([CTL, 'store', 'create', '--size', self.SIZE, '--fs', FS, self.store.image])
        self.again(name, data, new_image)


class Backing(Dead):
    """The image lies on a file system of its own, whose disk goes."""

    test_file_system_shut_down = test_image_truncated = None

    @classmethod
    def make(cls):
        cls.bus = Bus(cls.world)
        cls.web = Web(cls.world)
        cls.disk = cls.world.path('disk')
        os.mkdir(cls.disk)
        run(['truncate', '-s', '1200M', cls.disk + '.img'])
        run(['mkfs.ext4', '-q', cls.disk + '.img'])
        cls.mount()
        cls.store = Store(cls.world, cls.bus, size=cls.SIZE, config=cls.CONFIG)
        run(['cp', '--sparse=always', cls.store.image, cls.disk + '/store.img'])
        os.unlink(cls.store.image)
        cls.store.image = cls.disk + '/store.img'
        cls.store.configure(cls.CONFIG)
        cls.store.start()
        cls.gate = Gate(cls.world)

    @classmethod
    def mount(cls):
        run(['mount', '-o', 'loop', cls.disk + '.img', cls.disk])

    @classmethod
    def tearDownClass(cls):
        try:
            if cls.store.daemon.alive():
                cls.store.stop()
        finally:
            run(['umount', '-l', cls.disk], check=False)
            wait_until(lambda: not loops_below(cls.world.dir), 'the loop devices go')
            super().tearDownClass()

    def test_backing_disk_dies(self):
        data = self.files()
        name = self.gated(data)
        self.assertBytes(self.read(self.file('d0/f')), data['d0/f'])
        run(['sync', '-f', self.store.path])
        shut_down(self.disk)
        for file, content in data.items():
            self.right_or_error(file, content, *DEAD)
        run(['sync', '-f', self.store.path], check=False)
        for file, content in data.items():
            self.right_or_error(file, content, *DEAD)
        self.idle()
        self.die()
        for file in list(data)[:3]:
            self.right_or_error(file, data[file], *DEAD)
        self.idle()

        def plug_in():
            run(['umount', '-l', self.disk])
            self.mount()
        self.again(name, data, plug_in)


class Inodes(MachineTest):
    """ext4 has a fixed number of them; the others make more as long as there is room."""

    @classmethod
    def make(cls):
        cls.bus = Bus(cls.world)
        cls.web = Web(cls.world)
        cls.store = Store(cls.world, cls.bus, size='64M', config=cls.CONFIG)
        run(['mkfs.ext4', '-q', '-F', '-I', '512', '-N', '400', cls.store.image])
        cls.store.start()
        cls.gate = Gate(cls.world)

    def ballast(self, n):
        """Takes inodes, all but about `n`."""
        directory = self.store.file('ballast')
        os.makedirs(directory, exist_ok=True)
        made = 0
        while os.statvfs(self.store.path).f_favail > n:
            made += 1
            with open(os.path.join(directory, str(made)), 'wb'):
                pass

    def free(self):
        run(['rm', '-rf', self.store.file('ballast')])

    def test_exhausted_in_a_listing(self):
        data = {'d/f%03d' % i: noise(1000 + i, i) for i in range(120)}
        self.ballast(40)
        name = self.unique()
        self.origin(data, os.path.join(self.gate.root, name))
        self.engine(name=name, url=self.gate.url(name + '/'), wait=None)
        wait_until(lambda: os.statvfs(self.store.path).f_favail == 0, 'all are taken')
        lists = lambda: isolated(lambda: self.lists(self.file('d')))
        wait_until(lambda: lists() in (errno.EIO, errno.ENOSPC), 'the directory cannot be listed')
        self.idle()
        self.die()  # nothing can be made at the take-over either
        self.assertIn(lists(), (errno.EIO, errno.ENOSPC))
        self.free()
        wait_until(lambda: lists() == 0, 'the directory is listed', timeout=60)
        self.settled(name)
        self.assertEqual(len(isolated(lambda: os.listdir(self.file('d')))), 120)
        for file in list(data)[::10]:
            self.assertBytes(self.read(self.file(file)), data[file], file)

    @staticmethod
    def lists(path):
        try:
            os.listdir(path)
            return 0
        except OSError as e:
            return e.errno

    def test_exhausted_at_a_take_over(self):
        """Files that are here already, or only as placeholders, need no inode."""
        data = {'f%d' % i: noise(5000 + i, i) for i in range(10)}
        name = self.gated(data)
        self.ballast(0)
        self.assertEqual(os.statvfs(self.store.path).f_favail, 0)
        self.read(self.file('f0'))
        self.die()
        self.settled(name)
        self.well_again(data)
        self.free()


if FS != 'ext4':
    del Inodes
del OutliveTest


if __name__ == '__main__':
    main()
