#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Can every row of the benchmark be measured? What the figures are is not looked at: they
mean nothing on sizes as small as these, beside other tests."""

import json
import os
import unittest

from harness import *  # pylint: disable=wildcard-import,unused-wildcard-import

ALONE = True


class Bench(unittest.TestCase):
    def test_every_row_can_be_measured(self):
        directory = os.environ['CLOUDSYNC_TEST_DIR']
        out = os.path.join(directory, 'rows.json')
        env = dict(os.environ, TMPDIR=directory)
        del env['CLOUDSYNC_TEST_INNER'], env['CLOUDSYNC_TEST_DIR']
        run([SOURCE + '/bench/run', '-C', BUILD, '--fs', FS, '--quick', '--json', out], env=env,
            timeout=600)
        with open(out, encoding='utf-8') as f:
            rows = json.load(f)['rows']
        listed = run([SOURCE + '/bench/run', '--list'], text=True, env=env).stdout.split()
        self.assertEqual({row['name'] for row in rows}, set(listed))
        for row in rows:
            self.assertGreater(row['value'], 0, row)


if __name__ == '__main__':
    main()
