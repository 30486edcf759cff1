#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""example-test BUILD SOURCE: the way of an engine author, from the installed files alone

Installs the build into a scratch directory, builds examples/ there with make and
pkg-config (nothing of the source tree in view but dirfs.c and its Makefile), checks that
the Makefile installs where the host looks, and runs the host's dirfs test with that module.
"""

import os
import shutil
import subprocess
import sys
import tempfile


def run(*argv, **env):
    process = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, check=False, env={**os.environ, **env})
    output = process.stdout.decode('utf-8', 'replace')
    if process.returncode:
        sys.exit('%s: status %d\n%s' % (' '.join(argv), process.returncode, output))
    return output.strip()


def main():
    build, source = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix='cloudsync-example-') as scratch:
        os.chmod(scratch, 0o755)
        root = os.path.join(scratch, 'root')
        run('meson', 'install', '-C', build, '--no-rebuild', '--destdir', root)
        pc = subprocess.check_output(['find', root, '-name', 'cloudsync-engine.pc'],
                                     text=True).split()
        if len(pc) != 1:
            sys.exit('installed cloudsync-engine.pc: %r' % pc)
        env = {'PKG_CONFIG_PATH': os.path.dirname(pc[0])}
        prefix = run('pkg-config', '--variable=prefix', 'cloudsync-engine', **env)
        pkg_config = 'pkg-config --define-variable=prefix=' + root + prefix

        if run('pkg-config', '--variable=abi', 'cloudsync-engine', **env) != '1':
            sys.exit('the ABI of cloudsync-engine.pc is not 1')
        moduledir = run('pkg-config', '--variable=moduledir', 'cloudsync-engine', **env)
        host = subprocess.check_output(['find', root, '-name', 'cloudsync-engine-host'],
                                       text=True).strip()
        if 'default: %s)' % moduledir not in run(host, '--help'):
            sys.exit('the host looks elsewhere than in ' + moduledir)

        project = os.path.join(scratch, 'project')
        shutil.copytree(os.path.join(source, 'examples'), project,
                        ignore=shutil.ignore_patterns('*.so', 'meson.build'))
        for word in ('-Wall -Wextra -Werror', '-O2 -Wall -Wextra -Werror -std=c11'):
            run('make', '-C', project, 'clean', **env)
            run('make', '-C', project, 'PKG_CONFIG=' + pkg_config, 'CFLAGS=' + word, **env)
        installed = os.path.join(scratch, 'installed')
        run('make', '-C', project, 'install', 'DESTDIR=' + installed, **env)
        module = installed + moduledir + '/dirfs.so'
        if os.stat(module).st_mode & 0o022:
            sys.exit('the installed module is writable by others')

        # A C++ engine includes the header, too.
        probe = os.path.join(scratch, 'probe.cc')
        with open(probe, 'w', encoding='utf-8') as f:
            f.write('#include <cloudsync/engine.h>\nint main() { return sizeof(cs_entry) == 0; }\n')
        if shutil.which('c++'):
            run('c++', '-Wall', '-Wextra', '-Werror', '-I', root + prefix + '/include', '-o',
                os.path.join(scratch, 'probe'), probe)

        # Sanitizers and optimisation flags are the build's own, the module has none.
        output = run(os.path.join(build, 'tests', 'conformance', 'host-test'), '--tap', '-p',
                     '/host/dirfs', CLOUDSYNC_ENGINE_HOST=host,
                     CLOUDSYNC_TEST_MODULES=os.path.dirname(module))
        if 'ok 1 /host/dirfs' not in output:
            sys.exit(output)


main()
