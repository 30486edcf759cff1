# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service in a machine, and what it serves: the parts that all tests/vm/test_*.py share."""

import hashlib
import json
import os
import random
import sys
import unittest

from harness import FS, Web, World, noise, put, wait_until, zero_runs
from machine import OUTSIDE, Machine

STORE = '/srv/cloud'
CONFIG = '''[Store]
Path=%s
Device=%s

[Hydration]
FullBelow=1M
'''
READERS = ['python3', '-I', '/usr/lib/cloudsync-vm/readers.py']


class Cloud:
    """A machine whose cloudsync.service serves trees of a web server on this machine.

    device: a block device of the machine for the store, or None: an image file."""

    def __init__(self, world, **machine):
        self.world, self.web = world, Web(world)
        self.machine = Machine(world, **machine)
        self.trees = {}

    def set_up(self, device=None, fs=FS):
        """After the first boot: store and configuration; the service is enabled and started."""
        m = self.machine
        self.device = device or '/var/lib/cloudsync/store.img'
        m.sh('mkdir -p /srv/cloud /etc/cloudsync; chmod 755 /srv/cloud; cat >/etc/cloudsync/cloudsync.conf',
             input=CONFIG % (STORE, self.device))
        if device is None:
            m.run('cloudsyncctl', 'store', 'create', '--size', '512M', '--fs', fs, self.device)
        m.run('systemctl', 'enable', '--now', 'cloudsync.service', timeout=200)
        m.run('sync', '-f', '/etc')  # a power cut must find the configuration

    def tree(self, name, files=120, big=2, seed=1):
        """A tree at the server: small files in a few directories, and some of megabytes. Returns
        {path: bytes}."""
        dice = random.Random('%s %d' % (name, seed))
        tree = {}
        for i in range(files):
            where = ['d%d' % dice.randrange(6) for _ in range(dice.randrange(3))]
            tree['/'.join([*where, 'f%03d' % i])] = noise(
                dice.choice((1, 700, 4096, 5000, 30000, 131072, 200001)), i)
        for i in range(big):
            tree['big%d' % i] = zero_runs(dice.randrange(1 << 20, 3 << 20), i)
        for i, (path, data) in enumerate(tree.items()):
            put(os.path.join(self.web.root, name, path), data, mtime=1600000000 + i)
        self.trees[name] = tree
        return tree

    def engine(self, name, **tree):
        """A tree, and the engine that serves it at STORE/name; ready, and listed. Returns the
        path of a manifest for readers.py in the machine."""
        self.tree(name, **tree)
        self.machine.run('cloudsyncctl', 'engine', 'add', name, 'httpfs', name,
                         'url=http://%s:%d/json/%s/' % (OUTSIDE, self.web.port, name))
        self.wait_ready(name)
        self.machine.run('find', STORE + '/' + name, '-type', 'f')
        return self.manifest(name)

    def ranged(self, name, size=3 << 20):
        """An engine with one large file that is fetched by ranges. Its path."""
        put(os.path.join(self.web.root, name, 'video'), noise(size, 7), mtime=1600000000)
        self.machine.run('cloudsyncctl', 'engine', 'add', name, 'httpfs', name, 'hydration=ranges',
                         'url=http://%s:%d/json/%s/' % (OUTSIDE, self.web.port, name))
        self.wait_ready(name)
        self.machine.run('ls', STORE + '/' + name)
        return '%s/%s/video' % (STORE, name)

    def manifest(self, name):
        path = '/var/lib/manifest-%s.json' % name
        self.machine.write(path, json.dumps({
            '%s/%s' % (name, p): [len(d), hashlib.sha256(d).hexdigest()]
            for p, d in self.trees[name].items()}))
        return path

    def wait_ready(self, name):
        def ready():
            engines = self.machine.run('cloudsyncctl', '--json', 'engine', 'list', check=False)
            return engines.returncode == 0 and any(
                e.get('id') == name and e.get('state') == 'ready' for e in json.loads(engines.stdout))
        wait_until(ready, 'engine %s is ready' % name, 120)

    def readers(self, manifest, *options):
        """Starts them: a Job, see result()."""
        return self.machine.start(*READERS, manifest, STORE, *options)

    def read_all(self, manifest, *options):
        """Reads every file once: what readers.py says."""
        return result(self.readers(manifest, '--once', *options))


def result(job, timeout=300):
    return json.loads(job.result(timeout).stdout)


class CloudCase(unittest.TestCase):
    """One machine for all cases of a class: booted, with a store that the service serves."""

    MACHINE = {}  # for Machine()
    BOOT = ''     # for Machine.boot()

    @classmethod
    def setUpClass(cls):
        cls.world = World(cls.__name__.lower())
        cls.addClassCleanup(cls.world.close)
        try:
            cls.cloud = Cloud(cls.world, **cls.MACHINE)
            cls.machine = cls.cloud.machine
            cls.machine.boot(cls.BOOT)
            cls.prepare()
        except BaseException:
            print(cls.world.logs(), file=sys.stderr)
            raise

    @classmethod
    def prepare(cls):
        """After the boot."""
        cls.cloud.set_up()
