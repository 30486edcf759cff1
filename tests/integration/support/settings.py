# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where things are, and how patient to be. See harness.py for the environment."""

import os

TESTS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCE = os.path.dirname(TESTS)
BUILD = os.path.abspath(os.environ.get('CLOUDSYNC_BUILD') or os.path.join(SOURCE, 'build'))
FS = os.environ.get('CLOUDSYNC_FS') or 'ext4'
SLOW = float(os.environ.get('CLOUDSYNC_SLOW') or 1)
TIMEOUT = 60 * SLOW  # for anything that should take a moment

DAEMON = os.environ.get('CLOUDSYNCD') or BUILD + '/src/dispatcher/cloudsyncd'
CTL = os.environ.get('CLOUDSYNCCTL') or BUILD + '/src/ctl/cloudsyncctl'
HOST = os.environ.get('CLOUDSYNC_ENGINE_HOST') or BUILD + '/src/engine-host/cloudsync-engine-host'
ACCESS = BUILD + '/tests/integration/helpers/access'

BUS_NAME = 'org.cloudsync1'
ROOT_OBJECT = '/org/cloudsync1'
MANAGER = 'org.cloudsync1.Manager'
ENGINE = 'org.cloudsync1.Engine'

KIB, MIB = 1024, 1024 * 1024
