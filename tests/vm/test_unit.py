#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""cloudsync.service under the systemd of a real machine: killed, reloaded, restarted, stopped,
and a clean reboot with files open."""

import json
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'integration'))

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import,wrong-import-position
from cloud import STORE, CloudCase, result  # pylint: disable=wrong-import-position

PER_FILESYSTEM = True
TIMEOUT = 1200
SHORT = ['test_kill_all', 'test_kill_worker', 'test_out', 'test_reboot']


class CloudsyncUnit(CloudCase):
    """The cases begin and end with the service running."""

    def setUp(self):
        self.addCleanup(self.machine.run, 'systemctl', 'start', 'cloudsync.service', check=False)

    def under_readers(self, name, actions, files=150):
        """Runs the actions, one after the other, while four threads read cold files; then
        all files. Returns what the readers say."""
        manifest = self.cloud.engine(name, files=files, big=2)
        self.machine.run('rm', '-f', '/run/over')
        job = self.cloud.readers(manifest, '--until', '/run/over')
        for action in actions:
            self.machine.sh('sleep 0.7')
            action()
        self.machine.sh('sleep 1; touch /run/over')
        told = result(job)
        self.assertEqual(told['wrong'], [])
        self.assertGreater(told['right'], 0)
        everything = self.cloud.read_all(manifest)
        self.assertEqual((everything['wrong'], everything['failed']), ([], []))
        self.assertEqual(everything['right'], len(self.cloud.trees[name]))
        return told

    def main_pid(self):
        return int(self.machine.sh('systemctl show -p MainPID --value cloudsync.service'))

    def worker(self):
        return self.machine.sh('pgrep -P $(systemctl show -p MainPID --value cloudsync.service) cloudsyncd')

    def kill(self, whom, number='KILL'):
        """As an administrator or the kernel would: the worker, the supervisor, or all."""
        if whom == 'worker':
            self.machine.sh('kill -%s $(pgrep -P $(systemctl show -p MainPID --value '
                            'cloudsync.service) cloudsyncd)' % number)
        else:
            # systemd 252 calls it an input/output error when processes vanish while it goes through them.
            self.machine.run('systemctl', 'kill', '-s', number, '--kill-whom=' + whom, 'cloudsync.service',
                             check=whom != 'all')

    def test_kill_worker(self):
        pid = self.main_pid()
        told = self.under_readers('worker', [lambda: self.kill('worker')] * 3)
        self.assertEqual(told['failed'], [])
        self.assertEqual(self.main_pid(), pid, 'the supervisor was replaced, too')

    def test_kill_supervisor(self):
        told = self.under_readers('supervisor', [lambda: self.kill('main')] * 2)
        self.assertEqual(told['failed'], [])

    def test_kill_all(self):
        told = self.under_readers('both', [lambda: self.kill('all')] * 2)
        self.assertEqual(told['failed'], [])

    def test_reload(self):
        pid = self.main_pid()
        told = self.under_readers('reload', [
            lambda: self.machine.run('systemctl', 'reload', 'cloudsync.service')] * 2)
        self.assertEqual(told['failed'], [])
        self.assertEqual(self.main_pid(), pid)

    def test_restart(self):
        told = self.under_readers('restart', [
            lambda: self.machine.run('systemctl', 'restart', 'cloudsync.service')] * 2)
        self.assertEqual(told['failed'], [])
        status = json.loads(self.machine.run('cloudsyncctl', '--json', 'status').stdout)
        self.assertIn('fdstore', status['layers'])

    def test_stop_and_start(self):
        manifest = self.cloud.engine('stop', files=20, big=0)
        self.machine.run('systemctl', 'stop', 'cloudsync.service')
        self.assertEqual(self.machine.sh('ls -A ' + STORE), '')
        self.assertEqual(self.machine.sh('grep -c %s /proc/mounts || true' % STORE), '0')
        self.machine.run('systemctl', 'start', 'cloudsync.service')
        told = self.cloud.read_all(manifest)
        self.assertEqual((told['wrong'], told['failed'], told['right']), ([], [], 20))

    # -- a fd store that stays over a stop: systemd 254 and later

    def held_in_part(self, name):
        """A program that has read the first page of a file, and reads on when /run/go is there."""
        path = self.cloud.ranged(name)
        self.machine.run('rm', '-f', '/run/held', '/run/go')
        job = self.machine.start('python3', '-c', HOLD_PART, path)
        self.machine.until('it holds', 'test', '-e', '/run/held')
        return job

    def needs_preserve(self):
        version = int(self.machine.sh("systemctl --version | sed -n '1s/systemd \\([0-9]*\\).*/\\1/p'"))
        if version < 254:
            self.skipTest('FileDescriptorStorePreserve= needs systemd 254; this is %d' % version)

    def stored(self):
        return self.machine.sh('systemctl show -p NFileDescriptorStore --value cloudsync.service')

    def waits_until_started(self, job):
        """The unit is down, with the group kept. What is read now waits for its start."""
        self.machine.until('it is down', 'sh', '-c', '! systemctl is-active cloudsync.service >/dev/null')
        self.assertEqual(self.stored(), '2')
        self.machine.sh('touch /run/go; sleep 2')
        self.assertFalse(job.ended.is_set(), 'it did not wait: %s' % job.answer)
        self.machine.run('systemctl', 'start', 'cloudsync.service')
        self.assertEqual(job.result(120).stdout.strip(), digest(noise(3 << 20, 7)))
        self.machine.run('systemctl', 'stop', 'cloudsync.service')
        self.assertEqual(self.stored(), '0')

    def test_killed_while_it_stops(self):
        self.needs_preserve()
        job = self.held_in_part('stopping')
        self.machine.run('systemctl', 'stop', '--no-block', 'cloudsync.service')
        self.machine.until('it is detached', 'sh', '-c', '! grep -q %s /proc/mounts' % STORE)
        self.kill('all')
        self.waits_until_started(job)

    def test_stopped_while_it_cannot_be_started(self):
        self.needs_preserve()
        job = self.held_in_part('broken')
        self.machine.sh('mv /usr/bin/cloudsyncd /usr/bin/kept; printf "#!/bin/sh\nexit 1\n" >/usr/bin/cloudsyncd;'
                        'chmod 755 /usr/bin/cloudsyncd')
        try:
            self.kill('all')
            self.machine.sh('sleep 3; systemctl stop cloudsync.service')
        finally:
            self.machine.sh('mv /usr/bin/kept /usr/bin/cloudsyncd')
        self.waits_until_started(job)

    def test_watchdog(self):
        """A worker that stands still is ended by systemd, and what waited for it gets its bytes."""
        self.machine.write('/run/systemd/system/cloudsync.service.d/watchdog.conf',
                           '[Service]\nWatchdogSec=20s\n')
        self.machine.sh('systemctl daemon-reload; systemctl restart cloudsync.service')

        def stand_still():
            # While it starts it has TimeoutStartSec=, not the watchdog.
            self.machine.until('the service runs', 'systemctl', 'is-active', '-q', 'cloudsync.service')
            pid = self.main_pid()
            self.kill('worker', 'STOP')
            wait_until(lambda: self.main_pid() not in (0, pid), 'systemd ends it', 120)
        try:
            told = self.under_readers('watchdog', [stand_still])
            self.assertEqual(told['failed'], [])
        finally:
            self.machine.sh('rm -r /run/systemd/system/cloudsync.service.d; systemctl daemon-reload')

    def test_out_of_memory(self):
        """The kernel kills one of the service's processes for want of memory: the others go on."""
        self.machine.sh('systemctl set-property --runtime cloudsync.service MemoryMax=300M MemorySwapMax=0')
        pid = self.main_pid()

        def eat():
            self.machine.run('sh', '-c', 'echo $$ >/sys/fs/cgroup/system.slice/cloudsync.service/cgroup.procs; '
                             'echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero', check=False, timeout=120)
        try:
            told = self.under_readers('oom', [eat, eat])
            host = self.machine.sh('cat /proc/$(pgrep -n cloudsync-engin)/oom_score_adj').strip()
            self.assertEqual(host, '0', 'a module is spared as the daemon is')
            events = self.machine.sh('cat /sys/fs/cgroup/system.slice/cloudsync.service/memory.events')
            self.assertRegex(events, r'oom_kill [1-9]')
            self.assertEqual(told['failed'], [])
            self.assertEqual(self.main_pid(), pid, 'the service was stopped for it')
        finally:
            self.machine.sh('systemctl set-property --runtime cloudsync.service MemoryMax=infinity')

    def test_reboot_with_files_open(self):
        """The way down is not held up by who has files open, and from the first moment of the
        way up nobody reads anything but the right bytes."""
        manifest = self.cloud.engine('reboot', files=60, big=2)
        m = self.machine
        m.write('/etc/systemd/system/early.service', EARLY % (manifest, STORE))
        m.run('systemctl', 'enable', 'early.service')
        m.run('systemd-run', '-q', 'python3', '-c', HOLD, STORE + '/reboot')
        m.until('files are held', 'test', '-e', '/run/held')
        went = time.monotonic()
        m.reboot()
        down = time.monotonic() - went
        self.cloud.wait_ready('reboot')
        m.until('the early reader has read', 'sh', '-c', 'sleep 3; touch /run/over; sleep 1; test -e /var/lib/early.json')
        told = json.loads(m.run('cat', '/var/lib/early.json').stdout)
        m.run('systemctl', 'disable', '--now', 'early.service')
        self.assertEqual((told['wrong'], told['failed']), ([], []))
        self.assertGreater(told['missing'], 0, 'the reader came too late to see anything')
        self.assertGreater(told['right'], 0)
        everything = self.cloud.read_all(manifest)
        self.assertEqual((everything['wrong'], everything['failed']), ([], []))
        self.assertLess(down, 200)

    def test_shutdown_limit(self):
        """A program that no stop of its unit ends keeps the machine from going down for so long, and is
        killed before the group is closed."""
        m = self.machine
        self.cloud.engine('holdouts', files=20)
        m.sh("sed -i '/^Path=/a ShutdownLimit=5' /etc/cloudsync/cloudsync.conf; systemctl restart cloudsync.service")
        self.cloud.wait_ready('holdouts')
        m.run('systemd-run', '-q', '-p', 'KillMode=none', '-p', 'DefaultDependencies=no', 'python3', '-c', HOLD,
              STORE + '/holdouts')
        m.until('files are held', 'test', '-e', '/run/held')
        console = m.console
        went = time.monotonic()
        m.reboot()
        down = time.monotonic() - went
        with open(console, encoding='utf-8', errors='replace') as f:
            told = f.read()
        self.assertRegex(told, r'killed python3 \(process \d+: its working directory\)')
        self.assertLess(down, 200)
        m.sh("sed -i '/^ShutdownLimit=/d' /etc/cloudsync/cloudsync.conf; systemctl restart cloudsync.service")
        self.cloud.wait_ready('holdouts')


# Reads from before the service is started until told.
EARLY = '''[Unit]
Description=reads the store as early as it can
DefaultDependencies=no
After=local-fs.target
Before=cloudsync.service

[Service]
ExecStart=/usr/bin/python3 -I /usr/lib/cloudsync-vm/readers.py %s %s \\
        --missing-is-fine --until /run/over --result /var/lib/early.json

[Install]
WantedBy=sysinit.target
'''

# Reads a page, and on when it is told so; prints the digest of it all.
HOLD_PART = '''
import hashlib, os, sys, time
fd = os.open(sys.argv[1], os.O_RDONLY)
os.pread(fd, 4096, 0)
open("/run/held", "w").close()
while not os.path.exists("/run/go"):
    time.sleep(0.05)
print(hashlib.sha256(b"".join(iter(lambda: os.read(fd, 1 << 16), b""))).hexdigest())
'''

# Holds files of the store open, and a directory.
HOLD = '''
import glob, os, sys, time
os.chdir(sys.argv[1])
held = [open(f, "rb") for f in glob.glob("f*")[:10]]
open("/run/held", "w").close()
time.sleep(600)
'''


if __name__ == '__main__':
    main()
