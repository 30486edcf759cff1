#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What changes at a remote under files that are here: new versions, removals, moves, and what a user
did meanwhile. httpfs and a web server, Dropbox and a server that plays it."""

import datetime
import glob
import json
import os
import random
import re
import shutil
import socket
import sys
import time
import urllib.request

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import
from support.dropbox import DropboxTest
from support.rawcase import RawTest

PER_FILESYSTEM = True

HOST_LABEL = socket.gethostname().split('.')[0]


def conflict(name, when, n=0):
    """What a conflict copy is called."""
    stem, dot, extension = name.rpartition('.')
    if not stem:
        stem, dot, extension = name, '', ''
    date = datetime.datetime.fromtimestamp(when, datetime.timezone.utc).strftime('%Y-%m-%d')
    return '%s (%s\'s conflicted copy %s)%s%s%s' % (stem, HOST_LABEL, date, ' (%d)' % n if n else '',
                                                    dot, extension)


class Changes(CloudsyncTest):

    def names(self, *parts):
        return sorted(os.listdir(self.file(*parts)))

    def hold(self, path):
        """A reader that keeps the file open until it is told to go on (or is killed)."""
        holder = self.spawn([ACCESS, 'hold', path])
        self.assertEqual(holder.stdout.readline(), b'open\n')
        return holder

    def attic(self):
        return os.listdir(self.store.file('.cloudsync/attic'))

    def kill_worker(self):
        self.store.kill_worker()
        wait_until(lambda: self.store.call('ListEngines', check=False).returncode == 0,
                   'the next worker is on the bus')

    def wait_gone(self, *parts):
        wait_until(lambda: not os.path.lexists(self.file(*parts)), '%r is gone' % (parts,))


class WebChanges(Changes):
    """httpfs: a locator is a path, a move is a new file; refreshed by a call."""

    def remote(self, *parts):
        return os.path.join(self.web.root, self.engines[-1], *parts)


class Killed(WebChanges):
    def test_not_forgotten_by_a_killed_daemon(self):
        """A file that was open when its directory was refreshed, and the daemon is killed before it
        was closed: the next one still knows."""
        self.engine({'d/open': noise(5000, 1), 'd/gone': noise(5000, 2), 'd/other': b'x'})
        for name in ('open', 'gone'):
            self.read(self.file('d', name))
        holders = [self.hold(self.file('d', name)) for name in ('open', 'gone')]
        put(self.remote('d/open'), noise(7000, 3), mtime=1650000000)
        os.unlink(self.remote('d/gone'))
        self.store.refresh(self.file('d'), recursive=False)
        self.assertEqual(os.stat(self.file('d/open')).st_size, 5000)
        self.kill_worker()
        self.store.wait_state(self.engines[0])
        self.assertFalse(os.path.exists(self.store.file('.cloudsync/complete')))
        for holder, data in zip(holders, (noise(5000, 1), noise(5000, 2))):
            self.assertBytes(finish(holder, input=b'go\n')[1], data)
        wait_until(lambda: os.stat(self.file('d/open')).st_size == 7000, 'the new version')
        self.wait_gone('d/gone')
        self.assertBytes(self.read(self.file('d/open')), noise(7000, 3))
        if self.store.fs != 'btrfs':  # there by a clean stop alone
            wait_until(lambda: os.path.exists(self.store.file('.cloudsync/complete')),
                       'nothing is pending, and that is written down')

class Web(WebChanges):

    def test_removed(self):
        """Gone there, gone here: unless a user changed it. What is open goes when it is closed."""
        files = {name: noise(5000, i) for i, name in enumerate(
            ('cold', 'whole', 'changed', 'open', 'stays', 'd/cold', 'd/changed', 'd/e/whole', 'f/x'))}
        self.engine(files)
        for name in ('whole', 'changed', 'd/changed', 'd/e/whole', 'open', 'stays'):
            self.read(self.file(name))
        for name in ('changed', 'd/changed'):
            access('append', self.file(name), 'mine')
        put(self.file('d/e/own'), b'own')
        holder = self.hold(self.file('open'))
        for name in ('cold', 'whole', 'changed', 'open'):
            os.unlink(self.remote(name))
        shutil.rmtree(self.remote('d'))
        shutil.rmtree(self.remote('f'))
        self.store.refresh(self.prefix)
        self.assertEqual(self.names(), ['changed', 'd', 'open', 'stays'])
        self.assertEqual((self.names('d'), self.names('d/e')), (['changed', 'e'], ['own']))
        self.assertBytes(self.read(self.file('changed')), files['changed'] + b'mine')
        self.assertBytes(self.read(self.file('d/changed')), files['d/changed'] + b'mine')
        self.assertEqual(self.read(self.file('d/e/own')), b'own')
        self.assertBytes(finish(holder, input=b'go\n')[1], files['open'])
        self.wait_gone('open')
        self.assertBytes(self.read(self.file('stays')), files['stays'])
        wait_until(lambda: not self.attic(), 'the attic is empty')

    def test_new_version(self):
        """In place: of a placeholder, of a whole file, of one that is open."""
        self.engine({name: noise(5000, 1) for name in ('cold', 'whole', 'open')})
        self.read(self.file('whole'))
        self.read(self.file('open'))
        holder = self.hold(self.file('open'))
        for name in ('cold', 'whole', 'open'):
            put(self.remote(name), noise(7000, 2), mtime=1650000000)
        self.store.refresh(self.prefix)
        for name in ('cold', 'whole'):
            self.assertCold(self.file(name), 7000)
            self.assertEqual(os.stat(self.file(name)).st_mtime, 1650000000)
            self.assertBytes(self.read(self.file(name)), noise(7000, 2))
        self.assertBytes(finish(holder, input=b'go\n')[1], noise(5000, 1), 'who had it open')
        wait_until(lambda: os.stat(self.file('open')).st_size == 7000, 'the file that was open follows')
        self.assertBytes(self.read(self.file('open')), noise(7000, 2))

    def test_conflict(self):
        """Changed on both sides: the user's stays, the remote's comes beside it, once a version."""
        self.engine({'report.txt': noise(5000, 1), 'other': b'other'})
        path = self.file('report.txt')
        self.read(path)
        access('append', path, 'mine')
        mine = noise(5000, 1) + b'mine'
        put(self.remote('report.txt'), noise(6000, 2), mtime=1650000000)
        for _ in range(3):
            self.store.refresh(self.prefix)
            copy = conflict('report.txt', 1650000000)
            self.assertEqual(self.names(), sorted(['other', 'report.txt', copy]))
        self.assertEqual(self.store.status(path)['State'], 'local')
        self.assertCold(self.file(copy), 6000)
        self.assertBytes(self.read(self.file(copy)), noise(6000, 2))
        self.assertBytes(self.read(path), mine)
        # The same day's next version: the copy is brought up to date, since nobody changed that.
        put(self.remote('report.txt'), noise(6100, 3), mtime=1650000060)
        self.store.refresh(self.prefix)
        self.assertEqual(self.names(), sorted(['other', 'report.txt', copy]))
        self.assertBytes(self.read(self.file(copy)), noise(6100, 3))
        # And when somebody did: another copy.
        access('append', self.file(copy), 'mine, too')
        put(self.remote('report.txt'), noise(6200, 4), mtime=1650000120)
        self.store.refresh(self.prefix)
        second = conflict('report.txt', 1650000120, 1)
        self.assertEqual(self.names(), sorted(['other', 'report.txt', copy, second]))
        self.assertBytes(self.read(self.file(second)), noise(6200, 4))
        self.assertBytes(self.read(self.file(copy)), noise(6100, 3) + b'mine, too')
        self.assertBytes(self.read(path), mine)
        self.store.restart()
        self.store.wait_state(self.engines[0])
        self.store.refresh(self.prefix)
        self.assertEqual(self.names(), sorted(['other', 'report.txt', copy, second]))
        # Gone there: what nobody changed goes.
        os.unlink(self.remote('report.txt'))
        self.store.refresh(self.prefix)
        self.assertEqual(self.names(), sorted(['other', 'report.txt', copy]))
        self.assertBytes(self.read(path), mine)

    def test_conflict_while_open(self):
        """The user's editor still has it open: one copy all the same, also over a killed daemon."""
        self.engine({'f': noise(5000, 1)})
        path = self.file('f')
        holder = self.spawn([ACCESS, 'write-hold', path, '100', 'MINE'])
        self.assertEqual(holder.stdout.readline(), b'written\n')
        put(self.remote('f'), noise(6000, 2), mtime=1650000000)
        self.store.refresh(self.prefix)
        copy = conflict('f', 1650000000)
        self.assertEqual(self.names(), ['f', copy])
        self.kill_worker()
        self.store.wait_state(self.engines[0])
        self.store.refresh(self.prefix)
        self.assertEqual(self.names(), ['f', copy])
        finish(holder, input=b'go\n')
        wait_until(lambda: self.store.status(path)['Version'] == self.store.status(self.file(copy))['Version'],
                   'the version is noted as seen')
        self.assertEqual(self.names(), ['f', copy])
        self.assertEqual(self.read(path)[100:104], b'MINE')
        self.assertBytes(self.read(self.file(copy)), noise(6000, 2))

    def test_conflict_with_an_editor(self):
        """An editor writes a new file and renames it over ours: no copy of the version that it was made
        from; but of each later one."""
        self.engine({'f.txt': noise(5000, 1), 'g.txt': noise(5000, 2)})
        for name in ('f.txt', 'g.txt'):
            self.read(self.file(name))
            put(self.file('.new'), b'edited ' + name.encode())
            os.rename(self.file('.new'), self.file(name))
        now = int(time.time())
        put(self.remote('g.txt'), noise(6000, 3), mtime=now + 10)
        self.store.refresh(self.prefix)
        copies = [conflict('g.txt', now + 10)]
        self.assertEqual(self.names(), sorted(['f.txt', 'g.txt', *copies]))
        put(self.remote('f.txt'), noise(6000, 4), mtime=1650000000)
        copies.append(conflict('f.txt', 1650000000))
        for _ in range(2):
            self.store.refresh(self.prefix)
            self.assertEqual(self.names(), sorted(['f.txt', 'g.txt', *copies]))
        self.assertBytes(self.read(self.file(copies[0])), noise(6000, 3))
        self.assertBytes(self.read(self.file(copies[1])), noise(6000, 4))
        for name in ('f.txt', 'g.txt'):
            self.assertEqual(self.read(self.file(name)), b'edited ' + name.encode())
            self.assertEqual(self.store.status(self.file(name))['State'], 'local')
            os.unlink(self.remote(name))
        self.store.refresh(self.prefix)
        self.assertEqual(self.names(), ['f.txt', 'g.txt'])

    def test_conflict_of_a_long_name(self):
        name = 'x' * 250 + '.txt'
        self.engine({name: noise(5000, 1)})
        self.read(self.file(name))
        access('append', self.file(name), 'mine')
        put(self.remote(name), noise(6000, 2), mtime=1650000000)
        self.store.refresh(self.prefix)
        copies = [n for n in self.names() if n != name]
        self.assertEqual(len(copies), 1)
        self.assertEqual(len(copies[0]), 255)
        self.assertTrue(copies[0].endswith('conflicted copy 2022-04-15).txt'), copies[0])
        self.assertBytes(self.read(self.file(copies[0])), noise(6000, 2))

    def test_a_user_is_quicker(self):
        """Files are opened, changed and replaced while their directory loses them: no byte of a
        user's is lost, and a reader sees the right bytes or none."""
        count = 60
        files = {'f%d' % i: noise(3000, i) for i in range(count)}
        self.engine(files)
        for name in files:
            self.read(self.file(name))
        script = ('import os, sys, time\n'
                  'for i in range(%d):\n'
                  '    name = sys.argv[1] + "/f%%d" %% i\n'
                  '    try:\n'
                  '        if i %% 3 == 0:\n'
                  '            with open(name, "r+b") as f: f.seek(7); f.write(b"USER")\n'
                  '        elif i %% 3 == 1:\n'
                  '            with open(name + "~", "wb") as f: f.write(b"replaced")\n'
                  '            os.rename(name + "~", name)\n'
                  '        else:\n'
                  '            data = open(name, "rb").read(); assert len(data) == 3000 and any(data)\n'
                  '            continue\n'
                  '        print(i, flush=True)\n'
                  '    except FileNotFoundError: pass\n') % count
        shutil.rmtree(self.remote())
        os.mkdir(self.remote())
        user = self.spawn([sys.executable, '-c', script, self.file()])
        for _ in range(3):
            self.store.refresh(self.prefix)
        status, out, err = finish(user)
        self.assertEqual(status, 0, err)
        for i in map(int, out.split()):
            data = self.read(self.file('f%d' % i))
            if i % 3 == 0:
                self.assertEqual(data[7:11], b'USER', 'f%d' % i)
                self.assertBytes(data[11:], files['f%d' % i][11:])
            else:
                self.assertEqual(data, b'replaced', 'f%d' % i)


class DropboxChanges(DropboxTest, Changes):
    """Dropbox: a file's locator is its id, and stays the same when it is moved; changes are told."""

    SIZE = '1G'

    def downloads(self):
        with urllib.request.urlopen(self.hosts['www'] + '/.control') as answer:
            return json.load(answer)['log'].get('files/download', 0)

    def write(self, path, text):
        return {'do': 'write', 'path': path, 'text': text}

    def await_tree(self, want):
        """{path: text}: exactly these files, wherever directories are needed for them; returns when it is
        so, and reads each."""
        def tree():
            return {os.path.relpath(os.path.join(directory, name), self.file())
                    for directory, _, names in os.walk(self.file()) for name in names}
        wait_until(lambda: tree() == set(want), 'the tree is %r' % sorted(want))
        for path, text in want.items():
            self.assertBytes(self.read(self.file(path)), text.encode(), path)


class Dropbox(DropboxChanges):

    def test_moves(self):
        """Moved, renamed, exchanged, and a folder with all that is in it: nothing is fetched twice."""
        paths = ['/a/one', '/a/two', '/b/three', '/c/deep/four', '/c/five', '/x', '/y']
        self.dropbox({'do': 'mkdir', 'path': '/empty'}, *[self.write(p, p * 100) for p in paths])
        self.await_tree({p[1:]: p * 100 for p in paths})
        inode = {p: os.stat(self.file(p[1:])).st_ino for p in paths}
        before = self.downloads()
        self.control({'do': 'move', 'path': '/a/one', 'to': '/b/one'},
                     {'do': 'move', 'path': '/a/two', 'to': '/a/zwei'},
                     {'do': 'move', 'path': '/b/three', 'to': '/empty/three'},
                     {'do': 'move', 'path': '/c', 'to': '/empty/C'},
                     {'do': 'move', 'path': '/x', 'to': '/z'},
                     {'do': 'move', 'path': '/y', 'to': '/x'},
                     {'do': 'move', 'path': '/z', 'to': '/y'})
        moved = {'/a/one': 'b/one', '/a/two': 'a/zwei', '/b/three': 'empty/three',
                 '/c/deep/four': 'empty/C/deep/four', '/c/five': 'empty/C/five', '/x': 'y', '/y': 'x'}
        self.await_tree({new: old * 100 for old, new in moved.items()})
        for old, new in moved.items():
            self.assertEqual(os.stat(self.file(new)).st_ino, inode[old], '%s is not the same file' % new)
        self.assertEqual(self.downloads(), before)
        # A second move, and the state of what was moved is what it was: not a user's.
        self.control({'do': 'move', 'path': '/b/one', 'to': '/one'})
        self.await_tree({**{new: old * 100 for old, new in moved.items() if new != 'b/one'},
                         'one': '/a/one' * 100})
        self.assertEqual(self.downloads(), before)
        self.assertEqual(self.store.status(self.file('one'))['State'], 'hydrated')
        self.control({'do': 'remove', 'path': '/empty'}, {'do': 'remove', 'path': '/one'})
        self.await_tree({'a/zwei': '/a/two' * 100, 'x': '/y' * 100, 'y': '/x' * 100})

    def test_moved_and_changed(self):
        """Moved, and another version at the same time."""
        self.dropbox(self.write('/a/f', 'old'), self.write('/b/g', 'x'))
        self.await_tree({'a/f': 'old', 'b/g': 'x'})
        self.control({'do': 'move', 'path': '/a/f', 'to': '/b/f'}, self.write('/b/f', 'new text'))
        wait_until(lambda: os.path.exists(self.file('b/f')) and os.stat(self.file('b/f')).st_size == 8,
                   'the new version at the new place')
        self.await_tree({'b/f': 'new text', 'b/g': 'x'})

    def test_moved_while_open(self):
        """Who has it open keeps it; then it is as at the remote."""
        self.dropbox(self.write('/a/f', 'text' * 1000), self.write('/b/g', 'x'))
        self.await_tree({'a/f': 'text' * 1000, 'b/g': 'x'})
        holder = self.hold(self.file('a/f'))
        self.control({'do': 'move', 'path': '/a/f', 'to': '/b/f'})
        wait_until(lambda: os.path.exists(self.file('b/f')), 'it is at its new place')
        self.assertBytes(self.read(self.file('b/f')), b'text' * 1000)
        self.assertBytes(finish(holder, input=b'go\n')[1], b'text' * 1000)
        self.await_tree({'b/f': 'text' * 1000, 'b/g': 'x'})

    def test_file_for_folder(self):
        """A file replaces a folder, a folder a file, and another file a file, under one name."""
        self.dropbox(self.write('/name/inner', 'inner'), self.write('/file', 'file'),
                     self.write('/other', 'other'), self.write('/own/theirs', 'theirs'))
        self.await_tree({'name/inner': 'inner', 'file': 'file', 'other': 'other', 'own/theirs': 'theirs'})
        put(self.file('own/mine'), b'mine')
        self.control({'do': 'remove', 'path': '/name'}, self.write('/name', 'now a file'),
                     {'do': 'remove', 'path': '/file'}, self.write('/file/inner', 'now a folder'),
                     {'do': 'remove', 'path': '/other'}, self.write('/other', 'another file'),
                     {'do': 'remove', 'path': '/own'}, self.write('/own', 'a file'))
        self.await_tree({'name': 'now a file', 'file/inner': 'now a folder', 'other': 'another file',
                         'own/mine': 'mine'})

    def test_local_changes_stay(self):
        """The user's own changes and files survive moves and removals of what is around them."""
        self.dropbox(self.write('/d/changed', 'remote'), self.write('/d/plain', 'plain'),
                     self.write('/e/x', 'x'))
        self.await_tree({'d/changed': 'remote', 'd/plain': 'plain', 'e/x': 'x'})
        access('append', self.file('d/changed'), ', mine')
        put(self.file('d/own'), b'own')
        self.control({'do': 'move', 'path': '/d', 'to': '/e/d'})
        wait_until(lambda: os.path.exists(self.file('e/d/plain')), 'the folder is at its new place')
        self.await_tree({'d/changed': 'remote, mine', 'd/own': 'own', 'e/d/changed': 'remote',
                         'e/d/plain': 'plain', 'e/x': 'x'})

    def test_killed_again_and_again(self):
        """The worker is killed while moves, removals, new versions and conflicts are applied: no byte of
        a user's is lost, and in the end each file is as at the remote."""
        dice = random.Random(20261126)
        remote = {'/%s/f%02d' % (d, i): '%s%d ' % (d, i) * 300 for d in 'abc' for i in range(12)}
        self.dropbox(*[self.write(p, t) for p, t in remote.items()])
        self.await_tree({p[1:]: t for p, t in remote.items()})
        mine = {}
        for turn in range(8):
            steps = []
            for n in range(6):
                path = dice.choice(sorted(remote))
                action = dice.choice(('move', 'write', 'remove', 'new'))
                new = '/%s/n%d-%d' % (dice.choice('abcd'), turn, n)
                if action == 'move':
                    steps.append({'do': 'move', 'path': path, 'to': new})
                    remote[new] = remote.pop(path)
                elif action == 'write':
                    remote[path] = 'version %d of %s ' % (turn, path) * 200
                    steps.append(self.write(path, remote[path]))
                elif action == 'remove' and len(remote) > 10:
                    del remote[path]
                    steps.append({'do': 'remove', 'path': path})
                else:
                    remote[new] = 'new %s ' % new * 200
                    steps.append(self.write(new, remote[new]))
            victim = dice.choice(sorted(os.listdir(self.file('a'))) or [''])
            if victim:
                text = b'user %d ' % turn * 50
                result = run([ACCESS, 'append', self.file('a', victim), text.decode()], check=False)
                if result.returncode == 0:
                    mine[text] = victim
            self.control(*steps)
            time.sleep(dice.random() * 0.3)
            self.kill_worker()
        self.store.wait_state(self.engines[0])
        def everything():
            found = {}
            for path in glob.glob(self.file('*/*')):
                result = run(['cat', '--', path], check=False)
                if result.returncode == 0:  # else it is gone, here or at the remote, since it was found
                    found[os.path.relpath(path, self.file())] = result.stdout
            return found
        def settled():
            found = everything()
            return all(text.encode() in (found.get(path[1:]) or b'') or
                       any(data.startswith(text.encode()) for data in found.values())  # users append
                       for path, text in remote.items())
        wait_until(settled, 'each file of the remote is here', 60)
        found = everything()
        for text, name in mine.items():
            self.assertTrue(any(text in data for data in found.values()), 'lost: %r in %s' % (text[:20], name))
        for path, data in found.items():
            if any(text in data for text in mine):
                continue
            self.assertTrue(data.decode() in remote.values(), '%s has %r…' % (path, data[:40]))


class Told(RawTest):
    """An engine (the test itself) that tells of changes, and whose locators are no paths."""

    def listed(self):
        return sorted(os.listdir(self.file()))

    def test_at_most_one_a_second(self):
        """The first change is asked for at once; a stream of them, once a second; none is lost."""
        channel = self.raw([{'name': 'f0', 'size': 1}])
        channel.send('CHANGED')
        began = time.monotonic()
        first = channel.wait('LIST')
        self.assertLess(time.monotonic() - began, 1)
        asked, told = [first['request']], 0
        channel.entries(first['request'], [{'name': 'f0', 'size': 1}])
        channel.done(first['request'])
        while time.monotonic() - began < 3.4:
            channel.send('CHANGED')
            told += 1
            try:
                request = channel.wait('LIST', timeout=0.05)['request']
            except (TimeoutError, socket.timeout):
                continue
            asked.append(request)
            channel.entries(request, [{'name': 'f%d' % len(asked), 'size': 1}])
            channel.done(request)
        self.assertGreater(told, 2 * len(asked))
        self.assertIn(len(asked), (3, 4), 'refreshes in 3.4 seconds')
        request = channel.wait('LIST', timeout=3)['request']  # of the last that were told
        channel.entries(request, [{'name': 'last', 'size': 1}])
        channel.done(request)
        wait_until(lambda: self.listed() == ['last'], 'the last change is there')

    def test_killed_before_it_is_applied(self):
        """The engine was asked for a directory that it told of, and may forget that. Daemon killed: the
        next one asks by itself."""
        channel = self.raw()
        self.list_of(channel, {'': [{'name': 'd', 'directory': True, 'locator': 'id:d'}],
                               'id:d': [{'name': 'x', 'size': 1}]})
        self.store.wait_state(self.engines[-1])
        channel.send('CHANGED', locator='d')
        self.assertEqual(channel.wait('LIST')['locator'], 'id:d')
        self.store.kill_worker()
        channel = self.accept().ready()
        message = channel.wait('LIST')
        if message['locator'] == '':  # btrfs: it is stamped LISTED seconds later
            channel.entries(message['request'], [{'name': 'd', 'directory': True, 'locator': 'id:d'}])
            channel.done(message['request'])
            message = channel.wait('LIST')
        self.assertEqual(message['locator'], 'id:d')
        channel.entries(message['request'], [{'name': 'y', 'size': 1}])
        channel.done(message['request'])
        wait_until(lambda: os.listdir(self.file('d')) == ['y'], 'the change is there')
        wait_until(lambda: self.store.call('ListEngines', check=False).returncode == 0, 'the bus is back')

    def list_of(self, channel, directories):
        """Answers a LIST for each of {locator: entries}, in whatever order they come."""
        left = dict(directories)
        while left:
            message = channel.wait('LIST')
            channel.entries(message['request'], left.pop(message['locator']))
            channel.done(message['request'])

    def rss(self):
        with open('/proc/%d/status' % self.store.worker_pid(), encoding='ascii') as f:
            return int(re.search(r'VmRSS:\s+(\d+)', f.read())[1]) * 1024

    def test_wide_tree(self):
        """A directory with very many is refreshed a few at a time, without memory for the rest.
        CLOUDSYNC_TREE=100000 for more."""
        count = int(os.environ.get('CLOUDSYNC_TREE', '1000'))
        root = [{'name': 'd%06d' % i, 'directory': True} for i in range(count)]
        channel = self.raw(max_requests=96)
        answered = 0
        while answered <= count:
            message = channel.wait('LIST')
            channel.entries(message['request'], root if message['locator'] == '' else [])
            channel.done(message['request'])
            answered += 1
        self.store.wait_state(self.engines[-1])
        before, began, most, at_once = self.rss(), time.monotonic(), 0, []
        call = self.spawn(['busctl', '--address=' + self.bus.address, 'call', BUS_NAME, ROOT_OBJECT, MANAGER,
                           'Refresh', 'sb', self.file(), 'true'])
        asked = set()
        while len(asked) <= count or at_once:
            while len(asked) <= count:
                try:
                    message = channel.wait('LIST', timeout=0.02 if at_once else 10)
                except (TimeoutError, socket.timeout):
                    break
                self.assertNotIn(message['locator'], asked, 'twice')
                asked.add(message['locator'])
                at_once.append(message)
            most = max(most, len(at_once))
            if len(asked) % 500 < 16:
                before = min(before, self.rss())
                if SLOW == 1:  # a sanitizer keeps what is freed
                    self.assertLess(self.rss() - before, 4 * MIB + 100 * count)
            for message in at_once:
                channel.entries(message['request'], root if message['locator'] == '' else [])
                channel.done(message['request'])
            at_once = []
        self.assertEqual(finish(call)[0], 0)
        self.assertLessEqual(most, 16, 'listings at once')
        print('# %d directories refreshed in %.1f s, %d at once, %+d KiB of memory' % (
            count, time.monotonic() - began, most, (self.rss() - before) // 1024))

    def test_locators_that_are_no_paths(self):
        """Removed, moved to where was another, and a directory that became another one."""
        ids = {n: {'name': n, 'size': 1000, 'version': 'v', 'locator': 'id:' + n} for n in 'abc'}
        channel = self.raw()
        self.list_of(channel, {'': [*ids.values(), {'name': 'd', 'directory': True, 'locator': 'id:d'}],
                               'id:d': [{'name': 'x', 'size': 9, 'locator': 'id:x'},
                                        {'name': 'y', 'size': 9, 'locator': 'id:y'}]})
        self.store.wait_state(self.engines[-1])
        inode = {n: os.stat(self.file(n)).st_ino for n in ('a', 'b', 'd/x', 'd')}
        # c is gone, a is where b was, b is new elsewhere; d is another directory now, x is there as X.
        channel.send('CHANGED')
        self.list_of(channel, {'': [{**ids['a'], 'name': 'b'}, {**ids['b'], 'name': 'new'},
                                    {'name': 'd', 'directory': True, 'locator': 'id:other'}],
                               'id:other': [{'name': 'X', 'size': 9, 'locator': 'id:x'}]})
        wait_until(lambda: self.listed() == ['b', 'd', 'new'], 'names are the remote\'s')
        wait_until(lambda: os.listdir(self.file('d')) == ['X'], 'the other directory\'s content')
        for new, old in (('b', 'a'), ('new', 'b'), ('d/X', 'd/x'), ('d', 'd')):
            self.assertEqual(os.stat(self.file(new)).st_ino, inode[old], new)
        channel.send('CHANGED')
        self.list_of(channel, {'': []})
        wait_until(lambda: self.listed() == [], 'all is gone')


if __name__ == '__main__':
    main()
