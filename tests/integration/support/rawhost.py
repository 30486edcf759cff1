# SPDX-License-Identifier: LGPL-2.1-or-later
"""An engine host that is the test itself.

The daemon starts a script (see write_script) in place of cloudsync-engine-host. It attaches
over the bus, as the stock host does, hands the channel to the test over a socket, and
stays alive until the test lets go of it. So a test can say on the channel whatever it
likes, one packet at a time; the packets are those of src/shared/channel.h."""

import array
import mmap
import os
import select
import socket
import struct
import sys

from support.settings import SLOW, TESTS, TIMEOUT

SLOTS, SLOT_SIZE = 128, 128 * 1024

FIELDS = (('request', 'Q'), ('version', 'I'), ('flags', 'I'), ('max_requests', 'I'),
          ('offset', 'Q'), ('length', 'Q'), ('size', 'Q'), ('mtime_sec', 'q'),
          ('mtime_nsec', 'I'), ('slot', 'I'), ('count', 'I'), ('result', 'i'),
          ('retry_after', 'I'), ('skipped', 'I'), ('has_version', 'B'), ('step', 'I'),
          ('condition', 'I'), ('id', 's'),
          ('module', 's'), ('state_dir', 's'), ('key', 's'), ('value', 's'), ('locator', 's'),
          ('file_version', 's'), ('detail', 's'), ('text', 's'))
TYPES = {
    1: ('HELLO', 'version id module state_dir'), 2: ('SETTING', 'key value'), 3: ('START', ''),
    4: ('LIST', 'request locator'), 5: ('STAT', 'request locator'),
    6: ('FETCH', 'request offset length size mtime_sec mtime_nsec has_version locator file_version'),
    7: ('CANCEL', 'request'), 8: ('RELEASE', 'slot'), 9: ('QUIT', ''), 10: ('PING', ''),
    11: ('LOGIN', 'request step text'),
    64: ('READY', 'flags max_requests'), 65: ('FAILED', 'result detail'),
    66: ('ENTRIES', 'request length slot count'), 67: ('DATA', 'request offset length slot'),
    68: ('DONE', 'request result retry_after skipped detail'), 69: ('CHANGED', 'locator'),
    70: ('PONG', ''), 71: ('CONDITION', 'condition detail'),
}
NUMBERS = {name: (number, fields.split()) for number, (name, fields) in TYPES.items()}


def build(name, **values):
    number, wanted = NUMBERS[name]
    packet = struct.pack('=I', number)
    for field, kind in FIELDS:
        if field not in wanted:
            continue
        if kind == 's':
            text = values.get(field, b'')
            text = text if isinstance(text, bytes) else text.encode()
            packet += struct.pack('=H', len(text)) + text + b'\0'
        else:
            packet += struct.pack('=' + kind, values.get(field, 0))
    return packet


def parse(packet):
    name, wanted = TYPES[struct.unpack_from('=I', packet)[0]]
    wanted = wanted.split()
    at, values = 4, {'type': name}
    for field, kind in FIELDS:
        if field not in wanted:
            continue
        if kind == 's':
            n = struct.unpack_from('=H', packet, at)[0]
            values[field] = packet[at + 2:at + 2 + n].decode('utf-8', 'surrogateescape')
            at += n + 3
        else:
            values[field] = struct.unpack_from('=' + kind, packet, at)[0]
            at += struct.calcsize('=' + kind)
    return values


def receive_fd(sock, size, timeout):
    if not select.select([sock], [], [], timeout)[0]:
        raise TimeoutError('nothing arrived')
    room = socket.CMSG_SPACE(4 * 4)
    data, ancillary, _, _ = sock.recvmsg(size, room)
    fds = array.array('i')
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[:len(content) // 4 * 4])
    return data, list(fds)


# -- the script's end


def script_main(control):
    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    channel = int(arguments['--channel'])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect(control)
        s.sendmsg([('%s %d' % (arguments['--id'], os.getpid())).encode()],
                  [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [channel]))])
        os.close(channel)
        s.recv(1)  # until the test closes it


def write_script(path, control):
    with open(path, 'w', encoding='utf-8') as f:
        f.write('#!/usr/bin/python3\nimport sys\nsys.path.insert(0, %r)\n'
                'from support.rawhost import script_main\nscript_main(%r)\n'
                % (TESTS + '/integration', control))
    os.chmod(path, 0o755)


# -- the test's end


class RawChannel:
    """One attached channel."""

    def __init__(self, control, engine, pid, fd):
        self.control, self.engine, self.pid = control, engine, pid
        self.socket = socket.socket(fileno=fd)
        self.slots = None
        self.settings = {}
        self.free = list(range(SLOTS))
        self.early = []

    def close(self):
        """The script ends, and the channel with it."""
        self.socket.close()
        self.control.close()
        if self.slots is not None:
            self.slots.close()
            self.slots = None

    def send(self, name, **values):
        self.socket.send(build(name, **values))

    def take(self, timeout=None):
        """One packet; True: it was about the channel itself, and is dealt with. None at the end."""
        try:
            data, fds = receive_fd(self.socket, 65536, TIMEOUT if timeout is None else timeout * SLOW)
        except ConnectionResetError:
            return None
        if not data:
            return None
        message = parse(data)
        if message['type'] == 'HELLO':
            self.slots = mmap.mmap(fds[0], SLOTS * SLOT_SIZE)
            os.close(fds[0])
        elif message['type'] == 'SETTING':
            self.settings[message['key']] = message['value']
        elif message['type'] == 'PING':
            self.send('PONG')
        elif message['type'] == 'RELEASE':
            self.free.append(message['slot'])
        else:
            return message
        return True

    def receive(self, timeout=None):
        """The next packet but PING (answered) and RELEASE (noted); None at the end."""
        if self.early:
            return self.early.pop(0)
        while True:
            message = self.take(timeout)
            if message is not True:
                return message

    def wait(self, *names, timeout=None):
        """The next packet of one of these types; others are dropped."""
        while True:
            message = self.receive(timeout)
            if message is None:
                raise AssertionError('the channel ended')
            if message['type'] in names:
                return message

    def ready(self, flags=0, max_requests=32):
        self.wait('START')
        self.send('READY', flags=flags, max_requests=max_requests)
        return self

    def slot(self):
        while not self.free:
            message = self.take()
            if message is None:
                raise AssertionError('the channel ended')
            if message is not True:
                self.early.append(message)
        return self.free.pop(0)

    def entries(self, request, entries):
        """entries: dicts for entry()."""
        slot, used, count = self.slot(), b'', 0
        for e in entries:
            raw = entry(**e)
            if len(used) + len(raw) > SLOT_SIZE:
                self.put('ENTRIES', request, slot, used, count=count)
                slot, used, count = self.slot(), b'', 0
            used += raw
            count += 1
        if count:
            self.put('ENTRIES', request, slot, used, count=count)
        else:
            self.free.append(slot)

    def put(self, name, request, slot, data, **values):
        self.slots[slot * SLOT_SIZE:slot * SLOT_SIZE + len(data)] = data
        self.send(name, request=request, slot=slot, length=len(data), **values)

    def data(self, request, offset, data):
        for at in range(0, len(data), SLOT_SIZE):
            self.put('DATA', request, self.slot(), data[at:at + SLOT_SIZE], offset=offset + at)

    def done(self, request, result=0, detail=''):
        self.send('DONE', request=request, result=result, detail=detail)


def entry(name, size=0, version=None, directory=False, mtime=1600000000, mode=None, locator=None):
    """One directory entry as it lies in a slot (src/shared/channel-entry.c)."""
    name = name if isinstance(name, bytes) else name.encode()
    locator = name if locator is None else \
        locator if isinstance(locator, bytes) else locator.encode()
    text = (version or '').encode()
    mode = mode if mode is not None else 0o755 if directory else 0o644
    return struct.pack('=BBHHHHHIQq', 2 if directory else 1, 0, mode, len(name), len(locator),
                       len(text), 0, 0, size, mtime) + name + b'\0' + locator + b'\0' + text + b'\0'
