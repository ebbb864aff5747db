// SPDX-License-Identifier: Apache-2.0
// Configuration and client files: what is read, what is printed, and every rule broken once.
#include "cluster-config/bb_config.h"

#include "cluster-config/bb_yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

// Keys of 32 equal bytes 1, 2, 3... in Z85, made by s_setup.
static char s_keys[8][BB_CURVE_TEXT_BYTES];
static char s_folder[] = "/tmp/busbar-config-XXXXXX";

static int s_setup(void **state)
{
    (void)state;
    for (uint8_t i = 0; i < 8; i++) {
        uint8_t bytes[32];
        memset(bytes, i + 1, sizeof bytes);
        bb_z85_encode(bytes, sizeof bytes, s_keys[i]);
    }
    return mkdtemp(s_folder) ? 0 : -1;
}

static int s_teardown(void **state)
{
    (void)state;
    return rmdir(s_folder);
}

// Line numbers matter below: cluster 1-8, node 9-12, nodes 13-24, users 25-27.
static const char *s_good(void)
{
    static char text[4096];
    snprintf(text, sizeof text,
             "cluster:\n"
             "  name: demo\n"
             "  id: 00112233445566778899aabbccddeeff\n"
             "  placement_key: ffeeddccbbaa99887766554433221100\n"
             "  partitions: 64\n"
             "  replicas:\n"
             "    dc1: 2\n"
             "    dc2: 1\n"
             "node:\n"
             "  id: n2\n"
             "  data_dir: data\n"
             "  key_file: /keys/node.key\n"
             "nodes:\n"
             "  - {id: n1, dc: dc1, host: 127.0.0.1, client_port: 7001,\n"
             "     peer_port: 7002, bulk_port: 7003, http_port: 7004,\n"
             "     public_key: \"%s\"}\n"
             "  - {id: n2, dc: dc1, rack: r1, weight: 50, host: 127.0.0.2, client_port: 7001,\n"
             "     peer_port: 7002, bulk_port: 7003, http_port: 7004,\n"
             "     public_key: \"%s\"}\n"
             "  - id: n3\n"
             "    dc: dc2\n"
             "    host: node-3.example.org\n"
             "    {ports}\n"
             "    public_key: \"%s\"\n"
             "users:\n"
             "  - {name: ann, role: admin, public_key: \"%s\"}\n"
             "  - {name: wim, role: writer, public_key: \"%s\"}\n",
             s_keys[0], s_keys[1], s_keys[2], s_keys[3], s_keys[4]);
    return text;
}

// `text` with the first `from` replaced by `to`; malloc'd.
static char *s_with(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    if (!at) {
        fail_msg("the test text has no '%s'", from);
    }
    char *out = malloc(strlen(text) + strlen(to) + 1);
    sprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return out;
}

// The good text; {ports} stands for one line, so that line numbers stay.
static char *s_base(void)
{
    char *text = s_with(s_good(), "    {ports}",
                        "    client_port: 1\n    peer_port: 2\n    bulk_port: 3\n"
                        "    http_port: 65535");
    return text;
}

static void config_reads_everything(void **state)
{
    (void)state;
    char *text = s_base();
    bb_config_t *config = NULL;
    bb_fault_t fault = {0};
    if (bb_config_parse(text, strlen(text), "/etc/bb/busbard.yaml", &config, &fault) != BB_OK) {
        fail_msg("%s", fault.text);
    }
    assert_string_equal(config->cluster_name, "demo");
    assert_int_equal(config->cluster_id[1], 0x11);
    assert_int_equal(config->placement_key[0], 0xff);
    assert_int_equal(config->partition_count, 64);
    assert_int_equal(config->epoch, 1);
    assert_int_equal(config->dc_link_bytes_per_s, 0);
    assert_int_equal(bb_config_link_share(config), 0);
    assert_int_equal(config->default_write_level, BB_LEVEL_LOCAL_QUORUM);
    assert_int_equal(config->default_read_level, BB_LEVEL_LOCAL_QUORUM);
    assert_int_equal(config->dc_count, 2);
    assert_string_equal(config->dcs[1].name, "dc2");
    assert_int_equal(config->dcs[0].replica_count, 2);
    assert_string_equal(config->node_id, "n2");
    assert_int_equal(config->node_index, 1);
    assert_string_equal(config->data_dir, "/etc/bb/data"); // relative to the file
    assert_string_equal(config->key_file, "/keys/node.key");
    assert_int_equal(config->store_count, 1);
    assert_int_equal(config->memory_bytes, 256 << 20);
    assert_int_equal(config->disk_reserve_bytes, 0);
    assert_int_equal(config->scrub_bytes_per_s, 8 << 20);
    assert_int_equal(config->journal_budget_bytes, UINT64_C(16) << 30);
    assert_int_equal(config->repair_bytes_per_s, 1 << 20);
    assert_int_equal(config->log_level, BB_LOG_INFO);
    assert_int_equal(config->limits.peer_queue_bytes, 64 << 20);
    assert_true(config->limits.suspect_ns == BB_NS_PER_S);
    assert_int_equal(config->node_count, 3);
    assert_string_equal(config->nodes[1].rack, "r1");
    assert_int_equal(config->nodes[1].weight, 50);
    assert_int_equal(config->nodes[0].weight, 100);
    assert_string_equal(config->nodes[2].host, "node-3.example.org");
    assert_int_equal(config->nodes[2].http_port, 65535);
    assert_int_equal(config->nodes[2].public_key[31], 3);
    assert_int_equal(config->user_count, 2);
    assert_string_equal(config->users[1].name, "wim");
    assert_int_equal(config->users[1].role, BB_ROLE_WRITER);
    bb_topology_t *topology = NULL;
    assert_int_equal(bb_config_topology(config, &topology, &fault), BB_OK);
    assert_int_equal(bb_topology_self_index(topology), 1);
    assert_int_equal(bb_topology_replica_count(topology), 3);
    assert_int_equal(bb_topology_replicas(topology, 9)[2], 2); // the only node of dc2
    bb_topology_destroy(&topology);
    bb_config_destroy(&config);
    assert_null(config);
    free(text);
}

// Goal: what is printed is what is in effect. Method: print, load, print again; equal.
static void config_print_loads_to_the_same(void **state)
{
    (void)state;
    char *base = s_base();
    char *capped = s_with(base, "  replicas:",
                          "  dc_link_bytes_per_s: 8MiB\n  default_write_level: each_quorum\n"
                          "  default_read_level: one\n  replicas:");
    char *text = s_with(capped, "  key_file:",
                        "  stores: 2\n  memory_bytes: 1GiB\n  log_level: debug\n"
                        "  disk_reserve_bytes: 3GiB\n  scrub_bytes_per_s: 64KiB\n"
                        "  journal_budget_bytes: 5GiB\n  repair_bytes_per_s: 7MiB\n"
                        "  limits: {in_flight_bytes: 16MiB, heartbeat: 50ms, suspect: 1m30s,\n"
                        "           scan_threads: 7}\n  key_file:");
    bb_config_t *config = NULL;
    bb_fault_t fault = {0};
    assert_int_equal(bb_config_parse(text, strlen(text), "/a \"b\"/c.yaml", &config, &fault),
                     BB_OK);
    assert_int_equal(config->limits.scan_threads, 7);
    assert_int_equal(bb_config_link_share(config), 2 << 20); // of two nodes and two stores
    assert_int_equal(config->default_write_level, BB_LEVEL_EACH_QUORUM);
    assert_int_equal(config->default_read_level, BB_LEVEL_ONE);
    assert_int_equal(config->disk_reserve_bytes, UINT64_C(3) << 30);
    assert_int_equal(config->scrub_bytes_per_s, 64 << 10);
    assert_int_equal(config->journal_budget_bytes, UINT64_C(5) << 30);
    assert_int_equal(config->repair_bytes_per_s, 7 << 20);
    assert_true(config->limits.suspect_ns == 90 * BB_NS_PER_S);
    char *first = NULL;
    char *second = NULL;
    size_t first_length = 0;
    size_t second_length = 0;
    FILE *out = open_memstream(&first, &first_length);
    bb_config_print(config, out);
    fclose(out);
    assert_non_null(strstr(first, "in_flight_bytes: 16777216"));
    assert_non_null(strstr(first, "peer_queue_bytes: 67108864")); // a default is shown
    assert_non_null(strstr(first, "suspect: 1m30s"));
    bb_config_t *again = NULL;
    if (bb_config_parse(first, first_length, "/elsewhere/d.yaml", &again, &fault) != BB_OK) {
        fail_msg("%s\n%s", fault.text, first);
    }
    out = open_memstream(&second, &second_length);
    bb_config_print(again, out);
    fclose(out);
    assert_string_equal(first, second);
    bb_config_destroy(&config);
    bb_config_destroy(&again);
    free(first);
    free(second);
    free(text);
    free(capped);
    free(base);
}

// Goal: each rule refuses with file, line, key. Method: one replacement in the good text.
static void config_refuses(void **state)
{
    (void)state;
    const struct {
        const char *from;
        const char *to;
        const char *expected;
    } cases[] = {
        {"cluster:\n", "colour: red\ncluster:\n", "f.yaml:1: key 'colour': is not known"},
        {"  name: demo\n", "  name: demo\n  size: 3\n", "f.yaml:3: key 'cluster.size': is not"},
        {"  name: demo\n", "  name: demo\n  name: x\n",
         "f.yaml:3: key 'cluster.name': is given twice"},
        {"  name: demo\n", "", "f.yaml:2: key 'cluster.name': is missing"},
        {"  name: demo\n", "  name: [demo]\n", "key 'cluster.name': must be a single value"},
        {"  replicas:\n", "  default_read_level: most\n  replicas:\n",
         "key 'cluster.default_read_level': must be one, local_quorum"},
        {"  name: demo\n", "  name:\n", "f.yaml:2: key 'cluster.name': must be 1 to 32"},
        {"  name: demo\n", "  name: a/b\n", "key 'cluster.name': must be 1 to 32"},
        {"  name: demo\n", "  name: .hidden\n", "key 'cluster.name': must be 1 to 32"},
        {"00112233445566778899aabbccddeeff", "0011", "f.yaml:3: key 'cluster.id': must be 32 hex"},
        {"00112233445566778899aabbccddeeff", "0011223344556677889gaabbccddeeff",
         "key 'cluster.id': must be 32 hex"},
        {"partitions: 64", "partitions: 63", "f.yaml:5: key 'cluster.partitions': must be a power"},
        {"partitions: 64", "partitions: 0", "must be a whole number from 1 to 16384"},
        {"partitions: 64", "partitions: 32768", "must be a whole number from 1 to 16384"},
        {"partitions: 64", "partitions: \"64\"", "must be a whole number"},
        {"partitions: 64", "partitions: 6.4", "must be a whole number"},
        {"partitions: 64", "partitions: -64", "must be a whole number"},
        {"partitions: 64", "partitions: 99999999999999999999", "must be a whole number"},
        {"partitions: 64", "partitions: 64\n  epoch: 0", "key 'cluster.epoch': must be a whole"},
        {"    dc1: 2\n", "    dc1: 3\n",
         "f.yaml:7: key 'cluster.replicas.dc1': 3 replicas need 3 nodes; there are 2"},
        {"    dc1: 2\n", "    dc1: x\n", "key 'cluster.replicas.dc1': must be a whole number"},
        {"    dc1: 2\n", "    dc1: 2\n    dc1: 1\n", "key 'cluster.replicas.dc1': is given twice"},
        {"    dc1: 2\n", "", "key 'nodes[0].dc': 'dc1' is not in cluster.replicas"},
        {"    dc1: 2\n    dc2: 1\n", "    dc1: 0\n    dc2: 0\n", "1 to 16 replicas in all"},
        {"  replicas:\n    dc1: 2\n    dc2: 1\n", "  replicas: 3\n",
         "key 'cluster.replicas': must be a mapping"},
        {"  id: n2\n", "  id: n9\n", "f.yaml:10: key 'node.id': 'n9' is not in nodes"},
        {"  data_dir: data\n", "", "f.yaml:10: key 'node.data_dir': is missing"},
        {"  data_dir: data\n", "  data_dir: \"\"\n", "key 'node.data_dir': must be a text"},
        {"  data_dir: data\n", "  data_dir: ~\n", "key 'node.data_dir': must be a text"},
        {"  data_dir: data\n", "  data_dir: data\n  stores: 65\n", "key 'node.stores': must be"},
        {"  data_dir: data\n", "  data_dir: data\n  memory_bytes: 1MiB\n",
         "f.yaml:12: key 'node.memory_bytes': must be a size from 16777216"},
        {"  data_dir: data\n", "  data_dir: data\n  memory_bytes: 64MB\n", "must be a size"},
        {"  data_dir: data\n", "  data_dir: data\n  memory_bytes: 99999999999TiB\n",
         "must be a size"},
        {"  data_dir: data\n", "  data_dir: data\n  log_level: loud\n",
         "key 'node.log_level': must be debug, info, warning or error"},
        {"  data_dir: data\n", "  data_dir: data\n  limits: {heartbeat: 5}\n",
         "key 'node.limits.heartbeat': must be a duration from 10ms to 1m"},
        {"  data_dir: data\n", "  data_dir: data\n  limits: {suspect: 199ms}\n",
         "key 'node.limits.suspect': must be at least two heartbeats"},
        {"  data_dir: data\n", "  data_dir: data\n  limits: {speed: 9}\n",
         "key 'node.limits.speed': is not known"},
        {"  data_dir: data\n", "  data_dir: data\n  limits: []\n",
         "key 'node.limits': must be a mapping"},
        {"id: n1, dc", "id: n2, dc", "key 'nodes[1].id': 'n2' is listed twice"},
        {"id: n1, dc", "Id: n1, dc", "key 'nodes[0].Id': is not known"},
        {"host: 127.0.0.1,", "host: 127.0.0.256,", "f.yaml:14: key 'nodes[0].host': '127.0.0.256'"},
        {"host: 127.0.0.1,", "host: \"a b\",", "is not an IPv4 or IPv6 address or host name"},
        {"host: 127.0.0.1,", "host: -x,", "is not an IPv4 or IPv6 address or host name"},
        {"host: 127.0.0.1,", "host: \"a..b\",", "is not an IPv4 or IPv6 address or host name"},
        {"host: 127.0.0.1,", "host: \"tcp://x\",", "is not an IPv4 or IPv6 address or host name"},
        {"host: 127.0.0.1,", "host: \"[127.0.0.1]\",", "is not an IPv4 or IPv6 address"},
        {"host: 127.0.0.1,", "host: \"::1::\",", "is not an IPv4 or IPv6 address"},
        {"host: 127.0.0.1,", "host: \"[::1\",", "is not an IPv4 or IPv6 address"},
        {"host: 127.0.0.1,", "host: \"fe80::1%eth0\",", "is not an IPv4 or IPv6 address"},
        {"host: 127.0.0.1,", "host: \"\",", "key 'nodes[0].host': must be a text"},
        {"client_port: 7001", "client_port: 0", "key 'nodes[0].client_port': must be a whole"},
        {"client_port: 7001", "client_port: 65536", "key 'nodes[0].client_port': must be a whole"},
        {"client_port: 7001", "client_port: 7004",
         "127.0.0.1:7004 is also the client_port of node 'n1'"},
        {"host: 127.0.0.2, client_port: 7001", "host: 127.0.0.1, client_port: 8001",
         "127.0.0.1:7002 is also the peer_port of node 'n1'"},
        {"weight: 50", "weight: 0", "key 'nodes[1].weight': must be a whole number"},
        {"rack: r1", "rack: \"r 1\"", "key 'nodes[1].rack': must be empty or a name"},
        {"nodes:\n", "nodes: []\nmore:\n", "key 'more': is not known"},
        {"role: admin", "role: root", "key 'users[0].role': must be writer, reader or admin"},
        {"role: admin", "role: node", "key 'users[0].role': must be writer, reader or admin"},
        {"name: wim", "name: ann", "key 'users[1].name': 'ann' is listed twice"},
        {"users:\n", "users: 5\nx:\n", "key 'x': is not known"},
        {"cluster:\n", "---\na: b\n---\ncluster:\n", "a second document"},
        {"  name: demo\n", "  name: \"demo\n", "f.yaml:"},
        {"  name: demo\n", "\tname: demo\n", "f.yaml:"},
    };
    char *base = s_base();
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        char *text = s_with(base, cases[i].from, cases[i].to);
        bb_config_t *config = NULL;
        bb_fault_t fault = {0};
        bb_error_t error = bb_config_parse(text, strlen(text), "f.yaml", &config, &fault);
        if (error != BB_ERR_CONFIG || !strstr(fault.text, cases[i].expected) ||
            strncmp(fault.text, "f.yaml:", 7) != 0) {
            fail_msg("case %zu: expected '%s', got %s '%s'", i, cases[i].expected,
                     bb_error_name(error), fault.text);
        }
        assert_null(config);
        free(text);
    }
    free(base);
}

// Goal: one key is one identity: not of two nodes, two users, or a node and a user.
static void config_refuses_shared_and_bad_keys(void **state)
{
    (void)state;
    char *base = s_base();
    const struct {
        int from;
        int to;
        const char *expected;
    } cases[] = {
        {1, 0, "key 'nodes[1].public_key': is also that of node 'n1'"},
        {4, 3, "key 'users[1].public_key': is also that of user 'ann'"},
        {3, 2, "key 'users[0].public_key': is also that of node 'n3'"},
        {0, 7, ""},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        char *text = s_with(base, s_keys[cases[i].from], s_keys[cases[i].to]);
        bb_config_t *config = NULL;
        bb_fault_t fault = {0};
        bb_error_t error = bb_config_parse(text, strlen(text), "f.yaml", &config, &fault);
        assert_int_equal(error, cases[i].expected[0] ? BB_ERR_CONFIG : BB_OK);
        assert_non_null(strstr(fault.text, cases[i].expected));
        bb_config_destroy(&config);
        free(text);
    }
    char *text = s_with(base, s_keys[0], "short");
    bb_config_t *config = NULL;
    bb_fault_t fault = {0};
    assert_int_equal(bb_config_parse(text, strlen(text), "f.yaml", &config, &fault), BB_ERR_CONFIG);
    assert_string_equal(fault.text,
                        "f.yaml:16: key 'nodes[0].public_key': must be 40 characters of Z85");
    free(text);
    free(base);
}

// Goal: files that are not there, not files, or no mapping at all.
static void config_refuses_what_is_no_configuration(void **state)
{
    (void)state;
    bb_config_t *config = NULL;
    bb_fault_t fault = {0};
    assert_int_equal(bb_config_load("/nonexistent/busbard.yaml", &config, &fault),
                     BB_ERR_NOT_FOUND);
    assert_non_null(strstr(fault.text, "/nonexistent/busbard.yaml"));
    assert_int_equal(bb_config_load(s_folder, &config, &fault), BB_ERR_CONFIG);
    const char *texts[] = {"",  "\n",      "- a\n- b\n", "just text\n",  "# nothing\n",
                           "{", "a: b: c", "&x {a: *x}", "? [a]\n: b\n", "\xff\xfe\x00"};
    for (size_t i = 0; i < BB_COUNT_OF(texts); i++) {
        fault.text[0] = '\0';
        if (bb_config_parse(texts[i], strlen(texts[i]), "f.yaml", &config, &fault) !=
                BB_ERR_CONFIG ||
            strncmp(fault.text, "f.yaml:", 7) != 0) {
            fail_msg("text %zu: '%s'", i, fault.text);
        }
    }
    char *large = malloc(2 << 20);
    memset(large, 35, 2 << 20); // one long comment
    char path[64];
    snprintf(path, sizeof path, "%s/large.yaml", s_folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fwrite(large, 1, (1 << 20) + 1, file);
    fclose(file);
    assert_int_equal(bb_config_load(path, &config, &fault), BB_ERR_CONFIG);
    assert_non_null(strstr(fault.text, "larger than"));
    unlink(path);
    free(large);
}

// Goal: the key file must be this node's.
static void config_load_key_checks_the_owner(void **state)
{
    (void)state;
    bb_curve_pair_t pair;
    bb_curve_pair_t loaded;
    bb_fault_t fault = {0};
    char path[64];
    char public_text[BB_CURVE_TEXT_BYTES];
    snprintf(path, sizeof path, "%s/node.key", s_folder);
    assert_int_equal(bb_curve_pair_generate(&pair), BB_OK);
    bb_z85_encode(pair.public_key, 32, public_text);
    char *base = s_base();
    char *text = s_with(base, "/keys/node.key", path);
    char *mine = s_with(text, s_keys[1], public_text);
    bb_config_t *config = NULL;
    assert_int_equal(bb_config_parse(mine, strlen(mine), "f.yaml", &config, &fault), BB_OK);
    assert_int_equal(bb_config_load_key(config, &loaded, &fault), BB_ERR_NOT_FOUND);
    assert_int_equal(bb_curve_pair_write(path, "node:n2", &pair, &fault), BB_OK);
    assert_int_equal(bb_config_load_key(config, &loaded, &fault), BB_OK);
    assert_memory_equal(&pair, &loaded, sizeof pair);
    bb_config_destroy(&config);
    assert_int_equal(bb_config_parse(text, strlen(text), "f.yaml", &config, &fault), BB_OK);
    assert_int_equal(bb_config_load_key(config, &loaded, &fault), BB_ERR_KEY);
    assert_non_null(strstr(fault.text, "n2"));
    bb_config_destroy(&config);
    unlink(path);
    free(base);
    free(text);
    free(mine);
}

// ---- client files ----

static char s_client_path[64];

static void s_put_client(const char *text, mode_t mode)
{
    snprintf(s_client_path, sizeof s_client_path, "%s/client.yaml", s_folder);
    FILE *file = fopen(s_client_path, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    chmod(s_client_path, mode);
}

static const char *s_client_good(void)
{
    static char text[2048];
    snprintf(text, sizeof text,
             "cluster: {name: demo, id: 00112233445566778899aabbccddeeff}\n"
             "user: {name: ann, key_file: ann.key}\n"
             "dc: dc2\n"
             "nodes:\n"
             "  - {id: n1, dc: dc1, endpoint: \"tcp://127.0.0.1:7001\", public_key: \"%s\"}\n"
             "  - {id: n2, dc: dc2, endpoint: \"tcp://host-b:65535\", public_key: \"%s\"}\n",
             s_keys[0], s_keys[1]);
    return text;
}

static void client_file_reads_key_file_or_key_in_place(void **state)
{
    (void)state;
    bb_curve_pair_t pair;
    bb_fault_t fault = {0};
    char key_path[64];
    snprintf(key_path, sizeof key_path, "%s/ann.key", s_folder);
    assert_int_equal(bb_curve_pair_generate(&pair), BB_OK);
    assert_int_equal(bb_curve_pair_write(key_path, "admin:ann", &pair, &fault), BB_OK);
    s_put_client(s_client_good(), 0644); // holds no secret itself
    bb_client_file_t *file = NULL;
    if (bb_client_file_load(s_client_path, &file, &fault) != BB_OK) {
        fail_msg("%s", fault.text);
    }
    assert_string_equal(file->cluster_name, "demo");
    assert_int_equal(file->cluster_id[15], 0xff);
    assert_string_equal(file->user_name, "ann");
    assert_string_equal(file->dc, "dc2");
    assert_int_equal(file->node_count, 2);
    assert_string_equal(file->nodes[1].endpoint, "tcp://host-b:65535");
    assert_int_equal(file->nodes[1].public_key[0], 2);
    assert_memory_equal(&file->key, &pair, sizeof pair);
    bb_client_file_destroy(&file);
    unlink(key_path);
    assert_int_equal(bb_client_file_load(s_client_path, &file, &fault), BB_ERR_NOT_FOUND);

    char secret[BB_CURVE_TEXT_BYTES];
    char public_text[BB_CURVE_TEXT_BYTES];
    char in_place[256];
    bb_z85_encode(pair.secret_key, 32, secret);
    bb_z85_encode(pair.public_key, 32, public_text);
    snprintf(in_place, sizeof in_place, "secret_key: \"%s\", public_key: \"%s\"", secret,
             public_text);
    char *text = s_with(s_client_good(), "key_file: ann.key", in_place);
    s_put_client(text, 0644);
    assert_int_equal(bb_client_file_load(s_client_path, &file, &fault), BB_ERR_PERMISSION);
    s_put_client(text, 0600);
    assert_int_equal(bb_client_file_load(s_client_path, &file, &fault), BB_OK);
    assert_memory_equal(&file->key, &pair, sizeof pair);
    bb_client_file_destroy(&file);
    free(text);
    unlink(s_client_path);
}

static void client_file_refuses(void **state)
{
    (void)state;
    const struct {
        const char *from;
        const char *to;
        const char *expected;
    } cases[] = {
        {"cluster: {", "cluster: {size: 1, ", ":1: key 'cluster.size': is not known"},
        {"dc: dc2\n", "dc: dc3\n", ":3: key 'dc': no node is in data centre 'dc3'"},
        {"dc: dc2\n", "dc: dc2\nfoo: 1\n", ":4: key 'foo': is not known"},
        {"key_file: ann.key", "role: admin", "key 'user.role': is not known"},
        {", key_file: ann.key", "", "key 'user': needs either key_file or secret_key"},
        {"key_file: ann.key", "key_file: a, secret_key: b", "needs either key_file or"},
        {"key_file: ann.key", "secret_key: b", "key 'user.secret_key': must be 40 characters"},
        {"id: n2", "id: n1", "key 'nodes[1].id': 'n1' is listed twice"},
        {"tcp://host-b:65535", "tcp://127.0.0.1:7001", "is also that of node 'n1'"},
        {"tcp://host-b:65535", "tcp://host-b:65536", "is not tcp://HOST:PORT"},
        {"tcp://host-b:65535", "tcp://host-b:0", "is not tcp://HOST:PORT"},
        {"tcp://host-b:65535", "tcp://host-b", "is not tcp://HOST:PORT"},
        {"tcp://host-b:65535", "ipc://host-b:1", "is not tcp://HOST:PORT"},
        {"tcp://host-b:65535", "tcp://:1", "is not tcp://HOST:PORT"},
        {"tcp://host-b:65535", "tcp://::1:7000", "is not tcp://HOST:PORT"},
        {"tcp://host-b:65535", "tcp://[::1]", "is not tcp://HOST:PORT"},
        {"tcp://host-b:65535", "tcp://[::g]:1", "is not tcp://HOST:PORT"},
        {"tcp://host-b:65535", "tcp://1.2.3:1", "is not tcp://HOST:PORT"},
        {"public_key: \"", "public_key: \"~", "key 'nodes[0].public_key': must be 40 characters"},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        char *text = s_with(s_client_good(), cases[i].from, cases[i].to);
        s_put_client(text, 0600);
        bb_client_file_t *file = NULL;
        bb_fault_t fault = {0};
        bb_error_t error = bb_client_file_load(s_client_path, &file, &fault);
        if (error != BB_ERR_CONFIG || !strstr(fault.text, cases[i].expected)) {
            fail_msg("case %zu: expected '%s', got %s '%s'", i, cases[i].expected,
                     bb_error_name(error), fault.text);
        }
        assert_null(file);
        free(text);
    }
    unlink(s_client_path);
    bb_client_file_t *file = NULL;
    assert_int_equal(bb_client_file_load(s_client_path, &file, NULL), BB_ERR_NOT_FOUND);
}

static void role_names(void **state)
{
    (void)state;
    const char *names[] = {"node", "writer", "reader", "admin"};
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(bb_role_of_name(names[i]), i + 1);
        assert_string_equal(bb_role_name((bb_role_t)(i + 1)), names[i]);
    }
    assert_int_equal(bb_role_of_name("Admin"), 0);
    assert_int_equal(bb_role_of_name(""), 0);
}

// Goal: IPv6 addresses with and without brackets are taken, equal ones become equal texts, and
// where an address is written it has brackets. Expected texts: RFC 5952, section 4.
static void ipv6_hosts(void **state)
{
    (void)state;
    const struct {
        const char *given, *taken, *written;
    } cases[] = {
        {"::1", "::1", "[::1]"},
        {"[::1]", "::1", "[::1]"},
        {"0:0:0:0:0:0:0:1", "::1", "[::1]"},
        {"[2001:DB8:0:0:0:0:0:A]", "2001:db8::a", "[2001:db8::a]"},
        {"::1234:5678", "::18.52.86.120", "[::18.52.86.120]"}, // as inet_ntop has it
        {"[::1234:5678]", "::18.52.86.120", "[::18.52.86.120]"},
        {"192.0.2.1", "192.0.2.1", "192.0.2.1"},
        {"Host-b.example", "Host-b.example", "Host-b.example"},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        char host[BB_HOST_BYTES_MAX + 1], written[BB_HOST_BYTES_MAX + 3];
        snprintf(host, sizeof host, "%s", cases[i].given);
        assert_true(bb_host_take(host));
        assert_string_equal(host, cases[i].taken);
        bb_host_format(host, written);
        assert_string_equal(written, cases[i].written);
    }
    const char *const bad[] = {"", "[]", "[", "::1]", "[::1]]", "1::2::3", "[a]", "::1/64"};
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        char host[BB_HOST_BYTES_MAX + 1];
        snprintf(host, sizeof host, "%s", bad[i]);
        assert_false(bb_host_take(host));
        assert_string_equal(host, bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv6_hosts),
        cmocka_unit_test(config_reads_everything),
        cmocka_unit_test(config_print_loads_to_the_same),
        cmocka_unit_test(config_refuses),
        cmocka_unit_test(config_refuses_shared_and_bad_keys),
        cmocka_unit_test(config_refuses_what_is_no_configuration),
        cmocka_unit_test(config_load_key_checks_the_owner),
        cmocka_unit_test(client_file_reads_key_file_or_key_in_place),
        cmocka_unit_test(client_file_refuses),
        cmocka_unit_test(role_names),
    };
    return cmocka_run_group_tests_name("bb_config", tests, s_setup, s_teardown);
}
