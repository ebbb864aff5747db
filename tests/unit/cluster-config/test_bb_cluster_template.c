// SPDX-License-Identifier: Apache-2.0
// New clusters: what is written loads and fits together, secrets are private, refusals leave
// nothing behind. Ports are answered by the test, so no socket is opened.
#include "cluster-config/bb_cluster_template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

static char s_folder[] = "/tmp/busbar-template-XXXXXX";

static int s_setup(void **state)
{
    (void)state;
    return mkdtemp(s_folder) ? 0 : -1;
}

static int s_teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", s_folder);
    return system(command);
}

static const char *s_path(const char *below)
{
    static char paths[8][256];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", s_folder, below);
    return path;
}

// What the test's port function saw and says.
typedef struct {
    uint32_t calls;
    uint32_t refuse_first; // so many calls find the ports taken
    bool only_localhost;   // 127.0.0.2 and the others are not local
} s_ports_t;

static bool s_ports_are_free(void *context, const char *host, uint16_t port_first, uint32_t count,
                             bool *is_local)
{
    s_ports_t *ports = context;
    assert_int_equal(count, 4);
    assert_true(port_first >= 1024);
    ports->calls++;
    *is_local = !ports->only_localhost || strcmp(host, "127.0.0.1") == 0;
    return *is_local && ports->calls > ports->refuse_first;
}

static bb_cluster_template_t s_template(s_ports_t *ports)
{
    *ports = (s_ports_t){0};
    bb_cluster_template_t template = {.ports_are_free = s_ports_are_free, .ports_context = ports};
    bb_fault_t fault;
    assert_int_equal(bb_cluster_template_parse_dcs(&template, "dc1:3", &fault), BB_OK);
    return template;
}

static void s_write(const bb_cluster_template_t *template, const char *directory)
{
    bb_fault_t fault = {0};
    if (bb_cluster_template_write(template, directory, &fault) != BB_OK) {
        fail_msg("%s", fault.text);
    }
}

static bb_config_t *s_load(const char *path)
{
    bb_config_t *config = NULL;
    bb_fault_t fault = {0};
    if (bb_config_load(path, &config, &fault) != BB_OK) {
        fail_msg("%s", fault.text);
    }
    return config;
}

static mode_t s_mode(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        fail_msg("missing: %s", path);
    }
    return info.st_mode & 07777;
}

// Goal: what is written is a cluster: every node's file loads, they agree, each key is its node's,
// each client file's key is the user that the nodes list.
static void template_writes_a_local_cluster(void **state)
{
    (void)state;
    s_ports_t ports;
    bb_cluster_template_t template = s_template(&ports);
    template.store_count = 2;
    s_write(&template, s_path("deep/er/my_cluster"));
    bb_fault_t fault;
    uint8_t id[16] = {0};
    for (uint32_t i = 0; i < 3; i++) {
        char below[64];
        snprintf(below, sizeof below, "deep/er/my_cluster/nodes/n%u/busbard.yaml", i + 1);
        bb_config_t *config = s_load(s_path(below));
        bb_curve_pair_t pair;
        assert_int_equal(bb_config_load_key(config, &pair, &fault), BB_OK);
        assert_string_equal(config->cluster_name, "my_cluster");
        assert_int_equal(config->partition_count, BB_PARTITIONS_DEFAULT);
        assert_int_equal(config->dcs[0].replica_count, 3);
        assert_int_equal(config->store_count, 2);
        assert_int_equal(config->node_index, i);
        assert_int_equal(config->node_count, 3);
        for (uint32_t j = 0; j < 3; j++) {
            char host[16];
            snprintf(host, sizeof host, "127.0.0.%u", j + 1);
            assert_string_equal(config->nodes[j].host, host);
        }
        assert_true(i == 0 || memcmp(id, config->cluster_id, 16) == 0);
        memcpy(id, config->cluster_id, 16);
        assert_int_equal(s_mode(config->data_dir), 0700);
        assert_int_equal(s_mode(config->key_file), 0600);
        const char *files[] = {"client", "writer", "reader"};
        const bb_role_t roles[] = {BB_ROLE_ADMIN, BB_ROLE_WRITER, BB_ROLE_READER};
        for (uint32_t j = 0; j < 3; j++) {
            bb_client_file_t *client = NULL;
            snprintf(below, sizeof below, "deep/er/my_cluster/%s.yaml", files[j]);
            assert_int_equal(bb_client_file_load(s_path(below), &client, &fault), BB_OK);
            assert_int_equal(s_mode(s_path(below)), 0600);
            assert_int_equal(config->users[j].role, roles[j]);
            assert_string_equal(config->users[j].name, client->user_name);
            assert_memory_equal(config->users[j].public_key, client->key.public_key, 32);
            assert_memory_equal(client->cluster_id, id, 16);
            assert_string_equal(client->dc, "dc1");
            char endpoint[sizeof client->nodes[0].endpoint];
            snprintf(endpoint, sizeof endpoint, "tcp://%s:%u", config->nodes[i].host,
                     config->nodes[i].client_port);
            assert_string_equal(client->nodes[i].endpoint, endpoint);
            assert_memory_equal(client->nodes[i].public_key, config->nodes[i].public_key, 32);
            bb_client_file_destroy(&client);
        }
        bb_config_destroy(&config);
    }
    bb_sign_pair_t cluster_key;
    assert_int_equal(
        bb_sign_pair_read(s_path("deep/er/my_cluster/cluster.key"), &cluster_key, NULL, &fault),
        BB_OK);
    // A second time: there is something already, and it stays as it is.
    assert_int_equal(bb_cluster_template_write(&template, s_path("deep/er/my_cluster"), &fault),
                     BB_ERR_EXISTS);
    bb_config_t *config = s_load(s_path("deep/er/my_cluster/nodes/n1/busbard.yaml"));
    assert_memory_equal(config->cluster_id, id, 16);
    bb_config_destroy(&config);
}

// Goal: hosts get the fixed ports and a folder each; data centres take them in order.
static void template_writes_for_hosts(void **state)
{
    (void)state;
    s_ports_t ports;
    bb_fault_t fault = {0};
    bb_cluster_template_t template = s_template(&ports);
    template.name = "fleet";
    template.partition_count = 64;
    template.replica_count = 1;
    assert_int_equal(bb_cluster_template_parse_dcs(&template, "east:2,west:1", &fault), BB_OK);
    assert_int_equal(bb_cluster_template_parse_hosts(
                         &template, "a=192.0.2.1,b=192.0.2.2,c=host-c.example", &fault),
                     BB_OK);
    s_write(&template, s_path("hosts"));
    assert_int_equal(ports.calls, 0);
    bb_config_t *config = s_load(s_path("hosts/nodes/n3/busbard.yaml"));
    assert_string_equal(config->cluster_name, "fleet");
    assert_int_equal(config->partition_count, 64);
    assert_int_equal(config->dc_count, 2);
    assert_int_equal(config->dcs[0].replica_count, 1);
    assert_string_equal(config->nodes[0].dc, "east");
    assert_string_equal(config->nodes[2].dc, "west");
    assert_string_equal(config->nodes[1].host, "192.0.2.2");
    assert_string_equal(config->nodes[2].host, "host-c.example");
    assert_int_equal(config->nodes[2].client_port, 7711);
    assert_int_equal(config->nodes[2].http_port, 7714);
    bb_config_destroy(&config);
    config = s_load(s_path("hosts/hosts/b/busbard.yaml"));
    assert_string_equal(config->node_id, "n2");
    bb_config_destroy(&config);
}

// Goal: taken ports are passed over; a machine with one loopback address gets blocks of ports.
static void template_looks_for_ports(void **state)
{
    (void)state;
    s_ports_t ports;
    bb_cluster_template_t template = s_template(&ports);
    ports.refuse_first = 5;
    s_write(&template, s_path("ports"));
    assert_int_equal(ports.calls, 5 + 3);
    template = s_template(&ports);
    ports.only_localhost = true;
    s_write(&template, s_path("localhost"));
    bb_config_t *config = s_load(s_path("localhost/nodes/n2/busbard.yaml")); // no port twice
    assert_string_equal(config->nodes[2].host, "127.0.0.1");
    bb_config_destroy(&config);
    bb_fault_t fault = {0};
    template = s_template(&ports);
    ports.refuse_first = UINT32_MAX;
    assert_int_equal(bb_cluster_template_write(&template, s_path("none"), &fault),
                     BB_ERR_PORT_IN_USE);
    assert_int_not_equal(access(s_path("none"), F_OK), 0); // nothing is left
}

// Goal: RF is min(3, nodes of the data centre) unless given; only a larger one is refused.
static void template_replica_counts(void **state)
{
    (void)state;
    s_ports_t ports;
    bb_fault_t fault = {0};
    bb_cluster_template_t template = s_template(&ports);
    assert_int_equal(bb_cluster_template_parse_dcs(&template, "a:5,b:2,c:1", &fault), BB_OK);
    s_write(&template, s_path("rf"));
    bb_config_t *config = s_load(s_path("rf/nodes/n1/busbard.yaml"));
    assert_int_equal(config->node_count, 8);
    assert_int_equal(config->dcs[0].replica_count, 3);
    assert_int_equal(config->dcs[1].replica_count, 2);
    assert_int_equal(config->dcs[2].replica_count, 1);
    bb_config_destroy(&config);
    template.replica_count = 2;
    assert_int_equal(bb_cluster_template_write(&template, s_path("rf2"), &fault), BB_ERR_USAGE);
    assert_non_null(strstr(fault.text, "'c' has 1"));
    assert_int_not_equal(access(s_path("rf2"), F_OK), 0);
}

static void template_refuses(void **state)
{
    (void)state;
    s_ports_t ports;
    bb_fault_t fault = {0};
    const char *dcs[] = {"",       "dc1",        "dc1:",   ":3",           "dc1:0",       "dc1:257",
                         "dc1:3x", "dc1:-1",     "dc1:3,", "dc1:3,,dc2:3", "dc1:3,dc1:3", "d/c:3",
                         ",dc1:3", "dc1:3;dc2:3"};
    for (size_t i = 0; i < BB_COUNT_OF(dcs); i++) {
        bb_cluster_template_t template = {0};
        if (bb_cluster_template_parse_dcs(&template, dcs[i], &fault) != BB_ERR_USAGE) {
            fail_msg("'%s' was accepted", dcs[i]);
        }
    }
    const char *hosts[] = {"",
                           "a",
                           "a=",
                           "=192.0.2.1",
                           "a=192.0.2.1,",
                           "a=192.0.2.256",
                           "a=192.0.2.1,a=192.0.2.2",
                           "a=192.0.2.1,b=192.0.2.1",
                           "a b=192.0.2.1",
                           "a=tcp://x",
                           "a=x y"};
    for (size_t i = 0; i < BB_COUNT_OF(hosts); i++) {
        bb_cluster_template_t template = {0};
        if (bb_cluster_template_parse_hosts(&template, hosts[i], &fault) != BB_ERR_USAGE) {
            fail_msg("'%s' was accepted", hosts[i]);
        }
    }
    bb_cluster_template_t template = s_template(&ports);
    template.partition_count = 100;
    assert_int_equal(bb_cluster_template_write(&template, s_path("x"), &fault), BB_ERR_USAGE);
    template = s_template(&ports);
    template.store_count = BB_STORES_MAX + 1;
    assert_int_equal(bb_cluster_template_write(&template, s_path("x"), &fault), BB_ERR_USAGE);
    template = s_template(&ports);
    template.name = "no good";
    assert_int_equal(bb_cluster_template_write(&template, s_path("x"), &fault), BB_ERR_USAGE);
    template = s_template(&ports);
    template.replica_count = 4;
    assert_int_equal(bb_cluster_template_write(&template, s_path("x"), &fault), BB_ERR_USAGE);
    template = s_template(&ports);
    assert_int_equal(bb_cluster_template_parse_hosts(&template, "a=192.0.2.1", &fault), BB_OK);
    assert_int_equal(bb_cluster_template_write(&template, s_path("x"), &fault), BB_ERR_USAGE);
    template = s_template(&ports);
    assert_int_equal(bb_cluster_template_parse_dcs(&template, "a:6,b:6,c:6,d:6,e:6,f:6", &fault),
                     BB_OK); // 18 replicas in all
    assert_int_equal(bb_cluster_template_write(&template, s_path("x"), &fault), BB_ERR_USAGE);
    assert_int_not_equal(access(s_path("x"), F_OK), 0);
    template = s_template(&ports);
    FILE *file = fopen(s_path("file"), "w");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(bb_cluster_template_write(&template, s_path("file"), &fault), BB_ERR_IO);
    assert_int_equal(bb_cluster_template_write(&template, s_path("file/x"), &fault), BB_ERR_IO);
    assert_int_equal(bb_cluster_template_write(&template, s_folder, &fault), BB_ERR_EXISTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(template_writes_a_local_cluster),
        cmocka_unit_test(template_writes_for_hosts),
        cmocka_unit_test(template_looks_for_ports),
        cmocka_unit_test(template_replica_counts),
        cmocka_unit_test(template_refuses),
    };
    return cmocka_run_group_tests_name("bb_cluster_template", tests, s_setup, s_teardown);
}
