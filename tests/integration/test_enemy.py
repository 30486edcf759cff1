#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A local user without privileges, and without mercy (helpers/enemy.c): he reads cold files by every
call there is while he renames, links, exchanges and unlinks them and the directories they are
in, into the engine's prefix and out of it, in namespaces of his own, with leases; and he
changes files of his own in every way. Meanwhile directories are still being listed, and the worker
is killed. Every byte read is compared.

CLOUDSYNC_ENEMY_SECONDS makes it longer, CLOUDSYNC_ENEMY_SEED another one."""

import os
import random

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

PER_FILESYSTEM = True

ENEMY = BUILD + '/tests/integration/helpers/enemy'
SECONDS = float(os.environ.get('CLOUDSYNC_ENEMY_SECONDS') or 5)
PROCESSES = 5
USER = 1000

# What a user may be refused. A lease of his own, on a file that is not whole yet, refuses others
# their open (EPERM: see fan-group.c); the rest are races of names.
EXPECTED = {'EPERM', 'EAGAIN', 'ENOENT', 'EEXIST', 'EINVAL', 'EOPNOTSUPP', 'EXDEV', 'ELOOP', 'EACCES',
            'ENOTEMPTY', 'EBUSY', 'ENOTDIR', 'EFAULT', 'EMLINK', 'EWOULDBLOCK'}


class Enemy(CloudsyncTest):

    SIZE = '1G'

    def give(self, *paths):
        run(['chown', '-hR', '%d:%d' % (USER, USER), *paths])

    def test_every_way_at_once(self):
        seed = int(os.environ.get('CLOUDSYNC_ENEMY_SEED') or random.randrange(10 ** 6))
        print('# seed %d' % seed)
        dice = random.Random(seed)
        content = run([ENEMY, 'content', str(3 * MIB)]).stdout
        shared = {'d%d/f%d' % (i % 12, i): content[:dice.randint(1, 120000)] for i in range(900)}
        shared.update({'d%d/b%d' % (i % 12, i): content[:dice.randint(MIB + 1, 3 * MIB)]
                       for i in range(36)})
        own = {'p%d-%d' % (p, n): content[:dice.randint(1, 300000)]
               for p in range(PROCESSES) for n in range(24)}
        outside = self.store.file('outside')
        os.mkdir(outside, 0o755)
        self.give(outside)
        self.engine(own, name='own')
        self.give(self.store.file('own'))
        self.engine(shared, name='shared', hydration='ranges', wait=None)
        player = self.spawn([ENEMY, 'play', self.store.file('shared'), self.store.file('own'), outside,
                             str(SECONDS), str(PROCESSES), str(seed)], user=USER, group=USER,
                            extra_groups=[])
        self.store.wait_state('shared')
        self.give(self.store.file('shared'))
        end = time.monotonic() + SECONDS
        while player.poll() is None and time.monotonic() < end - 1:
            for act in (lambda: self.store.refresh('shared'), lambda: self.store.refresh('own'), self.store.kill_worker):
                subprocess.run(['sleep', str(min(1.0, SECONDS / 8))], check=True)
                act()
            wait_until(lambda: self.store.call('ListEngines', check=False).returncode == 0,
                       'the daemon is on the bus')
            subprocess.run(['chown', '-hR', '%d:%d' % (USER, USER), self.store.file('shared')], check=False,
                           stderr=subprocess.DEVNULL)
        status, out, err = finish(player)
        text = (out + err).decode()
        print(''.join('# %s\n' % line for line in text.splitlines()), end='')
        self.assertEqual(status, 0, text)
        errors = {line.split()[1] for line in text.splitlines()[1:]}
        self.assertLessEqual(errors, EXPECTED, text)
        self.compare(content, self.store.file('shared'), outside)

    def test_versions_come_and_go(self):
        """The remote replaces files by others of the same bytes and size, again and again, and each is
        switched as soon as nobody has it open: whoever opens it just then waits, or has the bytes."""
        seed = int(os.environ.get('CLOUDSYNC_ENEMY_SEED') or random.randrange(10 ** 6))
        print('# seed %d' % seed)
        dice = random.Random(seed)
        content = run([ENEMY, 'content', str(2 * MIB)]).stdout
        files = {'d%d/f%d' % (i % 12, i): content[:dice.randint(1, 60000)] for i in range(100)}
        files.update({'d%d/b%d' % (i % 12, i): content[:dice.randint(MIB + 1, 2 * MIB)] for i in range(12)})
        root = self.origin(files, os.path.join(self.web.root, 'versions'))
        outside = self.store.file('nothing')
        os.mkdir(outside)
        os.chmod(outside, 0o777)
        self.engine(name='versions', hydration='ranges')
        player = self.spawn([ENEMY, 'read', self.store.file('versions'), outside, outside, str(SECONDS),
                             str(PROCESSES), str(seed)], user=USER, group=USER, extra_groups=[])
        rounds = 0
        while player.poll() is None:
            rounds += 1
            for name in dice.sample(sorted(files), 30):
                when = 1600000000 + rounds * 1000 + dice.randrange(900)
                os.utime(os.path.join(root, name), (when, when))
            self.store.refresh('versions')
            if rounds % 4 == 0:
                self.store.kill_worker()
                wait_until(lambda: self.store.call('ListEngines', check=False).returncode == 0,
                           'the daemon is on the bus')
        status, out, err = finish(player)
        text = (out + err).decode()
        print(''.join('# %s\n' % line for line in ['%d rounds' % rounds, *text.splitlines()]), end='')
        self.assertEqual(status, 0, text)
        # A part of the old version was read, and the rest is gone.
        self.assertLessEqual({line.split()[1] for line in text.splitlines()[1:]}, EXPECTED | {'EIO'}, text)
        self.store.refresh('versions')
        self.compare(content, self.store.file('versions'))

    def compare(self, content, *trees):
        """And what is left of it, by root, at rest. (A worker that is killed at the first byte of a write
        leaves the date of that, which counts as a user's, so that a copy may lie beside the
        file: of a version that is gone by now.)"""
        program = ('import os, sys\n'
                   'content = sys.stdin.buffer.read()\n'
                   'for tree in sys.argv[1:]:\n'
                   ' for d, _, names in os.walk(tree):\n'
                   '  for n in names:\n'
                   '   try: data = open(os.path.join(d, n), "rb").read()\n'
                   '   except OSError:\n'
                   '    if "conflicted copy" not in n: raise\n'
                   '    continue\n'
                   '   if data != content[:len(data)]: sys.exit("wrong: " + os.path.join(d, n))\n')
        run(['/usr/bin/python3', '-c', program, *trees], input=content, timeout=120)


if __name__ == '__main__':
    main()
