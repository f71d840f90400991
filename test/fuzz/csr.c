/* SPDX-License-Identifier: Apache-2.0 */
/* Certificate requests as a host sends them to who issues: whatever comes, nothing but a request
 * that is signed with its own P-256 key is answered. */
#include "base/file/file.h"
#include "driver/pki/pki.h"

#include <stdlib.h>
#include <string.h>

#define NOW 1795392000000ll

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct pki_ca *open_ca(void)
{
    static struct pki_ca *ca;
    struct err e;
    char dir[] = "/tmp/mcp-fuzz-csr-XXXXXX";
    if (ca)
        return ca;
    ASSERT(mkdtemp(dir));
    int r = pki_ca_open(dir, "fuzz", NOW, &ca, &e);
    ASSERT(r >= 0 && file_remove_tree(dir, &e) >= 0);
    return ca;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct pki_leaf leaf = {.common_name = "hk1", .uri = "spiffe://fuzz/host/hk1"};
    struct pki_info info;
    struct err e = {0};
    char *text = malloc(size + 1), *chain = NULL;
    memcpy(text, data, size);
    text[size] = '\0';
    int r = pki_sign_csr(open_ca(), text, &leaf, NOW, &chain, &e);
    ASSERT((r >= 0) == (chain != NULL) && (r >= 0 || *e.message));
    if (chain) /* the names are ours, whatever the request says */
        ASSERT(pki_info_parse(chain, &info, &e) >= 0 && !strcmp(info.uri, leaf.uri));
    if (pki_info_parse(text, &info, &e) >= 0)
        ASSERT(
            memchr(info.uri, 0, sizeof info.uri) && memchr(info.subject, 0, sizeof info.subject));
    free(chain);
    free(text);
    return 0;
}
