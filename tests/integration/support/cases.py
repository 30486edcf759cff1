# SPDX-License-Identifier: LGPL-2.1-or-later
"""The classes that tests derive from."""

import os
import re
import shutil
import sys
import unittest

from support.content import difference
from support.processes import isolated, kill_session, run, start
from support.servers import Bus, Gate, Web
from support.settings import ACCESS, FS
from support.store import Store
from support.world import World

class CloudsyncTest(unittest.TestCase):
    """A store, a bus and a web server for all tests of a class; an engine of its own for
    each test that asks for one with engine()."""

    CONFIG = {'Hydration': {'FullBelow': '1M'}}
    SIZE = '512M'
    FILESYSTEM = None  # or the one that this class wants
    SETTINGS = {}      # more settings for engine()

    world = None

    @classmethod
    def setUpClass(cls):
        cls.world = World(cls.__name__)
        try:
            cls.make()
        except BaseException:
            print(cls.world.logs(), file=sys.stderr)
            cls.world.close()
            raise

    @classmethod
    def make(cls):
        cls.bus = Bus(cls.world)
        cls.web = Web(cls.world)
        cls.store = Store(cls.world, cls.bus, fs=cls.FILESYSTEM or FS, size=cls.SIZE,
                          config=cls.CONFIG)
        cls.store.start()

    @classmethod
    def tearDownClass(cls):
        problems = []
        try:
            if cls.store.daemon.alive():
                cls.store.stop()
        except AssertionError as e:
            problems.append(str(e))
        cls.store.daemon.kill()
        problems += cls.world.close()
        problems += cls.world.reports()
        if problems:
            raise AssertionError('\n'.join(problems) + '\n' + cls.world.logs())
        if not os.environ.get('CLOUDSYNC_KEEP'):
            shutil.rmtree(cls.world.dir, ignore_errors=True)

    def setUp(self):
        if not self.store.daemon.alive():  # a failed test's doing, told there
            self.store.kill()
            self.store.start()
        self.engines = []
        self.processes = []

    def tearDown(self):
        for process in self.processes:
            if process.poll() is None:
                kill_session(process.pid)
            process.communicate()
        self.assertTrue(self.store.daemon.alive(), 'cloudsyncd died during the test')
        for engine in self.engines:
            self.store.unregister(engine, check=False)
        reports = self.world.reports()
        if reports:
            self.fail('\n'.join(reports))

    # -- making things

    def unique(self):
        """This test's name as an id and a directory."""
        name = re.sub('[^a-z0-9]+', '-', self.id().split('.')[-1].lower()).strip('-')
        name = re.sub('^test-', '', name)[:24].strip('-')
        return 't%d-%s' % (len(self.engines), name)

    def origin(self, files, root=None):
        """Puts {name: bytes} below the web server's root; mtimes are whole seconds in the past."""
        root = root or os.path.join(self.web.root, self.unique())
        os.makedirs(root, exist_ok=True)
        for i, (name, data) in enumerate(files.items()):
            put(os.path.join(os.fsencode(root), os.fsencode(name)), data,
                mtime=1600000000 + i * 1000)
        return root

    def engine(self, files=None, kind='json', wait='ready', prefix=None, name=None, url=None,
               module='httpfs', **settings):
        """Registers an engine for this test that serves `files`. Returns its id; the
        files are at self.file(...)."""
        name = name or self.unique()
        if files is not None:
            self.origin(files, os.path.join(self.web.root, name))
        prefix = prefix or name
        all_settings = {}
        if module == 'httpfs':
            all_settings['url'] = url or self.web.url(name + '/', kind)
        all_settings.update(self.SETTINGS)
        all_settings.update(settings)
        self.store.register(name, module, prefix, all_settings)
        self.engines.append(name)
        self.prefix = prefix
        if wait:
            self.store.wait_state(name, wait)
        return name

    def file(self, *parts):
        """A path in the newest engine's prefix."""
        return self.store.file(self.prefix, *parts)

    def spawn(self, argv, **kwargs):
        process = start(argv, **kwargs)
        self.processes.append(process)
        return process

    # -- looking at things

    def assertBytes(self, got, want, what=''):
        problem = difference(got, want)
        if problem:
            self.fail('%s: %s' % (what or 'content', problem))

    def read(self, path, timeout=None):
        """What cat reads; AssertionError with its message when it fails."""
        return run(['cat', '--', path], timeout=timeout).stdout

    def read_error(self, path, timeout=None):
        """The errno that reading meets at open or later, 0 if none."""
        def attempt():
            try:
                with open(path, 'rb', buffering=0) as f:
                    while f.read(1 << 20):
                        pass
                return 0
            except OSError as e:
                return e.errno
        return isolated(attempt, timeout)

    def assertCold(self, path, size=None):
        st = os.stat(path)
        self.assertEqual(st.st_blocks, 0, 'a placeholder has blocks: %s' % path)
        if size is not None:
            self.assertEqual(st.st_size, size)


class GateTest(CloudsyncTest):
    """With a web server (Gate) that does as it is told; without rules again after each test."""

    @classmethod
    def make(cls):
        super().make()
        cls.gate = Gate(cls.world)

    def tearDown(self):
        if self.gate.alive():
            self.gate.release()
        else:
            self.gate.again()
        super().tearDown()

    def gated(self, files, **settings):
        """Registers an engine for `files` below the gate. Returns its id."""
        name = self.unique()
        self.origin(files, os.path.join(self.gate.root, name))
        return self.engine(name=name, url=self.gate.url(name + '/'), **settings)


# A file that nobody has open: it is on its way through a socket.
FLIGHT = """
import errno, os, socket, sys
a, b = socket.socketpair()
fd = os.open(sys.argv[1], os.O_RDONLY)
os.pread(fd, 4096, 0)
socket.send_fds(a, [b'x'], [fd])
os.close(fd)
print('held', flush=True)
sys.stdin.readline()
fd = socket.recv_fds(b, 1, 1)[1][0]
try:
    got = os.pread(fd, int(sys.argv[3]), int(sys.argv[2]))
    print('bytes' if got.strip(b'\\0') else 'zeros', flush=True)
except OSError as e:
    print(errno.errorcode[e.errno], flush=True)
print('read', flush=True)
sys.stdin.readline()
"""


def put(path, data, mtime=None):
    """Writes a file of the origin in one step (rename), so that no server sees half of it."""
    path = os.fsencode(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = path + b'.new' if len(os.path.basename(path)) < 250 else os.path.join(
        os.path.dirname(path), b'.new')
    with open(temporary, 'wb') as f:
        f.write(data)
    if mtime is not None:
        os.utime(temporary, (mtime, mtime))
    os.rename(temporary, path)


def access(verb, *args, **kwargs):
    """Runs the C helper (helpers/access.c): its stdout."""
    return run([ACCESS, verb, *[a if isinstance(a, bytes) else str(a) for a in args]],
               **kwargs).stdout
