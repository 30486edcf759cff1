#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""cloudsyncctl with the real daemon: what it shows is what is so."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

FILES = {'a.txt': noise(3000, 1), 'sub/b.bin': noise(300000, 2), 'sub/deep/c': noise(10, 3),
         'large': noise(24 * MIB, 4), 'empty': b'', b'odd\xff': noise(2000, 5)}


class Ctl(CloudsyncTest):

    def ctl(self, *args, status=0):
        result = run([CTL, '--bus', self.bus.address, *args], check=False)
        result.stdout = result.stdout.decode('utf-8', 'surrogateescape')
        result.stderr = result.stderr.decode('utf-8', 'surrogateescape')
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        if status == 0:
            self.assertEqual(result.stderr, '')
        return result

    def json(self, *args, status=0):
        return json.loads(self.ctl('--json', *args, status=status).stdout)

    def ls(self, *parts):
        return {e['name']: e for e in self.json('ls', self.file(*parts))}

    def test_states_of_files(self):
        self.engine(FILES, hydration='ranges')
        self.ctl('hydrate', self.file('a.txt'))
        run(['head', '-c', '65536', self.file('large')])
        with open(self.file('mine'), 'wb') as f:
            f.write(b'my own')
        found = self.ls()
        self.assertEqual({n: e['state'] for n, e in found.items() if e['kind'] == 'file'},
                         {'a.txt': 'hydrated', 'large': 'partial', 'empty': 'hydrated',
                          'mine': 'not-managed', 'odd\\xff': None})
        self.assertEqual(found['sub']['state'], 'listed')
        self.assertEqual(found['a.txt']['size'], 3000)
        self.assertEqual(found['a.txt']['present'], 3000)
        self.assertTrue(0 < found['large']['present'] < 24 * MIB, found['large'])
        self.assertTrue(found['odd\\xff']['name_escaped'])
        self.assertRegex(self.ctl('ls', self.file()).stdout, r'partial \d\d?% +24.0 MiB')

    def test_ls_fetches_nothing(self):
        self.engine(FILES)
        before = self.json('status')['bytes_fetched']
        for path in ('', 'sub', 'a.txt', 'sub/deep'):
            self.ctl('ls', self.file(path))
        self.assertEqual(self.json('status')['bytes_fetched'], before)
        self.assertCold(self.file('a.txt'), 3000)

    def test_hydrate_a_directory(self):
        self.engine(FILES)
        os.symlink('/etc', self.file('link'))
        result = self.json('hydrate', self.file())
        self.assertEqual((result['whole'], result['failed']), (len(FILES), 0))
        self.assertEqual(result['bytes'], sum(len(d) for d in FILES.values()))
        for name, data in FILES.items():
            path = os.path.join(os.fsencode(self.file()), os.fsencode(name))
            self.assertGreaterEqual(os.stat(path).st_blocks * 512, len(data))
            self.assertBytes(self.read(path), data, name)
        self.ctl('hydrate', self.file())  # again: nothing to do, and no error

    def test_paths_as_users_write_them(self):
        self.engine(FILES)
        link = self.world.path('link-to-store')
        os.symlink(self.file(), link)
        run([CTL, '--bus', self.bus.address, 'hydrate', 'sub/../sub/b.bin'], cwd=self.file())
        self.ctl('hydrate', link + '/a.txt')
        self.assertEqual(self.ls()['a.txt']['state'], 'hydrated')
        self.assertEqual(self.ls('sub')['b.bin']['state'], 'hydrated')

    def test_some_fail(self):
        self.engine(FILES)
        os.unlink(os.path.join(self.web.root, self.engines[0], 'sub/b.bin'))
        result = self.ctl('hydrate', self.file('a.txt'), self.file('sub'), '/etc/passwd',
                          self.file('nothing'), status=1)
        self.assertIn('2 files are whole now', result.stdout)
        self.assertIn('2 failed', result.stdout)
        self.assertIn('/etc/passwd', result.stderr)
        self.assertIn('sub/b.bin', result.stderr)
        self.assertIn('nothing', result.stderr)

    def test_refresh_brings_what_is_new(self):
        self.engine(FILES)
        self.origin({'new': b'new', 'sub/new': b'new'},
                    os.path.join(self.web.root, self.engines[0]))
        self.assertNotIn('new', self.ls())
        self.ctl('refresh', self.file())
        self.assertIn('new', self.ls())
        self.ctl('refresh', '--recursive', self.file())
        wait_until(lambda: 'new' in self.ls('sub'), 'the directory below follows')

    def test_engine_that_cannot_work(self):
        refused = self.ctl('engine', 'add', 'nourl', 'httpfs', 'nourl', status=1)
        self.engines.append('nourl')
        self.assertIn('url', refused.stderr)
        self.assertIn('engine remove nourl', refused.stderr)
        self.assertIn('failed', self.ctl('engine', 'list').stdout)
        self.ctl('engine', 'remove', 'nourl')
        self.assertNotIn('nourl', self.ctl('engine', 'list').stdout)

    def slow(self):
        files = {'one': noise(700000, 1), 'two': noise(700000, 2)}
        name = self.unique()
        self.origin(files, os.path.join(self.web.root, name))
        self.engine(url=self.web.url(name + '/', 'slow'))
        return files

    def test_bars(self):
        self.slow()
        main_end, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 100, 0, 0))
        env = {k: v for k, v in os.environ.items() if k != 'NO_COLOR'}
        process = self.spawn([CTL, '--bus', self.bus.address, 'hydrate', self.file()], stdout=end,
                             stdin=end, env=dict(env, TERM='xterm'))
        os.close(end)
        shown = b''
        try:
            while True:
                shown += os.read(main_end, 4096)
        except OSError:
            pass
        os.close(main_end)
        self.assertEqual(process.wait(TIMEOUT), 0)
        text = shown.decode()
        for part in ('/one ', '/two ', '[#', '0 of 2 files', 'KiB/s', 'left', '2 files are whole now'):
            self.assertIn(part, text)

    def test_transfers(self):
        files = self.slow()
        told = os.path.join(self.world.new_directory('told'), 'told')
        with open(told, 'wb') as out:
            watch = self.spawn([CTL, '--bus', self.bus.address, '--json', 'transfers', '--watch'], stdout=out)
        hydrate = self.spawn([CTL, '--bus', self.bus.address, 'hydrate', self.file('one')])
        listed = wait_until(lambda: self.json('transfers'), 'a transfer is listed')[0]
        self.assertEqual((listed['engine'], listed['path'], listed['total']),
                         (self.engines[0], self.prefix + '/one', len(files['one'])))
        self.assertEqual(finish(hydrate)[0], 0)

        def events():
            with open(told, encoding='utf-8') as f:
                all_events = [json.loads(line) for line in f.read().splitlines(True) if line.endswith('\n')]
            return [e for e in all_events if e['id'] == listed['id']]
        wait_until(lambda: [e['event'] for e in events()][-1:] == ['finished'], 'the end is told')
        os.kill(watch.pid, signal.SIGINT)
        status, _, err = finish(watch)
        self.assertEqual((status, err), (0, b''))
        mine = events()
        self.assertEqual(mine[0]['event'], 'started')
        self.assertEqual((mine[-1]['error'], mine[-1]['done']), (None, len(files['one'])))
        self.assertIn('progress', [e['event'] for e in mine])

    def test_interrupted(self):
        self.slow()
        hydrate = self.spawn([CTL, '--bus', self.bus.address, 'hydrate', self.file()])
        wait_until(lambda: self.json('transfers'), 'a transfer is under way')
        os.kill(hydrate.pid, signal.SIGINT)
        status, _, err = finish(hydrate)
        self.assertEqual(status, 1)
        self.assertIn(b'interrupted', err)

    def test_full_output(self):
        """/dev/full: what could not be written is not success."""
        with open('/dev/full', 'wb') as full:
            result = run([CTL, '--bus', self.bus.address, 'status'], stdout=full, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn(b'cannot write', result.stderr)


if __name__ == '__main__':
    main()
