/* SPDX-License-Identifier: Apache-2.0 */
/* The two layers: the value under its data key, the data key to each host. What a box is for is part
 * of it, so no box serves for another secret, version or host. */
#include "service/secrets/priv.h"

#include "base/base64/base64.h"
#include "base/rnd/rnd.h"

#define BOX_TEXT_MAX ((SECRET_VALUE_MAX + SEAL_OVERHEAD + 2) / 3 * 4)

static char *value_aad(const struct secrets *s, const char *name, int64_t v)
{
    return xasprintf("%s/secret/%s/%lld", s->c.platform, name, (long long)v);
}

static char *key_aad(const struct secrets *s, const char *name, int64_t v, const char *host)
{
    return xasprintf("%s/secret/%s/%lld/key/%s", s->c.platform, name, (long long)v, host);
}

static const char *public_of(const struct secrets *s, const char *host)
{
    return json_opt_str(documents_get(s->c.hosts, host), "seal_public", NULL);
}

json_t *secrets_hosts(const struct secrets *s, const json_t *doc)
{
    if (!s->model)
        return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < s->model->n_hosts; i++)
        if (secret_host_may(s->model, doc, &s->model->hosts[i]))
            json_array_append_new(list, json_string(s->model->hosts[i].name));
    return list;
}

static int seal_key_for(const struct secrets *s, const char *name, int64_t v, const char *host,
    const char *public_text, const uint8_t *data_key, json_t **ret, struct err *e)
{
    uint8_t to[SEAL_KEY_SIZE];
    _cleanup_str_ struct str box = STR_INIT, text = STR_INIT;
    _cleanup_free_ char *aad = key_aad(s, name, v, host);
    int r = seal_public_parse(public_text, to, e);
    if (r >= 0)
        r = seal_to(to, aad, data_key, SEAL_KEY_SIZE, &box, e);
    if (r < 0)
        return err_wrap(e, "host %s", host);
    base64_encode(box.buf, box.len, &text);
    *ret = json_pack("{s:s,s:s}", "to", public_text, "box", text.buf);
    return 0;
}

/* Boxes for those of `hosts` that are registered; what `have` holds for the same key stays. */
static int seal_keys(const struct secrets *s, const char *name, int64_t v, json_t *hosts,
    const json_t *have, const uint8_t *data_key, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *keys = json_object();
    size_t i;
    json_t *h;
    json_array_foreach (hosts, i, h) {
        const char *host = json_string_value(h), *public_text = public_of(s, host);
        json_t *old = json_object_get(have, host), *box = NULL;
        if (old && str_eq(json_opt_str(old, "to", NULL), public_text)) {
            json_object_set(keys, host, old);
            continue;
        }
        if (!public_text)
            continue;
        int r = seal_key_for(s, name, v, host, public_text, data_key, &box, e);
        if (r < 0)
            return r;
        json_object_set_new(keys, host, box);
    }
    *ret = json_incref(keys);
    return 0;
}

int secrets_seal(const struct secrets *s, const char *name, int64_t v, const void *value,
    size_t len, json_t *hosts, char **ret_value, json_t **ret_keys, struct err *e)
{
    _cleanup_secret_ struct secret *data_key = secret_new(NULL, SEAL_KEY_SIZE);
    _cleanup_str_ struct str box = STR_INIT, text = STR_INIT;
    _cleanup_free_ char *aad = value_aad(s, name, v);
    rnd_bytes(secret_bytes(data_key), SEAL_KEY_SIZE);
    int r = seal_with(secret_bytes(data_key), aad, value, len, &box, e);
    if (r >= 0)
        r = seal_keys(s, name, v, hosts, NULL, secret_bytes(data_key), ret_keys, e);
    if (r < 0)
        return err_wrap(e, "seal %s", name);
    if (json_object_size(*ret_keys) == 0) {
        json_decref(*ret_keys);
        return err_set(e, ERR_UNAVAILABLE, "no host has registered its sealing key yet; try again");
    }
    base64_encode(box.buf, box.len, &text);
    *ret_value = str_steal(&text);
    return 0;
}

static int decode_box(const json_t *from, const char *key, struct str *out, struct err *e)
{
    const char *text;
    int r = json_get_str(from, key, &text, e);
    if (r < 0)
        return r;
    if (strlen(text) > BOX_TEXT_MAX)
        return err_set(e, ERR_LIMIT, "\"%s\" is too long", key);
    return base64_decode(text, strlen(text), out, e);
}

static int open_data_key(const struct secrets *s, const char *name, const json_t *version,
    struct secret **ret, struct err *e)
{
    _cleanup_str_ struct str box = STR_INIT;
    const json_t *own = json_object_get(json_object_get(version, "keys"), s->c.host);
    if (!own)
        return err_set(e, ERR_DENIED, "it is not sealed to this host");
    _cleanup_free_ char *aad = key_aad(s, name, json_opt_int(version, "v", 0), s->c.host);
    int r = decode_box(own, "box", &box, e);
    if (r >= 0)
        r = seal_open(s->c.key, aad, str_cstr(&box), box.len, ret, e);
    if (r >= 0 && secret_len(*ret) != SEAL_KEY_SIZE) {
        secret_free(*ret);
        r = err_set(e, ERR_INVALID, "a data key of another size");
    }
    return r;
}

int secrets_unseal(const struct secrets *s, const char *name, const json_t *version,
    struct secret **ret, struct err *e)
{
    _cleanup_secret_ struct secret *data_key = NULL;
    _cleanup_str_ struct str box = STR_INIT;
    _cleanup_free_ char *aad = value_aad(s, name, json_opt_int(version, "v", 0));
    int r = open_data_key(s, name, version, &data_key, e);
    if (r >= 0)
        r = decode_box(version, "value", &box, e);
    if (r >= 0)
        r = unseal_with(secret_bytes(data_key), aad, str_cstr(&box), box.len, ret, e);
    return r;
}

static bool listed(json_t *hosts, const char *host)
{
    size_t i;
    json_t *h;
    json_array_foreach (hosts, i, h)
        if (str_eq(json_string_value(h), host))
            return true;
    return false;
}

/* A box too many (a host that was removed is not registered), or too few, or for a key that the host
 * no longer has. */
/* While the register has lost this host itself, nobody's absence from it means anything. */
static bool register_counts(const struct secrets *s)
{
    return public_of(s, s->c.host) != NULL;
}

static bool keys_differ(const struct secrets *s, const json_t *keys, json_t *hosts)
{
    const char *host;
    json_t *box, *h;
    size_t i;
    json_object_foreach ((json_t *)keys, host, box)
        if (!listed(hosts, host) || !public_of(s, host))
            return true;
    json_array_foreach (hosts, i, h) {
        const char *public_text = public_of(s, json_string_value(h));
        const json_t *have = json_object_get(keys, json_string_value(h));
        if (public_text && !str_eq(json_opt_str(have, "to", NULL), public_text))
            return true;
    }
    return false;
}

int secrets_reseal(const struct secrets *s, const char *name, const json_t *version,
    json_t *hosts, json_t **ret_keys, struct err *e)
{
    const json_t *keys = json_object_get(version, "keys");
    _cleanup_secret_ struct secret *data_key = NULL;
    *ret_keys = NULL;
    if (!register_counts(s) || !keys_differ(s, keys, hosts))
        return 0;
    int r = open_data_key(s, name, version, &data_key, e);
    if (r < 0)
        return ERR_DENIED;
    r = seal_keys(s, name, json_opt_int(version, "v", 0), hosts, keys, secret_bytes(data_key),
        ret_keys, e);
    if (r >= 0 && json_object_size(*ret_keys) == 0) { /* nobody could ever open it again */
        json_decref(*ret_keys);
        *ret_keys = NULL;
    }
    return r;
}
