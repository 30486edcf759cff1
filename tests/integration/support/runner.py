# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a test module: namespaces and guardian around it, TAP on standard output."""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

from support.settings import FS
from support.world import loops_below, mounts_below

class Result(unittest.TestResult):
    """TAP on standard output: one line a case, diagnostics as comments."""

    def __init__(self, module, out):
        super().__init__()
        self.module, self.out, self.count = module, out, 0
        self.good = True

    def say(self, text):
        self.out.write(text + '\n')
        self.out.flush()

    def name(self, test):
        return '%s %s' % (self.module, test.id().replace('__main__.', ''))

    def line(self, ok, test, note='', detail=''):
        self.count += 1
        took = time.monotonic() - self.began
        self.say('%s %d - %s%s' % ('ok' if ok else 'not ok', self.count, self.name(test),
                                   note or ' (%.1f s)' % took))
        for line in detail.splitlines():
            self.say('# ' + line)
        self.good = self.good and ok

    began = time.monotonic()

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        self.failed_sub = False

    def addSuccess(self, test):
        super().addSuccess(test)
        if not self.failed_sub:
            self.line(True, test)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line(True, test, note=' # SKIP ' + reason)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.problem(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.problem(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.failed_sub = True
            self.problem(subtest, err)

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.line(True, test, note=' (fails as expected)')

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.line(False, test, note=' (unexpected success)')

    def problem(self, test, err):
        detail = ''.join(traceback.format_exception(*err))
        real = getattr(test, 'test_case', test)
        world = getattr(real, 'world', None)
        if world is not None:
            detail += '\n' + world.logs()
        self.line(False, test, detail=detail)


def main():
    """To be called at the end of each test module."""
    if os.geteuid() != 0:
        print('1..0 # SKIP needs root')
        sys.exit(77)
    if os.environ.get('CLOUDSYNC_TEST_INNER') != '1':
        sys.exit(outer())
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    leave_other_stores()
    names = [a for a in sys.argv[1:] if not a.startswith('-')]
    loader = unittest.TestLoader()
    module = sys.modules['__main__']
    if names:
        loader.testNamePatterns = ['*%s*' % n for n in names]
    suite = loader.loadTestsFromModule(module)
    title = re.sub('^test_', '', os.path.basename(sys.argv[0]).replace('.py', ''))
    if getattr(module, 'PER_FILESYSTEM', False):
        title += '.' + FS
    result = Result(title, sys.stdout)
    result.say('TAP version 13')
    suite.run(result)
    result.say('1..%d' % result.count)
    sys.stdout.flush()
    os._exit(0 if result.good else 1)


def leave_other_stores():
    """This namespace has a copy of every mount, and would keep a store of somebody else (a
    quickstart, say) busy after it was unmounted: copies of loop mounts go."""
    with open('/proc/self/mounts', encoding='utf-8', errors='surrogateescape') as f:
        mounts = [line.split()[:2] for line in f]
    for device, point in mounts:
        if device.startswith('/dev/loop') and 'cloudsync' in point:
            subprocess.run(['umount', '-l', point], check=False, stderr=subprocess.DEVNULL)


def outer():
    """Makes the run's directory and its guardian, runs the tests in namespaces of their own."""
    sys.stdout.flush()
    directory = tempfile.mkdtemp(prefix='cloudsync-test-', dir=os.environ.get('TMPDIR') or '/var/tmp')
    os.chmod(directory, 0o755)
    watched, held = os.pipe()  # the guardian reads; every process of the run but it holds `held`
    guardian = os.fork()
    if guardian == 0:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(held)
        os.read(watched, 1)  # end of file: both are gone
        clean_up(directory)
        os._exit(0)
    os.close(watched)
    env = dict(os.environ, CLOUDSYNC_TEST_DIR=directory, CLOUDSYNC_TEST_INNER='1',
               PYTHONUNBUFFERED='1',
               PYTHONDONTWRITEBYTECODE='1')

    def die_with_parent():
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)

    inner = subprocess.Popen(
        ['unshare', '--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child',
         '--mount-proc', sys.executable, *sys.argv], env=env, preexec_fn=die_with_parent)

    def forward(*_):
        inner.kill()  # PID 1 of the namespace goes with it, and so does everything else
    signal.signal(signal.SIGINT, forward)
    signal.signal(signal.SIGTERM, forward)
    status = inner.wait()
    os.close(held)
    os.waitpid(guardian, 0)
    return status if status >= 0 else 128 - status


def clean_up(directory):
    """The guardian's work: by now no process and no mount of the run should exist."""
    if os.environ.get('CLOUDSYNC_KEEP'):
        print('# kept: ' + directory, flush=True)
        return
    for i in range(100):
        loops = loops_below(directory)
        if not loops:
            break
        if i >= 50:
            for loop in loops:
                subprocess.run(['losetup', '-d', loop], check=False, stderr=subprocess.DEVNULL)
        time.sleep(0.1)
    if not mounts_below(directory):
        shutil.rmtree(directory, ignore_errors=True)
