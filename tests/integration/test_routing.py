#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which engine is asked, for what, and how often: routing, listings, coalescing, counters."""

import errno
import os
import shutil
import stat

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

PER_FILESYSTEM = True


class Fetching(GateTest):

    def test_local_after_the_first_read(self):
        files = {'small': noise(5000), 'large': noise(2 * MIB)}
        name = self.engine(files)
        for file, data in files.items():
            self.assertBytes(self.read(self.file(file)), data)
        before = len(self.web.gets(name))
        self.assertGreater(before, 0)
        for file, data in files.items():
            self.assertBytes(self.read(self.file(file)), data)
            self.assertBytes(access('mmap-shared', self.file(file)), data)
        self.store.restart()
        self.store.wait_state(name)
        for file, data in files.items():
            self.assertBytes(self.read(self.file(file)), data)
        self.assertEqual(len(self.web.gets(name)), before, 'fetched again')

    def test_hundred_readers_one_fetch(self):
        data = noise(700000)
        name = self.gated({'f': data})
        self.gate.rule(name + '/*', 'hold')
        readers = [self.spawn(['sha256sum', self.file('f')]) for _ in range(100)]
        wait_until(lambda: self.store.property('EventsPending') >= 100, '100 readers wait')
        self.gate.release()
        for reader in readers:
            status, out, err = finish(reader)
            self.assertEqual(status, 0, err)
            self.assertEqual(out.split()[0].decode(), digest(data))
        gets = self.gate.gets(name)
        self.assertEqual(len(gets), 1, gets)

    def test_each_byte_is_sent_once(self):
        """However a large file is cut into ranges, no byte of it travels twice."""
        for hydration in ('auto', 'ranges'):
            with self.subTest(hydration=hydration):
                data = noise(6 * MIB + 100, 1)
                name = self.gated({'f': data}, hydration=hydration)
                self.assertBytes(self.read(self.file('f')), data)
                self.assertEqual(sum(e['sent'] for e in self.gate.gets(name)), len(data),
                                 self.gate.gets(name))

    def test_ranges_fetch_little(self):
        """4 KiB of a large file in ranges mode must not cost the file."""
        name = self.gated({'f': noise(32 * MIB, 2)}, hydration='ranges')
        path = self.file('f')
        for offset in (20 * MIB + 5, 3 * MIB, 27 * MIB):
            self.assertBytes(access('pread-at', path, offset, 4096),
                             noise(32 * MIB, 2)[offset:offset + 4096])
        sent = sum(e['sent'] for e in self.gate.gets(name))
        self.assertLess(sent, 8 * MIB)
        self.assertLess(os.stat(path).st_blocks * 512, 8 * MIB)

    def test_ranges_keep_mtime(self):
        """Also while a file is only partly here: programs compare times."""
        self.gated({'f': noise(8 * MIB, 6)}, hydration='ranges')
        path = self.file('f')
        mtime = os.stat(path).st_mtime_ns
        for offset in (5 * MIB, 0, 7 * MIB, 2 * MIB):
            access('pread-at', path, offset, 4096)
            self.assertEqual(os.stat(path).st_mtime_ns, mtime)
        access('mmap-private', path)
        self.assertEqual(os.stat(path).st_mtime_ns, mtime)

    def test_sequential_reader_of_the_list(self):
        """SequentialReaders= programs get ranges: the first bytes come before the last do."""
        data = noise(24 * MIB, 3)
        name = self.gated({'f': data})
        player = self.world.path('mpv')
        if not os.path.exists(player):
            shutil.copy(ACCESS, player)
        self.assertBytes(run([player, 'pread-at', self.file('f'), '0', '1000']).stdout, data[:1000])
        self.assertLess(sum(e['sent'] for e in self.gate.gets(name)), 16 * MIB)
        self.assertBytes(run([player, 'read', self.file('f')]).stdout, data)

    def test_killed_reader_is_let_go(self):
        data = noise(100000, 4)
        name = self.gated({'f': data})
        self.gate.rule(name + '/*', 'hold')
        reader = self.spawn(['cat', self.file('f')])
        self.gate.wait_waiting()
        reader.kill()
        reader.wait(TIMEOUT)
        self.assertEqual(reader.returncode, -9)
        self.gate.release()
        wait_until(lambda: self.store.property('EventsPending') == 0, 'the event is forgotten')
        self.assertBytes(self.read(self.file('f')), data)

    def test_one_of_two_readers_is_killed(self):
        data = noise(100000, 5)
        name = self.gated({'f': data})
        self.gate.rule(name + '/*', 'hold')
        readers = [self.spawn(['cat', self.file('f')]) for _ in range(2)]
        self.gate.wait_waiting()
        wait_until(lambda: self.store.property('EventsPending') == 2, 'both wait')
        readers[0].kill()
        readers[0].wait(TIMEOUT)
        self.gate.release()
        status, out, err = finish(readers[1])
        self.assertEqual(status, 0, err)
        self.assertBytes(out, data)

    def test_counters(self):
        self.engine({'f': noise(12345), 'g': noise(100)})
        files, fetched = self.store.property('FilesHydrated'), self.store.property('BytesFetched')
        self.read(self.file('f'))
        wait_until(lambda: self.store.property('FilesHydrated') == files + 1, 'one more hydrated')
        self.assertEqual(self.store.property('BytesFetched') - fetched, 12345)

    def test_hydrate_call(self):
        files = {'small': noise(5000), 'large': noise(3 * MIB)}
        self.engine(files, hydration='ranges')
        answered = self.store.property('EventsAnswered')
        for file, data in files.items():
            self.assertEqual(self.store.status(self.file(file))['State'], 'placeholder')
            self.store.call('Hydrate', 's', self.file(file))
            status = self.store.status(self.file(file))
            self.assertEqual((status['State'], status['Present'], status['Size']),
                             ('hydrated', len(data), len(data)))
        self.assertEqual(self.store.property('EventsAnswered'), answered,
                         'the daemon raised events of its own')
        for file, data in files.items():
            self.assertBytes(self.read(self.file(file)), data)

    def test_file_status(self):
        self.engine({'d/f': noise(5000), 'large': noise(32 * MIB)}, hydration='ranges')
        status = self.store.status(self.file('d/f'))
        self.assertEqual(status['Path'], self.prefix + '/d/f')
        self.assertEqual((status['Kind'], status['State'], status['Engine'], status['Size'],
                          status['Present']), ('file', 'placeholder', self.prefix, 5000, 0))
        # On btrfs the note that it is listed comes behind a sync.
        wait_until(lambda: self.store.status(self.prefix + '/d')['State'] == 'listed', 'it is listed')
        access('pread-at', self.file('large'), 2 * MIB, 10)
        status = self.store.status(self.file('large'))
        self.assertEqual(status['State'], 'partial')
        self.assertTrue(0 < status['Present'] < 32 * MIB, status)
        put(self.file('own'), b'own')
        self.assertIn(self.store.status(self.file('own'))['State'], ('local', 'not-managed'))


class Listings(GateTest):

    TREE = {'d%d/e%d/f%d' % (i % 3, i % 5, i): noise(i * 1000 + 1, i) for i in range(40)}

    def test_looking_fetches_nothing(self):
        for kind in ('json', ''):
            with self.subTest(listing=kind or 'html'):
                name = self.engine(self.TREE, kind=kind)
                for argv in (['ls', '-lR'], ['find'], ['du', '-a'], ['du', '--apparent-size'],
                             ['stat', '-t'], ['find', '-newer', '/etc/passwd', '-size', '+1k'],
                             ['ls', '-la', '--time-style=full-iso']):
                    run([argv[0], self.file(), *argv[1:]] if argv[0] == 'find'
                        else [*argv, self.file()])
                for file in self.TREE:
                    os.stat(self.file(file))
                    self.assertTrue(os.access(self.file(file), os.R_OK))
                    self.assertCold(self.file(file), len(self.TREE[file]))
                self.assertEqual(self.web.gets(name), [])

    def test_sizes_times_and_modes(self):
        for kind in ('json', ''):
            with self.subTest(listing=kind or 'html'):
                name = self.engine(self.TREE, kind=kind)

                def compare():
                    for file in self.TREE:
                        here = os.stat(self.file(file))
                        there = os.stat(os.path.join(self.web.root, name, file))
                        self.assertEqual((here.st_size, here.st_mtime_ns),
                                         (there.st_size, there.st_mtime_ns), file)
                        self.assertEqual(stat.S_IMODE(here.st_mode), 0o644)
                compare()
                for file, data in self.TREE.items():
                    self.assertBytes(self.read(self.file(file)), data, file)
                compare()

    def test_directory_not_reached_yet(self):
        """readdir of a directory whose listing has not come yet waits for it."""
        name = self.unique()
        self.origin({'a/b/f': b'content', 'c/g': b'other'}, os.path.join(self.gate.root, name))
        self.gate.rule(name + '/a/', 'hold')
        self.engine(name=name, url=self.gate.url(name + '/'), wait='listing')
        self.gate.wait_waiting()
        wait_until(lambda: os.path.isdir(self.file('a')), 'the directory appears')
        reader = self.spawn(['ls', self.file('a')])
        wait_until(lambda: self.store.property('EventsPending') >= 1, 'ls waits')
        self.assertIsNone(reader.poll())
        self.assertEqual(run(['ls', self.file('c')]).stdout, b'g\n', 'others go on')
        self.gate.release()
        self.assertEqual(finish(reader)[1], b'b\n')
        self.assertEqual(run(['ls', self.file('a/b')]).stdout, b'f\n')
        self.store.wait_state(name)
        self.assertEqual(self.read(self.file('a/b/f')), b'content')

    def test_listing_fails_then_works(self):
        name = self.unique()
        self.origin({'a/f': b'content'}, os.path.join(self.gate.root, name))
        self.gate.rule(name + '/a/', 'status', status=500, times=2)
        self.engine(name=name, url=self.gate.url(name + '/'), wait=None)
        wait_until(lambda: os.path.isdir(self.file('a')), 'the directory appears')
        self.assertEqual(wait_until(lambda: run(['ls', self.file('a')], check=False).stdout,
                                    'the listing works again'), b'f\n')
        self.assertEqual(self.read(self.file('a/f')), b'content')

    def test_unlisted_directory_is_never_empty(self):
        """A listing that cannot be had is an error, not an empty directory."""
        name = self.unique()
        self.origin({'a/f': b'content'}, os.path.join(self.gate.root, name))
        self.gate.rule(name + '/a/', 'status', status=403)
        self.engine(name=name, url=self.gate.url(name + '/'), wait=None)
        wait_until(lambda: os.path.isdir(self.file('a')), 'the directory appears')
        result = run(['ls', self.file('a')], check=False)
        self.assertNotEqual(result.returncode, 0, 'an empty listing is a lie')
        self.gate.release()
        self.store.refresh(self.prefix)
        self.assertEqual(run(['ls', self.file('a')]).stdout, b'f\n')

    def test_refresh(self):
        """New, changed, removed, turned from file to directory and back."""
        name = self.engine({'same': noise(3000), 'changed': noise(4000), 'removed': noise(10),
                            'file-to-dir': b'x', 'dir-to-file/f': b'y', 'd/gone/f': b'z'})
        for file in ('same', 'changed'):
            self.read(self.file(file))
        root = os.path.join(self.web.root, name)
        put(root + '/changed', noise(4500, 7), mtime=1650000000)
        put(root + '/new', b'new')
        put(root + '/newdir/deep/f', b'deep')
        run(['rm', '-r', root + '/removed', root + '/file-to-dir', root + '/dir-to-file',
             root + '/d/gone'])
        put(root + '/file-to-dir/inner', b'inner')
        put(root + '/dir-to-file', b'now a file')
        self.store.refresh(self.prefix)
        self.store.wait_state(name)
        wait_until(lambda: run(['find', self.file(), '-name', 'deep'], check=False).stdout,
                   'new directories are listed')
        self.assertBytes(self.read(self.file('same')), noise(3000))
        self.assertBytes(self.read(self.file('changed')), noise(4500, 7))
        self.assertEqual(os.stat(self.file('changed')).st_mtime, 1650000000)
        self.assertEqual(self.read(self.file('new')), b'new')
        self.assertEqual(run(['ls', self.file('newdir/deep')]).stdout, b'f\n')
        self.assertEqual(self.read(self.file('newdir/deep/f')), b'deep')
        self.assertFalse(os.path.exists(self.file('removed')))
        self.assertEqual(run(['ls', self.file('file-to-dir')]).stdout, b'inner\n')
        self.assertEqual(self.read(self.file('file-to-dir/inner')), b'inner')
        self.assertEqual(self.read(self.file('dir-to-file')), b'now a file')
        wait_until(lambda: not os.path.exists(self.file('d/gone')), 'd/gone goes')

    def test_thousands_of_files_raise_no_events(self):
        """Populating 10,000 placeholders and hydrating raises no event of the daemon's own."""
        name = self.unique()
        root = os.path.join(self.web.root, name)
        for i in range(100):
            os.makedirs('%s/d%d' % (root, i))
            for j in range(100):
                with open('%s/d%d/f%d' % (root, i, j), 'wb') as f:
                    f.write(b'%d %d\n' % (i, j) * (j + 1))
        answered = self.store.property('EventsAnswered')
        self.engine(name=name)
        out = run(['find', self.file(), '-type', 'f', '-printf', '%s %b\\n']).stdout.split()
        self.assertEqual(len(out) // 2, 10000)
        self.assertEqual(sum(map(int, out[0::2])),
                         sum(len(b'%d %d\n' % (i, j)) * (j + 1) for i in range(100)
                             for j in range(100)))
        self.assertEqual(set(out[1::2]), {b'0'}, 'blocks of placeholders')
        for i in range(0, 100, 7):
            self.store.call('Hydrate', 's', self.file('d%d/f%d' % (i, i)))
        # What find's readdir raised is find's; there is none once a directory is listed.
        self.assertEqual(self.store.property('EventsAnswered'), answered)
        self.assertEqual(self.read(self.file('d7/f7')), b'7 7\n' * 8)
        self.assertEqual(self.web.gets(name + '/d8/'), [])


class Names(GateTest):

    NAMES = ['plain', 'with space', 'percent%41', '100%', 'question?mark', 'hash#tag', 'a&b=c',
             'semi;colon', "quote'single", 'quote"double', '<angle>', 'back\\slash', 'plus+',
             '-dash', '--help', '~tilde', 'ümlaut', '日本語', '🎈', 'x' * 255, '[brackets]', '{b}',
             'colon:colon', '*star*', 'dollar$HOME', '`tick`', 'pipe|', 'trailing.', ' leading',
             'trailing ']
    HIDDEN = ['..dots', '...', '.hidden', '.-']  # nginx does not list these

    def names_work(self, names, serve):
        files = {name: b'content of ' + os.fsencode(name) + noise(5000, i)
                 for i, name in enumerate(names)}
        serve(files)
        for name, data in files.items():
            with self.subTest(name=name):
                if len(name) < 200:  # a long name's attribute takes a block on ext4
                    self.assertCold(self.file(name), len(data))
                self.assertBytes(self.read(self.file(name)), data)
        listed = isolated(lambda: os.listdir(os.fsencode(self.file())))
        self.assertEqual(sorted(listed), sorted(os.fsencode(n) for n in names))

    def test_names_in_json(self):
        self.names_work(self.NAMES, lambda files: self.engine(files, kind='json'))

    def test_names_in_html(self):
        self.names_work(self.NAMES, lambda files: self.engine(files, kind=''))

    def test_names_that_begin_with_a_dot(self):
        self.names_work(self.NAMES + self.HIDDEN, self.gated)

    def test_names_that_are_not_utf8(self):
        names = [b'latin-\xe9', b'\xff\xfe', b'broken-\xc3', b'\x80']
        files = {name: noise(3000, i) for i, name in enumerate(names)}
        self.engine(files, kind='')
        for name, data in files.items():
            with self.subTest(name=name):
                path = os.path.join(os.fsencode(self.file()), name)
                self.assertBytes(run([b'cat', path]).stdout, data)

    def test_renamed_to_any_name(self):
        names = [b'new\nline', b'\xff\xfe', b'\x01\x02\x7f', b'x' * 255, b'(deleted)', b'f (deleted)',
                 b'\\012', b' ']
        self.engine({'f%d' % i: noise(4000, i) for i in range(len(names))})
        for i, name in enumerate(names):
            with self.subTest(name=name):
                path = os.path.join(os.fsencode(self.file()), name)
                os.rename(self.file('f%d' % i), path)
                self.assertBytes(run([b'cat', path]).stdout, noise(4000, i))

    def test_deep_path(self):
        path = '/'.join('%02d' % i + 'd' * 198 for i in range(14))
        data = noise(5000, 9)
        self.engine({path + '/f': data})
        self.assertBytes(self.read(self.file(path, 'f')), data)

    def test_path_beyond_path_max(self):
        """A placeholder moved to where no path reaches: only by descriptors."""
        self.engine({'f': noise(5000, 10), 'g': noise(2 * MIB, 10)}, hydration='ranges')

        def there():
            directory = os.open(self.store.path, os.O_RDONLY | os.O_DIRECTORY)
            source = os.open(self.file(), os.O_RDONLY | os.O_DIRECTORY)
            for _ in range(24):
                os.mkdir('d' * 250, dir_fd=directory)
                directory = os.open('d' * 250, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
            contents = []
            for name in ('f', 'g'):
                os.rename(name, name, src_dir_fd=source, dst_dir_fd=directory)
                with open(os.open(name, os.O_RDONLY, dir_fd=directory), 'rb') as f:
                    contents.append(f.read())
            return contents
        small, large = isolated(there)
        self.assertBytes(small, noise(5000, 10))
        self.assertBytes(large, noise(2 * MIB, 10))
        run(['rm', '-rf', self.store.file('d' * 250)])


class Engines(CloudsyncTest):

    def test_prefixes_by_component(self):
        """/a/b owns /a/b/c and not /a/bc."""
        first, second, third = ({'f': noise(3000, i)} for i in range(3))
        self.engine(first, name='first', prefix='p/a/b')
        self.engine(second, name='second', prefix='p/a/bc')
        self.engine(third, name='third', prefix='p/ab')
        for prefix, engine, files in (('p/a/b', 'first', first), ('p/a/bc', 'second', second),
                                      ('p/ab', 'third', third)):
            self.assertBytes(self.read(self.store.file(prefix, 'f')), files['f'], prefix)
            self.assertEqual(self.store.status(prefix + '/f')['Engine'], engine)
            self.assertEqual(len(self.web.gets('/%s/f' % engine)), 1)

    def test_overlapping_prefixes_are_refused(self):
        self.engine({'f': b'x'}, name='outer', prefix='q/a')
        for prefix in ('q/a', 'q/a/b', 'q'):
            result = self.store.register('inner', 'httpfs', prefix, {'url': self.web.url('inner/')},
                                         check=False)
            self.assertNotEqual(result.returncode, 0, prefix)
        self.assertEqual(self.store.engine_state('inner'), None)

    def test_come_and_go(self):
        """An engine registered while another one serves; gone: EIO; back: served again."""
        data = {'f': noise(3000, 1), 'g': noise(3000, 2)}
        self.engine({'f': b'stays'}, name='stays')
        stays = self.file('f')
        self.engine(data, name='goes')
        self.assertBytes(self.read(self.file('f')), data['f'])
        self.store.unregister('goes')
        self.assertEqual(self.read_error(self.file('g')), errno.EIO)
        self.assertBytes(self.read(self.file('f')), data['f'], 'what is here stays readable')
        self.assertEqual(self.read(stays), b'stays')
        self.store.restart()
        self.assertEqual(self.read_error(self.file('g')), errno.EIO)
        self.engine(name='goes')
        self.assertBytes(self.read(self.file('g')), data['g'])

    def test_unregister_under_readers(self):
        gate = Gate(self.world)
        put(gate.root + '/f', noise(100000, 3), mtime=1600000000)
        self.engine(name='leaving', url=gate.url())
        gate.rule('f', 'hold')
        reader = self.spawn(['cat', self.file('f')])
        gate.wait_waiting()
        self.store.unregister('leaving')
        status, out, err = finish(reader)
        self.assertNotEqual(status, 0)
        self.assertEqual(out, b'')
        self.assertIn(b'Input/output error', err)
        gate.release()
        gate.kill()

    def test_two_modules(self):
        """httpfs and another engine side by side."""
        self.engine({'f': noise(3000, 1)}, name='web')
        web = self.file('f')
        self.engine(name='other', module='unruly', prefix='other', mode='fine')
        data = bytes((i * 7 + i // 4096) & 255 for i in range(3000000))
        self.assertEqual(os.stat(self.file('small')).st_mode & 0o777, 0o640)
        self.assertEqual(os.stat(self.file('small')).st_mtime, 1500000000)
        self.assertBytes(self.read(self.file('large')), data)
        self.assertBytes(self.read(self.file('small')), data[:1000])
        self.assertBytes(self.read(web), noise(3000, 1))

    def test_many_engines(self):
        for i in range(20):
            self.engine({'f': noise(2000, i)}, name='many%d' % i, wait=None)
        for i in range(20):
            self.store.wait_state('many%d' % i)
            self.assertBytes(self.read(self.store.file('many%d' % i, 'f')), noise(2000, i))

    def test_registrations_survive_a_restart(self):
        self.engine({'f': noise(3000, 1)}, name='kept', hydration='ranges')
        rows = self.store.answer('ListEngines')
        self.store.restart()
        self.store.wait_state('kept')
        self.assertEqual(self.store.answer('ListEngines'), rows)
        self.assertBytes(self.read(self.file('f')), noise(3000, 1))


if __name__ == '__main__':
    main()
