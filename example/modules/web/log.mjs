// SPDX-License-Identifier: Apache-2.0
const name = process.env.MCP_MODULE || 'web';

export function log(level, area, text) {
  process.stdout.write(`${level} ${name} ${area} ${text}\n`);
}
