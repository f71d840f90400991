/* SPDX-License-Identifier: Apache-2.0 */
/* One module of a revision changed, everything else as it was. */
#include "domain/revision/revision.h"

static json_t *module_of(const json_t *platform, const char *name)
{
    return json_object_get(json_object_get(platform, "modules"), name);
}

static const char *image_of(const json_t *module)
{
    const char *image = json_opt_str(module, "image", NULL);
    return image ? revision_image_key(image) : NULL;
}

/* The name of another module whose image is this file, NULL: none. */
static const char *also_used_by(const json_t *platform, const char *module, const char *key)
{
    const char *name;
    json_t *m;
    json_object_foreach (json_object_get(platform, "modules"), name, m) {
        const char *other = strcmp(name, module) ? image_of(m) : NULL;
        if (other && !strcmp(other, key))
            return name;
    }
    return NULL;
}

/* The files of the new tree: `key` has `digest`, and what the module alone had named before goes. */
static int change_file(const json_t *platform, const char *module, const char *old_key,
    const char *key, const char *digest, json_t *files, struct err *e)
{
    const char *other = also_used_by(platform, module, key);
    if (other && strcmp(json_opt_str(files, key, ""), digest) != 0) {
        err_set(e, ERR_REFUSED, "module %s has its image from %s too, and would change with it",
            other, key);
        err_fix(e, "give module %s an image of its own: --image oci:PATH", module);
        return ERR_REFUSED;
    }
    if (old_key && strcmp(old_key, key) != 0 && !also_used_by(platform, module, old_key))
        json_object_del(files, old_key);
    json_object_set_new(files, key, json_string(digest));
    return 0;
}

static int replace(const json_t *platform, const json_t *files, const char *name,
    json_t *new_module, const char *digest, struct revision_edit *ret, struct err *e)
{
    _cleanup_json_ json_t *module = new_module;
    const json_t *old = module_of(platform, name);
    const char *key = image_of(module);
    if (!key)
        return err_set(e, ERR_INVALID, "module %s: its image is no file", name);
    _cleanup_json_ json_t *changed = json_deep_copy(files);
    int r = change_file(platform, name, image_of(old), key, digest, changed, e);
    if (r < 0)
        return r;
    ret->platform = json_deep_copy(platform);
    ret->files = json_incref(changed);
    json_object_set(json_object_get(ret->platform, "modules"), name, module);
    return 0;
}

static int no_module(const char *name, struct err *e)
{
    err_set(e, ERR_NOT_FOUND, "the platform declares no module %s", name);
    err_fix(e, "`mcp status` lists what runs; `mcp apply` adds a module");
    return ERR_NOT_FOUND;
}

int revision_edit_image(const json_t *platform, const json_t *files, const char *module,
    const char *image, const char *digest, struct revision_edit *ret, struct err *e)
{
    const json_t *old = module_of(platform, module);
    if (!old)
        return no_module(module, e);
    if (!digest_valid(digest))
        return err_set(e, ERR_USAGE, "\"%s\" is no digest", digest);
    json_t *changed = json_deep_copy(old);
    if (image)
        json_object_set_new(changed, "image", json_string(image));
    return replace(platform, files, module, changed, digest, ret, e);
}

int revision_edit_back(const json_t *platform, const json_t *files, const char *module,
    const json_t *older, struct revision_edit *ret, struct err *e)
{
    const json_t *was = module_of(json_object_get(older, "platform"), module);
    if (!module_of(platform, module))
        return no_module(module, e);
    const char *key = image_of(was);
    const char *digest = key ? revision_file(json_object_get(older, "files"), key) : NULL;
    if (!digest) {
        err_set(e, ERR_NOT_FOUND, "revision %lld has no module %s",
            (long long)json_opt_int(older, "revision", 0), module);
        err_fix(e, "`mcp revisions` lists them");
        return ERR_NOT_FOUND;
    }
    return replace(platform, files, module, json_deep_copy(was), digest, ret, e);
}

bool revision_module_equal(const json_t *a, const json_t *b, const char *module)
{
    const json_t *x = module_of(json_object_get(a, "platform"), module);
    const json_t *y = module_of(json_object_get(b, "platform"), module);
    if (!x || !y)
        return x == y;
    const char *kx = image_of(x), *ky = image_of(y);
    const char *dx = kx ? revision_file(json_object_get(a, "files"), kx) : NULL;
    const char *dy = ky ? revision_file(json_object_get(b, "files"), ky) : NULL;
    return json_equal((json_t *)x, (json_t *)y) && dx && dy && !strcmp(dx, dy);
}

void revision_edit_done(struct revision_edit *edit)
{
    json_decref(edit->platform);
    json_decref(edit->files);
}
