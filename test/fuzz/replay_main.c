/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a libFuzzer target without libFuzzer: every file of the corpus folder, then seeded mutations
 * of them. usage: fuzz-NAME CORPUS_DIR [MUTATIONS [SEED]]. A crash or a hang fails the test; the
 * seed is printed first. */
#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/rnd/rnd.h"

#include <dirent.h>
#include <inttypes.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (256u * 1024)
#define DEFAULT_MUTATIONS 20000u

struct corpus {
    struct str *items;
    size_t n, cap;
};

static int load(struct corpus *c, const char *dir, struct err *e)
{
    DIR *d = opendir(dir);
    if (!d)
        return err_set(e, ERR_NOT_FOUND, "no corpus folder %s", dir);
    int r = 0;
    for (struct dirent *entry; r >= 0 && (entry = readdir(d));) {
        if (entry->d_name[0] == '.')
            continue;
        _cleanup_free_ char *path = xasprintf("%s/%s", dir, entry->d_name);
        struct str *item = GROW(c->items, c->n, c->cap);
        r = file_read(path, INPUT_MAX, item, e);
    }
    closedir(d);
    if (r >= 0 && c->n == 0)
        return err_set(e, ERR_NOT_FOUND, "the corpus folder %s is empty", dir);
    return r;
}

/* One to eight edits: flip, overwrite, insert, delete, splice from another item. */
static void mutate(struct rnd *rnd, const struct corpus *c, struct str *work)
{
    static const uint8_t interesting[] = {
        0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff, ' ', '\r', '\n', ':', ',', '"', '{'};
    const struct str *from = &c->items[rnd_below(rnd, c->n)];
    str_clear(work);
    str_add_mem(work, from->buf, from->len);
    for (uint64_t edits = 1 + rnd_below(rnd, 8); edits; edits--) {
        size_t at = work->len ? rnd_below(rnd, work->len) : 0;
        uint64_t kind = rnd_below(rnd, 6);
        if (kind == 0 && work->len) {
            work->buf[at] ^= (char)(1u << rnd_below(rnd, 8));
        } else if (kind == 1 && work->len) {
            work->buf[at] = (char)interesting[rnd_below(rnd, sizeof interesting)];
        } else if (kind == 2 && work->len) {
            work->buf[at] = (char)rnd_u64(rnd);
        } else if (kind == 3 && work->len < INPUT_MAX) {
            str_add_ch(work, 0);
            memmove(work->buf + at + 1, work->buf + at, work->len - at - 1);
            work->buf[at] = (char)interesting[rnd_below(rnd, sizeof interesting)];
        } else if (kind == 4 && work->len) {
            size_t want = 1 + rnd_below(rnd, 16); /* MIN evaluates twice */
            size_t n = MIN(want, work->len - at);
            memmove(work->buf + at, work->buf + at + n, work->len - at - n);
            work->len -= n;
        } else if (kind == 5) {
            const struct str *other = &c->items[rnd_below(rnd, c->n)];
            size_t start = other->len ? rnd_below(rnd, other->len) : 0;
            size_t n = other->len ? 1 + rnd_below(rnd, other->len - start) : 0;
            if (work->len + n <= INPUT_MAX)
                str_add_mem(work, other->buf + start, n);
        }
    }
}

int main(int argc, char **argv)
{
    struct err e = {0};
    struct corpus c = {0};
    if (argc < 2 || load(&c, argv[1], &e) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0],
            argc < 2 ? "usage: CORPUS_DIR [MUTATIONS [SEED]]" : e.message);
        return 1;
    }
    uint64_t mutations = argc > 2 ? strtoull(argv[2], NULL, 10) : DEFAULT_MUTATIONS;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    printf("seed %" PRIu64 ", %zu corpus items, %" PRIu64 " mutations\n", seed, c.n, mutations);
    fflush(stdout);
    for (size_t i = 0; i < c.n; i++)
        LLVMFuzzerTestOneInput((const uint8_t *)str_cstr(&c.items[i]), c.items[i].len);
    struct rnd rnd;
    rnd_seed(&rnd, seed);
    struct str work = STR_INIT;
    for (uint64_t i = 0; i < mutations; i++) {
        mutate(&rnd, &c, &work);
        /* An exact-size heap copy: AddressSanitizer sees a read past the end. */
        uint8_t *exact = xmalloc(work.len);
        memcpy(exact, str_cstr(&work), work.len);
        LLVMFuzzerTestOneInput(exact, work.len);
        free(exact);
    }
    str_done(&work);
    for (size_t i = 0; i < c.n; i++)
        str_done(&c.items[i]);
    free(c.items);
    puts("1 passed, 0 failed");
    return 0;
}
