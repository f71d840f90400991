/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/binlog/text.h"

#include "base/str/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void binlog_text_init(struct binlog_text *t)
{
    *t = (struct binlog_text){.list = json_array(), .max = 100};
}

static bool begins(const char *line, const char *with)
{
    return !strncmp(line, with, strlen(with));
}

static void add_text(struct binlog_text *t, const char *key, const char *text)
{
    if (!t->now)
        return;
    if (++t->lines > BINLOG_TEXT_LINES) {
        json_object_set_new(t->now, "cut", json_true());
        return;
    }
    size_t n = str_utf8_cut(text, BINLOG_TEXT_LINE);
    json_t *j = json_stringn(text, n);
    /* Bytes that are no text: the program prints them as they are in statements. */
    json_array_append_new(json_object_get(t->now, key), j ? j : json_string("(not UTF-8)"));
}

static void flush(struct binlog_text *t)
{
    if (t->row)
        add_text(t, "rows", t->row);
    if (t->statement && *t->statement)
        add_text(t, "sql", t->statement);
    free(t->row);
    free(t->statement);
    t->row = t->statement = NULL;
}

static void append(char **to, const char *between, const char *text)
{
    size_t had = *to ? strlen(*to) : 0;
    if (had > BINLOG_TEXT_LINE)
        return;
    char *longer = *to ? xasprintf("%s%s%s", *to, between, text) : xstrdup(text);
    free(*to);
    *to = longer;
}

/* "#261123 16:39:53 server id 1  end_log_pos 364 CRC32 0x8ef6240a \tGTID 1-1-1 ddl" */
static bool is_head(const char *line)
{
    return *line == '#' && strlen(line) > 16 && line[1] >= '0' && line[1] <= '9'
           && strstr(line, " server id ") && strstr(line, " end_log_pos ");
}

static bool read_gtid(const char *line, struct gtid *ret)
{
    const char *p = strstr(line, "\tGTID ");
    unsigned long long seq;
    return p && sscanf(p + 6, "%u-%u-%llu", &ret->domain, &ret->server, &seq) == 3
           && (ret->seq = seq, true);
}

static void begin(struct binlog_text *t, const char *line, const struct gtid *g)
{
    char id[64], time[32];
    binlog_text_end(t);
    if (t->wants && !t->wants(t->ctx, g))
        return;
    if (json_array_size(t->list) >= t->max) {
        t->more = true;
        return;
    }
    snprintf(id, sizeof id, "%u-%u-%llu", g->domain, g->server, (unsigned long long)g->seq);
    snprintf(time, sizeof time, "20%.2s-%.2s-%.2s %.8s", line + 1, line + 3, line + 5, line + 8);
    t->now = json_pack("{s:s,s:s,s:[],s:[],s:b,s:b}", "gtid", id, "time", time, "sql", "rows",
        "failed", 0, "cut", 0);
    if (t->now && str_ends(line, " ddl"))
        json_object_set_new(t->now, "ddl", json_true());
    t->lines = 0;
    if (t->now)
        json_array_append_new(t->list, t->now);
}

static void take_head(struct binlog_text *t, const char *line)
{
    struct gtid g;
    flush(t);
    t->in_query = false;
    if (read_gtid(line, &g)) {
        begin(t, line, &g);
        return;
    }
    const char *pos = strstr(line, " end_log_pos ");
    if (t->now && t->failed && strtoull(pos + 13, NULL, 10) == t->failed)
        json_object_set_new(t->now, "failed", json_true());
    t->in_query = strstr(line, "\tQuery\t") != NULL;
}

/* Rows: "### INSERT INTO `a`.`b`", "### SET", "###   @1=40", "### WHERE" */
static void take_row(struct binlog_text *t, const char *text)
{
    if (begins(text, "INSERT INTO ") || begins(text, "UPDATE ") || begins(text, "DELETE FROM "))
        flush(t);
    while (*text == ' ')
        text++;
    append(&t->row, " ", text);
}

/* What the program adds so that its output can be run. */
static bool is_frame(const char *line)
{
    static const char *const frames[] = {"SET TIMESTAMP=", "SET @@session.", "SET @@SESSION.",
        "SET INSERT_ID=", "SET LAST_INSERT_ID=", "/*!", "/*M!", "BEGIN", "START TRANSACTION",
        "COMMIT", "ROLLBACK", "DELIMITER"};
    for (size_t i = 0; i < ARRAY_SIZE(frames); i++)
        if (begins(line, frames[i]))
            return true;
    return false;
}

static void take_query(struct binlog_text *t, const char *line)
{
    if (!strcmp(line, "/*!*/;")) {
        flush(t);
        t->in_query = false;
    } else if (begins(line, "use ") && strstr(line, "/*!*/;")) {
        char name[BINLOG_TEXT_LINE + 8];
        snprintf(name, sizeof name, "USE %.*s", (int)(strstr(line, "/*!*/;") - line - 4), line + 4);
        add_text(t, "sql", name);
    } else if (!is_frame(line)) {
        append(&t->statement, "\n", line);
    }
}

void binlog_text_line(struct binlog_text *t, const char *raw, size_t len)
{
    char line[BINLOG_TEXT_LINE + 1];
    len = MIN(len, (size_t)BINLOG_TEXT_LINE);
    memcpy(line, raw, len);
    line[len] = '\0';
    if (t->more)
        return;
    if (is_head(line))
        take_head(t, line);
    else if (!t->now)
        return;
    else if (begins(line, "#Q> "))
        append(&t->statement, "\n", line + 4);
    else if (begins(line, "### "))
        take_row(t, line + 4);
    else if (t->in_query && !begins(line, "# "))
        take_query(t, line);
}

void binlog_text_end(struct binlog_text *t)
{
    flush(t);
    t->now = NULL;
    t->in_query = false;
}

void binlog_text_done(struct binlog_text *t)
{
    binlog_text_end(t);
    json_decref(t->list);
    t->list = NULL;
}
