# SPDX-License-Identifier: LGPL-2.1-or-later
"""readers: reads files of the store, again and again, and compares them with what they should be

    readers.py MANIFEST ROOT [--threads N] [--until FILE] [--missing-is-fine] [--once] [--result FILE]

MANIFEST is {path below ROOT: [size, SHA-256]}. Each thread takes files at random (--once: each
file once, in all); until FILE exists. Written to FILE or stdout at the end, as JSON: how many reads
were right, missing (ENOENT, or an empty mount point), which failed, which were wrong, and the longest.
"""

import argparse
import collections
import errno
import hashlib
import json
import os
import random
import threading
import time

PARSER = argparse.ArgumentParser()
PARSER.add_argument('manifest')
PARSER.add_argument('root')
PARSER.add_argument('--threads', type=int, default=4)
PARSER.add_argument('--until')
PARSER.add_argument('--missing-is-fine', action='store_true')
PARSER.add_argument('--once', action='store_true')
PARSER.add_argument('--result')
OPTIONS = PARSER.parse_args()
LOCK = threading.Lock()
RESULT = {'right': 0, 'missing': 0, 'wrong': [], 'failed': [], 'longest': 0.0, 'first': None}


def uptime():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def tell(path, size, want, pause=0.05):
    begun = uptime()
    try:
        with open(os.path.join(OPTIONS.root, path), 'rb', buffering=0) as f:
            data = b''.join(iter(lambda: f.read(1 << 20), b''))
    except OSError as e:
        with LOCK:
            if e.errno == errno.ENOENT and OPTIONS.missing_is_fine:
                RESULT['missing'] += 1
            else:
                RESULT['failed'].append('%.2f %s: %s' % (begun, path, errno.errorcode[e.errno]))
        time.sleep(pause)
        return
    good = hashlib.sha256(data).hexdigest() == want
    with LOCK:
        RESULT['longest'] = max(RESULT['longest'], uptime() - begun)
        if good:
            RESULT['right'] += 1
            RESULT['first'] = RESULT['first'] or uptime()
        else:
            RESULT['wrong'].append('%.2f %s: %d bytes of %d, %d of them zero' % (
                begun, path, len(data), size, data.count(0)))


def main():
    with open(OPTIONS.manifest, encoding='utf-8') as f:
        manifest = json.load(f)
    names = sorted(manifest)
    queue = collections.deque(names if OPTIONS.once else ())

    def read():
        dice = random.Random()
        while not (OPTIONS.until and os.path.exists(OPTIONS.until)):
            if OPTIONS.once:
                try:
                    name = queue.popleft()
                except IndexError:
                    return
            else:
                name = dice.choice(names)
            tell(name, *manifest[name])
    threads = [threading.Thread(target=read) for _ in range(OPTIONS.threads)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    text = json.dumps(RESULT)
    if OPTIONS.result:
        with open(OPTIONS.result + '.new', 'w', encoding='utf-8') as f:
            f.write(text)
        os.rename(OPTIONS.result + '.new', OPTIONS.result)
    else:
        print(text)


main()
