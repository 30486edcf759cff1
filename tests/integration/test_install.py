#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`meson install` into a directory: everything where a distribution expects it, and valid."""

import configparser
import os
import re
import shutil
import socket
import stat
import struct
import subprocess
import unittest

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

# `systemd-analyze security` counts what a unit leaves open, 0 to 10. This is what is reached
# without a mount namespace (see the head of cloudsync.service): nearly all of the rest is
# CAP_SYS_ADMIN and the options that would make one; 0.2 are NotifyAccess=all, since supervisor
# and worker both speak to systemd.
SECURITY_MAX = 5.5

PROGRAMS = {'usr/bin/cloudsyncctl': 'man1/cloudsyncctl.1',
            'usr/bin/cloudsyncd': 'man8/cloudsyncd.8',
            'usr/bin/cloudsync-engine-check': 'man1/cloudsync-engine-check.1',
            'usr/libexec/cloudsync-detach': 'man8/cloudsync-detach.8',
            'usr/libexec/cloudsync-engine-host': 'man8/cloudsync-engine-host.8'}
# Optional, see meson_options.txt.
GUARD = os.path.exists(os.path.join(BUILD, 'src/guard/cloudsync-guard'))
if GUARD:
    PROGRAMS['usr/libexec/cloudsync-guard'] = 'man8/cloudsync-guard.8'
else:
    print('# built without the guard (clang, bpftool, libbpf)', flush=True)
MANUALS = [*PROGRAMS.values(), 'man5/cloudsync.conf.5']
FILES = [*PROGRAMS] + ['usr/share/man/' + m for m in MANUALS] + [
    'usr/include/cloudsync/engine.h',
    'usr/lib/systemd/system/cloudsync.service',
    'usr/lib/sysusers.d/cloudsync.conf',
    'usr/lib/tmpfiles.d/cloudsync.conf',
    'usr/share/dbus-1/system.d/org.cloudsync1.conf',
    'usr/share/dbus-1/system-services/org.cloudsync1.service',
    'usr/share/dbus-1/interfaces/org.cloudsync1.xml',
    'usr/share/dbus-1/interfaces/org.cloudsync1.Engine.xml',
    'usr/share/bash-completion/completions/cloudsyncctl',
    'usr/share/doc/cloudsync/examples/cloudsync.conf',
] + ['usr/lib/systemd/system/cloudsync-guard.service'] * GUARD
# Where the library directory is depends on the architecture.
IN_LIBDIR = [r'usr/lib(/[^/]+)?/cloudsync/engines/httpfs\.so',
             r'usr/lib(/[^/]+)?/cloudsync/engines/dropbox\.so',
             r'usr/lib(/[^/]+)?/pkgconfig/cloudsync-engine\.pc']

# systemd.exec(5): each of these gives the service a mount namespace.
NAMESPACE_OPTIONS = '''
    BindPaths BindReadOnlyPaths DynamicUser ExecPaths ExtensionDirectories ExtensionImages
    InaccessiblePaths LogNamespace MountAPIVFS MountFlags MountImages NoExecPaths PrivateDevices
    PrivateIPC PrivateMounts PrivateNetwork PrivateTmp PrivateUsers ProcSubset
    ProtectControlGroups ProtectHome ProtectKernelLogs ProtectKernelModules
    ProtectKernelTunables ProtectProc ProtectSystem ReadOnlyPaths ReadWritePaths RootDirectory
    RootImage TemporaryFileSystem IPCNamespacePath NetworkNamespacePath'''.split()

ENGINE = r'''
#include <cloudsync/engine.h>
static const struct cs_engine_ops ops = {
        .abi = CLOUDSYNC_ENGINE_ABI, .struct_size = sizeof ops, .name = "nothing"};
const struct cs_engine_ops *cloudsync_engine(void);
const struct cs_engine_ops *cloudsync_engine(void) { return &ops; }
'''

# The system's own bus configuration with our paths, and one more directory of policies.
BUS_CONFIG = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  %s
  <includedir>%s</includedir>
</busconfig>
'''


def own_name(address, name):
    """A connection of root's to the bus that owns `name` and never answers."""
    def text(s):
        return struct.pack('<I', len(s)) + s.encode() + b'\0'

    def padded(data, to):
        return data + bytes(-len(data) % to)

    def call(serial, member, signature='', body=b''):
        fields = b''
        for code, kind, value in ((1, 'o', text('/org/freedesktop/DBus')), (3, 's', text(member)),
                                  (2, 's', text('org.freedesktop.DBus')),
                                  (6, 's', text('org.freedesktop.DBus')),
                                  (8, 'g', bytes([len(signature)]) + signature.encode() + b'\0')):
            if code != 8 or signature:
                fields = padded(fields, 8) + bytes([code, 1]) + kind.encode() + b'\0' + value
        head = struct.pack('<cBBBIII', b'l', 1, 0, 1, len(body), serial, len(fields))
        return padded(head + fields, 8) + body

    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(TIMEOUT)
    connection.connect(address.partition('path=')[2])
    connection.sendall(b'\0AUTH EXTERNAL ' + str(os.getuid()).encode().hex().encode() + b'\r\n')
    if not connection.recv(1000).startswith(b'OK '):
        raise AssertionError('the bus does not let root in')
    connection.sendall(b'BEGIN\r\n' + call(1, 'Hello') + call(
        2, 'RequestName', 'su', padded(text(name), 4) + struct.pack('<I', 4)))
    answer = b''
    while answer.count(b'NameAcquired') < 2:  # the unique name, and this one
        more = connection.recv(65536)
        if not more:
            raise AssertionError('the bus refused: %r' % answer)
        answer += more
    return connection


class Install(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.world = World('install')
        cls.root = cls.world.new_directory('root')
        cls.install = run(['meson', 'install', '-C', BUILD, '--no-rebuild', '--destdir', cls.root])
        cls.paths = sorted(os.path.relpath(os.path.join(directory, name), cls.root)
                           for directory, _, names in os.walk(cls.root) for name in names)

    @classmethod
    def tearDownClass(cls):
        left = cls.world.close()
        if left:
            raise AssertionError('\n'.join(left))

    def path(self, relative):
        return os.path.join(self.root, relative)

    def text(self, relative):
        with open(self.path(relative), encoding='utf-8') as f:
            return f.read()

    def find(self, pattern):
        found = [p for p in self.paths if re.fullmatch(pattern, p)]
        self.assertEqual(len(found), 1, '%s: %s' % (pattern, found))
        return found[0]

    # -- files

    def test_every_file_is_in_its_place(self):
        self.assertEqual([f for f in FILES if f not in self.paths], [])
        for pattern in IN_LIBDIR:
            self.find(pattern)

    def test_nothing_else_is_installed(self):
        patterns = [re.escape(f) for f in FILES] + IN_LIBDIR + [
            r'usr/lib(/[^/]+)?/cloudsync/engines/[a-z0-9_-]+\.so', r'usr/share/doc/cloudsync/.*']
        other = [p for p in self.paths if not any(re.fullmatch(q, p) for q in patterns)]
        self.assertEqual(other, [])

    def test_modes(self):
        for path in self.paths:
            mode = os.lstat(self.path(path)).st_mode
            self.assertTrue(stat.S_ISREG(mode), path)
            self.assertEqual(mode & 0o7022, 0, '%s: %o' % (path, mode))
            self.assertEqual(bool(mode & 0o111), path in PROGRAMS or path.endswith('.so'), path)

    def test_nothing_names_the_build(self):
        """No path of this machine in what is not a program."""
        for path in self.paths:
            if path not in PROGRAMS and not path.endswith('.so'):
                for place in (self.root, BUILD, SOURCE):
                    self.assertNotIn(place, self.text(path), path)

    # -- the unit

    def unit(self):
        """The installed unit with its program where it was installed to."""
        text = self.text('usr/lib/systemd/system/cloudsync.service')
        adjusted = text.replace('/usr/bin/cloudsyncd', self.path('usr/bin/cloudsyncd'))
        adjusted = adjusted.replace('/usr/libexec/', self.path('usr/libexec') + '/')
        self.assertNotEqual(adjusted, text)
        directory = self.world.new_directory('unit')
        path = os.path.join(directory, 'cloudsync.service')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(adjusted)
        return path

    def test_unit_verifies(self):
        env = dict(os.environ, MANPATH=self.path('usr/share/man'), SYSTEMD_LOG_LEVEL='warning',
                   SYSTEMD_COLORS='0')
        verify = run(['systemd-analyze', 'verify', '--recursive-errors=no',
                      '--man=' + ('yes' if shutil.which('man') else 'no'), self.unit()],
                     env=env, check=False, text=True)
        self.assertEqual((verify.returncode, verify.stdout + verify.stderr), (0, ''))

    def test_unit_security_score(self):
        security = run(['systemd-analyze', 'security', '--offline=yes', '--no-pager', self.unit()],
                       env=dict(os.environ, SYSTEMD_COLORS='0', SYSTEMD_EMOJI='0'), text=True)
        score = float(re.search(r'Overall exposure level for \S+: ([0-9.]+)', security.stdout)[1])
        print('# systemd-analyze security: %.1f' % score, flush=True)
        self.assertLessEqual(score, SECURITY_MAX, security.stdout)

    def test_unit_makes_no_mount_namespace(self):
        for line in self.text('usr/lib/systemd/system/cloudsync.service').splitlines():
            self.assertNotIn(line.partition('=')[0], NAMESPACE_OPTIONS)

    def test_unit_lines_have_their_reason(self):
        """Every setting has a comment above it, or follows one that has."""
        explained = False
        service = self.text('usr/lib/systemd/system/cloudsync.service').partition('[Service]')[2]
        for line in service.partition('[Install]')[0].splitlines():
            if line.startswith('#'):
                explained = True
            elif not line.strip():
                explained = False
            elif '=' in line and not explained and not line.startswith('ExecStart='):
                self.fail(line)

    # -- users and directories

    def test_sysusers(self):
        root = self.world.new_directory('sysusers')
        os.makedirs(root + '/etc')
        run(['systemd-sysusers', '--root=' + root, self.path('usr/lib/sysusers.d/cloudsync.conf')])
        with open(root + '/etc/passwd', encoding='utf-8') as f:
            user = re.search(r'^cloudsync-engine:(.*)$', f.read(), re.M)
        self.assertTrue(user)
        self.assertTrue(user[1].endswith('/nologin'), user[1])

    def test_tmpfiles(self):
        root = self.world.new_directory('tmpfiles')
        run(['systemd-tmpfiles', '--root=' + root, '--create',
             self.path('usr/lib/tmpfiles.d/cloudsync.conf')])
        for path, mode in (('/var/lib/cloudsync', 0o711), ('/var/lib/cloudsync/engines', 0o711),
                           ('/etc/cloudsync', 0o755), ('/etc/cloudsync/engines.d', 0o700)):
            self.assertEqual(os.stat(root + path).st_mode & 0o7777, mode, path)

    # -- D-Bus

    def policy_bus(self):
        """A bus with the system's default policy and ours. Returns its address."""
        with open('/usr/share/dbus-1/system.conf', encoding='utf-8') as f:
            defaults = ''.join(re.findall(r'<policy .*?</policy>', f.read(), re.S))
        self.assertIn('<deny own="*"/>', defaults)
        socket_path = self.world.path('policy.socket')
        config = self.world.path('policy.conf')
        with open(config, 'w', encoding='utf-8') as f:
            f.write(BUS_CONFIG % (socket_path, defaults, self.path('usr/share/dbus-1/system.d')))
        process = start(['dbus-daemon', '--config-file=' + config, '--nofork', '--nopidfile',
                         '--nosyslog'], stdin=subprocess.DEVNULL)
        self.addCleanup(finish, process)
        self.addCleanup(kill_session, process.pid)
        wait_until(lambda: os.path.exists(socket_path) or process.poll() is not None, 'the bus')
        self.assertIsNone(process.poll(), process.stderr.read() if process.poll() else '')
        return 'unix:path=' + socket_path

    def call(self, address, user, *args):
        return run(['busctl', '--address=' + address, '--timeout=500ms', 'call', *args], user=user,
                   group=user, extra_groups=[], check=False, text=True)

    def test_bus_policy(self):
        address = self.policy_bus()
        own = ('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus',
               'RequestName', 'su', 'org.cloudsync1', '4')
        self.assertIn('Access denied', self.call(address, 65534, *own).stderr)
        owner = own_name(address, 'org.cloudsync1')
        self.addCleanup(owner.close)
        self.assertEqual(self.call(address, 0, *own).stdout, 'u 3\n')  # it exists

        # The owner never answers: what the policy lets pass times out.
        manager = ('org.cloudsync1', '/org/cloudsync1', 'org.cloudsync1.Manager')
        for user, call, allowed in (
                (65534, manager + ('ListEngines',), True),
                (65534, manager + ('ListTransfers',), True),
                (65534, manager + ('GetFileStatus', 's', '/x'), True),
                (65534, manager + ('Hydrate', 's', '/x'), True),
                (65534, manager + ('Refresh', 'sb', '/x', 'false'), False),
                (65534, manager + ('UnregisterEngine', 's', 'x'), False),
                (65534, manager + ('RegisterEngine', 'sssa{ss}', 'a', 'b', 'c', '0'), False),
                (65534, manager + ('AttachEngine', 'su', 'x', '1'), False),
                (65534, ('org.cloudsync1', '/org/cloudsync1', 'org.freedesktop.DBus.Properties',
                         'GetAll', 's', 'x'), True),
                (0, manager + ('RegisterEngine', 'sssa{ss}', 'a', 'b', 'c', '0'), True)):
            with self.subTest(user=user, member=call[3]):
                answer = self.call(address, user, *call).stderr
                self.assertIn('timed out' if allowed else 'Access denied', answer)

    def test_activation(self):
        service = configparser.ConfigParser()
        service.optionxform = str
        service.read(self.path('usr/share/dbus-1/system-services/org.cloudsync1.service'))
        section = service['D-BUS Service']
        self.assertEqual(section['Name'], 'org.cloudsync1')
        self.assertEqual(section['User'], 'root')
        self.assertTrue(os.access(self.root + section['Exec'].split()[0], os.X_OK))
        self.assertIn('usr/lib/systemd/system/' + section['SystemdService'], self.paths)

    # -- documentation

    def test_manual_pages(self):
        for manual in MANUALS:
            lint = run(['mandoc', '-T', 'lint', '-W', 'warning', self.path('usr/share/man/' + manual)],
                       check=False, text=True)
            self.assertEqual((lint.returncode, lint.stdout), (0, ''))

    def test_manual_pages_name_every_option(self):
        for program, manual in PROGRAMS.items():
            text = self.text('usr/share/man/' + manual).replace('\\', '')
            options = set(re.findall(r'--[a-z][a-z-]+', run([self.path(program), '--help'],
                                                           text=True).stdout))
            self.assertTrue(options, program)
            for option in options:
                self.assertIn(option[1:], text, '%s: %s' % (manual, option))

    def test_manual_page_names_every_key(self):
        page = self.text('usr/share/man/man5/cloudsync.conf.5')
        for source, pattern in (('src/dispatcher/config.c', r'\{"(?:Store|Hydration)", "(\w+)"'),
                                ('src/plugins/httpfs/settings.c', r'^ +\{"(\w+)", "')):
            with open(os.path.join(SOURCE, source), encoding='utf-8') as f:
                keys = re.findall(pattern, f.read(), re.M)
            self.assertGreaterEqual(len(keys), 9, source)
            for key in keys:
                self.assertRegex(page, r'(?m)^\.It .*Cm .*\b%s\b' % key)

    def test_example_configuration_is_accepted(self):
        """All its keys, the commented ones too, are known and have values that are valid."""
        example = self.text('usr/share/doc/cloudsync/examples/cloudsync.conf')
        missing = self.world.path('nothing')
        config = re.sub(r'^#([A-Z][A-Za-z]+=)', r'\1', example, flags=re.M)
        config = re.sub(r'^Path=.*$', 'Path=' + missing, config, flags=re.M)
        config = re.sub(r'^FileSystem=$', 'FileSystem=ext4', config, flags=re.M)
        self.assertGreaterEqual(len(re.findall(r'^[A-Z][A-Za-z]+=', config, re.M)), 9)
        path = self.world.path('example.conf')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(config)
        end = run([self.path('usr/bin/cloudsyncd'), '--config', path, '--bus', 'none',
                   '--state-dir', self.world.new_directory('state')], check=False, text=True)
        self.assertNotEqual(end.returncode, 0)
        self.assertNotIn('is not valid', end.stderr)
        self.assertNotIn('has no key', end.stderr)
        self.assertIn(missing, end.stderr)

    # -- for engine authors, and the shell

    def test_pkg_config_builds_an_engine(self):
        env = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=self.root, PKG_CONFIG_PATH='',
                   PKG_CONFIG_LIBDIR=os.path.dirname(self.path(self.find(IN_LIBDIR[-1]))))

        def pkg_config(*args):
            return run(['pkg-config', *args, 'cloudsync-engine'], env=env, text=True).stdout.split()
        source, module = self.world.path('nothing.c'), self.world.path('nothing.so')
        with open(source, 'w', encoding='utf-8') as f:
            f.write(ENGINE)
        cflags = ['-I' + self.path('usr/include')] + pkg_config('--cflags')
        run(['cc', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', '-o', module, source, *cflags])
        self.assertIn('cloudsync_engine', run(['nm', '-D', '--defined-only', module],
                                              text=True).stdout)
        directory = pkg_config('--variable=moduledir')[0]
        installed = '/' + os.path.dirname(self.find(IN_LIBDIR[0]))
        self.assertTrue(directory.endswith(installed), directory)

    def test_completion(self):
        script = '''
            set -u
            source "$1"; shift
            COMP_WORDS=(cloudsyncctl "$@"); COMP_CWORD=$#
            _cloudsyncctl; printf '%s\\n' "${COMPREPLY[@]}"'''
        completion = self.path('usr/share/bash-completion/completions/cloudsyncctl')
        for words, expected in ((['st'], 'status store'), (['engine', ''], 'list add remove show'),
                                (['store', 'create', '--fs', 'x'], 'xfs'),
                                (['--bus', 'system', 'trans'], 'transfers'),
                                (['refresh', '--rec'], '--recursive')):
            out = run(['bash', '-c', script, 'bash', completion, *words], text=True).stdout
            self.assertEqual(out.split(), expected.split(), words)


if __name__ == '__main__':
    main()
