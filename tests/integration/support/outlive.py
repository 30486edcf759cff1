# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of crashes have in common."""

import os
import signal

from support.cases import GateTest
from support.processes import finish, run, wait_until
from support.servers import Bus, Gate, Web
from support.store import Store
from support.world import mounts_below


class OutliveTest(GateTest):
    """self.die() kills what the class is about, and returns when there is a new one."""

    def setUp(self):
        super().setUp()
        self.die = self.store.kill_worker

    def die_by(self, number):
        worker = self.store.worker_pid()
        os.kill(worker, number)
        wait_until(lambda: self.store.worker_pid() != worker, 'there is a new worker')

    def events_pending(self):
        """None while a new worker is not on the bus yet."""
        try:
            return self.store.property('EventsPending')
        except AssertionError:
            return None

    def pending(self, n):
        """Until at least so many accesses wait, in a worker that is on the bus."""
        def enough():
            waiting = self.events_pending()
            return waiting is not None and waiting >= n
        wait_until(enough, '%d accesses wait' % n)

    def no_event_left(self):
        wait_until(lambda: self.events_pending() == 0, 'no event is left')

    def served(self, process, want=None, timeout=None):
        status, out, err = finish(process, timeout)
        self.assertEqual(status, 0, err)
        if want is not None:
            self.assertBytes(out, want)
        return out

    def settled(self, name):
        """The engine is ready, and the worker on the bus."""
        def ready():
            try:
                return self.store.engine_state(name) == 'ready'
            except AssertionError:
                return False
        wait_until(ready, 'engine %s is ready' % name)


class MountedStore(Store):
    """Path= without Device=: mounted by somebody else, here before each start that finds it unmounted."""

    def configure(self, config):
        super().configure(dict(config, Store=dict(config.get('Store', {}), Device=None)))

    def mount(self):
        if self.path not in mounts_below(self.path):
            run(['mount', '-o', 'loop', self.image, self.path])

    def start(self, *extra, **kwargs):
        self.mount()
        return super().start(*extra, **kwargs)


class PathAlone:
    """Before a test class: its store is a MountedStore."""

    @classmethod
    def make(cls):
        cls.bus = Bus(cls.world)
        cls.web = Web(cls.world)
        cls.store = MountedStore(cls.world, cls.bus, size=cls.SIZE, config=cls.CONFIG)
        cls.store.start(fd_store=cls.FD_STORE)
        cls.gate = Gate(cls.world)

    FD_STORE = None


class FdStoreTest(OutliveTest):
    """self.die() is the end of supervisor and worker; the harness is the service manager."""

    @classmethod
    def make(cls):
        super().make()
        cls.store.stop()
        cls.store.start(fd_store={})

    def setUp(self):
        super().setUp()
        self.die = self.kill_both_and_start

    def kill_both_and_start(self):
        self.store.kill_both()
        self.store.start(fd_store=self.store.fd_store)
