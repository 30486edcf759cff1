# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Dropbox for tests: tests/servers/dropbox_api.py, and engines on it."""

import hashlib
import json
import os
import pwd
import subprocess
import sys
import urllib.request

from support.cases import CloudsyncTest
from support.processes import wait_until
from support.settings import CTL, TESTS

SERVER = os.path.join(TESTS, 'servers', 'dropbox_api.py')


def made_up(seed, size):
    """As dropbox_api.py makes it up."""
    digests = (hashlib.sha256(b'%s-%d' % (seed.encode(), i)).digest() for i in range(size // 32 + 1))
    return b''.join(digests)[:size]


class DropboxTest(CloudsyncTest):
    @classmethod
    def make(cls):
        super().make()
        cls.server = subprocess.Popen([sys.executable, SERVER, '0'], stdout=subprocess.PIPE, text=True)
        cls.hosts = json.loads(cls.server.stdout.readline())

    @classmethod
    def tearDownClass(cls):
        cls.server.terminate()
        cls.server.wait()
        cls.server.stdout.close()
        super().tearDownClass()

    def control(self, *steps):
        with urllib.request.urlopen(self.hosts['www'] + '/.control', json.dumps(steps).encode()) as answer:
            return json.load(answer)

    def calls(self, route):
        """How often it was called since the account was made."""
        with urllib.request.urlopen(self.hosts['www'] + '/.control') as answer:
            return json.load(answer)['log'].get(route, 0)

    def state_directory(self, engine):
        return os.path.join(self.store.state, 'engines', engine)

    def put_login(self, engine):
        """What `cloudsyncctl login` leaves behind, without it."""
        directory = self.state_directory(engine)
        wait_until(lambda: os.path.isdir(directory), 'the engine has its state directory')
        user = pwd.getpwnam('nobody')
        temporary = os.path.join(directory, 'credentials.test')
        with open(temporary, 'w', encoding='ascii') as f:
            os.fchmod(f.fileno(), 0o600)
            os.fchown(f.fileno(), user.pw_uid, user.pw_gid)
            json.dump({'refresh_token': self.control({'do': 'login'})[0]}, f)
        os.rename(temporary, os.path.join(directory, 'credentials'))

    def login(self, engine):
        """`cloudsyncctl login`, and the person in front of the browser. The code and the output."""
        process = self.spawn([CTL, '--bus', self.bus.address, '--json', 'login', engine])
        url = json.loads(process.stdout.readline())['url']
        code = self.control({'do': 'authorise', 'url': url})[0]
        out, err = process.communicate(code.encode() + b'\n', timeout=120)
        self.assertEqual(process.returncode, 0, err)
        self.assertTrue(json.loads(out)['logged_in'])
        return code, out + err

    def settings(self):
        return {'app_key': 'testappkey', **{host + '_url': url for host, url in self.hosts.items()}}

    def dropbox(self, *steps, login=True, **settings):
        """An engine on a fresh account with what `steps` put there."""
        self.control({'do': 'clear'}, {'do': 'set', 'longpoll_s': 5}, *steps)
        name = self.engine(module='dropbox', wait=None, **self.settings(), **settings)
        if login:
            self.put_login(name)
            self.store.wait_state(name, 'ready')
        return name

    def names(self, *parts):
        return sorted(os.listdir(self.file(*parts)))

    def await_names(self, names, *parts):
        wait_until(lambda: self.names(*parts) == names, '%r has %r' % (parts, names))
