#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Copies of placeholders that keep the attribute which makes them such: by an administrator's
tools while the service runs, by a copy of the whole store to another disk while it does not,
by snapshots. A copy of the bytes is a user's own file; a copy of the holes is served or
denied, and never zeros."""

import errno
import os
import struct

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import
from support.rawcase import RawTest

PER_FILESYSTEM = True

STAMP = 'security.bpf.cloudsync'
PLACEHOLDER, FILLED, WHOLE, SWITCHING = 1, 2, 3, 4
SIZE = 200000
MTIME = 1600000000


class Copies(CloudsyncTest):

    def forge(self, name, state=PLACEHOLDER, data=b'', at=0, mtime=MTIME, boot=None):
        """A file of SIZE bytes with `data` at `at` and holes, and the stamp of the placeholder "f"."""
        stamp = bytearray(os.getxattr(self.file('f'), STAMP))
        stamp[2] = state
        if boot is not None:
            struct.pack_into('<I', stamp, 40, boot)
        path = self.file(name)
        with open(path, 'wb') as f:
            f.truncate(SIZE)
            f.seek(at)
            f.write(data)
        os.setxattr(path, STAMP, bytes(stamp))
        os.utime(path, (mtime, mtime))

    def test_stamps_of_other_inodes(self):
        """Each kind of copy, as found by the next daemon."""
        data = noise(SIZE, 1)
        engine = self.engine({'f': data})
        boot = struct.unpack_from('<I', os.getxattr(self.file('f'), STAMP), 40)[0]
        holes = data[:65536] + bytes(SIZE - 65536)
        # name: (state, data, boot, mtime, what is read, is the stamp still there?)
        cases = {
            'nothing': (PLACEHOLDER, b'', boot, MTIME, data, True),
            'nothing-switching': (SWITCHING, b'', boot, MTIME, data, True),
            'nothing-of-another-boot': (FILLED, b'', boot ^ 1, MTIME, data, True),
            'nothing-another-date': (PLACEHOLDER, b'', boot, MTIME + 1, None, True),
            'part': (PLACEHOLDER, data[:65536], boot, MTIME, None, True),
            'part-switching': (SWITCHING, data[:65536], boot, MTIME, None, True),
            'part-of-another-boot': (FILLED, data[:65536], boot ^ 1, MTIME, None, True),
            'part-of-this-boot': (FILLED, data[:65536], boot, MTIME, holes, False),
            'part-whole': (WHOLE, data[:65536], boot, MTIME, holes, True),
            'all': (PLACEHOLDER, data, boot, MTIME + 1, data, False),
            'all-of-another-boot': (FILLED, data, boot ^ 1, MTIME, data, False),
        }
        for name, (state, content, of, mtime, _, _) in cases.items():
            self.forge(name, state, content, mtime=mtime, boot=of)
        self.store.restart()
        self.store.wait_state(engine)
        for name, (_, _, _, _, want, stamped) in cases.items():
            with self.subTest(name):
                if want is None:
                    self.assertEqual(self.read_error(self.file(name)), errno.EIO)
                else:
                    self.assertBytes(self.read(self.file(name)), want, name)
                self.assertEqual(STAMP in os.listxattr(self.file(name)), stamped)
        self.assertIn('setfattr -x ' + STAMP, self.store.daemon.log_text().decode())
        # The way out that it names.
        os.removexattr(self.file('part'), STAMP)
        self.assertBytes(self.read(self.file('part')), holes)

    def test_truncated_before_it_is_opened(self):
        """truncate(2) opens nothing: the access itself decides."""
        engine = self.engine({'f': noise(SIZE, 1)})
        self.forge('part', data=b'x' * 65536)
        self.forge('all', data=b'x' * SIZE)
        self.store.restart()
        self.store.wait_state(engine)
        with self.assertRaises(OSError) as caught:
            isolated(lambda: os.truncate(self.file('part'), 5))
        self.assertEqual(caught.exception.errno, errno.EIO)
        isolated(lambda: os.truncate(self.file('all'), 5))
        self.assertBytes(self.read(self.file('all')), b'xxxxx')

    def test_tools(self):
        """cp and tar as root, with all attributes: what they make is read as it was."""
        zeros = noise(70000, 1) + bytes(300000) + noise(30000, 2)
        files = {'cold': zeros, 'read': zeros}
        engine = self.engine(files)
        self.read(self.file('read'))
        for name in files:
            for sparse in ('auto', 'always', 'never'):
                run(['cp', '-a', '--preserve=all', '--sparse=' + sparse, self.file(name),
                     self.file('%s-%s' % (name, sparse))])
        archive = self.world.path('archive.tar')
        run(['tar', '-C', self.file(), '--xattrs', '--xattrs-include=*', '-Scf', archive, *files])
        os.mkdir(self.file('out'))
        run(['tar', '-C', self.file('out'), '--xattrs', '--xattrs-include=*', '-xf', archive])
        # It asks for the attributes before it opens the file: of "cold" they say PLACEHOLDER.
        self.origin({'late': zeros}, os.path.join(self.web.root, engine))
        self.store.refresh(self.prefix)
        for how in ('-aX', '-aXS'):
            run(['rsync', how, self.file('late'), self.file('late' + how)])
        copies = ['%s-%s' % (n, s) for n in files for s in ('auto', 'always', 'never')]
        copies += ['out/' + n for n in files] + ['late-aX', 'late-aXS']
        self.assertTrue(any(STAMP in os.listxattr(self.file(c)) for c in copies))
        for when in ('at once', 'after a restart'):
            for copy in copies:
                self.assertBytes(self.read(self.file(copy)), zeros, '%s, %s' % (copy, when))
            self.store.restart()
            self.store.wait_state(engine)


@unittest.skipIf(FS == 'ext4', 'ext4 shares no blocks')
class Shared(CloudsyncTest):

    DEDUPE = ('import fcntl, os, struct, sys\n'
              'f = os.open(sys.argv[1], os.O_RDONLY)\n'
              'os.pread(f, 100, 0)\n'
              'print(os.fstat(f).st_blocks, flush=True)\n'
              'z = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)\n'
              'os.write(z, bytes(65536)); os.fsync(z)\n'
              'arg = bytearray(struct.pack("=QQHHIqQQiI", 0, 65536, 1, 0, 0, f, 1 << 20, 0, 0, 0))\n'
              'fcntl.ioctl(z, 0xC0189436, arg)\n'
              'print(*struct.unpack_from("=Qi", arg, 40))\n')

    def test_dedupe_into_a_hole(self):
        """Zeros are the same as a hole to the kernel: shared into it, they would be its content. It
        is asked for by a file that is open for reading, of which only a part is here."""
        data = noise(3 * MIB, 7)
        self.engine({'f': data}, hydration='ranges')
        out = run(['/usr/bin/python3', '-c', self.DEDUPE, self.file('f'), self.store.file('zeros')],
                  text=True).stdout.split()
        self.assertLess(int(out[0]) * 512, MIB, 'only a part was here')
        self.assertEqual(out[1:], ['0', '1'], 'the kernel found them to differ')
        self.assertBytes(self.read(self.file('f')), data)


class Rebuilt(RawTest):

    def test_store_copied_to_other_inodes(self):
        """Files and directories keep everything but the number of their inodes, while no daemon
        runs: what is not here is still fetched, what is not listed still listed."""
        data = noise(SIZE, 3)
        channel = self.raw()
        self.list(channel, [{'name': 'f', 'size': SIZE, 'mtime': MTIME},
                            {'name': 'd', 'directory': True}])
        channel.wait('LIST')  # of d, and it is never answered
        self.store.stop()
        mount = self.world.path('offline')
        os.makedirs(mount, exist_ok=True)
        run(['mount', '-o', 'loop', self.store.image, mount])
        try:
            root = os.path.join(mount, self.prefix)
            for name in ('f', 'd'):
                old, new = os.path.join(root, name), os.path.join(root, name + '.new')
                st = os.stat(old)
                stamp = os.getxattr(old, STAMP)
                if name == 'f':
                    with open(new, 'wb') as f:
                        f.truncate(st.st_size)
                    os.unlink(old)
                else:
                    os.mkdir(new)
                    os.rmdir(old)
                os.setxattr(new, STAMP, stamp)
                os.utime(new, ns=(st.st_mtime_ns, st.st_mtime_ns))
                os.rename(new, old)
        finally:
            run(['umount', mount])
        self.store.start()
        channel = self.accept().ready()
        lister = self.spawn(['ls', self.file('d')])
        self.list(channel, [{'name': 'g', 'size': 10, 'locator': 'd/g'}])
        self.assertEqual(finish(lister)[1], b'g\n')
        reader = self.spawn(['cat', self.file('f')])
        self.serve(channel, channel.wait('FETCH'), data)
        self.assertBytes(finish(reader)[1], data)


@unittest.skipUnless(FS == 'btrfs', 'snapshots are of btrfs')
class Snapshots(RawTest):

    FILESYSTEM = 'btrfs'

    def test_placeholders_in_a_snapshot(self):
        """They keep inode number and generation: they are served as what they are a snapshot of.
        One that cannot be written to is denied. A directory not listed yet is not watched
        in a snapshot: what was not there is not shown."""
        data = {'f': noise(SIZE, 1), 'g': noise(SIZE, 2)}
        channel = self.raw()
        self.list(channel, [{'name': 'f', 'size': SIZE}, {'name': 'g', 'size': SIZE},
                            {'name': 'd', 'directory': True}])
        listing = channel.wait('LIST')
        snapshots = [self.store.file('writable-%s' % self.prefix), self.store.file('frozen-%s' % self.prefix)]
        run(['btrfs', 'subvolume', 'snapshot', self.store.path, snapshots[0]])
        run(['btrfs', 'subvolume', 'snapshot', '-r', self.store.path, snapshots[1]])
        for name in 'fg':
            reader = self.spawn(['cat', os.path.join(snapshots[0], self.prefix, name)])
            self.serve(channel, channel.wait('FETCH'), data[name])
            self.assertBytes(finish(reader)[1], data[name], name)
        self.assertEqual(self.read_error(os.path.join(snapshots[1], self.prefix, 'f')), errno.EIO)
        self.assertEqual(run(['ls', os.path.join(snapshots[0], self.prefix, 'd')]).stdout, b'')
        channel.done(listing['request'])
        run(['btrfs', 'subvolume', 'delete', *snapshots])


if __name__ == '__main__':
    main()
