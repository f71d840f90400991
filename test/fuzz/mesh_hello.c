/* SPDX-License-Identifier: Apache-2.0 */
/* The hello between meshes: what parses formats back to the same bytes, and needs all of them. */
#include "base/str/str.h"
#include "proto/mesh/mesh.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mesh_hello h, again;
    uint8_t out[MESH_HELLO_MAX];
    enum mesh_status status;
    if (mesh_answer_parse(data, size, &status))
        ASSERT(mesh_status_text(status));
    int n = mesh_hello_parse(data, size, &h);
    if (n <= 0)
        return 0;
    ASSERT((size_t)n <= size && (size_t)n <= MESH_HELLO_MAX);
    ASSERT(mesh_hello_format(&h, out) == (size_t)n && !memcmp(out, data, (size_t)n));
    for (int i = 0; i < n; i++)
        ASSERT(mesh_hello_parse(data, (size_t)i, &again) == 0);
    return 0;
}
