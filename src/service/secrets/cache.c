/* SPDX-License-Identifier: Apache-2.0 */
/* The disk's copy: one file a secret, with the newest version that this host can open and only its
 * own box. Nothing in it is clear. A write that fails is made up for at the next start, when the
 * store tells again. */
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

static bool has(const struct secrets *s, const char *name)
{
    return json_object_get(s->cached, name) != NULL;
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

/* ---- writing, on a worker thread: a disk may take its time over each sync */

struct write_job {
    uv_work_t work;
    struct secrets *s;
    json_t *files; /* path -> text, or null: to be removed */
};

static void run_job(uv_work_t *work)
{
    const struct write_job *j = CONTAINER_OF(work, struct write_job, work);
    const char *path;
    json_t *text;
    struct err ignored;
    if (file_mkdirs(j->s->cache_dir, 0700, &ignored) < 0)
        return;
    json_object_foreach (j->files, path, text) {
        const char *content = json_string_value(text);
        if (!content)
            unlink(path);
        else if (file_write_durable(path, content, strlen(content), 0600, &ignored) < 0)
            continue; /* the version before stays, and serves */
    }
}

static void write_pending(struct secrets *s);

static void after_job(uv_work_t *work, int status)
{
    struct write_job *j = CONTAINER_OF(work, struct write_job, work);
    struct secrets *s = j->s;
    json_decref(j->files);
    free(j);
    s->writing = false;
    write_pending(s);
    secrets_unref(s);
}

static void write_pending(struct secrets *s)
{
    if (s->writing || json_object_size(s->pending) == 0)
        return;
    struct write_job *j = xcalloc(1, sizeof *j);
    j->s = s;
    j->files = s->pending;
    s->pending = json_object();
    s->writing = true;
    secrets_ref(s);
    int r = uv_queue_work(s->c.loop, &j->work, run_job, after_job);
    ASSERT(r == 0);
}

void secrets_cache_put(struct secrets *s, const char *name, const json_t *doc)
{
    _cleanup_free_ char *path = path_of(s, name);
    _cleanup_json_ json_t *part = doc ? own_part(s, doc) : NULL;
    if (json_equal(json_object_get(s->cached, name), part) || (!part && !has(s, name)))
        return;
    if (part)
        json_object_set(s->cached, name, part);
    else
        json_object_del(s->cached, name);
    _cleanup_free_ char *text = part ? json_text(part) : NULL;
    json_object_set_new(s->pending, path, text ? json_string(text) : json_null());
    write_pending(s);
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
