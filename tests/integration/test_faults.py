#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Servers that fail, seen from a reader: nothing wrong is ever read, and what can succeed,
succeeds. The server is tests/servers/gate.py."""

import errno
import os

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

SMALL, LARGE = noise(30011, 1), zero_runs(3 * MIB + 777, 2)


class Served(GateTest):
    """What both groups of tests need."""

    CONFIG = {'Hydration': {'FullBelow': '1M', 'Deadline': '30'}}

    def modes(self, check):
        """check(data) for a small file, a large one, and one read by ranges."""
        for what, data, hydration in (('small', SMALL, 'auto'), ('large', LARGE, 'auto'),
                                      ('ranges', LARGE, 'ranges')):
            with self.subTest(file=what):
                self.remote = self.gated({'f': data}, hydration=hydration) + '/f'
                try:
                    check(data)
                finally:
                    self.gate.release()

    def succeeds(self, data):
        self.assertBytes(self.read(self.file('f')), data)

    def fails(self, data, number=errno.EIO):
        """EIO, and right bytes once the server behaves."""
        self.assertEqual(self.read_error(self.file('f')), number)
        self.assertTrue(self.store.daemon.alive())
        self.gate.release()
        wait_until(lambda: self.read_error(self.file('f')) == 0, 'it can be read again')
        self.succeeds(data)

    def never_wrong(self, data):
        """Right bytes or EIO, then right bytes."""
        result = run(['cat', self.file('f')], check=False)
        if result.returncode == 0:
            self.assertBytes(result.stdout, data)
        else:
            self.assertIn(b'Input/output error', result.stderr)
            self.assertBytes(result.stdout, data[:len(result.stdout)])
        self.gate.release()
        wait_until(lambda: self.read_error(self.file('f')) == 0, 'it can be read again')
        self.succeeds(data)


class Faults(Served):

    def status(self, status, times=None, **headers):
        self.gate.rule(self.remote, 'status', status=status, headers=headers, times=times)

    def test_forbidden(self):
        self.modes(lambda data: (self.status(403), self.fails(data)))

    def test_unauthorized(self):
        self.modes(lambda data: (self.status(401), self.fails(data)))

    def test_not_found(self):
        self.modes(lambda data: (self.status(404), self.fails(data)))

    def test_gone(self):
        self.modes(lambda data: (self.status(410), self.fails(data)))

    def test_server_error_once(self):
        for status in (500, 502, 503, 504, 429):
            with self.subTest(status=status):
                self.modes(lambda data: (self.status(status, times=1), self.succeeds(data)))

    def test_range_not_satisfiable(self):
        self.modes(lambda data: (self.status(416, times=1, **{'Content-Range': 'bytes */5'}),
                                 self.never_wrong(data)))

    def test_retry_after(self):
        def check(data):
            self.status(503, times=1, **{'Retry-After': '2'})
            self.succeeds(data)
            gets = self.gate.gets(self.remote)
            self.assertEqual(gets[0]['status'], 503)
            self.assertGreaterEqual(gets[1]['time'] - gets[0]['time'], 1.9)
        self.modes(check)

    def test_redirect_to_itself(self):
        self.modes(lambda data: (self.status(302, Location='/' + self.remote), self.fails(data)))

    def test_redirect_to_a_file(self):
        """Only http and https: a redirect to file:// is refused."""
        self.modes(lambda data: (self.status(302, Location='file:///etc/hostname'),
                                 self.fails(data)))

    def test_empty_success(self):
        self.modes(lambda data: (self.status(204, times=1), self.never_wrong(data)))

    def test_wrong_body_of_a_success(self):
        """200 with a body of another length (an error page, a login page)."""
        self.modes(lambda data: (self.status(200), self.fails(data)))

    def test_reset_and_resumed(self):
        """A transfer that breaks is taken up at the byte where it broke."""
        def check(data):
            after = len(data) // 3
            self.gate.rule(self.remote, 'cut', after=after, times=1)
            self.succeeds(data)
            sent = sum(e['sent'] for e in self.gate.gets(self.remote))
            # What was in flight and not in order is all that may be lost.
            self.assertLessEqual(sent, len(data) + 256 * KIB)
            self.assertGreaterEqual(sent, len(data))
        self.modes(check)

    def test_reset_many_times(self):
        def check(data):
            self.gate.rule(self.remote, 'cut', after=len(data) // 4, times=3)
            self.succeeds(data)
        self.modes(check)

    def test_body_too_short_once(self):
        self.modes(lambda data: (self.gate.rule(self.remote, 'short', after=len(data) // 2, times=1),
                                 self.succeeds(data)))

    def test_body_too_long(self):
        self.modes(lambda data: (self.gate.rule(self.remote, 'long', after=1000),
                                 self.never_wrong(data)))

    def test_slow_server(self):
        self.modes(lambda data: (self.gate.rule(self.remote, 'slow', rate=len(data)),
                                 self.succeeds(data)))

    def test_stall_then_goes_on(self):
        def check(data):
            self.gate.rule(self.remote, 'stall', after=len(data) // 2)
            reader = self.spawn(['cat', self.file('f')])
            self.gate.wait_waiting()
            self.gate.release()
            status, out, err = finish(reader)
            self.assertEqual(status, 0, err)
            self.assertBytes(out, data)
        self.modes(check)

    def test_server_down_and_up(self):
        """Down when it is asked, up again before the deadline: the reader only waits."""
        def check(data):
            self.gate.kill()
            reader = self.spawn(['cat', self.file('f')])
            wait_until(lambda: self.store.property('EventsPending') >= 1, 'the reader waits')
            self.gate.again()
            status, out, err = finish(reader)
            self.assertEqual(status, 0, err)
            self.assertBytes(out, data)
        self.modes(check)


class Deadlines(Served):
    """What would be tried for ever ends with the deadline."""

    CONFIG = {'Hydration': {'FullBelow': '1M', 'Deadline': '3'}}

    def test_reset_always_at_the_start(self):
        self.modes(lambda data: (self.gate.rule(self.remote, 'cut', after=0), self.fails(data)))

    def test_stall(self):
        self.modes(lambda data: (self.gate.rule(self.remote, 'stall', after=len(data) // 2),
                                 self.fails(data)))


class Versions(Served):
    """The remote changes: the new version or EIO, never a mix of both."""

    def replace(self, data, mtime=1650000000):
        put(os.path.join(self.gate.root, self.remote), data, mtime=mtime)

    def one_or_the_other(self, result, old, new):
        status, out, err = result
        if status != 0:
            self.assertIn(b'5 ' if b': 5' in err else b'Input/output error', err)
            self.assertTrue(old.startswith(out) or new.startswith(out), 'a mix')
            return 'error'
        if out == old:
            return 'old'
        self.assertBytes(out, new, 'neither the old nor the new version')
        return 'new'

    def newer(self, data, size=None):
        return zero_runs(size or len(data), 77)

    def test_changed_before_the_first_read(self):
        for size in (None, 2 * MIB + 5, 12345):
            with self.subTest(size=size):
                def check(data):
                    new = self.newer(data, size)
                    self.replace(new)
                    result = finish(self.spawn(['cat', self.file('f')]))
                    self.assertNotEqual(self.one_or_the_other(result, data, new), 'old')
                    self.store.refresh(self.prefix)
                    self.assertBytes(self.read(self.file('f')), new)
                    self.assertEqual(os.stat(self.file('f')).st_mtime, 1650000000)
                self.modes(check)

    def test_changed_between_two_ranges(self):
        """A part of the old version was read: the rest of it cannot be had."""
        self.remote = self.gated({'f': LARGE}, hydration='ranges') + '/f'
        holder = self.spawn([ACCESS, 'hold-range', self.file('f'), '0', '4096'])
        self.assertEqual(holder.stdout.readline(), b'read\n')
        new = self.newer(LARGE)
        self.replace(new)
        status, out, err = finish(holder, input=b'go\n')
        if status == 0:
            self.assertBytes(out, LARGE, 'all of it was here already, or it is a mix')
        else:
            self.assertIn(b' %d ' % errno.EIO, err)
        self.store.refresh(self.prefix)
        wait_until(lambda: self.read_error(self.file('f')) == 0, 'the new version can be read')
        self.assertBytes(self.read(self.file('f')), new)

    def test_changed_in_the_middle_of_a_transfer(self):
        def check(data):
            new = self.newer(data)
            self.gate.rule(self.remote, 'stall', after=len(data) // 2, cut=True)
            reader = self.spawn(['cat', self.file('f')])
            self.gate.wait_waiting()
            self.replace(new)
            self.gate.release()
            result = finish(reader)
            self.assertNotEqual(self.one_or_the_other(result, data, new), 'old')
            self.store.refresh(self.prefix)
            self.assertBytes(self.read(self.file('f')), new)
        self.modes(check)

    def test_changed_after_it_was_fetched(self):
        def check(data):
            self.succeeds(data)
            new = self.newer(data, len(data) + 5000)
            self.replace(new)
            self.succeeds(data)  # nobody has told us yet
            self.store.refresh(self.prefix)
            self.assertBytes(self.read(self.file('f')), new)
            self.assertEqual(os.stat(self.file('f')).st_mtime, 1650000000)
        self.modes(check)

    def test_changed_while_it_is_open(self):
        """Who has the file open keeps what he had, or gets an error; a new reader sees the new one."""
        def check(data):
            holder = self.spawn([ACCESS, 'hold-range', self.file('f'), '0', '1000'])
            self.assertEqual(holder.stdout.readline(), b'read\n')
            new = self.newer(data, len(data) + 1000)
            self.replace(new)
            self.store.refresh(self.prefix)
            status, out, err = finish(holder, input=b'go\n')
            if status == 0:
                self.assertBytes(out, data, 'the open file changed under its reader')
            self.store.refresh(self.prefix)
            wait_until(lambda: self.read_error(self.file('f')) == 0, 'the new version can be read')
            self.assertBytes(self.read(self.file('f')), new)
        self.modes(check)

    def test_removed_before_the_first_read(self):
        def check(data):
            os.unlink(os.path.join(self.gate.root, self.remote))
            self.assertIn(self.read_error(self.file('f')), (errno.EIO, errno.ENOENT))
            self.store.refresh(self.prefix)
            wait_until(lambda: not os.path.exists(self.file('f')), 'it goes')
        self.modes(check)

    def test_changing_all_the_time(self):
        """A file that is rewritten while it is fetched, again and again."""
        def check(data):
            versions = [noise(len(data), 100 + i) for i in range(8)]
            for i, version in enumerate(versions):
                self.gate.rule(self.remote, 'cut', after=len(data) // 2, times=1)
                self.replace(version, mtime=1650000000 + i)
                status, out, _ = finish(self.spawn(['cat', self.file('f')]))
                if status == 0:
                    self.assertIn(digest(out), [digest(v) for v in versions[:i + 1]], 'a mix')
                self.store.refresh(self.prefix)
            self.assertBytes(self.read(self.file('f')), versions[-1])
        self.modes(check)


if __name__ == '__main__':
    main()
