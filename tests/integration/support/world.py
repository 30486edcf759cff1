# SPDX-License-Identifier: LGPL-2.1-or-later
"""One run's directory, the processes in it, and what must not be left of them."""

import glob
import os
import re
import socket
import subprocess
import tempfile

from support.processes import Hang, tail
from support.settings import SLOW, TIMEOUT

REPORT = re.compile(
    rb'(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|SUMMARY: \w+Sanitizer|runtime error: '
    rb'|-CRITICAL \*\*|GLib.*-ERROR \*\*|Assertion .* failed|stack smashing detected)')


class Service:
    """A process beside the tests, its output in a log."""

    def __init__(self, world, name, argv, **kwargs):
        self.name = name
        self.argv = argv
        self.log = world.log(name)
        self.world = world
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True, **kwargs)
        world.services.append(self)

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout=None):
        try:
            return self.process.wait(TIMEOUT if timeout is None else timeout * SLOW)
        except subprocess.TimeoutExpired:
            raise Hang('%s did not end' % self.name) from None

    def kill(self):
        if self.alive():
            self.process.kill()
        self.process.wait()

    def stop(self, timeout=None):
        """SIGTERM, and the exit status."""
        if self.alive():
            self.process.terminate()
        try:
            return self.wait(timeout)
        except Hang:
            self.kill()
            raise

    def log_text(self):
        with open(self.log, 'rb') as log:
            return log.read()


class World:
    """One run's directory and everything that lives in it."""

    def __init__(self, name='world'):
        base = os.environ.get('CLOUDSYNC_TEST_DIR') or tempfile.gettempdir()
        self.dir = tempfile.mkdtemp(prefix=name + '-', dir=base)
        os.chmod(self.dir, 0o755)  # the engine host is another user
        self.services = []
        self.counter = 0
        os.mkdir(self.path('logs'))

    def path(self, *parts):
        return os.path.join(self.dir, *parts)

    def log(self, name):
        return self.path('logs', name + '.log')

    def new_directory(self, name):
        self.counter += 1
        path = self.path('%s-%d' % (name, self.counter))
        os.mkdir(path)
        return path

    def free_port(self):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(('127.0.0.1', 0))
            return s.getsockname()[1]

    def reports(self):
        """Lines in the logs that no program of ours should ever write."""
        found = []
        for path in sorted(glob.glob(self.path('logs', '*.log'))):
            with open(path, 'rb') as log:
                data = log.read()
            match = REPORT.search(data)
            if match:
                found.append('%s:\n%s' % (os.path.basename(path), data[
                    max(0, match.start() - 300):match.start() + 4000].decode('utf-8', 'replace')))
        return found

    def logs(self, limit=3000):
        """The ends of the logs, to be printed beside a failure."""
        text = ''
        for path in sorted(glob.glob(self.path('logs', '*.log'))):
            with open(path, 'rb') as log:
                data = log.read()
            if data:
                text += '--- %s\n%s\n' % (os.path.basename(path), tail(data, limit).rstrip())
        return text

    def close(self):
        """Ends what still runs. Returns what was left behind."""
        for service in reversed(self.services):
            service.kill()
        left = ['still mounted: ' + m for m in mounts_below(self.dir)]
        for m in reversed(mounts_below(self.dir)):
            subprocess.run(['umount', '-l', m], check=False)
        for loop in loops_below(self.dir):
            left.append('loop device left: ' + loop)
            subprocess.run(['losetup', '-d', loop], check=False)
        return left


def mounts_below(directory):
    found = []
    with open('/proc/self/mountinfo', encoding='utf-8', errors='surrogateescape') as info:
        for line in info:
            point = re.sub(r'\\([0-7]{3})', lambda m: chr(int(m[1], 8)), line.split()[4])
            if point == directory or point.startswith(directory + '/'):
                found.append(point)
    return found


def loops_below(directory):
    """Or on a file."""
    found = []
    for path in glob.glob('/sys/block/loop*/loop/backing_file'):
        try:
            with open(path, encoding='utf-8', errors='surrogateescape') as f:
                backing = f.read().strip()
        except OSError:
            continue
        if backing == directory or backing.startswith(directory + '/'):
            found.append('/dev/' + path.split('/')[3])
    return found
