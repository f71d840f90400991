/* SPDX-License-Identifier: Apache-2.0 */
/* The disk's copy: one file a secret, with the newest version that this host can open and only its
 * own box. Nothing in it is clear. */
#include "service/secrets/priv.h"

#include "base/file/file.h"

#include <dirent.h>

#define FILE_MAX (2u * 1024 * 1024)
#define SUFFIX ".json"

static char *path_of(const struct secrets *s, const char *name)
{
    return xasprintf("%s/%s" SUFFIX, s->cache_dir, name);
}

static void load(struct secrets *s, const char *name)
{
    _cleanup_free_ char *path = path_of(s, name);
    _cleanup_json_ json_t *doc = NULL;
    if (json_read_file(path, FILE_MAX, &doc, NULL) >= 0 && secret_doc_check(doc, NULL) >= 0)
        json_object_set(s->cached, name, doc);
}

/* "psp_key.json" -> true, "psp_key"; another file is none of ours. */
static bool name_of(const char *file, char out[MODEL_SECRET_NAME_MAX + 1])
{
    size_t len = strlen(file), tail = sizeof SUFFIX - 1;
    if (!str_ends(file, SUFFIX) || len - tail > MODEL_SECRET_NAME_MAX)
        return false;
    memcpy(out, file, len - tail);
    out[len - tail] = '\0';
    return model_secret_name_valid(out);
}

void secrets_cache_load(struct secrets *s)
{
    char name[MODEL_SECRET_NAME_MAX + 1];
    DIR *d = opendir(s->cache_dir);
    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d));)
        if (name_of(entry->d_name, name))
            load(s, name);
    closedir(d);
}

static json_t *own_part(const struct secrets *s, const json_t *doc)
{
    const json_t *version = secret_doc_for_host(doc, s->c.host);
    if (!version)
        return NULL;
    json_t *copy = json_copy((json_t *)version), *part = json_copy((json_t *)doc);
    json_t *box = json_object_get(json_object_get(version, "keys"), s->c.host);
    json_object_set_new(copy, "keys", json_pack("{s:O}", s->c.host, box));
    json_object_set_new(part, "versions", json_pack("[o]", copy));
    json_object_del(part, "history");
    return part;
}

void secrets_cache_put(struct secrets *s, const char *name, const json_t *doc)
{
    _cleanup_free_ char *path = path_of(s, name);
    _cleanup_json_ json_t *part = doc ? own_part(s, doc) : NULL;
    struct err ignored;
    if (!part) {
        json_object_del(s->cached, name);
        unlink(path);
        return;
    }
    if (json_equal(json_object_get(s->cached, name), part))
        return;
    _cleanup_free_ char *text = json_text(part);
    if (file_mkdirs(s->cache_dir, 0700, &ignored) >= 0
        && file_write_durable(path, text, strlen(text), 0600, &ignored) >= 0)
        json_object_set(s->cached, name, part); /* else it is tried again at the next change */
}

void secrets_cache_sweep(struct secrets *s)
{
    _cleanup_json_ json_t *copy = json_copy(s->cached);
    const char *name;
    json_t *doc;
    json_object_foreach (copy, name, doc)
        if (!documents_get(s->docs, name))
            secrets_cache_put(s, name, NULL);
}
