#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""dropbox_api: a Dropbox API server for tests

    dropbox_api.py PORT [CERTIFICATE KEY]

Written from Dropbox's published API specification (dropbox-api-spec: files.stone, users.stone,
auth.stone, common.stone) and its HTTP documentation. PORT is the www host; api, content and notify
get free ports of their own, since a route is answered only by its own host. Strict about what it
receives: what Dropbox refuses is refused here with the same status, and counted under "refused".

Everything that a test does to the account or to the server goes to the www host's /.control:

    GET  /.control            {"hosts": {…}, "log": {route: calls}, "refused": [text, …], …}
    POST /.control            [{"do": NAME, …}, …] ─▶ [result, …]; see class Control

An account has namespaces (trees), each with a journal; a cursor is a place in a snapshot or in a
journal. A file with a `seed` has made-up content.
"""

import base64
import hashlib
import http.server
import json
import os
import re
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse

BLOCK = 4 * 1024 * 1024
APP_KEY = 'testappkey'
HOME = '1001'
TEAM = '2000'

LOCK = threading.RLock()
CHANGED = threading.Condition(LOCK)


def content_hash(data):
    digests = b''.join(hashlib.sha256(data[i:i + BLOCK]).digest() for i in range(0, len(data), BLOCK))
    return hashlib.sha256(digests).hexdigest()


def ascii_json(value):
    """For a header: every byte ASCII, 0x7f too."""
    return json.dumps(value).replace('\x7f', '\\u007f')


def stamp(seconds):
    return time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(seconds))


def made_up(seed, size):
    out = bytearray()
    i = 0
    while len(out) < size:
        out += hashlib.sha256(b'%s-%d' % (seed.encode(), i)).digest()
        i += 1
    return bytes(out[:size])


# ── the account ───────────────────────────────────────────────────────────────


class Node:
    def __init__(self, kind, display, node_id):
        self.kind = kind
        self.display = display
        self.id = node_id
        self.rev = ''
        self.data = b''
        self.seed = None
        self.size = 0
        self.hash = ''
        self.modified = 1700000000
        self.extra = {}
        self.export = None

    def content(self):
        if self.seed is not None and not self.data:
            self.data = made_up(self.seed, self.size)
        return self.data

    def metadata(self, tag=True):
        out = {'.tag': self.kind} if tag else {}
        out.update(name=self.display.rsplit('/', 1)[1], path_lower=self.display.lower(),
                   path_display=self.display, id=self.id)
        if self.kind == 'file':
            out.update(client_modified=stamp(self.modified), server_modified=stamp(self.modified + 5),
                       rev=self.rev, size=self.size, is_downloadable=True, content_hash=self.hash)
        out.update(self.extra)
        return out


class Tree:
    """One namespace: nodes by lowercased path, and what changed, in order."""

    def __init__(self):
        self.nodes = {}
        self.journal = []  # lowercased paths
        self.removals = {} # of those: path → the place in the journal where it was removed last
        self.names = {}    # of what was deleted: lowercased path → display
        self.children = (-1, {})  # the journal's length, and then: folder → what is right in it

    def right_in(self, root):
        """Paths, sorted. Large accounts are listed folder by folder: not each time all of them."""
        if self.children[0] != len(self.journal):
            folders = {}
            for path in self.nodes:
                folders.setdefault(path.rpartition('/')[0], []).append(path)
            self.children = (len(self.journal), folders)
        return sorted(self.children[1].get(root, ()))


class Account:
    def __init__(self):
        self.trees = {HOME: Tree(), TEAM: Tree()}
        self.root = HOME
        self.revs = {}
        self.serial = 0

    def next(self):
        self.serial += 1
        return self.serial

    def note(self, tree, path):
        tree.journal.append(path)
        CHANGED.notify_all()

    def parents(self, tree, display):
        parts = display.split('/')[1:-1]
        path = ''
        for part in parts:
            path += '/' + part
            node = tree.nodes.get(path.lower())
            if node is None:
                tree.nodes[path.lower()] = Node('folder', path, 'id:folder%08d' % self.next())
                self.note(tree, path.lower())
            else:
                path = node.display

    def put(self, tree, node):
        lower = node.display.lower()
        old = tree.nodes.get(lower)
        if old is not None and old.kind == 'folder' and node.kind == 'file':
            self.drop(tree, lower)
        tree.nodes[lower] = node
        if node.kind == 'file':
            self.revs[node.rev] = node
        self.note(tree, lower)

    def write(self, tree, display, data, node_id=None, seed=None, size=None, modified=None):
        self.parents(tree, display)
        old = tree.nodes.get(display.lower())
        node = Node('file', display, node_id or (old.id if old and old.kind == 'file'
                                                 else 'id:file%010d' % self.next()))
        node.rev = '%013x' % (0x5e0000000 + self.next())
        node.data, node.seed = data, seed
        node.size = len(data) if seed is None else size
        node.hash = content_hash(node.content())
        node.modified = modified or 1700000000 + self.serial
        self.put(tree, node)
        return node

    def below(self, tree, lower):
        return [p for p in tree.nodes if p.startswith(lower + '/')]

    def drop(self, tree, lower):
        for path in self.below(tree, lower) + [lower]:
            node = tree.nodes.pop(path)
            tree.names[path] = node.display

    def remove(self, tree, lower):
        node = tree.nodes[lower]
        self.drop(tree, lower)
        tree.removals[lower] = len(tree.journal)
        self.note(tree, lower)
        return node

    def move(self, tree, lower, display):
        """Ids stay, files keep their revs."""
        moved = [(p, tree.nodes[p]) for p in sorted([lower] + self.below(tree, lower))]
        base = len(tree.nodes[lower].display)
        self.remove(tree, lower)
        self.parents(tree, display)
        for _, node in moved:
            copy = Node(node.kind, display + node.display[base:], node.id)
            copy.__dict__.update({k: v for k, v in node.__dict__.items() if k != 'display'})
            self.put(tree, copy)
        return tree.nodes[display.lower()]

    def at(self, tree, lower):
        node = tree.nodes.get(lower)
        return node.metadata() if node is not None else self.deleted(tree, lower)

    def deleted(self, tree, lower):
        display = tree.names.get(lower, lower)
        return {'.tag': 'deleted', 'name': display.rsplit('/', 1)[1], 'path_lower': lower,
                'path_display': display}


class Server:
    def __init__(self):
        self.account = Account()
        self.cursors = {}
        self.dead = set()         # cursors of accounts before `clear`: their engines may still ask
        self.refresh_tokens = {}  # token → {'scope'}
        self.access_tokens = {}   # token → {'refresh', 'expires'}
        self.codes = {}           # code → {'challenge', 'scope'}
        self.expires_in = 14400
        self.longpoll_s = None    # instead of what is asked for
        self.backoff = None
        self.faults = []
        self.page_limit = 2000
        self.log = {}
        self.refused = []
        self.hosts = {}
        self.inject = []          # entries put into the next page, as they are
        self.ranges = []          # of downloads

    def new_cursor(self, state):
        cursor = 'AA' + base64.urlsafe_b64encode(os.urandom(24)).decode()
        self.cursors[cursor] = state
        return cursor


SERVER = Server()

# ── what may be asked ─────────────────────────────────────────────────────────

PATH_R_OR_ID = r'(/(.|[\r\n])*)?|id:.*|(ns:[0-9]+(/(.|[\r\n])*)?)'
READ_PATH = r'(/(.|[\r\n])*|id:.*)|(rev:[0-9a-f]{9,})|(ns:[0-9]+(/(.|[\r\n])*)?)'
WRITE_PATH = r'(/(.|[\r\n])*)|(ns:[0-9]+(/(.|[\r\n])*)?)|(id:.*)'


class Refused(Exception):
    """An answer that is no 2xx."""

    def __init__(self, status, body, headers=None):
        super().__init__(body)
        self.status, self.body, self.headers = status, body, headers or {}


def bad(route, text):
    return Refused(400, 'Error in call to API function "%s": %s' % (route, text))


def api_error(status, *tags, extra=None, headers=None):
    """tags from the outside in."""
    error = {'.tag': tags[-1]}
    if extra:
        error.update(extra)
    for tag in reversed(tags[:-1]):
        error = {'.tag': tag, tag: error}
    return Refused(status, json.dumps({'error_summary': '/'.join(tags) + '/.', 'error': error}), headers)


def string(pattern=None, low=0, high=None):
    def check(value):
        if not isinstance(value, str):
            return 'expected to be a string'
        if pattern and not re.fullmatch(pattern, value):
            return "'%s' did not match pattern '%s'" % (value, pattern)
        if len(value) < low or (high is not None and len(value) > high):
            return 'has a wrong length'
        return None
    return check


def boolean(value):
    return None if isinstance(value, bool) else 'expected to be a boolean'


def integer(low, high):
    def check(value):
        if not isinstance(value, int) or isinstance(value, bool):
            return 'expected to be an integer'
        return None if low <= value <= high else '%d is not within [%d, %d]' % (value, low, high)
    return check


def union(*tags):
    def check(value):
        tag = value if isinstance(value, str) else value.get('.tag') if isinstance(value, dict) else None
        return None if tag in tags else 'unknown tag'
    return check


def anything(value):
    return None


REQUIRED = True
LIST_ARG = {
    'path': (string(PATH_R_OR_ID), REQUIRED), 'recursive': (boolean, False),
    'include_media_info': (boolean, False), 'include_deleted': (boolean, False),
    'include_has_explicit_shared_members': (boolean, False), 'include_mounted_folders': (boolean, False),
    'limit': (integer(1, 2000), False), 'shared_link': (anything, False),
    'include_property_groups': (anything, False), 'include_non_downloadable_files': (boolean, False),
    'include_restorable_info': (boolean, False),
}
RELOCATION = {
    'from_path': (string(WRITE_PATH), REQUIRED), 'to_path': (string(WRITE_PATH), REQUIRED),
    'autorename': (boolean, False), 'allow_shared_folder': (boolean, False),
    'allow_ownership_transfer': (boolean, False),
}


def check_argument(route, where, fields, value):
    if fields is None:
        if value is not None:
            raise bad(route, '%s: expected null, got something' % where)
        return {}
    if not isinstance(value, dict):
        raise bad(route, '%s: expected object' % where)
    for key in value:
        if key not in fields:
            raise bad(route, "%s: unknown field '%s'" % (where, key))
    for key, (check, required) in fields.items():
        if key not in value:
            if required:
                raise bad(route, "%s: missing required field '%s'" % (where, key))
        elif value[key] is not None or required:
            wrong = check(value[key])
            if wrong:
                raise bad(route, '%s: %s: %s' % (where, key, wrong))
    return value


# ── the routes ────────────────────────────────────────────────────────────────


class Call:
    """One authorised call: the tree it is about, and its argument."""

    def __init__(self, route, tree, argument, headers, body, token):
        self.route, self.tree, self.argument = route, tree, argument
        self.headers, self.body, self.token = headers, body, token

    def find(self, path, tag='path'):
        """A Node, or None for the root."""
        if path == '':
            return None
        if path.startswith('rev:'):
            node = SERVER.account.revs.get(path[4:])
        elif path.startswith('id:'):
            node = next((n for n in self.tree.nodes.values() if n.id == path), None)
        else:
            if path == '/':
                raise bad(self.route, 'request body: path: Specify the root folder as an empty string '
                                      'rather than as "/".')
            if path.endswith('/') or '//' in path:
                raise api_error(409, tag, 'malformed_path')
            node = self.tree.nodes.get(path.lower())
        if node is None:
            raise api_error(409, tag, 'not_found')
        return node


def list_state(call, listing):
    path = call.argument['path']
    node = call.find(path)
    if node is not None and node.kind != 'folder':
        raise api_error(409, 'path', 'not_folder')
    root = '' if node is None else node.display.lower()
    tree = call.tree
    recursive = call.argument.get('recursive', False)
    snapshot = None
    if listing:
        snapshot = sorted(p for p in tree.nodes if in_scope(p, root, True)) if recursive else tree.right_in(root)
    return {'tree': tree, 'root': root, 'recursive': recursive, 'snapshot': snapshot, 'at': 0,
            'seq': len(tree.journal), 'limit': call.argument.get('limit') or 2000,
            'seen': set()}


def in_scope(path, root, recursive):
    if recursive:
        return path == root or path.startswith(root + '/')
    return path.startswith(root + '/') and '/' not in path[len(root) + 1:]


def page(state):
    """The next page, and the state after it. What is in the snapshot is told as it is now."""
    account, tree = SERVER.account, state['tree']
    limit = min(state['limit'], SERVER.page_limit)
    after = dict(state)
    entries = []
    more = False
    if state['snapshot'] is not None:
        part = state['snapshot'][state['at']:state['at'] + limit]
        entries = [tree.nodes[p].metadata() for p in part if p in tree.nodes]
        after['at'] = state['at'] + len(part)
        more = after['at'] < len(state['snapshot'])
        if not more:
            after['snapshot'] = None
            more = state['seq'] < len(tree.journal)
    else:
        seq = state['seq']
        last = {}
        for i in range(seq, len(tree.journal)):
            last[tree.journal[i]] = i
        while seq < len(tree.journal) and len(entries) < limit:
            path = tree.journal[seq]
            if last[path] == seq and in_scope(path, state['root'], state['recursive']):
                # A folder alone would leave what was below the one before.
                if path in tree.nodes and tree.removals.get(path, -1) >= state['seq']:
                    entries.append(account.deleted(tree, path))
                entries.append(account.at(tree, path))
            seq += 1
        after['seq'] = seq
        more = seq < len(tree.journal)
    entries += SERVER.inject
    SERVER.inject = []
    return {'entries': entries, 'cursor': SERVER.new_cursor(after), 'has_more': more}


def list_folder(call):
    return page(list_state(call, True))


def get_latest_cursor(call):
    return {'cursor': SERVER.new_cursor(list_state(call, False))}


def list_folder_continue(call):
    state = SERVER.cursors.get(call.argument['cursor'])
    if call.argument['cursor'] in SERVER.dead:
        raise api_error(409, 'reset')
    if state is None:
        raise bad(call.route, 'Invalid "cursor" parameter: %r' % call.argument['cursor'])
    if state == 'reset':
        raise api_error(409, 'reset')
    return page(state)


def longpoll(call):
    cursor = call.argument['cursor']
    timeout = call.argument.get('timeout') or 30
    until = time.monotonic() + (timeout if SERVER.longpoll_s is None else SERVER.longpoll_s)
    if cursor in SERVER.dead:
        raise api_error(409, 'reset')
    if cursor not in SERVER.cursors:
        raise bad(call.route, 'Invalid "cursor" parameter: %r' % cursor)
    while True:
        state = SERVER.cursors.get(cursor)
        if state is None:  # the account was cleared meanwhile
            return {'changes': False}
        if state == 'reset':
            raise api_error(409, 'reset')
        changes = state['snapshot'] is not None or any(
            in_scope(p, state['root'], state['recursive'])
            for p in state['tree'].journal[state['seq']:])
        left = until - time.monotonic()
        if changes or left <= 0:
            out = {'changes': changes}
            if SERVER.backoff is not None:
                out['backoff'] = SERVER.backoff
            return out
        CHANGED.wait(min(left, 1))


def get_metadata(call):
    if call.argument['path'] == '':
        raise bad(call.route, 'request body: path: The root folder is unsupported.')
    return call.find(call.argument['path']).metadata()


def download(call):
    node = call.find(call.argument['path'])
    if node is None or node.kind != 'file':
        raise api_error(409, 'path', 'not_file')
    if node.extra.get('is_downloadable') is False:
        raise api_error(409, 'unsupported_file')
    if node.extra.get('restricted'):
        raise api_error(409, 'path', 'restricted_content')
    return node.metadata(tag=False), node.content(), node.rev


def export(call):
    node = call.find(call.argument['path'])
    if node is None or node.kind != 'file':
        raise api_error(409, 'path', 'not_file')
    if node.extra.get('is_downloadable') is not False or node.export is None:
        raise api_error(409, 'non_exportable')
    if node.export == 'retry':
        raise api_error(409, 'retry_error')
    wanted = call.argument.get('export_format')
    if wanted and wanted != node.extra['export_info']['export_as']:
        raise api_error(409, 'invalid_export_format')
    data = node.export
    result = {'export_metadata': {'name': node.display.rsplit('/', 1)[1] + '.' + (wanted or 'docx'),
                                  'size': len(data), 'export_hash': content_hash(data)},
              'file_metadata': node.metadata(tag=False)}
    return result, data, None


def tag_of(value, default):
    return default if value is None else value if isinstance(value, str) else value['.tag']


def upload(call):
    argument, account = call.argument, SERVER.account
    display = argument['path']
    mode = tag_of(argument.get('mode'), 'add')
    old = call.tree.nodes.get(display.lower())
    if argument.get('content_hash') and argument['content_hash'] != content_hash(call.body):
        raise api_error(409, 'content_hash_mismatch')
    if old is not None and old.kind == 'folder':
        raise upload_failed('folder')
    if old is not None and mode == 'add' and old.content() != call.body:
        if not argument.get('autorename'):
            raise upload_failed('file')
        stem, dot, extension = display.partition('.')
        display = '%s (1)%s%s' % (stem, dot, extension)
    if old is not None and mode == 'update' and argument['mode']['update'] != old.rev:
        raise upload_failed('file')
    return account.write(call.tree, display, call.body).metadata(tag=False)


def upload_failed(what):
    reason = {'.tag': 'conflict', 'conflict': {'.tag': what}}
    return Refused(409, json.dumps({
        'error_summary': 'path/conflict/%s/.' % what,
        'error': {'.tag': 'path', 'reason': reason, 'upload_session_id': 'pid_upload_session:x'}}))


def delete(call):
    node = call.find(call.argument['path'], 'path_lookup')
    return {'metadata': SERVER.account.remove(call.tree, node.display.lower()).metadata()}


def move(call):
    node = call.find(call.argument['from_path'], 'from_lookup')
    if call.argument['to_path'].lower() in call.tree.nodes:
        raise api_error(409, 'to', 'conflict', 'file')
    return {'metadata': SERVER.account.move(call.tree, node.display.lower(),
                                            call.argument['to_path']).metadata()}


def create_folder(call):
    display = call.argument['path']
    if display.lower() in call.tree.nodes:
        raise api_error(409, 'path', 'conflict', 'folder')
    SERVER.account.parents(call.tree, display + '/x')
    return {'metadata': call.tree.nodes[display.lower()].metadata(tag=False)}


def root_info():
    root = SERVER.account.root
    info = {'.tag': 'user', 'root_namespace_id': root, 'home_namespace_id': HOME}
    if root != HOME:
        info.update({'.tag': 'team', 'home_path': '/Franz'})
    return info


def current_account(call):
    return {'account_id': 'dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc',
            'name': {'given_name': 'Franz', 'surname': 'F', 'familiar_name': 'Franz',
                     'display_name': 'Franz F', 'abbreviated_name': 'FF'},
            'email': 'franz@example.org', 'email_verified': True, 'disabled': False, 'locale': 'en',
            'referral_link': 'https://db.tt/x', 'is_paired': False,
            'account_type': {'.tag': 'basic'}, 'root_info': root_info(), 'country': 'DE'}


def revoke(call):
    refresh = SERVER.access_tokens[call.token]['refresh']
    SERVER.refresh_tokens.pop(refresh, None)
    for token in [t for t, v in SERVER.access_tokens.items() if v['refresh'] == refresh]:
        del SERVER.access_tokens[token]
    return None


# route: (host, style, login, scope, fields, function)
ROUTES = {
    'files/list_folder': ('api', 'rpc', True, 'files.metadata.read', LIST_ARG, list_folder),
    'files/list_folder/continue': ('api', 'rpc', True, 'files.metadata.read',
                                   {'cursor': (string(low=1), REQUIRED)}, list_folder_continue),
    'files/list_folder/get_latest_cursor': ('api', 'rpc', True, 'files.metadata.read', LIST_ARG,
                                            get_latest_cursor),
    'files/list_folder/longpoll': ('notify', 'rpc', False, None,
                                   {'cursor': (string(low=1), REQUIRED),
                                    'timeout': (integer(30, 480), False)}, longpoll),
    'files/get_metadata': ('api', 'rpc', True, 'files.metadata.read', {
        'path': (string(READ_PATH + '|'), REQUIRED), 'include_media_info': (boolean, False),
        'include_deleted': (boolean, False), 'include_has_explicit_shared_members': (boolean, False),
        'include_property_groups': (anything, False)}, get_metadata),
    'files/download': ('content', 'download', True, 'files.content.read', {
        'path': (string(READ_PATH), REQUIRED), 'rev': (string(r'[0-9a-f]{9,}'), False)}, download),
    'files/export': ('content', 'download', True, 'files.content.read', {
        'path': (string(READ_PATH), REQUIRED), 'export_format': (string(), False)}, export),
    'files/upload': ('content', 'upload', True, 'files.content.write', {
        'path': (string(WRITE_PATH), REQUIRED), 'mode': (union('add', 'overwrite', 'update'), False),
        'autorename': (boolean, False), 'client_modified': (string(), False), 'mute': (boolean, False),
        'property_groups': (anything, False), 'strict_conflict': (boolean, False),
        'content_hash': (string(low=64, high=64), False)}, upload),
    'files/delete_v2': ('api', 'rpc', True, 'files.content.write', {
        'path': (string(WRITE_PATH), REQUIRED), 'parent_rev': (string(), False)}, delete),
    'files/move_v2': ('api', 'rpc', True, 'files.content.write', RELOCATION, move),
    'files/create_folder_v2': ('api', 'rpc', True, 'files.content.write', {
        'path': (string(WRITE_PATH), REQUIRED), 'autorename': (boolean, False)}, create_folder),
    'users/get_current_account': ('api', 'rpc', True, 'account_info.read', None, current_account),
    'auth/token/revoke': ('api', 'rpc', True, None, None, revoke),
}
RPC_TYPES = ('application/json', 'application/json; charset=utf-8', 'text/plain; charset=dropbox-cors-hack')
BINARY_TYPES = ('application/octet-stream', 'text/plain; charset=dropbox-cors-hack')
DOWNLOAD_TYPES = ('', 'text/plain', 'text/plain; charset=utf-8', 'application/octet-stream',
                  'application/octet-stream; charset=utf-8', 'text/plain; charset=dropbox-cors-hack')


# ── OAuth 2 ───────────────────────────────────────────────────────────────────


def oauth_error(error, description, status=400):
    return Refused(status, json.dumps({'error': error, 'error_description': description}))


def issue(refresh):
    token = 'sl.' + base64.urlsafe_b64encode(os.urandom(60)).decode().rstrip('=')
    SERVER.access_tokens[token] = {'refresh': refresh, 'expires': time.monotonic() + SERVER.expires_in}
    return token


def new_login(scope=None):
    refresh = 'rt' + base64.urlsafe_b64encode(os.urandom(40)).decode().rstrip('=')
    SERVER.refresh_tokens[refresh] = scope or ('account_info.read files.metadata.read files.content.read '
                                               'files.content.write')
    return refresh


def oauth_token(headers, query, body):
    """The parameters as a form in the body (RFC 6749), or in the URL, as Dropbox's SDKs send them."""
    if headers.get('Authorization'):
        raise oauth_error('invalid_request', 'PKCE clients send client_id as a parameter')
    if body and headers.get('Content-Type', '').split(';')[0] != 'application/x-www-form-urlencoded':
        raise oauth_error('invalid_request', 'wrong Content-Type')
    if bool(body) == bool(query):
        raise oauth_error('invalid_request', 'parameters in the body or in the URL, not in both')
    form = dict(urllib.parse.parse_qsl(body.decode() or query, strict_parsing=True))
    known = {'grant_type', 'client_id', 'code', 'code_verifier', 'refresh_token', 'redirect_uri', 'scope'}
    if set(form) - known:
        raise oauth_error('invalid_request', 'unknown field')
    if form.get('client_id') != APP_KEY:
        raise oauth_error('invalid_client: Invalid client_id or client_secret', '', 400)
    if form.get('grant_type') == 'refresh_token':
        refresh = form.get('refresh_token')
        if refresh not in SERVER.refresh_tokens:
            raise oauth_error('invalid_grant', 'refresh token is invalid or revoked')
        return {'access_token': issue(refresh), 'token_type': 'bearer', 'expires_in': SERVER.expires_in}
    if form.get('grant_type') != 'authorization_code':
        raise oauth_error('unsupported_grant_type', 'grant_type must be "authorization_code" or '
                                                    '"refresh_token"')
    code = SERVER.codes.pop(form.get('code'), None)
    if code is None:
        raise oauth_error('invalid_grant', "code doesn't exist or has expired")
    digest = hashlib.sha256(form.get('code_verifier', '').encode()).digest()
    if base64.urlsafe_b64encode(digest).decode().rstrip('=') != code['challenge']:
        raise oauth_error('invalid_grant', 'invalid code verifier')
    refresh = new_login(code['scope'])
    return {'access_token': issue(refresh), 'token_type': 'bearer', 'expires_in': SERVER.expires_in,
            'refresh_token': refresh, 'scope': SERVER.refresh_tokens[refresh], 'uid': '12345',
            'account_id': 'dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc'}


def authorise(url):
    """What happens when a person opens the page and agrees: the code."""
    parts = urllib.parse.urlsplit(url)
    query = dict(urllib.parse.parse_qsl(parts.query, strict_parsing=True))
    if parts.path != '/oauth2/authorize' or query.get('client_id') != APP_KEY or \
            query.get('response_type') != 'code' or query.get('token_access_type') != 'offline' or \
            query.get('code_challenge_method') != 'S256' or \
            not re.fullmatch('[A-Za-z0-9_-]{43}', query.get('code_challenge', '')) or 'redirect_uri' in query:
        raise Refused(400, 'the authorise URL is not one for PKCE without a redirect: ' + url)
    code = base64.urlsafe_b64encode(os.urandom(24)).decode().rstrip('=')
    SERVER.codes[code] = {'challenge': query['code_challenge'], 'scope': query.get('scope')}
    return code


# ── what a test may do ────────────────────────────────────────────────────────


class Control:
    """One method for each "do"."""

    @staticmethod
    def tree(args):
        return SERVER.account.trees[args.get('namespace', HOME)]

    @staticmethod
    def write(args):
        data = args.get('text', '').encode()
        seed = args.get('seed')
        node = SERVER.account.write(Control.tree(args), args['path'], data, seed=seed,
                                    size=args.get('size'), modified=args.get('modified'))
        node.extra = args.get('extra', {})
        if 'export' in args:
            node.export = args['export'] if args['export'] in (None, 'retry') else args['export'].encode()
        return node.metadata()

    @staticmethod
    def set_export(args):
        node = Control.tree(args).nodes[args['path'].lower()]
        node.export = args['export'].encode()

    @staticmethod
    def mkdir(args):
        tree = Control.tree(args)
        SERVER.account.parents(tree, args['path'] + '/x')
        node = tree.nodes[args['path'].lower()]
        node.extra = args.get('extra', {})
        SERVER.account.note(tree, args['path'].lower())
        return node.metadata()

    @staticmethod
    def remove(args):
        SERVER.account.remove(Control.tree(args), args['path'].lower())

    @staticmethod
    def move(args):
        SERVER.account.move(Control.tree(args), args['path'].lower(), args['to'])

    @staticmethod
    def bulk(args):
        """count files of a few bytes, `folder` of them in each folder below path."""
        for i in range(args['count']):
            path = '%s/D%04d/File %06d.txt' % (args['path'], i // args['folder'], i)
            SERVER.account.write(Control.tree(args), path, b'%d\n' % i, modified=1700000000)

    @staticmethod
    def clear(args):
        SERVER.account.trees = {HOME: Tree(), TEAM: Tree()}
        SERVER.account.root = HOME
        SERVER.dead |= set(SERVER.cursors)
        SERVER.cursors = {}
        SERVER.faults, SERVER.inject, SERVER.ranges = [], [], []
        SERVER.expires_in, SERVER.longpoll_s, SERVER.backoff, SERVER.page_limit = 14400, None, None, 2000
        SERVER.log, SERVER.refused = {}, []
        SERVER.refresh_tokens, SERVER.access_tokens = {}, {}
        CHANGED.notify_all()

    @staticmethod
    def login(args):
        return new_login(args.get('scope'))

    @staticmethod
    def access_token(args):
        return issue(new_login(args.get('scope')))

    @staticmethod
    def authorise(args):
        return authorise(args['url'])

    @staticmethod
    def secrets(args):
        """All tokens that are valid now."""
        return sorted(SERVER.refresh_tokens) + sorted(SERVER.access_tokens)

    @staticmethod
    def revoke_all(args):
        SERVER.refresh_tokens.clear()
        SERVER.access_tokens.clear()

    @staticmethod
    def expire_access(args):
        for token in SERVER.access_tokens.values():
            token['expires'] = 0

    @staticmethod
    def reset_cursors(args):
        for cursor in SERVER.cursors:
            SERVER.cursors[cursor] = 'reset'
        CHANGED.notify_all()

    @staticmethod
    def forget_rev(args):
        SERVER.account.revs.pop(args['rev'], None)

    @staticmethod
    def set(args):
        for key in ('expires_in', 'longpoll_s', 'backoff', 'page_limit'):
            if key in args:
                setattr(SERVER, key, args[key])
        if 'root' in args:
            SERVER.account.root = args['root']

    @staticmethod
    def fault(args):
        """{"route", "count" (default 1), "skip"} and one of: "status" with "body", "headers"; "corrupt":
        offset of a byte; "cut": bytes of the body sent; "garbage": the whole body; "drop": true;
        "stall": seconds; "header": [name, value or null]; "status_ok": true with body as JSON."""
        fault = dict(args)
        fault.setdefault('count', 1)
        fault.setdefault('skip', 0)
        SERVER.faults.append(fault)

    @staticmethod
    def no_faults(args):
        SERVER.faults.clear()

    @staticmethod
    def inject(args):
        SERVER.inject += args['entries']
        SERVER.account.note(Control.tree(args), '/.injected')


def take_fault(route):
    for fault in SERVER.faults:
        if fault['route'] in (route, '*') and fault['count'] > 0:
            if fault['skip'] > 0:
                fault['skip'] -= 1
                continue
            fault['count'] -= 1
            return fault
    return None


# ── HTTP ──────────────────────────────────────────────────────────────────────


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    host = ''

    def log_message(self, *args):
        pass

    def answer(self, status, body, headers=None, fault=None):
        if isinstance(body, str):
            body = body.encode()
        headers = dict(headers or {})
        headers.setdefault('X-Dropbox-Request-Id', '%032x' % int(time.monotonic() * 1e9))
        headers.setdefault('Content-Length', str(len(body)))
        cut = len(body)
        if fault:
            if 'garbage' in fault:
                body = fault['garbage'].encode()
                headers['Content-Length'] = str(len(body))
                cut = len(body)
            if 'corrupt' in fault and status < 300:
                at = fault['corrupt'] % max(len(body), 1)
                body = body[:at] + bytes([body[at] ^ 0x55]) + body[at + 1:]
            if 'header' in fault:
                name, value = fault['header']
                headers.pop(name, None)
                if value is not None:
                    headers[name] = value
            cut = min(len(body), fault.get('cut', len(body)))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if fault and 'stall' in fault:
            self.wfile.write(body[:cut // 2])
            self.wfile.flush()
            time.sleep(fault['stall'])
            self.wfile.write(body[cut // 2:cut])
        else:
            self.wfile.write(body[:cut])
        if cut < len(body):
            self.wfile.flush()
            time.sleep(0.3)  # a reset takes back what was not read yet
            self.drop()

    def drop(self):
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def body(self):
        if self.headers.get('Transfer-Encoding', '').lower() == 'chunked':
            out = b''
            while True:
                size = int(self.rfile.readline().split(b';')[0], 16)
                out += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    return out
        return self.rfile.read(int(self.headers.get('Content-Length') or 0))

    def do_GET(self):
        self.handle_any()

    def do_POST(self):
        self.handle_any()

    def do_OPTIONS(self):
        self.handle_any()

    def handle_any(self):
        try:
            body = self.body()
            self.dispatch(urllib.parse.urlsplit(self.path).path, body)
        except Refused as refused:
            kind = 'application/json' if refused.body.startswith('{') else 'text/plain; charset=utf-8'
            if refused.status in (400, 404, 405) and not refused.body.startswith('{'):
                with LOCK:
                    SERVER.refused.append(refused.body)
            self.answer(refused.status, refused.body, {'Content-Type': kind, **refused.headers})
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True

    def dispatch(self, path, body):
        if self.host == 'www' and path == '/.control':
            self.control(body)
        elif self.host == 'www' and path == '/oauth2/authorize':
            with LOCK:
                authorise(self.path)
            self.answer(200, '<html>Allow</html>', {'Content-Type': 'text/html'})
        elif self.host == 'api' and path == '/oauth2/token' and self.command == 'POST':
            with LOCK:
                fault = self.count('oauth2/token')
                if self.fail(fault):
                    return
                query = urllib.parse.urlsplit(self.path).query
                self.answer(200, json.dumps(oauth_token(self.headers, query, body)),
                            {'Content-Type': 'application/json'}, fault)
        elif path.startswith('/2/'):
            self.api(path[3:], body)
        else:
            raise Refused(404, 'Not found: %s %s' % (self.host, path))

    def control(self, body):
        with LOCK:
            if self.command == 'POST':
                out = [getattr(Control, step['do'])(step) for step in json.loads(body)]
            else:
                out = {'hosts': SERVER.hosts, 'log': SERVER.log, 'refused': SERVER.refused,
                       'ranges': SERVER.ranges}
            text = json.dumps(out)
        self.answer(200, text, {'Content-Type': 'application/json'})

    def count(self, route):
        SERVER.log[route] = SERVER.log.get(route, 0) + 1
        return take_fault(route)

    def fail(self, fault):
        """Faults instead of an answer."""
        if fault is None:
            return False
        if fault.get('drop'):
            self.drop()
            return True
        if 'status' in fault:
            self.answer(fault['status'], fault.get('body', ''), fault.get('headers'))
            return True
        return False

    def api(self, route, body):
        if route not in ROUTES or ROUTES[route][0] != self.host:
            raise Refused(404, 'Unknown API function: "%s"' % route)
        _, style, login, scope, fields, function = ROUTES[route]
        with LOCK:
            # Listings of one folder are counted, and spoilt, by another name than whole ones.
            flat = route == 'files/list_folder' and not re.search(rb'"recursive":\s*true', body)
            fault = self.count(route + ':flat' if flat else route)
        if self.fail(fault):
            return
        if self.command != 'POST' and not (style == 'download' and self.command == 'GET'):
            raise Refused(405, 'Error in call to API function "%s": Your request\'s HTTP request method is '
                               '"%s". This function only accepts the HTTP request methods "POST", "OPTIONS".'
                          % (route, self.command))
        with LOCK:
            token = self.login(route, login, scope)
            tree = self.namespace(route, login)
            argument = self.argument(route, style, fields, body)
            out = function(Call(route, tree, argument, self.headers, body, token))
            if style == 'download':
                result, data, rev = out
            else:
                text = json.dumps(out)
        if style == 'download':
            self.send_content(result, data, rev, fault)
        else:
            self.answer(200, text, {'Content-Type': 'application/json'}, fault)

    def login(self, route, login, scope):
        value = self.headers.get('Authorization')
        if not login:
            if value is not None:
                raise bad(route, 'Your request includes an Authorization header, but this function does '
                                 'not use it.')
            return None
        if value is None:
            raise bad(route, 'Must provide HTTP header "Authorization" or URL parameter "authorization".')
        match = re.fullmatch(r'Bearer ([A-Za-z0-9._~+/=-]+)', value)
        if not match:
            raise bad(route, 'Invalid authorization value in HTTP header "Authorization".  Expecting '
                             '"Bearer <oauth2-access-token>".')
        token = SERVER.access_tokens.get(match[1])
        if token is None or token['refresh'] not in SERVER.refresh_tokens:
            raise api_error(401, 'invalid_access_token')
        if token['expires'] <= time.monotonic():
            raise api_error(401, 'expired_access_token')
        if scope and scope not in SERVER.refresh_tokens[token['refresh']].split():
            raise api_error(401, 'missing_scope', extra={'required_scope': scope})
        return match[1]

    def namespace(self, route, login):
        value = self.headers.get('Dropbox-API-Path-Root')
        account = SERVER.account
        if value is None or not login:
            return account.trees[HOME]
        try:
            root = json.loads(value)
        except ValueError as error:
            raise bad(route, 'HTTP header "Dropbox-API-Path-Root": could not decode input as JSON') from error
        if root == {'.tag': 'home'}:
            return account.trees[HOME]
        tag = root.get('.tag')
        if tag not in ('root', 'namespace_id') or set(root) != {'.tag', tag}:
            raise bad(route, 'HTTP header "Dropbox-API-Path-Root": not a PathRoot')
        if tag == 'root' and root['root'] != account.root:
            raise api_error(422, 'invalid_root', extra={'invalid_root': root_info()})
        if root[tag] not in account.trees:
            raise api_error(422, 'no_permission')
        return account.trees[root[tag]]

    def argument(self, route, style, fields, body):
        kind = self.headers.get('Content-Type', '').lower()
        types = {'rpc': RPC_TYPES, 'upload': BINARY_TYPES, 'download': DOWNLOAD_TYPES}[style]
        if style == 'rpc' and fields is None and kind == '' and body == b'':
            return {}
        if kind not in types:
            raise bad(route, 'Bad HTTP "Content-Type" header: "%s".  Expecting one of %s.'
                      % (kind, ', '.join('"%s"' % t for t in types if t)))
        if style == 'rpc':
            where, text = 'request body', body
        else:
            where = 'HTTP header "Dropbox-API-Arg"'
            header = self.headers.get('Dropbox-API-Arg')
            if header is None:
                query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
                if 'arg' not in query:
                    raise bad(route, 'Must provide HTTP header "Dropbox-API-Arg" or URL parameter "arg".')
                header = query['arg'][0]
            elif not header.isascii():
                raise bad(route, '%s: could not decode input as JSON' % where)
            text = header.encode()
            if style == 'download' and body:
                raise bad(route, "The request body is supposed to be empty, but isn't.")
        try:
            value = json.loads(text.decode())
        except ValueError as error:
            raise bad(route, '%s: could not decode input as JSON' % where) from error
        return check_argument(route, where, fields, value)

    def send_content(self, result, data, rev, fault):
        headers = {'Content-Type': 'application/octet-stream', 'Dropbox-API-Result': ascii_json(result)}
        status = 200
        asked = self.headers.get('Range')
        with LOCK:
            SERVER.ranges.append(asked)
        if rev is not None:
            headers['ETag'] = 'W/"%s"' % rev
            headers['Accept-Ranges'] = 'bytes'
            headers['Original-Content-Length'] = str(len(data))
            match = re.fullmatch(r'bytes=(\d+)-(\d*)', asked or '')
            if match:
                first, last = int(match[1]), min(int(match[2] or len(data)), len(data) - 1)
                if first >= len(data) or first > last:
                    self.answer(416, '', {'Content-Range': 'bytes */%d' % len(data)})
                    return
                headers['Content-Range'] = 'bytes %d-%d/%d' % (first, last, len(data))
                data = data[first:last + 1]
                status = 206
        self.answer(status, data, headers, fault)


class HTTPServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    tls = None

    def get_request(self):
        sock, address = self.socket.accept()
        sock.settimeout(600)
        return sock, address

    def finish_request(self, request, client_address):
        if self.tls:
            try:
                request = self.tls.wrap_socket(request, server_side=True)
            except (OSError, ssl.SSLError):
                return
        self.RequestHandlerClass(request, client_address, self)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def listen(host, port, tls):
    handler = type('Handler_' + host, (Handler,), {'host': host})
    server = HTTPServer(('127.0.0.1', port), handler)
    server.tls = tls
    SERVER.hosts[host] = '%s://127.0.0.1:%d' % ('https' if tls else 'http', server.server_address[1])
    return server


def main():
    tls = None
    if len(sys.argv) > 3:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[2], sys.argv[3])
    servers = [listen(host, 0, tls) for host in ('api', 'content', 'notify')]
    servers.append(listen('www', int(sys.argv[1]), tls))
    for server in servers[:-1]:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps(SERVER.hosts), flush=True)
    servers[-1].serve_forever()


if __name__ == '__main__':
    main()
