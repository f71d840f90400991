/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/oci/oci.h"

#include <signal.h>

#if defined(__x86_64__)
#define MACHINE "amd64"
#elif defined(__aarch64__)
#define MACHINE "arm64"
#else
#error "name this machine in OCI's words (GOARCH)"
#endif

#define INDEX_ENTRIES_MAX 4096u

static const struct {
    const char *name;
    enum oci_media media;
} media_names[] = {
    {"application/vnd.oci.image.index.v1+json", OCI_INDEX},
    {"application/vnd.docker.distribution.manifest.list.v2+json", OCI_INDEX},
    {"application/vnd.oci.image.manifest.v1+json", OCI_MANIFEST},
    {"application/vnd.docker.distribution.manifest.v2+json", OCI_MANIFEST},
    {"application/vnd.oci.image.config.v1+json", OCI_CONFIG},
    {"application/vnd.docker.container.image.v1+json", OCI_CONFIG},
    {"application/vnd.oci.image.layer.v1.tar", OCI_LAYER_TAR},
    {"application/vnd.oci.image.layer.v1.tar+gzip", OCI_LAYER_GZIP},
    {"application/vnd.oci.image.layer.v1.tar+zstd", OCI_LAYER_ZSTD},
    {"application/vnd.docker.image.rootfs.diff.tar", OCI_LAYER_TAR},
    {"application/vnd.docker.image.rootfs.diff.tar.gzip", OCI_LAYER_GZIP},
    {"application/vnd.docker.image.rootfs.diff.tar.zstd", OCI_LAYER_ZSTD},
    /* Deprecated since image-spec 1.1, still made by older builders. */
    {"application/vnd.oci.image.layer.nondistributable.v1.tar", OCI_LAYER_TAR},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", OCI_LAYER_GZIP},
    {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", OCI_LAYER_ZSTD},
};

static int parse_descriptor(const json_t *obj, struct oci_descriptor *ret, struct err *e)
{
    const char *media, *digest;
    int r = json_get_str(obj, "mediaType", &media, e);
    if (r >= 0)
        r = json_get_str(obj, "digest", &digest, e);
    if (r >= 0)
        r = json_get_int(obj, "size", 0, OCI_LAYER_BYTES_MAX, &ret->size, e);
    if (r < 0)
        return r;
    if (!digest_valid(digest))
        return err_set(e, ERR_INVALID, "\"%.80s\" is no sha256 digest", digest);
    memcpy(ret->digest, digest, DIGEST_SIZE);
    for (size_t i = 0; i < ARRAY_SIZE(media_names); i++)
        if (!strcmp(media, media_names[i].name)) {
            ret->media = media_names[i].media;
            return 0;
        }
    return err_set(e, ERR_INVALID, "media type \"%.100s\" is not known", media);
}

static int parse_document(const char *text, size_t len, json_t **ret, struct err *e)
{
    if (len > OCI_DOCUMENT_MAX)
        return err_set(
            e, ERR_LIMIT, "document of %zu bytes, allowed are %u", len, OCI_DOCUMENT_MAX);
    int r = json_parse(text, len, ret, e);
    if (r < 0)
        return r;
    int64_t version = json_opt_int(*ret, "schemaVersion", 2);
    if (!json_is_object(*ret) || version != 2) {
        json_decref(*ret);
        *ret = NULL;
        return err_set(e, ERR_INVALID, "not an OCI document of schemaVersion 2");
    }
    return 0;
}

static int index_entries(const json_t *doc, json_t **ret, struct err *e)
{
    int r = json_get_array(doc, "manifests", ret, e);
    if (r >= 0 && json_array_size(*ret) > INDEX_ENTRIES_MAX)
        return err_set(e, ERR_LIMIT, "index of %zu entries, allowed are %u", json_array_size(*ret),
            INDEX_ENTRIES_MAX);
    return r;
}

static const json_t *find_tag(const json_t *list, const char *tag)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const json_t *notes = json_object_get(entry, "annotations");
        if (str_eq(json_opt_str(notes, "org.opencontainers.image.ref.name", NULL), tag))
            return entry;
    }
    return NULL;
}

int oci_index_find(
    const char *text, size_t len, const char *tag, struct oci_descriptor *ret, struct err *e)
{
    _cleanup_json_ json_t *doc = NULL;
    json_t *list;
    int r = parse_document(text, len, &doc, e);
    if (r >= 0)
        r = index_entries(doc, &list, e);
    if (r < 0)
        return r;
    const json_t *entry = NULL;
    if (!tag && json_array_size(list) == 1)
        entry = json_array_get(list, 0);
    else
        entry = find_tag(list, tag ? tag : "latest");
    if (!entry)
        return err_set(
            e, ERR_NOT_FOUND, "the image layout has no tag \"%s\"", tag ? tag : "latest");
    r = parse_descriptor(entry, ret, e);
    if (r >= 0 && ret->media != OCI_INDEX && ret->media != OCI_MANIFEST)
        return err_set(e, ERR_INVALID, "the tag names neither a manifest nor an index");
    return r;
}

int oci_index_platform(const char *text, size_t len, struct oci_descriptor *ret, struct err *e)
{
    _cleanup_json_ json_t *doc = NULL;
    json_t *list;
    int r = parse_document(text, len, &doc, e);
    if (r >= 0)
        r = index_entries(doc, &list, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const json_t *platform = json_object_get(entry, "platform");
        if (!str_eq(json_opt_str(platform, "os", ""), "linux")
            || !str_eq(json_opt_str(platform, "architecture", ""), MACHINE))
            continue;
        r = parse_descriptor(entry, ret, e);
        if (r >= 0 && ret->media != OCI_MANIFEST)
            return err_set(e, ERR_INVALID, "the index names no manifest for linux/" MACHINE);
        return r;
    }
    return err_set(e, ERR_NOT_FOUND, "the image is not built for linux/" MACHINE);
}

int oci_manifest_parse(
    struct arena *a, const char *text, size_t len, struct oci_manifest *ret, struct err *e)
{
    _cleanup_json_ json_t *doc = NULL;
    json_t *config, *layers;
    int r = parse_document(text, len, &doc, e);
    if (r < 0 || (r = json_get_obj(doc, "config", &config, e)) < 0
        || (r = json_get_array(doc, "layers", &layers, e)) < 0)
        return r < 0 ? err_wrap(e, "manifest") : r;
    struct oci_manifest m = {.n_layers = json_array_size(layers)};
    r = parse_descriptor(config, &m.config, e);
    if (r >= 0 && m.config.media != OCI_CONFIG)
        r = err_set(e, ERR_INVALID, "the configuration's media type is a layer's");
    if (r < 0)
        return err_wrap(e, "manifest: config");
    if (m.n_layers == 0 || m.n_layers > OCI_LAYERS_MAX)
        return err_set(
            e, ERR_LIMIT, "manifest: %zu layers, allowed are 1 to %u", m.n_layers, OCI_LAYERS_MAX);
    m.layers = arena_alloc(a, m.n_layers * sizeof *m.layers);
    for (size_t i = 0; i < m.n_layers; i++) {
        r = parse_descriptor(json_array_get(layers, i), &m.layers[i], e);
        if (r >= 0 && m.layers[i].media < OCI_LAYER_TAR)
            r = err_set(e, ERR_INVALID, "its media type is no layer's");
        if (r < 0)
            return err_wrap(e, "manifest: layer %zu", i);
    }
    *ret = m;
    return 0;
}

/* An optional list of strings without NULs; null and [] give NULL. */
static int parse_words(
    struct arena *a, const json_t *obj, const char *key, const char *const **ret, struct err *e)
{
    json_t *list = json_object_get(obj, key);
    *ret = NULL;
    if (!list || json_is_null(list) || (json_is_array(list) && json_array_size(list) == 0))
        return 0;
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > OCI_WORDS_MAX)
        return err_set(
            e, ERR_INVALID, "\"%s\" must be a list of at most %u strings", key, OCI_WORDS_MAX);
    const char **words = arena_alloc(a, (n + 1) * sizeof *words);
    for (size_t i = 0; i < n; i++) {
        const json_t *w = json_array_get(list, i);
        if (!json_is_string(w) || strlen(json_string_value(w)) != json_string_length(w))
            return err_set(e, ERR_INVALID, "\"%s\" must hold strings", key);
        words[i] = arena_strdup(a, json_string_value(w));
    }
    *ret = words;
    return 0;
}

int oci_signal_parse(const char *text)
{
    uint64_t n;
    if (str_to_u64(text, 64, &n))
        return (int)n;
    if (str_starts(text, "SIG"))
        text += 3;
    for (int s = 1; s < 32; s++) {
        const char *name = sigabbrev_np(s);
        if (name && !strcmp(name, text))
            return s;
    }
    return 0;
}

static int parse_process(struct arena *a, const json_t *config, struct oci_image *m, struct err *e)
{
    static const char *const none[] = {NULL};
    int r;
    if ((r = parse_words(a, config, "Env", &m->env, e)) < 0
        || (r = parse_words(a, config, "Entrypoint", &m->entrypoint, e)) < 0
        || (r = parse_words(a, config, "Cmd", &m->cmd, e)) < 0)
        return r;
    m->env = m->env ? m->env : none;
    m->user = arena_strdup(a, json_opt_str(config, "User", ""));
    m->cwd = arena_strdup(a, json_opt_str(config, "WorkingDir", "/"));
    if (!*m->cwd)
        m->cwd = "/";
    if (m->cwd[0] != '/')
        return err_set(e, ERR_INVALID, "\"WorkingDir\" must be an absolute path");
    const char *stop = json_opt_str(config, "StopSignal", "TERM");
    m->stop_signal = oci_signal_parse(*stop ? stop : "TERM");
    if (!m->stop_signal)
        return err_set(e, ERR_INVALID, "\"StopSignal\" is \"%.40s\", which is no signal", stop);
    return 0;
}

int oci_image_parse(
    struct arena *a, const char *text, size_t len, struct oci_image *ret, struct err *e)
{
    _cleanup_json_ json_t *doc = NULL;
    json_t *rootfs;
    int r = parse_document(text, len, &doc, e);
    if (r < 0 || (r = json_get_obj(doc, "rootfs", &rootfs, e)) < 0)
        return err_wrap(e, "image configuration");
    struct oci_image m = {0};
    r = parse_process(a, json_object_get(doc, "config"), &m, e);
    if (r >= 0)
        r = parse_words(a, rootfs, "diff_ids", &m.diff_ids, e);
    if (r < 0)
        return err_wrap(e, "image configuration");
    for (; m.diff_ids && m.diff_ids[m.n_layers]; m.n_layers++)
        if (m.n_layers >= OCI_LAYERS_MAX || !digest_valid(m.diff_ids[m.n_layers]))
            return err_set(e, ERR_INVALID, "image configuration: diff_ids[%zu] is no sha256 digest",
                m.n_layers);
    const char *arch = json_opt_str(doc, "architecture", MACHINE);
    if (strcmp(arch, MACHINE) != 0)
        return err_set(e, ERR_INVALID, "the image is for %.40s, this machine is " MACHINE, arch);
    *ret = m;
    return 0;
}
