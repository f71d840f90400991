/* SPDX-License-Identifier: Apache-2.0 */
/* Functions: containers that run once, get their input on standard input, and whose output and exit
 * status are the answer of a call. Same runtime, limits and secrets as a module's instance, but no
 * unit: they have no life to be restarted into. What they leave is removed when they end; what a dead
 * agent's left is ended and removed by the next one. */
#include "service/agent/priv.h"

#include "base/base64/base64.h"
#include "base/clock/clock.h"
#include "base/file/file.h"
#include "base/rnd/rnd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define RUNS_MAX 16u  /* at once, on one host */
#define KEPT_MAX 64u  /* answers, for who asks for the same run again */
#define ALSO_MAX 4u
#define INPUT_MAX (256u * 1024)
#define OUTPUT_MAX (64u * 1024)
#define ERRORS_MAX (4u * 1024) /* the end of standard error */
#define LOG_BYTES (1024u * 1024)
#define LOG_READ_MAX (2u * LOG_BYTES)
#define DEADLINE_MS_MAX 60000
#define WORDS_MAX 256u
#define STAMP_LEN 24u /* "2026-11-23T05:30:12.345Z" */

struct function_run {
    struct agent *agent;
    struct function_run *next;
    struct rpc_req *req;
    struct rpc_req *also[ALSO_MAX]; /* who asked for the same run meanwhile */
    size_t n_also;
    json_t *params; /* owns the texts of `what` */
    char id[UNIT_NAME_MAX + 1];
    char *run_dir, *log_dir, *secrets_dir, *platform_dir, *input, *cgroup;
    const char *command[WORDS_MAX + 1], *env[WORDS_MAX + 1];
    struct runtime_unit what;
    struct identity *identity;
    uv_work_t work;
    uv_timer_t *timer;
    uv_poll_t *watch;
    pid_t shim;
    int pidfd;
    bool timed_out, canceled;
    uint64_t begun_ms;
    int result; /* of the worker */
    struct err err;
    json_t *answer;
};

/* ---- its answer */

static json_t *kept_answer(const struct agent *a, const char *run)
{
    for (size_t i = 0; i < json_array_size(a->function_answers); i++) {
        const json_t *row = json_array_get(a->function_answers, i);
        if (str_eq(json_opt_str(row, "run", NULL), run))
            return json_object_get(row, "answer");
    }
    return NULL;
}

static void keep_answer(struct agent *a, const char *run, json_t *answer)
{
    if (!a->function_answers)
        a->function_answers = json_array();
    json_array_append_new(
        a->function_answers, json_pack("{s:s,s:O}", "run", run, "answer", answer));
    if (json_array_size(a->function_answers) > KEPT_MAX)
        json_array_remove(a->function_answers, 0);
}

static void add_line(struct str *out, size_t max, const char *text, size_t len, bool whole)
{
    len = MIN(len, max > out->len ? max - out->len : 0);
    str_add_mem(out, text, len);
    if (whole && out->len < max)
        str_add_ch(out, '\n');
}

/* "TIME stdout F text" lines as what was printed. */
static void read_log(
    const struct function_run *f, const char *file, struct str *output, struct str *errors)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *path = xasprintf("%s/%s", f->log_dir, file);
    struct err ignored;
    if (file_read(path, LOG_READ_MAX, &text, &ignored) < 0)
        return;
    const char *end = text.buf + text.len, *next;
    for (const char *p = text.buf; p < end; p = next) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        stop = stop ? stop : end;
        next = stop + 1;
        if ((size_t)(stop - p) < STAMP_LEN + strlen(" stdout F "))
            continue;
        const char *stream = p + STAMP_LEN + 1, *body = stream + strlen("stdout F ");
        bool whole = stream[7] == 'F';
        if (!strncmp(stream, "stdout ", 7))
            add_line(output, OUTPUT_MAX, body, (size_t)(stop - body), whole);
        else if (!strncmp(stream, "stderr ", 7))
            add_line(errors, LOG_READ_MAX, body, (size_t)(stop - body), whole);
    }
}

/* What it printed as text that JSON can hold: bytes that are no UTF-8 become '?'. */
static json_t *text_json(struct str *s)
{
    json_t *j = json_stringn(str_cstr(s), s->len);
    for (size_t i = 0; !j && i < s->len; i++)
        if ((unsigned char)s->buf[i] >= 0x80)
            s->buf[i] = '?';
    return j ? j : json_stringn(str_cstr(s), s->len);
}

static json_t *answer_of(const struct function_run *f, const struct runtime_exit *x)
{
    _cleanup_str_ struct str output = STR_INIT, errors = STR_INIT;
    read_log(f, "1", &output, &errors); /* the older one, if it printed that much */
    read_log(f, "current", &output, &errors);
    if (errors.len > ERRORS_MAX) {
        memmove(errors.buf, errors.buf + errors.len - ERRORS_MAX, ERRORS_MAX);
        errors.len = ERRORS_MAX;
        errors.buf[errors.len] = '\0';
    }
    return json_pack("{s:i,s:b,s:b,s:o,s:o,s:s,s:I}", "status",
        x->signal ? 128 + x->signal : x->code, "timed_out", (int)f->timed_out, "oom", (int)x->oom,
        "output", text_json(&output), "errors", text_json(&errors), "error", x->error, "took_ms",
        (json_int_t)(clock_boot_ms() - f->begun_ms));
}

/* ---- its end */

static void remove_leftovers(struct function_run *f)
{
    struct err ignored;
    runtime_secrets_close(f->secrets_dir);
    if (file_remove_tree(f->run_dir, &ignored) < 0)
        ignored.code = 0; /* the next agent tries again */
}

static void free_run(struct function_run *f)
{
    struct function_run **at = &f->agent->functions;
    while (*at && *at != f)
        at = &(*at)->next;
    if (*at)
        *at = f->next;
    if (f->timer)
        uv_close((uv_handle_t *)f->timer, close_free);
    if (f->watch)
        uv_close((uv_handle_t *)f->watch, close_free);
    if (f->pidfd >= 0)
        close(f->pidfd);
    slots_free(&f->agent->slots, f->id);
    json_decref(f->params);
    json_decref(f->answer);
    free(f->run_dir);
    free(f->log_dir);
    free(f->secrets_dir);
    free(f->platform_dir);
    free(f->input);
    free(f->cgroup);
    free(f);
}

/* Answers, unless the agent ends. */
static void finish(struct function_run *f)
{
    if (f->answer) {
        keep_answer(f->agent, json_opt_str(f->params, "run", ""), f->answer);
        rpc_reply(f->req, json_incref(f->answer));
    } else {
        rpc_reply_error(f->req, &f->err);
    }
    for (size_t i = 0; i < f->n_also && f->answer; i++)
        rpc_reply(f->also[i], json_incref(f->answer));
    for (size_t i = 0; i < f->n_also && !f->answer; i++)
        rpc_reply_error(f->also[i], &f->err);
    free_run(f);
}

static void run_end(uv_work_t *work)
{
    struct function_run *f = work->data;
    struct runtime_exit x;
    f->result = runtime_read_exit(f->run_dir, &x, &f->err);
    if (f->result >= 0 && *x.error && !f->timed_out)
        f->result = err_set(&f->err, x.permanent ? ERR_INVALID : ERR_FAILED,
            "it could not be started: %s", x.error);
    else if (f->result >= 0)
        f->answer = answer_of(f, &x);
    else if (runtime_clean(&f->agent->cfg.host, f->id, f->cgroup, &f->err) >= 0)
        f->result = err_set(&f->err, ERR_FAILED, "its supervisor was killed");
    remove_leftovers(f);
}

static void after_end(uv_work_t *work, int status)
{
    struct function_run *f = work->data;
    f->agent->jobs--;
    finish(f);
}

static void queue(struct function_run *f, uv_work_cb work, uv_after_work_cb after)
{
    f->work.data = f;
    f->agent->jobs++;
    int r = uv_queue_work(f->agent->cfg.loop, &f->work, work, after);
    ASSERT(r == 0);
}

static void end_run(struct function_run *f)
{
    if (f->shim > 0)
        waitpid(f->shim, NULL, WNOHANG);
    f->shim = 0;
    uv_poll_stop(f->watch);
    uv_timer_stop(f->timer);
    identity_close(f->identity);
    f->identity = NULL;
    queue(f, run_end, after_end);
}

static void on_shim(uv_poll_t *h, int status, int events)
{
    end_run(h->data);
}

static void kill_run(struct function_run *f)
{
    struct err ignored;
    if (f->pidfd >= 0 && runtime_signal(f->pidfd, true, &ignored) < 0)
        return;
}

static void on_deadline(uv_timer_t *t)
{
    struct function_run *f = t->data;
    f->timed_out = true;
    kill_run(f);
}

/* Who asked is gone, and nobody would hear the answer. */
static void on_canceled(void *ctx)
{
    struct function_run *f = ctx;
    f->canceled = true;
    kill_run(f);
}

/* ---- its start */

static void run_start(uv_work_t *work)
{
    struct function_run *f = work->data;
    const struct agent_config *c = &f->agent->cfg;
    f->result = c->runtimes[UNIT_OCI]->start(&c->host, &f->what, &f->shim, &f->err);
    if (f->result < 0)
        remove_leftovers(f);
}

static void after_start(uv_work_t *work, int status)
{
    struct function_run *f = work->data;
    struct agent *a = f->agent;
    a->jobs--;
    f->pidfd = f->result < 0 ? -1 : (int)syscall(SYS_pidfd_open, f->shim, 0);
    if (f->pidfd >= 0 && a->closed) {
        kill_run(f);
        err_set(&f->err, ERR_UNAVAILABLE, "the agent ends");
    }
    if (f->result < 0 || f->pidfd < 0 || a->closed) {
        identity_close(f->identity);
        finish(f);
        return;
    }
    f->watch = xmalloc(sizeof *f->watch);
    uv_poll_init(a->cfg.loop, f->watch, f->pidfd);
    f->watch->data = f;
    uv_poll_start(f->watch, UV_READABLE, on_shim);
    uint64_t took = clock_boot_ms() - f->begun_ms;
    uint64_t deadline = (uint64_t)json_opt_int(f->params, "deadline_ms", 1);
    uv_timer_start(f->timer, on_deadline, deadline > took ? deadline - took : 0, 0);
    if (f->canceled)
        kill_run(f);
}

static int put_secrets(struct function_run *f, struct err *e)
{
    const char *file;
    json_t *list = json_object_get(f->params, "secrets"), *s;
    if (!json_object_size(list))
        return 0;
    f->what.secrets_dir = f->secrets_dir;
    int r = runtime_secrets_open(f->secrets_dir, e);
    json_object_foreach (list, file, s) {
        const char *text = json_opt_str(s, "value", "");
        size_t n = base64_decoded_max(strlen(text));
        _cleanup_secret_ struct secret *value = secret_new(NULL, n);
        bool changed;
        if (r >= 0 && !model_secret_name_valid(file))
            r = err_set(e, ERR_INVALID, "%.80s is no file's name", file);
        if (r >= 0)
            r = base64_decode_into(text, strlen(text), secret_bytes(value), n, &n, e);
        if (r >= 0)
            r = runtime_secrets_put(f->secrets_dir, file,
                (unsigned)json_opt_int(s, "mode", 0400) & 0444, secret_bytes(value), n, &changed, e);
    }
    json_object_del(f->params, "secrets"); /* not kept longer than needed */
    return r;
}

static int read_words(const json_t *list, const char *out[WORDS_MAX + 1], struct err *e)
{
    size_t n = json_array_size(list);
    if (n > WORDS_MAX)
        return err_set(e, ERR_LIMIT, "more than %u words", WORDS_MAX);
    for (size_t i = 0; i < n; i++)
        if (!(out[i] = json_string_value(json_array_get(list, i))))
            return err_set(e, ERR_INVALID, "words are texts");
    return (int)n;
}

static int describe(struct function_run *f, struct err *e)
{
    const json_t *limits = json_object_get(f->params, "limits");
    struct agent *a = f->agent;
    int n_command = read_words(json_object_get(f->params, "command"), f->command, e);
    if (n_command < 0 || read_words(json_object_get(f->params, "env"), f->env, e) < 0)
        return e->code;
    struct ip_prefix half = slots_half(&a->cfg.host.bridge, false);
    unsigned slot = slots_take(&a->slots, f->id, &half);
    agent_slots_save(a);
    f->what = (struct runtime_unit){.name = f->id,
        .run_dir = f->run_dir,
        .incarnation = 1,
        .image = json_opt_str(f->params, "image", ""),
        .command = n_command ? f->command : NULL,
        .env = f->env,
        .cgroup = f->cgroup,
        .limits = {(uint64_t)json_opt_int(limits, "memory_bytes", 64 << 20),
            (unsigned)json_opt_int(limits, "cpu_milli", 0),
            (unsigned)json_opt_int(limits, "pids", 64)},
        .slot = slot,
        .uid_base = slot ? slot_uid(slot) : 0,
        .platform_dir = f->platform_dir,
        .input = f->input,
        .log = {f->log_dir, LOG_BYTES, 2, RUNTIME_LOG_RATE, RUNTIME_LOG_RATE}};
    if (!slot || !slot_address(slot, &half, &f->what.address))
        return err_set(e, ERR_LIMIT, "the bridge has no address left");
    return 0;
}

static int prepare(struct function_run *f, struct err *e)
{
    const char *input = json_opt_str(f->params, "input", "");
    int64_t deadline_ms;
    int r = json_get_int(f->params, "deadline_ms", 1, DEADLINE_MS_MAX, &deadline_ms, e);
    if (r >= 0 && strlen(input) > INPUT_MAX)
        r = err_set(e, ERR_LIMIT, "more than %u KiB of input", INPUT_MAX / 1024);
    if (r >= 0)
        r = file_mkdirs(f->run_dir, 0711, e);
    if (r >= 0)
        r = file_mkdirs(f->platform_dir, 0711, e);
    if (r >= 0)
        r = file_write(f->input, input, strlen(input), 0600, e);
    if (r >= 0)
        r = describe(f, e);
    if (r >= 0)
        r = put_secrets(f, e);
    return r < 0 ? r : identity_open(f->agent, f->platform_dir, f->params, &f->identity, e);
}

static void name_run(struct function_run *f)
{
    uint32_t number;
    const struct agent *a = f->agent;
    rnd_bytes(&number, sizeof number);
    snprintf(f->id, sizeof f->id, "fn-%.34s-%08x", json_opt_str(f->params, "function", ""), number);
    f->run_dir = xasprintf("%s/%s", a->functions_dir, f->id);
    f->log_dir = xasprintf("%s/log", f->run_dir);
    f->platform_dir = xasprintf("%s/platform", f->run_dir);
    f->input = xasprintf("%s/input", f->run_dir);
    f->secrets_dir = xasprintf("%s/%s", a->secrets_dir, f->id);
    f->cgroup = xasprintf("%s/functions/%s", a->cgroup, f->id);
}

static struct function_run *new_run(struct agent *a, struct rpc_req *req, json_t *params)
{
    struct function_run *f = xcalloc(1, sizeof *f);
    *f = (struct function_run){.agent = a,
        .next = a->functions,
        .req = req,
        .pidfd = -1,
        .params = json_deep_copy(params),
        .begun_ms = clock_boot_ms()};
    a->functions = f;
    name_run(f);
    f->timer = xmalloc(sizeof *f->timer);
    uv_timer_init(a->cfg.loop, f->timer);
    f->timer->data = f;
    return f;
}

static size_t count_runs(struct agent *a, const char *run, struct function_run **ret_same)
{
    size_t n = 0;
    for (struct function_run *f = a->functions; f; f = f->next, n++)
        if (str_eq(json_opt_str(f->params, "run", NULL), run))
            *ret_same = f;
    return n;
}

void agent_function(struct agent *a, struct rpc_req *req, json_t *params)
{
    const char *run = json_opt_str(params, "run", ""), *name = json_opt_str(params, "function", "");
    json_t *kept = kept_answer(a, run);
    struct function_run *same = NULL;
    struct err e = {0};
    if (kept) {
        rpc_reply(req, json_incref(kept));
        return;
    }
    size_t n = count_runs(a, run, &same);
    if (!unit_name_valid(name) || !*run)
        err_set(&e, ERR_USAGE, "a function and a run have names");
    else if (same && same->n_also < ALSO_MAX) {
        same->also[same->n_also++] = req; /* it is one run: one answer for all */
        return;
    } else if (same)
        err_set(&e, ERR_CONFLICT, "run %.64s goes on here already", run);
    else if (n >= RUNS_MAX)
        err_set(&e, ERR_UNAVAILABLE, "%u functions run here already", RUNS_MAX);
    if (e.code) {
        rpc_reply_error(req, &e);
        return;
    }
    struct function_run *f = new_run(a, req, params);
    if (prepare(f, &f->err) < 0) {
        identity_close(f->identity);
        remove_leftovers(f);
        finish(f);
        return;
    }
    char address[IP_TEXT_SIZE];
    ip_format(&f->what.address, address);
    rpc_reply_more(req, json_pack("{s:s,s:s}", "unit", f->id, "address", address));
    rpc_req_watch(req, NULL, on_canceled, f);
    queue(f, run_start, after_start);
}

/* ---- between two agents */

/* Runs that nobody waits for any more are killed; their folders go with the next agent, at the latest. */
void agent_functions_sweep(struct agent *a)
{
    DIR *d = opendir(a->functions_dir);
    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d));) {
        struct err ignored;
        if (!unit_name_valid(entry->d_name))
            continue;
        _cleanup_free_ char *dir = xasprintf("%s/%s", a->functions_dir, entry->d_name);
        pid_t shim = runtime_shim_pid(dir);
        _cleanup_close_ int pidfd = shim > 0 ? (int)syscall(SYS_pidfd_open, shim, 0) : -1;
        if (pidfd >= 0 ? runtime_signal(pidfd, true, &ignored) < 0
                       : file_remove_tree(dir, &ignored) < 0)
            continue;
        slots_free(&a->slots, entry->d_name);
    }
    closedir(d);
}

void agent_functions_done(struct agent *a)
{
    for (struct function_run *f = a->functions, *next; f; f = next) {
        next = f->next;
        kill_run(f);
        identity_close(f->identity);
        err_set(&f->err, ERR_UNAVAILABLE, "the agent ends");
        finish(f);
    }
    json_decref(a->function_answers);
    a->function_answers = NULL;
}
