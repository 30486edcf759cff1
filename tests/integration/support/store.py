# SPDX-License-Identifier: LGPL-2.1-or-later
"""A store image and the daemon that serves it."""

import glob
import json
import os
import shutil
import signal

from support.manager import Manager
from support.processes import run, tail, wait_until
from support.settings import (BUILD, BUS_NAME, CTL, DAEMON, ENGINE, FS, HOST, MANAGER,
                              ROOT_OBJECT)
from support.world import Service, mounts_below

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
        self.manager = None
        self.fd_store = None
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

    def start(self, *extra, wait=True, fd_store=None):
        """fd_store: {} or the descriptors that the last start left there, by name; the service
        manager's part (FDSTORE=1, LISTEN_FDS) is played with it. None: there is none."""
        self.starts += 1
        self.fd_store = fd_store
        if self.manager is not None:
            self.manager.close()
        self.manager = Manager(self.world.path('%s-notify-%d' % (self.name, self.starts)), fd_store)
        env = self.environment()
        env['NOTIFY_SOCKET'] = self.manager.path
        command, given = self.command(*extra), list((fd_store or {}).items())
        if given:
            env.update(LISTEN_FDS=str(len(given)), LISTEN_FDNAMES=':'.join(n for n, _ in given))
            moves = ' '.join('%d<&%d' % (3 + i, fd) for i, (_, fd) in enumerate(given))
            closes = ' '.join('%d<&-' % fd for _, fd in given)
            command = ['bash', '-c', 'exec %s; exec %s; export LISTEN_PID=$$; exec "$@"' % (
                moves, closes), 'sh', *command]
        self.daemon = Service(self.world, '%s-daemon-%d' % (self.name, self.starts), command,
                              env=env, pass_fds=[fd for _, fd in given])
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
        return self.manager.take_lines()

    def stop(self, timeout=None):
        """SIGTERM; the exit status must be 0 and nothing may be left."""
        status = self.daemon.stop(timeout)
        if status != 0:
            raise AssertionError('cloudsyncd ended with status %d on SIGTERM:\n%s' % (
                status, tail(self.daemon.log_text(), 3000)))
        if self.path in mounts_below(self.world.dir):
            raise AssertionError('the store is still mounted after SIGTERM')

    def worker_pid(self):
        """cloudsyncd is two processes: a supervisor, and a worker that does the work."""
        def child():
            with open('/proc/%d/task/%d/children' % (self.daemon.pid, self.daemon.pid),
                      encoding='ascii') as f:
                pids = f.read().split()
            return int(pids[0]) if pids else None
        return wait_until(child, 'the worker is there')

    def kill_worker(self):
        """SIGKILL of the worker; returns when there is another one."""
        worker = self.worker_pid()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: self.worker_pid() != worker, 'there is a new worker')

    def kill_both(self):
        """SIGKILL of supervisor and worker; the mount and the fd store stay."""
        worker = self.worker_pid()
        self.notifications()
        self.daemon.kill()
        wait_until(lambda: is_gone(worker), 'the worker is gone')

    def kill(self):
        """SIGKILL of all of it. Pending accesses are allowed by the kernel then. Its mount stays:
        it is taken away here, as a service manager's clean-up would."""
        if self.daemon.alive():
            self.kill_both()
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


def is_gone(pid):
    """With all of its threads: one may be held up in the kernel, and keep what the process had."""
    try:
        if len(os.listdir('/proc/%d/task' % pid)) > 1:
            return False
        with open('/proc/%d/stat' % pid, encoding='ascii', errors='replace') as f:
            return f.read().rpartition(')')[2].split()[0] == 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return True


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
                   glob.glob(BUILD + '/tests/integration/**/*.so', recursive=True)]
    for source in sources:
        copy = os.path.join(target, os.path.basename(source))
        shutil.copyfile(source, copy)
        os.chown(copy, 0, 0)
        os.chmod(copy, 0o644)
