# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service manager's end of the notify protocol, and its fd store."""

import fcntl
import os
import select
import socket
import threading

HANDLING = threading.Lock()  # who has it may hold descriptors that no forked child may get
os.register_at_fork(before=HANDLING.acquire, after_in_parent=HANDLING.release,
                    after_in_child=HANDLING.release)


class Manager:
    """A socket for NOTIFY_SOCKET that is read all the time, as a service manager does: the kernel keeps
    ten messages by default, and who sends one more waits.

    fd_store: the descriptors that were left there, by name; None: there is no fd store."""

    def __init__(self, path, fd_store):
        self.path, self.fd_store = path, fd_store
        self.lines = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)  # recv_fds() of Python 3.11 forgets its flags
        self.socket.bind(path)
        self.reading = threading.Event()
        self.reading.set()
        self.closed, self.stop = os.pipe()
        self.thread = threading.Thread(target=self.read_always, daemon=True)
        self.thread.start()

    def close(self):
        self.reading.set()
        os.write(self.stop, b'.')  # closing would not do: forked children have it, too
        self.thread.join()
        os.close(self.stop)
        os.close(self.closed)
        self.socket.close()

    def hang(self, hangs=True):
        """From now on nothing is read, or all of it is again."""
        (self.reading.clear if hangs else self.reading.set)()

    def read_always(self):
        while self.closed not in select.select([self.socket, self.closed], [], [])[0]:
            self.reading.wait()
            self.read()

    def read(self):
        with HANDLING:
            while True:
                try:
                    data, fds, _, _ = socket.recv_fds(self.socket, 8192, 8, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return
                lines = data.decode().splitlines()
                self.lines += lines
                self.keep(dict(m.split('=', 1) for m in lines if '=' in m), fds)

    def keep(self, message, fds):
        name = message.get('FDNAME')
        if self.fd_store is not None and 'FDSTORE' in message and fds:
            # High numbers, so that the next start's 3, 4, … are free.
            self.fd_store[name] = fcntl.fcntl(fds[0], fcntl.F_DUPFD_CLOEXEC, 100)
        elif self.fd_store is not None and 'FDSTOREREMOVE' in message and name in self.fd_store:
            os.close(self.fd_store.pop(name))
        for fd in fds:
            os.close(fd)

    def take_lines(self):
        """What came since the last call."""
        self.read()
        with HANDLING:
            lines, self.lines = self.lines, []
        return lines
