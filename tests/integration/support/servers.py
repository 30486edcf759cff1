# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private bus, nginx, and the server that does as it is told."""

import json
import os
import re
import socket
import subprocess
import urllib.parse
import urllib.request

from support.processes import run, tail, wait_until
from support.settings import SLOW, TESTS, TIMEOUT
from support.world import Service

BUS_CONFIG = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow receive_sender="*" eavesdrop="true"/>
  </policy>
  <limit name="max_match_rules_per_connection">512</limit>
</busconfig>
'''


class Bus(Service):
    """A dbus-daemon of our own that lets every local user in."""

    def __init__(self, world, name='bus'):
        socket_path = world.path(name + '.socket')
        config = world.path(name + '.conf')
        with open(config, 'w', encoding='utf-8') as f:
            f.write(BUS_CONFIG % socket_path)
        self.address = 'unix:path=' + socket_path
        super().__init__(world, name, ['dbus-daemon', '--config-file=' + config, '--nofork',
                                       '--nopidfile', '--nosyslog'])
        wait_until(lambda: self.ready(socket_path), 'dbus-daemon listens')

    def ready(self, path):
        if not self.alive():
            raise AssertionError('dbus-daemon ended: ' + tail(self.log_text(), 1000))
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(path)
                return True
            except OSError:
                return False

    def busctl(self, *args, check=True, timeout=None, user=None):
        argv = ['busctl', '--address=' + self.address, '--timeout=%d' % (600 * SLOW), *args]
        kwargs = {'user': user, 'group': user, 'extra_groups': []} if user is not None else {}
        return run(argv, check=check, text=True, timeout=timeout, **kwargs)


NGINX_CONFIG = '''
daemon off;
master_process off;
user root;
worker_rlimit_nofile 8192;
pid {dir}/nginx.pid;
error_log {errors} notice;
events {{ worker_connections 4096; }}
http {{
    log_format requests escape=json '{{"method":"$request_method","path":"$request_uri",'
        '"status":$status,"range":"$http_range","sent":$body_bytes_sent}}';
    access_log {access} requests;
    types {{ }}
    default_type application/octet-stream;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 30s;
    keepalive_requests 1000000;
    autoindex on;
    autoindex_exact_size on;
    index .no-index;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {root};
        location / {{ }}
        location /json/ {{ alias {root}/; autoindex_format json; }}
        location /slow/ {{ alias {root}/; autoindex_format json; limit_rate {rate}; }}
        location = /.sentinel {{ return 204; }}
    }}
}}
'''


class Web(Service):
    """nginx on a free port of the loopback, serving `root` with directory indexes as
    HTML at /, as JSON at /json/, and slowly at /slow/."""

    def __init__(self, world, root=None, name='nginx', rate='256k'):
        self.root = root or world.new_directory('origin')
        self.dir = world.new_directory(name)
        self.port = world.free_port()
        self.access = os.path.join(self.dir, 'access.log')
        self.sentinels = 0
        config = os.path.join(self.dir, 'nginx.conf')
        with open(config, 'w', encoding='utf-8') as f:
            f.write(NGINX_CONFIG.format(dir=self.dir, errors=world.log(name + '-errors'),
                                        access=self.access, root=self.root, port=self.port,
                                        rate=rate))
        self.command = ['nginx', '-e', world.log(name + '-errors'), '-p', self.dir, '-c', config]
        super().__init__(world, name, self.command)
        self.wait_listening()

    def wait_listening(self):
        def listening():
            if not self.alive():
                raise AssertionError('nginx ended: ' + tail(self.log_text(), 1000))
            with socket.socket() as s:
                return s.connect_ex(('127.0.0.1', self.port)) == 0
        wait_until(listening, 'nginx listens')

    def again(self):
        """Starts it once more, on the same port."""
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        self.wait_listening()

    def url(self, path='', kind=''):
        return 'http://127.0.0.1:%d/%s%s' % (
            self.port, kind + '/' if kind else '', urllib.parse.quote(os.fsencode(path)))

    def requests(self):
        """All requests answered so far. nginx is one process and logs a request before it
        looks at the next: once a request made now is in the log, so is all before it."""
        self.sentinels += 1
        mark = '/.sentinel?%d' % self.sentinels
        urllib.request.urlopen(self.url().rstrip('/') + mark, timeout=TIMEOUT).close()

        def logged():
            with open(self.access, encoding='utf-8', errors='surrogateescape') as f:
                lines = f.read().splitlines()
            entries = [json.loads(line) for line in lines if line.endswith('}')]
            if any(e['path'] == mark for e in entries):
                return entries
            return None
        return [e for e in wait_until(logged, 'nginx logs the sentinel')
                if not e['path'].startswith('/.sentinel')]

    def gets(self, part=''):
        """GET requests of files (not of directories) whose path contains `part`."""
        return [e for e in self.requests()
                if e['method'] == 'GET' and not e['path'].split('?')[0].endswith('/')
                and part in urllib.parse.unquote(e['path'])]


class Gate(Service):
    """tests/servers/gate.py: a web server that does to each request what a test asks for."""

    def __init__(self, world, root=None, name='gate'):
        world.counter += 1
        self.root = root or world.new_directory('gate-origin')
        self.file_name = '%s-%d' % (name, world.counter)
        self.port = 0
        super().__init__(world, self.file_name, self.command())
        self.wait_listening()

    def command(self):
        return ['/usr/bin/python3', TESTS + '/servers/gate.py', self.root, str(self.port)]

    def wait_listening(self):
        def port():
            if not self.alive():
                raise AssertionError('gate.py ended: ' + tail(self.log_text(), 2000))
            return re.findall(rb'^port (\d+)$', self.log_text(), re.M)[self.begun - 1:]
        self.port = int(wait_until(port, 'gate.py listens')[0])

    begun = 1

    def again(self):
        """After kill(): starts it once more, on the same port, without rules."""
        self.begun += 1
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        self.wait_listening()

    def url(self, path=''):
        return 'http://127.0.0.1:%d/%s' % (self.port, urllib.parse.quote(os.fsencode(path)))

    def ask(self, path, data=None):
        if data is not None:
            data = json.dumps(data).encode()
        with urllib.request.urlopen(self.url(path), data, timeout=TIMEOUT) as answer:
            return json.loads(answer.read() or b'null')

    def rule(self, path, what, **more):
        self.ask('.rule', dict(more, path='/' + path, what=what))

    def release(self, keep=False):
        self.ask('.release', {'keep': keep})

    def wait_waiting(self, n=1):
        """Until at least n requests are held or stalled."""
        wait_until(lambda: self.ask('.waiting') >= n, 'the server holds %d requests' % n)

    def requests(self):
        return self.ask('.log')

    def gets(self, part=''):
        return [e for e in self.requests() if e['method'] == 'GET'
                and not e['path'].endswith('/') and part in e['path']]
