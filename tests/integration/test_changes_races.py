#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Changes of a remote that meet something else: a user's renames, inode numbers that come back,
a refresh that is killed, a disk that takes no more, a daemon that can open nothing."""

import errno
import os
import resource
import shutil
import time

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import
from support.rawcase import RawTest

PER_FILESYSTEM = True


class Renamed(CloudsyncTest):

    def remote(self, *parts):
        return os.path.join(self.web.root, self.engines[-1], *parts)

    def names(self, *parts):
        return sorted(os.listdir(self.file(*parts)))

    def test_renamed_by_a_user_and_gone(self):
        """What a user has given another name stays when the remote removes it, whether that was
        just after it was read or long after, and so does a directory with what is in it."""
        files = {name: noise(5000, i) for i, name in enumerate(('fresh', 'settled', 'd/x', 'd/y', 'e/x', 'stays'))}
        self.engine(files)
        self.read(self.file('settled'))
        wait_until(lambda: os.getxattr(self.file('settled'), 'security.bpf.cloudsync')[2] == 3, 'WHOLE')
        for name in ('fresh', 'd/x', 'e/x'):
            self.read(self.file(name))
        os.rename(self.file('fresh'), self.file('mine'))
        os.rename(self.file('settled'), self.file('mine, too'))
        os.rename(self.file('d'), self.file('D'))
        os.rename(self.file('e/x'), self.file('e/X'))
        self.store.refresh(self.prefix)
        for name in ('fresh', 'settled'):
            os.unlink(self.remote(name))
        shutil.rmtree(self.remote('d'))
        shutil.rmtree(self.remote('e'))
        self.store.refresh(self.prefix)
        self.assertEqual(self.names(), ['D', 'e', 'mine', 'mine, too', 'stays'])
        self.assertEqual((self.names('e')), ['X'])
        self.assertIn('x', self.names('D'))
        for name, was in (('mine', 'fresh'), ('mine, too', 'settled'), ('D/x', 'd/x'), ('e/X', 'e/x')):
            self.assertBytes(self.read(self.file(name)), files[was], name)


    def test_new_and_gone(self):
        """A file that a refresh brought goes by the next one, though it was noted as what may have been moved."""
        self.engine({'stays': b'x'})
        for _ in range(2):
            put(self.remote('f'), b'new')
            self.store.refresh(self.prefix)
            self.assertEqual(self.names(), ['f', 'stays'])
            os.unlink(self.remote('f'))
            self.store.refresh(self.prefix)
            wait_until(lambda: self.names() == ['stays'], 'it is gone', 10)


class Full(CloudsyncTest):

    def fill(self):
        filler = self.store.file('filler')
        with open(filler, 'wb', buffering=0) as f:
            size = 1 << 30
            while size >= 4096:
                try:
                    os.posix_fallocate(f.fileno(), os.fstat(f.fileno()).st_size, size)
                except OSError:
                    size //= 2
        return filler

    def test_removal_makes_room(self):
        """A full store, and a remote that has new files and fewer large ones: what is gone goes, though
        what is new has no room yet."""
        self.engine({'large': noise(1 << 20, 1), 'd/x': b'x'})
        self.read(self.file('large'))
        root = os.path.join(self.web.root, self.engines[0])
        filler = self.fill()
        for n in range(300):
            put(os.path.join(root, '%03d %s' % (n, 'x' * 200)), b'y')
        os.unlink(os.path.join(root, 'large'))
        self.store.call('Refresh', 'sb', self.prefix, 'false', check=False)
        wait_until(lambda: not os.path.exists(self.file('large')), 'it is gone', 20)
        os.unlink(filler)
        wait_until(lambda: len(os.listdir(self.file())) == 301, 'what is new is here')

    def test_removed_while_the_store_is_full(self):
        """What cannot be removed because the disk is full goes later; its directory is not taken for a
        user's, and not forgotten."""
        self.engine({'stays': b'x', **{'d/%03d %s' % (n, 'x' * 100): b'y' for n in range(400)}})
        filler = self.fill()
        shutil.rmtree(os.path.join(self.web.root, self.engines[0], 'd'))
        self.store.refresh(self.prefix)
        full = os.path.exists(self.file('d'))
        if not full:
            print('# the attic had room all the same')
        os.unlink(filler)
        wait_until(lambda: not os.path.exists(self.file('d')), 'it goes when there is room')


class Numbers(CloudsyncTest):
    """A file system may give the next directory the number of one that was removed."""

    def remote(self, *parts):
        return os.path.join(self.web.root, self.engines[-1], *parts)

    def test_the_number_of_a_directory_that_is_gone(self):
        """A directory is refreshed and removed, and at once another one is made: nobody reads that as
        empty, whatever number it has."""
        self.engine({'stays': b'x', 'd0/f': b'y'})
        again = 0
        for n in range(1, 9):
            last, new = 'd%d' % (n - 1), 'd%d' % n
            number = os.stat(self.file(last)).st_ino
            self.store.refresh(self.file(last), recursive=False)
            shutil.rmtree(self.remote(last))
            self.store.refresh(self.prefix, recursive=False)
            wait_until(lambda path=self.file(last): not os.path.exists(path), 'it is gone')
            put(self.remote(new, 'f'), b'y')
            self.store.refresh(self.prefix, recursive=False)
            again += os.stat(self.file(new)).st_ino == number
            self.assertEqual(isolated(lambda path=self.file(new): os.listdir(path)), ['f'])
        print('# the same number %d times of 8' % again)


class Pinned(CloudsyncTest):

    def test_killed_while_a_file_just_fetched_is_opened(self):
        """The kernel keeps a group from being closed while an access waits that has met one of its marks. A worker
        that is killed must not leave such a group: the next one would wait for itself."""
        self.engine({'f': noise(5000, 1), 'stays': b'x'})
        path = self.file('f')
        self.read(path)
        holder = self.spawn([ACCESS, 'hold', path])
        self.assertEqual(holder.stdout.readline(), b'open\n')
        os.unlink(os.path.join(self.web.root, self.engines[0], 'f'))
        self.store.refresh(self.prefix)  # tries to take it away, and hears it again
        worker = self.store.worker_pid()
        os.kill(worker, signal.SIGSTOP)
        readers = [self.spawn(['cat', path]) for _ in range(2)]
        for reader in readers:
            def waits(pid=reader.pid):
                with open('/proc/%d/wchan' % pid, encoding='ascii') as f:
                    return f.read() == 'fanotify_handle_event'
            wait_until(waits, 'a reader waits')
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: self.store.worker_pid() != worker, 'there is a new worker', 10)
        for reader in readers:
            status, out, err = finish(reader)
            self.assertEqual(status, 0, err)
            self.assertBytes(out, noise(5000, 1))
        finish(holder, input=b'go\n')


class NoDescriptors(RawTest):
    """Changes that are told while the daemon can open nothing: they are looked at when it can again."""

    def listed(self, names):
        channel = self.raw([{'name': n, 'directory': True} for n in names], wait_listed=False, max_requests=96)
        for _ in names:
            self.list(channel, [{'name': 'x', 'size': 1}])
        self.store.wait_state(self.engines[-1])
        return channel

    def without_descriptors(self, seconds, action):
        pid = self.store.worker_pid()
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)

        def first_free():
            has = {int(n) for n in os.listdir('/proc/%d/fd' % pid)}
            return next(n for n in range(3, hard) if n not in has)
        time.sleep(3)  # btrfs: what was listed is stamped
        free = min(first_free() for _ in range(5))
        self.assertGreater(free, 14, 'poll(2) takes no more than the limit')
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, hard))
        try:
            action()
            time.sleep(seconds)
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

    def test_few(self):
        channel = self.listed(['a', 'b', 'c'])

        def tell():
            for name in ('a', 'b', 'a', 'not-here'):
                channel.send('CHANGED', locator=name)
        self.without_descriptors(1.5, tell)
        asked = set()
        for _ in range(2):
            message = channel.wait('LIST', timeout=10)
            asked.add(message['locator'])
            channel.entries(message['request'], [{'name': 'y', 'size': 1}])
            channel.done(message['request'])
        self.assertEqual(asked, {'a', 'b'})
        for name in asked:
            wait_until(lambda: os.listdir(self.file(name)) == ['y'], 'the change is there')
        log = self.store.daemon.log_text()
        self.assertEqual(log.count(b'cannot be looked at'), 1, log[-2000:])

    def test_more_than_can_be_kept(self):
        """Everything is listed again, also what is below a directory whose listing fails at first."""
        names = ['d%d' % i for i in range(1100)]
        channel = self.listed(names)

        def tell():
            for name in names:
                channel.send('CHANGED', locator=name)
        self.without_descriptors(2, tell)
        left, root = set(names), [{'name': n, 'directory': True} for n in names]
        failed = False
        while left:
            message = channel.wait('LIST', timeout=25)
            if message['locator'] == '' and not failed:
                failed = True
                channel.done(message['request'], -errno.EIO, 'for a test')
                continue
            left.discard(message['locator'])
            channel.entries(message['request'], [{'name': 'y', 'size': 1}] if message['locator'] else root)
            channel.done(message['request'])
        self.assertTrue(failed)
        self.assertIn(b'everything is listed again', self.store.daemon.log_text())
        wait_until(lambda: os.listdir(self.file('d1099')) == ['y'], 'the change is there')


if __name__ == '__main__':
    main()
