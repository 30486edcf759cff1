# SPDX-License-Identifier: LGPL-2.1-or-later
"""Waiting for conditions, and running what may block with a time-out."""

import os
import pickle
import select
import signal
import subprocess
import time
import traceback

from support.settings import SLOW, TIMEOUT

class Hang(AssertionError):
    """Something did not happen within its time-out."""


def wait_until(condition, what, timeout=None):
    """Polls until condition() is true and returns its value; Hang after `timeout` s."""
    end = time.monotonic() + (TIMEOUT if timeout is None else timeout * SLOW)
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Hang('waited in vain: ' + what)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def run(argv, timeout=None, input=None, check=True, text=False, **kwargs):
    """Runs a program to its end and returns it (stdout, stderr captured). A program that
    outlives the time-out is killed, with its children, and is a Hang."""
    process = start(argv, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
                    **kwargs)
    status, out, err = finish(process, timeout, input)
    if text:
        out, err = (None if s is None else s.decode('utf-8', 'surrogateescape')
                    for s in (out, err))
    result = subprocess.CompletedProcess(argv, status, out, err)
    if check and result.returncode != 0:
        raise AssertionError('%s: exit status %d\n%s%s' % (
            show(argv), result.returncode, tail(out, 2000), tail(err, 2000)))
    return result


def start(argv, **kwargs):
    """Starts a program that runs beside the test; see finish()."""
    kwargs.setdefault('stdout', subprocess.PIPE)
    kwargs.setdefault('stderr', subprocess.PIPE)
    kwargs.setdefault('stdin', subprocess.PIPE)
    return subprocess.Popen(argv, start_new_session=True, **kwargs)


def finish(process, timeout=None, input=None):
    """Waits for it: (exit status, stdout, stderr)."""
    try:
        out, err = process.communicate(
            input, timeout=TIMEOUT if timeout is None else timeout * SLOW)
    except subprocess.TimeoutExpired:
        kill_session(process.pid)
        process.communicate()
        raise Hang('%s did not end' % show(process.args)) from None
    return process.returncode, out, err


def kill_session(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def isolated(function, timeout=None):
    """Calls function() in a forked child and returns its value, or raises what it raised.
    For accesses that may block."""
    parent, child = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.close(parent)
            try:
                value = (True, function())
            except BaseException as e:  # pylint: disable=broad-except
                value = (False, e if isinstance(e, (OSError, AssertionError))
                         else AssertionError(traceback.format_exc()))
            with os.fdopen(child, 'wb') as pipe:
                pickle.dump(value, pipe)
        finally:
            os._exit(0)
    os.close(child)
    end = time.monotonic() + (TIMEOUT if timeout is None else timeout * SLOW)
    data = b''
    try:
        while True:
            if not select.select([parent], [], [], max(0, end - time.monotonic()))[0]:
                raise Hang('an access did not return')
            piece = os.read(parent, 1 << 20)
            if not piece:
                break
            data += piece
    finally:
        os.close(parent)
        kill_session(pid)
        os.waitpid(pid, 0)
    good, value = pickle.loads(data)
    if not good:
        raise value
    return value


def show(argv):
    return ' '.join(os.fsdecode(a) for a in argv)[:300]


def tail(data, n):
    if not data:
        return ''
    if isinstance(data, bytes):
        data = data.decode('utf-8', 'replace')
    return data[-n:]
