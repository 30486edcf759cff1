# SPDX-License-Identifier: LGPL-2.1-or-later
"""agent: runs programs in the machine for the test outside

Speaks JSON, an object a line, over the virtio-serial port "agent" (see ../machine.py).

    asked       {"id": n, "argv": […], "input": base64, "timeout": s, "user": uid}
    answered    {"id": n, "status": s, "out": base64, "err": base64}

Each request is a thread, so that readers can block while other things are asked. status is the
exit status, negative a signal; a program that outlives its time-out is killed with its session, and
its status is "timeout". The first line that the agent writes is {"hello": boot id}.
"""

import base64
import json
import os
import signal
import subprocess
import threading
import time

LOCK = threading.Lock()


def port():
    for name in sorted(os.listdir('/sys/class/virtio-ports')):
        with open('/sys/class/virtio-ports/%s/name' % name, encoding='ascii') as f:
            if f.read().strip() == 'agent':
                return os.open('/dev/' + name, os.O_RDWR)
    return None


def say(fd, message):
    data = json.dumps(message).encode() + b'\n'
    with LOCK:
        while data:
            data = data[os.write(fd, data[:1 << 16]):]


def serve(fd, request):
    answer = {'id': request['id']}
    user = request.get('user')
    more = {} if user is None else {'user': user, 'group': user, 'extra_groups': []}
    given = base64.b64decode(request['input']) if request.get('input') is not None else None
    try:
        process = subprocess.Popen(
            request['argv'], stdin=subprocess.PIPE if given is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **more)
        try:
            out, err = process.communicate(given, timeout=request['timeout'])
            answer['status'] = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            answer['status'] = 'timeout'
    except OSError as e:
        out, err = b'', str(e).encode()
        answer['status'] = 127
    answer['out'] = base64.b64encode(out).decode()
    answer['err'] = base64.b64encode(err).decode()
    say(fd, answer)


def main():
    while (fd := port()) is None:
        time.sleep(0.05)
    with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as f:
        say(fd, {'hello': f.read().strip()})
    rest = b''
    while True:
        piece = os.read(fd, 1 << 16)
        if not piece:  # nobody is connected
            time.sleep(0.05)
            continue
        *lines, rest = (rest + piece).split(b'\n')
        for line in lines:
            threading.Thread(target=serve, args=(fd, json.loads(line)), daemon=True).start()


main()
