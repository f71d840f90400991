/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "domain/steering/away.h"
#include "domain/zone/zone.h"

#include <string.h>

static const char platform[] =
    "platform: reindeers\n"
    "domain: reindeers.com\n"
    "regions:\n"
    "  ap-hongkong: {duty: main, address: [203.0.113.20, '2001:db8::20'], network: 10.20.0.0/16}\n"
    "  ap-seoul: {duty: dr, address: 203.0.113.40, network: 10.40.0.0/16}\n"
    "  ap-shanghai: {duty: serving, address: 203.0.113.60, network: 10.60.0.0/16}\n"
    "hosts:\n"
    "  hk1: {region: ap-hongkong, address: 10.20.0.11, public: true}\n"
    "  seoul1: {region: ap-seoul, address: 10.40.0.11, public: true}\n"
    "  shanghai1: {region: ap-shanghai, address: 10.60.0.11, public: true}\n"
    "state: {members: [hk1, seoul1, shanghai1]}\n"
    "routing:\n"
    "  provider: own\n"
    "  ttl: 60s\n"
    "  nameservers: {ns1: ap-hongkong}\n"
    "  health: {interval: 5s, timeout: 2s, down: 2, up: 3}\n"
    "  countries:\n"
    "    KR: [ap-seoul]\n"
    "    JP: [ap-seoul]\n"
    "    CN: [ap-shanghai]\n"
    "    US: [ap-hongkong]\n"
    "  default: [ap-hongkong]\n"
    "  on_failure: [dr, main]\n"
    "  records:\n"
    "    - {name: '@', type: MX, value: '10 mail.reindeers.com.'}\n"
    "modules:\n"
    "  web:\n"
    "    image: oci:images/web\n"
    "    port: 8080\n"
    "    route: {names: [reindeers.com, www.reindeers.com], path: /, auth: none}\n"
    "    regions: {each: 1}\n"
    "  api:\n"
    "    image: oci:images/api\n"
    "    port: 8080\n"
    "    route: {names: [api.reindeers.com], path: /, auth: none}\n"
    "    regions: {ap-hongkong: 1, ap-seoul: 1}\n";

struct fixture {
    struct model *model;
    struct steer *steer;
    struct steer_actions a;
    uint64_t now;
    struct steer_plan *plan;
};

static struct model *parse_model(const char *text)
{
    struct model *m = NULL;
    struct str errors = STR_INIT;
    struct err e = {0};
    if (model_parse(text, strlen(text), "platform.yaml", &m, &errors, &e) < 0)
        fail_msg("%s%s", e.message, str_cstr(&errors));
    str_done(&errors);
    return m;
}

static void step(struct fixture *f, struct steer_event *ev)
{
    steer_actions_clear(&f->a);
    ev->wall_ms = 1795411800000 + (int64_t)f->now;
    steer_step(f->steer, ev, f->now, &f->a);
}

static void begin(struct fixture *f, const json_t *journal)
{
    struct err e = {0};
    *f = (struct fixture){.model = parse_model(platform), .now = 1000};
    const struct steer_options o = {.host = "hk1", .region = "ap-hongkong", .seed = 1};
    f->steer = steer_new(&o, journal);
    assert_int_equal(steer_plan_new(f->model, 7, &f->plan, &e), 0);
    struct steer_event ev = {.kind = STEER_CONFIG, .plan = f->plan};
    step(f, &ev);
}

static void end(struct fixture *f)
{
    steer_free(f->steer);
    steer_actions_done(&f->a);
    model_free(f->model);
}

/* A view in which `host` says of every name in `down` (a region, SIZE_MAX: none) that it is down because of `why`, of
 * all else that it is up. */
static void hear(struct fixture *f, const char *host, size_t region, uint64_t seq, size_t down,
    enum health_class why)
{
    const struct health_space *sp = &f->plan->space;
    struct health_view v = {
        .region = region, .incarnation = 1, .seq = seq, .reached = ~0ull & ~(1ull << region)};
    str_copy(v.host, sizeof v.host, host);
    v.targets = xcalloc(sp->n_regions * sp->n_names, sizeof *v.targets);
    for (size_t n = 0; n < sp->n_names; n++)
        for (size_t r = 0; r < sp->n_regions; r++)
            v.targets[HEALTH_TARGET(sp, r, n)] =
                (struct health_vote){.state = r == down ? HEALTH_DOWN : HEALTH_UP,
                    .class = r == down ? (uint8_t)why : HEALTH_OK,
                    .streak = 9,
                    .streak_ok = r != down};
    struct steer_event ev = {.kind = STEER_VIEW, .view = &v};
    step(f, &ev);
}

static void probe(struct fixture *f, size_t region, const char *name, enum health_class c)
{
    size_t n = 0;
    assert_true(steer_plan_find_name(f->plan, name, &n));
    struct steer_event ev = {.kind = STEER_PROBE,
        .probe = {.region = region, .name = n, .plan_seq = steer_plan_seq(f->steer), .result = c}};
    step(f, &ev);
}

static void tick(struct fixture *f, uint64_t ms)
{
    f->now += ms;
    struct steer_event ev = {.kind = STEER_TICK};
    step(f, &ev);
}

static void probe_all(struct fixture *f, size_t region, enum health_class c)
{
    probe(f, region, "reindeers.com", c);
    probe(f, region, "www.reindeers.com", c);
    if (region < 2)
        probe(f, region, "api.reindeers.com", c);
}

static struct steer_choice choice(const struct fixture *f, const char *name, const char *country)
{
    size_t n = 0;
    assert_true(steer_plan_find_name(f->plan, name, &n));
    return steer_choice(f->steer, n, steer_plan_list(f->plan, country));
}

static const struct timeline_draft *entry_of(
    const struct fixture *f, const char *kind, const char *subject)
{
    for (size_t i = 0; i < f->a.n_entries; i++)
        if (str_eq(f->a.entries[i].kind, kind) && str_eq(f->a.entries[i].subject, subject))
            return &f->a.entries[i];
    return NULL;
}

static void test_first_answers_are_the_declared_ones(void **state)
{
    struct fixture f;
    begin(&f, NULL);
    assert_int_equal(choice(&f, "reindeers.com", "KR").region, 1);
    assert_int_equal(choice(&f, "reindeers.com", "CN").region, 2);
    assert_int_equal(choice(&f, "reindeers.com", "TH").region, 0);
    assert_int_equal(choice(&f, "reindeers.com", NULL).region, 0);
    assert_int_equal(
        choice(&f, "api.reindeers.com", "CN").region, 1); /* not in Shanghai: on_failure's order */
    assert_int_equal(choice(&f, "reindeers.com", "KR").ttl_s, 60);
    assert_true(f.a.publish && f.a.send_view);
    end(&f);
}

static void test_the_zone_takes_what_steering_says(void **state)
{
    struct fixture f;
    struct zone *z;
    struct err e = {0};
    begin(&f, NULL);
    _cleanup_json_ json_t *snapshot = zone_snapshot_from_model(f.model, 7, true);
    _cleanup_json_ json_t *health = steer_choices_format(f.steer, 1);
    assert_int_equal(zone_new(snapshot, &z, &e), 0);
    assert_int_equal(zone_apply_health(z, health, &e), 0);
    assert_int_equal(zone_n_lists(z), f.plan->n_lists);
    assert_int_equal(zone_n_names(z), f.plan->space.n_names);
    for (size_t n = 0; n < zone_n_names(z); n++) {
        assert_string_equal(zone_name(z, n), f.plan->space.names[n]);
        for (size_t l = 0; l < zone_n_lists(z); l++) {
            uint32_t ttl;
            assert_int_equal(zone_choice(z, n, l, &ttl), steer_choice(f.steer, n, l).region);
        }
    }
    zone_free(z);
    end(&f);
}

static void kill_seoul(struct fixture *f, enum health_class why)
{
    probe_all(f, 0, HEALTH_OK);
    probe_all(f, 1, HEALTH_OK);
    probe_all(f, 2, HEALTH_OK);
    hear(f, "shanghai1", 2, 1, SIZE_MAX, HEALTH_OK);
    tick(f, 4000);
    probe_all(f, 2, HEALTH_OK);
    probe_all(f, 1, why);
    tick(f, 200);
}

static void test_suspect_shortens_the_ttl(void **state)
{
    struct fixture f;
    begin(&f, NULL);
    kill_seoul(&f, HEALTH_TIMEOUT);
    assert_int_equal(choice(&f, "reindeers.com", "KR").region, 1);
    assert_int_equal(choice(&f, "reindeers.com", "KR").ttl_s, 5); /* one probe left: an interval */
    assert_int_equal(
        choice(&f, "reindeers.com", "CN").ttl_s, 60); /* Seoul stands behind Shanghai there */
    probe_all(&f, 1, HEALTH_OK);
    tick(&f, 200);
    assert_int_equal(choice(&f, "reindeers.com", "KR").ttl_s, 60);
    end(&f);
}

static void test_a_dead_region_is_left_and_reported(void **state)
{
    struct fixture f;
    begin(&f, NULL);
    kill_seoul(&f, HEALTH_TIMEOUT);
    tick(&f, 4000);
    probe_all(&f, 1, HEALTH_TIMEOUT);
    assert_int_equal(choice(&f, "reindeers.com", "KR").region, 1); /* one observer of two */
    probe_all(&f, 2, HEALTH_OK);
    hear(&f, "shanghai1", 2, 2, 1, HEALTH_TIMEOUT);
    tick(&f, 200);
    assert_int_equal(choice(&f, "reindeers.com", "KR").region, 0);
    assert_int_equal(choice(&f, "reindeers.com", "KR").ttl_s, 5); /* switching */
    const struct timeline_draft *d = entry_of(&f, "health", "ap-seoul/reindeers.com");
    assert_non_null(d);
    assert_string_equal(d->message, "down");
    assert_string_equal(d->cause, "2 of 2 observers: timeout");
    assert_int_equal(d->revision, 7);
    d = entry_of(&f, "steering", "reindeers.com");
    assert_non_null(d);
    assert_string_equal(d->message, "JP, KR: ap-seoul → ap-hongkong");
    assert_string_equal(d->cause, "ap-seoul is down, 2 of 2 observers: timeout");
    assert_true(f.a.publish && f.a.save);
    end(&f);
}

static void test_an_old_view_does_not_overtake(void **state)
{
    struct fixture f;
    begin(&f, NULL);
    kill_seoul(&f, HEALTH_TIMEOUT);
    probe_all(&f, 1, HEALTH_TIMEOUT);
    hear(&f, "shanghai1", 2, 9, SIZE_MAX, HEALTH_OK);
    hear(&f, "shanghai1", 2, 8, 1, HEALTH_TIMEOUT); /* late */
    tick(&f, 200);
    assert_int_equal(choice(&f, "reindeers.com", "KR").region, 1);
    hear(&f, "hk1", 2, 10, 1, HEALTH_TIMEOUT); /* nobody speaks for this host */
    tick(&f, 200);
    assert_int_equal(choice(&f, "reindeers.com", "KR").region, 1);
    end(&f);
}

static void lose_seoul(struct fixture *f)
{
    kill_seoul(f, HEALTH_TIMEOUT);
    probe_all(f, 1, HEALTH_TIMEOUT);
    hear(f, "shanghai1", 2, 2, 1, HEALTH_TIMEOUT);
    tick(f, 200);
}

static void test_the_journal_answers_after_a_restart(void **state)
{
    struct fixture f, again;
    begin(&f, NULL);
    lose_seoul(&f);
    assert_int_equal(choice(&f, "reindeers.com", "KR").region, 0);
    _cleanup_json_ json_t *journal = steer_journal_format(f.steer);
    begin(&again, journal);
    assert_int_equal(choice(&again, "reindeers.com", "KR").region, 0);
    assert_int_equal(choice(&again, "reindeers.com", "CN").region, 2);
    for (int i = 0; i < 20; i++) /* nobody is heard, nothing is probed: nothing changes */
        tick(&again, 1000);
    assert_int_equal(choice(&again, "reindeers.com", "KR").region, 0);
    assert_true(steer_view(again.steer)->incarnation > steer_view(f.steer)->incarnation);
    end(&f);
    end(&again);
}

static void test_any_journal_is_survived(void **state)
{
    static const char *const texts[] = {"[]", "{}", "{\"format\":2}", "{\"format\":1,\"names\":3}",
        "{\"format\":1,\"incarnation\":9223372036854775807,\"names\":{\"reindeers.com\":[]}}",
        "{\"format\":1,\"names\":{\"reindeers.com\":{\"up\":[\"mars\",7],\"targets\":{\"ap-seoul\":3}}}}",
        "{\"format\":1,\"names\":{\"reindeers.com\":{\"up\":[],\"targets\":{\"ap-seoul\":{\"own\":\"up\",\"state\":"
        "\"sideways\"}}}}}",
        "{\"format\":1,\"names\":{\"reindeers.com\":{\"up\":[\"ap-hongkong\"],\"targets\":{\"ap-seoul\":{\"own\":\"up\","
        "\"state\":\"unknown\",\"why\":\"x\",\"held\":true}}}}}"};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct fixture f;
        struct err e = {0};
        _cleanup_json_ json_t *j = NULL;
        assert_int_equal(json_parse(texts[i], strlen(texts[i]), &j, &e), 0);
        begin(&f, j);
        assert_int_equal(choice(&f, "reindeers.com", "KR").region, 1);
        lose_seoul(&f);
        assert_int_equal(choice(&f, "reindeers.com", "KR").region, 0);
        end(&f);
    }
}

static void test_another_revision_keeps_what_is_known(void **state)
{
    struct fixture f;
    struct err e = {0};
    begin(&f, NULL);
    lose_seoul(&f);
    /* A region and a name come in front: every number is another. */
    _cleanup_str_ struct str text = STR_INIT;
    const char *hosts = strstr(platform, "hosts:\n"), *state_at = strstr(platform, "state:"),
               *name = strstr(platform, "[reindeers.com");
    str_add_mem(&text, platform, (size_t)(hosts - platform));
    str_add(&text, "  ap-bangkok: {duty: serving, address: 203.0.113.80, network: 10.80.0.0/16}\n");
    str_add_mem(&text, hosts, (size_t)(state_at - hosts));
    str_add(&text, "  bangkok1: {region: ap-bangkok, address: 10.80.0.11, public: true}\n");
    str_add_mem(&text, state_at, (size_t)(name - state_at));
    str_addf(&text, "[a.reindeers.com, %s", name + 1);
    struct model *m = parse_model(text.buf);
    assert_int_equal(steer_plan_new(m, 8, &f.plan, &e), 0);
    struct steer_event ev = {.kind = STEER_CONFIG, .plan = f.plan};
    f.now += 100;
    step(&f, &ev);
    assert_string_equal(m->regions[0].name, "ap-bangkok");
    assert_int_equal(choice(&f, "reindeers.com", "KR").region, 1); /* Hong Kong's new number */
    assert_int_equal(
        choice(&f, "a.reindeers.com", "KR").region, 2); /* nothing is known: as declared */
    assert_null(entry_of(&f, "steering", "reindeers.com"));
    model_free(m);
    end(&f);
}

static json_t *explain(struct fixture *f, const char *name, const char *type, const char *country)
{
    const struct steer_question q = {
        .name = name, .type = type, .from = "198.51.100.1", .country = country, .source = ""};
    return steer_explain(f->steer, f->model, &q);
}

static void test_explain(void **state)
{
    struct fixture f;
    begin(&f, NULL);
    lose_seoul(&f);
    _cleanup_json_ json_t *j = explain(&f, "reindeers.com", "A", "KR");
    assert_string_equal(json_opt_str(j, "because", ""),
        "KR → [ap-seoul, ap-hongkong]; ap-seoul is down since 05:30:05 (2 of 2 observers: timeout); ap-hongkong is up → "
        "ap-hongkong");
    _cleanup_free_ char *answer = json_text(json_object_get(j, "answer"));
    _cleanup_free_ char *order = json_text(json_object_get(j, "order"));
    assert_string_equal(answer, "[\"203.0.113.20\"]");
    assert_string_equal(order, "[\"ap-seoul\",\"ap-hongkong\"]");
    static const char *const keys[] = {
        "name", "type", "from", "country", "order", "answer", "because", "regions", "ttl"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        assert_non_null(json_object_get(j, keys[i]));
    end(&f);
}

static json_t *away_of(struct fixture *f, const json_t *doc, const char *region, const char *name,
    uint64_t for_ms, int want)
{
    struct err e = {0};
    json_t *ret = NULL;
    _cleanup_json_ json_t *names = name ? json_pack("[s]", name) : NULL;
    const struct steer_away_wish w = {
        .region = region, .names = names, .by = "function/dns", .why = "api errors", .for_ms = for_ms};
    assert_int_equal(
        steer_away_put(doc, f->plan, &w, 1795411800000 + (int64_t)f->now, &ret, &e), want);
    return ret;
}

static void obey(struct fixture *f, const json_t *doc)
{
    struct steer_event ev = {.kind = STEER_AWAY, .away = doc};
    step(f, &ev);
}

static void all_up(struct fixture *f)
{
    probe_all(f, 0, HEALTH_OK);
    probe_all(f, 1, HEALTH_OK);
    probe_all(f, 2, HEALTH_OK);
    hear(f, "shanghai1", 2, 1, SIZE_MAX, HEALTH_OK);
    tick(f, 200);
}

static void test_a_region_that_is_steered_away_from_is_left_and_come_back_to(void **state)
{
    struct fixture f;
    begin(&f, NULL);
    all_up(&f);
    _cleanup_json_ json_t *doc = away_of(&f, NULL, "ap-seoul", NULL, 0, 0);
    obey(&f, doc);
    assert_int_equal(choice(&f, "reindeers.com", "KR").region, 0);
    assert_int_equal(choice(&f, "api.reindeers.com", "KR").region, 0);
    assert_int_equal(choice(&f, "reindeers.com", "CN").region, 2);
    assert_true(f.a.publish && f.a.save);
    const struct timeline_draft *d = entry_of(&f, "steering", "reindeers.com");
    assert_non_null(d);
    assert_string_equal(d->cause, "function/dns steers away from ap-seoul: api errors");
    _cleanup_json_ json_t *j = explain(&f, "reindeers.com", "A", "KR");
    assert_non_null(strstr(json_opt_str(j, "because", ""),
        "ap-seoul is up, but function/dns steers away from it (api errors); ap-hongkong is up"));
    /* A restart obeys before it reads anything. */
    struct fixture again;
    _cleanup_json_ json_t *journal = steer_journal_format(f.steer);
    begin(&again, journal);
    assert_int_equal(choice(&again, "reindeers.com", "KR").region, 0);
    obey(&again, NULL); /* taken back meanwhile */
    assert_int_equal(choice(&again, "reindeers.com", "KR").region, 1);
    end(&again);
    struct err e = {0};
    json_t *without = NULL;
    assert_int_equal(steer_away_drop(doc, "ap-seoul", 1795411800000, &without, &e), 0);
    assert_int_equal(steer_away_drop(without, "ap-seoul", 1795411800000, &without, &e), ERR_NOT_FOUND);
    obey(&f, without);
    assert_int_equal(choice(&f, "reindeers.com", "KR").region, 1);
    json_decref(without);
    end(&f);
}

static void test_away_is_for_names_and_for_a_time(void **state)
{
    struct fixture f;
    begin(&f, NULL);
    all_up(&f);
    _cleanup_json_ json_t *doc = away_of(&f, NULL, "ap-seoul", "api.reindeers.com", 2000, 0);
    obey(&f, doc);
    assert_int_equal(choice(&f, "api.reindeers.com", "KR").region, 0);
    assert_int_equal(choice(&f, "reindeers.com", "KR").region, 1);
    _cleanup_json_ json_t *list = steer_away_list(doc, 1795411800000 + (int64_t)f.now);
    assert_int_equal(json_array_size(list), 1);
    tick(&f, 1900);
    assert_int_equal(choice(&f, "api.reindeers.com", "KR").region, 0);
    tick(&f, 200);
    assert_int_equal(choice(&f, "api.reindeers.com", "KR").region, 1);
    end(&f);
}

static void test_the_last_region_is_never_steered_away_from(void **state)
{
    struct fixture f;
    begin(&f, NULL);
    all_up(&f);
    _cleanup_json_ json_t *doc = away_of(&f, NULL, "ap-hongkong", NULL, 0, 0);
    /* api runs in two regions: the other one is refused, for it by name and for all names. */
    assert_null(away_of(&f, doc, "ap-seoul", "api.reindeers.com", 0, ERR_REFUSED));
    assert_null(away_of(&f, doc, "ap-seoul", NULL, 0, ERR_REFUSED));
    assert_null(away_of(&f, doc, "mars", NULL, 0, ERR_NOT_FOUND));
    assert_null(away_of(&f, doc, "ap-seoul", "www.example.com", 0, ERR_NOT_FOUND));
    assert_null(away_of(&f, doc, "ap-shanghai", "api.reindeers.com", 0, ERR_REFUSED));
    obey(&f, doc);
    assert_int_equal(choice(&f, "api.reindeers.com", "US").region, 1);
    /* The other one dies: answered all the same, and said. */
    probe_all(&f, 1, HEALTH_TIMEOUT);
    tick(&f, 4000);
    probe_all(&f, 1, HEALTH_TIMEOUT);
    hear(&f, "shanghai1", 2, 2, 1, HEALTH_TIMEOUT);
    tick(&f, 200);
    assert_int_equal(choice(&f, "api.reindeers.com", "US").region, 0);
    assert_non_null(entry_of(&f, "alarm", "api.reindeers.com"));
    _cleanup_json_ json_t *j = explain(&f, "api.reindeers.com", "A", "US");
    assert_non_null(strstr(json_opt_str(j, "because", ""), "answered all the same"));
    end(&f);
}

static void test_any_document_of_away_is_survived(void **state)
{
    static const char *const texts[] = {"{}", "{\"regions\":[]}", "{\"regions\":{\"ap-seoul\":7}}",
        "{\"regions\":{\"ap-seoul\":{\"names\":[7,null]}}}", "{\"regions\":{\"mars\":{}}}",
        "{\"regions\":{\"ap-seoul\":{\"until_ms\":1}}}"};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct fixture f;
        struct err e = {0};
        _cleanup_json_ json_t *doc = NULL;
        assert_int_equal(json_parse(texts[i], strlen(texts[i]), &doc, &e), 0);
        begin(&f, NULL);
        obey(&f, doc);
        assert_int_equal(choice(&f, "reindeers.com", "KR").region, 1);
        _cleanup_json_ json_t *list = steer_away_list(doc, 1795411800000);
        _cleanup_json_ json_t *next = away_of(&f, doc, "ap-seoul", NULL, 0, 0);
        assert_true(json_is_array(list) && json_is_object(next));
        end(&f);
    }
}

static void test_explain_says_what_is_special(void **state)
{
    static const struct {
        const char *name, *type, *country, *says, *answer;
    } rows[] = {
        {"reindeers.com", "AAAA", "TH", "TH has no list → default [ap-hongkong, ap-seoul]",
            "2001:db8::20"},
        {"reindeers.com", "AAAA", "KR", "ap-seoul is up → ap-seoul, which has no IPv6 address",
            NULL},
        {"reindeers.com", "A", "", "no country is known for 198.51.100.1 → default",
            "203.0.113.20"},
        {"reindeers.com", "A", "US", "US → [ap-hongkong, ap-seoul]",
            "203.0.113.20"}, /* declared, same as default */
        {"api.reindeers.com", "A", "CN", "ap-shanghai does not run it; ap-seoul is up",
            "203.0.113.40"},
        {"reindeers.com", "MX", "KR", "declared in routing.records", "10 mail.reindeers.com."},
        {"reindeers.com", "TXT", "KR", "the name has no TXT record", NULL},
        {"ns1.reindeers.com", "A", "KR", "name server ns1 is ap-hongkong", "203.0.113.20"},
        {"nope.reindeers.com", "A", "KR", "it does not exist", NULL},
        {"example.org", "A", "KR", "not a name of reindeers.com: refused", NULL},
        {"xreindeers.com", "A", "KR", "not a name of reindeers.com: refused", NULL},
    };
    struct fixture f;
    begin(&f, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        _cleanup_json_ json_t *j = explain(&f, rows[i].name, rows[i].type, rows[i].country);
        if (!strstr(json_opt_str(j, "because", ""), rows[i].says))
            fail_msg("%s %s: %s", rows[i].name, rows[i].type, json_opt_str(j, "because", ""));
        const char *answer = json_string_value(json_array_get(json_object_get(j, "answer"), 0));
        if (!str_eq(answer, rows[i].answer))
            fail_msg("%s %s: answers %s", rows[i].name, rows[i].type, answer ? answer : "nothing");
    }
    end(&f);
}

static void test_views_are_sent_regularly_and_numbered(void **state)
{
    struct fixture f;
    begin(&f, NULL);
    uint64_t seq = steer_view(f.steer)->seq, sent = 0;
    for (int i = 0; i < 100; i++) {
        tick(&f, 100);
        sent += f.a.send_view;
    }
    assert_in_range(sent, 3, 5); /* twice an interval, in 10 s */
    assert_int_equal(steer_view(f.steer)->seq, seq + sent);
    end(&f);
}

static void test_targets_are_probed_once_an_interval(void **state)
{
    struct fixture f;
    unsigned asked = 0;
    begin(&f, NULL);
    uint64_t last = 0, longest = 0;
    for (int i = 0; i < 6000; i++) { /* 60 s */
        tick(&f, 10);
        unsigned n = (unsigned)f.a.n_probes;
        struct steer_probe due[16];
        if (n)
            memcpy(due, f.a.probes, n * sizeof *due);
        for (unsigned k = 0; k < n; k++) {
            if (due[k].region == 1 && due[k].name == 1) {
                longest = last ? MAX(longest, f.now - last) : 0;
                last = f.now;
                asked++;
            }
            struct steer_event ev = {.kind = STEER_PROBE,
                .probe = {.region = due[k].region,
                    .name = due[k].name,
                    .plan_seq = due[k].plan_seq,
                    .result = HEALTH_OK}};
            step(&f, &ev);
        }
    }
    assert_in_range(asked, 12, 14); /* every 4.5 to 5 s */
    assert_true(longest <= 5010);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_answers_are_the_declared_ones),
        cmocka_unit_test(test_the_zone_takes_what_steering_says),
        cmocka_unit_test(test_suspect_shortens_the_ttl),
        cmocka_unit_test(test_a_dead_region_is_left_and_reported),
        cmocka_unit_test(test_an_old_view_does_not_overtake),
        cmocka_unit_test(test_the_journal_answers_after_a_restart),
        cmocka_unit_test(test_any_journal_is_survived),
        cmocka_unit_test(test_another_revision_keeps_what_is_known),
        cmocka_unit_test(test_explain),
        cmocka_unit_test(test_explain_says_what_is_special),
        cmocka_unit_test(test_a_region_that_is_steered_away_from_is_left_and_come_back_to),
        cmocka_unit_test(test_away_is_for_names_and_for_a_time),
        cmocka_unit_test(test_the_last_region_is_never_steered_away_from),
        cmocka_unit_test(test_any_document_of_away_is_survived),
        cmocka_unit_test(test_views_are_sent_regularly_and_numbered),
        cmocka_unit_test(test_targets_are_probed_once_an_interval),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
