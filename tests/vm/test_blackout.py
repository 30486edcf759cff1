#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The machine loses power while a tree is listed and filled, and while a user writes and syncs

The store is a disk of its own. First the machine itself boots again and serves what is on it. Then
the log of the disk's writes (blocklog.py) says what a disk that loses its cache would have held at
other moments, and this machine's daemon serves that. Every file must be the remote's, or
the user's as of his last fsync."""

import os
import sys
import threading
import unittest

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'integration'))

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import,wrong-import-position
from blocklog import BlockLog  # pylint: disable=wrong-import-position
from cloud import OUTSIDE, STORE, Cloud  # pylint: disable=wrong-import-position

PER_FILESYSTEM = True
TIMEOUT = 1200
MOMENTS = 16


class Told:
    """What the first n notes of writer.py promise, and what each file may be then."""

    def __init__(self, notes, n, tree):
        self.own, self.begun, self.done = {}, {}, set()
        for i, line in enumerate(notes):
            what = json.loads(line)
            if 'begin' in what:  # may have happened at any time after the note before it
                self.begun[what['begin']] = (what['at'], bytes.fromhex(what['bytes']))
            elif i < n and 'own' in what:
                self.own[what['own']] = noise(what['size'], what['seed'])
            elif i < n:
                self.done.add(what['done'])
        self.tree = tree

    def problem(self, name, got):
        """None, or what is wrong with the content of a file."""
        if name in self.own:
            return difference(got, self.own[name])
        want = self.tree[name]
        if name in self.begun:
            at, new = self.begun[name]
            changed = want[:at] + new + want[at + len(new):]
            if name in self.done or got == changed:
                want = changed
        return difference(got, want)

    def names(self):
        return sorted(set(self.tree) | set(self.own))


class Blackout(unittest.TestCase):

    def setUp(self):
        self.world = World('blackout')
        self.addCleanup(self.clean_up)
        seed = int(os.environ.get('CLOUDSYNC_SEED') or random.randrange(10 ** 6))
        self.dice, self.seed = random.Random(seed), seed
        self.cloud = Cloud(self.world)
        self.machine = self.cloud.machine
        self.disk, self.base, self.log = (self.world.path(n) for n in ('disk.img', 'base.img', 'disk.log'))
        run([CTL, 'store', 'create', '--size', '600M', '--fs', FS, self.disk])
        run(['cp', '--sparse=always', self.disk, self.base])
        with open(self.log, 'wb'):
            pass
        self.samples, self.over = [], False

    def clean_up(self):
        problems = self.world.close() + self.world.reports()
        if problems:
            self.fail('\n'.join(problems))
        if not os.environ.get('CLOUDSYNC_KEEP'):
            shutil.rmtree(self.world.dir, ignore_errors=True)

    def sample(self):
        """How many notes there were, at the least, when the log had how many bytes, at the most."""
        while not self.over:
            n = len(self.machine.notes())
            self.samples.append((os.path.getsize(self.log), n))
            time.sleep(0.05)

    def safe(self, place):
        """How many notes were written before the log reached `place`."""
        return max((n for size, n in self.samples if size <= place), default=0)

    def test_while_it_is_filled_and_written(self):
        m, cloud = self.machine, self.cloud
        device = m.disk(self.disk, log=self.log)
        m.boot()
        cloud.set_up(device)
        tree = cloud.tree('tree', files=250, big=4)
        victims = self.dice.sample([n for n in tree if n.startswith('f') and len(tree[n]) > 1], 12)
        manifest = cloud.manifest('tree')
        begun = os.path.getsize(self.log)
        sampler = threading.Thread(target=self.sample, daemon=True)
        sampler.start()
        m.run('cloudsyncctl', 'engine', 'add', 'tree', 'httpfs', 'tree', 'hydration=ranges',
              'url=http://%s:%d/json/tree/' % (OUTSIDE, cloud.web.port))
        m.start('python3', '-I', '/usr/lib/cloudsync-vm/writer.py', STORE + '/tree', '1', *victims)
        cloud.readers(manifest, '--missing-is-fine', '--threads', '3')
        wait_until(lambda: sum('done' in n for n in m.notes()) >= 4, 'a user has written', 120)
        time.sleep(self.dice.uniform(0, 4))
        m.cut()
        self.over = True
        sampler.join()
        notes = m.notes()
        self.assertGreater(sum('own' in n for n in notes), 3)
        self.moments(notes, tree, begun)
        self.boot_again(notes, tree)

    def boot_again(self, notes, tree):
        """The machine itself, whose disk had a cache that lost nothing."""
        m = self.machine
        told = Told(notes, len(notes), tree)
        m.disks = [(self.disk, None)]  # the log of the first boot stays as it is
        m.boot()
        self.cloud.wait_ready('tree')
        wanted = {}
        for name in told.names():
            if name not in told.begun:
                data = told.own.get(name, tree.get(name))
                wanted['tree/' + name] = [len(data), digest(data)]
        m.write('/var/lib/after.json', json.dumps(wanted))
        said = self.cloud.read_all('/var/lib/after.json')
        self.assertEqual((said['wrong'], said['failed']), ([], []), 'seed %d' % self.seed)
        self.assertEqual(said['right'], len(wanted))
        for name in told.begun:
            got = bytes.fromhex(m.sh('od -An -v -tx1 "$1" | tr -d " \\n"', STORE + '/tree/' + name))
            self.assertIsNone(told.problem(name, got), '%s, seed %d' % (name, self.seed))

    def moments(self, notes, tree, begun):
        """Other moments, and a disk whose cache is lost."""
        log = BlockLog(self.log)
        first = next(i for i in range(len(log.entries)) if log.place(i) >= begun)
        flushes = [f for f in log.flushes() if f > first]
        self.assertGreater(len(flushes), 4, 'the machine never flushed its disk')
        bus = Bus(self.world)
        for n in range(MOMENTS):
            # At a flush, or anywhere.
            k = self.dice.choice(flushes) if n % 2 else self.dice.randrange(first, len(log.entries))
            image = self.world.path('moment-%d.img' % n)
            run(['cp', '--sparse=always', self.base, image])
            log.image(image, k, self.dice, keep=self.dice.choice((0, 0.5, 0.9)))
            told = Told(notes, self.safe(log.place(k)), tree)
            with self.subTest(moment=n, entry=k, seed=self.seed):
                self.serve(bus, image, told, 'moment-%d' % n)
            os.unlink(image)

    def serve(self, bus, image, told, name):
        store = GivenStore(self.world, bus, image, 'store-' + name,
                           config={'Hydration': {'FullBelow': '1M'}})
        store.start()
        try:
            store.register('tree', 'httpfs', 'tree', {'url': self.cloud.web.url('tree/', 'json'),
                                                      'hydration': 'ranges'})
            store.wait_state('tree')
            run(['find', store.file('tree')])

            def read():
                problems = []
                for file in told.names():
                    try:
                        with open(store.file('tree', file), 'rb', buffering=0) as f:
                            got = b''.join(iter(lambda: f.read(1 << 20), b''))
                        problem = told.problem(file, got)
                    except OSError as e:
                        problem = str(e)
                    if problem:
                        problems.append('%s: %s' % (file, problem))
                return problems
            self.assertEqual(isolated(read, 120), [])
            store.stop()
        finally:
            if store.daemon.alive():
                store.kill()


class GivenStore(Store):
    """A store whose image is there already."""

    def __init__(self, world, bus, image, name, **kwargs):
        self.given = image
        super().__init__(world, bus, name=name, size='100M', fs='ext4', **kwargs)

    def configure(self, config):
        os.unlink(self.image)
        self.image = self.given
        super().configure(config)


if __name__ == '__main__':
    main()
