// SPDX-License-Identifier: Apache-2.0
// The static files, read once: a path that is not in the map does not exist, so none can climb out.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { extname } from 'node:path';

const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};
const folder = new URL('./public/', import.meta.url);

function load(name) {
  const body = readFileSync(new URL(name, folder));
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
  return [`/assets/${name}`, { body, etag, type: TYPES[extname(name)] }];
}

const assets = new Map(readdirSync(folder).filter((name) => TYPES[extname(name)]).map(load));

export function findAsset(path) {
  return assets.get(path);
}
