# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bytes to compare."""

import hashlib
import random

from support.settings import KIB

def noise(size, seed=0):
    """Bytes that do not repeat, without a NUL byte run: pseudo-random."""
    return random.Random('%d %d' % (size, seed)).randbytes(size)


def zero_runs(size, seed=0):
    """Noise with long runs of zeros in it, aligned and not: what cp --sparse and tar -S
    turn into holes, and what must not be mistaken for bytes not fetched yet."""
    data = bytearray(noise(size, seed))
    step = 200 * KIB
    for begin in range(50 * KIB, size, step):
        n = min(70 * KIB + begin % 4097, size - begin)
        data[begin:begin + n] = bytes(n)
    return bytes(data)


def digest(data):
    return hashlib.sha256(data).hexdigest()


def difference(got, want):
    """None, or a sentence about the first difference."""
    if got == want:
        return None
    if len(got) != len(want):
        sizes = '%d bytes instead of %d; ' % (len(got), len(want))
    else:
        sizes = ''
    for i, (a, b) in enumerate(zip(got, want)):
        if a != b:
            zeros = 0
            while i + zeros < len(got) and got[i + zeros] == 0:
                zeros += 1
            return '%sfirst difference at %d: %s instead of %s (%d zero bytes follow)' % (
                sizes, i, got[i:i + 16].hex(), want[i:i + 16].hex(), zeros)
    return sizes + 'the shorter is the beginning of the longer'
