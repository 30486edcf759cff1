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
import threading

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

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


class PowerCuts(unittest.TestCase):

    SETTINGS = {}

    def setUp(self):
        self.world = World('powercut')
        self.bus = Bus(self.world)
        self.web = Web(self.world)
        outer = self.world.path('outer.img')
        with open(outer, 'wb') as f:
            f.truncate(4 << 30)
        run(['mkfs.xfs', '-q', '-m', 'reflink=1', outer])
        self.disk = self.world.path('disk')
        os.mkdir(self.disk)
        run(['mount', '-o', 'loop', outer, self.disk])
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


if __name__ == '__main__':
    main()
