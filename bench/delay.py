#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""delay: a TCP relay on the loopback that is RTT milliseconds away

    delay.py PORT RTT        relays to 127.0.0.1:PORT; prints "port N"

Each byte is held for half of RTT in each direction; a connection's first bytes for
a whole RTT more, since connect(2) to the loopback returned without the handshake's.
Bandwidth is not limited.
"""

import asyncio
import sys


class Half(asyncio.Protocol):
    """One end of a connection: what it receives leaves by the other one, later."""

    def __init__(self, delay, extra=0.0):
        self.delay, self.extra = delay, extra
        self.other = self.transport = None
        self.early = []

    def connection_made(self, transport):
        self.transport = transport
        for late, data in self.early:
            self.later(late, data)
        self.early = []

    def later(self, delay, data):
        """In order: the delay never shrinks below that of what was sent before."""
        loop = asyncio.get_running_loop()
        self.due = max(getattr(self, 'due', 0), loop.time() + delay)
        loop.call_at(self.due, self.out, data)

    def out(self, data):
        if data is None:
            self.transport.close()
        else:
            self.transport.write(data)

    def data_received(self, data):
        delay, self.extra = self.delay + self.extra, 0.0
        self.other.give(delay, data)

    def connection_lost(self, exc):
        self.other.give(self.delay, None)

    def give(self, delay, data):
        if self.transport is None:
            self.early.append((delay, data))
        else:
            self.later(delay, data)


async def serve(port, rtt):
    loop = asyncio.get_running_loop()
    running = set()

    def accept():
        near, far = Half(rtt / 2, rtt), Half(rtt / 2)
        near.other, far.other = far, near
        task = loop.create_task(loop.create_connection(lambda: far, '127.0.0.1', port))
        running.add(task)
        task.add_done_callback(running.discard)
        return near

    server = await loop.create_server(accept, '127.0.0.1', 0, backlog=256)
    print('port', server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == '__main__':
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
