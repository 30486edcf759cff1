# SPDX-License-Identifier: LGPL-2.1-or-later
"""storm: reads cold files, whole and in part, while all of cloudsync.service is killed, again and again

    storm.py PLAN ROOT SECONDS [--until-wrong]

PLAN is JSON, {"whole" or "ranges": {"url": where the tree is at the server, "files": [path below it]}}.
Files are kept cold by generations: every few seconds the same trees are registered anew, as
ROOT/wholeN and ROOT/rangesN, and the readers go there. What is read is compared with what the server
itself gives, byte by byte.

A reader is a process, since the guard kills who waits in a read of a group that dies; another takes
its place. It tells each read in one write to a pipe, so that a killed one leaves no half a line. The
process that kills and counts reads nothing of the store. (find lists it: a process, too.)

At the end, on stdout: {"kills": n, "right": n, "afterwards": right reads since the last kill,
"failed": {errno: n}, "killed": readers that were, "wrong": […], "stuck": […], "longest": s,
"generation": N}. --until-wrong: ends at the first wrong read.
"""

import collections
import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
import urllib.request

READERS = 8
STUCK = 150       # s: longer than the deadline of a request
GENERATION = 6    # s
UNIT = 'cloudsync.service'
OVER = '/run/storm-over'                # the readers' end
CURRENT = '/run/storm-generation'       # where they read
PLAN, ROOT, SECONDS = sys.argv[1], sys.argv[2], float(sys.argv[3])
UNTIL_WRONG = '--until-wrong' in sys.argv


# ---------------------------------------------------------------- readers

def read_whole(path, want, _dice):
    with open(path, 'rb', buffering=0) as f:
        got = b''.join(iter(lambda: f.read(1 << 18), b''))
    return difference(got, want, 0)


def read_parts(path, want, dice):
    fd = os.open(path, os.O_RDONLY)
    try:
        for _ in range(6):
            offset = dice.randrange(len(want))
            part = want[offset:offset + dice.choice((1, 100, 4096, 70000, 300000))]
            problem = difference(os.pread(fd, len(part), offset), part, offset)
            if problem:
                return problem
    finally:
        os.close(fd)
    return None


def difference(got, want, offset):
    if got == want:
        return None
    return '%d bytes of %d at %d, %d of them zero' % (len(got), len(want), offset, got.count(0))


def reader(trees, generation, pipe, dice):
    """Until it is killed, or the file OVER is there."""
    names = [(kind, name) for kind, tree in trees.items() for name in tree]
    while not os.path.exists(OVER):
        kind, name = dice.choice(names)
        path = '%s/%s%d/%s' % (ROOT, kind, generation(), name)
        how = read_parts if kind == 'ranges' or dice.randrange(4) == 0 else read_whole
        begun = time.monotonic()
        try:
            problem = how(path, trees[kind][name], dice)
            told = {'wrong': '%s %s: %s' % (how.__name__, path, problem)} if problem else {'right': 1}
        except OSError as e:
            told = {'failed': errno.errorcode[e.errno]}
        told['took'] = time.monotonic() - begun
        os.write(pipe, json.dumps(told).encode() + b'\n')
        # One processor is shared with the service, which must get up.
        time.sleep(0.02 if 'right' in told else 0.1)


class Readers:
    """Those that run, and what they told. One thread listens, one replaces who was killed."""

    def __init__(self, trees, generation):
        self.trees, self.generation = trees, generation
        self.told = {'right': 0, 'failed': collections.Counter(), 'wrong': [], 'killed': 0, 'longest': 0.0}
        self.dice = random.Random()
        self.listen, self.tell = os.pipe()
        self.pids = {self.start() for _ in range(READERS)}
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self.count, self.replace)]
        for t in self.threads:
            t.start()

    def start(self):
        pid = os.fork()
        if pid == 0:
            try:
                # Not the pipes to programs that another thread is running: it would wait for their end.
                os.closerange(3, self.tell)
                os.closerange(self.tell + 1, 1024)
                reader(self.trees, self.generation, self.tell, random.Random(os.getpid()))
                os._exit(0)
            except BaseException:  # pylint: disable=broad-except
                traceback.print_exc()
            os._exit(1)
        return pid

    def count(self):
        with open(self.listen, encoding='utf-8') as f:
            for line in f:
                told = json.loads(line)
                self.told['longest'] = max(self.told['longest'], told['took'])
                if 'right' in told:
                    self.told['right'] += 1
                elif 'wrong' in told:
                    self.told['wrong'].append(told['wrong'])
                else:
                    self.told['failed'][told['failed']] += 1

    def replace(self):
        while self.pids:
            for pid in list(self.pids):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if not ended:
                    continue
                self.pids.remove(pid)
                if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                    self.told['killed'] += 1
                elif status != 0:
                    self.told['failed']['ended with status %d' % status] += 1
                if not os.path.exists(OVER):
                    self.pids.add(self.start())
            time.sleep(0.05)

    def end(self):
        """Waits for them: who is stuck, and where."""
        with open(OVER, 'w', encoding='ascii'):
            pass
        self.threads[1].join(STUCK)
        stuck = []
        for pid in list(self.pids):
            try:
                with open('/proc/%d/stack' % pid, encoding='ascii') as f:
                    stuck.append('%d: %s' % (pid, f.read()))
            except OSError:
                pass
            os.kill(pid, signal.SIGKILL)
        os.close(self.tell)
        if not stuck:
            self.threads[0].join(STUCK)
        return stuck


# ---------------------------------------------------------------- generations

class Generations:
    """The trees, registered anew every few seconds; a thread, which the kills hit like everybody."""

    def __init__(self, plan):
        self.plan, self.ended = plan, threading.Event()
        self.begin(0)
        self.thread = threading.Thread(target=self.go_on, daemon=True)

    @staticmethod
    def current():
        with open(CURRENT, encoding='ascii') as f:
            return int(f.read())

    def go_on(self):
        while not self.ended.wait(GENERATION):
            n = self.current()
            if self.begin(n + 1):
                for kind in self.plan:
                    self.ask('engine', 'remove', '%s%d' % (kind, n))
                    # For room. Who still reads there: ENOENT, or EIO.
                    subprocess.run(['rm', '-rf', '%s/%s%d' % (ROOT, kind, n)], check=False,
                                   stderr=subprocess.DEVNULL)

    def ask(self, *argv):
        """A call that is made again while nobody answers. What is said the second time ("is registered
        already") is of no interest: the files tell."""
        while True:
            told = subprocess.run(['cloudsyncctl', *argv], check=False, capture_output=True, text=True)
            if told.returncode == 0 or self.ended.wait(0.3) or \
                    'already' in told.stderr or 'No engine' in told.stderr:
                return

    def begin(self, n):
        for kind, tree in self.plan.items():
            name = '%s%d' % (kind, n)
            self.ask('engine', 'add', name, 'httpfs', name, 'url=' + tree['url'],
                     *(['hydration=ranges'] if kind == 'ranges' else []))
        paths = ['%s/%s%d/%s' % (ROOT, kind, n, p) for kind, tree in self.plan.items() for p in tree['files']]
        while not all(os.path.lexists(p) for p in paths):
            if self.ended.wait(0.3):
                return False
            for kind in self.plan:
                subprocess.run(['find', '%s/%s%d' % (ROOT, kind, n)], check=False, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        if self.ended.is_set():
            return False
        with open(CURRENT + '.new', 'w', encoding='ascii') as f:
            f.write(str(n))
        os.rename(CURRENT + '.new', CURRENT)
        return True


# ---------------------------------------------------------------- the storm

def shown():
    """(how often systemd has restarted the service, does it serve)"""
    told = subprocess.run(['systemctl', 'show', '-p', 'NRestarts,ActiveState', UNIT], check=False,
                          capture_output=True, text=True).stdout
    told = dict(line.split('=', 1) for line in told.split())
    return int(told['NRestarts']), told['ActiveState'] == 'active'


def wait_back(restarts, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now, serves = shown()
        if now > restarts and serves:
            return True
        time.sleep(0.1)
    return False


def strike(dice, patience):
    """Kills all that there is. Three times of four it served before and for a while, else it may be
    just starting. Then it has `patience` seconds, about. Returns whether there was anything."""
    restarts, _ = shown()
    done = subprocess.run(['systemctl', 'kill', '--kill-whom=all', '-s', 'KILL', UNIT], check=False,
                          stderr=subprocess.DEVNULL).returncode == 0
    if dice.randrange(4):
        wait_back(restarts, 30)
    time.sleep(patience * dice.uniform(0.2, 1.5))
    return done


def main():
    with open(PLAN, encoding='utf-8') as f:
        plan = json.load(f)
    trees = {}
    for kind, tree in plan.items():
        trees[kind] = {}
        for path in tree['files']:
            with urllib.request.urlopen(tree['url'] + path) as answer:
                trees[kind][path] = answer.read()
    if os.path.exists(OVER):
        os.unlink(OVER)
    dice, kills = random.Random(), 0
    generations = Generations(plan)
    readers = Readers(trees, generations.current)
    generations.thread.start()
    told = readers.told
    # Until there was another generation, too: a slow machine needs more quiet to list it.
    end, patience = time.monotonic() + SECONDS, 1
    while not (UNTIL_WRONG and told['wrong']):
        if time.monotonic() > end:
            patience += 1
            if generations.current() > 0 or time.monotonic() > end + 3 * SECONDS:
                break
        kills += strike(dice, patience)
    wait_back(-1, STUCK)
    before, end = told['right'], time.monotonic() + STUCK
    while told['right'] < before + 2 * READERS and time.monotonic() < end and not UNTIL_WRONG:
        time.sleep(0.2)
    generations.ended.set()
    generations.thread.join(10)
    told['stuck'] = readers.end()
    told.update(kills=kills, afterwards=told['right'] - before, generation=generations.current())
    print(json.dumps(told))
    sys.stdout.flush()
    os._exit(0)


main()
