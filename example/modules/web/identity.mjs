// SPDX-License-Identifier: Apache-2.0
// Whose instance this is, as the platform said at the start.
export function identity() {
  const env = process.env;
  return {
    module: env.MCP_MODULE || 'web',
    region: env.MCP_REGION || '',
    instance: env.MCP_INSTANCE || '',
    host: env.MCP_HOST || '',
    pid: process.pid,
    uptime_s: Math.floor(process.uptime()),
  };
}
