// SPDX-License-Identifier: Apache-2.0
// Tests of node/control/bb_identity: who is let in, and what each role may ask.
#include "node/control/bb_identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static bb_config_node_t s_nodes[2];
static bb_config_user_t s_users[3];

static const bb_config_t *s_config(bb_config_t *config)
{
    memset(config, 0, sizeof *config);
    memset(s_nodes, 0, sizeof s_nodes);
    memset(s_users, 0, sizeof s_users);
    for (uint32_t i = 0; i < 2; i++) {
        snprintf(s_nodes[i].id, sizeof s_nodes[i].id, "n%u", i + 1);
        memset(s_nodes[i].public_key, (int)(200 - i), 32);
    }
    const bb_role_t roles[] = {BB_ROLE_WRITER, BB_ROLE_READER, BB_ROLE_ADMIN};
    for (uint32_t i = 0; i < 3; i++) {
        snprintf(s_users[i].name, sizeof s_users[i].name, "user-%u", i);
        s_users[i].role = roles[i];
        memset(s_users[i].public_key, (int)(i + 1), 32);
    }
    config->node_count = 2;
    config->nodes = s_nodes;
    config->user_count = 3;
    config->users = s_users;
    return config;
}

static bool s_admit(const bb_identity_t *identity, const char *domain, const char *mechanism,
                    const void *key, size_t key_length, bb_principal_t *principal)
{
    return bb_identity_admit(identity, bb_slice(domain, strlen(domain)),
                             bb_slice(mechanism, strlen(mechanism)), bb_slice(key, key_length),
                             principal);
}

// Goal: listed keys are let in under their own name; on peer sockets nodes only.
static void s_test_listed(void **state)
{
    (void)state;
    bb_config_t config;
    bb_identity_t *identity = bb_identity_new(s_config(&config));
    bb_principal_t principal;
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(s_admit(identity, "peer", "CURVE", s_nodes[i].public_key, 32, &principal));
        assert_int_equal(principal.role, BB_ROLE_NODE);
        assert_string_equal(principal.name, s_nodes[i].id);
        assert_true(s_admit(identity, "client", "CURVE", s_nodes[i].public_key, 32, &principal));
    }
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(s_admit(identity, "client", "CURVE", s_users[i].public_key, 32, &principal));
        assert_int_equal(principal.role, s_users[i].role);
        assert_string_equal(principal.name, s_users[i].name);
        assert_false(s_admit(identity, "peer", "CURVE", s_users[i].public_key, 32, &principal));
    }
    bb_identity_destroy(&identity);
}

// Goal: everything else is refused.
static void s_test_refused(void **state)
{
    (void)state;
    bb_config_t config;
    bb_identity_t *identity = bb_identity_new(s_config(&config));
    bb_principal_t principal = {0};
    uint8_t stranger[64];
    memset(stranger, 99, sizeof stranger);
    const uint8_t *known = s_users[2].public_key;
    assert_false(s_admit(identity, "client", "CURVE", stranger, 32, &principal));
    assert_false(s_admit(identity, "client", "CURVE", known, 31, &principal));
    assert_false(s_admit(identity, "client", "CURVE", known, 0, &principal));
    assert_false(s_admit(identity, "client", "CURVE", stranger, 64, &principal));
    assert_false(s_admit(identity, "client", "NULL", known, 32, &principal));
    assert_false(s_admit(identity, "client", "PLAIN", known, 32, &principal));
    assert_false(s_admit(identity, "client", "GSSAPI", known, 32, &principal));
    assert_false(s_admit(identity, "client", "curve", known, 32, &principal));
    assert_false(s_admit(identity, "client", "", known, 32, &principal));
    assert_false(s_admit(identity, "", "CURVE", known, 32, &principal));
    assert_false(s_admit(identity, "clients", "CURVE", known, 32, &principal));
    assert_false(s_admit(identity, "global", "CURVE", known, 32, &principal));
    uint8_t nearly[32];
    memcpy(nearly, known, sizeof nearly);
    nearly[31] ^= 1;
    assert_false(s_admit(identity, "client", "CURVE", nearly, 32, &principal));
    assert_int_equal(principal.role, 0); // untouched
    bb_identity_destroy(&identity);
    assert_null(identity);
}

// Goal: a principal survives its text form, and nothing else passes as one.
static void s_test_principal_text(void **state)
{
    (void)state;
    bb_principal_t principal = {.role = BB_ROLE_NODE, .name = "n2"}, parsed;
    char text[BB_PRINCIPAL_BYTES_MAX + 1];
    assert_int_equal(bb_principal_format(&principal, text), 7);
    assert_string_equal(text, "node:n2");
    assert_true(bb_principal_parse(text, &parsed));
    assert_int_equal(parsed.role, BB_ROLE_NODE);
    assert_string_equal(parsed.name, "n2");
    assert_true(bb_principal_parse("writer:a:b", &parsed)); // the first colon separates
    assert_string_equal(parsed.name, "a:b");
    char long_name[80] = "admin:";
    memset(long_name + 6, 'x', BB_NODE_ID_BYTES_MAX);
    assert_true(bb_principal_parse(long_name, &parsed));
    long_name[6 + BB_NODE_ID_BYTES_MAX] = 'x';
    const char *const bad[] = {"",        "node", "node:",    ":n1",     "root:n1",
                               "Node:n1", "n1",   " node:n1", long_name, "averyveryverylongrole:x"};
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        assert_false(bb_principal_parse(bad[i], &parsed));
    }
}

// Goal: the table of roles and kinds, in full. Method: the sentence in the header, spelled out.
static void s_test_roles(void **state)
{
    (void)state;
    const struct {
        bb_kind_t kind;
        bool writer, reader, admin;
    } table[] = {
        {BB_KIND_HELLO, true, true, true},
        {BB_KIND_WRITE, true, false, true},
        {BB_KIND_QUERY, false, true, true},
        {BB_KIND_STATUS, true, true, true},
        {BB_KIND_SETTLE, false, false, true},
        {BB_KIND_RELEASE, false, false, true},
        {BB_KIND_SCRUB, false, false, true},
        {BB_KIND_SCRUB_REPLY, false, false, false},
        {BB_KIND_HELLO_REPLY, false, false, false},
        {BB_KIND_WRITE_REPLY, false, false, false},
        {BB_KIND_RESULT, false, false, false},
        {BB_KIND_ERROR, false, false, false},
        {BB_KIND_HEARTBEAT, false, false, false},
        {BB_KIND_REPLICATE, false, false, false},
        {BB_KIND_REPLICATE_ACK, false, false, false},
        {BB_KIND_HAVE, false, false, false},
        {BB_KIND_HAVE_REQUEST, false, false, false},
        {BB_KIND_PULL, false, false, false},
        {BB_KIND_PULL_DONE, false, false, false},
        {BB_KIND_REGISTRY, false, false, false},
        {(bb_kind_t)0, false, false, false},
        {(bb_kind_t)99, false, false, false},
    };
    for (size_t i = 0; i < BB_COUNT_OF(table); i++) {
        assert_int_equal(bb_role_allows(BB_ROLE_WRITER, table[i].kind), table[i].writer);
        assert_int_equal(bb_role_allows(BB_ROLE_READER, table[i].kind), table[i].reader);
        assert_int_equal(bb_role_allows(BB_ROLE_ADMIN, table[i].kind), table[i].admin);
        assert_false(bb_role_allows(BB_ROLE_NODE, table[i].kind));
        assert_false(bb_role_allows((bb_role_t)0, table[i].kind));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_listed),
        cmocka_unit_test(s_test_refused),
        cmocka_unit_test(s_test_principal_text),
        cmocka_unit_test(s_test_roles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
