/* SPDX-License-Identifier: Apache-2.0 */
/* Names and values of declared DNS records. The codec has the last word on a value; here it is
 * checked as far as its author can be told where the slip is, and names are made absolute. */
#include "domain/model/priv.h"

#include <ctype.h>

char *decl_lower_name(struct arena *a, const char *name)
{
    size_t n = strlen(name);
    if (n > 1 && name[n - 1] == '.')
        n--;
    char *s = arena_strndup(a, name, n);
    for (size_t i = 0; i < n; i++)
        s[i] = (char)tolower((unsigned char)s[i]);
    return s;
}

bool decl_in_domain(const char *fqdn, const char *domain)
{
    if (!str_ends(fqdn, domain))
        return false;
    size_t n = strlen(fqdn), m = strlen(domain);
    return n == m || fqdn[n - m - 1] == '.';
}

/* Hostnames and service names (RFC 1035 2.3.4, RFC 2782 underscores); one label is enough. */
static bool is_name(const char *s)
{
    size_t total = strlen(s);
    if (total == 0 || total > 253)
        return false;
    for (;; s++) {
        size_t n = strcspn(s, ".");
        if (n == 0 || n > 63 || s[0] == '-' || s[n - 1] == '-')
            return false;
        for (size_t i = 0; i < n; i++)
            if (!isalnum((unsigned char)s[i]) && s[i] != '-' && s[i] != '_')
                return false;
        s += n;
        if (!*s)
            return true;
    }
}

char *decl_record_fqdn(struct arena *a, const char *name, const char *domain)
{
    if (!strcmp(name, "@"))
        return arena_strdup(a, domain);
    bool absolute = str_ends(name, ".");
    char *lower = decl_lower_name(a, name);
    if (!is_name(lower))
        return NULL;
    if (decl_in_domain(lower, domain))
        return lower;
    char *full = absolute ? NULL : arena_printf(a, "%s.%s", lower, domain);
    return full && is_name(full) ? full : NULL;
}

/* A name inside a value: "x." is absolute, "x" relative to the domain, "@" the domain. Always ends
 * with a dot. */
static char *value_name(
    struct arena *a, const char *text, const char *domain, const char **expected)
{
    if (!strcmp(text, "@"))
        return arena_printf(a, "%s.", domain);
    if (!strcmp(text, ".")) /* RFC 7505 null MX, RFC 2782 no such service */
        return arena_strdup(a, ".");
    bool absolute = str_ends(text, ".");
    char *lower = decl_lower_name(a, text);
    if (!is_name(lower)) {
        *expected = "a DNS name";
        return NULL;
    }
    if (absolute)
        return arena_printf(a, "%s.", lower);
    if (decl_in_domain(lower, domain)) {
        *expected = "a dot behind a full name (without it the name is relative to the domain)";
        return NULL;
    }
    return arena_printf(a, "%s.%s.", lower, domain);
}

/* Splits at blanks into exactly n words, the last one taking the rest. */
static bool split(struct arena *a, const char *value, size_t n, char **words)
{
    char *s = arena_strdup(a, value);
    for (size_t i = 0; i < n; i++) {
        s += strspn(s, " \t");
        if (!*s)
            return false;
        words[i] = s;
        if (i + 1 == n) {
            size_t len = strlen(s);
            while (len && (s[len - 1] == ' ' || s[len - 1] == '\t'))
                s[--len] = '\0';
            return true;
        }
        s += strcspn(s, " \t");
        if (*s)
            *s++ = '\0';
    }
    return true;
}

/* `numbers` words of 16 bits, then a name: MX has one, SRV three. */
static char *numbers_and_name(
    struct arena *a, const char *value, size_t numbers, const char *domain, const char **expected)
{
    char *words[4];
    uint64_t n;
    if (!split(a, value, numbers + 1, words))
        return NULL;
    for (size_t i = 0; i < numbers; i++)
        if (!str_to_u64(words[i], 65535, &n))
            return NULL;
    if (strpbrk(words[numbers], " \t"))
        return NULL;
    char *name = value_name(a, words[numbers], domain, expected);
    if (!name)
        return NULL;
    return numbers == 1 ? arena_printf(a, "%s %s", words[0], name)
                        : arena_printf(a, "%s %s %s %s", words[0], words[1], words[2], name);
}

static char *address_value(struct arena *a, const char *value, uint8_t family)
{
    struct ip_addr addr;
    char text[IP_TEXT_SIZE];
    if (!ip_parse(value, &addr) || addr.family != family)
        return NULL;
    ip_format(&addr, text);
    return arena_strdup(a, text);
}

#define TEXT_STRING_MAX 255u /* RFC 1035 3.3: a character-string */

static char *quote(struct arena *a, const char *value)
{
    _cleanup_str_ struct str out = STR_INIT;
    size_t in_string = 0;
    str_add_ch(&out, '"');
    for (const char *s = value; *s; s++) {
        if (in_string++ == TEXT_STRING_MAX) {
            str_add(&out, "\" \"");
            in_string = 1;
        }
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            str_addf(&out, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            str_addf(&out, "\\%03u", c);
        else
            str_add_ch(&out, (char)c);
    }
    str_add_ch(&out, '"');
    return arena_strdup(a, out.buf);
}

/* Quoted strings and blanks, nothing else; none longer than a character-string. */
static bool is_quoted(const char *s)
{
    while (*s) {
        if (*s++ != '"')
            return false;
        size_t n = 0;
        for (; *s && *s != '"'; s++, n++) {
            if (*s != '\\')
                continue;
            if (isdigit((unsigned char)s[1]) && isdigit((unsigned char)s[2])
                && isdigit((unsigned char)s[3]))
                s += 3;
            else if (s[1])
                s++;
            else
                return false;
        }
        if (*s++ != '"' || n > TEXT_STRING_MAX)
            return false;
        s += strspn(s, " \t");
    }
    return true;
}

static char *text_value(struct arena *a, const char *value)
{
    if (value[0] != '"')
        return quote(a, value);
    return is_quoted(value) ? arena_strdup(a, value) : NULL;
}

static char *caa_value(struct arena *a, const char *value)
{
    char *words[3];
    uint64_t flags;
    if (!split(a, value, 3, words) || !str_to_u64(words[0], 255, &flags))
        return NULL;
    for (const char *s = words[1]; *s; s++)
        if (!isalnum((unsigned char)*s))
            return NULL;
    char *text = text_value(a, words[2]);
    return text ? arena_printf(a, "%s %s %s", words[0], words[1], text) : NULL;
}

char *decl_record_value(
    struct arena *a, const char *type, const char *value, const char *domain, const char **expected)
{
    static const struct {
        const char *type, *expected;
    } forms[] = {
        {"A", "an IPv4 address"},
        {"AAAA", "an IPv6 address"},
        {"CAA", "FLAGS TAG VALUE as in 0 issue \"ca.example.net\""},
        {"CNAME", "a DNS name"},
        {"MX", "PREFERENCE NAME as in 10 mail.example.com."},
        {"SRV", "PRIORITY WEIGHT PORT NAME as in 0 5 443 www.example.com."},
        {"TXT", "a text, or quoted texts of at most 255 bytes each"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        if (!strcmp(forms[i].type, type))
            *expected = forms[i].expected;
    if (!strcmp(type, "A"))
        return address_value(a, value, 4);
    if (!strcmp(type, "AAAA"))
        return address_value(a, value, 6);
    if (!strcmp(type, "MX"))
        return numbers_and_name(a, value, 1, domain, expected);
    if (!strcmp(type, "SRV"))
        return numbers_and_name(a, value, 3, domain, expected);
    if (!strcmp(type, "CNAME"))
        return value_name(a, value, domain, expected);
    if (!strcmp(type, "CAA"))
        return caa_value(a, value);
    return text_value(a, value);
}
