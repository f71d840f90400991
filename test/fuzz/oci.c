/* SPDX-License-Identifier: Apache-2.0 */
/* Every document of an image is a stranger's: each parser gets each input. */
#include "proto/oci/oci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct arena *a = arena_new(0);
    struct oci_descriptor d;
    struct oci_manifest m;
    struct oci_image image;
    struct oci_user user;
    struct err e = {0};
    if (oci_index_find(text, size, NULL, &d, &e) >= 0)
        ASSERT(digest_valid(d.digest));
    if (oci_index_platform(text, size, &d, &e) >= 0)
        ASSERT(d.media == OCI_MANIFEST);
    if (oci_manifest_parse(a, text, size, &m, &e) >= 0)
        for (size_t i = 0; i < m.n_layers; i++)
            ASSERT(digest_valid(m.layers[i].digest) && m.layers[i].media >= OCI_LAYER_TAR);
    struct str file = STR_INIT;
    str_add_mem(&file, text, size);
    if (oci_image_parse(a, text, size, &image, &e) >= 0) {
        ASSERT(image.cwd[0] == '/' && image.stop_signal > 0 && image.env);
        if (oci_user_resolve(image.user, &file, &file, &user, &e) >= 0)
            ASSERT(user.uid <= 65535 && user.gid <= 65535);
    }
    if (oci_user_resolve("app:staff", &file, &file, &user, &e) >= 0)
        ASSERT(user.uid <= 65535 && user.gid <= 65535 && user.home[0] == '/');
    str_done(&file);
    arena_free(a);
    return 0;
}
