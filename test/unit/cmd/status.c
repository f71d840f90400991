/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"

#include "cmd/cli/priv.h"

#define NOW 1800000000000

static void expect(const char *json, const char *want)
{
    json_t *status = NULL;
    struct err e = {0};
    struct table_style style = {0};
    _cleanup_str_ struct str out = STR_INIT;
    if (json_parse(json, strlen(json), &status, &e) < 0)
        fail_msg("%s", e.message);
    cmd_status_format(status, NOW, &style, &out);
    assert_string_equal(out.buf, want);
    json_decref(status);
}

static void test_all_well(void **state)
{
    expect(
        "{\"platform\":\"reindeers\",\"revision\":3,\"ready\":true,\"asked_host\":\"hk1\","
        "\"state_store\":{\"kind\":\"etcd\",\"connected\":true,\"reason\":\"\"},\"alarms\":[],"
        "\"regions\":[{\"name\":\"ap-hongkong\",\"duty\":\"main\",\"state\":\"up\","
        "\"address\":[\"203.0.113.20\",\"2001:db8::20\"]}],"
        "\"names\":[{\"name\":\"reindeers.com\",\"regions\":[{\"region\":\"ap-hongkong\",\"state\":\"up\"}]}],"
        "\"hosts\":[{\"name\":\"hk1\",\"region\":\"ap-hongkong\",\"state\":\"up\",\"roles\":["
        "{\"name\":\"control\",\"pid\":7,\"pss_bytes\":5242880,\"restarts\":0,\"since_ms\":1},"
        "{\"name\":\"dns\",\"pid\":8,\"pss_bytes\":5242880,\"restarts\":2,\"since_ms\":1799999940000}]}],"
        "\"units\":[{\"name\":\"api-1\",\"kind\":\"module\",\"region\":\"ap-hongkong\",\"host\":\"hk1\","
        "\"state\":\"ready\",\"pid\":9,\"restarts\":0,\"reason\":\"\",\"since_ms\":1799996400000},"
        "{\"name\":\"wms-1\",\"kind\":\"module\",\"region\":\"ap-hongkong\",\"host\":\"hk1\","
        "\"state\":\"ready\",\"pid\":0,\"restarts\":0,\"standby\":true,\"admitted\":false,\"reason\":\"standby: admitted by promotion\"},"
        "{\"name\":\"ai-1\",\"kind\":\"module\",\"region\":\"ap-hongkong\",\"host\":\"hk1\","
        "\"state\":\"ready\",\"pid\":9,\"restarts\":0,\"admitted\":false,\"reason\":\"not admitted: another region has taken over\"}]}",
        "reindeers, revision 3: READY\n"
        "state store etcd: connected; as host hk1 sees it\n"
        "\n"
        "REGION       DUTY  STATE  HOSTS  UNITS  ADDRESS\n"
        "ap-hongkong  main  up     1/1    3/3    203.0.113.20 2001:db8::20\n"
        "\n"
        "HOST  REGION       STATE    MEMORY  ROLES\n"
        "hk1   ap-hongkong  up     10.0 MiB  control dns(restarted 2x, 60s ago)\n"
        "\n"
        "UNIT   REGION       HOST  STATE         AGE  RESTARTS  REASON\n"
        "api-1  ap-hongkong  hk1   ready         60m         0  -\n"
        "wms-1  ap-hongkong  hk1   standby         -         0  standby: admitted by promotion\n"
        "ai-1   ap-hongkong  hk1   not admitted    -         0  not admitted: another region has taken over\n");
}

static void test_what_is_wrong_comes_first(void **state)
{
    expect(
        "{\"platform\":\"p\",\"revision\":2,\"ready\":false,"
        "\"not_ready\":\"a is not heard; b is at revision 1; b: 1 of 2 instances ready; x; y; z; api.x is down in r\",\"asked_host\":\"b\","
        "\"state_store\":{\"kind\":\"etcd\",\"connected\":false,\"reason\":\"no quorum: 1 of 3 answer\"},"
        "\"alarms\":[{\"text\":\"answers of api.x are frozen\"}],"
        "\"regions\":[{\"name\":\"r\",\"duty\":\"dr\",\"state\":\"down\",\"address\":[]}],"
        "\"names\":[{\"name\":\"api.x\",\"regions\":["
        "{\"region\":\"r\",\"state\":\"down\",\"since_ms\":1799999995000},{\"region\":\"q\",\"state\":\"up\"}]}],"
        "\"hosts\":[{\"name\":\"a\",\"region\":\"r\",\"state\":\"silent\",\"roles\":[],\"drained\":true},"
        "{\"name\":\"b\",\"region\":\"r\",\"state\":\"up\",\"roles\":[],\"drained\":true}],"
        "\"units\":[{\"name\":\"u-1\",\"host\":\"a\",\"region\":\"r\",\"state\":\"backoff\",\"restarts\":7,"
        "\"reason\":\"exited 1\\u001b[2J\"},{\"name\":\"u-2\",\"host\":\"a\",\"region\":\"r\",\"state\":\"failed\"}]}",
        "p, revision 2: NOT READY because a is not heard; b is at revision 1; b: 1 of 2 instances ready; x; y; "
        "and 2 more\n"
        "state store etcd: not connected (no quorum: 1 of 3 answer); everything goes on as it was, only nothing new "
        "can be applied; as host b sees it\n"
        "ALARM answers of api.x are frozen\n"
        "\n"
        "REGION  DUTY  STATE  HOSTS  UNITS  ADDRESS\n"
        "r       dr    down   1/2    0/2    -\n"
        "\n"
        "NAME   REGION  STATE  SINCE\n"
        "api.x  r       down   5s\n"
        "\n"
        "HOST  REGION  STATE    MEMORY  ROLES\n"
        "a     r       silent        -  -\n"
        "b     r       drained       -  -\n"
        "\n"
        "UNIT  REGION  HOST  STATE    AGE  RESTARTS  REASON\n"
        "u-1   r       a     backoff    -         7  exited 1?[2J\n"
        "u-2   r       a     failed     -         0  -\n");
}

/* A control of another version, or one that is broken, must not take the command down. */
static void test_anything_can_be_shown(void **state)
{
    expect("{}",
        "?, revision 0: NOT READY\n"
        "state store ?: not connected; everything goes on as it was, only nothing new can be applied; "
        "as host ? sees it\n");
    expect(
        "{\"revision\":\"x\",\"regions\":7,\"hosts\":[1,{\"roles\":{}}],\"units\":[null],\"names\":[{}],\"alarms\":[0]}",
        "?, revision 0: NOT READY\n"
        "state store ?: not connected; everything goes on as it was, only nothing new can be applied; "
        "as host ? sees it\n"
        "ALARM ?\n"
        "\n"
        "HOST  REGION  STATE    MEMORY  ROLES\n"
        "-     -       unknown       -  -\n"
        "-     -       unknown       -  -\n"
        "\n"
        "UNIT  REGION  HOST  STATE    AGE  RESTARTS  REASON\n"
        "-     -       -     unknown    -         0  -\n");
}

static void test_age(void **state)
{
    static const struct {
        int64_t ago_s;
        const char *want;
    } rows[] = {{0, "0s"}, {119, "119s"}, {120, "2m"}, {7199, "119m"}, {7200, "2h"},
        {172799, "47h"}, {172800, "2d"}, {-1, "-"}};
    char out[CMD_AGE_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_string_equal(cmd_age(NOW - rows[i].ago_s * 1000, NOW, out), rows[i].want);
    assert_string_equal(cmd_age(0, NOW, out), "-");
    assert_string_equal(cmd_age(1, INT64_MAX, out), "106751991167d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_well),
        cmocka_unit_test(test_what_is_wrong_comes_first),
        cmocka_unit_test(test_anything_can_be_shown),
        cmocka_unit_test(test_age),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
