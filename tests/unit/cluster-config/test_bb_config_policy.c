// SPDX-License-Identifier: Apache-2.0
// Retention and rollups of a configuration: what is read, every rule broken once, and edits that
// leave the rest of the file as it was.
#include "cluster-config/bb_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

// Six lines of comment and cluster, then the rest; the policy begins in line 15.
static char *s_text(const char *policy)
{
    char key[BB_CURVE_TEXT_BYTES];
    uint8_t bytes[32] = {1};
    bb_z85_encode(bytes, sizeof bytes, key);
    char *text = NULL;
    int length = asprintf(&text,
                          "# first line\n"
                          "cluster:\n"
                          "  name: demo   # inner\n"
                          "  id: 00112233445566778899aabbccddeeff\n"
                          "  placement_key: ffeeddccbbaa99887766554433221100\n"
                          "  partitions: 64\n"
                          "  replicas: {dc1: 1}\n"
                          "\n"
                          "# about the node\n"
                          "node: {id: n1, data_dir: data, key_file: node.key}\n"
                          "nodes:\n"
                          "- {id: n1, dc: dc1, host: 127.0.0.1, client_port: 1, peer_port: 2,\n"
                          "   bulk_port: 3, http_port: 4, public_key: \"%s\"}\n"
                          "users: []\n"
                          "%s",
                          key, policy);
    assert_true(length > 0);
    return text;
}

static bb_config_t *s_parse(const char *policy, bb_fault_t *fault)
{
    char *text = s_text(policy);
    bb_config_t *config = NULL;
    *fault = (bb_fault_t){0};
    bb_error_t error = bb_config_parse(text, strlen(text), "f.yaml", &config, fault);
    assert_int_equal(error == BB_OK, config != NULL);
    assert_int_equal(error, error == BB_OK ? BB_OK : BB_ERR_CONFIG);
    free(text);
    return config;
}

static const char s_good[] = "retention:\n"
                             "  - {name: alarms, match: {metric: \"alarm*\"}, keep: forever}\n"
                             "  - name: lab\n"
                             "    match: {site: aachen, tag: maker=acme}\n"
                             "    keep: 36h\n"
                             "  - {name: default, keep: 400d}\n"
                             "rollups:\n"
                             "  - {name: soc, match: {metric: soc_pct}, every: day,\n"
                             "     zone: Europe/Berlin, aggregates: [min, max]}\n"
                             "  - {name: quarters, every: 15m, aggregates: [mean], keep: 90d}\n";

static void policy_is_read(void **state)
{
    (void)state;
    bb_fault_t fault;
    bb_config_t *config = s_parse(s_good, &fault);
    if (!config) {
        fail_msg("%s", fault.text);
    }
    const bb_policy_t *policy = config->policy;
    assert_int_equal(bb_policy_class_count(policy), 2);
    assert_string_equal(bb_policy_class(policy, 0)->selector.metric, "alarm*");
    assert_true(bb_policy_class(policy, 0)->keep_ns == BB_KEEP_FOREVER_NS);
    assert_string_equal(bb_policy_class(policy, 1)->selector.site, "aachen");
    assert_string_equal(bb_policy_class(policy, 1)->selector.tag_key, "maker");
    assert_true(bb_policy_class(policy, 1)->keep_ns == BB_NS_PER_DAY / 2 * 3);
    assert_true(bb_policy_class(policy, 2)->keep_ns == BB_NS_PER_DAY * 400);
    assert_int_equal(bb_policy_rollup_count(policy), 2);
    assert_int_equal(bb_policy_rollup_find(policy, bb_slice("quarters", 8)), 1);
    const bb_rollup_t *soc = bb_policy_rollup(policy, 0);
    assert_int_equal(soc->every, BB_EVERY_DAY);
    assert_int_equal(soc->aggregates, BB_AGGREGATE_MIN | BB_AGGREGATE_MAX);
    assert_true(soc->keep_ns == BB_KEEP_FOREVER_NS);
    bb_calendar_t calendar = bb_policy_rollup_calendar(policy, 0);
    assert_int_equal(bb_zone_offset_s(calendar.zone, 1751328000), 7200); // July 2025
    bb_config_destroy(&config);
    // Nothing given: everything for ever.
    config = s_parse("", &fault);
    assert_non_null(config);
    assert_int_equal(bb_policy_class_count(config->policy), 0);
    assert_true(bb_policy_class(config->policy, 0)->keep_ns == BB_KEEP_FOREVER_NS);
    bb_config_destroy(&config);
}

// Goal: each rule names the line and the key.
static void policy_refuses(void **state)
{
    (void)state;
    const struct {
        const char *policy;
        const char *expected;
    } cases[] = {
        {"retention: [{name: a, keep: 30d}]\n", "f.yaml:15: key 'retention[0].match': needs one"},
        {"retention: [{name: a, match: {}, keep: 30d}]\n", "'retention[0].match': needs one of"},
        {"retention:\n- {name: a, match: {metric: a}}\n",
         "f.yaml:16: key 'retention[0].keep': is missing"},
        {"retention:\n- {name: a, match: {metric: a}, keep: 30}\n",
         "f.yaml:16: key 'retention[0].keep': must be a duration from 1h"},
        {"retention:\n- {name: a, match: {metric: a}, keep: 5m}\n", "must be a duration from 1h"},
        {"retention:\n- {name: a, match: {metrics: a}, keep: 5d}\n",
         "f.yaml:16: key 'retention[0].match.metrics': is not known"},
        {"retention:\n- {name: a, match: {tag: a}, keep: 5d}\n",
         "key 'retention[0].match.tag': 'a' is not of the form key=value"},
        {"retention:\n- {name: a b, match: {metric: a}, keep: 5d}\n", "'retention[0].name': must"},
        {"retention:\n- {name: a, match: {metric: a}, keep: 5d}\n"
         "- {name: a, match: {metric: b}, keep: 5d}\n",
         "f.yaml:17: key 'retention[1].name': 'a' is listed twice"},
        {"retention:\n- {name: default, keep: 5d}\n- {name: a, match: {metric: b}, keep: 5d}\n",
         "key 'retention[0].name': 'default' must stand last"},
        {"retention:\n- {name: default, match: {metric: a}, keep: 5d}\n",
         "'default' takes what no other class takes"},
        {"retention: 5\n", "key 'retention': must be a list"},
        {"rollups: [{name: a, aggregates: [min]}]\n", "key 'rollups[0].every': is missing"},
        {"rollups: [{name: a, every: day}]\n", "key 'rollups[0].aggregates': is missing"},
        {"rollups: [{name: a, every: day, aggregates: []}]\n", "'rollups[0].aggregates': has 0"},
        {"rollups: [{name: a, every: day, aggregates: [median]}]\n",
         "'rollups[0].aggregates': 'median' is none of mean, min"},
        {"rollups: [{name: a, every: day, aggregates: [min, min]}]\n", "'min' is listed twice"},
        {"rollups: [{name: a, every: day, aggregates: [[min]]}]\n",
         "key 'rollups[0].aggregates[0]': must be a text"},
        {"rollups: [{name: a, every: 7m, aggregates: [min]}]\n", "'rollups[0].every': must be day"},
        {"rollups: [{name: a, every: 1h, zone: UTC, aggregates: [min]}]\n",
         "key 'rollups[0].zone': belongs to day"},
        {"rollups: [{name: a, every: day, zone: Mars/Olympus, aggregates: [min]}]\n",
         "'rollups[0].zone': 'Mars/Olympus' is not in /usr/share/zoneinfo"},
        {"rollups: [{name: a, every: day, zone: ../passwd, aggregates: [min]}]\n",
         "'../passwd' is no name of a time zone"},
        {"rollups: [{name: a, every: day, zone: Europe, aggregates: [min]}]\n",
         "'Europe' is no time zone"},
        {"rollups:\n- {name: a, every: day, aggregates: [min]}\n"
         "- {name: a, every: day, aggregates: [min]}\n",
         "f.yaml:17: key 'rollups[1].name': 'a' is listed twice"},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        bb_fault_t fault;
        bb_config_t *config = s_parse(cases[i].policy, &fault);
        if (config || !strstr(fault.text, cases[i].expected)) {
            fail_msg("%s\ngot: %s\nnot: %s", cases[i].policy, fault.text, cases[i].expected);
        }
    }
}

static char *s_edit(const char *text, const bb_policy_t *policy)
{
    char *edited = NULL;
    size_t length = 0;
    bb_fault_t fault = {0};
    if (bb_config_policy_edit(text, strlen(text), "f.yaml", policy, &edited, &length, &fault) !=
        BB_OK) {
        fail_msg("%s", fault.text);
    }
    assert_int_equal(strlen(edited), length);
    return edited;
}

// Goal: an edit changes the two sections and not one byte more; editing twice is editing once.
static void policy_edit_keeps_the_rest(void **state)
{
    (void)state;
    bb_fault_t fault;
    bb_config_t *config = s_parse(s_good, &fault);
    assert_non_null(config);
    char *plain = s_text("");
    char *once = s_edit(plain, config->policy);
    assert_memory_equal(once, plain, strlen(plain));
    char *twice = s_edit(once, config->policy);
    assert_string_equal(once, twice);
    // What was printed is what was meant.
    bb_config_t *again = NULL;
    assert_int_equal(bb_config_parse(once, strlen(once), "f.yaml", &again, &fault), BB_OK);
    assert_int_equal(bb_policy_class_count(again->policy), 2);
    assert_true(
        bb_rollup_is_same(bb_policy_rollup(again->policy, 0), bb_policy_rollup(config->policy, 0)));
    bb_config_destroy(&again);
    // Sections in the middle and in flow style go; words about other sections stay.
    char *middle = s_text("\n# of classes\nretention:\n- {name: a, match: {metric: b},\n"
                          "   keep: 5d}\n# inner\n- {name: b, match: {metric: c}, keep: 6d}\n\n"
                          "# of rollups\nrollups: []\n# end\n");
    char *edited = s_edit(middle, config->policy);
    assert_memory_equal(edited, plain, strlen(plain));
    assert_non_null(strstr(edited, "# of classes\n"));
    assert_non_null(strstr(edited, "# of rollups\n"));
    assert_non_null(strstr(edited, "# end\n"));
    assert_null(strstr(edited, "keep: 5d"));
    assert_null(strstr(edited, "keep: 6d"));
    free(plain);
    free(once);
    free(twice);
    free(middle);
    free(edited);
    bb_config_destroy(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policy_is_read),
        cmocka_unit_test(policy_refuses),
        cmocka_unit_test(policy_edit_keeps_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
