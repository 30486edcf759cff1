# SPDX-License-Identifier: LGPL-2.1-or-later
"""writer: a user who writes and syncs, and tells outside what is safe

    writer.py DIRECTORY SEED NAME…

By turns it makes a file of its own in DIRECTORY, and overwrites some bytes of the next of the
placeholders NAME… (below DIRECTORY), each once; fsync(2) each time. To /dev/virtio-ports/notes go, as
JSON lines: {"own": name, "size": n, "seed": s} after the fsync (content: see noise()),
{"begin": name, "at": offset, "bytes": hex} before a placeholder is opened, {"done": name} after the
fsync. What is written there is outside when write(2) returns. Ends when it is killed.
"""

import json
import os
import random
import sys
import time

NOTES = os.open('/dev/virtio-ports/notes', os.O_WRONLY)


def note(**what):
    os.write(NOTES, json.dumps(what).encode() + b'\n')


def noise(size, seed):
    return random.Random('%d %d' % (size, seed)).randbytes(size)


def write(path, data, offset, flags):
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        os.pwrite(fd, data, offset)
        os.fsync(fd)
    finally:
        os.close(fd)


def main():
    root, seed, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    dice = random.Random(seed)
    n = 0
    while True:
        n += 1
        size = dice.randrange(1, 20000)
        name = 'own-%d-%d' % (seed, n)
        try:
            write(os.path.join(root, name), noise(size, n), 0, os.O_CREAT | os.O_EXCL)
            note(own=name, size=size, seed=n)
        except FileNotFoundError:  # the engine's directory is not there yet
            pass
        if names and os.path.exists(os.path.join(root, names[0])):
            name = names.pop(0)
            path = os.path.join(root, name)
            at = dice.randrange(max(1, os.stat(path).st_size - 100))
            at -= at % 4096 if at % 4096 > 3996 else 0  # within one page: whole or not at all
            data = noise(min(100, os.stat(path).st_size - at), n)
            note(begin=name, at=at, bytes=data.hex())
            write(path, data, at, 0)
            note(done=name)
        time.sleep(dice.random() * 0.1)


main()
