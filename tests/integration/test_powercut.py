#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine loses power while directories are listed, files are filled, and users write.

The store's image lies on a file system that can clone files (xfs), and a clone of an image in
use is what a disk holds when the power goes: all that was written, nothing that
was not. Several are taken at random moments; afterwards, one after the other, a daemon
with another boot id serves each, and every file must be the remote's, or the user's
as of his last fsync."""

import fcntl
import os
import random
import socket
import threading

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import
from support.rawcase import RawStore, RawTest

PER_FILESYSTEM = True

FICLONE = 0x40049409
CUTS = 8


def clone(source, target):
    with open(source, 'rb') as s, open(target, 'wb') as t:
        fcntl.ioctl(t, FICLONE, s.fileno())


class PlacedStore(Store):
    """A store whose image is made, or given, elsewhere."""

    def __init__(self, world, bus, image, name, **kwargs):
        self.given = image
        super().__init__(world, bus, name=name, **kwargs)

    def configure(self, config):
        if self.given is not None:
            os.unlink(self.image)
            self.image = self.given
        super().configure(config)


class PlacedRawStore(PlacedStore, RawStore):
    pass


def outer_disk(world):
    """A file system that can clone files, for images."""
    outer, disk = world.path('outer.img'), world.path('disk')
    with open(outer, 'wb') as f:
        f.truncate(4 << 30)
    run(['mkfs.xfs', '-q', '-m', 'reflink=1', outer])
    os.mkdir(disk)
    run(['mount', '-o', 'loop', outer, disk])
    return disk


class PowerCuts(unittest.TestCase):

    SETTINGS = {}

    def setUp(self):
        self.world = World('powercut')
        self.bus = Bus(self.world)
        self.web = Web(self.world)
        self.disk = outer_disk(self.world)
        image = os.path.join(self.disk, 'store.img')
        run([CTL, 'store', 'create', '--size', '600M', '--fs', FS, image])
        self.store = PlacedStore(self.world, self.bus, image, 'store',
                                 config={'Hydration': {'FullBelow': '1M'}})
        self.stores = [self.store]

    def tearDown(self):
        for store in self.stores:
            if store.daemon is not None and store.daemon.alive():
                store.kill()
        # Nothing can be mounted over a file that is deleted, as this one soon will be.
        subprocess.run(['umount', '-q', '/proc/sys/kernel/random/boot_id'], check=False)
        for m in reversed(mounts_below(self.world.dir)):
            subprocess.run(['umount', m], check=False)
        problems = self.world.close() + self.world.reports()
        if problems:
            self.fail('\n'.join(problems) + self.world.logs())
        shutil.rmtree(self.world.dir, ignore_errors=True)

    def another_boot(self):
        path = self.world.path('boot-id')
        if not os.path.exists(path):
            with open(path, 'w', encoding='ascii') as f:
                f.write('x')
            run(['mount', '--bind', path, '/proc/sys/kernel/random/boot_id'])
        with open(path, 'w', encoding='ascii') as f:
            f.write('%032x\n' % random.getrandbits(128))

    # -- what goes on

    def origin(self, seed):
        dice = random.Random(seed)
        files = {}
        for i in range(400):
            name = '/'.join(['d%d' % dice.randrange(12) for _ in range(dice.randrange(4))] + ['f%d' % i])
            files[name] = noise(dice.choice((1, 700, 4096, 5000, 30000, 131072, 200001)), i)
        for i in range(6):
            files['big%d' % i] = zero_runs(dice.randrange(MIB, 6 * MIB), i)
        root = os.path.join(self.web.root, 'tree')
        for i, (name, data) in enumerate(files.items()):
            put(os.path.join(root, name), data, mtime=1600000000 + i)
        return root, files

    def read_some(self, names, seed):
        dice = random.Random(seed)
        while not self.over:
            path = self.store.file('tree', dice.choice(names))
            try:
                with open(path, 'rb', buffering=0) as f:
                    if dice.random() < 0.3:
                        os.pread(f.fileno(), 100000, dice.randrange(1000000))
                    else:
                        f.read()
            except OSError:
                pass
            time.sleep(dice.random() * 0.02)

    def write_some(self, seed):
        """A user's own files, each with fsync; and, with fsync, changes of remote ones."""
        dice = random.Random(seed)
        n = 0
        while not self.over:
            directories = [d for d, _, _ in os.walk(self.store.file('tree'))] or [self.store.path]
            path = os.path.join(dice.choice(directories), 'own-%d-%d' % (seed, n))
            data = noise(dice.randrange(1, 20000), n)
            try:
                with open(path, 'wb') as f:
                    f.write(data)
                    f.flush()
                    os.fsync(f.fileno())
                self.written.append((os.path.relpath(path, self.store.path), data))
            except OSError:
                pass
            n += 1
            time.sleep(dice.random() * 0.05)

    def cut(self, n):
        """The disk as it is now, and what was safe before."""
        safe = list(self.written)
        target = os.path.join(self.disk, 'cut%d.img' % n)
        clone(self.store.image, target)
        return target, safe

    def check(self, image, safe, files, what, alone=False):
        """alone: with Path= alone, mounted by somebody else."""
        self.another_boot()
        name = os.path.basename(image).split('.')[0]
        config = {'Hydration': {'FullBelow': '1M'}}
        if alone:
            config['Store'] = {'Device': None}
        store = PlacedStore(self.world, self.bus, image, name, config=config)
        if alone:
            run(['mount', '-o', 'loop', image, store.path])
        self.stores.append(store)
        shutil.copytree(os.path.join(os.path.dirname(self.store.config_file), 'engines.d'),
                        os.path.join(os.path.dirname(store.config_file), 'engines.d'))
        store.start()
        store.wait_state('tree')
        for path, data in safe:
            with open(store.file(path), 'rb') as f:
                problem = difference(f.read(), data)
            self.assertIsNone(problem, '%s: %s: %s' % (what, path, problem))
        wrong = []
        for path, data in files.items():
            try:
                got = run(['cat', store.file('tree', path)], check=False).stdout
            except Hang as e:
                wrong.append('%s: %s' % (path, e))
                continue
            problem = difference(got, data)
            if problem:
                wrong.append('%s: %s; %s' % (path, problem, store.status(
                    store.file('tree', path), check=False)
                    if os.path.exists(store.file('tree', path)) else 'not there'))
        store.stop()
        os.unlink(image)
        self.assertEqual(wrong, [], '%s: %d files' % (what, len(wrong)))

    def test_while_it_is_listed_and_read(self):
        seed = int(os.environ.get('CLOUDSYNC_SEED') or random.randrange(10 ** 6))
        dice = random.Random(seed)
        _, files = self.origin(seed)
        self.over, self.written = False, []
        self.another_boot()
        self.store.start()
        self.store.register('tree', 'httpfs', 'tree',
                            {'url': self.web.url('tree/', 'json'), 'hydration': 'ranges'})
        threads = [threading.Thread(target=self.read_some, args=(sorted(files), i)) for i in range(4)]
        threads += [threading.Thread(target=self.write_some, args=(i,)) for i in range(2)]
        for t in threads:
            t.start()
        cuts = []
        try:
            for n in range(CUTS):
                time.sleep(dice.choice((0.02, 0.2, 0.5, 1.5, 4)))
                cuts.append(self.cut(n))
        finally:
            self.over = True
            for t in threads:
                t.join()
        self.store.stop()
        for n, (image, safe) in enumerate(cuts):
            with self.subTest(cut=n, seed=seed):
                self.check(image, safe, files, 'cut %d, seed %d' % (n, seed), alone=n % 3 == 2)

    def test_a_users_fsync_beside_new_placeholders(self):
        """An fsync brings one file and the names on its way to disk, and not its neighbours: what
        is known of the directory must not be more than what is there."""
        _, files = self.origin(1)
        self.written = []
        self.another_boot()
        self.store.start()
        self.store.register('tree', 'httpfs', 'tree', {'url': self.web.url('tree/', 'json')})
        self.store.wait_state('tree')
        cuts = []
        for n, where in enumerate(('d1', 'd2/d3', '')):
            path = self.store.file('tree', where, 'own-%d' % n)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            name = sorted(f for f in files if os.path.dirname(f) == where)[0]
            run(['cat', self.store.file('tree', name)])
            with open(path, 'wb') as f:
                f.write(b'own')
                f.flush()
                os.fsync(f.fileno())
            self.written.append((os.path.relpath(path, self.store.path), b'own'))
            cuts.append(self.cut(n))
        self.store.stop()
        for n, (image, safe) in enumerate(cuts):
            with self.subTest(cut=n):
                self.check(image, safe, files, 'cut %d' % n, alone=n == 2)


class PlacedRawTest(RawTest):
    """The test is the engine, and the store's image can be cloned."""

    @classmethod
    def make(cls):
        cls.bus = Bus(cls.world)
        cls.start_listening()
        cls.disk = outer_disk(cls.world)
        image = os.path.join(cls.disk, 'store.img')
        run([CTL, 'store', 'create', '--size', '600M', '--fs', FS, image])
        cls.store = PlacedRawStore(cls.world, cls.bus, image, 'store', config=cls.CONFIG)
        cls.store.start()

    @classmethod
    def tearDownClass(cls):
        if cls.store.daemon.alive():
            cls.store.stop()
        run(['umount', cls.disk])
        super().tearDownClass()

    def on_disk(self, *directories):
        """All of it is listed, nothing is pending, and the disk says so."""
        def listed():
            return all(os.getxattr(d, 'security.bpf.cloudsync')[2] == 17 for d in directories) and (
                FS == 'btrfs' or os.path.exists(self.store.file('.cloudsync/complete')))
        wait_until(listed, 'that all is listed is written down')
        run(['sync', '-f', self.store.path])

    def cut(self):
        target = os.path.join(self.disk, 'cut.img')
        clone(self.store.image, target)
        return target

    def power_comes_back(self, image):
        """The daemon on that disk, and its channel to the engine."""
        self.store.stop()
        os.replace(image, self.store.image)
        self.store.start()
        return self.accept().ready()


class Told(PlacedRawTest):
    """An engine (the test itself) forgets a change as soon as it is asked for the directory, and keeps
    that on another disk. So the store's disk knows of it before the engine is asked."""

    def is_asked_again(self, cause):
        channel = self.raw([{'name': 'd', 'directory': True, 'locator': 'id:d'}], wait_listed=False)
        self.list(channel, [{'name': 'x', 'size': 1}])
        self.store.wait_state(self.engines[-1])
        self.on_disk(self.file(), self.file('d'))
        cause(channel)
        self.assertEqual(channel.wait('LIST')['locator'], 'id:d')
        channel = self.power_comes_back(self.cut())
        message = channel.wait('LIST', timeout=10)
        self.assertEqual(message['locator'], 'id:d')
        channel.entries(message['request'], [{'name': 'y', 'size': 1}])
        channel.done(message['request'])
        wait_until(lambda: os.listdir(self.file('d')) == ['y'], 'the change is there')

    def test_told(self):
        self.is_asked_again(lambda channel: channel.send('CHANGED', locator='d'))

    def test_told_while_it_is_listed(self):
        """The second time it is asked after what the first brought was applied, and DIRTY taken off."""
        def cause(channel):
            channel.send('CHANGED', locator='d')
            request = channel.wait('LIST')['request']
            channel.entries(request, [{'name': 'x', 'size': 1}])
            channel.done(request)
            wait_until(lambda: not os.getxattr(self.file('d'), 'security.bpf.cloudsync')[3] & 8, 'it is applied')
            self.on_disk(self.file('d'))
            channel.send('CHANGED', locator='d')
        self.is_asked_again(cause)

    def test_asked_for(self):
        """A change may be told, and be on its way, while somebody else has the directory listed."""
        self.is_asked_again(lambda _: self.spawn([
            'busctl', '--address=' + self.bus.address, 'call', BUS_NAME, ROOT_OBJECT, MANAGER, 'Refresh', 'sb',
            self.file('d'), 'false']))


    def test_applied_and_a_users_fsync(self):
        """It is not DIRTY any more, and somebody writes that to the disk: so is what was applied."""
        channel = self.raw([{'name': 'd', 'directory': True, 'locator': 'id:d'}], wait_listed=False)
        self.list(channel, [{'name': 'x', 'size': 1, 'version': 'one'}])
        self.store.wait_state(self.engines[-1])
        self.on_disk(self.file(), self.file('d'))
        channel.send('CHANGED', locator='d')
        request = channel.wait('LIST')['request']
        channel.entries(request, [{'name': 'x', 'size': 2, 'version': 'two', 'mtime': 1650000000}])
        channel.done(request)
        wait_until(lambda: not os.getxattr(self.file('d'), 'security.bpf.cloudsync')[3] & 8, 'it is applied')
        self.assertEqual(os.stat(self.file('d/x')).st_size, 2)
        fd = os.open(self.file('d'), os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        channel = self.power_comes_back(self.cut())
        self.assertEqual(os.stat(self.file('d/x')).st_size, 2, 'the change is lost')


class ToldInVain(PlacedRawTest):
    """What cannot be written down is not asked for: the engine would forget it."""

    def test_a_disk_that_takes_nothing(self):
        """xfs and btrfs: ext4's journal lies in blocks that are not shared with the clone."""
        if FS == 'ext4':
            self.skipTest('its journal finds room')
        channel = self.raw([{'name': 'd', 'directory': True, 'locator': 'id:d'}], wait_listed=False)
        self.list(channel, [{'name': 'x', 'size': 1}])
        self.store.wait_state(self.engines[-1])
        self.on_disk(self.file(), self.file('d'))
        image = self.cut()  # whose blocks are shared from now on: to write one takes a new one
        filler = os.path.join(self.disk, 'filler')
        with open(filler, 'wb') as f:
            step = 1 << 30
            while step >= 4096:
                try:
                    os.posix_fallocate(f.fileno(), f.tell(), step)
                    f.seek(step, os.SEEK_CUR)
                except OSError:
                    step //= 2
        for i in range(50):  # a few blocks are left
            os.mkdir(self.store.file('own%d' % i))
        channel.send('CHANGED', locator='d')
        with self.assertRaises((TimeoutError, socket.timeout)):
            channel.wait('LIST', timeout=3)
        self.assertIn(b'cannot be listed', self.store.daemon.log_text())
        os.unlink(filler)
        self.assertEqual(len(loops_below(self.store.image)), 1)
        self.store.kill()
        # xfs mounts no second file system of the same name; and this one has a log to write yet.
        wait_until(lambda: not loops_below(self.store.image), 'the old one is gone')
        os.replace(image, self.store.image)
        self.store.start()
        channel = self.accept().ready()
        channel.send('CHANGED', locator='d')
        self.assertEqual(channel.wait('LIST', timeout=10)['locator'], 'id:d')


if __name__ == '__main__':
    main()
