/* SPDX-License-Identifier: Apache-2.0 */
#include "service/files/files.h"

#include "base/digest/digest.h"
#include "base/file/file.h"
#include "base/schema/schema.h"
#include "domain/model/model.h"
#include "domain/revision/revision.h"
#include "driver/registry/registry.h"

#include <sys/stat.h>

#define REF_NAME "org.opencontainers.image.ref.name"

static char *in_dir(const char *dir, const char *path)
{
    return path[0] == '/' || !strcmp(dir, ".") ? xstrdup(path) : xasprintf("%s/%s", dir, path);
}

/* "images/api:v1" -> the folder, and "v1" or "". */
static char *split_tag(const char *key, const char **ret_tag)
{
    const char *slash = strrchr(key, '/');
    const char *colon = strchr(slash ? slash : key, ':');
    *ret_tag = colon ? colon + 1 : "";
    return colon ? xasprintf("%.*s", (int)(colon - key), key) : xstrdup(key);
}

static bool has_tag(const json_t *manifest, const char *tag)
{
    const char *name =
        json_string_value(json_object_get(json_object_get(manifest, "annotations"), REF_NAME));
    return name && !strcmp(name, tag);
}

/* The manifest that the index names: the tag's, or the only one. */
static int choose(const json_t *index, const char *tag, const json_t **ret, struct err *e)
{
    const json_t *list = json_object_get(index, "manifests"), *found = NULL;
    size_t n = json_array_size(list), matches = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(list, i);
        if (*tag && !has_tag(one, tag))
            continue;
        found = one;
        matches++;
    }
    if (matches == 1) {
        *ret = found;
        return 0;
    }
    if (*tag)
        return err_set(e, ERR_NOT_FOUND,
            matches ? "%zu images have the tag \"%s\""
                    : "none of its %zu images has the tag \"%s\"",
            matches ? matches : n, tag);
    return err_set(e, ERR_NOT_FOUND,
        n ? "it holds %zu images: name one, oci:PATH:TAG" : "it holds no image (%zu)", n);
}

/* An image is what its bytes are: the manifest must lie there and have the digest that the index
 * says. */
static int check_manifest(
    const char *layout, const json_t *descriptor, char ret_digest[], struct err *e)
{
    const char *digest, *media;
    int r = json_get_str(descriptor, "digest", &digest, e);
    if (r < 0)
        return r;
    if (!digest_valid(digest))
        return err_set(e, ERR_INVALID, "its manifest's digest is not sha256");
    media = json_opt_str(descriptor, "mediaType", "application/vnd.oci.image.manifest.v1+json");
    if (strcmp(media, "application/vnd.oci.image.manifest.v1+json") != 0) {
        err_set(e, ERR_INVALID, "it holds a %s, expected one image manifest", media);
        err_fix(e, "copy one platform's image: `skopeo copy --override-arch amd64 ...`");
        return ERR_INVALID;
    }
    _cleanup_free_ char *path = xasprintf("%s/blobs/sha256/%s", layout, digest + strlen("sha256:"));
    _cleanup_str_ struct str text = STR_INIT;
    r = file_read(path, FILES_INDEX_MAX, &text, e);
    if (r < 0)
        return r;
    char found[DIGEST_SIZE];
    digest_mem(str_cstr(&text), text.len, found);
    if (strcmp(found, digest) != 0)
        return err_set(e, ERR_INVALID, "%s does not have the content that its name says", path);
    memcpy(ret_digest, found, DIGEST_SIZE);
    return 0;
}

/* A folder of its own for each place that images come from: what was fetched once is there. */
static char *cache_of(const char *source)
{
    char digest[DIGEST_SIZE];
    const char *root = getenv("MCP_IMAGE_CACHE");
    digest_mem(source, strlen(source), digest);
    return xasprintf(
        "%s/%.32s", root && *root ? root : "/var/cache/mcp/images", digest + strlen("sha256:"));
}

/* "images/api.tar:v1" and docker://...: skopeo makes a layout of them. NULL: it is one. */
static char *foreign_source(const char *dir, const char *key)
{
    const char *tag;
    if (str_starts(key, "docker://"))
        return xstrdup(key);
    _cleanup_free_ char *path = split_tag(key, &tag);
    _cleanup_free_ char *file = in_dir(dir, path);
    struct stat st;
    if (stat(file, &st) < 0 || !S_ISREG(st.st_mode))
        return NULL;
    return xasprintf("oci-archive:%s%s%s", file, *tag ? ":" : "", tag);
}

static int fetch(const char *source, char ret_digest[], char **ret_layout, struct err *e)
{
    _cleanup_free_ char *layout = cache_of(source);
    _cleanup_free_ char *tagged = xasprintf("%s:latest", layout);
    int r = registry_fetch(source, layout, e);
    return r < 0 ? r : files_image_digest("/", tagged, ret_digest, ret_layout, e);
}

int files_image_digest(
    const char *dir, const char *key, char ret_digest[], char **ret_layout, struct err *e)
{
    _cleanup_free_ char *source = foreign_source(dir, key);
    if (source)
        return fetch(source, ret_digest, ret_layout, e);
    const char *tag;
    _cleanup_free_ char *path = split_tag(key, &tag);
    _cleanup_free_ char *layout = in_dir(dir, path);
    _cleanup_free_ char *index_path = xasprintf("%s/index.json", layout);
    _cleanup_json_ json_t *index = NULL;
    if (!file_exists(index_path)) {
        err_set(e, ERR_NOT_FOUND, "no OCI image layout at %s", layout);
        err_fix(e, "make the images: `example/build-images.sh` does it for the example");
        return ERR_NOT_FOUND;
    }
    const json_t *descriptor = NULL;
    int r = json_read_file(index_path, FILES_INDEX_MAX, &index, e);
    if (r < 0)
        return r;
    if ((r = choose(index, tag, &descriptor, e)) < 0
        || (r = check_manifest(layout, descriptor, ret_digest, e)) < 0) {
        err_wrap(e, "the image layout %s", layout);
        return r;
    }
    if (ret_layout)
        *ret_layout = util_steal_ptr(&layout);
    return 0;
}

struct resolve {
    const struct model *m;
    const char *dir, *text;
    size_t len;
    struct problems *p;
    json_t *files;
    json_t *failed; /* keys already told */
    struct arena *arena;
    const struct yaml_node *root; /* read again when the first place is asked for */
};

static const struct yaml_node *root_of(struct resolve *c)
{
    if (!c->root) {
        struct problems ignored;
        problems_init(&ignored, "");
        c->arena = arena_new(0);
        c->root = yaml_tree_parse(c->arena, c->text, c->len, MODEL_TEXT_MAX, &ignored);
        problems_done(&ignored);
    }
    return c->root;
}

static void tell(
    struct resolve *c, const struct yaml_node *at, const char *what, const struct err *e)
{
    struct problem *q = schema_problem(c->p, at, "%s: %s", what, e->message);
    if (*e->fix)
        problem_fix(q, "%s", e->fix);
}

/* map: "modules" or "functions". */
static void resolve_image(struct resolve *c, const char *map, const struct model_module *module)
{
    const char *key = revision_image_key(module->image);
    if (!key || json_object_get(c->files, key) || json_object_get(c->failed, key))
        return;
    char digest[DIGEST_SIZE];
    struct err e = {0};
    if (files_image_digest(c->dir, key, digest, NULL, &e) >= 0) {
        json_object_set_new(c->files, key, json_string(digest));
        return;
    }
    json_object_set_new(c->failed, key, json_true());
    const struct yaml_node *row = yaml_map_get(yaml_map_get(root_of(c), map), module->name);
    const struct yaml_node *at = yaml_map_get(row, "image");
    _cleanup_free_ char *what = xasprintf("%s.%s", map, module->name);
    tell(c, at ? at : row, what, &e);
}

/* False: *e says why not. */
static bool resolve_plain(struct resolve *c, const char *key, struct err *e)
{
    _cleanup_free_ char *path = in_dir(c->dir, key);
    char digest[DIGEST_SIZE];
    if (digest_file(path, digest, e) < 0)
        return false;
    json_object_set_new(c->files, key, json_string(digest));
    return true;
}

static void resolve_geo(struct resolve *c, const char *key)
{
    struct err e = {0};
    if (resolve_plain(c, key, &e))
        return;
    const struct yaml_node *geo = yaml_map_get(yaml_map_get(root_of(c), "routing"), "geo");
    tell(c, yaml_map_get(geo, "database"), "routing.geo.database", &e);
}

static void resolve_schema(struct resolve *c, const struct model_database *db)
{
    for (size_t i = 0; i < db->n_schema; i++) {
        struct err e = {0};
        if (resolve_plain(c, db->schema[i], &e))
            continue;
        const struct yaml_node *row = yaml_map_get(yaml_map_get(root_of(c), "data"), db->name);
        _cleanup_free_ char *what = xasprintf("data.%s.schema", db->name);
        tell(c, yaml_map_get(row, "schema"), what, &e);
    }
}

int files_resolve(const struct model *m, const char *dir, const char *text, size_t len,
    json_t **ret, struct problems *p)
{
    struct resolve c = {.m = m,
        .dir = dir,
        .text = text,
        .len = len,
        .p = p,
        .files = json_object(),
        .failed = json_object()};
    size_t before = p->total;
    for (size_t i = 0; i < m->n_modules; i++)
        resolve_image(&c, "modules", &m->modules[i]);
    for (size_t i = 0; i < m->n_functions; i++)
        resolve_image(&c, "functions", &m->functions[i].as);
    if (m->routing.geo_database)
        resolve_geo(&c, m->routing.geo_database);
    for (size_t i = 0; i < m->n_databases; i++)
        resolve_schema(&c, &m->databases[i]);
    arena_free(c.arena);
    json_decref(c.failed);
    if (p->total > before) {
        json_decref(c.files);
        return ERR_NOT_FOUND;
    }
    *ret = c.files;
    return 0;
}
