#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guard (src/guard): with nobody left who holds back what is not here, no reader gets a zero."""

import json
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'integration'))

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import,wrong-import-position
from cloud import STORE, CloudCase, result  # pylint: disable=wrong-import-position
from machine import OUTSIDE  # pylint: disable=wrong-import-position

PER_FILESYSTEM = True
TIMEOUT = 1800
SHORT = ['test_all_killed', 'test_open_and_waiting_when_all_are_killed']

GUARD = '/usr/libexec/cloudsync-guard'
HELPER = ['python3', '-I', '/usr/lib/cloudsync-vm/guard.py']
STORMER = ['python3', '-I', '/usr/lib/cloudsync-vm/storm.py']
LSM = 'lsm=landlock,lockdown,yama,integrity,apparmor,bpf'
SECONDS = float(os.environ.get('CLOUDSYNC_STORM_SECONDS') or 60)


class Guard(CloudCase):
    """Booted with the guard; each case begins with a daemon that was started by hand (so that no
    service manager's fd store is there) and serves."""

    MACHINE = {'guard': True}
    BOOT = LSM

    @classmethod
    def prepare(cls):
        super().prepare()
        # Nor may the bus start it.
        cls.machine.run('systemctl', 'mask', '--now', 'cloudsync.service')
        cls.machine.run('systemctl', 'enable', 'cloudsync-guard.service')

    def setUp(self):
        self.machine.sh('rm -f /run/held /run/dead /run/over /run/far')
        self.start()

    # -- the daemon, by hand

    def start(self):
        m = self.machine
        m.sh('pgrep -x cloudsyncd >/dev/null || setsid cloudsyncd </dev/null >>/var/log/cloudsyncd.log 2>&1 &')
        m.until('it serves', 'cloudsyncctl', 'status')
        m.until('the store is attached', 'mountpoint', '-q', STORE)

    def kill(self):
        """Supervisor and worker at once, and with them the group: nobody has it but they."""
        self.machine.sh('pkill -KILL -x cloudsyncd; while pgrep -x cloudsyncd >/dev/null; do sleep 0.05; done')
        self.assertEqual(self.machine.run('mountpoint', '-q', STORE, check=False).returncode, 0)

    def tell(self, *argv, **more):
        return json.loads(self.machine.run(*HELPER, *argv, **more).stdout)

    def cold(self, name, count=5, whole=3):
        """Two engines with small files: (some that are not here, some that are). (Of one engine's,
        more would be fetched ahead than what is read.)"""
        self.cloud.engine(name, files=count, big=0)
        absent = sorted('%s/%s/%s' % (STORE, name, p) for p in self.cloud.trees[name])
        if whole == 0:
            return absent, []
        name += '-here'
        self.cloud.engine(name, files=whole, big=0)
        here = ['%s/%s/%s' % (STORE, name, p) for p in self.cloud.trees[name]]
        self.assertEqual(self.tell('read', str(whole), *here), {'ok': whole})
        return absent, here

    def guarded(self):
        return self.machine.run(GUARD, 'status').stdout

    # -- cases

    def test_is_shown(self):
        status = json.loads(self.machine.run('cloudsyncctl', '--json', 'status').stdout)
        self.assertIn('bpf', status['layers'])
        self.assertIn(STORE + ': guarded; served', self.guarded())
        self.kill()
        self.assertIn(STORE + ': guarded; cloudsyncd does not serve it', self.guarded())
        # Loaded by the unit, early, and not taken away when that is stopped.
        self.machine.run('systemctl', 'stop', 'cloudsync-guard.service')
        self.assertIn('loaded', self.guarded())
        self.machine.run('systemctl', 'start', 'cloudsync-guard.service')

    def test_all_killed(self):
        """A thousand reads of what is not here: a thousand times EPERM. What is here is read."""
        absent, here = self.cold('killed')
        self.machine.run('chmod', '755', *absent)
        self.machine.run('cloudsyncctl', 'engine', 'add', 'never-listed', 'httpfs', 'never-listed',
                         'url=http://%s:1/' % OUTSIDE)
        self.kill()
        told = self.machine.run('python3', '-c', 'import os, sys; os.open(sys.argv[1], os.O_RDONLY)',
                                STORE + '/never-listed', check=False)
        self.assertIn('Operation not permitted', told.stderr)
        self.machine.run('ls', STORE)
        self.assertEqual(self.tell('read', '1000', *absent), {'EPERM': 1000})
        self.assertEqual(self.tell('read', '100', *here), {'ok': 100})
        told = self.tell('touch', *absent)
        for path, ways in told.items():
            self.assertEqual(set(ways.values()), {'EPERM'}, '%s: %s' % (path, ways))
        self.assertEqual(self.tell('read', '6', *absent), {'EPERM': 6})
        # A user's own files, new and old.
        self.machine.sh('echo mine >$1; cat $1; echo more >>$1; : >$1', STORE + '/own')
        # It comes back: all bytes are right.
        self.start()
        told = self.cloud.read_all(self.cloud.manifest('killed'))
        self.assertEqual((told['wrong'], told['failed']), ([], []))

    def test_user_without_rights_to_read(self):
        """The guard reads the stamp in the name of who opens the file."""
        absent, _ = self.cold('rights', whole=1)
        self.machine.run('chmod', '711', absent[0])
        self.kill()
        self.assertEqual(self.machine.run('sh', '-c', 'exec "$1"', 'sh', absent[0], user=65534,
                                          check=False).returncode, 126)
        self.machine.run('chmod', '622', absent[1])
        script = 'echo user >>"$1"'
        self.assertNotEqual(self.machine.run('sh', '-c', script, 'sh', absent[1], user=65534,
                                             check=False).returncode, 0)

    def test_open_and_waiting_when_all_are_killed(self):
        """A program that has a file open of which a part is here, one that waits in open(), and
        one that waits in read(): none gets a zero."""
        video = self.cloud.ranged('open')
        other = self.cloud.ranged('other')
        absent, here = self.cold('waiting')
        holder = self.machine.start(*HELPER, 'hold', video, here[0])
        self.machine.until('it holds', 'test', '-e', '/run/held')
        self.machine.sh('pkill -STOP -x cloudsync-engin')
        reader = self.machine.start(*HELPER, 'far', other)
        opener = self.machine.start(*HELPER, 'read', '1', absent[0])
        wait_until(lambda: json.loads(self.machine.run('cloudsyncctl', '--json', 'status').stdout)[
            'events_pending'] == 2, 'both wait', 120)
        self.machine.run('grep', '-q', 'open', '/run/far')
        self.kill()
        self.machine.sh('touch /run/dead')
        told = json.loads(holder.result(60).stdout)
        self.assertTrue(told.pop('first'))
        self.assertEqual(told.pop('whole'), 'ok')
        self.assertEqual(set(told.values()), {'EPERM'}, told)
        self.assertEqual(json.loads(opener.result(60).stdout), {'EPERM': 1})
        self.assertEqual(reader.result(60, check=False).returncode, -9)

    def test_crowd_waits_when_all_are_killed(self):
        """All that wait are woken at once. (The kernel leaves a tracing program out where it is preempted.)"""
        for turn in range(6):
            video = self.cloud.ranged('crowd%d' % turn)
            self.machine.sh('pkill -STOP -x cloudsync-engin')
            crowd = self.machine.start(*HELPER, 'crowd', '80', video)
            wait_until(lambda: json.loads(self.machine.run('cloudsyncctl', '--json', 'status').stdout)[
                'events_pending'] >= 80, 'all wait', 120)
            self.kill()
            told = json.loads(crowd.result(60).stdout)
            self.start()
            self.assertEqual(told, {'killed': 80})

    def test_replaced_without_a_gap(self):
        absent, _ = self.cold('replaced', whole=1)
        self.kill()
        job = self.machine.start(*HELPER, 'hammer', absent[0], '/run/over')
        for _ in range(6):
            self.machine.run(GUARD, 'load')
        self.machine.sh('systemctl reload cloudsync-guard.service; touch /run/over')
        told = json.loads(job.result(60).stdout)
        self.assertEqual(set(told), {'EPERM'}, told)
        self.assertIn('loaded: 10 programs', self.guarded())
        self.assertEqual(self.machine.sh('ls -d /sys/fs/bpf/cloudsync/set-* | wc -l'), '1')

    def test_stamp_is_copied_and_changed(self):
        """What a root may do to files: the note on the inode stays true."""
        absent, here = self.cold('copied')
        m = self.machine
        self.kill()
        self.assertEqual(self.tell('read', '4', *here), {'ok': 4})
        self.assertEqual(self.tell('read', '4', *absent), {'EPERM': 4})
        script = ('import os, sys; x = "security.bpf.cloudsync"; v = os.getxattr(sys.argv[1], x);'
                  ' os.removexattr(sys.argv[1], x) if sys.argv[2] == "remove" else'
                  ' os.setxattr(sys.argv[1], x, v[:2] + bytes([int(sys.argv[2])]) + v[3:])')

        def state(path, number):
            m.run('python3', '-c', script, path, number)
        state(here[0], '1')
        self.assertEqual(self.tell('read', '1', here[0]), {'EPERM': 1})
        state(here[0], '3')
        self.assertEqual(self.tell('read', '1', here[0]), {'ok': 1})
        # On another file system a stamp means nothing.
        m.run('cp', '-a', here[0], '/var/tmp/copy')
        state('/var/tmp/copy', '1')
        self.assertEqual(self.tell('read', '1', '/var/tmp/copy'), {'ok': 1})

    def test_without_a_daemon_since_the_boot(self):
        """A store that is mounted by fstab, and nobody who serves it, from the first moment on."""
        absent, here = self.cold('boot')
        m = self.machine
        m.sh('pkill -TERM -o -x cloudsyncd; while pgrep -x cloudsyncd >/dev/null; do sleep 0.05; done')
        m.sh('echo "$1 $2 auto loop 0 0" >>/etc/fstab', self.cloud.device, STORE)
        m.reboot(LSM)
        m.until('it is mounted', 'mountpoint', '-q', STORE)
        self.assertEqual(self.tell('read', '20', *absent), {'EPERM': 20})
        self.assertEqual(self.tell('read', '4', *here), {'ok': 4})
        self.assertIn(STORE + ': guarded; cloudsyncd does not serve it', self.guarded())
        m.sh('sed -i /Device=/d /etc/cloudsync/cloudsync.conf')
        self.start()
        told = self.cloud.read_all(self.cloud.manifest('boot'))
        self.assertEqual((told['wrong'], told['failed']), ([], []))
        # That it is the guard: without it the same reads give zeros.
        absent, _ = self.cold('unguarded', whole=0)
        m.run(GUARD, 'unload')
        self.kill()
        self.assertEqual(self.tell('read', str(len(absent)), *absent), {'zeros': len(absent)})
        self.assertEqual(m.run(GUARD, 'status', check=False).returncode, 3)


class Storm(CloudCase):
    """The service under systemd, of which nothing is kept when it is killed: no fd store."""

    MACHINE = {'guard': True}
    BOOT = LSM

    @classmethod
    def prepare(cls):
        cls.machine.write('/etc/systemd/system/cloudsync.service.d/forgets.conf',
                          '[Service]\nFileDescriptorStoreMax=0\n')
        cls.machine.run('systemctl', 'daemon-reload')
        super().prepare()
        cls.plan = cls.plan_storm()

    @classmethod
    def plan_storm(cls):
        """Two trees at the server. No zero runs in them: any is a hole's."""
        trees = cls.cloud.trees
        trees['whole'] = {'d%d/f%d' % (i % 7, i): noise((1, 100, 4096, 5000, 70000, 200000, 1100000, 2 << 20)[i % 8], i)
                          for i in range(48)}
        trees['ranges'] = {'video%d' % i: noise(3 << 20, i) for i in range(4)}
        for name, tree in trees.items():
            for path, data in tree.items():
                put(os.path.join(cls.cloud.web.root, name, path), data, mtime=1600000000)
        cls.machine.write('/var/lib/plan.json', json.dumps({
            name: {'url': 'http://%s:%d/json/%s/' % (OUTSIDE, cls.cloud.web.port, name), 'files': sorted(tree)}
            for name, tree in trees.items()}))
        return '/var/lib/plan.json'

    def storm(self, *options):
        job = self.machine.start(*STORMER, self.plan, STORE, str(SECONDS), *options, timeout=SECONDS + 600)
        told = result(job, (SECONDS + 660) * SLOW)
        print('# %s' % {k: len(v) if isinstance(v, list) else v for k, v in told.items()}, file=sys.stderr)
        for wrong in told['wrong'][:20]:
            print('# wrong: %s' % wrong, file=sys.stderr)
        return told

    def test_storm(self):
        layers = json.loads(self.machine.run('cloudsyncctl', '--json', 'status').stdout)['layers']
        self.assertIn('bpf', layers)
        self.assertNotIn('fdstore', layers)  # systemd was asked, and keeps nothing
        self.assertEqual(self.machine.sh('systemctl show -p NFileDescriptorStore --value cloudsync.service'), '0')
        told = self.storm()
        self.assertEqual((told['wrong'], told['stuck']), ([], []))
        self.assertLessEqual(set(told['failed']), {'EPERM', 'EIO', 'ENOENT'}, told)
        self.assertGreaterEqual(told['kills'], SECONDS / 10)
        self.assertGreater(told['failed'].get('EPERM', 0) + told['killed'], 0, 'the guard had nothing to do')
        self.assertGreater(told['afterwards'], 0)
        self.assertGreater(told['generation'], 0)
        n = told['generation']
        files = {'%s%d/%s' % (kind, n, p): [len(d), digest(d)]
                 for kind, tree in self.cloud.trees.items() for p, d in tree.items()}
        self.machine.write('/var/lib/manifest-storm.json', json.dumps(files))
        told = self.cloud.read_all('/var/lib/manifest-storm.json')
        self.assertEqual((told['wrong'], told['failed'], told['right']), ([], [], len(files)))

    def test_storm_without_the_guard(self):
        """That it is the guard: without it the same storm gives zeros, soon."""
        self.machine.run(GUARD, 'unload')
        self.addCleanup(self.machine.run, GUARD, 'load')
        self.assertNotEqual(self.storm('--until-wrong')['wrong'], [])


if __name__ == '__main__':
    main()
