/* SPDX-License-Identifier: Apache-2.0 */
#include "domain/revision/revision.h"

#include "domain/model/model.h"

json_t *revision_build(const json_t *platform, const json_t *files, uint64_t number,
    const char *created, const char *by, const char *note)
{
    return json_pack("{s:i,s:I,s:s,s:s,s:s,s:O,s:O}", "format", REVISION_FORMAT, "revision",
        (json_int_t)number, "created", created, "by", by, "note", note, "platform",
        (json_t *)platform, "files", (json_t *)files);
}

const char *revision_image_key(const char *image)
{
    if (str_starts(image, "docker://"))
        return image; /* pinned to a digest at apply, like a file */
    return str_starts(image, "oci:") ? image + strlen("oci:") : NULL;
}

const char *revision_file(const json_t *files, const char *key)
{
    return json_string_value(json_object_get(files, key));
}

int revision_each_plain_file(
    const struct model *m, int (*fn)(void *ctx, const char *key), void *ctx)
{
    int r = m->routing.geo_database ? fn(ctx, m->routing.geo_database) : 0;
    for (size_t i = 0; i < m->n_databases; i++)
        for (size_t k = 0; k < m->databases[i].n_schema && r >= 0; k++)
            r = fn(ctx, m->databases[i].schema[k]);
    return r;
}

int revision_each_file(const struct model *m, int (*fn)(void *ctx, const char *key), void *ctx)
{
    int r = revision_each_plain_file(m, fn, ctx);
    for (size_t i = 0; i < m->n_modules && r >= 0; i++) {
        const char *key = revision_image_key(m->modules[i].image);
        r = key ? fn(ctx, key) : 0;
    }
    for (size_t i = 0; i < m->n_functions && r >= 0; i++) {
        const char *key = revision_image_key(m->functions[i].as.image);
        r = key ? fn(ctx, key) : 0;
    }
    return r;
}

struct file_check {
    const json_t *files;
    struct err *e;
};

static int check_file(void *ctx, const char *key)
{
    const struct file_check *c = ctx;
    if (revision_file(c->files, key))
        return 0;
    return err_set(c->e, ERR_INVALID, "the revision holds no digest of %s", key);
}

static int check_files(const struct revision *r, struct err *e)
{
    if (json_object_size(r->files) > REVISION_FILES_MAX)
        return err_set(e, ERR_LIMIT, "more than %d files", REVISION_FILES_MAX);
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)r->files, key, value) {
        if (!json_is_string(value) || !digest_valid(json_string_value(value)))
            return err_set(e, ERR_INVALID, "files: \"%s\" is no digest", key);
    }
    struct file_check c = {r->files, e};
    return revision_each_file(r->model, check_file, &c);
}

static int parse_members(struct revision *r, struct err *e)
{
    int64_t format, number;
    json_t *platform, *files;
    int rc;
    if ((rc = json_get_int(r->json, "format", 1, INT64_MAX, &format, e)) < 0)
        return rc;
    if (format > REVISION_FORMAT) {
        err_set(e, ERR_INVALID, "the revision has format %lld, this version knows %d",
            (long long)format, REVISION_FORMAT);
        err_fix(e, "install the version of mcp that wrote it");
        return ERR_INVALID;
    }
    if ((rc = json_get_int(r->json, "revision", 1, INT64_MAX, &number, e)) < 0
        || (rc = json_get_str(r->json, "created", &r->created, e)) < 0
        || (rc = json_get_str(r->json, "by", &r->by, e)) < 0
        || (rc = json_get_obj(r->json, "platform", &platform, e)) < 0
        || (rc = json_get_obj(r->json, "files", &files, e)) < 0)
        return rc;
    r->number = (uint64_t)number;
    r->note = json_opt_str(r->json, "note", "");
    r->files = files;
    if ((rc = model_parse_json(platform, &r->model, e)) < 0)
        return err_wrap(e, "revision %lld", (long long)number);
    return check_files(r, e);
}

int revision_parse(const json_t *json, struct revision **ret, struct err *e)
{
    struct revision *r = xcalloc(1, sizeof *r);
    r->json = json_incref((json_t *)json);
    int rc = parse_members(r, e);
    if (rc < 0) {
        revision_free(r);
        return rc;
    }
    *ret = r;
    return 0;
}

void revision_free(struct revision *r)
{
    if (!r)
        return;
    model_free(r->model);
    json_decref(r->json);
    free(r);
}

void revision_content_digest(const json_t *platform, const json_t *files, char out[DIGEST_SIZE])
{
    _cleanup_json_ json_t *content =
        json_pack("{s:O,s:O}", "platform", (json_t *)platform, "files", (json_t *)files);
    _cleanup_free_ char *text = json_text(content);
    digest_mem(text, strlen(text), out);
}
