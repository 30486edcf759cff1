#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""cloudsync.service, started by systemd on the system bus, with all its restrictions.

A systemd of our own is PID 1 of new PID, mount, UTS and cgroup namespaces. It sees the
machine's file system with `meson install`'s result laid over /usr, an /etc and /var/lib
whose changes stay here, an empty /run, and just the units that this test copies: the
machine's own services are not started a second time.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import sys
import time
import unittest

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import
from support.dropbox import SERVER

PER_FILESYSTEM = True

# $1 the test's directory. Ends as systemd.
BOOT = r'''
set -eu
layer() {
    mkdir -p "$1/upper$2" "$1/work$2"
    mount -t overlay overlay -o "lowerdir=$3,upperdir=$1/upper$2,workdir=$1/work$2" "$2"
}
mount -t proc proc /proc
mount --bind -o ro /proc/sys /proc/sys   # not this systemd's to change
mount -o remount,bind,ro /proc/sys
layer "$1" /usr "$1/root/usr:/usr"
layer "$1" /etc /etc
layer "$1" /var/lib /var/lib
mount -t tmpfs tmpfs /run
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cp -r "$1/units" /run/units
mkdir -p /run/dbus
systemd-sysusers /usr/lib/sysusers.d/cloudsync.conf
systemd-tmpfiles --create /usr/lib/tmpfiles.d/cloudsync.conf
cp -r "$1/etc/." /etc/cloudsync/
mkdir -p /run/cloud
mount --make-rshared /                   # as systemd does where it is not told of a container
export container=cloudsync-test SYSTEMD_UNIT_PATH=/run/units
exec /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
'''

# What cloudsync.service and the bus refer to, without what the machine's own would pull in.
STUBS = {name: '[Unit]\nDescription=stub\nDefaultDependencies=no\n' for name in (
    'sysinit.target', 'basic.target', 'sockets.target', 'network.target', 'nss-lookup.target',
    'remote-fs.target', 'multi-user.target', 'shutdown.target', 'umount.target',
    'local-fs.target')}
STUBS['test.target'] = ('[Unit]\nDescription=test\nDefaultDependencies=no\n'
                        'Wants=dbus.socket dbus.service\n')

# Reads each file of $1 once, slowly, until its standard input has something to say.
READER = r'''
import hashlib, json, os, select, sys
failed, read = [], {}
for name in sorted(os.listdir(sys.argv[1])):
    try:
        with open(os.path.join(sys.argv[1], name), "rb") as f:
            read[name] = hashlib.sha256(f.read()).hexdigest()
    except OSError as e:
        failed.append("%s: %s" % (name, e))
    with open("/run/progress", "w") as f:
        print(len(read), file=f)
    if select.select([0], [], [], 0.02)[0]:
        break
print(json.dumps({"failed": failed, "read": read}))
'''

CAPABILITIES = {'CHOWN': 0, 'DAC_OVERRIDE': 1, 'DAC_READ_SEARCH': 2, 'FOWNER': 3, 'FSETID': 4,
                'KILL': 5, 'SETGID': 6, 'SETUID': 7, 'SETPCAP': 8, 'SYS_PTRACE': 19,
                'SYS_ADMIN': 21, 'LEASE': 28}


def cgroup2():
    """Where the unified hierarchy is mounted, or None."""
    with open('/proc/self/mountinfo', encoding='utf-8') as info:
        for line in info:
            if ' - cgroup2 ' in line:
                return line.split()[4]
    return None


class SystemdService(unittest.TestCase):
    """One boot for all tests; each begins with the service running."""

    @classmethod
    def setUpClass(cls):
        options = run(['meson', 'introspect', '--buildoptions', BUILD], text=True).stdout
        sanitizers = [o for o in json.loads(options) if o['name'] == 'b_sanitize']
        if sanitizers and sanitizers[0]['value'] != 'none':
            raise unittest.SkipTest('the plain build only: sanitizers do not run under the filter')
        if not cgroup2() or not os.path.exists('/lib/systemd/systemd'):
            raise unittest.SkipTest('needs systemd and a mounted cgroup2 hierarchy')
        cls.world = World('service')
        cls.cgroup = os.path.join(cgroup2(), os.path.basename(cls.world.dir))
        try:
            cls.prepare()
            cls.boot()
        except BaseException:
            print(cls.world.logs())
            cls.tearDownClass()
            raise

    @classmethod
    def prepare(cls):
        root, units, etc = cls.world.path('root'), cls.world.path('units'), cls.world.path('etc')
        run(['meson', 'install', '-C', BUILD, '--no-rebuild', '--destdir', root])
        os.mkdir(units)
        for name, text in STUBS.items():
            with open(os.path.join(units, name), 'w', encoding='utf-8') as f:
                f.write(text)
        for name in ('dbus.service', 'dbus.socket'):
            shutil.copy('/lib/systemd/system/' + name, units)
        shutil.copy(root + '/usr/lib/systemd/system/cloudsync.service', units)
        # There is no journal.
        os.mkdir(units + '/cloudsync.service.d')
        with open(units + '/cloudsync.service.d/log.conf', 'w', encoding='utf-8') as f:
            f.write('[Service]\nStandardError=append:%s\n' % cls.world.log('cloudsyncd'))
        # As docs/dropbox.md has it. With it all of the class shows that it hides nothing.
        with open(units + '/cloudsync.service.d/mine.conf', 'w', encoding='utf-8') as f:
            f.write('[Service]\nLoadCredentialEncrypted=cloudsync.mine.token:/etc/cloudsync/mine.token.cred\n')
        cls.dropbox = start([sys.executable, SERVER, '0'], text=True)
        cls.hosts = json.loads(cls.dropbox.stdout.readline())
        cls.token = cls.control({'do': 'write', 'path': '/f', 'text': 'from Dropbox'}, {'do': 'login'})[1]
        run([CTL, 'store', 'create', '--size', '512M', '--fs', FS, cls.world.path('store.img')])
        os.mkdir(etc)
        with open(etc + '/cloudsync.conf', 'w', encoding='utf-8') as f:
            f.write('[Store]\nPath=/run/cloud\nDevice=%s\n' % cls.world.path('store.img'))
        cls.web = Web(cls.world)
        cls.files = {'a.txt': noise(30000, 1), 'sub/b.bin': noise(3 * MIB, 2),
                     'c.txt': noise(5000, 3), 'd.txt': noise(5000, 4), 'e.txt': noise(5000, 5),
                     'f.txt': noise(5000, 6)}
        # Too large to be fetched ahead.
        cls.files.update({'cold-%d' % i: noise(1200000, 10 + i) for i in range(14)})
        cls.files.update({'many/%03d' % i: noise(1000 + 300 * i, 100 + i) for i in range(150)})
        for name, data in cls.files.items():
            put(os.path.join(cls.web.root, 'docs', name), data, mtime=1600000000)

    @classmethod
    def control(cls, *steps):
        with urllib.request.urlopen(cls.hosts['www'] + '/.control', json.dumps(steps).encode()) as answer:
            return json.load(answer)

    @classmethod
    def boot(cls):
        os.mkdir(cls.cgroup)

        def enter():
            with open(cls.cgroup + '/cgroup.procs', 'w', encoding='ascii') as f:
                f.write('0')
        cls.systemd = Service(cls.world, 'systemd', [
            'unshare', '--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child',
            '--uts', '--cgroup', 'sh', '-c', BOOT, 'sh', cls.world.dir], preexec_fn=enter)

        def init():
            children = '/proc/%d/task/%d/children' % (cls.systemd.pid, cls.systemd.pid)
            with open(children, encoding='ascii') as f:
                return f.read().split()

        def running():
            if not cls.systemd.alive():
                raise AssertionError('systemd ended')
            return init() and cls.inside('systemctl', 'is-active', 'dbus.service',
                                         check=False).stdout == 'active\n'
        wait_until(running, 'systemd runs and the bus answers')
        run(cls.entered('systemd-creds', 'encrypt', '--name=cloudsync.mine.token', '-',
                        '/etc/cloudsync/mine.token.cred'), input=cls.token.encode() + b'\n')
        cls.inside('systemctl', 'start', 'cloudsync.service', timeout=60)
        cls.inside('cloudsyncctl', 'engine', 'add', 'docs', 'httpfs', 'docs',
                   'url=' + cls.web.url('docs/', 'json'))
        wait_until(lambda: cls.engine_state() == 'ready', 'the engine is ready')

    @classmethod
    def entered(cls, *argv, user=0):
        with open('/proc/%d/task/%d/children' % (cls.systemd.pid, cls.systemd.pid),
                  encoding='ascii') as f:
            init = f.read().split()[0]
        change = ['setpriv', '--reuid=%d' % user, '--regid=%d' % user, '--clear-groups'] if user else []
        return ['nsenter', '--target', init, '--mount', '--pid', '--uts', '--cgroup', *change, *argv]

    @classmethod
    def inside(cls, *argv, check=True, timeout=None, user=0):
        return run(cls.entered(*argv, user=user), check=check, timeout=timeout, text=True)

    @classmethod
    def engine_state(cls):
        engines = json.loads(cls.inside('cloudsyncctl', '--json', 'engine', 'list').stdout)
        return engines[0]['state']

    @classmethod
    def tearDownClass(cls):
        left = []
        if hasattr(cls, 'systemd'):
            if cls.systemd.alive():
                cls.inside('systemctl', 'stop', 'cloudsync.service', timeout=60)
            cls.systemd.kill()
            wait_until(lambda: not loops_below(cls.world.dir), 'the loop device goes')
        left += cls.world.close()
        if hasattr(cls, 'dropbox'):
            kill_session(cls.dropbox.pid)
            cls.dropbox.communicate()
        if os.path.isdir(cls.cgroup):
            def gone():
                for directory, _, _ in os.walk(cls.cgroup, topdown=False):
                    try:
                        os.rmdir(directory)
                    except OSError:
                        return False
                return True
            wait_until(gone, 'the control groups are empty')
        left += cls.world.reports()
        if left:
            raise AssertionError('\n'.join(left))

    def setUp(self):
        self.inside('systemctl', 'start', 'cloudsync.service', timeout=60)
        wait_until(lambda: self.engine_state() == 'ready', 'the engine is ready')

    def show(self, name):
        return self.inside('systemctl', 'show', '--value', '--property', name,
                           'cloudsync.service').stdout.strip()

    def worker(self):
        """The supervisor's one child."""
        return self.inside('pgrep', '-P', self.show('MainPID'), check=False).stdout.strip()

    def status_of(self, pid):
        text = self.inside('cat', '/proc/%s/status' % pid).stdout
        return dict(re.findall(r'^(\w+):[ \t]*(.*)$', text, re.M))

    def assertReads(self, name):
        out = self.inside('sha256sum', '/run/cloud/docs/' + name).stdout.split()[0]
        self.assertEqual(out, hashlib.sha256(self.files[name]).hexdigest())

    def test_credential(self):
        """A token sealed by systemd is used, and is nowhere in the clear."""
        self.inside('cloudsyncctl', 'engine', 'add', 'mine', 'dropbox', 'mine', 'app_key=testappkey',
                    *('%s_url=%s' % pair for pair in self.hosts.items()))
        try:
            def listed():
                return self.inside('ls', '/run/cloud/mine', check=False).stdout == 'f\n'
            wait_until(listed, 'the engine is logged in')
            self.assertEqual(self.inside('cat', '/run/cloud/mine/f').stdout, 'from Dropbox')
            found = self.inside('grep', '-rlF', self.token, '/etc/cloudsync', '/var/lib/cloudsync', check=False)
            self.assertEqual((found.returncode, found.stdout), (1, ''))
            self.assertNotIn(self.token, self.inside('cloudsyncctl', '--json', 'engine', 'show', 'mine').stdout)
        finally:
            self.inside('cloudsyncctl', 'engine', 'remove', 'mine')

    def test_a_reader_gets_the_bytes(self):
        self.assertEqual(self.show('ActiveState'), 'active')
        self.assertReads('a.txt')
        self.assertReads('sub/b.bin')
        modes = self.inside('stat', '-c', '%a', '/run/cloud/docs/a.txt', '/run/cloud/docs/sub').stdout
        self.assertEqual(modes.split(), ['644', '755'])  # whatever UMask= says

    def test_the_store_is_in_the_mount_namespace_of_all(self):
        daemon, init = (self.inside('readlink', '/proc/%s/ns/mnt' % pid).stdout
                        for pid in (self.show('MainPID'), 1))
        self.assertEqual(daemon, init)
        self.assertIn('/run/cloud', self.inside('cat', '/proc/1/mounts').stdout)

    def test_the_daemon_has_no_more_than_it_needs(self):
        status = self.status_of(self.show('MainPID'))
        allowed = sum(1 << n for n in CAPABILITIES.values())
        for kind in ('CapBnd', 'CapPrm', 'CapEff'):
            self.assertEqual(int(status[kind], 16), allowed, kind)
        self.assertEqual(int(status['CapAmb'], 16), 0)
        self.assertEqual((status['NoNewPrivs'], status['Seccomp']), ('1', '2'))

    def test_the_host_has_nothing(self):
        daemon = self.show('MainPID')
        hosts = self.inside('pgrep', '-P', self.worker()).stdout.split()
        self.assertEqual(len(hosts), 1)
        status = self.status_of(hosts[0])
        uid = self.inside('id', '-u', 'cloudsync-engine').stdout.strip()
        self.assertEqual(set(status['Uid'].split()), {uid})
        self.assertEqual(status['Groups'].strip(), '')
        for kind in ('CapBnd', 'CapPrm', 'CapEff', 'CapInh', 'CapAmb'):
            self.assertEqual(int(status[kind], 16), 0, kind)
        self.assertEqual((status['NoNewPrivs'], status['Seccomp']), ('1', '2'))
        self.assertGreater(int(status['Seccomp_filters']),
                           int(self.status_of(daemon)['Seccomp_filters']))
        self.assertNotIn('/run/cloud', self.inside('cat', '/proc/%s/mounts' % hosts[0]).stdout)

    def test_nothing_is_refused_in_the_log(self):
        self.assertReads('c.txt')
        with open(self.world.log('cloudsyncd'), encoding='utf-8', errors='replace') as f:
            log = f.read()
        self.assertIn('docs', log)
        self.assertNotIn('Operation not permitted', log)
        self.assertNotIn('Permission denied', log)

    def test_users_may_ask_and_root_may_change(self):
        self.inside('cloudsyncctl', 'status', user=65534)
        self.inside('cloudsyncctl', 'ls', '/run/cloud/docs', user=65534)
        self.inside('cloudsyncctl', 'hydrate', '/run/cloud/docs/d.txt', user=65534)
        shown = self.inside('cloudsyncctl', '--json', 'engine', 'show', 'docs', user=65534).stdout
        self.assertEqual(list(json.loads(shown)['settings'].values()), [''])
        for verb in (['engine', 'add', 'x', 'httpfs', 'x', 'url=http://127.0.0.1/'],
                     ['engine', 'remove', 'docs'], ['refresh', '/run/cloud/docs']):
            refused = self.inside('cloudsyncctl', *verb, user=65534, check=False)
            self.assertEqual(refused.returncode, 1, verb)
            self.assertIn('as root', refused.stderr)

    def test_stop_detaches_and_the_next_call_starts(self):
        self.inside('systemctl', 'stop', 'cloudsync.service', timeout=60)
        self.assertEqual((self.show('ActiveState'), self.show('Result')), ('inactive', 'success'))
        self.assertNotIn('/run/cloud', self.inside('cat', '/proc/1/mounts').stdout)
        self.assertEqual(self.inside('ls', '-A', '/run/cloud').stdout, '')  # as before the first start
        self.inside('cloudsyncctl', 'status')  # D-Bus activation
        self.assertEqual(self.show('ActiveState'), 'active')
        wait_until(lambda: self.engine_state() == 'ready', 'the engine is back')
        self.assertReads('e.txt')

    def test_killed_worker_is_replaced(self):
        """The service does not notice, and what is read meanwhile waits."""
        self.assertIn('fdstore', json.loads(
            self.inside('cloudsyncctl', '--json', 'status').stdout)['layers'])
        before, starts = self.worker(), self.show('NRestarts')
        self.inside('kill', '-KILL', before)
        self.assertReads('f.txt')
        self.assertNotEqual(self.worker(), before)
        self.assertEqual((self.show('ActiveState'), self.show('NRestarts')), ('active', starts))

    def waiting_readers(self, *names):
        """Programs that read while the web server stands still."""
        self.web.signal(signal.SIGSTOP)
        self.addCleanup(self.web.signal, signal.SIGCONT)
        readers = [(name, start(self.entered('cat', '/run/cloud/docs/' + name))) for name in names]
        for _, reader in readers:
            self.addCleanup(reader.communicate)
            self.addCleanup(reader.kill)

        def waiting():
            out = self.inside('busctl', '--json=short', 'get-property', 'org.cloudsync1',
                              '/org/cloudsync1', 'org.cloudsync1.Manager', 'EventsPending',
                              check=False).stdout
            return out and json.loads(out)['data'] >= len(names)
        wait_until(waiting, 'the readers wait')
        return readers

    def all_served(self, readers):
        self.web.signal(signal.SIGCONT)
        for name, reader in readers:
            status, out, err = finish(reader)
            self.assertEqual((status, err), (0, b''), name)
            self.assertEqual(difference(out, self.files[name]), None, name)

    def test_blocked_readers_over_kills(self):
        """First the worker, then both: systemd's fd store gives the accesses to the next start."""
        readers = self.waiting_readers('cold-0', 'cold-1')
        before = self.worker()
        self.inside('kill', '-KILL', before)
        wait_until(lambda: self.worker() not in ('', before), 'there is a new worker')
        main = self.show('MainPID')
        self.kill_all()
        wait_until(lambda: self.show('ActiveState') == 'active' and self.show('MainPID') != main,
                   'the service is back')
        self.all_served(readers)

    def test_blocked_readers_over_a_reload(self):
        """systemctl reload executes the program anew, in the same process."""
        readers = self.waiting_readers('cold-2', 'cold-3')
        before, main = self.worker(), self.show('MainPID')
        self.inside('systemctl', 'reload', 'cloudsync.service')
        wait_until(lambda: self.worker() not in ('', before), 'there is a new worker')
        self.assertEqual(self.show('MainPID'), main)
        self.all_served(readers)
        self.assertEqual(self.show('ActiveState'), 'active')

    # -- restarts

    def write(self, path, text):
        self.assertEqual(run(self.entered('tee', path), input=text).returncode, 0)

    def configuration(self):
        return b'[Store]\nPath=/run/cloud\nDevice=%s\n' % os.fsencode(self.world.path('store.img'))

    def broken_configuration(self):
        self.write('/etc/cloudsync/cloudsync.conf', self.configuration() + b'[Nonsense]\nKey=1\n')
        self.addCleanup(self.write, '/etc/cloudsync/cloudsync.conf', self.configuration())

    def broken_program(self):
        """Until repair() or the end of the test, as after a copy that went wrong."""
        self.inside('mv', '/usr/bin/cloudsyncd', '/usr/bin/cloudsyncd.good')
        self.write('/usr/bin/cloudsyncd', b'not a program\n')
        self.inside('chmod', '755', '/usr/bin/cloudsyncd')
        self.addCleanup(self.repair)

    def repair(self):
        self.inside('mv', '/usr/bin/cloudsyncd.good', '/usr/bin/cloudsyncd', check=False)

    def drop_in(self, **settings):
        """For the rest of the test."""
        directory = '/run/units/cloudsync.service.d'
        self.write(directory + '/test.conf', '[Service]\n{}\n'.format(
            '\n'.join('%s=%s' % item for item in settings.items())).encode())
        self.inside('systemctl', 'daemon-reload')
        self.addCleanup(self.inside, 'systemctl', 'daemon-reload')
        self.addCleanup(self.inside, 'rm', directory + '/test.conf')

    def mounted(self):
        return ' /run/cloud ' in self.inside('cat', '/proc/1/mounts').stdout

    def back(self, main=None):
        """The service is up, and not in the process `main`."""
        wait_until(lambda: self.show('ActiveState') == 'active' and self.show('MainPID') != main,
                   'the service is back', timeout=60)

    def failed(self, readers):
        """What waited was denied, and never got a byte."""
        self.web.signal(signal.SIGCONT)
        for name, reader in readers:
            status, out, err = finish(reader)
            self.assertNotEqual(status, 0, name)
            self.assertEqual(out, b'', name)
            self.assertIn(b'Input/output error', err)

    def log(self):
        with open(self.world.log('cloudsyncd'), encoding='utf-8', errors='replace') as f:
            return f.read()

    def test_readers_over_restarts(self):
        """systemctl restart, five times, under a program that reads one cold file after the other, and
        some that wait: nothing fails, nothing is wrong."""
        reader = start(self.entered('/usr/bin/python3', '-c', READER, '/run/cloud/docs/many'))
        self.addCleanup(reader.communicate)
        self.addCleanup(reader.kill)
        before = self.log().count('left to the next start')

        def progress():
            return int(self.inside('cat', '/run/progress', check=False).stdout or 0)
        for turn in range(5):
            wait_until(lambda turn=turn: progress() >= 8 * (turn + 1), 'the program goes on')
            blocked = self.waiting_readers('cold-%d' % (4 + turn)) if turn < 2 else []
            main = self.show('MainPID')
            self.inside('systemctl', 'restart', 'cloudsync.service', timeout=60)
            self.assertNotEqual(self.show('MainPID'), main)
            self.all_served(blocked)
        status, out, err = finish(reader, input=b'over\n')
        self.assertEqual((status, err), (0, b''))
        got = json.loads(out)
        want = {name[5:]: hashlib.sha256(data).hexdigest() for name, data in self.files.items()
                if name.startswith('many/')}
        self.assertEqual(got['failed'], [])
        self.assertEqual({name for name, digest in got['read'].items() if digest != want[name]}, set())
        print('# %d reads of cold files over 5 restarts, 0 failed, 0 wrong' % len(got['read']), flush=True)
        self.assertGreater(len(got['read']), 39)
        self.assertEqual(self.log().count('left to the next start') - before, 5)
        self.assertEqual(self.show('NRestarts'), '0')

    def test_restart_with_a_broken_configuration(self):
        """It would not take over: a full stop. Then the start fails, for good, until it is mended."""
        readers = self.waiting_readers('cold-6')
        self.broken_configuration()
        self.assertNotEqual(self.inside('systemctl', 'restart', 'cloudsync.service', check=False,
                                        timeout=60).returncode, 0)
        self.failed(readers)
        wait_until(lambda: self.show('ActiveState') == 'failed', 'it is not tried again')
        self.assertFalse(self.mounted())
        self.assertIn('this restart is a full stop', self.log())
        self.write('/etc/cloudsync/cloudsync.conf', self.configuration())
        self.inside('systemctl', 'start', 'cloudsync.service', timeout=60)
        wait_until(lambda: self.engine_state() == 'ready', 'the engine is back')
        self.assertReads('cold-6')

    def test_reload_with_a_broken_configuration(self):
        """It goes on as it was."""
        worker = self.worker()
        self.broken_configuration()
        refusals = self.log().count('it is not replaced')
        self.inside('systemctl', 'reload', 'cloudsync.service')
        wait_until(lambda: self.log().count('it is not replaced') > refusals, 'it is refused')
        self.assertEqual(self.worker(), worker)
        self.assertReads('cold-7')

    def test_restart_with_a_broken_program(self):
        readers = self.waiting_readers('cold-8')
        self.broken_program()
        self.inside('systemctl', 'restart', 'cloudsync.service', check=False, timeout=60)
        self.failed(readers)
        self.assertFalse(self.mounted())
        self.repair()
        self.back()  # by itself
        wait_until(lambda: self.engine_state() == 'ready', 'the engine is back')
        self.assertReads('cold-8')

    def kill_all(self):
        # The worker first: it may be gone with the supervisor before it is asked for.
        self.inside('kill', '-KILL', self.worker(), self.show('MainPID'), check=False)

    def test_killed_and_the_program_is_broken(self):
        """What waits goes on waiting; after some tries nobody gets in any more; it comes back when the
        program does."""
        readers = self.waiting_readers('cold-9')
        self.broken_program()
        self.kill_all()
        wait_until(lambda: not self.mounted(), 'the store is closed', timeout=60)
        self.assertIn('cloudsyncd cannot be started: unmounted', self.log())
        self.assertEqual(self.inside('ls', '-A', '/run/cloud').stdout, '')
        self.assertIsNone(readers[0][1].poll())
        self.repair()
        self.back()
        self.all_served(readers)
        self.assertReads('cold-10')

    def test_stopped_while_the_program_is_broken(self):
        """A stop between two starts that fail runs nothing of ours, and drops the group."""
        self.broken_program()
        self.kill_all()
        wait_until(lambda: not self.mounted(), 'the store is closed', timeout=60)
        self.inside('systemctl', 'stop', 'cloudsync.service', timeout=60)
        self.assertEqual(self.inside('ls', '-A', '/run/cloud').stdout, '')

    def test_killed_and_not_started_again(self):
        """Restart=no: nobody follows, and the store is closed at once."""
        self.drop_in(Restart='no')
        self.kill_all()
        wait_until(lambda: not self.mounted(), 'the store is closed')
        wait_until(lambda: self.show('ActiveState') == 'failed', 'it is over')
        self.assertEqual(self.inside('ls', '-A', '/run/cloud').stdout, '')

    def test_killed_and_the_configuration_is_broken(self):
        """The supervisor tries to take over until systemd loses patience; then it ends in order: what
        waited is denied, the store is closed."""
        self.drop_in(TimeoutStartSec='2s')
        readers = self.waiting_readers('cold-11')
        self.broken_configuration()
        self.kill_all()
        self.failed(readers)
        wait_until(lambda: self.show('ActiveState') == 'failed', 'it is over', timeout=60)
        self.assertFalse(self.mounted())

    def test_stop_with_a_store_in_use(self):
        """Somebody sits in the store for longer than TimeoutStopSec=: systemd is asked for more time, and
        what is not here is denied. (Killed, the daemon would leave zeros.)"""
        self.drop_in(TimeoutStopSec='1s')
        sitter = start(self.entered('sh', '-c', 'cd /run/cloud/docs && echo in && read x; cat cold-12; '
                                    'echo "status $?"; cat cold-0 | sha256sum; read x'))
        self.addCleanup(sitter.communicate)
        self.addCleanup(sitter.kill)
        self.assertReads('cold-0')
        self.assertEqual(sitter.stdout.readline(), b'in\n')
        stop = start(self.entered('systemctl', 'stop', 'cloudsync.service'))
        self.addCleanup(stop.communicate)
        wait_until(lambda: not self.mounted(), 'the store is closed')
        began = time.monotonic()
        wait_until(lambda: time.monotonic() > began + 2.5, 'TimeoutStopSec= is over')
        self.assertEqual(self.show('ActiveState'), 'deactivating')
        self.assertIsNone(stop.poll())
        sitter.stdin.write(b'go\n')
        sitter.stdin.flush()
        self.assertEqual(sitter.stdout.readline(), b'status 1\n')  # nothing came before it
        self.assertEqual(sitter.stdout.readline().split()[0].decode(),
                         hashlib.sha256(self.files['cold-0']).hexdigest())
        self.assertIn(b'Input/output error', finish(sitter, input=b'go\n')[2])
        self.assertEqual(finish(stop)[0], 0)
        self.assertEqual((self.show('ActiveState'), self.show('Result')), ('inactive', 'success'))

    def test_killed_it_is_back(self):
        before = self.show('MainPID')
        self.inside('kill', '-KILL', before)
        wait_until(lambda: self.show('ActiveState') == 'active' and self.show('MainPID') != before,
                   'the service is back')
        wait_until(lambda: self.engine_state() == 'ready', 'the engine is back')
        self.assertReads('a.txt')
        self.assertEqual(self.inside('cat', '/proc/1/mounts').stdout.count(' /run/cloud '), 1)

    def test_watchdog_is_fed(self):
        self.assertEqual(self.show('WatchdogUSec'), '1min')
        self.assertNotEqual(self.show('WatchdogTimestampMonotonic'), '0')


if FS != 'ext4':  # what does not depend on the file system
    for case in ('restart_with_a_broken_configuration', 'reload_with_a_broken_configuration',
                 'restart_with_a_broken_program', 'stopped_while_the_program_is_broken',
                 'killed_and_not_started_again', 'killed_and_the_configuration_is_broken',
                 'killed_and_the_program_is_broken'):
        delattr(SystemdService, 'test_' + case)


if __name__ == '__main__':
    main()
