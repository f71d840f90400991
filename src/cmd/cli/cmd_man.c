/* SPDX-License-Identifier: Apache-2.0 */
/* The manual pages, from the tables that the program itself works by. The build writes and installs
 * them. */
#include "cmd/cli/priv.h"

#include "base/man/man.h"
#include "base/schema/schema.h"
#include "domain/model/model.h"

static void add_header(struct str *out, const char *title, const char *section, const char *name)
{
    str_add(out, ".\\\" SPDX-License-Identifier: Apache-2.0\n");
    str_addf(
        out, ".TH %s %s \"\" \"mcp " MCP_VERSION "\" \"Modular Cloud Platform\"\n", title, section);
    str_addf(out, ".SH NAME\n%s\n", name);
}

static void add_option(struct str *out, const struct cmd_opt *o)
{
    _cleanup_str_ struct str tag = STR_INIT;
    if (o->letter)
        str_addf(&tag, "-%c, ", o->letter);
    str_addf(&tag, "--%s%s%s", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    man_entry(out, tag.buf, o->help);
}

static void add_command(struct str *out, const struct cmd *c)
{
    bool has_opts = c->opts && c->opts->name;
    _cleanup_free_ char *head = xasprintf("mcp %s%s%s%s", c->name, has_opts ? " [OPTION]..." : "",
        *c->operands ? " " : "", c->operands);
    man_macro(out, "SS", head);
    _cleanup_free_ char *summary = xasprintf("%s.", c->summary);
    man_prose(out, summary);
    str_add(out, ".PP\n");
    man_prose(out, c->text ? c->text : "");
    for (const struct cmd_opt *o = c->opts; o && o->name; o++)
        add_option(out, o);
}

static void add_page_1(struct str *out)
{
    add_header(out, "MCP", "1", "mcp \\- the Modular Cloud Platform: one binary, one file");
    man_macro(out, "SH", "SYNOPSIS");
    str_add(out, "\\fBmcp\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]...\n");
    man_macro(out, "SH", "DESCRIPTION");
    man_prose(out,
        "Runs a platform of modules in several regions from one declaration, platform.yaml(5): "
        "containers, geo "
        "DNS, health, steering, gateway. The same file is the command line and the daemon of every "
        "host.\n\n"
        "Every command explains itself with --help, and prints JSON with --json where it prints "
        "anything.");
    man_macro(out, "SH", "COMMANDS");
    for (const struct cmd *const *c = cmd_table; *c; c++)
        if (!(*c)->hidden)
            add_command(out, *c);
    man_macro(out, "SH", "EXIT STATUS");
    man_entry(out, "0", "Done.");
    man_entry(out, "1", "Failed.");
    man_entry(out, "2", "The command line is wrong.");
    man_entry(out, "3", "A rule refuses.");
    str_add(out, ".PP\n");
    man_prose(out, "An error says where, what, and what to do about it. With --json it is the "
                   "object {\"error\": {\"code\", \"message\", \"where\", \"fix\"}}, with "
                   "\"details\" where there are several.");
    man_macro(out, "SH", "ENVIRONMENT");
    man_entry(
        out, "MCP_FILE", "The declaration, where -f does not name one. Default: ./platform.yaml.");
    man_entry(out, "MCP_SOCKET", "The socket of the control role to talk to.");
    man_entry(out, "NO_COLOR", "Set to anything: no colours.");
    man_macro(out, "SH", "FILES");
    man_entry(out, "/run/mcp/mcp.sock", "Where a host's control role listens for commands.");
    man_entry(out, "/var/lib/mcp", "What a host keeps.");
    man_entry(out, "/usr/share/mcp/country.mmdb", "The country database.");
    man_macro(out, "SH", "SEE ALSO");
    str_add(out, ".BR platform.yaml (5)\n");
}

static void add_page_5(struct str *out)
{
    add_header(out, "PLATFORM.YAML", "5", "platform.yaml \\- what a platform is");
    man_macro(out, "SH", "DESCRIPTION");
    man_prose(out, "One YAML file declares a whole platform: its regions and hosts, who is "
                   "answered by which region, and "
                   "the modules that run there. `mcp init` writes a small one, `mcp plan` checks "
                   "it and shows what it "
                   "would change.\n\n"
                   "Keys that are not listed here are errors. So are a key that stands twice in "
                   "one map, anchors, "
                   "aliases and tags. All errors are told at once, each with its line and column. "
                   "Maps have no order; "
                   "lists do.");
    man_macro(out, "SH", "VALUES");
    man_entry(out, "name", "Lower-case letters, digits and hyphens, as in a DNS label.");
    man_entry(out, "duration",
        "A number with ms, s, m, h or d, or several: `200ms`, `5s`, `1h30m`, `7d`.");
    man_entry(out, "size",
        "A number with KiB, MiB, GiB, TiB (powers of 1024), KB, MB, GB, TB (powers of 1000), or "
        "alone in bytes: `256MiB`.");
    man_entry(out, "rate", "Bits a second: `64kbit`, `100Mbit`, `1Gbit`.");
    man_entry(out, "percentage", "A number with a percent sign: `0.5%`.");
    man_entry(out, "address", "IPv4 or IPv6: `203.0.113.20`, `\"2001:db8::20\"`.");
    man_entry(
        out, "prefix", "An address and the bits that count, all others zero: `10.20.0.0/16`.");
    man_macro(out, "SH", "KEYS");
    man_prose(out, "In what follows, words in capitals stand for names that the file chooses.");
    schema_man(model_schema(), out);
    man_macro(out, "SH", "EXAMPLE");
    _cleanup_free_ char *example = xasprintf("  %s", cmd_init_template);
    _cleanup_str_ struct str indented = STR_INIT;
    for (const char *s = example; *s; s++) {
        str_add_ch(&indented, *s);
        if (*s == '\n' && s[1])
            str_add(&indented, "  ");
    }
    man_prose(out, indented.buf);
    man_macro(out, "SH", "SEE ALSO");
    str_add(out, ".BR mcp (1)\n");
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_str_ struct str out = STR_INIT;
    if (!strcmp(ctx->operands[0], "1"))
        add_page_1(&out);
    else if (!strcmp(ctx->operands[0], "5"))
        add_page_5(&out);
    else
        return err_set(e, ERR_USAGE, "there are the pages 1 and 5");
    fputs(out.buf, stdout);
    return 0;
}

const struct cmd cmd_man = {
    .name = "man",
    .operands = "1|5",
    .summary = "Print the source of a manual page",
    .min_operands = 1,
    .max_operands = 1,
    .hidden = true,
    .run = run,
};
