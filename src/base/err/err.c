/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err/err.h"

#include "base/str/str.h"

#include <errno.h>

static const struct {
    int code;
    const char *name;
} code_names[] = {
    {ERR_FAILED, "failed"},
    {ERR_USAGE, "usage"},
    {ERR_REFUSED, "refused"},
    {ERR_INVALID, "invalid"},
    {ERR_NOT_FOUND, "not_found"},
    {ERR_EXISTS, "exists"},
    {ERR_CONFLICT, "conflict"},
    {ERR_UNAVAILABLE, "unavailable"},
    {ERR_TIMEOUT, "timeout"},
    {ERR_LIMIT, "limit"},
    {ERR_SYSTEM, "system"},
    {ERR_DENIED, "denied"},
    {ERR_PROTOCOL, "protocol"},
    {ERR_CANCELED, "canceled"},
};

/* Formats into a fixed buffer; what does not fit is cut at a character, for JSON takes whole ones
 * only. */
static void fill(char *dst, size_t size, const char *fmt, va_list ap)
{
    int n = vsnprintf(dst, size, fmt, ap);
    if (n < 0 || (size_t)n < size)
        return;
    size_t at = size - 1;
    while (at && ((unsigned char)dst[at - 1] & 0xc0) == 0x80)
        at--;
    uint32_t c;
    if (at && (unsigned char)dst[at - 1] >= 0xc0 && !str_utf8_next(dst + at - 1, size - at, &c))
        dst[at - 1] = '\0';
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    ASSERT(code < 0);
    if (!e)
        return code;
    e->code = code;
    e->where[0] = e->fix[0] = '\0';
    va_list ap;
    va_start(ap, fmt);
    fill(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
    return code;
}

int err_errno(struct err *e, int errno_value, const char *fmt, ...)
{
    int code = errno_value == ENOENT   ? ERR_NOT_FOUND
               : errno_value == EEXIST ? ERR_EXISTS
                                       : ERR_SYSTEM;
    if (!e)
        return code;
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(e, code, "%s: %s", text, strerror(errno_value));
}

static void put_in_front(struct err *e, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void put_in_front(struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fill(e->message, sizeof e->message, fmt, ap);
    va_end(ap);
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    if (!e)
        return ERR_FAILED;
    char text[sizeof e->message], message[sizeof e->message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    memcpy(message, e->message, sizeof message);
    put_in_front(e, "%s: %s", text, message);
    return e->code ? e->code : ERR_FAILED;
}

void err_where(struct err *e, const char *fmt, ...)
{
    if (!e)
        return;
    va_list ap;
    va_start(ap, fmt);
    fill(e->where, sizeof e->where, fmt, ap);
    va_end(ap);
}

void err_fix(struct err *e, const char *fmt, ...)
{
    if (!e)
        return;
    va_list ap;
    va_start(ap, fmt);
    fill(e->fix, sizeof e->fix, fmt, ap);
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
