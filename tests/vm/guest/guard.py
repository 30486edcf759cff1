# SPDX-License-Identifier: LGPL-2.1-or-later
"""guard: touches files in every way, and says what came of it, as JSON

    guard.py touch FILE…           each way, one after the other: {file: {way: errno name or "ok"}}
    guard.py read N FILE…          N whole reads in all: how many gave what, and wrong: of those that gave
                                   bytes, how many were nothing but zeros
    guard.py hold RANGED WHOLE     opens both, reads the first page of each, makes /run/held, waits for
                                   /run/dead, then reads on, in several ways
    guard.py far FILE              one read, far into the file
    guard.py crowd N FILE          N processes, a read each, all over the file, on a busy machine: how many were
                                   killed, read zeros…
    guard.py hammer FILE UNTIL     opens and reads it until UNTIL exists: how often what
"""

import collections
import errno
import json
import mmap
import os
import subprocess
import sys
import time


def outcome(function, *arguments):
    try:
        function(*arguments)
        return 'ok'
    except OSError as e:
        return errno.errorcode[e.errno]


def opened(path, flags, function):
    fd = os.open(path, flags)
    try:
        return function(fd)
    finally:
        os.close(fd)


def read(path):
    with open(path, 'rb', buffering=0) as f:
        return b''.join(iter(lambda: f.read(1 << 20), b''))


def mapped(fd, offset=0):
    with mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ, offset=offset) as m:
        return m[0]


WAYS = {
    'read': read,
    'write': lambda p: opened(p, os.O_WRONLY, lambda fd: os.write(fd, b'x')),
    'append': lambda p: opened(p, os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b'x')),
    'both': lambda p: opened(p, os.O_RDWR, lambda fd: None),
    'mmap': lambda p: opened(p, os.O_RDONLY, mapped),
    'direct': lambda p: opened(p, os.O_RDONLY | os.O_DIRECT, lambda fd: None),
    'handle': lambda p: opened('/proc/self/fd/%d' % os.open(p, os.O_PATH), os.O_RDONLY, lambda fd: None),
    'exec': lambda p: subprocess.run([p], check=False),
    'cut by name': lambda p: os.truncate(p, 1),
    'cut to nothing': lambda p: opened(p, os.O_WRONLY | os.O_TRUNC, lambda fd: None),
}


def touch(*files):
    return {f: {way: outcome(function, f) for way, function in WAYS.items()} for f in files}


def reads(count, *files):
    told = collections.Counter()
    for i in range(int(count)):
        try:
            data = read(files[i % len(files)])
            told['zeros' if data and not data.strip(b'\0') else 'ok'] += 1
        except OSError as e:
            told[errno.errorcode[e.errno]] += 1
    return told


def hold(ranged, whole):
    a, b = os.open(ranged, os.O_RDONLY), os.open(whole, os.O_RDONLY)
    size = os.fstat(a).st_size
    first = os.pread(a, 4096, 0)
    os.pread(b, 4096, 0)
    with open('/run/held', 'w', encoding='ascii'):
        pass
    while not os.path.exists('/run/dead'):
        time.sleep(0.02)
    # On the same file system: else it is EXDEV.
    with open(os.path.join(os.path.dirname(ranged), '../sent'), 'wb') as out:
        return {
            'first': first.strip(b'\0') != b'',
            'pread': outcome(os.pread, a, 4096, size - 8192),
            'again': outcome(os.pread, a, 4096, 0),
            'read': outcome(os.read, a, 10),
            'mmap': outcome(mapped, a, size // 2 // mmap.PAGESIZE * mmap.PAGESIZE),
            'sendfile': outcome(os.sendfile, out.fileno(), a, size // 2, 4096),
            'copy': outcome(os.copy_file_range, a, out.fileno(), 4096, size // 2),
            'whole': outcome(os.pread, b, 4096, 0),
        }


def far(path):
    with open('/run/far', 'w', encoding='ascii') as f:
        fd = os.open(path, os.O_RDONLY)
        f.write('open')
        f.flush()
        try:
            data = os.pread(fd, 4096, os.fstat(fd).st_size // 2)
            return {'zeros': data.count(0), 'bytes': len(data)}
        except OSError as e:
            return {'error': errno.errorcode[e.errno]}


def crowd(count, path):
    told = collections.Counter()
    size, count = os.stat(path).st_size, int(count)
    pids = []
    for i in range(count):
        pids.append(os.fork())
        if pids[-1] == 0:
            try:
                fd = os.open(path, os.O_RDONLY)
                os._exit(0 if os.pread(fd, 4096, size // (count + 1) * (i + 1)).strip(b'\0') else 254)
            except OSError as e:
                os._exit(e.errno)
    busy = [subprocess.Popen(['sh', '-c', 'while :; do :; done']) for _ in range(3)]
    for pid in pids:
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        told['killed' if code == -9 else {0: 'bytes', 254: 'zeros'}.get(code) or errno.errorcode.get(code, str(code))] += 1
    for process in busy:
        process.kill()
    return told


def hammer(path, until):
    told = collections.Counter()
    while not os.path.exists(until):
        for _ in range(20):
            told[outcome(read, path)] += 1
    return told


print(json.dumps({'touch': touch, 'read': reads, 'hold': hold, 'far': far, 'crowd': crowd, 'hammer': hammer}[sys.argv[1]](*sys.argv[2:])))
