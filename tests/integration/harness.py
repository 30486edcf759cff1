#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""harness: the real daemon on a real file system, bus and web server, for one test

Model. A test module is a program. Started, it becomes two processes:

    outer   (guardian)  makes the run's directory, starts the inner one, waits, and
                        afterwards detaches what loop devices are left and removes
                        the directory
    inner   (tests)     PID 1 of a PID namespace of its own, in a mount namespace of
                        its own: daemon, bus, web servers and readers are its children

So the kernel cleans up: however the tests end, SIGKILL included, every process of theirs
is killed with the PID namespace, and every mount goes with the mount namespace. No
mount of a test is ever visible outside, so the guardian's removal of the directory cannot
reach into a store. The guardian is a process group of its own and notices the end
of both by a pipe.

Rules for tests.
  - Nothing that touches content of the store runs in the test process: run() and
    isolated() have a time-out and kill what hangs. stat(2) raises no event and is allowed.
  - No fixed sleeps: wait_until() a condition.
  - Time-outs are generous (SLOW stretches them for sanitizers): they tell a hang
    from progress, nothing else.
  - A log with a sanitizer's report, a GLib critical or an assertion fails the test,
    and so does a mount, a loop device or a process that is left behind.

Environment: CLOUDSYNC_BUILD (build directory, default: build beside tests),
CLOUDSYNC_FS (ext4, xfs or btrfs), CLOUDSYNC_SLOW (a factor for time-outs),
CLOUDSYNC_KEEP=1 (leave the logs), and CLOUDSYNCD, CLOUDSYNCCTL,
CLOUDSYNC_ENGINE_HOST, CLOUDSYNC_MODULES (a directory) to test an installed package.
"""

# pylint: disable=unused-import
import glob
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.parse
import urllib.request

from support.cases import FLIGHT, CloudsyncTest, GateTest, access, put
from support.content import difference, digest, noise, zero_runs
from support.processes import (Hang, finish, isolated, kill_session, run, show, start, tail,
                               wait_until)
from support.runner import main
from support.servers import Bus, Gate, Web
from support.settings import (ACCESS, BUILD, BUS_NAME, CTL, DAEMON, ENGINE, FS, HOST, KIB, MANAGER,
                              MIB, ROOT_OBJECT, SLOW, SOURCE, TESTS, TIMEOUT)
from support.store import Store, gather_modules
from support.world import Service, World, loops_below, mounts_below
