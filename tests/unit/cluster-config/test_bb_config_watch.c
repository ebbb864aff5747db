// SPDX-License-Identifier: Apache-2.0
// The section `watch` of a configuration: what is read and printed, every rule broken once.
#include "cluster-config/bb_config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

// The text of a node's file with a section.
static char *s_text(const char *section)
{
    static char text[8192];
    uint8_t public_key[32] = {9};
    char key[41];
    bb_z85_encode(public_key, sizeof public_key, key);
    int length = snprintf(text, sizeof text,
                          "cluster:\n  name: c\n  id: \"00112233445566778899aabbccddeeff\"\n"
                          "  placement_key: \"00112233445566778899aabbccddeeff\"\n"
                          "  partitions: 8\n  replicas: {dc1: 1}\n"
                          "node: {id: n1, data_dir: data, key_file: node.key}\n"
                          "nodes:\n- {id: n1, dc: dc1, host: 127.0.0.1, client_port: 1,\n"
                          "   peer_port: 2, bulk_port: 3, http_port: 4, public_key: \"%s\"}\n"
                          "users: []\n%s",
                          key, section);
    assert_true(length > 0 && (size_t)length < sizeof text);
    return text;
}

static bb_config_t *s_parse(const char *text, bb_fault_t *fault)
{
    bb_config_t *config = NULL;
    *fault = (bb_fault_t){0};
    bb_error_t error = bb_config_parse(text, strlen(text), "f.yaml", &config, fault);
    assert_int_equal(error == BB_OK, config != NULL);
    return config;
}

static void s_expect(const bb_config_t *config)
{
    const bb_watch_rules_t *watch = config->watch;
    assert_int_equal(watch->rule_count, 2);
    assert_string_equal(watch->rules[0].name, "hot");
    assert_string_equal(watch->rules[0].metric, "temperature_c");
    assert_true(watch->rules[0].above > 59.9 && watch->rules[0].above < 60.1);
    assert_string_equal(watch->rules[1].name, "any");
    assert_string_equal(watch->rules[1].metric, "a \"b\"");
    assert_true(watch->rules[1].above < -1e299);
}

// Goal: rules are read, and what is printed is read as the same; without the section there is none.
static void rules_are_read_and_printed(void **state)
{
    (void)state;
    bb_fault_t fault;
    bb_config_t *config = s_parse(s_text("watch:\n- {name: hot, metric: temperature_c, above: 60}\n"
                                         "- {name: any, metric: 'a \"b\"', above: -1e300}\n"),
                                  &fault);
    if (!config) {
        fail_msg("%s", fault.text);
    }
    s_expect(config);
    char *printed = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&printed, &length);
    bb_config_print(config, out);
    fclose(out);
    bb_config_destroy(&config);
    config = s_parse(printed, &fault);
    if (!config) {
        fail_msg("%s in %s", fault.text, printed);
    }
    s_expect(config);
    free(printed);
    bb_config_destroy(&config);
    config = s_parse(s_text(""), &fault);
    assert_int_equal(config->watch->rule_count, 0);
    bb_config_destroy(&config);
}

static void bad_rules_are_refused(void **state)
{
    (void)state;
    const struct {
        const char *section;
        const char *expected;
    } cases[] = {
        {"watch: 5\n", "key 'watch': must be a list"},
        {"watch: [{metric: a, above: 1}]\n", "'watch[0].name': is missing"},
        {"watch: [{name: a b, metric: a, above: 1}]\n", "'watch[0].name': must"},
        {"watch: [{name: a, above: 1}]\n", "'watch[0].metric': is missing"},
        {"watch: [{name: a, metric: busbar.watch.b, above: 1}]\n",
         "'watch[0].metric': 'busbar.watch.b' is what rules write"},
        {"watch: [{name: a, metric: b}]\n", "'watch[0].above': is missing"},
        {"watch: [{name: a, metric: b, above: high}]\n",
         "'watch[0].above': 'high' is not a number"},
        {"watch: [{name: a, metric: b, above: 1x}]\n", "'1x' is not a number"},
        {"watch: [{name: a, metric: b, above: nan}]\n", "'nan' is not a number"},
        {"watch: [{name: a, metric: b, above: inf}]\n", "'inf' is not a number"},
        {"watch: [{name: a, metric: b, above: 1, below: 2}]\n", "'watch[0].below': is not known"},
        {"watch:\n- {name: a, metric: b, above: 1}\n- {name: a, metric: c, above: 1}\n",
         "'watch[1].name': 'a' is listed twice"},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        bb_fault_t fault;
        bb_config_t *config = s_parse(s_text(cases[i].section), &fault);
        if (config || !strstr(fault.text, cases[i].expected)) {
            fail_msg("%s\ngot: %s\nnot: %s", cases[i].section, fault.text, cases[i].expected);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_are_read_and_printed),
        cmocka_unit_test(bad_rules_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
