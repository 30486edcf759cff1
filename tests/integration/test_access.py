#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every way to get at a file's bytes, each on cold placeholders: small ones, one with long
runs of zeros, and one above FullBelow; each compared with the original's bytes."""

import glob
import os
import random
import shutil
import sqlite3
import subprocess

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

PER_FILESYSTEM = True

LARGE = 3 * MIB + 1234  # FullBelow is 1 MiB here

FILES = {
    'one': b'x',
    'small': noise(10007),
    'page': noise(4096, 1),
    'zeros': zero_runs(300001),
    'all-zero': bytes(70001),
    'large': zero_runs(LARGE),
}

READERS = ('read', 'pread', 'readv', 'preadv2', 'preadv2-nowait', 'mmap-private', 'mmap-shared',
           'mmap-populate', 'mmap-cow', 'mremap', 'odirect', 'sendfile', 'splice', 'uring', 'uring-async',
           'uring-parallel')


class SystemCalls(CloudsyncTest):
    """One system call at a time, by helpers/access.c."""

    def each_file(self, reader, **settings):
        self.engine(FILES, **settings)
        for name, data in FILES.items():
            with self.subTest(file=name):
                path = self.file(name)
                self.assertCold(path, len(data))
                self.assertBytes(reader(path), data, name)
                st = os.stat(path)
                self.assertEqual(st.st_size, len(data))
                self.assertEqual(st.st_mtime_ns % 1000000000, 0, 'mtime is not the remote\'s')
                self.assertBytes(self.read(path), data, name + ', read again')

    def out(self, name):
        directory = self.store.file('out')
        os.makedirs(directory, exist_ok=True)
        return os.path.join(directory, self.unique() + name)

    def copied(self, verb):
        def reader(path):
            target = self.out(os.path.basename(path))
            access(verb, path, target)
            return self.read(target)
        return reader

    def test_copy_file_range(self):
        self.each_file(self.copied('copy_file_range'))

    def test_copy_file_range_ranges(self):
        self.each_file(self.copied('copy_file_range'), hydration='ranges')

    def clone(self, verb, **settings):
        if self.store.fs == 'ext4':
            self.skipTest('ext4 has no FICLONE')
        self.each_file(self.copied(verb), **settings)

    def test_ficlone(self):
        self.clone('ficlone')

    def test_ficlone_ranges(self):
        self.clone('ficlone', hydration='ranges')

    def test_ficlonerange(self):
        self.clone('ficlonerange')

    def test_single_bytes(self):
        """A read of one byte here and there, then the whole file, of a file fetched by ranges."""
        data = noise(LARGE, 7)
        self.engine({'big': data}, hydration='ranges')
        path = self.file('big')
        for offset in (LARGE - 1, 0, 4095, 4096, 1 * MIB + 1, 2 * MIB - 1, LARGE - 4097):
            self.assertBytes(access('pread-at', path, offset, 1), data[offset:offset + 1],
                             'at %d' % offset)
        self.assertBytes(access('pread-at', path, LARGE - 10, 100), data[-10:], 'over the end')
        self.assertBytes(access('pread-at', path, LARGE, 100), b'', 'at the end')
        self.assertBytes(access('pread-at', path, LARGE + 100000, 100), b'', 'behind the end')
        self.assertBytes(self.read(path), data)

    def test_random_ranges(self):
        """Many readers of random parts of one file at once."""
        data = noise(8 * MIB, 3)
        self.engine({'big': data}, hydration='ranges')
        path, dice = self.file('big'), random.Random(5)
        readers = []
        for _ in range(24):
            offset = dice.randrange(len(data))
            length = dice.choice((1, 100, 4096, 70000))
            readers.append((offset, length, self.spawn(
                [ACCESS, 'pread-at', path, str(offset), str(length)])))
        for offset, length, process in readers:
            status, out, err = finish(process)
            self.assertEqual(status, 0, err)
            self.assertBytes(out, data[offset:offset + length], 'at %d' % offset)
        self.assertBytes(access('mmap-private', path), data)

    def test_seek_data_of_a_large_file(self):
        """SEEK_DATA raises no event: who asks it by name must see a whole file."""
        data = zero_runs(LARGE, 2)
        self.engine({'big': data}, hydration='auto')
        extents = access('holes', self.file('big')).decode().split()
        self.assertEqual([int(n) for n in extents][:1], [0], 'a hole at the beginning')
        covered = bytearray(len(data))
        for begin, end in zip(extents[0::2], extents[1::2]):
            begin, end = int(begin), min(int(end), len(data))
            covered[begin:end] = data[begin:end]
        self.assertBytes(bytes(covered), data, 'what SEEK_DATA shows')


def system_call_tests():
    for verb in READERS:
        name = verb.replace('-', '_')
        setattr(SystemCalls, 'test_' + name,
                lambda self, verb=verb: self.each_file(lambda path: access(verb, path)))
        setattr(SystemCalls, 'test_%s_ranges' % name,
                lambda self, verb=verb: self.each_file(lambda path: access(verb, path),
                                                       hydration='ranges'))


system_call_tests()


class Programs(CloudsyncTest):
    """The programs that people use."""

    def setUp(self):
        super().setUp()
        self.target = self.world.new_directory('target')

    def tearDown(self):
        shutil.rmtree(self.target, ignore_errors=True)
        super().tearDown()

    def original(self, name):
        return FILES[name]

    def check_tree(self, directory, files=None):
        for name, data in (files or FILES).items():
            with open(os.path.join(directory, name), 'rb') as f:
                self.assertBytes(f.read(), data, name)

    def modes(self, check):
        """check() once with the default policy, and once for an engine that says "ranges"."""
        for hydration in ('auto', 'ranges'):
            with self.subTest(hydration=hydration):
                self.engine(FILES, hydration=hydration)
                check()
                shutil.rmtree(self.target)
                os.mkdir(self.target)

    def copy(self, *argv):
        self.modes(lambda: (run([*argv, *[self.file(n) for n in FILES], self.target]),
                            self.check_tree(self.target)))

    def test_cp(self):
        self.copy('cp')

    def test_cp_sparse_always(self):
        self.copy('cp', '--sparse=always')

    def test_cp_sparse_never(self):
        self.copy('cp', '--sparse=never')

    def test_cp_archive(self):
        self.copy('cp', '-a')

    def test_cp_recursive(self):
        self.modes(lambda: (run(['cp', '-r', self.file(), self.target + '/copy']),
                            self.check_tree(self.target + '/copy')))

    def test_cp_within_the_store(self):
        """The same file system: cp clones where it can."""
        for option in ('--reflink=auto', '--reflink=never', '--sparse=always'):
            for hydration in ('auto', 'ranges'):
                with self.subTest(option=option, hydration=hydration):
                    engine = self.engine(FILES, hydration=hydration)
                    copy = self.store.file('copy-' + engine)
                    run(['cp', '-r', option, self.file(), copy])
                    isolated(lambda copy=copy: self.check_tree(copy))
                    run(['rm', '-r', copy])

    def test_mv_to_another_file_system(self):
        def check():
            run(['mv', *[self.file(n) for n in FILES], self.target])
            self.check_tree(self.target)
            self.assertEqual(isolated(lambda: os.listdir(self.file())), [])
        self.modes(check)

    def test_install(self):
        self.copy('install', '-m', '644')

    def archive(self, pack, unpack):
        def check():
            archive = os.path.join(self.target, 'archive')
            with open(archive, 'wb') as out:
                result = run(pack + ['-C', self.file(), *FILES], stdout=out)
            self.assertEqual(result.stderr, b'', 'a warning')
            run(unpack + [archive, '-C', self.target])
            self.check_tree(self.target)
        self.modes(check)

    def test_tar(self):
        self.archive(['tar', '-cf', '-'], ['tar', '-xf'])

    def test_tar_sparse(self):
        self.archive(['tar', '-S', '-cf', '-'], ['tar', '-xf'])

    def test_tar_sparse_raw(self):
        self.archive(['tar', '-S', '--hole-detection=raw', '-cf', '-'], ['tar', '-xf'])

    def test_bsdtar(self):
        self.archive(['bsdtar', '-cf', '-'], ['bsdtar', '-xf'])

    def test_bsdtar_sparse(self):
        self.archive(['bsdtar', '--read-sparse', '-cf', '-'], ['bsdtar', '-xf'])

    def test_tar_of_a_directory(self):
        """ctime must stand still: tar says "file changed as we read it" otherwise."""
        files = {'d%d/f%d' % (i % 10, i): noise(100 + i * 37, i) for i in range(200)}
        self.engine(files)
        archive = os.path.join(self.target, 'archive')
        result = run(['tar', '-cf', archive, '-C', self.file(), '.'], check=False)
        self.assertEqual((result.returncode, result.stderr), (0, b''))
        run(['tar', '-xf', archive, '-C', self.target])
        self.check_tree(self.target, files)

    def test_rsync(self):
        self.modes(lambda: (run(['rsync', '-a', self.file() + '/', self.target]),
                            self.check_tree(self.target)))

    def test_rsync_sparse(self):
        self.modes(lambda: (run(['rsync', '-a', '-S', '--checksum', self.file() + '/', self.target]),
                            self.check_tree(self.target)))

    def test_dd(self):
        def check():
            for name, data in FILES.items():
                out = run(['dd', 'if=' + self.file(name), 'bs=8k', 'status=none']).stdout
                self.assertBytes(out, data, name)
        self.modes(check)

    def test_dd_direct(self):
        def check():
            for name, data in FILES.items():
                out = run(['dd', 'if=' + self.file(name), 'bs=64k', 'iflag=direct',
                           'status=none']).stdout
                self.assertBytes(out, data, name)
        self.modes(check)

    def test_dd_conv_sparse(self):
        def check():
            for name, data in FILES.items():
                out = os.path.join(self.target, name)
                run(['dd', 'if=' + self.file(name), 'of=' + out, 'conv=sparse', 'status=none'])
                with open(out, 'rb') as f:
                    got = f.read()
                # dd does not extend the file over a hole at its end
                self.assertBytes(got + bytes(len(data) - len(got)), data, name)
        self.modes(check)

    def test_checksum_and_compare(self):
        def check():
            out = run(['sha256sum', *[self.file(n) for n in FILES]]).stdout.decode().split()
            self.assertEqual(out[0::2], [digest(d) for d in FILES.values()])
            for name in FILES:
                run(['cmp', self.file(name), os.path.join(self.web.root, self.engines[-1], name)])
        self.modes(check)

    def test_grep(self):
        """GNU grep takes a file with holes for binary and says "matches" instead of the line."""
        text = b''.join(b'line %d of the text\n' % i for i in range(100000))
        files = {'small.txt': b'one\nneedle here\n', 'large.txt': text + b'a needle\n' + text}
        for hydration in ('auto', 'ranges'):
            with self.subTest(hydration=hydration):
                self.engine(files, hydration=hydration)
                out = run(['grep', '-rh', 'needle', self.file()]).stdout
                self.assertEqual(sorted(out.splitlines()), [b'a needle', b'needle here'])

    def test_head_and_tail(self):
        def check():
            for name, data in FILES.items():
                self.assertBytes(run(['head', '-c', '3000', self.file(name)]).stdout, data[:3000])
                self.assertBytes(run(['tail', '-c', '3000', self.file(name)]).stdout, data[-3000:])
        self.modes(check)

    def test_gzip(self):
        def check():
            for name, data in FILES.items():
                packed = run(['gzip', '-c', self.file(name)]).stdout
                self.assertBytes(run(['gzip', '-dc'], input=packed).stdout, data, name)
        self.modes(check)

    def test_exec_script(self):
        for interpreter, body, out in ((b'/bin/sh', b'echo works $1', b'works it\n'),
                                       (b'/usr/bin/python3', b'import sys; print("works", sys.argv[1])',
                                        b'works it\n')):
            self.engine({'script': b'#!' + interpreter + b'\n' + body + b'\n'})
            os.chmod(self.file('script'), 0o755)
            self.assertEqual(run([self.file('script'), 'it']).stdout, out)

    def test_exec_elf(self):
        """A small program and one above FullBelow; whole before it is run."""
        with open('/bin/echo', 'rb') as f:
            echo = f.read()
        with open(os.path.realpath('/usr/bin/python3'), 'rb') as f:
            python = f.read()
        self.assertGreater(len(python), 2 * MIB)
        for hydration in ('auto', 'ranges'):
            self.engine({'echo': echo, 'python': python}, hydration=hydration)
            for name in ('echo', 'python'):
                os.chmod(self.file(name), 0o755)
                self.assertCold(self.file(name))
            self.assertEqual(run([self.file('echo'), 'it', 'runs']).stdout, b'it runs\n')
            self.assertEqual(run([self.file('python'), '-I', '-c', 'print(6 * 7)'],
                                 env={'PYTHONHOME': '/usr'}).stdout, b'42\n')

    def test_shared_library(self):
        source = next(p for p in ('/lib/x86_64-linux-gnu/libz.so.1', '/usr/lib/x86_64-linux-gnu/libz.so.1',
                                  *glob.glob('/lib/*/libz.so.1')) if os.path.exists(p))
        with open(source, 'rb') as f:
            self.engine({'libz.so': f.read()}, hydration='ranges')
        out = run(['/usr/bin/python3', '-I', '-c', 'import ctypes, sys; print(hex('
                   'ctypes.CDLL(sys.argv[1]).crc32(0, b"123456789", 9) & 0xffffffff))',
                   self.file('libz.so')]).stdout
        self.assertEqual(out, b'0xcbf43926\n')

    def test_sqlite(self):
        database = os.path.join(self.target, 'db')
        with sqlite3.connect(database) as connection:
            connection.execute('create table t (n integer primary key, text blob)')
            connection.executemany('insert into t values (?, ?)',
                                   ((i, noise(500, i)) for i in range(5000)))
        connection.close()
        with open(database, 'rb') as f:
            data = f.read()
        self.assertGreater(len(data), 2 * MIB)
        for hydration in ('auto', 'ranges'):
            with self.subTest(hydration=hydration):
                self.engine({'db': data}, hydration=hydration)
                out = run(['sqlite3', self.file('db'), 'pragma integrity_check; '
                           'select count(*), sum(length(text)) from t;']).stdout
                self.assertEqual(out, b'ok\n5000|2500000\n')
                run(['sqlite3', self.file('db'), 'update t set text = "new" where n = 77;'])
                out = run(['sqlite3', '-readonly', self.file('db'),
                           'pragma integrity_check; select text from t where n = 77;']).stdout
                self.assertEqual(out, b'ok\nnew\n')

    def test_git_fsck(self):
        work, bare = self.target + '/work', None
        git = ['git', '-c', 'user.name=t', '-c', 'user.email=t@example.org', '-c', 'gc.auto=0']
        run([*git, 'init', '-q', work])
        for i in range(3):
            for j in range(20):
                put('%s/d%d/f%d' % (work, j % 3, j), noise(3000 + i, j))
            run([*git, '-C', work, 'add', '.'])
            run([*git, '-C', work, 'commit', '-q', '-m', 'change %d' % i])
        name = self.unique()
        bare = os.path.join(self.web.root, name, 'project.git')
        run([*git, 'clone', '-q', '--bare', work, bare])  # packed
        put(work + '/later', b'later\n')
        run([*git, '-C', work, 'add', '.'])
        run([*git, '-C', work, 'commit', '-q', '-m', 'loose'])
        run([*git, '-C', bare, 'fetch', '-q', work, '+HEAD:refs/heads/loose'])
        self.engine(name=name)
        env = dict(os.environ, GIT_CONFIG_COUNT='1', GIT_CONFIG_KEY_0='safe.directory',
                   GIT_CONFIG_VALUE_0='*')
        result = run(['git', '-C', self.file('project.git'), 'fsck', '--full', '--strict'], env=env)
        self.assertNotIn(b'error', result.stderr)
        log = run(['git', '-C', self.file('project.git'), 'log', '--format=%s', 'loose'], env=env)
        self.assertEqual(log.stdout, b'loose\nchange 2\nchange 1\nchange 0\n')
        run(['git', '-c', 'safe.directory=*', 'clone', '-q', '--no-local', self.file('project.git'), self.target + '/clone'], env=env)
        with open(self.target + '/clone/d1/f1', 'rb') as f:
            self.assertBytes(f.read(), noise(3002, 1))

    def test_python_module(self):
        self.engine({'package/__init__.py': b'from .inner import answer\n',
                     'package/inner.py': b'answer = 42\n' + b'# padding\n' * 1000})
        out = run(['/usr/bin/python3', '-B', '-c', 'import sys; sys.path.insert(0, sys.argv[1]);'
                   'import package; print(package.answer)', self.file()]).stdout
        self.assertEqual(out, b'42\n')

    def test_other_user(self):
        """What is 0644 is read by anyone; the daemon does not care who."""
        self.engine(FILES)
        for name, data in FILES.items():
            out = run(['cat', self.file(name)], user=65534, group=65534, extra_groups=[]).stdout
            self.assertBytes(out, data, name)

    def test_empty_files(self):
        self.engine({'empty': b'', 'other': b'not'})
        self.assertEqual(self.read(self.file('empty')), b'')
        self.assertEqual(self.web.gets('/empty'), [], 'an empty file was fetched')
        self.assertEqual(os.stat(self.file('empty')).st_size, 0)

    def test_sizes_around_blocks(self):
        """Every size around the block, the page and FullBelow."""
        sizes = [n + d for n in (512, 1024, 4096, 8192, 65536, 131072, MIB) for d in (-1, 0, 1)]
        files = {'s%d' % n: noise(n, n) for n in sizes}
        for hydration in ('auto', 'ranges'):
            self.engine(files, hydration=hydration)
            for name, data in files.items():
                self.assertBytes(self.read(self.file(name)), data, name)
                self.assertBytes(access('mmap-private', self.file(name)), data, name)


if __name__ == '__main__':
    main()
