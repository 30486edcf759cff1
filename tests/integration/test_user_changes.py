#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a user does to a placeholder: it behaves as the real file would, and the user's bytes
are never overwritten afterwards: not by the rest of that file's hydration, not by a
restart of the daemon, not by a change of the remote."""

import ctypes
import errno
import mmap
import os
import random
import subprocess

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

PER_FILESYSTEM = True

SMALL = noise(30011, 1)
LARGE = zero_runs(2 * MIB + 777, 2)  # above FullBelow
ZERO_TAIL = noise(5000, 3) + bytes(20000)


def patched(data, offset, text):
    text = text.encode()
    if len(data) < offset:
        data = data + bytes(offset - len(data))
    return data[:offset] + text + data[offset + len(text):]


def resized(data, size):
    return data[:size] + bytes(max(0, size - len(data)))


# name: (calls of helpers/access.c, what a real file would be afterwards). None: not here.
CHANGES = {
    'append': ([('append', 'tail')], lambda d: d + b'tail'),
    'append-twice': ([('append', 'one'), ('append', 'two')], lambda d: d + b'onetwo'),
    'cut-aligned': ([('truncate', 8192)], lambda d: d[:8192]),
    'cut-unaligned': ([('truncate', 10001)], lambda d: d[:10001]),
    'cut-to-1': ([('truncate', 1)], lambda d: d[:1]),
    'cut-to-0': ([('truncate', 0)], lambda d: b''),
    'cut-one-off': ([('truncate', 30010)], lambda d: d[:30010]),
    'same-size': ([('truncate', 30011)], lambda d: resized(d, 30011)),
    'grow': ([('truncate', 4000000)], lambda d: resized(d, 4000000)),
    'grow-by-1': ([('truncate', 30012)], lambda d: resized(d, 30012)),
    'cut-and-grow': ([('truncate', 5000), ('truncate', 28000)], lambda d: resized(d[:5000], 28000)),
    'cut-0-and-grow': ([('truncate', 0), ('truncate', 30011)], lambda d: bytes(30011)),
    'fcut': ([('ftruncate', 9999)], lambda d: d[:9999]),
    'fcut-and-grow': ([('ftruncate', 4096), ('ftruncate', 29000)],
                      lambda d: resized(d[:4096], 29000)),
    'otrunc': ([('otrunc',)], lambda d: b''),
    'otrunc-text': ([('otrunc', 'new text')], lambda d: b'new text'),
    'otrunc-rdonly': ([('otrunc-rdonly',)], lambda d: b''),
    'otrunc-and-grow': ([('otrunc', 'x'), ('truncate', 30011)], lambda d: resized(b'x', 30011)),
    'write-begin': ([('write-at', 0, 'BEGIN')], lambda d: patched(d, 0, 'BEGIN')),
    'write-middle': ([('write-at', 14000, 'MIDDLE')], lambda d: patched(d, 14000, 'MIDDLE')),
    'write-border': ([('write-at', 8190, 'BORDER')], lambda d: patched(d, 8190, 'BORDER')),
    'write-end': ([('write-at', 30008, 'END')], lambda d: patched(d, 30008, 'END')),
    'write-beyond': ([('write-at', 3000000, 'FAR')], lambda d: patched(d, 3000000, 'FAR')),
    'write-cut': ([('write-at', 100, 'W'), ('truncate', 5001)],
                  lambda d: patched(d, 100, 'W')[:5001]),
    'write-direct': ([('odirect-write', 8192)], lambda d: patched(d, 8192, 'D' * 4096)),
    'mmap-write': ([('mmap-write', 12345, 'MAPPED')], lambda d: patched(d, 12345, 'MAPPED')),
    'punch': ([('punch', 4096, 8192)], lambda d: patched(d, 4096, '\0' * 8192)),
    'punch-unaligned': ([('punch', 5000, 10000)], lambda d: patched(d, 5000, '\0' * 10000)),
    'zero-range': ([('zero-range', 4096, 12288)], lambda d: patched(d, 4096, '\0' * 12288)),
    'collapse': ([('collapse', 4096, 8192)], lambda d: d[:4096] + d[12288:]),
    'insert': ([('insert', 4096, 4096)], lambda d: d[:4096] + bytes(4096) + d[4096:]),
    'allocate-beyond': ([('allocate', 0, 5000000)], lambda d: resized(d, 5000000)),
}
MISSING = {'btrfs': ('collapse', 'insert')}


class Changes(CloudsyncTest):

    def names(self):
        return [n for n in CHANGES if n not in MISSING.get(self.store.fs, ())]

    def check_all(self, expected, when):
        for name, want in expected.items():
            with self.subTest(file=name, when=when):
                self.assertEqual(os.stat(self.file(name)).st_size, len(want))
                self.assertBytes(self.read(self.file(name)), want, '%s, %s' % (name, when))

    def life(self, data, **settings):
        """Every change on a cold placeholder of its own, and what stays of it."""
        engine = self.engine({n: data for n in self.names()}, **settings)
        expected = {}
        for name in self.names():
            calls, result = CHANGES[name]
            self.assertCold(self.file(name), len(data))
            with self.subTest(file=name):
                for call in calls:
                    access(call[0], self.file(name), *call[1:])
                expected[name] = result(data)
        self.check_all(expected, 'after the change')
        self.store.refresh(self.prefix)
        self.check_all(expected, 'after a refresh')
        self.store.restart()
        self.store.wait_state(engine)
        self.check_all(expected, 'after a restart')
        if data is SMALL:  # nothing was changed, and not all file systems touch the mtime
            del expected['same-size']
        for i, name in enumerate(self.names()):
            put(os.path.join(self.web.root, engine, name), noise(len(data) + i, 99),
                mtime=1700000000)
        self.store.refresh(self.prefix)
        self.check_all(expected, 'after the remote changed')
        self.store.restart()
        self.store.wait_state(engine)
        self.check_all(expected, 'after the remote changed and a restart')

    def test_small(self):
        self.life(SMALL)

    def test_large(self):
        self.life(LARGE)

    def test_large_ranges(self):
        self.life(LARGE, hydration='ranges')

    def test_zeros_at_the_end(self):
        self.life(ZERO_TAIL + bytes(10011))

    def test_restart_between_change_and_read(self):
        """The change is made, nothing was read: the daemon that reads first is another one."""
        for data, settings in ((SMALL, {}), (LARGE, {'hydration': 'ranges'})):
            engine = self.engine({n: data for n in self.names()}, **settings)
            expected = {}
            for name in self.names():
                calls, result = CHANGES[name]
                for call in calls:
                    access(call[0], self.file(name), *call[1:])
                expected[name] = result(data)
            self.store.restart()
            self.store.wait_state(engine)
            self.check_all(expected, 'after a restart')


class Metadata(CloudsyncTest):
    """What a user sets on a cold placeholder stays, and the content is still the remote's."""

    def test_touch(self):
        self.engine({'a': SMALL, 'b': LARGE})
        for name, data in (('a', SMALL), ('b', LARGE)):
            os.utime(self.file(name), ns=(10 ** 18 + 5, 10 ** 18 + 7))
            self.assertBytes(self.read(self.file(name)), data, name)
            self.assertEqual(os.stat(self.file(name)).st_mtime_ns, 10 ** 18 + 7)

    def test_chmod_and_chown(self):
        self.engine({'a': SMALL, 'b': LARGE})
        for name, data in (('a', SMALL), ('b', LARGE)):
            os.chmod(self.file(name), 0o640)
            os.chown(self.file(name), 1234, 1235)
            self.assertBytes(self.read(self.file(name)), data, name)
            st = os.stat(self.file(name))
            self.assertEqual((st.st_mode & 0o7777, st.st_uid, st.st_gid), (0o640, 1234, 1235))

    def test_changed_and_set_back(self):
        """Written in place, the same size, and the date set back, as editors of tags do: a user's all the
        same, whether it was here already or not."""
        engine = self.engine({'cold': SMALL, 'filled': SMALL, 'whole': SMALL})
        for name in ('filled', 'whole'):
            self.read(self.file(name))
        self.wait_whole('whole')
        for name in ('cold', 'filled', 'whole'):
            before = os.stat(self.file(name))
            with open(self.file(name), 'r+b') as f:
                f.seek(1000)
                f.write(b'TAG')
                f.flush()
                os.utime(f.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
            after = os.stat(self.file(name))
            self.assertEqual((after.st_size, after.st_mtime_ns), (before.st_size, before.st_mtime_ns))
            put(os.path.join(self.web.root, engine, name), noise(len(SMALL), 98), mtime=1700000000)
        self.store.refresh(self.prefix)
        for name in ('cold', 'filled', 'whole'):
            self.assertBytes(self.read(self.file(name)), patched(SMALL, 1000, 'TAG'), name)
            self.assertEqual(self.store.status(self.file(name))['State'], 'local', name)

    def test_unchanged_is_switched(self):
        """What only was read is no change: the remote's new version comes."""
        engine = self.engine({'a': SMALL})
        self.read(self.file('a'))
        self.wait_whole('a')
        self.read(self.file('a'))
        put(os.path.join(self.web.root, engine, 'a'), noise(len(SMALL), 97), mtime=1700000000)
        self.store.refresh(self.prefix)
        self.assertBytes(self.read(self.file('a')), noise(len(SMALL), 97))

    def wait_whole(self, name):
        wait_until(lambda: os.getxattr(self.file(name), 'security.bpf.cloudsync')[2] == 3,
                   'the stamp says WHOLE')

    def test_user_attributes(self):
        self.engine({'a': SMALL})
        os.setxattr(self.file('a'), 'user.note', b'mine')
        self.assertBytes(self.read(self.file('a')), SMALL)
        self.assertEqual(os.getxattr(self.file('a'), 'user.note'), b'mine')

    def test_copied_attributes_mean_nothing(self):
        """A copy with all attributes (cp -a by root) is a file of its own."""
        self.engine({'a': SMALL, 'b': LARGE}, hydration='ranges')
        for name, data in (('a', SMALL), ('b', LARGE)):
            copy = self.store.file('copy-of-' + name)
            run(['cp', '-a', '--sparse=always', self.file(name), copy])
            self.assertBytes(self.read(copy), data, name)
            access('write-at', copy, 100, 'OWN')
            self.assertBytes(self.read(copy), patched(data, 100, 'OWN'))
            self.assertBytes(self.read(self.file(name)), data)
            os.unlink(copy)


class Names(CloudsyncTest):
    """Links, renames and deletions of files that are not here yet."""

    def test_hard_link(self):
        self.engine({'a': SMALL, 'b': LARGE}, hydration='ranges')
        for name, data in (('a', SMALL), ('b', LARGE)):
            inside, outside = self.file('link-' + name), self.store.file('link-' + name)
            os.link(self.file(name), inside)
            os.link(self.file(name), outside)
            self.assertBytes(self.read(outside), data, 'outside')
            self.assertBytes(self.read(inside), data, 'inside')
            access('write-at', outside, 20000, 'VIA LINK')
            self.assertBytes(self.read(self.file(name)), patched(data, 20000, 'VIA LINK'))
            os.unlink(outside)
        self.store.refresh(self.prefix)
        self.assertBytes(self.read(self.file('a')), patched(SMALL, 20000, 'VIA LINK'))

    def test_renamed_out_of_the_prefix(self):
        engine = self.engine({'a': SMALL, 'b': LARGE, 'd/c': SMALL})
        target = self.store.file('elsewhere')
        os.makedirs(target, exist_ok=True)
        for name in ('a', 'b', 'd'):
            os.rename(self.file(name), os.path.join(target, engine + name))
        self.assertBytes(self.read(os.path.join(target, engine + 'a')), SMALL)
        self.store.restart()
        self.store.wait_state(engine)
        self.assertBytes(self.read(os.path.join(target, engine + 'b')), LARGE)
        self.assertBytes(self.read(os.path.join(target, engine + 'd', 'c')), SMALL)

    def test_renamed_inside(self):
        self.engine({'a': SMALL, 'b': LARGE, 'd/c': SMALL})
        os.rename(self.file('a'), self.file('d', 'A'))
        os.rename(self.file('d'), self.file('D'))
        self.assertBytes(self.read(self.file('D', 'A')), SMALL)
        self.assertBytes(self.read(self.file('D', 'c')), SMALL)

    def test_deleted_but_open(self):
        self.engine({'a': SMALL, 'b': LARGE}, hydration='ranges')
        for name, data in (('a', SMALL), ('b', LARGE)):
            holder = self.spawn([ACCESS, 'hold', self.file(name)])
            self.assertEqual(holder.stdout.readline(), b'open\n')
            os.unlink(self.file(name))
            status, out, err = finish(holder, input=b'go\n')
            self.assertEqual(status, 0, err)
            self.assertBytes(out, data, name)

    def test_replaced_by_an_editor(self):
        """Written beside it and renamed over it: the new file is the user's."""
        engine = self.engine({'a': SMALL, 'b': LARGE})
        for name in ('a', 'b'):
            put(self.file(name), b'edited ' + name.encode())
        put(os.path.join(self.web.root, engine, 'a'), noise(100, 5), mtime=1700000000)
        self.store.refresh(self.prefix)
        self.store.restart()
        self.store.wait_state(engine)
        for name in ('a', 'b'):
            self.assertEqual(self.read(self.file(name)), b'edited ' + name.encode())

    def test_files_of_the_users_own(self):
        engine = self.engine({'a': SMALL})
        put(self.file('mine'), b'mine')
        put(self.file('dir', 'mine'), b'mine too')
        put(os.path.join(self.web.root, engine, 'mine'), b'the remote\'s, longer', mtime=1700000000)
        self.store.refresh(self.prefix)
        self.assertEqual(self.read(self.file('mine')), b'mine')
        self.assertEqual(self.read(self.file('dir', 'mine')), b'mine too')
        self.store.restart()
        self.store.wait_state(engine)
        self.assertEqual(self.read(self.file('mine')), b'mine')
        self.assertEqual(self.read(self.file('dir', 'mine')), b'mine too')

    def test_prefix_that_has_files_already(self):
        """An engine registered over a directory with the user's files keeps them."""
        name = self.unique()
        put(self.store.file(name, 'a'), b'was here first')
        self.engine({'a': SMALL, 'b': SMALL}, name=name)
        self.assertEqual(self.read(self.file('a')), b'was here first')
        self.assertBytes(self.read(self.file('b')), SMALL)


class Meanwhile(GateTest):
    """Changes while the file is open elsewhere, or is just being fetched."""

    def test_writer_beside_a_reader_of_ranges(self):
        self.engine({'b': LARGE}, hydration='ranges')
        path = self.file('b')
        holder = self.spawn([ACCESS, 'hold-range', path, '0', '100'])
        self.assertEqual(holder.stdout.readline(), b'read\n')
        access('write-at', path, MIB + 5, 'WRITTEN')
        status, out, err = finish(holder, input=b'go\n')
        self.assertEqual(status, 0, err)
        self.assertBytes(out, patched(LARGE, MIB + 5, 'WRITTEN'))

    def truncated_beside_a_reader(self, size):
        self.engine({'b': LARGE}, hydration='ranges')
        path = self.file('b')
        holder = self.spawn([ACCESS, 'hold-range', path, '0', '100'])
        self.assertEqual(holder.stdout.readline(), b'read\n')
        access('truncate', path, size)
        access('truncate', path, len(LARGE))
        want = resized(LARGE[:size], len(LARGE))
        self.assertBytes(self.read(path), want, 'a new reader')
        status, out, err = finish(holder, input=b'go\n')
        self.assertEqual(status, 0, err)
        self.assertBytes(out, want, 'the old reader')

    def test_truncate_beside_a_reader_of_ranges(self):
        for size in (MIB, MIB + 4097, 1700000, 100):  # what the reader has seen stays
            with self.subTest(size=size):
                self.truncated_beside_a_reader(size)

    def test_two_writers(self):
        self.engine({'b': LARGE})
        first = self.spawn([ACCESS, 'write-hold', self.file('b'), '1000', 'FIRST'])
        self.assertEqual(first.stdout.readline(), b'written\n')
        second = self.spawn([ACCESS, 'write-hold', self.file('b'), '900000', 'SECOND'])
        self.assertEqual(second.stdout.readline(), b'written\n')
        for process in (first, second):
            status, _, err = finish(process, input=b'go\n')
            self.assertEqual(status, 0, err)
        want = patched(patched(LARGE, 1000, 'FIRSTFIRST'), 900000, 'SECONDSECOND')
        self.assertBytes(self.read(self.file('b')), want)

    def during_fetch(self, change, hydration='auto'):
        """A reader waits for a fetch that stalls; then a change is asked for; then the fetch goes on.
        Returns (the reader's result, the file's content afterwards)."""
        self.gated({'f': LARGE}, hydration=hydration)
        path = self.file('f')
        self.gate.rule('*', 'stall', after=300000)
        reader = self.spawn(['cat', path])
        self.gate.wait_waiting()
        changer = self.spawn(change(path))
        # Some changes wait for the fetch, others do not: give those the chance to be first.
        try:
            changer.wait(0.3)
        except subprocess.TimeoutExpired:
            pass
        self.gate.release()
        status, _, err = finish(changer)
        self.assertEqual(status, 0, err)
        return finish(reader), path

    def test_truncate_during_a_fetch(self):
        for hydration in ('auto', 'ranges'):
            with self.subTest(hydration=hydration):
                (status, out, err), path = self.during_fetch(
                    lambda path: [ACCESS, 'truncate', path, '500001'], hydration)
                self.assertEqual(status, 0, err)
                self.assertBytes(out, LARGE[:len(out)], 'what the reader saw')
                self.assertGreaterEqual(len(out), 500001)
                self.assertBytes(self.read(path), LARGE[:500001])

    def test_o_trunc_during_a_fetch(self):
        (status, out, err), path = self.during_fetch(
            lambda path: [ACCESS, 'otrunc', path, 'NEW'])
        self.assertEqual(status, 0, err)
        self.assertBytes(self.read(path), b'NEW')
        if out != b'NEW':
            self.assertBytes(out, LARGE[:len(out)], 'what the reader saw')

    def test_append_during_a_fetch(self):
        (status, out, err), path = self.during_fetch(
            lambda path: [ACCESS, 'append', path, 'NEW'])
        self.assertEqual(status, 0, err)
        self.assertBytes(self.read(path), LARGE + b'NEW')
        self.assertIn(len(out), (len(LARGE), len(LARGE) + 3))
        self.assertBytes(out, (LARGE + b'NEW')[:len(out)], 'what the reader saw')

    def test_delete_during_a_fetch(self):
        (status, out, err), path = self.during_fetch(lambda path: ['rm', path])
        self.assertEqual(status, 0, err)
        self.assertBytes(out, LARGE, 'what the reader saw')
        self.assertFalse(os.path.exists(path))

    def test_rename_over_during_a_fetch(self):
        new = self.store.file('new-file')
        put(new, b'the new one')
        (status, out, err), path = self.during_fetch(lambda path: ['mv', new, path])
        self.assertEqual(status, 0, err)
        self.assertBytes(out, LARGE, 'what the reader saw')
        self.assertEqual(self.read(path), b'the new one')

    def test_touch_during_a_fetch(self):
        (status, out, err), path = self.during_fetch(
            lambda path: ['touch', '-d', '@1000000000.5', path])
        self.assertEqual(status, 0, err)
        self.assertBytes(out, LARGE)
        self.assertEqual(os.stat(path).st_mtime_ns, 10 ** 18 + 5 * 10 ** 8)

    def test_write_refused_when_the_rest_cannot_be_had(self):
        """A writer's open makes the file whole; where it cannot, nothing is changed."""
        self.gated({'f': LARGE})
        path = self.file('f')
        self.gate.rule('*', 'status', status=403)
        result = run([ACCESS, 'write-at', path, '100', 'TEXT'], check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b' %d ' % errno.EIO, result.stderr)
        self.gate.release()
        self.assertBytes(self.read(path), LARGE)


class Dice(CloudsyncTest):
    """Random sequences of accesses on placeholders, and the same on a plain file beside: after
    each step both must be equal. The seed is in the failure's text."""

    STEPS = 30

    def fallocate(self, fd, mode, offset, length):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.fallocate64(fd, mode, ctypes.c_longlong(offset), ctypes.c_longlong(length)) < 0:
            raise OSError(ctypes.get_errno(), 'fallocate')

    def step(self, path, action, numbers, read_only):
        """One action on one file; what it returns is compared as well."""
        offset, length = numbers
        size = os.stat(path).st_size
        if action in ('pread', 'mmap'):
            fd = os.open(path, os.O_RDONLY)
            try:
                if action == 'pread' or size == 0:
                    return os.pread(fd, length, offset)
                with mmap.mmap(fd, size, prot=mmap.PROT_READ,
                               flags=(mmap.MAP_PRIVATE, mmap.MAP_SHARED)[length & 1]) as mapped:
                    return mapped[offset:offset + length]
            finally:
                os.close(fd)
        if action == 'open-read':
            return os.pread(read_only, length, offset)
        if action == 'truncate':
            return os.truncate(path, offset)
        if action == 'rewrite':
            with open(path, 'wb') as f:
                f.write(b'%d' % offset)
            return None
        fd = os.open(path, os.O_RDWR)
        try:
            if action == 'write':
                return os.pwrite(fd, bytes((i * 31 + offset) & 255 for i in range(length % 9000)), offset)
            if action == 'append':
                os.lseek(fd, 0, os.SEEK_END)
                return os.write(fd, b'appended')
            if action == 'ftruncate':
                return os.ftruncate(fd, offset)
            if action == 'punch':
                return self.fallocate(fd, 3, offset, length + 1)
            if action == 'zero':
                return self.fallocate(fd, 0x10, offset, length + 1)
            if action == 'mmap-write' and size > 0:
                with mmap.mmap(fd, size) as mapped:
                    at = min(offset, size - 1)
                    mapped[at:at + 1] = b'M'
            return None
        finally:
            os.close(fd)

    READS = ('pread', 'pread', 'mmap', 'open-read')
    CHANGES = ('truncate', 'ftruncate', 'write', 'append', 'punch', 'zero', 'mmap-write', 'rewrite')

    def play(self, seed, path, mirror):
        dice = random.Random(seed)
        history = []
        read_only = [os.open(path, os.O_RDONLY), os.open(mirror, os.O_RDONLY)] \
            if dice.random() < 0.6 else None
        changes = dice.choice((0.1, 0.5))
        for _ in range(self.STEPS):
            size = max(os.stat(mirror).st_size, 1)
            action = dice.choice(self.CHANGES if dice.random() < changes else self.READS)
            if action == 'open-read' and read_only is None:
                continue
            offset = dice.choice((dice.randrange(size), dice.randrange(size) & ~4095, 0, size - 1,
                                  dice.randrange(size + 100000)))
            numbers = (offset, dice.choice((1, 100, 4096, 30000, 500000)))
            history.append((action, *numbers))
            results = [self.step(p, action, numbers, fd)
                       for p, fd in zip((path, mirror), read_only or (None, None))]
            told = 'seed %d after %s' % (seed, history)
            if isinstance(results[0], bytes):
                self.assertBytes(results[0], results[1], told)
            self.assertEqual(os.stat(path).st_size, os.stat(mirror).st_size, told)
        return history

    def test_dice(self):
        seeds = range(48)
        files = {}
        for seed in seeds:
            dice = random.Random(seed)
            size = dice.choice((0, 1, dice.randrange(100000), dice.randrange(3 * MIB), 4096 * 9, 2 * MIB))
            files['f%d' % seed] = dice.choice((noise, zero_runs))(size, seed)
        mirrors = self.world.new_directory('mirrors')
        engine = self.engine(files, hydration='ranges')
        for name, data in files.items():
            put(os.path.join(mirrors, name), data)
        histories = {}
        for seed in seeds:
            name = 'f%d' % seed
            histories[name] = isolated(lambda seed=seed, name=name: self.play(
                seed, self.file(name), os.path.join(mirrors, name)))

        def compare(when):
            for name in files:
                with open(os.path.join(mirrors, name), 'rb') as f:
                    self.assertBytes(self.read(self.file(name)), f.read(),
                                     '%s, %s, after %s' % (name, when, histories[name]))
        compare('at the end')
        self.store.restart()
        self.store.wait_state(engine)
        compare('after a restart')

    def test_dice_with_restarts(self):
        """The same with the daemon stopped and started between two halves."""
        seeds = range(100, 124)
        files = {'f%d' % seed: zero_runs(random.Random(seed).randrange(2 * MIB), seed)
                 for seed in seeds}
        mirrors = self.world.new_directory('mirrors')
        engine = self.engine(files, hydration='ranges')
        for name, data in files.items():
            put(os.path.join(mirrors, name), data)
        for turn in range(3):
            for seed in seeds:
                name = 'f%d' % seed
                isolated(lambda seed=seed, name=name: self.play(
                    seed + 1000 * turn, self.file(name), os.path.join(mirrors, name)))
            self.store.restart()
            self.store.wait_state(engine)
        for name in files:
            with open(os.path.join(mirrors, name), 'rb') as f:
                self.assertBytes(self.read(self.file(name)), f.read(), name)


if __name__ == '__main__':
    main()
