# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a disk may hold after a power cut, from a log of the writes to it

The log is in the format of the kernel's dm-log-writes, which QEMU's driver blklogwrites writes, too:
sectors of a size that the super block names; in the first the super block, then, for each
write, a sector with an entry, followed by the data. All numbers are little-endian.

    super block   u64 magic, u64 version (1), u64 entries, u32 sector size
    entry         u64 sector, u64 sectors, u64 flags, u64 length of a mark's text

An entry with DISCARD or without sectors is followed by nothing.

The super block's count is updated now and then only: the log is read to its end instead.

A disk with a volatile cache has, when the power goes after entry k, all that was written before the
last flush that precedes k; of the writes since, any may be there, and any may be missing, and
one may be there in part. image() makes such a disk, by dice.
"""

import os
import struct

MAGIC = 0x6a736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
SECTOR = 512  # what QEMU logs by default, and how much of a write is never torn


class BlockLog:

    def __init__(self, path):
        self.path = path
        self.entries = []  # (offset on the disk, bytes, flags, where its data is in the log)
        with open(path, 'rb') as log:
            magic, version, _, sector = struct.unpack('<QQQI', log.read(28))
            if magic != MAGIC or version != 1:
                raise AssertionError('not a log of writes: ' + path)
            size, at = os.fstat(log.fileno()).st_size, sector
            while at + sector <= size:
                log.seek(at)
                where, count, flags, _ = struct.unpack('<QQQQ', log.read(32))
                data = 0 if flags & DISCARD else count * sector
                # Nothing was written here, or not yet, or not to its end.
                if not (count or flags) or at + sector + data > size:
                    break
                self.entries.append((where * sector, count * sector, flags, at + sector))
                at += sector + data
            self.end = at

    def flushes(self):
        """Numbers of the entries before which a flush ended."""
        return [i + 1 for i, e in enumerate(self.entries) if e[2] & FLUSH]

    def place(self, k):
        """Where in the log entry k begins, or the end of the log."""
        if k < len(self.entries):
            return self.entries[k][3] - SECTOR
        return self.end

    def image(self, target, k, dice, keep=0.5):
        """Applies to `target`, a copy of the disk as it was when the log began, what it may hold
        when the power goes before entry k. keep: the chance of a write that was not flushed."""
        durable = max((f for f in self.flushes() if f <= k), default=0)
        with open(self.path, 'rb') as log, open(target, 'r+b') as disk:
            for i, (where, length, flags, data) in enumerate(self.entries[:k]):
                if i >= durable and not flags & FUA:
                    if dice.random() >= keep:
                        continue
                    if dice.random() < 0.1:
                        length = dice.randrange(length // SECTOR + 1) * SECTOR
                if flags & DISCARD:
                    continue  # a disk may ignore it
                log.seek(data)
                disk.seek(where)
                disk.write(log.read(length))
