// SPDX-License-Identifier: LGPL-2.1-or-later
//
// proof: the official Dropbox SDK against tests/servers/dropbox_api.py
//
//     node proof.js WWW_URL      (with the package "dropbox" to be found)
//
// A client that this project did not write: what it can do here, and what it takes for an error,
// says whether the server answers like Dropbox. Prints TAP.
'use strict';

const assert = require('assert');
const crypto = require('crypto');
const nodeFetch = require('node-fetch'); // what the SDK itself uses under node
const {Dropbox, DropboxAuth} = require('dropbox');

const www = process.argv[2];
const real = {
  'https://api.dropboxapi.com': 'api',
  'https://api.dropbox.com': 'api',
  'https://content.dropboxapi.com': 'content',
  'https://notify.dropboxapi.com': 'notify',
};
let hosts;

async function control(...steps) {
  const answer = await fetch(www + '/.control', {method: 'POST', body: JSON.stringify(steps)});
  assert.strictEqual(answer.status, 200);
  return answer.json();
}

// The SDK asks Dropbox's hosts; here they have other names.
function redirected(url, options) {
  const parsed = new URL(url);
  const host = hosts[real[parsed.origin]];
  assert.ok(host, 'an unknown host: ' + url);
  return nodeFetch(host + parsed.pathname + parsed.search, options);
}

function contentHash(data) {
  const digests = [];
  for (let i = 0; i < data.length; i += 4 * 1024 * 1024) {
    digests.push(crypto.createHash('sha256').update(data.subarray(i, i + 4 * 1024 * 1024)).digest());
  }
  return crypto.createHash('sha256').update(Buffer.concat(digests)).digest('hex');
}

async function refused(promise, status, tag) {
  let error = null;
  try {
    await promise;
  } catch (e) {
    error = e;
  }
  assert.ok(error, 'was not refused');
  assert.strictEqual(error.status, status);
  if (tag) {
    assert.ok(error.error.error_summary.startsWith(tag), error.error.error_summary);
    assert.strictEqual(error.error.error['.tag'], tag.split('/')[0]);
  }
  return error;
}

const tests = {
  async 'login with PKCE, and a refresh'() {
    const auth = new DropboxAuth({clientId: 'testappkey', fetch: redirected});
    const url = await auth.getAuthenticationUrl(undefined, undefined, 'code', 'offline',
        ['account_info.read', 'files.metadata.read'], undefined, true);
    const [code] = await control({do: 'authorise', url: String(url)});
    const token = await auth.getAccessTokenFromCode(undefined, code);
    assert.strictEqual(token.result.token_type, 'bearer');
    assert.ok(token.result.refresh_token);
    auth.setAccessToken(token.result.access_token);
    auth.setRefreshToken(token.result.refresh_token);
    auth.setAccessTokenExpiresAt(new Date(0));
    const dbx = new Dropbox({auth, fetch: redirected});
    const account = await dbx.usersGetCurrentAccount();
    assert.strictEqual(account.result.root_info['.tag'], 'user');
    assert.notStrictEqual(auth.getAccessToken(), token.result.access_token);
    await refused(dbx.filesUpload({path: '/x', contents: 'x'}), 401, 'missing_scope');
    await dbx.authTokenRevoke();
    await refused(dbx.filesListFolder({path: ''}), 401, 'invalid_access_token');
  },

  async 'upload and download'(dbx) {
    const data = crypto.randomBytes(5000001);
    const name = '/Proof/ä € 😀 "q".bin';
    const up = await dbx.filesUpload({path: name, contents: data, content_hash: contentHash(data)});
    assert.strictEqual(up.result.size, data.length);
    assert.strictEqual(up.result.content_hash, contentHash(data));
    assert.strictEqual(up.result.path_display, name);
    for (const path of [name, name.toUpperCase(), up.result.id, 'rev:' + up.result.rev]) {
      const down = await dbx.filesDownload({path});
      assert.ok(Buffer.from(down.result.fileBinary).equals(data));
      assert.strictEqual(down.result.rev, up.result.rev);
    }
    await refused(dbx.filesUpload({path: name, contents: 'other'}), 409, 'path/conflict');
    const next = await dbx.filesUpload({path: name, contents: 'other', mode: {'.tag': 'overwrite'}});
    assert.strictEqual(next.result.id, up.result.id);
    const old = await dbx.filesDownload({path: 'rev:' + up.result.rev});
    assert.ok(Buffer.from(old.result.fileBinary).equals(data));
    await refused(dbx.filesDownload({path: '/nothing'}), 409, 'path/not_found');
    await refused(dbx.filesDownload({path: 'rev:0123456789'}), 409, 'path/not_found');
  },

  async 'listing, page by page'(dbx) {
    await control({do: 'bulk', path: '/List', count: 25, folder: 10}, {do: 'set', page_limit: 2000});
    let page = await dbx.filesListFolder({path: '/List', recursive: true, limit: 10});
    const entries = page.result.entries;
    assert.ok(page.result.has_more);
    while (page.result.has_more) {
      page = await dbx.filesListFolderContinue({cursor: page.result.cursor});
      entries.push(...page.result.entries);
    }
    assert.strictEqual(entries.filter((e) => e['.tag'] === 'file').length, 25);
    assert.strictEqual(entries.filter((e) => e['.tag'] === 'folder').length, 4);
    const flat = await dbx.filesListFolder({path: '/List'});
    assert.deepStrictEqual(flat.result.entries.map((e) => e.name).sort(), ['D0000', 'D0001', 'D0002']);
    const meta = await dbx.filesGetMetadata({path: '/LIST/d0000'});
    assert.strictEqual(meta.result.path_display, '/List/D0000');
    await refused(dbx.filesListFolder({path: '/nowhere'}), 409, 'path/not_found');
    await refused(dbx.filesListFolder({path: 'List'}), 400);
    await refused(dbx.filesListFolderContinue({cursor: 'nonsense'}), 400);
  },

  async 'deltas'(dbx) {
    await dbx.filesCreateFolderV2({path: '/Delta/Sub'});
    await dbx.filesUpload({path: '/Delta/a', contents: 'a'});
    const start = await dbx.filesListFolderGetLatestCursor({path: '/Delta', recursive: true});
    const poll = dbx.filesListFolderLongpoll({cursor: start.result.cursor, timeout: 30});
    await dbx.filesUpload({path: '/Delta/Sub/b', contents: 'bb'});
    assert.strictEqual((await poll).result.changes, true);
    await dbx.filesMoveV2({from_path: '/Delta/a', to_path: '/Delta/Sub/c'});
    await dbx.filesDeleteV2({path: '/Delta/Sub/b'});
    const delta = await dbx.filesListFolderContinue({cursor: start.result.cursor});
    assert.deepStrictEqual(delta.result.entries.map((e) => e['.tag'] + ' ' + e.path_lower),
        ['deleted /delta/a', 'file /delta/sub/c', 'deleted /delta/sub/b']);
    await control({do: 'set', longpoll_s: 0});
    const quiet = await dbx.filesListFolderLongpoll({cursor: delta.result.cursor});
    assert.strictEqual(quiet.result.changes, false);
    await control({do: 'reset_cursors'});
    await refused(dbx.filesListFolderContinue({cursor: delta.result.cursor}), 409, 'reset');
  },

  async 'exports'(dbx) {
    await control({do: 'write', path: '/Doc.gdoc', text: '', export: 'exported',
      extra: {is_downloadable: false, export_info: {export_as: 'docx'}}});
    await refused(dbx.filesDownload({path: '/Doc.gdoc'}), 409, 'unsupported_file');
    const out = await dbx.filesExport({path: '/Doc.gdoc'});
    assert.strictEqual(Buffer.from(out.result.fileBinary).toString(), 'exported');
    assert.strictEqual(out.result.export_metadata.size, 8);
  },

  async 'rate limit and expiry'(dbx) {
    await control({do: 'fault', route: 'files/get_metadata', status: 429, headers: {'Retry-After': '1',
      'Content-Type': 'application/json'}, body: JSON.stringify({error_summary: 'too_many_requests/',
      error: {reason: {'.tag': 'too_many_requests'}, retry_after: 1}})});
    await refused(dbx.filesGetMetadata({path: '/x'}), 429);
    await control({do: 'expire_access'});
    await refused(dbx.filesGetMetadata({path: '/x'}), 401, 'expired_access_token');
  },
};

async function main() {
  hosts = (await (await fetch(www + '/.control')).json()).hosts;
  const names = Object.keys(tests);
  console.log('1..' + names.length);
  for (let i = 0; i < names.length; i++) {
    try {
      await control({do: 'clear'});
      const [accessToken] = await control({do: 'access_token'});
      await tests[names[i]](new Dropbox({accessToken, fetch: redirected}));
      console.log(`ok ${i + 1} sdk: ${names[i]}`);
    } catch (error) {
      console.log(`not ok ${i + 1} sdk: ${names[i]}`);
      console.log(String(error.stack).replace(/^/gm, '# '));
      if (error.error) {
        console.log('# ' + JSON.stringify(error.error));
      }
    }
  }
}

main();
