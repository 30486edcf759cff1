#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""./quickstart, as a newcomer runs it, interrupts it, and runs it again."""

import glob
import os
import signal
import subprocess
import unittest

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

ALONE = True


class Quickstart(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.world = World('quickstart')
        cls.run_dir = cls.world.path('run')
        cls.env = dict(os.environ, CLOUDSYNC_QUICKSTART_DIR=cls.run_dir, CLOUDSYNC_BUILD=BUILD)

    @classmethod
    def tearDownClass(cls):
        left = cls.world.close()
        if left:
            raise AssertionError('\n'.join(left))

    def setUp(self):
        if '-fsanitize' in run(['meson', 'introspect', '--buildoptions', BUILD], text=True).stdout:
            self.skipTest('the plain build only')

    def begin(self, *args):
        return start([SOURCE + '/quickstart', *args], env=self.env, stdin=subprocess.DEVNULL,
                     stderr=subprocess.STDOUT)

    def ours(self):
        """Programs that run out of the run's directory."""
        found = []
        for exe in glob.glob('/proc/[0-9]*/exe'):
            try:
                with open(os.path.dirname(exe) + '/cmdline', 'rb') as f:
                    command = f.read()
                if os.readlink(exe).startswith(self.run_dir) or self.run_dir.encode() in command:
                    found.append(command)
            except OSError:
                pass
        return found

    def nothing_left(self):
        self.assertEqual(mounts_below(self.run_dir), [])
        wait_until(lambda: not self.ours() and not loops_below(self.run_dir),
                   'processes and loop devices go')

    def full_run(self, *args):
        status, out, _ = finish(self.begin(*args), timeout=300)
        out = out.decode('utf-8', 'replace')
        self.assertEqual(status, 0, out[-4000:])
        return out

    def wait_for_daemon(self, process):
        def serving():
            if process.poll() is not None:
                self.fail('quickstart ended: ' + tail(process.stdout.read(), 3000))
            return mounts_below(self.run_dir)
        wait_until(serving, 'the store is mounted', 300)

    def test_run_to_the_end(self):
        out = self.full_run()
        self.assertIn('byte for byte', out)
        self.assertIn('cloudsyncctl status', out)
        for line in out.splitlines():
            if self.run_dir not in line:  # the usual directory's name is shorter
                self.assertLessEqual(len(line), 80, line)
        self.nothing_left()

    def test_interrupted_and_run_again(self):
        process = self.begin()
        self.wait_for_daemon(process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        status, _, _ = finish(process)
        self.assertEqual(status, 130)
        self.nothing_left()
        self.full_run()

    def test_killed_and_run_again(self):
        process = self.begin()
        self.wait_for_daemon(process)
        process.kill()
        process.wait()
        self.assertTrue(self.ours())
        self.full_run()
        self.nothing_left()

    def test_keep_and_stop(self):
        web = Web(self.world)
        put(web.root + '/d/file', noise(30000))
        put(web.root + '/large', noise(3 * MIB))
        self.full_run(web.url(), '--keep')
        self.assertTrue(mounts_below(self.run_dir))
        self.assertEqual(run(['cat', self.run_dir + '/store/web/d/file']).stdout, noise(30000))
        status, _, _ = finish(self.begin('--stop'))
        self.assertEqual(status, 0)
        self.nothing_left()


if __name__ == '__main__':
    main()
