#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""harness: the real daemon on a real file system, bus and web server, for one test

Model. A test module is a program. Started, it becomes two processes:

    outer   (guardian)  makes the run's directory, starts the inner one, waits, and
                        afterwards detaches what loop devices are left and removes
                        the directory
    inner   (tests)     PID 1 of a PID namespace of its own, in a mount namespace of
                        its own: daemon, bus, web servers and readers are its children

So the kernel cleans up: however the tests end, SIGKILL included, every process of theirs
is killed with the PID namespace, and every mount goes with the mount namespace. No
mount of a test is ever visible outside, so the guardian's removal of the directory cannot
reach into a store. The guardian is a process group of its own and notices the end
of both by a pipe.

Rules for tests.
  - Nothing that touches content of the store runs in the test process: run() and
    isolated() have a time-out and kill what hangs. stat(2) raises no event and is allowed.
  - No fixed sleeps: wait_until() a condition.
  - Time-outs are generous (SLOW stretches them for sanitizers): they tell a hang
    from progress, nothing else.
  - A log with a sanitizer's report, a GLib critical or an assertion fails the test,
    and so does a mount, a loop device or a process that is left behind.

Environment: CLOUDSYNC_BUILD (build directory, default: build beside tests),
CLOUDSYNC_FS (ext4, xfs or btrfs), CLOUDSYNC_SLOW (a factor for time-outs),
CLOUDSYNC_KEEP=1 (leave the logs), and CLOUDSYNCD, CLOUDSYNCCTL,
CLOUDSYNC_ENGINE_HOST, CLOUDSYNC_MODULES (a directory) to test an installed package.
"""

import ctypes
import glob
import hashlib
import json
import os
import pickle
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import unittest
import urllib.parse
import urllib.request

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.dirname(TESTS)
BUILD = os.path.abspath(os.environ.get('CLOUDSYNC_BUILD') or os.path.join(SOURCE, 'build'))
FS = os.environ.get('CLOUDSYNC_FS') or 'ext4'
SLOW = float(os.environ.get('CLOUDSYNC_SLOW') or 1)
TIMEOUT = 60 * SLOW  # for anything that should take a moment

DAEMON = os.environ.get('CLOUDSYNCD') or BUILD + '/src/dispatcher/cloudsyncd'
CTL = os.environ.get('CLOUDSYNCCTL') or BUILD + '/src/ctl/cloudsyncctl'
HOST = os.environ.get('CLOUDSYNC_ENGINE_HOST') or BUILD + '/src/engine-host/cloudsync-engine-host'
ACCESS = BUILD + '/tests/integration/helpers/access'

BUS_NAME = 'org.cloudsync1'
ROOT_OBJECT = '/org/cloudsync1'
MANAGER = 'org.cloudsync1.Manager'
ENGINE = 'org.cloudsync1.Engine'

REPORT = re.compile(
    rb'(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|SUMMARY: \w+Sanitizer|runtime error: '
    rb'|-CRITICAL \*\*|GLib.*-ERROR \*\*|Assertion .* failed|stack smashing detected)')

KIB, MIB = 1024, 1024 * 1024


# ---------------------------------------------------------------- waiting and running

class Hang(AssertionError):
    """Something did not happen within its time-out."""


def wait_until(condition, what, timeout=None):
    """Polls until condition() is true and returns its value; Hang after `timeout` s."""
    end = time.monotonic() + (TIMEOUT if timeout is None else timeout * SLOW)
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Hang('waited in vain: ' + what)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def run(argv, timeout=None, input=None, check=True, text=False, **kwargs):
    """Runs a program to its end and returns it (stdout, stderr captured). A program that
    outlives the time-out is killed, with its children, and is a Hang."""
    kwargs.setdefault('stdout', subprocess.PIPE)
    kwargs.setdefault('stderr', subprocess.PIPE)
    process = subprocess.Popen(argv, stdin=subprocess.PIPE if input is not None
                               else subprocess.DEVNULL, start_new_session=True, **kwargs)
    try:
        out, err = process.communicate(
            input, timeout=TIMEOUT if timeout is None else timeout * SLOW)
    except subprocess.TimeoutExpired:
        kill_session(process.pid)
        process.communicate()
        raise Hang('%s did not end' % show(argv)) from None
    if text:
        out, err = (None if s is None else s.decode('utf-8', 'surrogateescape')
                    for s in (out, err))
    result = subprocess.CompletedProcess(argv, process.returncode, out, err)
    if check and result.returncode != 0:
        raise AssertionError('%s: exit status %d\n%s%s' % (
            show(argv), result.returncode, tail(out, 2000), tail(err, 2000)))
    return result


def start(argv, **kwargs):
    """Starts a program that runs beside the test; see finish()."""
    kwargs.setdefault('stdout', subprocess.PIPE)
    kwargs.setdefault('stderr', subprocess.PIPE)
    kwargs.setdefault('stdin', subprocess.PIPE)
    return subprocess.Popen(argv, start_new_session=True, **kwargs)


def finish(process, timeout=None, input=None):
    """Waits for it: (exit status, stdout, stderr)."""
    try:
        out, err = process.communicate(
            input, timeout=TIMEOUT if timeout is None else timeout * SLOW)
    except subprocess.TimeoutExpired:
        kill_session(process.pid)
        process.communicate()
        raise Hang('%s did not end' % show(process.args)) from None
    return process.returncode, out, err


def kill_session(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def isolated(function, timeout=None):
    """Calls function() in a forked child and returns its value, or raises what it raised.
    For accesses that may block."""
    parent, child = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.close(parent)
            try:
                value = (True, function())
            except BaseException as e:  # pylint: disable=broad-except
                value = (False, e if isinstance(e, (OSError, AssertionError))
                         else AssertionError(traceback.format_exc()))
            with os.fdopen(child, 'wb') as pipe:
                pickle.dump(value, pipe)
        finally:
            os._exit(0)
    os.close(child)
    end = time.monotonic() + (TIMEOUT if timeout is None else timeout * SLOW)
    data = b''
    try:
        while True:
            if not select.select([parent], [], [], max(0, end - time.monotonic()))[0]:
                raise Hang('an access did not return')
            piece = os.read(parent, 1 << 20)
            if not piece:
                break
            data += piece
    finally:
        os.close(parent)
        kill_session(pid)
        os.waitpid(pid, 0)
    good, value = pickle.loads(data)
    if not good:
        raise value
    return value


def show(argv):
    return ' '.join(os.fsdecode(a) for a in argv)[:300]


def tail(data, n):
    if not data:
        return ''
    if isinstance(data, bytes):
        data = data.decode('utf-8', 'replace')
    return data[-n:]


# ---------------------------------------------------------------- content

def noise(size, seed=0):
    """Bytes that do not repeat, without a NUL byte run: pseudo-random."""
    return random.Random('%d %d' % (size, seed)).randbytes(size)


def zero_runs(size, seed=0):
    """Noise with long runs of zeros in it, aligned and not: what cp --sparse and tar -S
    turn into holes, and what must not be mistaken for bytes not fetched yet."""
    data = bytearray(noise(size, seed))
    step = 200 * KIB
    for begin in range(50 * KIB, size, step):
        n = min(70 * KIB + begin % 4097, size - begin)
        data[begin:begin + n] = bytes(n)
    return bytes(data)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def difference(got, want):
    """None, or a sentence about the first difference."""
    if got == want:
        return None
    if len(got) != len(want):
        sizes = '%d bytes instead of %d; ' % (len(got), len(want))
    else:
        sizes = ''
    for i, (a, b) in enumerate(zip(got, want)):
        if a != b:
            zeros = 0
            while i + zeros < len(got) and got[i + zeros] == 0:
                zeros += 1
            return '%sfirst difference at %d: %s instead of %s (%d zero bytes follow)' % (
                sizes, i, got[i:i + 16].hex(), want[i:i + 16].hex(), zeros)
    return sizes + 'the shorter is the beginning of the longer'


# ---------------------------------------------------------------- processes

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
    found = []
    for path in glob.glob('/sys/block/loop*/loop/backing_file'):
        try:
            with open(path, encoding='utf-8', errors='surrogateescape') as f:
                backing = f.read().strip()
        except OSError:
            continue
        if backing.startswith(directory + '/'):
            found.append('/dev/' + path.split('/')[3])
    return found


# ---------------------------------------------------------------- bus

BUS_CONFIG = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*" eavesdrop="true"/>
  </policy>
  <limit name="max_match_rules_per_connection">512</limit>
</busconfig>
'''


class Bus(Service):
    """A dbus-daemon of our own that lets every local user in."""

    def __init__(self, world, name='bus'):
        socket_path = world.path(name + '.socket')
        config = world.path(name + '.conf')
        with open(config, 'w', encoding='utf-8') as f:
            f.write(BUS_CONFIG % socket_path)
        self.address = 'unix:path=' + socket_path
        super().__init__(world, name, ['dbus-daemon', '--config-file=' + config, '--nofork',
                                       '--nopidfile', '--nosyslog'])
        wait_until(lambda: self.ready(socket_path), 'dbus-daemon listens')

    def ready(self, path):
        if not self.alive():
            raise AssertionError('dbus-daemon ended: ' + tail(self.log_text(), 1000))
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(path)
                return True
            except OSError:
                return False

    def busctl(self, *args, check=True, timeout=None, user=None):
        argv = ['busctl', '--address=' + self.address, '--timeout=%d' % (600 * SLOW), *args]
        kwargs = {'user': user, 'group': user, 'extra_groups': []} if user is not None else {}
        return run(argv, check=check, text=True, timeout=timeout, **kwargs)


# ---------------------------------------------------------------- web server

NGINX_CONFIG = '''
daemon off;
master_process off;
user root;
worker_rlimit_nofile 8192;
pid {dir}/nginx.pid;
error_log {errors} notice;
events {{ worker_connections 4096; }}
http {{
    log_format requests escape=json '{{"method":"$request_method","path":"$request_uri",'
        '"status":$status,"range":"$http_range","sent":$body_bytes_sent}}';
    access_log {access} requests;
    types {{ }}
    default_type application/octet-stream;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 30s;
    keepalive_requests 1000000;
    autoindex on;
    autoindex_exact_size on;
    index .no-index;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {root};
        location / {{ }}
        location /json/ {{ alias {root}/; autoindex_format json; }}
        location /slow/ {{ alias {root}/; autoindex_format json; limit_rate {rate}; }}
        location = /.sentinel {{ return 204; }}
    }}
}}
'''


class Web(Service):
    """nginx on a free port of the loopback, serving `root` with directory indexes as
    HTML at /, as JSON at /json/, and slowly at /slow/."""

    def __init__(self, world, root=None, name='nginx', rate='256k'):
        self.root = root or world.new_directory('origin')
        self.dir = world.new_directory(name)
        self.port = world.free_port()
        self.access = os.path.join(self.dir, 'access.log')
        self.sentinels = 0
        config = os.path.join(self.dir, 'nginx.conf')
        with open(config, 'w', encoding='utf-8') as f:
            f.write(NGINX_CONFIG.format(dir=self.dir, errors=world.log(name + '-errors'),
                                        access=self.access, root=self.root, port=self.port,
                                        rate=rate))
        self.command = ['nginx', '-e', world.log(name + '-errors'), '-p', self.dir, '-c', config]
        super().__init__(world, name, self.command)
        self.wait_listening()

    def wait_listening(self):
        def listening():
            if not self.alive():
                raise AssertionError('nginx ended: ' + tail(self.log_text(), 1000))
            with socket.socket() as s:
                return s.connect_ex(('127.0.0.1', self.port)) == 0
        wait_until(listening, 'nginx listens')

    def again(self):
        """Starts it once more, on the same port."""
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        self.wait_listening()

    def url(self, path='', kind=''):
        return 'http://127.0.0.1:%d/%s%s' % (
            self.port, kind + '/' if kind else '', urllib.parse.quote(os.fsencode(path)))

    def requests(self):
        """All requests answered so far. nginx is one process and logs a request before it
        looks at the next: once a request made now is in the log, so is all before it."""
        self.sentinels += 1
        mark = '/.sentinel?%d' % self.sentinels
        urllib.request.urlopen(self.url().rstrip('/') + mark, timeout=TIMEOUT).close()

        def logged():
            with open(self.access, encoding='utf-8', errors='surrogateescape') as f:
                lines = f.read().splitlines()
            entries = [json.loads(line) for line in lines if line.endswith('}')]
            if any(e['path'] == mark for e in entries):
                return entries
            return None
        return [e for e in wait_until(logged, 'nginx logs the sentinel')
                if not e['path'].startswith('/.sentinel')]

    def gets(self, part=''):
        """GET requests of files (not of directories) whose path contains `part`."""
        return [e for e in self.requests()
                if e['method'] == 'GET' and not e['path'].split('?')[0].endswith('/')
                and part in urllib.parse.unquote(e['path'])]


class Gate(Service):
    """tests/servers/gate.py: a web server that does to each request what a test asks for."""

    def __init__(self, world, root=None, name='gate'):
        world.counter += 1
        self.root = root or world.new_directory('gate-origin')
        self.file_name = '%s-%d' % (name, world.counter)
        self.port = 0
        super().__init__(world, self.file_name, self.command())
        self.wait_listening()

    def command(self):
        return ['/usr/bin/python3', TESTS + '/servers/gate.py', self.root, str(self.port)]

    def wait_listening(self):
        def port():
            if not self.alive():
                raise AssertionError('gate.py ended: ' + tail(self.log_text(), 2000))
            return re.findall(rb'^port (\d+)$', self.log_text(), re.M)[self.begun - 1:]
        self.port = int(wait_until(port, 'gate.py listens')[0])

    begun = 1

    def again(self):
        """After kill(): starts it once more, on the same port, without rules."""
        self.begun += 1
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        self.wait_listening()

    def url(self, path=''):
        return 'http://127.0.0.1:%d/%s' % (self.port, urllib.parse.quote(os.fsencode(path)))

    def ask(self, path, data=None):
        if data is not None:
            data = json.dumps(data).encode()
        with urllib.request.urlopen(self.url(path), data, timeout=TIMEOUT) as answer:
            return json.loads(answer.read() or b'null')

    def rule(self, path, what, **more):
        self.ask('.rule', dict(more, path='/' + path, what=what))

    def release(self, keep=False):
        self.ask('.release', {'keep': keep})

    def wait_waiting(self, n=1):
        """Until at least n requests are held or stalled."""
        wait_until(lambda: self.ask('.waiting') >= n, 'the server holds %d requests' % n)

    def requests(self):
        return self.ask('.log')

    def gets(self, part=''):
        return [e for e in self.requests() if e['method'] == 'GET'
                and not e['path'].endswith('/') and part in e['path']]


# ---------------------------------------------------------------- store and daemon

class Store:
    """A store image with its daemon.

    config: {section: {key: value}} beyond Path= and Device=."""

    def __init__(self, world, bus, fs=FS, size='512M', config=None, name='store'):
        self.world, self.bus, self.fs, self.name = world, bus, fs, name
        self.image = world.path(name + '.img')
        self.path = world.path(name)
        self.state = world.path(name + '-state')
        self.config_file = world.path(name + '-etc', 'cloudsync.conf')
        self.modules = world.path('modules')
        self.daemon = None
        self.starts = 0
        self.notify = None
        os.mkdir(self.path)
        os.mkdir(os.path.dirname(self.config_file))
        run([CTL, 'store', 'create', '--size', size, '--fs', fs, self.image])
        self.configure(config or {})
        gather_modules(self.modules)

    def configure(self, config):
        sections = {'Store': {'Path': self.path, 'Device': self.image}}
        for section, values in config.items():
            sections.setdefault(section, {}).update(values)
        with open(self.config_file, 'w', encoding='utf-8') as f:
            for section, values in sections.items():
                f.write('[%s]\n' % section)
                for key, value in values.items():
                    if value is not None:
                        f.write('%s=%s\n' % (key, value))
                f.write('\n')

    def command(self, *extra):
        return [DAEMON, '--config', self.config_file, '--bus', self.bus.address,
                '--state-dir', self.state, '--module-dir', self.modules,
                '--host-path', HOST, '--engine-user', 'nobody', *extra]

    def environment(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith(('NOTIFY', 'LISTEN_'))}
        env.update({
            'G_DEBUG': 'fatal-criticals', 'G_SLICE': 'always-malloc',
            'ASAN_OPTIONS': 'exitcode=99:detect_leaks=1:detect_stack_use_after_return=1',
            'LSAN_OPTIONS': 'exitcode=99',
            'UBSAN_OPTIONS': 'print_stacktrace=1:halt_on_error=1:exitcode=99',
            'TSAN_OPTIONS': 'exitcode=99:halt_on_error=1:second_deadlock_stack=1',
        })
        return env

    def start(self, *extra, wait=True):
        self.starts += 1
        path = self.world.path('%s-notify-%d' % (self.name, self.starts))
        if self.notify is not None:
            self.notify.close()
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(path)
        env = self.environment()
        env['NOTIFY_SOCKET'] = path
        self.daemon = Service(self.world, '%s-daemon-%d' % (self.name, self.starts),
                              self.command(*extra), env=env)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self):
        def ready():
            if not self.daemon.alive():
                raise AssertionError('cloudsyncd ended with status %d before it was ready:\n%s' % (
                    self.daemon.process.returncode, tail(self.daemon.log_text(), 3000)))
            return 'READY=1' in self.notifications()
        wait_until(ready, 'cloudsyncd says READY=1')

    def notifications(self):
        """Lines that came since the last call."""
        lines = []
        while True:
            try:
                lines += self.notify.recv(8192, socket.MSG_DONTWAIT).decode().splitlines()
            except BlockingIOError:
                return lines

    def stop(self, timeout=None):
        """SIGTERM; the exit status must be 0 and nothing may be left."""
        status = self.daemon.stop(timeout)
        if status != 0:
            raise AssertionError('cloudsyncd ended with status %d on SIGTERM:\n%s' % (
                status, tail(self.daemon.log_text(), 3000)))
        if self.path in mounts_below(self.world.dir):
            raise AssertionError('the store is still mounted after SIGTERM')

    def kill(self):
        """SIGKILL. Pending accesses are allowed by the kernel then. Its mount stays:
        it is taken away here, as a service manager's clean-up would."""
        self.daemon.kill()
        while self.path in mounts_below(self.world.dir):
            run(['umount', '-l', self.path])

    def restart(self):
        self.stop()
        self.start()

    # -- what the store looks like

    def file(self, *parts):
        parts = [os.fsencode(p) for p in parts]
        path = os.path.join(os.fsencode(self.path), *parts)
        try:
            return path.decode('utf-8')
        except UnicodeDecodeError:
            return path

    # -- D-Bus

    def call(self, method, *args, interface=MANAGER, path=ROOT_OBJECT, **kwargs):
        return self.bus.busctl('--json=short', 'call', BUS_NAME, path, interface, method, *args,
                               **kwargs)

    def answer(self, method, *args, **kwargs):
        out = self.call(method, *args, **kwargs).stdout
        return json.loads(out)['data'] if out.strip() else None

    def property(self, name, interface=MANAGER, path=ROOT_OBJECT):
        out = self.bus.busctl('--json=short', 'get-property', BUS_NAME, path, interface, name)
        return json.loads(out.stdout)['data']

    def register(self, engine, module, prefix, settings, check=True):
        pairs = [s for item in settings.items() for s in item]
        return self.call('RegisterEngine', 'sssa{ss}', engine, module, prefix,
                         str(len(settings)), *pairs, check=check)

    def unregister(self, engine, check=True):
        return self.call('UnregisterEngine', 's', engine, check=check)

    def engine_path(self, engine):
        for row in self.answer('ListEngines')[0]:
            if row[0] == engine:
                return row[4]
        raise AssertionError('no engine ' + engine)

    def engine_state(self, engine):
        for row in self.answer('ListEngines')[0]:
            if row[0] == engine:
                return row[3]
        return None

    def engine_property(self, engine, name):
        return self.property(name, ENGINE, self.engine_path(engine))

    def wait_state(self, engine, state='ready', timeout=None):
        def reached():
            now = self.engine_state(engine)
            if now == 'failed' and state != 'failed':
                raise AssertionError('engine %s failed: %s' % (
                    engine, self.engine_property(engine, 'StateDetail')))
            return now == state
        wait_until(reached, 'engine %s is %s' % (engine, state), timeout)

    def status(self, path, **kwargs):
        answer = self.answer('GetFileStatus', 's', path, **kwargs)[0]
        return {key: value['data'] for key, value in answer.items()}

    def refresh(self, path, recursive=True):
        self.call('Refresh', 'sb', path, 'true' if recursive else 'false')

    def host_pid(self, engine):
        """The engine's provider, once there is one."""
        return wait_until(lambda: self.engine_property(engine, 'Pid'),
                          'engine %s has a process' % engine)


def gather_modules(target):
    """Copies of the modules, as the administrator's files that they must be."""
    if os.path.isdir(target):
        return
    os.mkdir(target, 0o755)
    given = os.environ.get('CLOUDSYNC_MODULES')
    if given:
        sources = glob.glob(given + '/*.so')
    else:
        sources = [f for f in glob.glob(BUILD + '/src/plugins/**/*.so', recursive=True) +
                   glob.glob(BUILD + '/examples/**/*.so', recursive=True) +
                   glob.glob(BUILD + '/tests/**/*.so', recursive=True)]
    for source in sources:
        copy = os.path.join(target, os.path.basename(source))
        shutil.copyfile(source, copy)
        os.chown(copy, 0, 0)
        os.chmod(copy, 0o644)


# ---------------------------------------------------------------- test case

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


# ---------------------------------------------------------------- results

class Result(unittest.TestResult):
    """TAP on standard output: one line a case, diagnostics as comments."""

    def __init__(self, module, out):
        super().__init__()
        self.module, self.out, self.count = module, out, 0
        self.good = True

    def say(self, text):
        self.out.write(text + '\n')
        self.out.flush()

    def name(self, test):
        return '%s %s' % (self.module, test.id().replace('__main__.', ''))

    def line(self, ok, test, note='', detail=''):
        self.count += 1
        took = time.monotonic() - self.began
        self.say('%s %d - %s%s' % ('ok' if ok else 'not ok', self.count, self.name(test),
                                   note or ' (%.1f s)' % took))
        for line in detail.splitlines():
            self.say('# ' + line)
        self.good = self.good and ok

    began = time.monotonic()

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        self.failed_sub = False

    def addSuccess(self, test):
        super().addSuccess(test)
        if not self.failed_sub:
            self.line(True, test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line(True, test, note=' # SKIP ' + reason)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.problem(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.problem(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.failed_sub = True
            self.problem(subtest, err)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.line(True, test, note=' (fails as expected)')

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.line(False, test, note=' (unexpected success)')

    def problem(self, test, err):
        detail = ''.join(traceback.format_exception(*err))
        real = getattr(test, 'test_case', test)
        world = getattr(real, 'world', None)
        if world is not None:
            detail += '\n' + world.logs()
        self.line(False, test, detail=detail)


def main():
    """To be called at the end of each test module."""
    if os.geteuid() != 0:
        print('1..0 # SKIP needs root')
        sys.exit(77)
    if os.environ.get('CLOUDSYNC_TEST_INNER') != '1':
        sys.exit(outer())
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    names = [a for a in sys.argv[1:] if not a.startswith('-')]
    loader = unittest.TestLoader()
    module = sys.modules['__main__']
    if names:
        loader.testNamePatterns = ['*%s*' % n for n in names]
    suite = loader.loadTestsFromModule(module)
    title = re.sub('^test_', '', os.path.basename(sys.argv[0]).replace('.py', ''))
    if getattr(module, 'PER_FILESYSTEM', False):
        title += '.' + FS
    result = Result(title, sys.stdout)
    result.say('TAP version 13')
    suite.run(result)
    result.say('1..%d' % result.count)
    sys.stdout.flush()
    os._exit(0 if result.good else 1)


def outer():
    """Makes the run's directory and its guardian, runs the tests in namespaces of their own."""
    sys.stdout.flush()
    directory = tempfile.mkdtemp(prefix='cloudsync-test-', dir=os.environ.get('TMPDIR') or '/var/tmp')
    os.chmod(directory, 0o755)
    watched, held = os.pipe()  # the guardian reads; every process of the run but it holds `held`
    guardian = os.fork()
    if guardian == 0:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(held)
        os.read(watched, 1)  # end of file: both are gone
        clean_up(directory)
        os._exit(0)
    os.close(watched)
    env = dict(os.environ, CLOUDSYNC_TEST_DIR=directory, CLOUDSYNC_TEST_INNER='1',
               PYTHONUNBUFFERED='1',
               PYTHONDONTWRITEBYTECODE='1')

    def die_with_parent():
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)

    inner = subprocess.Popen(
        ['unshare', '--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child',
         '--mount-proc', sys.executable, *sys.argv], env=env, preexec_fn=die_with_parent)

    def forward(*_):
        inner.kill()  # PID 1 of the namespace goes with it, and so does everything else
    signal.signal(signal.SIGINT, forward)
    signal.signal(signal.SIGTERM, forward)
    status = inner.wait()
    os.close(held)
    os.waitpid(guardian, 0)
    return status if status >= 0 else 128 - status


def clean_up(directory):
    """The guardian's work: by now no process and no mount of the run should exist."""
    if os.environ.get('CLOUDSYNC_KEEP'):
        print('# kept: ' + directory, flush=True)
        return
    for i in range(100):
        loops = loops_below(directory)
        if not loops:
            break
        if i >= 50:
            for loop in loops:
                subprocess.run(['losetup', '-d', loop], check=False, stderr=subprocess.DEVNULL)
        time.sleep(0.1)
    if not mounts_below(directory):
        shutil.rmtree(directory, ignore_errors=True)
