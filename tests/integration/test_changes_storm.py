#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A remote and a user change everything at once, and the worker is killed now and then: no byte of the user's is
lost, no reader sees a zero, and in the end what nobody changed here is as at the remote.

Each thing that the user writes is a token of its own. A token must be in some file of the store at the end,
wherever the remote's changes left it, unless the user has overwritten it. (One user who writes: two would
overwrite each other's. The other reads.)"""

import os
import random
import re
import sys
import time

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import
from support.dropbox import *  # pylint: disable=wildcard-import,unused-wildcard-import

PER_FILESYSTEM = True

# How long, and from which seed: longer by hand.
SECONDS = float(os.environ.get('CLOUDSYNC_STORM_SECONDS', '5'))
SEED = int(os.environ.get('CLOUDSYNC_STORM_SEED', '1'))

# The user's process. It prints "kept TOKEN …" for what it wrote, "gone TOKEN" for what it has overwritten itself,
# "zero …" and "error …" for what must not be.
USER = r"""
import os, random, re, sys, time, mmap
root, outside, seed, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
readonly = seed % 10 > 0
dice = random.Random(seed)
TOKEN = re.compile(rb'<u[0-9]+-[0-9]+>')
count = 0
end = time.monotonic() + seconds
def say(*what):
    print(*what, flush=True)
def token():
    global count
    count += 1
    return b'<u%d-%d>' % (seed, count)
def lost(data):
    for t in set(TOKEN.findall(data)):
        say('gone', t.decode())
def kept(t):
    say('kept', t.decode(), '%.3f' % time.time(), op, path, directory)
def check(data, path):
    if b'\0' in data:
        say('zero', path, len(data), data.count(b'\0'))
def everything():
    files, directories = [], [root, outside]
    for top in (root, outside):
        for d, ds, fs in os.walk(top):
            directories += [os.path.join(d, x) for x in ds]
            files += [os.path.join(d, x) for x in fs]
    return files, directories
while time.monotonic() < end:
    files, directories = everything()
    for _ in range(6):
        if not files:
            break
        path, directory = dice.choice(files), dice.choice(directories)
        op = 'read' if readonly else dice.choice(('read', 'read', 'append', 'patch', 'patch', 'replace', 'rename', 'move', 'new', 'link',
                          'deep', 'map', 'unlink', 'movedir', 'renamedir', 'touch'))
        try:
            if op == 'read':
                check(open(path, 'rb').read(), path)
            elif op == 'append':
                t = token()
                with open(path, 'ab', buffering=0) as f:
                    f.write(t)
                    kept(t)
            elif op == 'patch':  # in place, the same size, and often the date set back
                with open(path, 'r+b', buffering=0) as f:
                    st, data = os.fstat(f.fileno()), f.read()
                    check(data, path)
                    t = token()
                    at = dice.randrange(max(len(data) - len(t), 1))
                    if len(data) > len(t) and not TOKEN.search(data[max(at - 30, 0):at + 60]) and b'<' not in data[at:at + 60]:
                        os.pwrite(f.fileno(), t, at)
                        kept(t)
                        if dice.random() < 0.7:
                            os.utime(f.fileno(), ns=(st.st_atime_ns, st.st_mtime_ns))
            elif op == 'replace':
                t = token()
                with open(directory + '/.tmp%d' % seed, 'wb') as f:
                    f.write(t)
                try:
                    held = open(path, 'rb')
                except FileNotFoundError:
                    held = None
                os.rename(directory + '/.tmp%d' % seed, path)
                kept(t)
                if held:
                    lost(held.read())
                    held.close()
            elif op == 'rename':
                os.rename(path, os.path.dirname(path) + '/r%d-%d' % (seed, dice.randrange(10**9)))
            elif op == 'move':
                os.rename(path, directory + '/m%d-%d' % (seed, dice.randrange(10**9)))
            elif op == 'new':
                t = token()
                with open(directory + '/new%d-%d' % (seed, count), 'xb', buffering=0) as f:
                    f.write(t)
                kept(t)
            elif op == 'link':
                os.link(path, directory + '/l%d-%d' % (seed, dice.randrange(10**9)))
            elif op == 'deep':
                d = directory + '/deep%d-%d' % (seed, dice.randrange(10**9))
                os.makedirs(d + '/a/b')
                t = token()
                with open(d + '/a/b/f', 'xb', buffering=0) as f:
                    f.write(t)
                kept(t)
            elif op == 'map':
                with open(path, 'r+b') as f:
                    size = os.fstat(f.fileno()).st_size
                    if size > 200:
                        with mmap.mmap(f.fileno(), size) as m:
                            t = token()
                            at = dice.randrange(size - 100)
                            time.sleep(dice.random() * 0.05)
                            if b'<' not in m[max(at - 30, 0):at + 60]:
                                m[at:at + len(t)] = t
                                kept(t)
            elif op == 'unlink' and dice.random() < 0.3:
                with open(path, 'rb') as f:
                    os.unlink(path)
                    if os.fstat(f.fileno()).st_nlink == 0:
                        lost(f.read())
            elif op == 'movedir' and dice.random() < 0.2 and directory not in (root, outside):
                os.rename(directory, dice.choice((root, outside)) + '/D%d-%d' % (seed, dice.randrange(10**9)))
            elif op == 'renamedir' and dice.random() < 0.2 and directory not in (root, outside):
                os.rename(directory, directory + 'x')
            elif op == 'touch':
                os.utime(path)
        except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
            pass
        except OSError as e:
            if e.errno not in (5, 11, 22, 39):  # of a version that is gone: denied is not wrong
                say('error', op, path, e)
            elif e.errno == 5:
                say('eio', op)
"""


class Storm(DropboxTest):

    def write(self, path, text):
        return {'do': 'write', 'path': path, 'text': text}

    def test_storm(self):
        dice = random.Random(SEED)
        text = lambda what: ('%s %d. ' % (what, dice.randrange(10**6))) * dice.choice((20, 400, 3000))
        remote = {'/%s/f%02d' % (d, i): text(d) for d in ('a', 'b', 'c', 'a/deep') for i in range(8)}
        self.dropbox(*[self.write(p, t) for p, t in remote.items()])
        for p, t in remote.items():
            self.assertBytes(self.read(self.file(p[1:])), t.encode(), p)
        outside = self.store.file('outside')
        os.mkdir(outside)
        users = [self.spawn([sys.executable, '-c', USER, self.file(), outside, str(SEED * 10 + n), str(SECONDS)])
                 for n in range(2)]
        begun, turn = time.monotonic(), 0
        while time.monotonic() < begun + SECONDS:
            steps = []
            for n in range(dice.randrange(1, 8)):
                path, turn = dice.choice(sorted(remote)), turn + 1
                action = dice.choice(('move', 'move', 'write', 'write', 'remove', 'new', 'movedir', 'removedir'))
                new = '/%s/n%d' % (dice.choice(('a', 'b', 'c', 'd', 'a/deep', 'e/f/g')), turn)
                if action == 'move':
                    steps.append({'do': 'move', 'path': path, 'to': new})
                    remote[new] = remote.pop(path)
                elif action == 'write':
                    remote[path] = text('version')
                    steps.append(self.write(path, remote[path]))
                elif action == 'remove' and len(remote) > 20:
                    del remote[path]
                    steps.append({'do': 'remove', 'path': path})
                elif action == 'new' or len(remote) <= 20:
                    remote[new] = text('new')
                    steps.append(self.write(new, remote[new]))
                elif action in ('movedir', 'removedir') and dice.random() < 0.4:
                    top = os.path.dirname(path)
                    to = '/moved%d' % turn
                    inside = [p for p in remote if p.startswith(top + '/')]
                    if action == 'movedir':
                        for p in inside:
                            remote[to + p[len(top):]] = remote.pop(p)
                        steps.append({'do': 'move', 'path': top, 'to': to})
                    elif len(remote) - len(inside) > 15:
                        for p in inside:
                            del remote[p]
                        steps.append({'do': 'remove', 'path': top})
            self.control(*steps)
            time.sleep(dice.random() * 0.4)
            if dice.random() < 0.3:
                self.store.kill_worker()
        said = b''
        for user in users:
            status, out, err = finish(user)
            self.assertEqual(status, 0, err)
            said += out
        lines = said.decode('utf-8', 'replace').splitlines()
        for line in lines:
            self.assertFalse(line.startswith(('zero', 'error')), line)
        gone = {line.split()[1] for line in lines if line.startswith('gone')}
        kept = {line.split()[1] for line in lines if line.startswith('kept')} - gone
        # Not until the engine is "ready": it never is when the user has moved a directory that was not listed
        # yet, and the remote has removed it.
        wait_until(lambda: not os.listdir(self.store.file('.cloudsync/attic')), 'the attic is empty', 60)

        def read_all():
            found = {}
            for top in (self.file(), outside):
                for d, _, names in os.walk(top):
                    for name in names:
                        try:
                            with open(os.path.join(d, name), 'rb') as f:
                                found[os.path.join(d, name)] = f.read().decode('latin-1')
                        except OSError:
                            pass
            return found

        def stale():
            """What the remote has otherwise, though nobody changed it here."""
            found = isolated(read_all, 120)
            odd = []
            for path, text in remote.items():
                here = found.get(self.file(path[1:]))
                if here is not None and here != text and '<u' not in here:
                    try:
                        state = self.store.status(self.file(path[1:]))
                    except AssertionError:
                        continue
                    if state['State'] != 'local':
                        odd.append((path, state, text[:30], here[:30]))
            return found, odd

        self.store.refresh(self.prefix)
        end = time.monotonic() + 60
        found, odd = stale()
        while odd and time.monotonic() < end:
            time.sleep(0.5)
            found, odd = stale()
        self.assertEqual(odd, [])
        everything = '\n'.join(found.values())
        have = set(re.findall(r'<u[0-9]+-[0-9]+>', everything))
        if kept - have:
            print('#', '\n# '.join(line for line in lines if any(t in line for t in kept - have)))
        self.assertEqual(sorted(kept - have), [], 'lost')
        for path, data in found.items():
            self.assertNotIn('\0', data, path)
        print('# %d things that users wrote, %d overwritten by them, %d files, %d denied' % (
            len(kept), len(gone), len(found), len([l for l in lines if l.startswith('eio')])))


if __name__ == '__main__':
    main()
