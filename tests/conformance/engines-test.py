#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""engines-test CHECK HOST MODULE.so…: the suite that every engine has to pass, on each of ours

cloudsync-engine-check runs dirfs on a directory and httpfs on the same directory behind an
nginx; engines that get things wrong are caught by it. Prints TAP.
"""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

NGINX = '''daemon off; worker_processes 1; pid %(dir)s/pid; error_log %(dir)s/error.log;
%(user)s
events {}
http {
    access_log off;
    client_body_temp_path %(dir)s/t1; proxy_temp_path %(dir)s/t2; fastcgi_temp_path %(dir)s/t3;
    uwsgi_temp_path %(dir)s/t4; scgi_temp_path %(dir)s/t5;
    server { listen 127.0.0.1:%(port)d; root %(root)s; autoindex on; autoindex_exact_size on; }
}
'''


class Tap:
    def __init__(self):
        self.count = 0

    def result(self, ok, name, detail=''):
        self.count += 1
        print('%s %d - %s' % ('ok' if ok else 'not ok', self.count, name))
        if not ok:
            for line in detail.splitlines():
                print('# ' + line)
        sys.stdout.flush()

    def skip(self, name, reason):
        self.count += 1
        print('ok %d - %s # SKIP %s' % (self.count, name, reason))


def make_tree(root):
    dice = random.Random(7)
    for name, size in (('empty', 0), ('one', 1), ('a file with spaces & %41', 70000),
                       ('large', 20 << 20), ('deep/er/and/deeper', 5000), ('m\u00fcsik.txt', 300)):
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            f.write(dice.randbytes(size))
        os.utime(path, (1600000000, 1600000000))
    os.makedirs(os.path.join(root, 'nothing here'))
    for i in range(300):
        with open(os.path.join(root, 'deep', 'file-%03d' % i), 'wb') as f:
            f.write(dice.randbytes(i))


def start_nginx(scratch, root):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    home = os.path.join(scratch, 'nginx')
    os.mkdir(home)
    config = os.path.join(home, 'nginx.conf')
    with open(config, 'w', encoding='utf-8') as f:
        f.write(NGINX % {'dir': home, 'port': port, 'root': root,
                         'user': 'user root;' if os.geteuid() == 0 else ''})
    server = subprocess.Popen(['nginx', '-c', config, '-e', os.path.join(home, 'error.log')],
                              stderr=subprocess.DEVNULL)
    for _ in range(200):
        with socket.socket() as s:
            if s.connect_ex(('127.0.0.1', port)) == 0:
                return server, port
        time.sleep(0.05)
    server.kill()
    sys.exit('nginx does not start')


def main():
    check, host = sys.argv[1:3]
    tap = Tap()
    server = None
    with tempfile.TemporaryDirectory(prefix='cloudsync-engines-') as scratch:
        os.chmod(scratch, 0o755)
        modules = os.path.join(scratch, 'modules')
        root = os.path.join(scratch, 'tree')
        os.mkdir(modules, 0o755)
        os.mkdir(root, 0o755)
        for module in sys.argv[3:]:
            # Where the host, no longer root, gets at them, and nobody else may write.
            copy = shutil.copy(module, modules)
            os.chmod(copy, 0o644)
        make_tree(root)

        def run(name, *settings):
            argv = [check, '--host', host, '--log-level', '6', '--max-files', '40',
                    os.path.join(modules, name + '.so'), *settings]
            process = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, check=False)
            return process.returncode, process.stdout.decode('utf-8', 'replace')

        def expect_good(name, *settings):
            status, output = run(name, *settings)
            # that it really looked: the tree has more files than it may fetch
            ok = status == 0 and output.count('ranges are pieces') >= 30 and 'FAIL' not in output
            tap.result(ok, name + ' passes the suite', output)

        def expect_bad(name, *words):
            status, output = run(name)
            failed = '\n'.join(l for l in output.splitlines() if l.startswith('FAIL'))
            missing = [w for w in words if w not in failed]
            tap.result(status == 1 and not missing, name + ' does not pass',
                       'status %d, not said: %r\n%s' % (status, missing, output))

        try:
            expect_good('dirfs', 'path=' + root)
            if shutil.which('nginx'):
                server, port = start_nginx(scratch, root)
                expect_good('httpfs', 'url=http://127.0.0.1:%d/' % port)
            else:
                tap.skip('httpfs passes the suite', 'there is no nginx')
            expect_bad('liar', 'out of bounds', 'stat "file" says', 'other bytes than the first',
                       'of another version is refused', 'list of what is not there')
            expect_bad('crash', 'the engine starts: the host ended')
            expect_bad('setting', "the setting 'needed' is missing")
            expect_bad('scenario', 'list of what is not there')
        finally:
            if server:
                server.terminate()
                server.wait()
    print('1..%d' % tap.count)


main()
