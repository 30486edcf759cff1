#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""faulty: an HTTP/1.1 server that does one thing wrong, chosen by the path

    faulty.py PORT [OTHER_PORT]

Everything is made up here; no file is read. /FAULT/NAME is a file of SIZE bytes whose byte i is
content(i), served with ETag and Last-Modified as FAULT says. /list/KIND/ are listings, good and
bad. OTHER_PORT is another faulty.py for redirects to another origin. Asked as a proxy
it answers all hosts' URLs as its own.

    GET /.seen      {"requests": N, "authorization": [paths that were asked with one]}
    GET /.reset     forget what was seen, and the state of faults that happen once
"""

import email.utils
import hashlib
import json
import re
import socket
import struct
import sys
import threading
import time

SIZE = 200000
MTIME = 1700000001
ETAG = '"v1"'
DATA = b''.join(hashlib.sha256(b'%d' % i).digest() for i in range(SIZE // 32 + 1))[:SIZE]

LOCK = threading.Lock()
SEEN = {'requests': 0, 'authorization': []}
ONCE = set()
OTHER_PORT = 0
PORT = 0


def date(seconds):
    return email.utils.formatdate(seconds, usegmt=True)


def once(key):
    """True the first time."""
    with LOCK:
        if key in ONCE:
            return False
        ONCE.add(key)
        return True


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile('rb')
        self.alive = True

    def read_request(self):
        line = self.file.readline(65536)
        if not line:
            return False
        self.method, self.path, _ = line.decode('latin-1').split(' ', 2)
        # As a proxy it is asked for whole URLs, and answers them itself.
        self.path = re.sub(r'^http://[^/]*', '', self.path)
        self.headers = {}
        while True:
            line = self.file.readline(65536).decode('latin-1').strip()
            if not line:
                break
            name, _, value = line.partition(':')
            self.headers[name.lower()] = value.strip()
        self.body = self.file.read(int(self.headers.get('content-length', '0')))
        with LOCK:
            if not self.path.startswith('/.'):
                SEEN['requests'] += 1
            if 'authorization' in self.headers:
                SEEN['authorization'].append(self.path)
        return True

    def raw(self, data):
        self.sock.sendall(data)

    def head(self, status, headers=(), length=None):
        lines = ['HTTP/1.1 %d X' % status]
        lines += ['%s: %s' % pair for pair in headers]
        if length is not None:
            lines.append('Content-Length: %d' % length)
        self.raw(('\r\n'.join(lines) + '\r\n\r\n').encode('latin-1'))

    def answer(self, status, headers=(), body=b''):
        self.head(status, headers, len(body))
        if self.method != 'HEAD':
            self.raw(body)

    def close(self):
        self.alive = False

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.alive = False

    def chunk(self, data):
        self.raw(b'%x\r\n%s\r\n' % (len(data), data))


# Files ------------------------------------------------------------------------

def asked_range(c):
    match = re.fullmatch(r'bytes=(\d+)-(\d*)', c.headers.get('range', ''))
    if not match:
        return None
    first = int(match.group(1))
    last = min(int(match.group(2) or SIZE - 1), SIZE - 1)
    return first, last


def validators(etag=ETAG, mtime=MTIME):
    headers = []
    if etag:
        headers.append(('ETag', etag))
    if mtime:
        headers.append(('Last-Modified', date(mtime)))
    return headers


def send_file(c, etag=ETAG, mtime=MTIME, ranges=True, extra=(), range_text=None, body=None,
              data=DATA):
    """An honest answer but for what the arguments change. body(c, data): sends it."""
    headers = validators(etag, mtime) + list(extra)
    span = asked_range(c) if ranges else None
    if span and 'if-range' in c.headers and c.headers['if-range'] != etag:
        span = None
    if span and span[0] >= len(data):
        c.answer(416, [('Content-Range', 'bytes */%d' % len(data))])
        return
    status = 200
    if span:
        status = 206
        text = range_text or 'bytes %d-%d/%d'
        if text != '-':
            value = text % (span[0], span[1], len(data)) if '%' in text else text
            headers.append(('Content-Range', value))
        data = data[span[0]:span[1] + 1]
    c.head(status, headers, len(data))
    if c.method == 'HEAD':
        return
    if body:
        body(c, data)
    else:
        c.raw(data)


def body_reset(c, data):
    c.raw(data[:len(data) // 2])
    time.sleep(0.05)  # or the reset overtakes the bytes
    c.reset()


def body_short(c, data):
    c.raw(data[:len(data) // 2])
    c.close()


def body_stall(c, data):
    c.raw(data[:1000])
    time.sleep(30)
    c.close()


def body_dribble(c, data):
    for i in range(0, len(data), 2000):
        c.raw(data[i:i + 2000])
        time.sleep(0.02)


def resumes(c):
    """Breaks each connection after 50,000 bytes; who asks for the rest gets it."""
    def body(c, data):
        if len(data) <= 50000:
            c.raw(data)
            return
        c.raw(data[:50000])
        time.sleep(0.05)
        c.reset()
    send_file(c, body=body)


def long_chunked(c):
    span = asked_range(c)
    c.head(206, validators() + [('Content-Range', 'bytes %d-%d/%d' % (*span, SIZE)),
                                ('Transfer-Encoding', 'chunked')])
    c.chunk(DATA[span[0]:span[1] + 1])
    c.chunk(b'surplus')
    c.raw(b'0\r\n\r\n')


def chunked(c):
    c.head(200, validators() + [('Transfer-Encoding', 'chunked')])
    if c.method == 'HEAD':
        return
    for i in range(0, SIZE, 7000):
        c.chunk(DATA[i:i + 7000])
    c.raw(b'0\r\n\r\n')


def endless(c):
    c.head(200, validators() + [('Transfer-Encoding', 'chunked')])
    while True:
        c.chunk(b'x' * 65536)


def endless_headers(c):
    c.raw(b'HTTP/1.1 200 OK\r\n')
    for i in range(100000):
        c.raw(b'X-%d: %s\r\n' % (i, b'y' * 100))
    c.raw(b'\r\n')


def long_header(c):
    c.raw(b'HTTP/1.1 200 OK\r\nX-Long: ' + b'y' * 1000000 + b'\r\n\r\n')


def multipart(c):
    c.answer(206, validators() + [('Content-Type', 'multipart/byteranges; boundary=B')],
             b'--B\r\nContent-Range: bytes 0-0/%d\r\n\r\nx\r\n--B--\r\n' % SIZE)


def unsatisfiable(c, size):
    c.answer(416, [('Content-Range', 'bytes */%d' % size)])


def garbage(c):
    c.raw(b'this is no HTTP at all\r\n\r\n')
    c.close()


def redirect(c, location, status=302):
    c.answer(status, [('Location', location)], b'go there')


def hops(c):
    n = int(c.path.rsplit('/', 1)[1])
    if n == 0:
        send_file(c)
    else:
        redirect(c, '/hops/%d' % (n - 1))


def retry_date(c):
    c.answer(503, [('Retry-After', date(time.time() + 40))])


FILES = {
    'ok': send_file,
    'noetag': lambda c: send_file(c, etag=None),
    'nohead': lambda c: c.answer(405) if c.method == 'HEAD' else send_file(c),
    'nolength': lambda c: c.head(200, validators()) if c.method == 'HEAD' else send_file(c),
    'weak': lambda c: send_file(c, etag='W/"v1"'),
    'novalidators': lambda c: send_file(c, etag=None, mtime=None),
    'noranges': lambda c: send_file(c, ranges=False),
    'chunked': chunked,
    'reset': lambda c: send_file(c, body=body_reset),
    'short': lambda c: send_file(c, body=body_short),
    'stall': lambda c: send_file(c, body=body_stall),
    'dribble': lambda c: send_file(c, body=body_dribble),
    'resumes': resumes,
    'longchunked': long_chunked,
    'long': lambda c: send_file(c, body=lambda c, data: (c.raw(data + b'surplus'), c.close())),
    'endless': endless,
    'endlessheaders': endless_headers,
    'longheader': long_header,
    'multipart': multipart,
    'wrongrange': lambda c: send_file(c, range_text='bytes 1-%d/%d' % (SIZE - 1, SIZE)),
    'wrongtotal': lambda c: send_file(c, range_text='bytes %d-%d/999999999%.0s'),
    'wrongtotal-noetag': lambda c: send_file(c, etag=None, range_text='bytes %d-%d/999999999%.0s'),
    'startotal': lambda c: send_file(c, range_text='bytes %d-%d/*%.0s'),
    'norange206': lambda c: send_file(c, range_text='-'),
    'newetag': lambda c: send_file(c, etag='"v2"'),
    'newetag206': lambda c: ignore_if_range(c),
    'noetag206': lambda c: ignore_if_range(c, etag=None),
    'newmtime': lambda c: send_file(c, etag=None, mtime=MTIME + 5),
    'newsize': lambda c: send_file(c, etag=None, mtime=None, ranges=False, data=DATA[:-10]),
    'gzip': lambda c: send_file(c, extra=[('Content-Encoding', 'gzip')]),
    'samesize416': lambda c: unsatisfiable(c, SIZE),
    'othersize416': lambda c: unsatisfiable(c, 10),
    '400': lambda c: c.answer(400),
    '401': lambda c: c.answer(401, [('WWW-Authenticate', 'Basic realm="x"')]),
    '403': lambda c: c.answer(403),
    '404': lambda c: c.answer(404, (), b'no such thing'),
    '410': lambda c: c.answer(410),
    '412': lambda c: c.answer(412),
    '204': lambda c: c.head(204),
    '304': lambda c: c.head(304),
    '407': lambda c: c.answer(407),
    '408': lambda c: c.answer(408),
    '500': lambda c: c.answer(500),
    '502': lambda c: c.answer(502),
    '503': lambda c: c.answer(503, [('Retry-After', '3')]),
    '503date': retry_date,
    '503huge': lambda c: c.answer(503, [('Retry-After', '99999999999999999999')]),
    '504': lambda c: c.answer(504),
    '429': lambda c: c.answer(429, [('Retry-After', '7')]),
    '404big': lambda c: c.answer(404, (), b'x' * 3000000),
    'garbage': garbage,
    'emptyreply': lambda c: c.close(),
    'interim': lambda c: (c.raw(b'HTTP/1.1 103 Early Hints\r\nETag: "no"\r\n\r\n'), send_file(c)),
    'auth': lambda c: send_file(c) if 'authorization' in c.headers else c.answer(401),
    'loop': lambda c: redirect(c, c.path),
    'hops': hops,
    'tofile': lambda c: redirect(c, 'file:///etc/passwd'),
    'toftp': lambda c: redirect(c, 'ftp://127.0.0.1/x'),
    'nolocation': lambda c: c.answer(302),
    'away': lambda c: redirect(c, 'http://127.0.0.1:%d/ok/%s' % (OTHER_PORT, 'f'), 307),
    'away-user': lambda c: redirect(c, 'http://u:p@127.0.0.1:%d/ok/f' % OTHER_PORT, 308),
    'relative': lambda c: redirect(c, '../ok/f'),
    'isdir': lambda c: redirect(c, c.path + '/', 301) if not c.path.endswith('/') else c.answer(200),
}


def ignore_if_range(c, etag='"v2"'):
    """206 whatever If-Range says."""
    c.headers.pop('if-range', None)
    send_file(c, etag=etag)


# Listings ----------------------------------------------------------------------

HTML = [('Content-Type', 'text/html')]
JSON = [('Content-Type', 'application/json')]
XML = [('Content-Type', 'application/xml; charset=utf-8')]

EVIL_LINKS = [
    '?C=N;O=D', '../', '/', '/list/', '/list/evil/', './', '#top', '',
    'good', 'sub/', './dotted', '%67ood', 'good', 'sub',
    '..%2f..%2fetc', '%2e%2e', '%2e%2e/', '.', '..', '...', 'a%00b', 'a%0ab', 'a%7fb', 'a%2Fb', 'a/b',
    'sub//', '//evil.example/x', 'http://evil.example/x', 'https://127.0.0.1/list/evil/x',
    'file:///etc/passwd', 'javascript:alert(1)', 'mailto:a@b', 'x' * 300, '%zz', '%', 'a%2',
    '/list/other/x', '../x', 'q?x=1', '/list/evil/absolute', '/list/evi%6c/encoded',
    'http://127.0.0.1:@PORT@/list/evil/whole', '//127.0.0.1:@PORT@/list/evil/slashes',
    'C%3A%5Cwindows', 'percent%2541', 'frag#ment', '  spaced  ',
]
EVIL_GOOD = {'good', 'dotted', '...', 'absolute', 'encoded', 'whole', 'slashes', 'C:\\windows',
             'percent%41', 'frag', 'spaced'}


def html_page(links, title='Index of /list/'):
    rows = ''.join('<a href="%s">x</a>  25-Nov-2026 21:57  5\n' % link.replace('&', '&amp;')
                   for link in links)
    return ('<html><head><title>%s</title></head><body><h1>%s</h1><hr><pre>%s</pre></body></html>'
            % (title, title, rows)).encode()


def list_evil(c, rest):
    if rest == '':
        c.answer(200, HTML, html_page(EVIL_LINKS).replace(b'@PORT@', b'%d' % PORT))
    else:
        send_file(c)


def list_heads(c, rest):
    """Files whose HEADs end in all ways; "flaky" works the second time."""
    if rest == '':
        names = ['fine', 'gone', 'forbidden', 'bad', 'flaky', 'reset', 'nolength', 'weak', 'isdir',
                 'moved', 'encoded']
        c.answer(200, HTML, html_page(names))
    elif rest == 'gone':
        c.answer(404)
    elif rest == 'forbidden':
        c.answer(403)
    elif rest == 'bad':
        c.answer(400)
    elif rest == 'flaky' and once('flaky'):
        c.answer(500)
    elif rest == 'reset' and once('reset'):
        c.reset()
    elif rest == 'nolength':
        chunked(c)
    elif rest == 'weak':
        send_file(c, etag='W/"v1"')
    elif rest == 'isdir':
        redirect(c, c.path + '/', 301)
    elif rest == 'moved':
        redirect(c, '/ok/f')
    elif rest == 'encoded':
        send_file(c, extra=[('Content-Encoding', 'gzip')])
    else:
        send_file(c)


def list_failing(fails, count=300):
    """`count` files f0, f1, … of which fails(c, number) may answer for one, and says so."""
    def answer(c, rest):
        if rest == '':
            c.answer(200, HTML, html_page(['f%d' % i for i in range(count)]))
        elif not fails(c, int(rest[1:])):
            send_file(c)
    return answer


def refuses(which, status, headers=()):
    return lambda c, i: which(i) and (c.answer(status, headers), True)[1]


def list_limited(c, rest):
    """Too many requests, once for each."""
    if rest == '':
        c.answer(200, HTML, html_page(['f%d' % i for i in range(200)]))
    elif once('limited-' + rest):
        c.answer(429, [('Retry-After', '1')])
    else:
        send_file(c)


def list_slow(c, rest):
    if rest == '':
        time.sleep(20)
    c.answer(200, HTML, html_page([]))


def list_million(c, rest):
    if c.method == 'PROPFIND':
        c.answer(405)
        return
    c.head(200, JSON + [('Transfer-Encoding', 'chunked')])
    c.chunk(b'[\n')
    for i in range(0, 1000000, 10000):
        c.chunk(b',\n'.join(b'{ "name":"f%06d", "type":"file", "mtime":"%s", "size":%d }'
                            % (j, date(MTIME).encode(), j) for j in range(i, i + 10000))
                + (b',\n' if i < 990000 else b'\n]\n'))
    c.raw(b'0\r\n\r\n')


def list_endless(c, rest):
    c.head(200, HTML + [('Transfer-Encoding', 'chunked')])
    c.chunk(html_page(['a'])[:-20])
    block = (b'<b>' + b'y' * 1000 + b'</b>') * 1000
    while True:
        c.chunk(block)


def json_list(elements):
    return '[%s]' % ',\n'.join(json.dumps(e) for e in elements)


def element(name, kind='file', **more):
    return {'name': name, 'type': kind, 'mtime': date(MTIME), 'size': 5, **more}


def list_json_evil(c, rest):
    names = ['good', '..', '.', '', 'a/b', 'nul\0byte', 'new\nline', 'x' * 256, 'good', '/abs',
             '\x7f', 'y' * 255, 'percent%2F']
    body = json_list([element(n) for n in names]
                     + [element('negative', size=-1), element('huge', size=2 ** 70),
                        element('text', size='12'), element('float', size=1.5),
                        element('nodate', mtime='yesterday'), element('socket', 'other'),
                        element('dir', 'directory'), {'name': 'typeless'}, {'type': 'file'}, {'name': 5, 'type': 'file'}])
    if rest == '':
        c.answer(200, JSON, body.encode('utf-8'))
    else:
        send_file(c)


def list_json_deep(c, rest):
    c.answer(200, JSON, b'[{"name":' + b'[' * 100000)


def list_json_cut(c, rest):
    c.answer(200, JSON, json_list([element('a'), element('b')])[:-3].encode())


def list_json_long(c, rest):
    c.answer(200, JSON, json_list([element('a' * 100000)]).encode())


def dav(responses, head=''):
    return ('<?xml version="1.0"?>%s<D:multistatus xmlns:D="DAV:">%s</D:multistatus>'
            % (head, ''.join(responses))).encode()


def dav_response(href, length=5, etag='"e"', collection=False, status='HTTP/1.1 200 OK'):
    return ('<D:response><D:href>%s</D:href><D:propstat><D:prop><D:resourcetype>%s</D:resourcetype>'
            '<D:getcontentlength>%s</D:getcontentlength><D:getlastmodified>%s</D:getlastmodified>'
            '<D:getetag>%s</D:getetag></D:prop><D:status>%s</D:status></D:propstat></D:response>'
            % (href, '<D:collection/>' if collection else '', length, date(MTIME), etag, status))


BOMB = ('<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
        + ''.join('<!ENTITY %s "%s">' % (chr(ord('a') + i), ('&%s;' % chr(ord('a') + i - 1)) * 10)
                  for i in range(1, 20)) + ']>')


def list_dav(c, rest):
    base = '/list/dav/'
    if c.method != 'PROPFIND':
        send_file(c)
        return
    if c.headers.get('depth') == '0':
        c.answer(207, XML, dav([dav_response(c.path, collection=c.path.endswith('/'))]))
        return
    c.answer(207, XML, dav([
        dav_response(base, collection=True), dav_response(base + 'good'),
        dav_response(base + 'sub/', collection=True), dav_response(base + 'noslash', collection=True),
        dav_response(base + 'a%2Fb'), dav_response(base + '..%2f'), dav_response('/etc/passwd'),
        dav_response('http://evil.example/x'), dav_response(base + 'deep/er'),
        dav_response(base + 'weak', etag='W/&quot;e&quot;'), dav_response(base + 'nolength', length=''),
        dav_response(base + 'unknown', status='HTTP/1.1 404 Not Found'),
        dav_response(base + 'amp%26amp;&amp;'), dav_response(base + 'a%00b'),
        '<D:response><D:href>%shidden</D:href><D:status>HTTP/1.1 403 No</D:status></D:response>' % base,
        '<D:response/>']))


def list_dav_bomb(c, rest):
    c.answer(207, XML, dav([dav_response('/list/davbomb/&t;')], BOMB))


def list_dav_external(c, rest):
    c.answer(207, XML, dav([dav_response('/list/davexternal/&x;')],
                           '<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>'))


def list_dav_deep(c, rest):
    c.answer(207, XML, b'<D:multistatus xmlns:D="DAV:">' + b'<D:x>' * 100000)


def list_dav_cut(c, rest):
    c.answer(207, XML, dav([dav_response('/list/davcut/a')])[:-20])


MANIFEST = [
    {'path': 'a.txt', 'size': 5, 'mtime': MTIME, 'etag': '"e"'},
    {'path': 'd/x', 'size': 6, 'mtime': MTIME + 0.5, 'etag': 'bare'},
    {'path': 'd/e/y', 'size': 7, 'mtime': date(MTIME)},
    {'path': 'd-e/z', 'size': 7, 'mtime': MTIME},
    {'path': 'asked'}, {'path': 'empty/'}, {'path': '../up', 'size': 1, 'mtime': 1},
    {'path': '/abs', 'size': 1, 'mtime': 1}, {'path': 'd//x', 'size': 1, 'mtime': 1},
    {'path': 'a.txt', 'size': 9, 'mtime': 1}, {'path': 'a.txt/under', 'size': 1, 'mtime': 1},
    {'path': 'new\nline', 'size': 1, 'mtime': 1}, {'size': 4}, {'path': 'd', 'size': 1, 'mtime': 1},
]


def list_manifest(c, rest):
    lines = list(MANIFEST)
    etag = '"m1"'
    with LOCK:
        changed = 'manifest-changed' in ONCE
    if changed:
        lines.append({'path': 'later', 'size': 1, 'mtime': MTIME})
        etag = '"m2"'
    if rest == '.change':
        once('manifest-changed')
        c.answer(200)
    elif rest == 'M.jsonl':
        if c.headers.get('if-none-match') == etag:
            c.head(304, [('ETag', etag)])
        else:
            c.answer(200, [('ETag', etag)], '\n'.join(map(json.dumps, lines)).encode())
    elif rest == 'bad.jsonl':
        c.answer(200, (), b'{"path":"a","size":1,"mtime":1}\n{"path":')
    else:
        send_file(c)


LISTS = {
    'evil': list_evil,
    'heads': list_heads,
    'busy': list_failing(refuses(lambda i: i == 150, 503, [('Retry-After', '1')])),
    'down': list_failing(refuses(lambda i: True, 503)),
    'private': list_failing(refuses(lambda i: True, 403)),
    'broken': list_failing(refuses(lambda i: i == 150, 500)),
    'allbroken': list_failing(refuses(lambda i: i > 0, 500)),
    'silent': list_failing(lambda c, i: i == 150 and (c.close(), True)[1]),
    'limited': list_limited,
    'slow': list_slow,
    'million': list_million,
    'endless': list_endless,
    'jsonevil': list_json_evil,
    'jsondeep': list_json_deep,
    'jsoncut': list_json_cut,
    'jsonlong': list_json_long,
    'dav': list_dav,
    'davbomb': list_dav_bomb,
    'davexternal': list_dav_external,
    'davdeep': list_dav_deep,
    'davcut': list_dav_cut,
    'manifest': list_manifest,
    'page': lambda c, rest: c.answer(200, HTML, html_page(['good', 'sub/'], 'My home page')),
    'text': lambda c, rest: c.answer(200, [('Content-Type', 'text/plain')], b'hello'),
    'deep': lambda c, rest: c.answer(200, HTML, html_page(['n' * 255 + '/'])),
    'nothing': lambda c, rest: c.answer(200, HTML, html_page(['../'])),
    'away': lambda c, rest: redirect(c, '/list/evil/'),
    'offsite': lambda c, rest: redirect(c, 'http://127.0.0.1:%d/list/offsite/' % OTHER_PORT),
    'busy503': lambda c, rest: c.answer(503, [('Retry-After', '2')]),
    'cut': lambda c, rest: (c.head(200, HTML, 5000), c.raw(html_page(['good'])), c.close()),
}


def control(c):
    if c.path == '/.reset':
        with LOCK:
            ONCE.clear()
            SEEN.update(requests=0, authorization=[])
    with LOCK:
        body = json.dumps(SEEN).encode()
    c.answer(200, JSON, body)


def serve(sock):
    c = Connection(sock)
    try:
        while c.alive and c.read_request():
            parts = c.path.split('/', 3)
            if c.path.startswith('/.'):
                control(c)
            elif parts[1] == 'list' and len(parts) == 4 and parts[2] in LISTS:
                if c.method == 'PROPFIND' and 'dav' not in parts[2]:
                    c.answer(405)
                else:
                    LISTS[parts[2]](c, parts[3])
            elif parts[1] in FILES:
                FILES[parts[1]](c)
            else:
                c.answer(404)
    except (OSError, ValueError):
        pass
    finally:
        sock.close()
        c.file.close()


def main():
    global PORT, OTHER_PORT
    PORT = int(sys.argv[1])
    OTHER_PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    listener = socket.create_server(('127.0.0.1', PORT), backlog=512)
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


if __name__ == '__main__':
    main()
