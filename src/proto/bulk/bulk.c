/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/bulk/bulk.h"

#include "base/json/json.h"

static const char *const kind_names[] = {[BULK_IMAGE] = "image", [BULK_FILE] = "file", [BULK_SEED] = "seed"};

const char *bulk_kind_name(enum bulk_kind kind)
{
    ASSERT(kind < ARRAY_SIZE(kind_names));
    return kind_names[kind];
}

int64_t bulk_size_max(enum bulk_kind kind)
{
    return kind == BULK_SEED ? BULK_SIZE_MAX : BULK_BLOB_MAX;
}

bool bulk_kind_parse(const char *text, enum bulk_kind *ret)
{
    for (size_t i = 0; text && i < ARRAY_SIZE(kind_names); i++)
        if (!strcmp(kind_names[i], text)) {
            *ret = (enum bulk_kind)i;
            return true;
        }
    return false;
}

/* A line of either side: an object with a version in common. *ret is the caller's. */
static int open_line(const char *text, size_t len, json_t **ret, struct err *e)
{
    _cleanup_json_ json_t *root = NULL;
    struct err why;
    if (len >= BULK_HEAD_MAX || json_parse(text, len, &root, &why) < 0 || !json_is_object(root))
        return err_set(e, ERR_PROTOCOL, "not the head of a transfer");
    const json_t *range = json_object_get(root, "protocol");
    const json_t *min = json_array_get(range, 0), *max = json_array_get(range, 1);
    if (!json_is_integer(min) || !json_is_integer(max))
        return err_set(e, ERR_PROTOCOL, "a head without a protocol range");
    if (json_integer_value(min) > BULK_PROTOCOL_MAX || json_integer_value(max) < BULK_PROTOCOL_MIN)
        return err_set(e, ERR_PROTOCOL, "no protocol in common: %d to %d here, %lld to %lld there",
            BULK_PROTOCOL_MIN, BULK_PROTOCOL_MAX, (long long)json_integer_value(min),
            (long long)json_integer_value(max));
    *ret = util_steal_ptr(&root);
    return 0;
}

int bulk_request_parse(const char *text, size_t len, struct bulk_request *ret, struct err *e)
{
    _cleanup_json_ json_t *root = NULL;
    struct bulk_request r;
    int code = open_line(text, len, &root, e);
    if (code < 0)
        return code;
    const char *digest = json_opt_str(root, "digest", "");
    if (!bulk_kind_parse(json_opt_str(root, "kind", NULL), &r.kind) || !digest_valid(digest))
        return err_set(e, ERR_PROTOCOL, "a request that names no blob");
    r.offset = json_opt_int(root, "offset", 0);
    if (r.offset < 0 || r.offset > bulk_size_max(r.kind))
        return err_set(e, ERR_PROTOCOL, "a request from an offset that no blob has");
    memcpy(r.digest, digest, DIGEST_SIZE);
    *ret = r;
    return 0;
}

int bulk_answer_parse(const char *text, size_t len, struct bulk_answer *ret, struct err *e)
{
    _cleanup_json_ json_t *root = NULL;
    struct bulk_answer a = {0};
    int code = open_line(text, len, &root, e);
    if (code < 0)
        return code;
    const char *error = json_opt_str(root, "error", NULL);
    a.size = json_opt_int(root, "size", -1);
    if (error) {
        a.code = err_code_parse(error);
        str_copy(a.message, sizeof a.message, json_opt_str(root, "message", error));
        a.message[str_utf8_cut(a.message, sizeof a.message - 1)] = '\0';
    } else if (a.size < 0 || a.size > BULK_SIZE_MAX) {
        return err_set(e, ERR_PROTOCOL, "an answer without a size");
    }
    *ret = a;
    return 0;
}

static void add_line(struct str *out, json_t *line)
{
    ASSERT(line);
    _cleanup_json_ json_t *owned = line;
    _cleanup_free_ char *text = json_text(line);
    str_add(out, text);
    str_add_ch(out, '\n');
}

void bulk_request_format(const struct bulk_request *r, struct str *out)
{
    add_line(out,
        json_pack("{s:[ii],s:s,s:s,s:I}", "protocol", BULK_PROTOCOL_MIN, BULK_PROTOCOL_MAX, "kind",
            bulk_kind_name(r->kind), "digest", r->digest, "offset", (json_int_t)r->offset));
}

void bulk_answer_format(const struct bulk_answer *a, struct str *out)
{
    if (!a->code) {
        add_line(out, json_pack("{s:[ii],s:I}", "protocol", BULK_PROTOCOL_MIN, BULK_PROTOCOL_MAX,
                          "size", (json_int_t)a->size));
        return;
    }
    char message[sizeof a->message];
    str_copy(message, sizeof message, a->message);
    message[str_utf8_cut(message, sizeof message - 1)] = '\0';
    json_t *line = json_pack("{s:[ii],s:s,s:s}", "protocol", BULK_PROTOCOL_MIN, BULK_PROTOCOL_MAX,
        "error", err_code_name(a->code), "message", message);
    if (!line) /* the reason is no text */
        line = json_pack("{s:[ii],s:s}", "protocol", BULK_PROTOCOL_MIN, BULK_PROTOCOL_MAX, "error",
            err_code_name(a->code));
    add_line(out, line);
}
