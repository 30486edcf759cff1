# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests in which the test itself is the engine host; see rawhost.py."""

import socket

from support import rawhost
from support.cases import CloudsyncTest
from support.servers import Bus
from support.settings import FS, SLOW, TIMEOUT
from support.store import Store


class RawStore(Store):
    """A store whose daemon starts the test's own script as engine host."""

    def command(self, *extra):
        script = self.world.path('raw-host')
        return super().command('--host-path', script, *extra)


class RawTest(CloudsyncTest):
    """The test is the engine host."""

    @classmethod
    def make(cls):
        cls.bus = Bus(cls.world)
        cls.start_listening()
        cls.store = RawStore(cls.world, cls.bus, fs=FS, size=cls.SIZE, config=cls.CONFIG)
        cls.store.start()

    @classmethod
    def start_listening(cls):
        control = cls.world.path('control')
        cls.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        cls.listener.bind(control)
        cls.listener.listen(16)
        rawhost.write_script(cls.world.path('raw-host'), control)

    def setUp(self):
        super().setUp()
        self.channels = []

    def tearDown(self):
        for channel in self.channels:
            channel.close()
        super().tearDown()

    def accept(self, timeout=None):
        """The next host that attached, of an engine of this test: one of the last may come late."""
        self.listener.settimeout(TIMEOUT if timeout is None else timeout * SLOW)
        while True:
            control, _ = self.listener.accept()
            text, fds = rawhost.receive_fd(control, 256, TIMEOUT)
            engine, pid = text.decode().split()
            channel = rawhost.RawChannel(control, engine, int(pid), fds[0])
            if engine in self.engines:
                break
            channel.close()
        self.channels.append(channel)
        return channel

    def raw(self, entries=None, flags=0, max_requests=32, wait_listed=True, **settings):
        """A registered engine and its channel; its root is listed as `entries`."""
        self.engine(module='unruly', wait=None, **settings)
        channel = self.accept().ready(flags, max_requests)
        if entries is not None:
            self.list(channel, entries)
        if entries is not None and wait_listed:
            self.store.wait_state(self.engines[-1])
        return channel

    def list(self, channel, entries):
        request = channel.wait('LIST')['request']
        channel.entries(request, entries)
        channel.done(request)

    def serve(self, channel, message, content):
        """Answers a FETCH with what it asks for."""
        offset, length = message['offset'], message['length']
        channel.data(message['request'], offset, content[offset:offset + length])
        channel.done(message['request'])
