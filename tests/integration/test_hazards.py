#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What one part can do to the others: an engine that hangs to the readers of another one, a
bus that stands still to the files."""

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import
from support.rawcase import RawTest

PER_FILESYSTEM = False


class Shares(RawTest):
    """An engine that hangs, and very many who wait for it."""

    READERS = 5000
    PROGRAM = ('import os, sys, threading\n'
               'threading.stack_size(65536)\n'
               'def read(i):\n'
               ' try: os.open("%s/f%d" % (sys.argv[1], i), os.O_RDONLY)\n'
               ' except OSError: pass\n'
               'for i in range(int(sys.argv[2])):\n'
               ' threading.Thread(target=read, args=(i,), daemon=True).start()\n'
               'print("all", flush=True)\n'
               'sys.stdin.read()\n'
               'os._exit(0)\n')

    def test_readers_of_another_engine(self):
        data = noise(100000, 1)
        self.raw([{'name': 'f%d' % i, 'size': 1000} for i in range(self.READERS)])
        crowd = self.spawn(['/usr/bin/python3', '-c', self.PROGRAM, self.file(), str(self.READERS)])
        second = self.raw([{'name': 'f', 'size': len(data)}])
        self.assertEqual(crowd.stdout.readline(), b'all\n')
        wait_until(lambda: self.store.property('EventsPending') >= self.READERS, 'all of them wait', 8)
        began = time.monotonic()
        reader = self.spawn(['cat', self.file('f')])
        self.serve(second, second.wait('FETCH', timeout=5), data)
        self.assertBytes(finish(reader)[1], data)
        took = time.monotonic() - began
        print('a reader beside %d others: %.0f ms' % (self.READERS, took * 1000))
        self.assertLess(took, 1 * SLOW)
        kill_session(crowd.pid)


class Buses(CloudsyncTest):
    """A worker takes over from a killed one while the bus gives no answer: readers come first."""

    def take_over(self, name):
        """The worker is killed; a cold file is read, for which a host is needed."""
        os.kill(self.store.worker_pid(), signal.SIGKILL)
        began = time.monotonic()
        self.assertBytes(self.read(self.file(name), timeout=10), noise(100000))
        print('from SIGKILL to a cold file: %.0f ms' % ((time.monotonic() - began) * 1000))

    def back(self, engine):
        wait_until(lambda: self.store.call('ListEngines', check=False).returncode == 0,
                   'the daemon is back on the bus')
        self.store.wait_state(engine)
        self.assertBytes(self.read(self.file('later')), noise(100000))

    def test_bus_stopped_at_a_take_over(self):
        engine = self.engine({'cold': noise(100000), 'later': noise(100000)})
        self.bus.signal(signal.SIGSTOP)
        try:
            self.take_over('cold')
        finally:
            self.bus.signal(signal.SIGCONT)
        self.back(engine)

    def test_bus_dead_at_a_take_over(self):
        engine = self.engine({'cold': noise(100000), 'later': noise(100000)})
        self.bus.kill()
        self.take_over('cold')
        wait_until(lambda: b'the bus is gone' in self.store.daemon.log_text(), 'it says so')
        with open(self.bus.log, 'ab') as log:
            self.bus.process = subprocess.Popen(self.bus.argv, stdin=subprocess.DEVNULL,
                                                stdout=log, stderr=log, start_new_session=True)
        self.back(engine)


if __name__ == '__main__':
    main()
