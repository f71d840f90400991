// SPDX-License-Identifier: Apache-2.0
import { findAsset } from './assets.mjs';
import { identity } from './identity.mjs';
import { chooseLanguage, renderPage } from './page.mjs';
import { quotes } from './quotes.mjs';

function send(request, response, status, type, body, headers = {}) {
  const data = Buffer.from(body);
  response.writeHead(status, {
    'Content-Type': type, 'Content-Length': data.length, 'X-Content-Type-Options': 'nosniff',
    'Cache-Control': 'no-store', ...headers,
  });
  response.end(request.method === 'HEAD' ? undefined : data);
}

const json = (request, response, value, status = 200) =>
  send(request, response, status, 'application/json', `${JSON.stringify(value)}\n`);

function page(request, response, query) {
  const lang = chooseLanguage(query, request.headers['accept-language']);
  send(request, response, 200, 'text/html; charset=utf-8', renderPage(lang, identity()), {
    Vary: 'Accept-Language',
    'Content-Security-Policy': "default-src 'self'",
  });
}

const ROUTES = {
  '/': page,
  '/healthz': (request, response) => send(request, response, 200, 'text/plain', 'ok\n'),
  '/whoami': (request, response) => json(request, response, identity()),
  '/v1/whoami': (request, response) => json(request, response, identity()),
  '/quotes': (request, response) => json(request, response, { quotes }),
};

function sendAsset(request, response, asset) {
  // An hour: the names carry no digest, and a deployment purges the edge anyway.
  const headers = { ETag: asset.etag, 'Cache-Control': 'public, max-age=3600' };
  if (request.headers['if-none-match'] === asset.etag) {
    response.writeHead(304, headers).end();
    return;
  }
  send(request, response, 200, asset.type, asset.body, headers);
}

export function answer(request, response) {
  const [path, search = ''] = request.url.split('?', 2);
  const route = Object.hasOwn(ROUTES, path) ? ROUTES[path] : undefined;
  const asset = findAsset(path);
  if (!route && !asset) {
    json(request, response, { error: 'no such path' }, 404);
  } else if (request.method !== 'GET' && request.method !== 'HEAD') {
    json(request, response, { error: 'method not allowed' }, 405);
  } else if (asset) {
    sendAsset(request, response, asset);
  } else {
    route(request, response, new URLSearchParams(search));
  }
}
