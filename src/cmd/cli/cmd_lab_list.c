/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/cli/cmd_lab.h"

#include "base/units/units.h"

static json_t *describe_machine(const json_t *host)
{
    json_t *j = json_deep_copy(host);
    bool alive = lab_host_alive(host);
    json_object_set_new(j, "state", json_string(alive ? "on" : "off"));
    json_object_del(j, "start_time");
    if (!alive)
        json_object_set_new(j, "pid", json_integer(0));
    return j;
}

static json_t *describe(const struct lab *l)
{
    json_t *hosts = json_array(), *wan = NULL;
    _cleanup_json_ json_t *all = lab_machines(l);
    struct err ignored;
    size_t i;
    json_t *host;
    json_array_foreach (all, i, host)
        json_array_append_new(hosts, describe_machine(host));
    json_t *j = json_pack("{s:s,s:O?,s:O?,s:O?,s:o}", "platform", l->platform, "file",
        json_object_get(l->state, "file"), "ca", json_object_get(l->state, "ca"), "forwarder",
        json_object_get(l->state, "forwarder"), "machines", hosts);
    if (lab_wan_status(l, &wan, &ignored) >= 0)
        json_object_set_new(j, "wan", wan);
    return j;
}

static void print_rule(const json_t *rule)
{
    char text[UNITS_TEXT_SIZE];
    printf("  line %s -> %s:", json_opt_str(rule, "from", "?"), json_opt_str(rule, "to", "?"));
    if (json_opt_bool(rule, "cut", false))
        printf(" cut");
    int64_t delay_us = json_opt_int(rule, "delay_us", -1),
            rate = json_opt_int(rule, "rate_bps", -1);
    if (delay_us >= 0)
        printf(" delay %g ms", (double)delay_us / 1000);
    if (json_object_get(rule, "loss"))
        printf(" loss %g %%", json_number_value(json_object_get(rule, "loss")) * 100);
    if (rate > 0)
        units_format_rate((uint64_t)rate, text);
    if (rate >= 0)
        printf(" rate %s", rate ? text : "unlimited");
    printf("\n");
}

static void print_lab(const json_t *j)
{
    size_t i;
    json_t *item;
    printf("%s\n", json_opt_str(j, "platform", "?"));
    json_array_foreach (json_object_get(j, "machines"), i, item) {
        printf("  %-12s %-14s %-4s", json_opt_str(item, "name", "?"),
            json_opt_str(item, "region", ""), json_opt_str(item, "state", "?"));
        if (json_opt_int(item, "pid", 0))
            printf(" pid %-7lld", (long long)json_opt_int(item, "pid", 0));
        else
            printf(" %11s", "");
        size_t k;
        json_t *address;
        json_array_foreach (json_object_get(item, "addresses"), k, address)
            printf(" %s", json_string_value(address));
        json_array_foreach (json_object_get(item, "public_addresses"), k, address)
            printf(" %s", json_string_value(address));
        printf("\n");
    }
    json_array_foreach (json_object_get(json_object_get(j, "wan"), "rules"), i, item)
        print_rule(item);
}

static int run(struct cmd_ctx *ctx, struct err *e)
{
    _cleanup_names_ char **names = lab_names();
    const char *only = cmd_opt(ctx, "platform");
    _cleanup_json_ json_t *labs = json_array();
    for (size_t i = 0; names[i]; i++) {
        _cleanup_lab_ struct lab *l = NULL;
        struct err ignored;
        if ((only && strcmp(only, names[i]) != 0) || lab_read(names[i], &l, &ignored) < 0)
            continue;
        json_array_append_new(labs, describe(l));
    }
    if (ctx->json) {
        _cleanup_json_ json_t *j = json_pack("{s:O}", "labs", labs);
        cmd_print_json(j);
        return 0;
    }
    size_t i;
    json_t *lab;
    json_array_foreach (labs, i, lab)
        print_lab(lab);
    if (!json_array_size(labs))
        printf("no lab runs on this machine; `mcp up -f FILE` starts one\n");
    return 0;
}

const struct cmd cmd_lab_list = {
    .name = "lab list",
    .operands = "",
    .summary = "Show the labs of this machine: hosts, addresses, what is cut",
    .text = "Each lab with its machines, their addresses and processes, and what was done to the "
            "links between them. JSON: {labs[]}.",
    .opts = (const struct cmd_opt[]){{"platform", 0, "NAME", "only this one"}, CMD_OPT_JSON, {0}},
    .run = run,
};
