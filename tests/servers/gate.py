#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""gate: a web server that does to each request what a test asks for

    gate.py DIRECTORY       prints "port N" and serves DIRECTORY on 127.0.0.1:N

Directories are listed as nginx's autoindex does in JSON, dot files included. Files have ETag,
Last-Modified, ranges, If-Range and If-Match. Without rules it is an honest server.

    POST /.rule     {"path": "/a/b", "what": W, "times": N, ...}: the next N GET requests
                    (default: all) of that path; "path" may end with "*"; "method": "HEAD": of those
        hold        wait before the answer until released
        stall       send "after" bytes of the body, then wait until released; with "cut": true
                    reset the connection then
        cut         send "after" bytes of the body, then reset the connection
        short       send "after" bytes of the body, then end the connection in order
        long        send "after" bytes too many behind the body (the length says nothing of it)
        status      answer "status" with "headers" {name: value}
        slow        "rate" bytes a second
        inexact     list the directory without dates, so that HEAD has to tell them
    POST /.release  let everything that waits go on, and drop all rules; {"keep": true}: rules stay
    GET /.waiting   how many requests are waiting
    GET /.log       [{"method", "path", "range", "status", "sent", "time"}, …] in the order of their
                    ends; "time" is that of their beginnings
"""

import email.utils
import http.server
import json
import os
import re
import socket
import struct
import sys
import threading
import time
import urllib.parse

ROOT = None
LOCK = threading.Condition()
RULES, LOG = [], []
WAITING = 0   # requests that are held or stalled
ACTIVE = 0    # requests that have come and are not in the log yet, those included
RELEASES = 0


def take_rule(method, path):
    with LOCK:
        for rule in RULES:
            pattern = rule['path']
            if rule.get('method', 'GET') != method:
                continue
            if pattern == path or pattern.endswith('*') and path.startswith(pattern[:-1]):
                if rule.get('times') is not None:
                    rule['times'] -= 1
                    if rule['times'] <= 0:
                        RULES.remove(rule)
                return dict(rule)
    return {}


def wait_for_release():
    global WAITING
    with LOCK:
        seen = RELEASES
        WAITING += 1
        LOCK.notify_all()
        LOCK.wait_for(lambda: RELEASES != seen)
        WAITING -= 1
        LOCK.notify_all()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def note(self, status, sent):
        with LOCK:
            LOG.append({'method': self.command, 'path': urllib.parse.unquote(self.path),
                        'range': self.headers.get('Range') or '', 'status': status, 'sent': sent, 'time': self.began})

    def answer(self, status, body=b'', headers=None, note=True):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)
        if note:
            self.note(status, len(body))

    def do_POST(self):
        global RELEASES
        length = int(self.headers.get('Content-Length') or 0)
        data = json.loads(self.rfile.read(length) or b'{}')
        with LOCK:
            if self.path == '/.rule':
                RULES.append(data)
            elif self.path == '/.release':
                if not data.get('keep'):
                    RULES.clear()
                RELEASES += 1
                LOCK.notify_all()
        self.answer(200, note=False)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        global ACTIVE
        self.began = time.monotonic()
        if self.path == '/.log':
            with LOCK:  # who has an answer expects it in the log
                LOCK.wait_for(lambda: ACTIVE <= WAITING, 5)
                body = json.dumps(LOG).encode()
            return self.answer(200, body, note=False)
        if self.path == '/.waiting':
            return self.answer(200, str(WAITING).encode(), note=False)
        with LOCK:
            ACTIVE += 1
        try:
            return self.serve()
        finally:
            with LOCK:
                ACTIVE -= 1
                LOCK.notify_all()

    def serve(self):
        path = urllib.parse.unquote_to_bytes(self.path.split('?')[0])
        rule = take_rule(self.command, os.fsdecode(path))
        if rule.get('what') == 'hold':
            wait_for_release()
        if rule.get('what') == 'status':
            return self.answer(rule['status'], b'no\n', rule.get('headers'))
        local = os.path.join(ROOT, path.lstrip(b'/'))
        if b'/../' in path + b'/':
            return self.answer(404)
        try:
            if path.endswith(b'/'):
                return self.answer(200, listing(local, rule.get('what') != 'inexact'), {'Content-Type': 'application/json'})
            with open(local, 'rb') as f:
                return self.send_file(f, rule)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return self.answer(404)

    def send_file(self, f, rule):
        st = os.fstat(f.fileno())
        etag = '"%x-%x"' % (st.st_mtime_ns, st.st_size)
        modified = email.utils.formatdate(int(st.st_mtime), usegmt=True)
        if self.headers.get('If-Match') not in (None, etag, '*'):
            return self.answer(412)
        begin, end, status = 0, st.st_size, 200
        match = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range') or '')
        if match and self.headers.get('If-Range') in (None, etag, modified):
            begin = int(match[1])
            end = min(int(match[2]) + 1 if match[2] else end, st.st_size)
            status = 206
            if begin >= end:
                return self.answer(416, headers={'Content-Range': 'bytes */%d' % st.st_size})
        self.send_response(status)
        self.send_header('ETag', etag)
        self.send_header('Last-Modified', modified)
        self.send_header('Accept-Ranges', 'bytes')
        self.send_header('Content-Length', str(end - begin))
        if status == 206:
            self.send_header('Content-Range', 'bytes %d-%d/%d' % (begin, end - 1, st.st_size))
        self.end_headers()
        sent = 0
        if self.command != 'HEAD':
            f.seek(begin)
            sent = self.send_body(f.read(end - begin), rule)
        self.note(status, sent)
        return None

    def send_body(self, body, rule):
        what, after = rule.get('what'), rule.get('after', 0)
        if what == 'stall':
            self.wfile.write(body[:after])
            wait_for_release()
            if rule.get('cut'):
                return self.reset(min(after, len(body)))
            self.wfile.write(body[after:])
        elif what == 'cut':
            self.wfile.write(body[:after])
            time.sleep(0.05)  # a reset overtakes what is in the receiver's queue
            return self.reset(min(after, len(body)))
        elif what == 'short':
            self.wfile.write(body[:after])
            self.close_connection = True
            return min(after, len(body))
        elif what == 'long':
            self.wfile.write(body + b'L' * after)
            self.close_connection = True
        elif what == 'slow':
            step = max(1, rule['rate'] // 20)
            for i in range(0, len(body), step):
                self.wfile.write(body[i:i + step])
                time.sleep(0.05)
        else:
            self.wfile.write(body)
        return len(body)

    def reset(self, sent):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.connection.close()
        self.close_connection = True
        return sent

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ConnectionError, ValueError, OSError):  # the client left, or cut
            self.close_connection = True

    def finish(self):
        try:
            super().finish()
        except (ConnectionError, ValueError, OSError):
            pass


def listing(directory, exact):
    entries = []
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        try:
            st = os.stat(path)
        except FileNotFoundError:
            continue
        entry = {'name': os.fsdecode(name), 'type': 'directory' if os.path.isdir(path) else 'file'}
        if exact:
            entry['mtime'] = email.utils.formatdate(int(st.st_mtime), usegmt=True)
        if entry['type'] == 'file':
            entry['size'] = st.st_size
        entries.append(entry)
    return json.dumps(entries).encode()


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, ValueError, OSError)):
            super().handle_error(request, client_address)

    def shutdown_request(self, request):
        try:
            super().shutdown_request(request)
        except OSError:
            pass


def main():
    global ROOT
    ROOT = os.fsencode(sys.argv[1])
    server = Server(('127.0.0.1', int(sys.argv[2]) if len(sys.argv) > 2 else 0), Handler)
    print('port %d' % server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == '__main__':
    main()
