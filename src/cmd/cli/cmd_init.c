/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/priv.h"

#include "base/file/file.h"

#include <errno.h>
#include <fcntl.h>

/* Every address is from a documentation or private range (RFC 5737, RFC 1918), so nothing answers
 * by accident. */
const char cmd_init_template[] =
    "# A platform, declared once. `mcp plan` shows what it would do, `mcp up` brings it up on this "
    "machine.\n"
    "# platform.yaml(5) explains every key; `mcp schema` lists them.\n"
    "platform: demo                     # two platforms on one machine need two names\n"
    "domain: example.com                # the platform's name servers answer for it\n"
    "\n"
    "regions:                           # failure domains, at most one `duty: dr`; all others are "
    "serving\n"
    "  here: {duty: main, address: 203.0.113.10, network: 10.10.0.0/16}\n"
    "  # there: {duty: dr, address: 203.0.113.20, network: 10.20.0.0/16}\n"
    "\n"
    "hosts:                             # each runs `mcp host`; the public one holds its region's "
    "address\n"
    "  here1: {region: here, address: 10.10.0.11, public: true}\n"
    "  # there1: {region: there, address: 10.20.0.11, public: true}\n"
    "\n"
    "# state: {members: [here1]}        # needed with several hosts: one, three or five of them\n"
    "\n"
    "routing:\n"
    "  ttl: 60s                         # how long resolvers keep an answer\n"
    "  countries: {}                    # {KR: [there], US: [here]}: the first region that is up "
    "answers\n"
    "  default: [here]\n"
    "  on_failure: [main]               # appended to every list: [dr, main] once there is a dr "
    "region\n"
    "\n"
    "modules:\n"
    "  web:\n"
    "    image: oci:images/web          # an OCI image layout next to this file\n"
    "    port: 8080                     # where it listens in its container\n"
    "    health: {path: /healthz}       # ready when this answers\n"
    "    route: {names: [example.com, www.example.com], path: /, auth: none}\n"
    "    regions: {each: 1}             # one instance in every region\n"
    "    limits: {memory: 256MiB, cpu: 0.5, pids: 128}\n";

/* O_EXCL: a file that appears meanwhile is not overwritten either. */
static int write_new(const char *path, struct err *e)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd >= 0)
        return file_write_fd(fd, cmd_init_template, sizeof cmd_init_template - 1, e);
    if (errno != EEXIST)
        return err_errno(e, errno, "create %s", path);
    err_set(e, ERR_REFUSED, "%s is there already", path);
    err_fix(e, "name another folder, or remove the file");
    return ERR_REFUSED;
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    const char *dir = ctx->n_operands ? ctx->operands[0] : ".";
    _cleanup_free_ char *path = xasprintf("%s/platform.yaml", dir);
    int r = file_mkdirs(dir, 0755, e);
    if (r < 0 || (r = write_new(path, e)) < 0)
        return r;
    if (ctx->json) {
        _cleanup_json_ json_t *j = json_pack("{s:s}", "file", path);
        cmd_print_json(j);
    } else {
        printf("%s: one region, one host, one module. Edit it, put an image at %s/images/web, then "
               "run `mcp plan -f %s`.\n",
            path, dir, path);
    }
    return 0;
}

const struct cmd cmd_init = {
    .name = "init",
    .operands = "[DIR]",
    .summary = "Write a commented platform.yaml to start from",
    .text = "Writes DIR/platform.yaml (default: the current folder), a small platform with one "
            "region, one host and one module, and a comment behind every line. A file that is "
            "there already is never overwritten.",
    .opts = (const struct cmd_opt[]){CMD_OPT_JSON, {0}},
    .max_operands = 1,
    .run = run,
};
