/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err/err.h"

#include <errno.h>

static const struct {
    int code;
    const char *name;
} code_names[] = {
    {ERR_FAILED, "failed"},           {ERR_USAGE, "usage"},       {ERR_REFUSED, "refused"},
    {ERR_INVALID, "invalid"},         {ERR_NOT_FOUND, "not_found"}, {ERR_EXISTS, "exists"},
    {ERR_CONFLICT, "conflict"},       {ERR_UNAVAILABLE, "unavailable"}, {ERR_TIMEOUT, "timeout"},
    {ERR_LIMIT, "limit"},             {ERR_SYSTEM, "system"},     {ERR_DENIED, "denied"},
    {ERR_PROTOCOL, "protocol"},       {ERR_CANCELED, "canceled"},
};

int err_set(struct err *e, int code, const char *fmt, ...)
{
    ASSERT(code < 0);
    if (!e)
        return code;
    e->code = code;
    e->where[0] = e->fix[0] = '\0';
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
    return code;
}

int err_errno(struct err *e, int errno_value, const char *fmt, ...)
{
    int code = errno_value == ENOENT ? ERR_NOT_FOUND : errno_value == EEXIST ? ERR_EXISTS : ERR_SYSTEM;
    if (!e)
        return code;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(e, code, "%s: %s", text, strerror(errno_value));
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    if (!e)
        return ERR_FAILED;
    char text[sizeof e->message];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof text)
        snprintf(text + n, sizeof text - (size_t)n, ": %s", e->message);
    memcpy(e->message, text, sizeof text);
    return e->code ? e->code : ERR_FAILED;
}

void err_where(struct err *e, const char *fmt, ...)
{
    if (!e)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->where, sizeof e->where, fmt, ap);
    va_end(ap);
}

void err_fix(struct err *e, const char *fmt, ...)
{
    if (!e)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->fix, sizeof e->fix, fmt, ap);
    va_end(ap);
}

const char *err_code_name(int code)
{
    for (size_t i = 0; i < ARRAY_SIZE(code_names); i++)
        if (code_names[i].code == code)
            return code_names[i].name;
    return "failed";
}

int err_code_parse(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(code_names); i++)
        if (!strcmp(code_names[i].name, name))
            return code_names[i].code;
    return ERR_FAILED;
}

int err_exit_status(int code)
{
    return code == ERR_USAGE ? 2 : code == ERR_REFUSED ? 3 : 1;
}
