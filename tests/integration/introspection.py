#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""introspection: is what the daemon answers what data/dbus says?

    introspection.py ADDRESS OBJECT XML-FILE

asks the object at ADDRESS with busctl and compares its org.cloudsync1.* interfaces with the
file's: methods, signals, properties, arguments with names and directions, annotations. Prints
the differences; exit status 0 when there are none. The order does not count."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

BUS_NAME = 'org.cloudsync1'


def annotations(element):
    return {a.get('name'): a.get('value') for a in element.findall('annotation')}


def arguments(element, default):
    return [(a.get('name'), a.get('type'), a.get('direction', default))
            for a in element.findall('arg')]


def member(element):
    """What counts of a method, signal or property, as a comparable value."""
    if element.tag == 'property':
        shape = (element.get('type'), element.get('access'))
    elif element.tag == 'method':
        shape = tuple(arguments(element, 'in'))
    else:
        shape = tuple(arguments(element, 'out'))
    return shape, tuple(sorted(annotations(element).items()))


def interfaces(text):
    """{interface: {(kind, name): value}} of ours in an introspection document."""
    found = {}
    for interface in ElementTree.fromstring(text).findall('interface'):
        if interface.get('name').startswith(BUS_NAME + '.'):
            members = found.setdefault(interface.get('name'), {})
            for element in interface:
                if element.tag in ('method', 'signal', 'property'):
                    key = element.tag, element.get('name')
                    assert key not in members, 'twice: %s %s' % key
                    members[key] = member(element)
    return found


def differences(got, want):
    """A list of sentences, empty when both documents say the same."""
    got, want = interfaces(got), interfaces(want)
    result = []
    for name in sorted(set(got) | set(want)):
        a, b = got.get(name), want.get(name)
        if a is None or b is None:
            result.append('%s is only in %s' % (name, 'the file' if a is None else 'the answer'))
            continue
        for key in sorted(set(a) | set(b)):
            if a.get(key) != b.get(key):
                result.append('%s: %s %s: the answer is %s, the file is %s' % (
                    name, *key, a.get(key), b.get(key)))
    if not want:
        result.append('the file describes no interface')
    return result


def main():
    address, path, file = sys.argv[1:]
    answer = subprocess.run(['busctl', '--address=' + address, 'introspect', '--xml-interface',
                             BUS_NAME, path], check=True, stdout=subprocess.PIPE).stdout
    with open(file, 'rb') as f:
        found = differences(answer, f.read())
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
