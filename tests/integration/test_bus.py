#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The D-Bus interface of the real daemon, with busctl and gdbus as the clients that they are."""

import os
import stat
import subprocess

import introspection
from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

NOBODY = 65534  # the engine user of these tests
STRANGER = 2    # "bin": a user without anything, whom the bus lets in
ERROR = 'org.cloudsync1.Error.'
PROPERTIES = 'org.freedesktop.DBus.Properties'
OBJECT_MANAGER = 'org.freedesktop.DBus.ObjectManager'


def as_user(user):
    return {'user': user, 'group': user, 'extra_groups': []} if user else {}


class BusTest(CloudsyncTest):

    def gdbus(self, method, *args, user=None, path=ROOT_OBJECT, interface=MANAGER):
        return run(['gdbus', 'call', '--address', self.bus.address, '--dest', BUS_NAME,
                    '--object-path', path, '--method', interface + '.' + method, '--',
                    *args], check=False, text=True, **as_user(user))

    def assertError(self, name, method, *args, user=None):
        """The call is refused with this error and a sentence. Returns the sentence."""
        result = self.gdbus(method, *args, user=user)
        self.assertNotEqual(result.returncode, 0, result.stdout)
        match = re.search(r'GDBus\.Error:([\w.]+): (.*)', result.stderr)
        self.assertIsNotNone(match, result.stderr)
        self.assertEqual(match[1], name if '.' in name else ERROR + name, match[0])
        self.assertGreater(len(match[2]), 10)
        self.assertLess(len(match[2]), 1200)
        return match[2]

    def assertNoError(self, method, *args, user=None):
        result = self.gdbus(method, *args, user=user)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def monitor(self, user=None):
        """gdbus monitor, which listens. (It asks for signals before it asks who owns the name.)"""
        self.monitors = getattr(self, 'monitors', 0) + 1
        path = self.world.path('monitor-%d-%s' % (self.monitors, self.unique()))
        with open(path, 'wb') as f:
            process = self.spawn(['gdbus', 'monitor', '--address', self.bus.address, '--dest',
                                  BUS_NAME], stdout=f, stderr=f, **as_user(user))

        def text():
            with open(path, encoding='utf-8') as f:
                return f.read()
        wait_until(lambda: 'is owned by' in text(), 'gdbus monitor listens')
        self.assertIsNone(process.poll())
        return text

    def files_of_engines(self):
        directory = os.path.join(os.path.dirname(self.store.config_file), 'engines.d')
        return sorted(os.listdir(directory)) if os.path.isdir(directory) else []


class Interface(BusTest):

    def test_introspection(self):
        """What busctl introspect shows is what data/dbus documents."""
        name = self.engine({'f': b'x'})
        for path, file in ((ROOT_OBJECT, 'org.cloudsync1.xml'),
                           (self.store.engine_path(name), 'org.cloudsync1.Engine.xml')):
            with self.subTest(file):
                answer = self.bus.busctl('introspect', '--xml-interface', BUS_NAME, path).stdout
                with open(SOURCE + '/data/dbus/' + file, encoding='utf-8') as f:
                    self.assertEqual(introspection.differences(answer, f.read().encode()), [])
        table = self.bus.busctl('introspect', BUS_NAME, ROOT_OBJECT).stdout
        self.assertRegex(table, r'\.RegisterEngine +method +sssa\{ss\} +o')
        self.assertRegex(table, r'\.EngineAdded +signal +so')
        self.assertIn(self.store.engine_path(name), self.bus.busctl('tree', BUS_NAME).stdout)

    def test_register_by_busctl(self):
        name = self.unique()
        self.origin({'a/f': b'content'}, os.path.join(self.web.root, name))
        url = self.web.url(name + '/', 'json')
        self.assertEqual(self.store.answer('RegisterEngine', 'sssa{ss}', name, 'httpfs',
                                           'by-busctl', '1', 'url', url),
                         [self.store.engine_path(name)])
        self.engines.append(name)
        self.store.wait_state(name)
        self.assertEqual(self.store.answer('ListEngines')[0],
                         [[name, 'httpfs', 'by-busctl', 'ready', self.store.engine_path(name)]])
        for key, value in (('Id', name), ('Module', 'httpfs'), ('Prefix', 'by-busctl'),
                           ('State', 'ready'), ('Settings', {'url': url})):
            self.assertEqual(self.store.engine_property(name, key), value, key)
        self.assertGreater(self.store.engine_property(name, 'Pid'), 1)
        self.assertEqual(self.store.property('StorePath'), self.store.path)
        self.assertEqual(self.store.property('StoreFilesystem'), FS)
        self.assertIn('detach', self.store.property('Layers'))
        self.store.call('UnregisterEngine', 's', name)
        self.assertEqual(self.store.answer('ListEngines')[0], [])
        self.assertNotIn('by-busctl', self.bus.busctl('tree', BUS_NAME).stdout)

    def test_status_and_hydrate(self):
        self.engine({'a/f': noise(5000), 'g': b'1'})
        for path in (self.prefix + '/a/f', self.file('a/f')):
            self.assertEqual(
                {k: v for k, v in self.store.status(path).items() if k != 'Version'},
                {'Path': self.prefix + '/a/f', 'Kind': 'file', 'State': 'placeholder',
                 'Engine': self.engines[0], 'Size': 5000, 'Present': 0, 'Modified': False})
        self.assertEqual(self.store.status(self.prefix + '/a')['Kind'], 'directory')
        self.assertEqual(self.store.status(self.prefix + '/a')['State'], 'listed')
        self.assertEqual(self.store.status('')['State'], 'not-managed')
        self.assertEqual(self.store.status(self.store.path)['Kind'], 'directory')
        before = len(self.web.gets(self.engines[0]))
        self.store.call('Hydrate', 's', self.prefix + '/a/f')
        self.assertEqual(self.store.status(self.prefix + '/a/f')['State'], 'hydrated')
        self.assertEqual(self.store.status(self.prefix + '/a/f')['Present'], 5000)
        self.assertEqual(len(self.web.gets(self.engines[0])), before + 1)
        self.store.call('Hydrate', 's', self.prefix + '/a/f')  # whole already
        self.assertEqual(len(self.web.gets(self.engines[0])), before + 1)
        self.assertBytes(self.read(self.file('a/f')), noise(5000))
        self.assertEqual(self.store.status(self.prefix + '/g')['State'], 'placeholder')

    def test_refresh(self):
        name = self.engine({'a/f': b'1'})
        self.origin({'a/new': b'22', 'new': b'333'}, os.path.join(self.web.root, name))
        self.store.refresh(self.prefix, recursive=False)
        self.assertTrue(os.path.exists(self.file('new')))
        self.store.refresh(self.prefix + '/a', recursive=False)
        self.assertEqual(os.stat(self.file('a/new')).st_size, 2)

    def test_signals(self):
        heard = self.monitor(user=STRANGER)
        name = self.engine({'f': noise(70000), 'slow': noise(600 * KIB)}, kind='slow')
        wait_until(lambda: "EngineAdded ('%s', objectpath '%s')" % (
            name, self.store.engine_path(name)) in heard(), 'EngineAdded')
        wait_until(lambda: 'InterfacesAdded' in heard(), 'InterfacesAdded')
        wait_until(lambda: "'State': <'ready'>" in heard(), 'PropertiesChanged')
        self.assertBytes(self.read(self.file('slow')), noise(600 * KIB))
        finished = wait_until(lambda: re.search(
            r"TransferFinished \(uint64 (\d+), uint64 614400, ''\)", heard()), 'TransferFinished')
        number = finished[1]
        self.assertIn("TransferStarted (uint64 %s, '%s', uint64 614400)" % (number, name), heard())
        progress = [int(done) for done in re.findall(
            r'TransferProgress \(uint64 %s, uint64 (\d+), uint64 614400\)' % number, heard())]
        self.assertGreaterEqual(len(progress), 2)
        self.assertEqual(progress, sorted(progress))
        self.assertLess(progress[0], 614400)
        self.assertNotIn('slow', heard().replace('/slow/', ''))  # no names
        self.store.unregister(name)
        wait_until(lambda: 'EngineRemoved' in heard() and 'InterfacesRemoved' in heard(),
                   'EngineRemoved')

    def test_attach(self):
        name = self.engine({'f': b'1'})
        self.assertError('NoSuchEngine', 'AttachEngine', 'nothing', '1')
        self.assertError('AbiMismatch', 'AttachEngine', name, '4711')
        self.assertError('AlreadyAttached', 'AttachEngine', name, '1')
        self.assertError('AccessDenied', 'AttachEngine', name, '1', user=STRANGER)
        self.assertBytes(self.read(self.file('f')), b'1')


class Refused(BusTest):
    """Every refusal has a name and a sentence, and leaves nothing behind."""

    def setUp(self):
        super().setUp()
        self.register_url = "{'url': 'http://127.0.0.1:9/'}"

    def refused(self, name, *args, user=None):
        engines = self.store.answer('ListEngines')[0]
        top = sorted(os.listdir(self.store.path))
        text = self.assertError(name, 'RegisterEngine', *args, user=user)
        self.assertEqual(self.store.answer('ListEngines')[0], engines)
        self.assertEqual(sorted(os.listdir(self.store.path)), top)
        self.assertEqual(self.files_of_engines(), [e[0] + '.conf' for e in engines])
        return text

    def test_registrations(self):
        name = self.engine({'f': b'1'}, prefix='taken/here')
        url = self.register_url
        for bad in ('', 'A', '1x', 'a/b', '../x', 'a b', 'a' * 33, 'x' * 100000):
            self.refused('InvalidId', bad, 'httpfs', 'p', url)
        for bad in ('', '../httpfs', '/usr/lib/httpfs', 'httpfs.so', 'x' * 100000):
            self.refused('InvalidModule', 'new', bad, 'p', url)
        for bad in ('', '/', '/abs', 'a/../b', '..', '.', './a', 'a//b', 'a/', 'a/./b', 'a\nb',
                    '.cloudsync', '.cloudsync/x', 'x' * 256, 'y/' * 2000 + 'y'):
            self.refused('InvalidPrefix', 'new', 'httpfs', bad, url)
        for bad in ("{'a b': 'c'}", "{'': 'c'}", "{'url': '%s'}" % ('v' * 9000),
                    "{'%s': 'v'}" % ('k' * 65), "{'hydration': 'sometimes'}",
                    '{%s}' % ', '.join("'k%d': 'v'" % i for i in range(65)),
                    '{%s}' % ', '.join("'k%d': 'v'" % i for i in range(3000))):
            self.refused('InvalidSetting', 'new', 'httpfs', 'p', bad)
        self.refused('NoSuchModule', 'new', 'nothing', 'p', url)
        self.refused('IdInUse', name, 'httpfs', 'p', url)
        for taken in ('taken', 'taken/here', 'taken/here/below'):
            self.assertIn(name, self.refused('PrefixInUse', 'new', 'httpfs', taken, url))
        self.refused('AccessDenied', 'new', 'httpfs', 'p', url, user=STRANGER)
        self.refused('AccessDenied', 'new', 'httpfs', 'p', url, user=NOBODY)
        self.assertBytes(self.read(self.file('f')), b'1')
        # what only looks alike is not an overlap
        other = self.engine({'f': b'2'}, prefix='taken/hereafter', name='other')
        self.assertEqual(self.store.engine_property(other, 'State'), 'ready')

    def test_modules(self):
        good = os.path.join(self.store.modules, 'httpfs.so')
        for name, mode, owner in (('groupw', 0o664, 0), ('worldw', 0o646, 0),
                                  ('foreign', 0o644, STRANGER)):
            path = os.path.join(self.store.modules, name + '.so')
            shutil.copyfile(good, path)
            os.chown(path, owner, owner)
            os.chmod(path, mode)
            self.refused('InvalidModule', 'new', name, 'p', self.register_url)
        os.symlink(good, os.path.join(self.store.modules, 'link.so'))
        self.refused('InvalidModule', 'new', 'link', 'p', self.register_url)

    def test_unregister(self):
        self.assertError('NoSuchEngine', 'UnregisterEngine', 'nothing')
        self.assertError('NoSuchEngine', 'UnregisterEngine', '../x')
        name = self.engine({'f': b'1'})
        self.assertError('AccessDenied', 'UnregisterEngine', name, user=STRANGER)
        self.assertEqual(self.store.engine_state(name), 'ready')

    def test_paths(self):
        self.engine({'f': b'1', 'd/g': b'2'})
        os.symlink('f', self.file('link'))
        os.symlink('d', self.file('link-dir'))
        os.mkfifo(self.file('fifo'))
        prefix = self.prefix
        for method, more in (('GetFileStatus', ()), ('Hydrate', ()), ('Refresh', ('false',))):
            for bad in ('/etc/passwd', '/', self.store.path + 'x/f', prefix + '/../' + prefix,
                        prefix + '//f', './' + prefix, '..', prefix + '/link-dir/g'):
                self.assertError('NotInStore', method, bad, *more)
            for bad in ('nothing', prefix + '/f/below', prefix + '/' + 'x' * 256, 'x/' * 3000,
                        '.cloudsync', '.cloudsync/staging'):
                self.assertError('NoSuchFile', method, bad, *more)
        self.assertError('NotAPlaceholder', 'Hydrate', prefix)
        self.assertError('NotAPlaceholder', 'Hydrate', prefix + '/fifo')
        self.assertError('NotAPlaceholder', 'Hydrate', prefix + '/link')
        self.assertError('NoSuchFile', 'Refresh', prefix + '/f', 'false')
        for other in ('fifo', 'link'):
            self.assertEqual(self.store.status(prefix + '/' + other)['Kind'], 'other')

    def test_wrong_types(self):
        for args in (('RegisterEngine', 'sss', 'a', 'b', 'c'),
                     ('RegisterEngine', 'sssas', 'a', 'b', 'c', '0'),
                     ('RegisterEngine', 'sssa{sv}', 'a', 'b', 'c', '1', 'url', 's', 'x'),
                     ('UnregisterEngine', 'u', '1'), ('AttachEngine', 'ss', 'a', '1'),
                     ('GetFileStatus', 'ay', '1', '1'), ('Refresh', 's', 'a'),
                     ('ListEngines', 's', 'a')):
            result = self.store.call(*args, check=False)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn('Invalid arg', result.stderr)
        for method in ('Format', 'registerengine'):
            self.assertError('org.freedesktop.DBus.Error.UnknownMethod', method)
        result = self.bus.busctl('set-property', BUS_NAME, ROOT_OBJECT, MANAGER, 'StorePath', 's',
                                 '/', check=False)
        self.assertNotEqual(result.returncode, 0)
        result = self.bus.busctl('get-property', BUS_NAME, ROOT_OBJECT + '/engine/nothing', ENGINE,
                                 'Id', check=False)
        self.assertNotEqual(result.returncode, 0)


class Users(BusTest):

    def test_files_of_others(self):
        self.engine({'open/f': b'1' * 10, 'shut/f': b'2' * 20, 'unreadable': b'3' * 30})
        os.chmod(self.file('shut'), 0o700)
        os.chmod(self.file('unreadable'), 0o600)
        for method in ('GetFileStatus', 'Hydrate'):
            for path in ('shut/f', 'shut/nothing'):
                self.assertError('AccessDenied', method, self.prefix + '/' + path, user=STRANGER)
        self.assertError('AccessDenied', 'Hydrate', self.prefix + '/unreadable', user=STRANGER)
        self.assertError('AccessDenied', 'Refresh', self.prefix, 'false', user=STRANGER)
        # stat(2) shows as much
        self.assertEqual(self.store_status_as(STRANGER, 'unreadable')['Size'], 30)
        self.assertEqual(self.store_status_as(STRANGER, 'open/f')['State'], 'placeholder')
        self.assertEqual(self.web.gets(self.engines[0]), [])
        self.assertNoError('Hydrate', self.prefix + '/open/f', user=STRANGER)
        self.assertEqual(self.store_status_as(STRANGER, 'open/f')['State'], 'hydrated')
        os.chown(self.file('unreadable'), STRANGER, STRANGER)
        self.assertNoError('Hydrate', self.prefix + '/unreadable', user=STRANGER)

    def store_status_as(self, user, path):
        answer = self.store.bus.busctl('--json=short', 'call', BUS_NAME, ROOT_OBJECT, MANAGER,
                                       'GetFileStatus', 's', self.prefix + '/' + path, user=user)
        return {k: v['data'] for k, v in json.loads(answer.stdout)['data'][0].items()}

    def test_unreachable_store(self):
        """A store that a user may not search shows him nothing, by no path."""
        self.engine({'f': b'1'})
        self.assertEqual(self.store_status_as(STRANGER, 'f')['State'], 'placeholder')
        os.chmod(self.store.path, 0o700)
        try:
            self.assertError('AccessDenied', 'GetFileStatus', self.prefix + '/f', user=STRANGER)
            self.assertError('AccessDenied', 'Hydrate', self.file('f'), user=STRANGER)
        finally:
            os.chmod(self.store.path, 0o755)

    def test_secrets(self):
        heard = self.monitor(user=STRANGER)
        name = self.engine({'f': b'1'}, username='u', password='hunter2')
        self.assertEqual(self.store.engine_property(name, 'Settings')['password'], 'hunter2')
        path = self.store.engine_path(name)
        for user in (STRANGER, NOBODY):
            for args in ((path, PROPERTIES, 'Get', 'ss', ENGINE, 'Settings'),
                         (path, PROPERTIES, 'GetAll', 's', ENGINE),
                         (ROOT_OBJECT, OBJECT_MANAGER, 'GetManagedObjects')):
                shown = self.bus.busctl('call', BUS_NAME, *args, user=user).stdout
                self.assertIn('password', shown)
                self.assertNotIn('hunter2', shown)
                self.assertNotIn('127.0.0.1', shown)
        wait_until(lambda: 'InterfacesAdded' in heard(), 'InterfacesAdded')
        self.store.unregister(name)
        wait_until(lambda: 'EngineRemoved' in heard(), 'EngineRemoved')
        self.assertNotIn('hunter2', heard())
        self.assertNotIn(b'hunter2', self.store.daemon.log_text())


class Transfers(BusTest, GateTest):

    def test_failure(self):
        """A transfer that fails says so, by signal and to who asked for it."""
        heard = self.monitor()
        name = self.gated({'f': noise(9000)})
        self.gate.rule(name + '/*', 'hold')
        call = self.spawn(['gdbus', 'call', '--timeout', '600', '--address', self.bus.address,
                           '--dest', BUS_NAME, '--object-path', ROOT_OBJECT, '--method',
                           MANAGER + '.Hydrate', self.prefix + '/f'])
        wait_until(lambda: 'TransferStarted' in heard(), 'TransferStarted')
        os.unlink(os.path.join(self.gate.root, name, 'f'))
        self.gate.release()
        status, _, err = finish(call)
        self.assertNotEqual(status, 0)
        self.assertIn((ERROR + 'HydrationFailed').encode(), err)
        wait_until(lambda: re.search(r"TransferFinished \(uint64 \d+, uint64 0, '.+'\)", heard()),
                   'TransferFinished with an error')
        self.assertEqual(self.store.status(self.prefix + '/f')['State'], 'placeholder')

    def test_transfers_of_others(self):
        name = self.gated({'a': noise(1000), 'b': noise(2000)})
        self.gate.rule(name + '/*', 'hold')
        mine = self.spawn(['cat', self.file('a')])
        theirs = self.spawn(['cat', self.file('b')], **as_user(STRANGER))
        self.gate.wait_waiting(2)

        def seen(user=None):
            answer = self.bus.busctl('--json=short', 'call', BUS_NAME, ROOT_OBJECT, MANAGER,
                                     'ListTransfers', user=user)
            return sorted((t[1], t[2], t[4]) for t in json.loads(answer.stdout)['data'][0])
        a, b = (name, self.prefix + '/a', 1000), (name, self.prefix + '/b', 2000)
        wait_until(lambda: seen() == [a, b], 'root sees both')
        wait_until(lambda: seen(STRANGER) == [b], 'a user sees his own')
        self.assertEqual(seen(NOBODY), [])
        self.gate.release()
        self.assertEqual(finish(mine)[1], noise(1000))
        self.assertEqual(finish(theirs)[1], noise(2000))
        wait_until(lambda: seen() == [], 'nothing is under way')

    def test_many_hydrations(self):
        """A user has 64 at once; what is more is told to come back, and he can still look."""
        name = self.gated({'f': noise(1000), 'g': b'1'})
        self.gate.rule(name + '/f', 'hold')
        calls = [self.spawn(['busctl', '--address=' + self.bus.address, '--timeout=600', 'call',
                             BUS_NAME, ROOT_OBJECT, MANAGER, 'Hydrate', 's', self.prefix + '/f'],
                            **as_user(STRANGER)) for _ in range(70)]
        wait_until(lambda: sum(c.poll() is not None for c in calls) >= 6, 'six are refused')
        self.assertNoError('GetFileStatus', self.prefix + '/f', user=STRANGER)
        self.assertError('Busy', 'Hydrate', self.prefix + '/g', user=STRANGER)
        self.assertNoError('Hydrate', self.prefix + '/g')
        self.gate.release()
        status = [finish(c)[0] for c in calls]
        self.assertEqual(sum(s == 0 for s in status), 64)
        self.assertEqual(len(self.gate.gets(name + '/f')), 1)
        self.assertNoError('Hydrate', self.prefix + '/g', user=STRANGER)


class Lasting(BusTest):

    def test_registrations_survive(self):
        first = self.engine({'f': b'1'}, username='u', password=' \t"secret"\\\n ', prefix='a/b c/ä',
                            hydration='whole')
        second = self.engine({'f': b'2'}, name='second')
        directory = os.path.join(os.path.dirname(self.store.config_file), 'engines.d')
        self.assertEqual(stat.S_IMODE(os.stat(directory).st_mode), 0o700)
        for name in (first, second):
            st = os.stat(os.path.join(directory, name + '.conf'))
            self.assertEqual(stat.S_IMODE(st.st_mode), 0o600)
        before = {n: self.store.engine_property(n, 'Settings') for n in (first, second)}
        self.assertEqual(before[first]['hydration'], 'whole')
        with open(os.path.join(directory, '.third.conf.tmp'), 'wb') as f:
            f.write(b'[Engine]\nModule=ht')
        with open(os.path.join(directory, 'fourth.conf'), 'wb') as f:
            f.write(b'[Engine]\nModule=httpfs\nPrefix=fourth\n')
        os.chmod(os.path.join(directory, 'fourth.conf'), 0o666)
        self.store.restart()
        self.store.wait_state(first)
        self.store.wait_state(second)
        self.assertEqual([e[0] for e in self.store.answer('ListEngines')[0]],
                         sorted([first, second]))
        for name in (first, second):
            self.assertEqual(self.store.engine_property(name, 'Settings'), before[name])
        self.assertIn(b'fourth.conf', self.store.daemon.log_text())
        os.unlink(os.path.join(directory, 'fourth.conf'))
        self.assertEqual(self.files_of_engines(), sorted([first + '.conf', second + '.conf']))
        self.assertBytes(self.read(self.store.file('a/b c/ä', 'f')), b'1')
        self.store.unregister(second)
        self.store.restart()
        self.assertEqual([e[0] for e in self.store.answer('ListEngines')[0]], [first])

    def test_bus_dies(self):
        """Files are served without a bus, and the daemon comes back to it."""
        name = self.engine({'cold': noise(100000), 'later': noise(1000, 1)})
        pid = self.store.host_pid(name)
        self.bus.kill()
        self.assertBytes(self.read(self.file('cold')), noise(100000))
        with open(self.bus.log, 'ab') as log:
            self.bus.process = subprocess.Popen(self.bus.argv, stdin=subprocess.DEVNULL,
                                                stdout=log, stderr=log, start_new_session=True)
        wait_until(lambda: self.store.call('ListEngines', check=False).returncode == 0,
                   'the daemon is back')
        self.assertEqual(self.store.engine_state(name), 'ready')
        self.assertEqual(self.store.engine_property(name, 'Pid'), pid)
        self.assertBytes(self.read(self.file('later')), noise(1000, 1))
        text = self.store.daemon.log_text()
        self.assertEqual(text.count(b'the bus is gone'), 1)
        self.assertEqual(text.count(b'back on the bus'), 1)

    def test_bus_hangs(self):
        """The daemon waits for the bus nowhere: files are served while it is stopped."""
        self.engine({'cold': noise(100000), 'later': noise(5000)})
        calls = [self.spawn(['busctl', '--address=' + self.bus.address, '--timeout=600', 'call',
                             BUS_NAME, ROOT_OBJECT, MANAGER, 'GetFileStatus', 's', self.prefix])
                 for _ in range(5)]
        self.bus.signal(signal.SIGSTOP)
        try:
            self.assertBytes(self.read(self.file('cold')), noise(100000))
        finally:
            self.bus.signal(signal.SIGCONT)
        for call in calls:
            self.assertEqual(finish(call)[0], 0)
        self.assertBytes(self.read(self.file('later')), noise(5000))
        self.assertNoError('ListEngines')

    def test_name_taken(self):
        second = Store(self.world, self.bus, size='256M', name='second')
        second.start(wait=False)
        self.assertNotEqual(second.daemon.wait(), 0)
        self.assertIn(b'org.cloudsync1 is taken', second.daemon.log_text())
        self.assertEqual(mounts_below(second.path), [])
        self.assertNoError('ListEngines')

    def test_no_bus(self):
        second = Store(self.world, self.bus, size='256M', name='busless')
        second.start('--bus', 'unix:path=/nowhere/bus', wait=False)
        self.assertNotEqual(second.daemon.wait(), 0)
        self.assertIn(b'/nowhere/bus', second.daemon.log_text())
        second.start('--bus', 'none')
        second.stop()


class Limit(BusTest):
    """Thousands of registrations: refused after the limit. The host is /bin/false, since the
    engines are not what this is about."""

    @classmethod
    def make(cls):
        cls.bus = Bus(cls.world)
        cls.store = Store(cls.world, cls.bus, config=cls.CONFIG)
        directory = os.path.join(os.path.dirname(cls.store.config_file), 'engines.d')
        os.mkdir(directory, 0o700)
        for i in range(254):
            path = os.path.join(directory, 'e%d.conf' % i)
            with open(path, 'w', encoding='utf-8') as f:
                f.write('[Engine]\nModule=httpfs\nPrefix=p%d\n' % i)
            os.chmod(path, 0o600)
        cls.store.start('--host-path', '/bin/false')

    def test_limit(self):
        self.assertEqual(len(self.store.answer('ListEngines')[0]), 254)
        for i in range(2):
            self.assertNoError('RegisterEngine', 'more%d' % i, 'httpfs', 'more%d' % i, '@a{ss} {}')
        for i in range(20):
            self.assertError('TooManyEngines', 'RegisterEngine', 'over%d' % i, 'httpfs',
                             'over%d' % i, '@a{ss} {}')
        self.assertEqual(len(self.store.answer('ListEngines')[0]), 256)
        self.assertEqual(len(self.files_of_engines()), 256)
        self.assertEqual([n for n in os.listdir(self.store.path) if n.startswith('over')], [])
        self.store.call('UnregisterEngine', 's', 'e7')
        self.assertNoError('RegisterEngine', 'over', 'httpfs', 'over', '@a{ss} {}')


SYSTEM_CONFIG = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>%s</include>
</busconfig>
'''


class PolicyBus(Bus):
    """A bus as strict as the system's (dbus's system.conf), with our policy file."""

    def __init__(self, world):
        super().__init__(world, 'policy-bus')

    def ready(self, path):
        if not getattr(self, 'strict', False):
            config = self.world.path('policy-bus.conf')
            with open(config, 'w', encoding='utf-8') as f:
                f.write(SYSTEM_CONFIG % (path, SOURCE + '/data/dbus/org.cloudsync1.conf'))
            self.strict = True
            self.signal(signal.SIGKILL)
            self.process.wait()
            with open(self.log, 'ab') as log:
                self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log,
                                                stderr=log, start_new_session=True)
        return super().ready(path)


class Policy(BusTest):

    @classmethod
    def make(cls):
        cls.bus = PolicyBus(cls.world)
        cls.web = Web(cls.world)
        cls.store = Store(cls.world, cls.bus, config=cls.CONFIG)
        cls.store.start()

    def test_policy(self):
        """What the shipped policy lets through, and what it stops before the daemon sees it."""
        denied = 'org.freedesktop.DBus.Error.AccessDenied'
        heard = self.monitor(user=STRANGER)
        name = self.engine({'f': noise(300 * KIB)}, kind='slow')
        self.assertError(denied, 'RegisterEngine', 'x', 'httpfs', 'x', '@a{ss} {}', user=STRANGER)
        self.assertError(denied, 'UnregisterEngine', name, user=STRANGER)
        self.assertError(denied, 'AttachEngine', name, '1', user=STRANGER)
        self.assertError(denied, 'Refresh', '', 'false', user=STRANGER)
        self.assertIn(name, self.assertNoError('ListEngines', user=STRANGER))
        self.assertNoError('GetFileStatus', self.prefix + '/f', user=STRANGER)
        self.assertNoError('Hydrate', self.prefix + '/f', user=STRANGER)
        self.assertNoError('ListTransfers', user=STRANGER)
        self.bus.busctl('introspect', BUS_NAME, ROOT_OBJECT, user=STRANGER)
        self.bus.busctl('get-property', BUS_NAME, ROOT_OBJECT, MANAGER, 'Version', user=STRANGER)
        wait_until(lambda: 'EngineAdded' in heard(), 'a user hears EngineAdded')
        wait_until(lambda: 'TransferFinished' in heard(), 'a user hears TransferFinished')
        result = run(['busctl', '--address=' + self.bus.address, 'call', 'org.freedesktop.DBus',
                      '/', 'org.freedesktop.DBus', 'RequestName', 'su', BUS_NAME, '0'],
                     check=False, text=True, **as_user(STRANGER))
        self.assertNotEqual(result.returncode, 0)


if __name__ == '__main__':
    main()
