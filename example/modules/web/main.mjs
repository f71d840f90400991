// SPDX-License-Identifier: Apache-2.0
// web: the front of the platform, rendered on the server. No framework, so nothing to install.
import http from 'node:http';
import { log } from './log.mjs';
import { answer } from './routes.mjs';

const DRAIN_MS = 5000; // the longest a request in flight may hold up the end
const port = process.env.PORT || '8080';

if (!/^\d{1,5}$/.test(port) || Number(port) > 65535) {
  log('error', 'server', 'PORT is not 0 to 65535');
  process.exit(1);
}

let draining = false;
const server = http.createServer(
  { requestTimeout: 10_000, headersTimeout: 10_000, keepAliveTimeout: 75_000, maxHeaderSize: 8192 },
  (request, response) => {
    const start = performance.now();
    if (draining) response.setHeader('Connection', 'close');
    response.on('finish', () => log('info', 'http', `request method=${request.method} ` +
      `path=${request.url.split('?')[0].slice(0, 200)} status=${response.statusCode} ` +
      `ms=${Math.round(performance.now() - start)}`));
    answer(request, response);
  },
);
server.maxConnections = 512;

// PID 1 has no default handler, so this is also what lets SIGTERM in at all.
function drain() {
  if (draining) return;
  draining = true;
  log('info', 'server', 'draining');
  server.close(() => {
    log('info', 'server', 'stopped');
    process.exit(0);
  });
  server.closeIdleConnections();
  setTimeout(() => server.closeAllConnections(), DRAIN_MS).unref();
}
process.on('SIGTERM', drain);
process.on('SIGINT', drain);

server.on('error', (error) => {
  log('error', 'server', `cannot listen port=${port} error=${error.code}`);
  process.exit(1);
});
// Without a host node listens on :: for both families, or on 0.0.0.0 where there is no IPv6.
server.listen(Number(port), () => log('info', 'server', `listening port=${server.address().port}`));
