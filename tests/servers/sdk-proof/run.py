#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""run: proof.js with the official SDK from the npm registry, in a directory that goes away again

Prints TAP. Without node (18 or later), npm or a registry that answers there is nothing to prove
with: all of it is skipped, and the reason says why.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SDK = 'dropbox@10'


def skip(reason):
    print('1..0 # SKIP the Dropbox SDK does not prove the test server: ' + reason)
    sys.exit(0)


def install(directory):
    node, npm = shutil.which('node'), shutil.which('npm')
    if not node or not npm:
        skip('node and npm are not installed')
    version = subprocess.run([node, '-p', 'process.versions.node'], capture_output=True, text=True, check=True)
    if int(version.stdout.split('.')[0]) < 18:
        skip('node %s has no fetch()' % version.stdout.strip())
    try:
        done = subprocess.run([npm, 'install', '--no-audit', '--no-fund', '--ignore-scripts',
                               '--fetch-retries=1', '--cache', os.path.join(directory, 'cache'), SDK],
                              cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=90, check=False)
    except subprocess.TimeoutExpired:
        skip('npm install did not end within 90 s')
    if done.returncode != 0:
        skip('npm install %s failed: %s' % (SDK, (done.stderr.strip().splitlines() or ['?'])[0]))
    return node


def main():
    with tempfile.TemporaryDirectory(prefix='sdk-proof-') as directory:
        with open(os.path.join(directory, 'package.json'), 'w', encoding='ascii') as package:
            json.dump({'name': 'sdk-proof', 'private': True}, package)
        node = install(directory)
        shutil.copy(os.path.join(HERE, 'proof.js'), directory)
        with subprocess.Popen([sys.executable, os.path.join(HERE, '..', 'dropbox_api.py'), '0'],
                              stdout=subprocess.PIPE, text=True) as server:
            try:
                hosts = json.loads(server.stdout.readline())
                done = subprocess.run([node, 'proof.js', hosts['www']], cwd=directory, timeout=120, check=False)
            finally:
                server.terminate()
        return done.returncode


if __name__ == '__main__':
    sys.exit(main())
