/* SPDX-License-Identifier: Apache-2.0 */
#include "driver/sql/priv.h"

void sql_script_done(struct sql_script *s)
{
    for (size_t i = 0; i < s->n; i++) {
        secret_wipe(s->v[i].text, strlen(s->v[i].text));
        free(s->v[i].text);
    }
    free(s->v);
    *s = (struct sql_script){0};
}

void sql_script_add(struct sql_script *s, const char *fmt, ...)
{
    _cleanup_secret_str_ struct str text = STR_INIT;
    va_list ap;
    va_start(ap, fmt);
    str_addv(&text, fmt, ap);
    va_end(ap);
    sql_script_take(s, &text);
}

void sql_script_take(struct sql_script *s, struct str *text)
{
    struct sql_step *step = GROW(s->v, s->n, s->cap);
    step->text = str_steal(text);
}

void sql_script_tolerate(struct sql_script *s, unsigned number)
{
    s->v[s->n - 1].tolerated = number;
}

int sql_run(struct sql_conn *c, const struct sql_script *s, struct err *e)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct sql_step *step = &s->v[i];
        struct err why = {0};
        int r = s->secret ? sql_exec_secret(c, step->text, &why) : sql_exec(c, step->text, &why);
        if (r >= 0 || (step->tolerated && sql_errno(c) == step->tolerated))
            continue;
        if (e)
            *e = why;
        return r;
    }
    return 0;
}
