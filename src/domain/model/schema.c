/* SPDX-License-Identifier: Apache-2.0 */
/* What platform.yaml may say. These tables are the truth: parse, defaults, canonical form, JSON
 * Schema, man page. */
#include "domain/model/decl.h"
#include "domain/model/priv.h"

#define DAY_MS (24u * 3600 * 1000)

#define REGION_EXAMPLE "{duty: main, address: 203.0.113.20, network: 10.20.0.0/16}"

static const char *const duties[] = {"main", "dr", "serving", NULL};
static const char *const providers[] = {"own", NULL};
const char *const model_record_types[] = {"A", "AAAA", "CAA", "CNAME", "MX", "SRV", "TXT", NULL};
static const char *const probe_kinds[] = {"http", "tcp", "exec", "none", NULL};
const char *const model_rollout_words[] = {"rolling", "blue-green", "canary", "replace", NULL};
static const char *const auths[] = {"jwt", "none", NULL};

static const struct schema_row region_name = {"REGION", SCHEMA_NAME, .max = MODEL_NAME_MAX};
static const struct schema_row host_name = {"HOST", SCHEMA_NAME, .max = MODEL_NAME_MAX};
static const struct schema_row module_name = {"MODULE", SCHEMA_NAME, .max = MODEL_NAME_MAX};
static const struct schema_row country_code = {
    "COUNTRY", SCHEMA_STRING, .check = model_check_country};
static const struct schema_row label_name = {"LABEL", SCHEMA_NAME};
static const struct schema_row env_name = {"NAME", SCHEMA_STRING, .check = model_check_env_name};
static const struct schema_row prefix_text = {"PREFIX", SCHEMA_STRING, .check = model_check_prefix};

static const struct schema_row address_item = {
    "ADDRESS", SCHEMA_ADDRESS, .example = "203.0.113.20"};
static const struct schema_row prefix_item = {"PREFIX", SCHEMA_PREFIX, .example = "10.20.0.0/16"};
static const struct schema_row word_item = {"WORD", SCHEMA_STRING, .max = 4096};
static const struct schema_row reference_item = {
    "HOST:PORT", SCHEMA_STRING, .check = schema_check_host_port};
static const struct schema_row dns_item = {"NAME", SCHEMA_STRING, .check = schema_check_dns_name};

const struct schema_row decl_function_ref = {
    "FUNCTION", SCHEMA_NAME, .max = MODEL_NAME_MAX};

static const struct schema_row region_rows[] = {
    {"duty", SCHEMA_ENUM, offsetof(struct decl_region, duty), .words = duties, .def = "serving",
        .prose = "What the region is for. Exactly one region is main, at most one is dr (disaster "
                 "recovery: it takes over what must run once); the others are serving."},
    {"address", SCHEMA_LIST, offsetof(struct decl_region, address), .one = true,
        .item = &address_item, .item_size = sizeof(struct schema_addr), .max = 16,
        .example = "203.0.113.20",
        .prose = "The public addresses, IPv4 and IPv6, where users reach the region. Held by its "
                 "public host."},
    {"network", SCHEMA_LIST, offsetof(struct decl_region, network), .one = true,
        .item = &prefix_item, .item_size = sizeof(struct schema_prefix), .min = 1, .max = 16,
        .required = true, .example = "10.20.0.0/16",
        .prose = "The private networks that its hosts live in. No two regions' networks overlap."},
    {0},
};
static const struct schema_row region_item = {
    "REGION", SCHEMA_STRUCT, .rows = region_rows, .example = REGION_EXAMPLE};

static const struct schema_row host_rows[] = {
    {"region", SCHEMA_NAME, offsetof(struct decl_host, region), .max = MODEL_NAME_MAX,
        .required = true, .example = "ap-hongkong", .prose = "The region that the host stands in."},
    {"address", SCHEMA_LIST, offsetof(struct decl_host, address), .one = true,
        .item = &address_item, .item_size = sizeof(struct schema_addr), .min = 1, .max = 8,
        .required = true, .example = "10.20.0.11",
        .prose = "Its private addresses, in one of the region's networks. Hosts talk to each other "
                 "here."},
    {"public", SCHEMA_BOOL, offsetof(struct decl_host, is_public), .def = "false",
        .prose =
            "Whether it holds the region's public addresses: it then runs the dns and edge roles."},
    {"bridge", SCHEMA_PREFIX, offsetof(struct decl_host, bridge), .def = "100.127.0.0/16",
        .example = "100.127.0.0/16",
        .prose = "The IPv4 network of the containers on this host, between /16 and /24. Never "
                 "leaves the host, so all hosts may use the same."},
    {0},
};
static const struct schema_row host_item = {"HOST", SCHEMA_STRUCT, .rows = host_rows,
    .example = "{region: ap-hongkong, address: 10.20.0.11, public: true}"};

static const struct schema_row member_item = {"HOST", SCHEMA_NAME, .max = MODEL_NAME_MAX};
static const struct schema_row state_rows[] = {
    {"members", SCHEMA_LIST, offsetof(struct decl_state, members), .item = &member_item,
        .item_size = sizeof(struct schema_text), .max = 5, .example = "[hk1, seoul1, bangkok1]",
        .prose = "The hosts that keep the platform's state in etcd: one, three or five, in "
                 "different regions where possible. Required when there are several hosts; one "
                 "host alone uses SQLite."},
    {0},
};

static const struct schema_row region_ref = {"REGION", SCHEMA_NAME, .max = MODEL_NAME_MAX};
static const struct schema_row wan_rows[] = {
    {"between", SCHEMA_LIST, offsetof(struct decl_wan, between), .item = &region_ref,
        .item_size = sizeof(struct schema_text), .min = 2, .max = 2, .required = true,
        .example = "[ap-hongkong, ap-seoul]", .prose = "The two regions."},
    {"delay", SCHEMA_DURATION, offsetof(struct decl_wan, delay_ms), .max = 10000, .def = "0s",
        .example = "19ms", .prose = "Delay of one direction."},
    {"loss", SCHEMA_PERCENT, offsetof(struct decl_wan, loss), .def = "0%", .example = "0.5%",
        .prose = "Share of packets lost, each direction."},
    {"rate", SCHEMA_RATE, offsetof(struct decl_wan, rate_bps), .min = 8000, .max = 100000000000u,
        .example = "100Mbit",
        .prose = "Limit of each direction in bits a second. Without it there is none."},
    {0},
};
static const struct schema_row wan_item = {"LINK", SCHEMA_STRUCT, .rows = wan_rows,
    .example = "{between: [ap-hongkong, ap-seoul], delay: 19ms}"};
static const struct schema_row client_item = {"PREFIXES", SCHEMA_LIST,
    offsetof(struct decl_client, prefixes), .one = true, .item = &prefix_item,
    .item_size = sizeof(struct schema_prefix), .min = 1, .max = 64, .example = "198.51.100.0/28"};
static const struct schema_row lab_rows[] = {
    {"wan", SCHEMA_LIST, offsetof(struct decl_lab, wan), .item = &wan_item,
        .item_size = sizeof(struct decl_wan), .max = 2016,
        .prose = "Lines between regions. Two regions that no row names are next to each other."},
    {"clients", SCHEMA_MAP, offsetof(struct decl_lab, clients), .name = &country_code,
        .item = &client_item, .item_size = sizeof(struct decl_client), .max = 256,
        .example = "{KR: 198.51.100.0/28, TH: 198.51.100.16/28}",
        .prose = "Invented buyers: the country that each of these networks counts as. All of them "
                 "live on the lab's client host."},
    {0},
};

static const struct schema_row nameserver_item = {
    "REGION", SCHEMA_NAME, offsetof(struct decl_nameserver, region), .max = MODEL_NAME_MAX};
static const struct schema_row health_rows[] = {
    {"interval", SCHEMA_DURATION, offsetof(struct decl_health, interval_ms), .min = 500,
        .max = 5 * 60000, .def = "5s", .prose = "Time between two probes of a region."},
    {"timeout", SCHEMA_DURATION, offsetof(struct decl_health, timeout_ms), .min = 100, .max = 60000,
        .def = "2s",
        .prose =
            "A probe without an answer after this time has failed. Shorter than the interval."},
    {"down", SCHEMA_INT, offsetof(struct decl_health, down), .min = 1, .max = 20, .def = "2",
        .prose = "Failed probes in a row after which an observer sees a region down."},
    {"up", SCHEMA_INT, offsetof(struct decl_health, up), .min = 1, .max = 20, .def = "3",
        .prose = "Good probes in a row after which it sees the region up again."},
    {"references", SCHEMA_LIST, offsetof(struct decl_health, references), .item = &reference_item,
        .item_size = sizeof(struct schema_text), .max = 16, .example = "[\"1.1.1.1:443\"]",
        .prose = "Places outside the platform. A region that reaches none of them and no other "
                 "region takes itself for the one that is cut off, and its view counts for "
                 "nothing."},
    {0},
};
static const struct schema_row order_ref = {"REGION|DUTY", SCHEMA_NAME, .max = MODEL_NAME_MAX};
static const struct schema_row country_item = {"REGIONS", SCHEMA_LIST,
    offsetof(struct decl_country, order), .one = true, .item = &order_ref,
    .item_size = sizeof(struct schema_text), .min = 1, .max = 64, .example = "[ap-seoul]"};
static const struct schema_row record_rows[] = {
    {"name", SCHEMA_STRING, offsetof(struct decl_record, name), .min = 1, .max = 254,
        .required = true, .example = "\"@\"",
        .prose = "The owner: \"@\" for the domain itself, a name relative to it, or a full name in "
                 "it."},
    {"type", SCHEMA_ENUM, offsetof(struct decl_record, type), .words = model_record_types,
        .required = true, .example = "MX", .prose = "The record's type."},
    {"value", SCHEMA_STRING, offsetof(struct decl_record, value), .min = 1, .max = 4096,
        .required = true, .example = "\"10 mail.example.com.\"",
        .prose = "What stands behind the type in a zone file. TXT may leave the quotes away."},
    {"ttl", SCHEMA_DURATION, offsetof(struct decl_record, ttl_ms), .min = 1000, .max = 7 * DAY_MS,
        .example = "1h", .prose = "Time that resolvers may keep it. Without it, `routing.ttl`."},
    {0},
};
static const struct schema_row record_item = {"RECORD", SCHEMA_STRUCT, .rows = record_rows,
    .example = "{name: \"@\", type: MX, value: \"10 mail.example.com.\"}"};
static const struct schema_row override_item = {"COUNTRY", SCHEMA_STRING,
    offsetof(struct decl_override, country), .check = model_check_country};
static const struct schema_row geo_rows[] = {
    {"database", SCHEMA_STRING, offsetof(struct decl_geo, database), .min = 1, .max = 1024,
        .example = "geo/country.mmdb",
        .prose = "A country database in MaxMind's format, relative to this file. Without it the "
                 "installed one is used."},
    {"overrides", SCHEMA_MAP, offsetof(struct decl_geo, overrides), .name = &prefix_text,
        .item = &override_item, .item_size = sizeof(struct decl_override), .max = 65536,
        .example = "{198.51.100.0/24: KR}",
        .prose = "Networks whose country is known better than the database knows it. The longest "
                 "prefix decides."},
    {0},
};
static const struct schema_row routing_rows[] = {
    {"provider", SCHEMA_ENUM, offsetof(struct decl_routing, provider), .words = providers,
        .def = "own", .prose = "Who answers for the domain: the platform's own name servers."},
    {"ttl", SCHEMA_DURATION, offsetof(struct decl_routing, ttl_ms), .min = 1000, .max = DAY_MS,
        .def = "60s", .prose = "Time that resolvers may keep an answer; whole seconds."},
    {"nameservers", SCHEMA_MAP, offsetof(struct decl_routing, nameservers), .name = &label_name,
        .item = &nameserver_item, .item_size = sizeof(struct decl_nameserver), .max = 13,
        .example = "{ns1: ap-hongkong, ns2: ap-seoul}",
        .prose = "The domain's name servers: a label below the domain, and the region whose public "
                 "addresses it has. Without it, every region with a public host has one: ns1, ns2, "
                 "... in the order of their names."},
    {"health", SCHEMA_STRUCT, offsetof(struct decl_routing, health), .rows = health_rows,
        .def = "{}", .example = "{interval: 5s, timeout: 2s, down: 2, up: 3}",
        .prose = "How regions probe each other. A region is taken out of the answers when enough "
                 "of the others see it down."},
    {"countries", SCHEMA_MAP, offsetof(struct decl_routing, countries), .name = &country_code,
        .item = &country_item, .item_size = sizeof(struct decl_country), .max = 256,
        .example = "{KR: [ap-seoul]}",
        .prose = "For each country (ISO 3166-1, two letters) the regions that serve it, in order: "
                 "the first that is up answers. A duty stands for the regions that have it."},
    {"default", SCHEMA_LIST, offsetof(struct decl_routing, fallback), .one = true,
        .item = &order_ref, .item_size = sizeof(struct schema_text), .min = 1, .max = 64,
        .def = "[main]", .prose = "The same for everyone else."},
    {"on_failure", SCHEMA_LIST, offsetof(struct decl_routing, on_failure), .one = true,
        .item = &order_ref, .item_size = sizeof(struct schema_text), .max = 64, .def = "[dr, main]",
        .prose = "Appended to every list above, repeats dropped. When all of a list are down the "
                 "last known answer stays."},
    {"records", SCHEMA_LIST, offsetof(struct decl_routing, records), .item = &record_item,
        .item_size = sizeof(struct decl_record), .max = 10000,
        .prose = "Further records of the domain. The names that routes serve need none."},
    {"geo", SCHEMA_STRUCT, offsetof(struct decl_routing, geo), .rows = geo_rows, .def = "{}",
        .example = "{database: geo/country.mmdb}", .prose = "How an address becomes a country."},
    {0},
};

static const struct schema_row probe_rows[] = {
    {"kind", SCHEMA_ENUM, offsetof(struct decl_probe, kind), .words = probe_kinds,
        .example = "http",
        .prose = "http: a GET is answered with a status below 400. tcp: the port accepts. exec: "
                 "the command ends with 0. none: running is healthy. Without it: http where a path "
                 "stands, exec where a command stands, else tcp where the module has a port, else "
                 "none."},
    {"path", SCHEMA_STRING, offsetof(struct decl_probe, path), .max = 1024,
        .check = model_check_path, .example = "/healthz", .prose = "What http asks for."},
    {"command", SCHEMA_LIST, offsetof(struct decl_probe, command), .item = &word_item,
        .item_size = sizeof(struct schema_text), .min = 1, .max = 256,
        .example = "[/bin/check, --quick]", .prose = "What exec runs in the container."},
    {"interval", SCHEMA_DURATION, offsetof(struct decl_probe, interval_ms), .min = 200,
        .max = 10 * 60000, .def = "5s", .prose = "Time between two probes of a ready instance."},
    {"timeout", SCHEMA_DURATION, offsetof(struct decl_probe, timeout_ms), .min = 100,
        .max = 10 * 60000, .def = "2s",
        .prose =
            "A probe without an answer after this time has failed. Shorter than the interval."},
    {"start_timeout", SCHEMA_DURATION, offsetof(struct decl_probe, start_timeout_ms), .min = 1000,
        .max = 3600000, .def = "60s",
        .prose = "An instance that is not ready after this time has failed to start."},
    {"failures", SCHEMA_INT, offsetof(struct decl_probe, failures), .min = 1, .max = 20, .def = "3",
        .prose = "Failed probes in a row after which a ready instance is unhealthy and restarted."},
    {0},
};
static const struct schema_row limits_rows[] = {
    {"memory", SCHEMA_SIZE, offsetof(struct decl_limits, memory_bytes), .min = 4u << 20,
        .max = 1ull << 44, .def = "256MiB",
        .prose = "Over it the instance is killed, and restarted."},
    {"cpu", SCHEMA_DECIMAL, offsetof(struct decl_limits, cpu_milli), .max = 1024000, .def = "0",
        .example = "0.5", .prose = "Cores; 0 for no limit."},
    {"pids", SCHEMA_INT, offsetof(struct decl_limits, pids), .min = 1, .max = 1000000, .def = "256",
        .prose = "Processes and threads."},
    {0},
};
static const struct schema_row route_rows[] = {
    {"names", SCHEMA_LIST, offsetof(struct decl_route, names), .one = true, .item = &dns_item,
        .item_size = sizeof(struct schema_text), .min = 1, .max = 64, .required = true,
        .example = "[example.com, www.example.com]",
        .prose = "The names it serves, in the platform's domain. Each becomes a name in the DNS, "
                 "answered by country."},
    {"path", SCHEMA_STRING, offsetof(struct decl_route, path), .max = 1024,
        .check = model_check_path, .def = "/",
        .prose =
            "What the path starts with. Whole segments: /v1 serves /v1 and /v1/orders, not /v10."},
    {"auth", SCHEMA_ENUM, offsetof(struct decl_route, auth), .words = auths, .def = "jwt",
        .prose =
            "jwt: only requests with a valid token pass. none: everybody's do. While the platform "
            "declares no identity nobody can check tokens: jwt routes are served without, and "
            "the edge raises an alarm."},
    {0},
};
const struct schema_row decl_route_row = {
    "ROUTE", SCHEMA_STRUCT, .rows = route_rows, .example = "{names: [example.com], path: /}"};
static const struct schema_row canary_rows[] = {
    {"weight", SCHEMA_INT, offsetof(struct decl_canary, weight), .min = 1, .max = 90, .def = "10",
        .prose = "Percent of the region's traffic to the module that the first new instances get."},
    {"for", SCHEMA_DURATION, offsetof(struct decl_canary, for_ms), .max = DAY_MS, .def = "60s",
        .prose = "How long they have to be ready before the others follow by themselves."},
    {0},
};
static const struct schema_row rollout_rows[] = {
    {"strategy", SCHEMA_ENUM, offsetof(struct decl_rollout, strategy), .words = model_rollout_words,
        .def = "rolling",
        .prose = "rolling: wave by wave, new instances are ready before old ones leave. "
                 "blue-green: all new ones are ready, then all traffic changes at once. canary: "
                 "a few new ones get a part of the traffic for a time, then rolling. replace: old "
                 "ones are stopped before new ones start, for modules of which two versions must "
                 "never run together."},
    {"wave", SCHEMA_STRING, offsetof(struct decl_rollout, wave), .check = model_check_wave,
        .def = "1", .example = "25%",
        .prose = "How many instances of a region are replaced at a time: a number or a percentage, "
                 "at least one."},
    {"canary", SCHEMA_STRUCT, offsetof(struct decl_rollout, canary), .rows = canary_rows,
        .def = "{}", .example = "{weight: 10, for: 60s}", .prose = "Of the strategy canary."},
    {"deadline", SCHEMA_DURATION, offsetof(struct decl_rollout, deadline_ms), .min = 1000,
        .max = DAY_MS, .def = "5m",
        .prose = "A wave whose instances are not ready after this time fails the rollout, and "
                 "everything goes back to what ran before. Longer than health.start_timeout."},
    {"drain", SCHEMA_DURATION, offsetof(struct decl_rollout, drain_ms), .max = 3600000,
        .def = "10s",
        .prose = "An instance that leaves is stopped when every edge has left it and its requests "
                 "are over, and after this time in any case."},
    {0},
};
static const struct schema_row instances_name = {"REGION|each", SCHEMA_NAME, .max = MODEL_NAME_MAX};
static const struct schema_row instances_rows[] = {
    {"active", SCHEMA_INT, offsetof(struct decl_instances, active), .max = MODEL_INSTANCES_MAX,
        .def = "0", .prose = "Instances that run."},
    {"standby", SCHEMA_INT, offsetof(struct decl_instances, standby), .max = MODEL_INSTANCES_MAX,
        .def = "0",
        .prose = "Instances that run, are ready, and take and make no calls until they are admitted: "
                 "by the promotion of a database into their region, or when none of the module's "
                 "instances has been ready in the main region for 15 s."},
    {0},
};
static const struct schema_row instances_item = {"COUNT", SCHEMA_STRUCT, .rows = instances_rows,
    .shorthand = "active", .example = "2 or {standby: 1}"};
static const struct schema_row env_item = {
    "VALUE", SCHEMA_STRING, offsetof(struct decl_env, value), .max = 32768};
static const struct schema_row egress_item = {
    "NAME", SCHEMA_STRING, .check = model_check_egress, .max = 270};
const char *const model_secret_modes[] = {"0400", "0440", "0444", NULL};
const char *const model_secret_signals[] = {"HUP", "USR1", "USR2", "INT", "QUIT", NULL};
static const char *const secret_changes[] = {"watch", "restart", "signal", NULL};
static const struct schema_row secret_rows[] = {
    {"name", SCHEMA_STRING, offsetof(struct decl_secret, name), .check = model_check_secret,
        .max = MODEL_SECRET_NAME_MAX, .required = true, .example = "psp_key",
        .prose = "The secret, as `mcp secret set` named it."},
    {"file", SCHEMA_STRING, offsetof(struct decl_secret, file), .check = model_check_secret,
        .max = MODEL_SECRET_NAME_MAX, .example = "key.pem",
        .prose = "The file's name below /run/secrets. Without it the secret's own name."},
    {"mode", SCHEMA_ENUM, offsetof(struct decl_secret, mode), .words = model_secret_modes,
        .def = "0400",
        .prose = "Who in the container may read the file: the module's user, also its group, or "
                 "everybody."},
    {"on_change", SCHEMA_ENUM, offsetof(struct decl_secret, on_change), .words = secret_changes,
        .def = "watch",
        .prose = "After a rotation. watch: the file is replaced as a whole, and the module sees it "
                 "by itself. restart: the instances are restarted one after the other. signal: "
                 "the container's first process is sent `signal`."},
    {"signal", SCHEMA_ENUM, offsetof(struct decl_secret, signal), .words = model_secret_signals,
        .def = "HUP", .prose = "Which signal `on_change: signal` sends."},
    {0},
};
static const struct schema_row secret_item = {"SECRET", SCHEMA_STRUCT, .rows = secret_rows,
    .shorthand = "name", .example = "psp_key or {name: psp_key, on_change: restart}"};
static const struct schema_row module_rows[] = {
    {"image", SCHEMA_STRING, offsetof(struct decl_module, image), .check = model_check_image,
        .max = 1024, .required = true, .example = "oci:images/api",
        .prose = "oci:PATH[:TAG], an OCI image layout, folder or archive file, relative to this "
                 "file; without a tag it must hold one image. Or docker://HOST/NAME[:TAG], which "
                 "skopeo fetches where the command runs. Either way the revision holds the "
                 "digest."},
    {"port", SCHEMA_INT, offsetof(struct decl_module, port), .min = 1, .max = 65535,
        .example = "8080",
        .prose =
            "Where it listens in its container. Needed for a route and for http and tcp probes."},
    {"command", SCHEMA_LIST, offsetof(struct decl_module, command), .item = &word_item,
        .item_size = sizeof(struct schema_text), .min = 1, .max = 256,
        .example = "[/bin/api, --verbose]", .prose = "Runs instead of the image's own command."},
    {"env", SCHEMA_MAP, offsetof(struct decl_module, env), .name = &env_name, .item = &env_item,
        .item_size = sizeof(struct decl_env), .max = 256, .example = "{LOG_LEVEL: info}",
        .prose = "Environment, on top of the image's own. Never a secret."},
    {"health", SCHEMA_STRUCT, offsetof(struct decl_module, health), .rows = probe_rows, .def = "{}",
        .shorthand = "kind", .example = "{path: /healthz}",
        .prose = "How an instance's readiness is probed."},
    {"limits", SCHEMA_STRUCT, offsetof(struct decl_module, limits), .rows = limits_rows,
        .def = "{}", .example = "{memory: 256MiB, cpu: 0.5, pids: 128}",
        .prose = "What one instance may use."},
    {"stop_timeout", SCHEMA_DURATION, offsetof(struct decl_module, stop_timeout_ms), .min = 0,
        .max = 600000, .def = "10s", .prose = "Time between SIGTERM and SIGKILL."},
    {"rollout", SCHEMA_STRUCT, offsetof(struct decl_module, rollout), .rows = rollout_rows,
        .def = "{}", .example = "{strategy: rolling, wave: 25%}",
        .prose = "How its instances are replaced when the module changes. Regions follow each "
                 "other: those with duty dr first, then serving, main last. What fails is undone "
                 "by itself."},
    {"route", SCHEMA_LIST, offsetof(struct decl_module, route), .one = true, .item = &decl_route_row,
        .item_size = sizeof(struct decl_route), .max = 64,
        .example = "{names: [example.com], path: /}",
        .prose = "What the edge passes to it. Several routes stand in a list."},
    {"regions", SCHEMA_MAP, offsetof(struct decl_module, regions), .name = &instances_name,
        .item = &instances_item, .item_size = sizeof(struct decl_instances), .min = 1, .max = 65,
        .required = true, .example = "{ap-hongkong: 2, ap-seoul: {standby: 1}}",
        .prose = "Where it runs: region to number of instances, or {active: N, standby: N}. `each` "
                 "stands for every region that is not named."},
    {"needs", SCHEMA_LIST, offsetof(struct decl_module, needs), .item = &decl_need_item,
        .item_size = sizeof(struct decl_need), .max = 256,
        .example = "[{module: payment}, {data: trade, access: write, tables: [orders]}]",
        .prose = "What it may use of the platform: modules, databases, events. Everything else is "
                 "refused, and the refusal is told in the timeline."},
    {"requires", SCHEMA_LATER},
    {"secrets", SCHEMA_LIST, offsetof(struct decl_module, secrets), .item = &secret_item,
        .item_size = sizeof(struct decl_secret), .max = MODEL_SECRETS_MAX, .example = "[psp_key]",
        .prose = "The secrets that it asks for, each a file below /run/secrets in memory, never an "
                 "argument or a variable. An instance waits until `mcp secret set` has given the "
                 "value and `mcp secret grant` has let the module have it."},
    {"egress", SCHEMA_LIST, offsetof(struct decl_module, egress), .one = true, .item = &egress_item,
        .item_size = sizeof(struct schema_text), .max = 256,
        .example = "[psp.example, \"*.maps.example:8443\"]",
        .prose = "The names outside of the platform that it may reach, through the proxy that "
                 "HTTP_PROXY and HTTPS_PROXY name in its environment: NAME or *.NAME (every name "
                 "below), on ports 80 and 443, or NAME:PORT. Without it nothing outside is "
                 "reachable."},
    {"before", SCHEMA_LIST, offsetof(struct decl_module, before), .one = true,
        .item = &decl_function_ref, .item_size = sizeof(struct schema_text), .max = 8,
        .example = "[smoke-test]",
        .prose = "Functions that run, one after the other, before a `mcp deploy` of it begins. One "
                 "that fails refuses the deployment."},
    {"after", SCHEMA_LIST, offsetof(struct decl_module, after), .one = true,
        .item = &decl_function_ref, .item_size = sizeof(struct schema_text), .max = 8,
        .example = "[announce]", .prose = "Functions that run after it has been rolled out."},
    {0},
};
static const struct schema_row module_item = {"MODULE", SCHEMA_STRUCT, .rows = module_rows,
    .example = "{image: oci:images/api, regions: {each: 1}}"};

static const struct schema_row function_name = {"FUNCTION", SCHEMA_NAME, .max = MODEL_NAME_MAX};
static const struct schema_row may_item = {"ACTION", SCHEMA_STRING, .check = model_check_may};
static const struct schema_row function_rows[] = {
    {"image", SCHEMA_STRING, offsetof(struct decl_function, as.image), .check = model_check_image,
        .max = 1024, .required = true, .example = "oci:images/page-oncall",
        .prose = "As a module's. Every host keeps it, so that any of them can run the function."},
    {"command", SCHEMA_LIST, offsetof(struct decl_function, as.command), .item = &word_item,
        .item_size = sizeof(struct schema_text), .min = 1, .max = 256,
        .example = "[/bin/page, --loud]", .prose = "Runs instead of the image's own command."},
    {"env", SCHEMA_MAP, offsetof(struct decl_function, as.env), .name = &env_name,
        .item = &env_item, .item_size = sizeof(struct decl_env), .max = 256,
        .example = "{LOG_LEVEL: info}",
        .prose = "Environment, on top of the image's own. Never a secret."},
    {"deadline", SCHEMA_DURATION, offsetof(struct decl_function, deadline_ms), .min = 500,
        .max = MODEL_FUNCTION_DEADLINE_MS_MAX, .def = "30s",
        .prose = "A run that has not ended after this time is killed, and has failed."},
    {"limits", SCHEMA_STRUCT, offsetof(struct decl_function, as.limits), .rows = limits_rows,
        .def = "{}", .example = "{memory: 64MiB, cpu: 0.5, pids: 32}",
        .prose = "What one run may use."},
    {"secrets", SCHEMA_LIST, offsetof(struct decl_function, as.secrets), .item = &secret_item,
        .item_size = sizeof(struct decl_secret), .max = MODEL_SECRETS_MAX, .example = "[pager_key]",
        .prose = "As a module's: `mcp secret grant SECRET FUNCTION` lets it have them."},
    {"egress", SCHEMA_LIST, offsetof(struct decl_function, as.egress), .one = true,
        .item = &egress_item, .item_size = sizeof(struct schema_text), .max = 256,
        .example = "[pager.example]",
        .prose = "As a module's: the names outside of the platform that it may reach."},
    {"may", SCHEMA_LIST, offsetof(struct decl_function, may), .item = &may_item,
        .item_size = sizeof(struct schema_text), .max = 16,
        .example = "[dns:SteerAway, dns:SteerBack]",
        .prose = "What it may ask of the platform over the socket /run/mcp/platform.sock. Nothing "
                 "else is answered, and whatever else it asks is in the audit log."},
    {"principal", SCHEMA_LATER},
    {0},
};
static const struct schema_row function_item = {"FUNCTION", SCHEMA_STRUCT, .rows = function_rows,
    .example = "{image: oci:images/page-oncall, deadline: 5s}"};

static const struct schema_row rows[] = {
    {"platform", SCHEMA_NAME, offsetof(struct decl, platform), .max = MODEL_PLATFORM_MAX,
        .required = true, .example = "reindeers",
        .prose = "The platform's name. Two platforms on one machine need two names."},
    {"domain", SCHEMA_STRING, offsetof(struct decl, domain), .check = schema_check_dns_name,
        .required = true, .example = "example.com",
        .prose = "The domain that the platform answers for."},
    {"regions", SCHEMA_MAP, offsetof(struct decl, regions), .name = &region_name,
        .item = &region_item, .item_size = sizeof(struct decl_region), .min = 1,
        .max = MODEL_REGIONS_MAX, .required = true, .example = "{ap-hongkong: " REGION_EXAMPLE "}",
        .prose = "The regions. A region is a failure domain: what may go away at once. Three "
                 "machines in one room may be three regions."},
    {"hosts", SCHEMA_MAP, offsetof(struct decl, hosts), .name = &host_name, .item = &host_item,
        .item_size = sizeof(struct decl_host), .min = 1, .max = MODEL_HOSTS_MAX, .required = true,
        .example = "{hk1: {region: ap-hongkong, address: 10.20.0.11, public: true}}",
        .prose = "The hosts. A host is a machine that runs `mcp host`."},
    {"state", SCHEMA_STRUCT, offsetof(struct decl, state), .rows = state_rows, .def = "{}",
        .example = "{members: [hk1, seoul1, bangkok1]}",
        .prose = "Where the platform keeps the desired revision and who does what."},
    {"lab", SCHEMA_STRUCT, offsetof(struct decl, lab), .rows = lab_rows, .def = "{}",
        .example = "{wan: [{between: [ap-hongkong, ap-seoul], delay: 19ms}]}",
        .prose =
            "Read by `mcp up` only: the network between the regions, and users, on one machine."},
    {"routing", SCHEMA_STRUCT, offsetof(struct decl, routing), .rows = routing_rows, .def = "{}",
        .example = "{countries: {KR: [ap-seoul]}, default: [ap-hongkong]}",
        .prose = "Which region answers whom."},
    {"modules", SCHEMA_MAP, offsetof(struct decl, modules), .name = &module_name,
        .item = &module_item, .item_size = sizeof(struct decl_module), .max = MODEL_MODULES_MAX,
        .example = "{api: {image: oci:images/api, regions: {each: 1}}}",
        .prose =
            "The services. Each is one container image, run and probed in the regions it names."},
    {"data", SCHEMA_MAP, offsetof(struct decl, data), .name = &decl_database_name,
        .item = &decl_database_item, .item_size = sizeof(struct decl_database),
        .max = MODEL_DATABASES_MAX,
        .example = "{trade: {source: ap-hongkong, replicas: [ap-seoul]}}",
        .prose = "The databases. Each has one source, where writes go, and replicas that follow it "
                 "by GTID. Modules reach it as DATABASE.rw.mcp.internal (the source, wherever it "
                 "is) and DATABASE.ro.mcp.internal (the nearest healthy replica)."},
    {"events", SCHEMA_STRUCT, offsetof(struct decl, events), .rows = decl_events_rows,
        .def = "{}", .example = "{outbox: trade}", .prose = "Messages between modules."},
    {"cache", SCHEMA_LATER},
    {"identity", SCHEMA_LATER},
    {"policies", SCHEMA_LATER},
    {"store", SCHEMA_LATER},
    {"cdn", SCHEMA_LATER},
    {"delivery", SCHEMA_LATER},
    {"functions", SCHEMA_MAP, offsetof(struct decl, functions), .name = &function_name,
        .item = &function_item, .item_size = sizeof(struct decl_function),
        .max = MODEL_FUNCTIONS_MAX,
        .example = "{page-oncall: {image: oci:images/page-oncall, deadline: 5s}}",
        .prose = "Containers that run once when something happens: an alarm, a step of a failover, "
                 "a deployment, `mcp functions run`. Each gets what happened as JSON on its standard "
                 "input."},
    {"alarms", SCHEMA_MAP, offsetof(struct decl, alarms), .name = &decl_alarm_name,
        .item = &decl_alarm_item, .item_size = sizeof(struct decl_alarm), .max = MODEL_ALARMS_MAX,
        .example = "{api-errors: {when: \"route.api.error_rate > 5%\", for: 15s, notify: ops}}",
        .prose = "What people are told of, and what functions are started for, when it is so for "
                 "some time. Databases, routes, hosts, disks and certificates have alarms without "
                 "a word here: `mcp alarms` lists them."},
    {"notify", SCHEMA_MAP, offsetof(struct decl, notify), .name = &decl_alarm_name,
        .item = &decl_notify_item, .item_size = sizeof(struct decl_notify), .max = MODEL_NOTIFY_MAX,
        .example = "{ops: {slack: {url_secret: slack_webhook, channel: \"#ops\"}}}",
        .prose = "Whom alarms tell."},
    {"drills", SCHEMA_LATER},
    {0},
};

const struct schema_row decl_schema = {"platform.yaml", SCHEMA_STRUCT, .rows = rows,
    .prose = "A platform of the Modular Cloud Platform, declared once."};

const struct schema_row *model_schema(void)
{
    return &decl_schema;
}
