# SPDX-License-Identifier: LGPL-2.1-or-later
"""A store, a daemon, a bus and nginx for the rows that share them."""

import os
import shutil
import sys

from support.processes import run, wait_until
from support.servers import Bus, Web
from support.settings import BUILD, FS
from support.store import Store
from support.world import Service, World

EVENTS = BUILD + '/bench/bench-events'
STAMP = 'security.bpf.cloudsync'
STAMP_STATE, STAMP_WHOLE = 2, 3  # src/dispatcher/store/stamp.h


class Scene:
    """To be used in a with statement."""

    def __init__(self, name, size='4G', config=None):
        self.world = World(name)  # short: sockets are in it
        self.name, self.size, self.config = name, size, config or {}
        self.count = 0

    def __enter__(self):
        try:
            self.bus = Bus(self.world)
            self.web = Web(self.world)
            self.store = Store(self.world, self.bus, size=self.size, config=self.config)
            self.store.start()
        except BaseException:
            self.world.close()
            raise
        return self

    def __exit__(self, kind, value, trace):
        logs = self.world.logs() if kind is not None else ''
        try:
            if kind is None and self.store.daemon.alive():
                self.store.stop()
        finally:
            if self.store.daemon.alive():
                self.store.kill()
            run(['umount', '-l', self.store.path], check=False)
            left = self.world.close()
            if not os.environ.get('CLOUDSYNC_KEEP'):
                shutil.rmtree(self.world.dir, ignore_errors=True)
            sys.stderr.buffer.write(logs.encode('utf-8', 'replace'))
        if left and kind is None:
            raise AssertionError('\n'.join(left))

    # -- the remote

    def origin(self, *parts):
        return os.path.join(self.web.root, *parts)

    def big_file(self, size, names):
        """One file of `size` bytes that do not repeat, under several names."""
        path = self.origin('big')
        os.mkdir(path)
        first = os.path.join(path, names[0])
        with open('/dev/urandom', 'rb') as source, open(first, 'wb') as target:
            shutil.copyfileobj(SizedReader(source, size), target, 1 << 20)
        os.utime(first, (1600000000, 1600000000))
        for name in names[1:]:
            os.link(first, os.path.join(path, name))
        return path

    def small_files(self, directory, n, per_directory):
        """n files of 1 to 8 KiB. Their names, relative to the directory."""
        noise = os.urandom(16384)
        names = []
        for i in range(n):
            name = 'd%03d/f%05d' % (i // per_directory, i)
            if i % per_directory == 0:
                os.makedirs(self.origin(directory, os.path.dirname(name)))
            path = self.origin(directory, name)
            with open(path, 'wb') as f:
                f.write(noise[i % 8192:i % 8192 + 1024 + i * 37 % 7168])
            os.utime(path, (1600000000 + i, 1600000000 + i))
            names.append(name)
        return names

    # -- engines

    def engine(self, url, wait='ready', **settings):
        """A new engine with a prefix of its own. Its id is the prefix."""
        self.count += 1
        name = 'e%d' % self.count
        self.store.register(name, 'httpfs', name, dict(settings, url=url))
        if wait:
            self.store.wait_state(name, wait, timeout=600)
        return name

    def remove_engine(self, name):
        """The engine, and its files."""
        self.store.unregister(name)
        run(['rm', '-rf', self.store.file(name)], timeout=600)

    def wait_whole(self, paths):
        """Until these files' data and stamps are on disk: nothing is left to be done for them."""
        for path in paths:
            wait_until(lambda path=path: os.getxattr(path, STAMP)[STAMP_STATE] == STAMP_WHOLE,
                       path + ' is whole', timeout=120)

    # -- with and without

    def without_daemon(self):
        """SIGKILL: the mark is gone, the mount stays as it is, with all that is cached."""
        self.store.kill_both()

    def daemon_pids(self):
        """Supervisor and worker."""
        return [self.store.daemon.pid, self.store.worker_pid()]

    def with_daemon(self):
        self.store.start()


class SizedReader:
    def __init__(self, source, size):
        self.source, self.left = source, size

    def read(self, n):
        data = self.source.read(min(n, self.left))
        self.left -= len(data)
        return data


class Plain:
    """A file system like the store's, without a daemon; for the smallest loop."""

    def __init__(self, world, size='256M'):
        self.image, self.path = world.path('plain.img'), world.path('plain')
        os.mkdir(self.path)
        with open(self.image, 'wb') as f:
            f.truncate(int(size[:-1]) << 20)
        # as "cloudsyncctl store create" makes it
        run({'ext4': ['mkfs.ext4', '-q', '-F', '-I', '512', '-O', 'ea_inode,orphan_file', '-m', '0',
                      '-i', '4096'],
             'xfs': ['mkfs.xfs', '-q', '-i', 'size=512'],
             'btrfs': ['mkfs.btrfs', '-q']}[FS] + [self.image])
        run(['mount', '-o', 'loop', self.image, self.path])

    def close(self):
        run(['umount', self.path])


def helper(world, name, argv, word):
    """A Service that says `word` once it is ready; the rest of that line."""
    service = Service(world, name, argv)

    def said():
        if not service.alive():
            raise AssertionError('%s ended: %s' % (name, service.log_text().decode()))
        for line in service.log_text().decode().splitlines():
            if line.startswith(word):
                return line
        return None
    line = wait_until(said, name + ' is ready')
    return service, line[len(word):].strip()
