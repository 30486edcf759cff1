#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Logins, as a person meets them: cloudsyncctl, the real daemon and host, the dropbox module, and a
Dropbox API server whose www host plays the browser (tests/servers/dropbox_api.py)."""

import errno
import glob
import os
import pwd
import re
import stat

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import
from support.dropbox import DropboxTest, made_up

STRANGER = 2  # "bin": a user without anything, whom the bus lets in


def ctl(store, *words, **kwargs):
    return run([CTL, '--bus', store.bus.address, *words], text=True, **kwargs)


def read_bytes(path):
    with open(path, 'rb') as f:
        return f.read()


class Login(DropboxTest):

    def list_error(self, path):
        """The errno of listing a directory, 0 if none."""
        def attempt():
            try:
                os.listdir(path)
                return 0
            except OSError as e:
                return e.errno
        return isolated(attempt)

    def log_count(self, text, since=0):
        return self.store.daemon.log_text()[since:].count(text)

    def told(self, name, since=0):
        """How often the log says what to do."""
        return self.log_count(b'cloudsyncctl login ' + name.encode(), since)

    def kill_worker(self, name, state):
        """And waits until the next one says on the bus that the engine is in this state."""
        def reached():
            try:
                return self.store.engine_state(name) == state
            except AssertionError:
                return False  # it is not there yet
        self.store.kill_worker()
        wait_until(reached, 'the new worker has the engine %s' % state)

    def test_walk_through(self):
        """docs/dropbox.md, line by line."""
        self.control({'do': 'clear'}, {'do': 'set', 'longpoll_s': 5},
                     {'do': 'write', 'path': '/Notes/a.txt', 'text': 'hello\n'},
                     {'do': 'write', 'path': '/Notes/b.txt', 'text': 'later\n'},
                     {'do': 'write', 'path': '/big', 'seed': 'big', 'size': 3 * MIB})
        name = self.unique()
        self.engines.append(name)
        self.prefix = 'Dropbox-' + name
        since = len(self.store.daemon.log_text())
        out = ctl(self.store, 'engine', 'add', name, 'dropbox', self.prefix,
                  *('%s=%s' % pair for pair in self.settings().items())).stdout
        self.assertIn('is registered', out)
        self.assertIn('cloudsyncctl login ' + name, out)
        self.store.wait_state(name, 'needs-login')
        host = self.store.host_pid(name)
        self.assertIn('needs-login', ctl(self.store, 'status').stdout)
        self.assertIn('nobody is logged in: run "cloudsyncctl login %s"' % name,
                      ctl(self.store, 'engine', 'show', name).stdout)
        # Readers wait for nothing.
        begin = time.monotonic()
        self.assertEqual(self.list_error(self.file()), errno.EIO)
        self.assertEqual(self.list_error(self.file()), errno.EIO)
        self.assertLess(time.monotonic() - begin, 5 * SLOW)
        self.assertEqual(self.told(name, since), 1)

        self.login(name)
        begin = time.monotonic()
        self.store.wait_state(name, 'ready')
        self.assertLess(time.monotonic() - begin, 8 * SLOW, 'the root was listed at once, not at the next retry')
        self.assertEqual(self.names(), ['Notes', 'big'])
        self.assertEqual(self.names('Notes'), ['a.txt', 'b.txt'])
        self.assertBytes(self.read(self.file('Notes', 'a.txt')), b'hello\n')

        out = ctl(self.store, 'logout', name).stdout
        self.assertIn('Logged out', out)
        self.assertEqual(self.store.engine_state(name), 'needs-login')
        self.assertFalse(os.path.exists(os.path.join(self.state_directory(name), 'credentials')))
        self.assertEqual(self.control({'do': 'secrets'})[0], [], 'Dropbox was told')
        self.assertBytes(self.read(self.file('Notes', 'a.txt')), b'hello\n')  # it is here
        begin = time.monotonic()
        self.assertEqual(self.read_error(self.file('Notes', 'b.txt')), errno.EIO)
        self.assertEqual(self.read_error(self.file('big')), errno.EIO)
        self.assertLess(time.monotonic() - begin, 5 * SLOW)

        self.login(name)
        self.assertBytes(self.read(self.file('Notes', 'b.txt')), b'later\n')
        self.assertBytes(self.read(self.file('big')), made_up('big', 3 * MIB))
        # Space is freed by hand: the engine only reads.
        os.unlink(self.file('big'))
        ctl(self.store, 'refresh', self.file())
        self.assertCold(self.file('big'), 3 * MIB)
        self.assertIn('placeholder', ctl(self.store, 'ls', self.file('big')).stdout)
        self.assertEqual(self.store.host_pid(name), host, 'nothing was restarted')
        self.assertEqual(self.store.engine_property(name, 'HostRestarts'), 0)
        self.assertEqual(self.store.engine_property(name, 'StateDetail'), '')

    def test_revoked(self):
        """A login that Dropbox takes back while files are read."""
        name = self.dropbox(*({'do': 'write', 'path': '/d/f%02d' % i, 'text': 'x%d' % i} for i in range(40)),
                            {'do': 'write', 'path': '/e/g', 'text': 'y'}, login=False)
        self.login(name)
        self.store.wait_state(name, 'ready')
        self.assertEqual(self.names(), ['d', 'e'])
        self.assertBytes(self.read(self.file('d', 'f00')), b'x0')
        since = len(self.store.daemon.log_text())
        self.control({'do': 'revoke_all'})
        begin = time.monotonic()
        for i in range(1, 40):
            self.assertEqual(self.read_error(self.file('d', 'f%02d' % i)), errno.EIO)
        self.assertLess(time.monotonic() - begin, 20 * SLOW)
        self.assertEqual(self.store.engine_state(name), 'needs-login')
        self.assertEqual(self.told(name, since), 1, 'one line, however many readers')
        self.assertIn('revoked', self.store.engine_property(name, 'StateDetail'))
        self.assertEqual(ctl(self.store, 'hydrate', self.file('d', 'f01'), check=False).returncode, 1)
        self.control({'do': 'write', 'path': '/d/new', 'text': 'n'}, {'do': 'remove', 'path': '/e/g'})
        self.login(name)
        wait_until(lambda: self.store.engine_state(name) == 'ready', 'ready again')
        for i in range(1, 40):
            self.assertBytes(self.read(self.file('d', 'f%02d' % i)), b'x%d' % i)
        wait_until(lambda: 'new' in self.names('d'), 'what changed meanwhile is there')

    def test_restarts(self):
        """What is needed is known again after a host or the daemon died; a login that was begun is not."""
        name = self.dropbox({'do': 'write', 'path': '/f', 'text': 'x'}, login=False)
        self.store.wait_state(name, 'needs-login')
        process = self.spawn([CTL, '--bus', self.bus.address, '--json', 'login', name])
        url = json.loads(process.stdout.readline())['url']
        host = self.store.host_pid(name)
        os.kill(host, signal.SIGKILL)
        wait_until(lambda: self.store.host_pid(name) != host, 'another host')
        self.store.wait_state(name, 'needs-login')
        code = self.control({'do': 'authorise', 'url': url})[0]
        _, err = process.communicate(code.encode() + b'\n', timeout=120)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b'no login was begun', err)
        self.assertIn(b'Begin again', err)
        self.kill_worker(name, 'needs-login')
        self.login(name)
        self.await_names(['f'])
        self.kill_worker(name, 'ready')
        self.assertBytes(self.read(self.file('f')), b'x')

    def test_refusals(self):
        name = self.engine({'f': b'1'})
        result = ctl(self.store, 'login', name, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn('has no login', result.stderr)
        self.assertIn('has no login', ctl(self.store, 'logout', name, check=False).stderr)
        self.assertIn('No engine', ctl(self.store, 'login', 'nothing', check=False).stderr)
        name = self.dropbox(login=False)
        self.store.wait_state(name, 'needs-login')
        for call in (('Login', 's', name), ('FinishLogin', 'ss', name, 'code'), ('Logout', 's', name)):
            result = self.store.call(*call, user=STRANGER, check=False)
            self.assertIn('Only root', result.stderr)
        result = run([CTL, '--bus', self.bus.address, 'login', name], input=b'some-code\n', check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b'invalid_grant', result.stderr)
        self.assertEqual(self.store.engine_state(name), 'needs-login')
        result = self.store.register('x', 'dropbox', 'x', {'credential.token': 't'}, check=False)
        self.assertIn('credential', result.stderr)

    def everything_said(self, name):
        """All that others could read: logs, the bus, command lines, environments, the registration."""
        said = [self.store.daemon.log_text(), read_bytes(self.bus.log)]
        said += [read_bytes(path) for path in glob.glob(os.path.dirname(self.store.config_file) + '/**/*.conf',
                                                        recursive=True)]
        said += [ctl(self.store, '--json', *words).stdout.encode()
                 for words in (('status',), ('engine', 'list'), ('engine', 'show', name), ('transfers',))]
        said += [self.bus.busctl('call', BUS_NAME, ROOT_OBJECT, 'org.freedesktop.DBus.ObjectManager',
                                 'GetManagedObjects').stdout.encode()]
        for pid in (self.store.daemon.pid, self.store.worker_pid(), self.store.host_pid(name)):
            said += [read_bytes('/proc/%d/%s' % (pid, what)) for what in ('cmdline', 'environ')]
        return b'\n'.join(said)

    def test_secrets(self):
        monitor = self.spawn(['dbus-monitor', '--address', self.bus.address,
                              "type='signal',path_namespace='/org/cloudsync1'"])
        name = self.dropbox({'do': 'write', 'path': '/f', 'seed': 's', 'size': 100000}, login=False)
        self.store.wait_state(name, 'needs-login')
        process = self.spawn([CTL, '--bus', self.bus.address, '--json', 'login', name])
        url = json.loads(process.stdout.readline())['url']
        code = self.control({'do': 'authorise', 'url': url})[0]
        process.stdin.write(code.encode() + b'\n')
        process.stdin.flush()
        command = read_bytes('/proc/%d/cmdline' % process.pid) + read_bytes('/proc/%d/environ' % process.pid)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, err)
        self.await_names(['f'])
        self.assertBytes(self.read(self.file('f')), made_up('s', 100000))
        tokens = self.control({'do': 'secrets'})[0]
        self.assertGreaterEqual(len(tokens), 2)  # one that lasts, one for access

        monitor.terminate()
        heard = monitor.communicate()[0]
        self.assertIn(b'PropertiesChanged', heard)
        said = self.everything_said(name) + command + out + err + heard
        for secret in [code, *tokens]:
            self.assertNotIn(secret.encode(), said)
        self.assertNotIn(b'refresh_token', said)

        file = os.path.join(self.state_directory(name), 'credentials')
        self.assertIn(tokens[0].encode() if tokens[0].encode() in read_bytes(file) else tokens[1].encode(),
                      read_bytes(file))  # it is the right file that is looked at
        st, user = os.stat(file), pwd.getpwnam('nobody')
        self.assertEqual((stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid), (0o600, user.pw_uid, user.pw_gid))
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(file)).st_mode), 0o700)

        host = self.store.host_pid(name)
        limits = read_bytes('/proc/%d/limits' % host).decode()
        self.assertRegex(limits, r'Max core file size +0 +0 ')
        # Not dumpable: its files in /proc are root's, though it is not.
        self.assertEqual(os.stat('/proc/%d/mem' % host).st_uid, 0)
        self.assertNotIn(b'Uid:\t0', read_bytes('/proc/%d/status' % host))


class Credential(DropboxTest):
    """The service manager gives the token (LoadCredentialEncrypted=)."""

    def test_given(self):
        directory = self.world.path('credentials')
        os.mkdir(directory, 0o700)
        self.control({'do': 'clear'}, {'do': 'set', 'longpoll_s': 5},
                     {'do': 'write', 'path': '/f', 'text': 'x'}, {'do': 'write', 'path': '/g', 'text': 'y'})
        token = self.control({'do': 'login'})[0]
        name = self.unique()
        with open(os.path.join(directory, 'cloudsync.%s.token' % name), 'w', encoding='ascii') as f:
            os.fchmod(f.fileno(), 0o400)
            f.write(token + '\n')
        self.store.stop()
        os.environ['CREDENTIALS_DIRECTORY'] = directory
        try:
            self.store.start()
        finally:
            del os.environ['CREDENTIALS_DIRECTORY']
        self.engine(module='dropbox', wait='ready', **self.settings())
        self.assertEqual(self.names(), ['f', 'g'])
        self.assertBytes(self.read(self.file('f')), b'x')
        said = Login.everything_said(self, name)
        self.assertNotIn(token.encode(), said)
        for path in glob.glob(self.store.state + '/**', recursive=True):
            if os.path.isfile(path):
                self.assertNotIn(token.encode(), read_bytes(path), path)

        # A person's login comes first; what the service was given does not come back by itself.
        result = ctl(self.store, 'logout', name)
        self.assertIn('take it out of the unit', result.stdout)
        self.assertEqual(self.store.engine_state(name), 'needs-login')
        self.assertEqual(self.read_error(self.file('g')), errno.EIO)
        self.login(name)
        self.assertBytes(self.read(self.file('g')), b'y')


if __name__ == '__main__':
    main()
