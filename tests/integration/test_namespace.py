#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same files through other doors: mount namespaces, binds, read-only binds, overlayfs,
chroot, user namespaces, descriptors that outlive the path."""

import os

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

PER_FILESYSTEM = True

FILES = {'small': noise(30011, 1), 'large': zero_runs(2 * MIB + 777, 2), 'd/deep': noise(5000, 3)}

# $1: the lower directory, $2: a directory of ours
OVERLAY = '''mount -t tmpfs none "$2"; mkdir "$2/up" "$2/work" "$2/merged"
mount -t overlay none -o lowerdir="$1",upperdir="$2/up",workdir="$2/work" "$2/merged"
'''


class Doors(CloudsyncTest):

    def setUp(self):
        super().setUp()
        self.door = self.world.new_directory('door')

    def modes(self, check):
        for hydration in ('auto', 'ranges'):
            with self.subTest(hydration=hydration):
                self.engine(FILES, hydration=hydration)
                check()

    def check_script(self, prepare, directory, *unshare):
        """Runs `prepare` in new namespaces and cats every file below `directory` there. The shell's
        $1 is the prefix' directory, $2 an empty one."""
        for name, data in FILES.items():
            out = run(['unshare', *unshare, 'sh', '-ec', prepare + '\nexec cat "%s/$3"' % directory,
                       'sh', self.file(), self.door, name]).stdout
            self.assertBytes(out, data, name)

    def test_mount_namespace(self):
        self.modes(lambda: self.check_script('', '$1', '--mount'))

    def test_namespaces_of_a_container(self):
        self.modes(lambda: self.check_script(
            'mount --bind "$1" "$2"', '$2', '--mount', '--pid', '--fork', '--mount-proc', '--ipc',
            '--uts'))

    def test_user_namespace(self):
        """Its accesses come from a user that is not the host's root."""
        self.modes(lambda: self.check_script('', '$1', '--user', '--map-root-user', '--mount'))

    def test_bind(self):
        self.modes(lambda: self.check_script('mount --bind "$1" "$2"', '$2', '--mount'))

    def test_read_only_bind(self):
        self.modes(lambda: self.check_script(
            'mount --bind -o ro "$1" "$2"; ! touch "$2/small" 2>/dev/null', '$2', '--mount'))

    def test_bind_with_options(self):
        self.modes(lambda: self.check_script(
            'mount --bind -o ro,nodev,nosuid,noexec,noatime "$1" "$2"', '$2', '--mount'))

    def test_bind_of_a_file(self):
        def check():
            for name in ('small', 'large'):
                out = run(['unshare', '--mount', 'sh', '-ec', 'touch "$2/f"; mount --bind "$1" "$2/f"; '
                           'exec cat "$2/f"', 'sh', self.file(name), self.door]).stdout
                self.assertBytes(out, FILES[name], name)
        self.modes(check)

    def test_store_hidden_by_another_mount(self):
        """In a namespace whose own public path shows something else."""
        self.modes(lambda: self.check_script(
            'mount --bind "$1" "$2"; mount -t tmpfs none "%s"' % self.store.path, '$2', '--mount'))

    def test_overlay(self):
        """overlayfs reads its lower layer through a mount of its own."""
        self.modes(lambda: self.check_script(OVERLAY, '$2/merged', '--mount'))

    def test_overlay_mapped(self):
        """A mapping of a file of an overlay maps the lower file, without an event for it."""
        def check():
            for name, data in FILES.items():
                out = run(['unshare', '--mount', 'sh', '-ec',
                           OVERLAY +
                           'exec "$4" mmap-private "$2/merged/$3"',
                           'sh', self.file(), self.door, name, ACCESS]).stdout
                self.assertBytes(out, data, name)
        self.modes(check)

    def test_overlay_copy_up(self):
        """A write through an overlay copies the lower file: all of its bytes."""
        def check():
            for name, data in FILES.items():
                out = run(['unshare', '--mount', 'sh', '-ec',
                           OVERLAY +
                           'printf more >>"$2/merged/$3"; exec cat "$2/up/$3"',
                           'sh', self.file(), self.door, name]).stdout
                self.assertBytes(out, data + b'more', name)
                self.assertBytes(self.read(self.file(name)), data, 'the lower file')
        self.modes(check)

    def test_chroot(self):
        def check():
            for name, data in FILES.items():
                def inside(name=name):
                    os.chroot(self.file())
                    os.chdir('/')
                    with open('/' + name, 'rb') as f:
                        return f.read()
                self.assertBytes(isolated(inside), data, name)
        self.modes(check)

    def test_mmap_in_a_namespace(self):
        def check():
            for name, data in FILES.items():
                out = run(['unshare', '--mount', 'sh', '-ec', 'mount --bind -o ro "$1" "$2"; '
                           'exec "$4" mmap-private "$2/$3"', 'sh', self.file(), self.door, name,
                           ACCESS]).stdout
                self.assertBytes(out, data, name)
        self.modes(check)

    def test_write_in_a_namespace(self):
        self.engine(FILES)
        for name, data in FILES.items():
            run(['unshare', '--mount', 'sh', '-ec', 'mount --bind "$1" "$2"; printf more >>"$2/$3"',
                 'sh', self.file(), self.door, name])
            self.assertBytes(self.read(self.file(name)), data + b'more', name)

    def test_readdir_in_a_namespace(self):
        gate = Gate(self.world)
        put(gate.root + '/a/f', b'content')
        gate.rule('a/', 'hold')
        name = self.unique()
        self.engine(name=name, url=gate.url(), wait=None)
        wait_until(lambda: os.path.isdir(self.file('a')), 'the directory appears')
        lister = self.spawn(['unshare', '--mount', 'sh', '-ec', 'mount --bind -o ro "$1" "$2"; ls "$2/a"',
                             'sh', self.file(), self.door])
        wait_until(lambda: self.store.property('EventsPending') >= 1, 'ls waits')
        gate.release()
        self.assertEqual(finish(lister)[1], b'f\n')
        gate.kill()

    def test_open_by_proc(self):
        """A descriptor opened anew by /proc/self/fd, and one opened with O_PATH first."""
        self.engine(FILES, hydration='ranges')
        for name, data in FILES.items():
            def again(name=name):
                fd = os.open(self.file(name), os.O_PATH)
                with open('/proc/self/fd/%d' % fd, 'rb') as f:
                    return f.read()
            self.assertBytes(isolated(again), data, name)

    def test_passed_descriptor(self):
        """Opened by one process, read by another."""
        self.engine(FILES, hydration='ranges')
        for name, data in FILES.items():
            out = run(['sh', '-c', 'exec 3<"$1"; cat <&3', 'sh', self.file(name)]).stdout
            self.assertBytes(out, data, name)

    def test_loop_device_on_a_placeholder(self):
        """A disk image in the store, mounted: the kernel reads it by itself, without events."""
        image = self.world.path('image')
        if not os.path.exists(image):
            with open(image, 'wb') as f:
                f.truncate(4 * MIB)
            run(['mkfs.ext4', '-q', '-F', '-d', self.small_tree(), image])
        with open(image, 'rb') as f:
            data = f.read()
        for hydration in ('auto', 'ranges'):
            with self.subTest(hydration=hydration):
                self.engine({'image': data}, hydration=hydration)
                out = run(['unshare', '--mount', 'sh', '-ec', 'mount -o ro,loop "$1" "$2"; '
                           'cat "$2/inner"', 'sh', self.file('image'), self.door]).stdout
                self.assertBytes(out, noise(50000, 8))

    def small_tree(self):
        tree = self.world.new_directory('tree')
        put(tree + '/inner', noise(50000, 8))
        return tree


if __name__ == '__main__':
    main()
