# SPDX-License-Identifier: LGPL-2.1-or-later
"""A machine with systemd in QEMU, for one test module

Model. `tests/vm/build` has made a kernel, an initrd and an image of the root. A Machine has its
own copy of that image, so what a test does stays in the test, over reboots and power cuts. Its
serial console, on which the journal is written too, is a log of the world like a
daemon's. Its network is QEMU's user network: a server on this machine's
loopback is at 10.0.2.2. Programs are run in it by the agent (guest/agent.py), over a virtio-serial
port: run() waits for one, start() does not.

What a power cut is. cut() kills QEMU. What the machine's kernel has written to its disk is in this
machine's page cache and outlives QEMU (flushes need not reach a real disk for that, and do not);
what is in the page cache of the machine is gone. So that is a disk with a cache that is never lost. One whose cache is lost is
played by a log of the writes (see blocklog.py): disk(..., log=True).

A machine that is not there any more (cut, ended, panicked) fails what is asked of it with Gone.
Everything is a child of the test, in its PID namespace (see harness.py): nothing is left behind.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import threading
import time

from harness import BUILD, SLOW, Hang, Service, run, wait_until

VM = os.path.normpath(os.path.join(BUILD, 'vm', os.environ.get('CLOUDSYNC_VM_RELEASE', '')))
OUTSIDE = '10.0.2.2'  # this machine, seen from the inside
PATIENCE = 300 * SLOW  # s to boot: seconds on an idle machine, but emulation shares its processors

# No KVM: the processor is emulated. -no-reboot: QEMU 7.2 hangs now and then in the kernel that
# follows a reset, so it ends there, and the next boot is a new QEMU.
QEMU = ['qemu-system-x86_64', '-nodefaults', '-no-user-config', '-display', 'none',
        '-machine', 'q35', '-cpu', 'max,la57=off', '-no-reboot']
APPEND = ('console=ttyS0 rw quiet loglevel=4 panic=-1 systemd.show_status=no mitigations=off random.trust_cpu=on '
          'audit=0 nokaslr tsc=reliable rcupdate.rcu_expedited=1')


class Gone(AssertionError):
    """The machine ended while something was asked of it."""


class Job:
    """A program that runs in the machine."""

    def __init__(self, argv):
        self.argv, self.answer, self.ended = argv, None, threading.Event()

    def end(self, answer):
        self.answer = answer
        self.ended.set()

    def result(self, timeout, check=True):
        """Waits for its end: a CompletedProcess with text."""
        if not self.ended.wait(timeout):
            raise Hang('in the machine: %s did not end' % ' '.join(self.argv))
        if self.answer is None:
            raise Gone('the machine ended during: ' + ' '.join(self.argv))
        if self.answer['status'] == 'timeout':
            raise Hang('in the machine: %s did not end' % ' '.join(self.argv))
        out, err = (base64.b64decode(self.answer[key]).decode('utf-8', 'surrogateescape')
                    for key in ('out', 'err'))
        if check and self.answer['status'] != 0:
            raise AssertionError('in the machine: %s: exit status %s\n%s%s' % (
                ' '.join(self.argv), self.answer['status'], out[-2000:], err[-2000:]))
        return subprocess.CompletedProcess(self.argv, self.answer['status'], out, err)


class Machine:
    """world: what it lives in. memory: MiB.

    guard: with cloudsync-guard.service, and then one processor only: QEMU 7.2 does not emulate well
    that one processor changes code which another is running (int3 in a function that was just
    patched), which is how BPF programs are attached, again and again in the guard's tests.

    counts: its clock counts instructions, one is a nanosecond: what is measured is the same each time."""

    def __init__(self, world, name='machine', memory=1024, guard=False, counts=False):
        self.world, self.name, self.memory, self.guard, self.counts = world, name, memory, guard, counts
        self.root = world.path(name + '-root.img')
        run(['cp', '--sparse=always', '--reflink=auto', os.path.join(VM, 'root.img'), self.root])
        self.disks = []
        self.qemu, self.socket, self.boots = None, None, 0
        self.jobs, self.number = {}, 0
        self.lock = threading.Lock()
        self.boot_id, self.hello = None, threading.Event()

    # -- hardware

    def disk(self, path, log=None):
        """One more disk (/dev/vdb, …), a raw image. log: a file into which its writes go, in
        order, see blocklog.py. Before boot()."""
        self.disks.append((path, log))
        return '/dev/vd' + 'bcdefgh'[len(self.disks) - 1]

    def command(self, append):
        argv = QEMU + ['-accel', 'tcg,thread=%s,tb-size=512' % ('single' if self.counts else 'multi')]
        argv += ['-icount', 'shift=0,sleep=off'] if self.counts else []
        argv += ['-m', str(self.memory), '-kernel', VM + '/vmlinuz', '-initrd', VM + '/initrd',
                 '-append', ' '.join([APPEND] + ['systemd.mask=cloudsync-guard.service'] * (not self.guard) + [append]),
                 '-smp', '1' if self.guard or self.counts else '2',
                 '-serial', 'file:%s' % self.console,
                 '-blockdev', 'driver=file,cache.no-flush=on,node-name=root,filename=' + self.root,
                 '-device', 'virtio-blk-pci,drive=root',
                 '-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net',
                 '-device', 'virtio-serial-pci',
                 '-chardev', 'socket,id=agent,server=on,wait=off,path=' + self.socket_path,
                 '-device', 'virtserialport,chardev=agent,name=agent',
                 '-chardev', 'file,id=notes,append=on,path=' + self.notes_path,
                 '-device', 'virtserialport,chardev=notes,name=notes']
        for i, (path, log) in enumerate(self.disks):
            node = 'disk%d' % i
            argv += ['-blockdev', 'driver=file,cache.no-flush=on,discard=unmap,node-name=%s,filename=%s' % (node, path)]
            if log is not None:
                argv += ['-blockdev', 'driver=file,node-name=%s-log,filename=%s' % (node, log),
                         '-blockdev', 'driver=blklogwrites,node-name=%s-logged,file=%s,log=%s-log' % (
                             node, node, node)]
                node += '-logged'
            argv += ['-device', 'virtio-blk-pci,drive=%s,serial=disk%d' % (node, i)]
        return argv

    @property
    def console(self):
        return self.world.log('%s-console-%d' % (self.name, self.boots))

    @property
    def socket_path(self):
        return self.world.path('%s-%d.socket' % (self.name, self.boots))

    @property
    def notes_path(self):
        return self.world.path(self.name + '-notes')

    def notes(self):
        """Lines that programs in the machine have written to /dev/virtio-ports/notes: what was
        written before the power went is here."""
        if not os.path.exists(self.notes_path):
            return []
        with open(self.notes_path, encoding='utf-8') as f:
            return [line for line in f.read().split('\n')[:-1] if line]

    # -- on and off

    def boot(self, append='', timeout=PATIENCE):
        """Switches it on; returns when its agent answers, which is early in the boot.
        append: more for the kernel's command line; the last of a parameter counts."""
        self.boots += 1
        self.hello.clear()
        self.qemu = Service(self.world, '%s-qemu-%d' % (self.name, self.boots), self.command(append))
        self.socket = socket.socket(socket.AF_UNIX)

        def connected():
            self.must_run()
            return self.socket.connect_ex(self.socket_path) == 0
        wait_until(connected, 'QEMU listens')
        threading.Thread(target=self.listen, args=(self.socket,), daemon=True).start()
        return self.wait_hello(timeout)

    def wait_hello(self, timeout=PATIENCE):
        end = time.monotonic() + timeout
        while not self.hello.wait(0.5):
            self.must_run()
            if time.monotonic() > end:
                raise Hang('the machine did not boot within %d s' % timeout)
        return self.boot_id

    def must_run(self):
        if not self.qemu.alive():
            raise Gone('QEMU ended with status %s: %s' % (
                self.qemu.process.returncode, self.qemu.log_text()[-2000:].decode('utf-8', 'replace')))

    def wait_booted(self, timeout=PATIENCE):
        """Until systemd has nothing left to start. Returns what it calls the result."""
        return self.run('systemctl', 'is-system-running', '--wait', check=False,
                        timeout=timeout).stdout.strip()

    def cut(self):
        """The power goes."""
        self.qemu.kill()
        self.gone()

    def reboot(self, append='', timeout=PATIENCE):
        """A clean reboot. Returns when the next boot's agent answers."""
        self.end('reboot', timeout)
        return self.boot(append, timeout)

    def end(self, how, timeout):
        self.start('systemctl', how)
        self.qemu.wait(timeout)
        self.gone()

    def power_off(self, timeout=PATIENCE):
        """A clean end."""
        if self.qemu is None or not self.qemu.alive():
            return
        self.end('poweroff', timeout)

    def gone(self):
        with self.lock:
            jobs, self.jobs = self.jobs, {}
        for job in jobs.values():
            job.end(None)

    # -- inside

    def listen(self, connection):
        rest = b''
        while True:
            try:
                piece = connection.recv(1 << 16)
            except OSError:
                piece = b''
            if not piece:
                self.gone()
                return
            *lines, rest = (rest + piece).split(b'\n')
            for line in lines:
                try:
                    message = json.loads(line)
                except ValueError:  # cut off by a reboot
                    continue
                if 'hello' in message:
                    self.gone()  # what the boot before had not answered
                    self.boot_id = message['hello']
                    self.hello.set()
                else:
                    with self.lock:
                        job = self.jobs.pop(message['id'], None)
                    if job is not None:
                        job.end(message)

    def start(self, *argv, input=None, timeout=600, user=None):
        """Starts a program in the machine: a Job. It is killed there after `timeout` s."""
        if isinstance(input, str):
            input = input.encode()
        with self.lock:
            self.number += 1
            job = self.jobs[self.number] = Job(argv)
            request = {'id': self.number, 'argv': argv, 'timeout': timeout * SLOW, 'user': user,
                       'input': None if input is None else base64.b64encode(input).decode()}
            try:
                self.socket.sendall(json.dumps(request).encode() + b'\n')
            except OSError:
                raise Gone('the machine is not there: ' + ' '.join(argv)) from None
        return job

    def run(self, *argv, input=None, timeout=120, user=None, check=True):
        """Runs a program in the machine to its end: a CompletedProcess with text."""
        return self.start(*argv, input=input, timeout=timeout, user=user).result(
            (timeout + 60) * SLOW, check)

    def sh(self, script, *argv, **more):
        """The same for a script; stdout, stripped."""
        return self.run('sh', '-euc', script, 'sh', *argv, **more).stdout.strip()

    def write(self, path, data):
        self.sh('mkdir -p "${1%/*}"; cat >"$1"', path, input=data)

    def until(self, what, *argv, timeout=120, expect=None):
        """Runs a program again and again until it succeeds (and says `expect`)."""
        def done():
            last = self.run(*argv, check=False)
            return last.returncode == 0 and (expect is None or last.stdout.strip() == expect)
        wait_until(done, what, timeout)
