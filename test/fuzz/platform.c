/* SPDX-License-Identifier: Apache-2.0 */
/* platform.yaml from anybody: refused with places, or a model whose canonical form reads back to
 * itself. */
#include "base/problems/problems.h"
#include "domain/model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_problems(struct problems *p)
{
    ASSERT(p->n > 0 && p->total >= p->n);
    for (size_t i = 0; i < p->n; i++)
        ASSERT(p->v[i].line >= 1 && p->v[i].column >= 1 && *p->v[i].message);
    json_t *j = problems_json(p);
    ASSERT(json_array_size(j) == MIN(p->n, (size_t)PROBLEMS_SHOWN));
    json_decref(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct problems p;
    problems_init(&p, "platform.yaml");
    struct model *m = NULL;
    if (model_parse_problems((const char *)data, size, &m, &p) < 0) {
        check_problems(&p);
    } else {
        _cleanup_free_ char *once = json_text(m->tree);
        struct model *again = NULL;
        struct err e = {0};
        ASSERT(model_parse(once, strlen(once), "canonical", &again, NULL, &e) == 0);
        _cleanup_free_ char *twice = json_text(again->tree);
        ASSERT(!strcmp(once, twice));
        model_free(again);
        again = NULL;
        ASSERT(model_parse_json(m->tree, &again, &e) == 0);
        _cleanup_free_ char *direct = json_text(again->tree);
        ASSERT(!strcmp(once, direct));
        model_free(again);
        model_free(m);
    }
    problems_done(&p);
    return 0;
}
