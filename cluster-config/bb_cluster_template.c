// SPDX-License-Identifier: Apache-2.0
#include "cluster-config/bb_cluster_template.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster-config/bb_yaml.h"

#define S_PORTS_PER_NODE 4
#define S_PORT_FIRST     10240 // below are registered services
#define S_PORT_TRIES     256

// ---- arguments ----

// The next "name<separator>value" of a comma-separated list; false at its end.
typedef struct {
    const char *at;
    bb_slice_t name;
    bb_slice_t value;
} s_pairs_t;

static bool s_next_pair(s_pairs_t *pairs, char separator)
{
    if (*pairs->at == '\0') {
        return false;
    }
    size_t length = strcspn(pairs->at, ",");
    const char *middle = memchr(pairs->at, separator, length);
    size_t name_length = middle ? (size_t)(middle - pairs->at) : length;
    pairs->name = bb_slice(pairs->at, name_length);
    pairs->value = middle ? bb_slice(middle + 1, length - name_length - 1) : bb_slice(NULL, 0);
    pairs->at += length;
    if (pairs->at[0] == ',') {
        pairs->at += pairs->at[1] == '\0' ? 0 : 1; // a comma at the end stays and is refused
    }
    return true;
}

static bool s_copy(char *out, size_t size, bb_slice_t text)
{
    if (text.length >= size) {
        return false;
    }
    memcpy(out, text.data, text.length);
    out[text.length] = '\0';
    return true;
}

bb_error_t bb_cluster_template_parse_dcs(bb_cluster_template_t *self, const char *text,
                                         bb_fault_t *fault)
{
    s_pairs_t pairs = {.at = text};
    self->dc_count = 0;
    while (s_next_pair(&pairs, ':')) {
        if (self->dc_count == BB_DCS_MAX) {
            return bb_fault_set(fault, BB_ERR_USAGE, "'%s': at most %d data centres", text,
                                BB_DCS_MAX);
        }
        bb_template_dc_t *dc = &self->dcs[self->dc_count];
        char number[8] = "";
        if (!bb_name_is_valid(pairs.name.data, pairs.name.length) || pairs.value.length == 0 ||
            !s_copy(number, sizeof number, pairs.value) ||
            strspn(number, "0123456789") != strlen(number) || atoi(number) < 1 ||
            atoi(number) > BB_NODES_MAX) {
            return bb_fault_set(fault, BB_ERR_USAGE,
                                "'%s': data centres are written NAME:NODES,NAME:NODES with 1 to "
                                "%d nodes",
                                text, BB_NODES_MAX);
        }
        (void)s_copy(dc->name, sizeof dc->name, pairs.name); // a valid name fits
        dc->node_count = (uint32_t)atoi(number);
        for (uint32_t i = 0; i < self->dc_count; i++) {
            if (strcmp(self->dcs[i].name, dc->name) == 0) {
                return bb_fault_set(fault, BB_ERR_USAGE, "'%s': data centre '%s' is given twice",
                                    text, dc->name);
            }
        }
        self->dc_count++;
    }
    return self->dc_count > 0 ? BB_OK
                              : bb_fault_set(fault, BB_ERR_USAGE, "no data centre is given");
}

bb_error_t bb_cluster_template_parse_hosts(bb_cluster_template_t *self, const char *text,
                                           bb_fault_t *fault)
{
    s_pairs_t pairs = {.at = text};
    self->host_count = 0;
    while (s_next_pair(&pairs, '=')) {
        if (self->host_count == BB_NODES_MAX) {
            return bb_fault_set(fault, BB_ERR_USAGE, "at most %d hosts", BB_NODES_MAX);
        }
        bb_template_host_t *host = &self->hosts[self->host_count];
        if (!bb_name_is_valid(pairs.name.data, pairs.name.length) || pairs.value.length == 0 ||
            !s_copy(host->host, sizeof host->host, pairs.value) || !bb_host_take(host->host)) {
            return bb_fault_set(fault, BB_ERR_USAGE,
                                "'%.200s': hosts are written NAME=ADDRESS,NAME=ADDRESS with IPv4 "
                                "or IPv6 addresses or host names",
                                text);
        }
        (void)s_copy(host->name, sizeof host->name, pairs.name); // a valid name fits
        for (uint32_t i = 0; i < self->host_count; i++) {
            if (strcmp(self->hosts[i].name, host->name) == 0 ||
                strcmp(self->hosts[i].host, host->host) == 0) {
                return bb_fault_set(fault, BB_ERR_USAGE, "host '%s' (%s) is given twice",
                                    host->name, host->host);
            }
        }
        self->host_count++;
    }
    return self->host_count > 0 ? BB_OK : bb_fault_set(fault, BB_ERR_USAGE, "no host is given");
}

uint32_t bb_cluster_template_node_count(const bb_cluster_template_t *self)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->dc_count; i++) {
        count += self->dcs[i].node_count;
    }
    return count;
}

// ---- the plan: every value that the files need, decided before anything is written ----

typedef struct {
    const bb_cluster_template_t *template;
    char name[BB_NODE_ID_BYTES_MAX + 1];
    uint8_t id[16];
    uint8_t placement_key[16];
    uint32_t partition_count;
    uint32_t store_count;
    uint32_t node_count;
    bb_config_node_t *nodes;
    bb_curve_pair_t *node_keys;
    bb_curve_pair_t user_keys[3];
    bb_sign_pair_t cluster_key;
} s_plan_t;

static const struct {
    const char *name;
    bb_role_t role;
    const char *file;
} s_users[3] = {
    {"admin", BB_ROLE_ADMIN, "client.yaml"},
    {"writer", BB_ROLE_WRITER, "writer.yaml"},
    {"reader", BB_ROLE_READER, "reader.yaml"},
};

static uint32_t s_replicas(const bb_cluster_template_t *template, uint32_t dc)
{
    uint32_t nodes = template->dcs[dc].node_count;
    return template->replica_count ? template->replica_count : BB_MIN(nodes, 3u);
}

static bb_error_t s_check(const bb_cluster_template_t *template, bb_fault_t *fault)
{
    uint32_t nodes = bb_cluster_template_node_count(template);
    uint32_t partitions = template->partition_count;
    if (nodes < 1 || nodes > BB_NODES_MAX || template->dc_count < 1) {
        return bb_fault_set(fault, BB_ERR_USAGE, "1 to %d nodes are possible, not %u", BB_NODES_MAX,
                            nodes);
    }
    if (template->host_count != 0 && template->host_count != nodes) {
        return bb_fault_set(fault, BB_ERR_USAGE,
                            "%u hosts are given for %u nodes; each node has "
                            "one host",
                            template->host_count, nodes);
    }
    if (partitions > BB_PARTITIONS_MAX || (partitions & (partitions - 1)) != 0) {
        return bb_fault_set(fault, BB_ERR_USAGE,
                            "partitions must be a power of two up to %d, "
                            "not %u",
                            BB_PARTITIONS_MAX, partitions);
    }
    if (template->store_count > BB_STORES_MAX) {
        return bb_fault_set(fault, BB_ERR_USAGE, "1 to %d stores are possible, not %u",
                            BB_STORES_MAX, template->store_count);
    }
    uint32_t total = 0;
    for (uint32_t i = 0; i < template->dc_count; i++) {
        total += s_replicas(template, i);
        if (s_replicas(template, i) > template->dcs[i].node_count) {
            return bb_fault_set(
                fault, BB_ERR_USAGE, "--rf %u needs as many nodes; data centre '%s' has %u",
                template->replica_count, template->dcs[i].name, template->dcs[i].node_count);
        }
    }
    if (total > BB_REPLICAS_MAX) {
        return bb_fault_set(fault, BB_ERR_USAGE,
                            "%u replicas of each partition in all; at most "
                            "%d are possible",
                            total, BB_REPLICAS_MAX);
    }
    return BB_OK;
}

static bool s_ports_are_free(void *context, const char *host, uint16_t port_first, uint32_t count,
                             bool *is_local)
{
    (void)context;
    *is_local = true;
    bool free_ports = true;
    for (uint32_t i = 0; i < count && free_ports; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)(port_first + i))};
        int yes = 1;
        int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        free_ports = probe >= 0 && inet_pton(AF_INET, host, &address.sin_addr) == 1 &&
                     setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
                     bind(probe, (struct sockaddr *)&address, sizeof address) == 0 &&
                     listen(probe, 1) == 0;
        if (!free_ports && errno == EADDRNOTAVAIL) {
            *is_local = false;
        }
        if (probe >= 0) {
            close(probe);
        }
    }
    return free_ports;
}

// Where outgoing connections begin to take their ports from.
static uint32_t s_ephemeral_first(void)
{
    unsigned first = 32768;
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    if (file) {
        if (fscanf(file, "%u", &first) != 1) {
            first = 32768;
        }
        fclose(file);
    }
    return first;
}

static void s_set_ports(bb_config_node_t *node, uint16_t first)
{
    node->client_port = first;
    node->peer_port = (uint16_t)(first + 1);
    node->bulk_port = (uint16_t)(first + 2);
    node->http_port = (uint16_t)(first + 3);
}

// Gives every node 127.0.0.N and the ports from `first`; where the machine has only 127.0.0.1, one
// block of ports after the other there. False when some are taken.
static bool s_try_ports(s_plan_t *plan, uint16_t first)
{
    const bb_cluster_template_t *template = plan->template;
    bb_ports_are_free_fn are_free =
        template->ports_are_free ? template->ports_are_free : s_ports_are_free;
    for (uint32_t i = 0; i < plan->node_count; i++) {
        bb_config_node_t *node = &plan->nodes[i];
        bool is_local = true;
        uint16_t port = first;
        snprintf(node->host, sizeof node->host, "127.0.%u.%u", i / 254, i % 254 + 1);
        bool found =
            are_free(template->ports_context, node->host, port, S_PORTS_PER_NODE, &is_local);
        if (!is_local) {
            strcpy(node->host, "127.0.0.1");
            port = (uint16_t)(first + S_PORTS_PER_NODE * i);
            found =
                are_free(template->ports_context, node->host, port, S_PORTS_PER_NODE, &is_local);
        }
        if (!found) {
            return false;
        }
        s_set_ports(node, port);
    }
    return true;
}

static bb_error_t s_find_ports(s_plan_t *plan, bb_fault_t *fault)
{
    uint32_t limit = s_ephemeral_first();
    uint32_t spread = S_PORTS_PER_NODE * plan->node_count;
    if (limit < S_PORT_FIRST + 4096 || limit > 65535) {
        limit = 65535; // an unusual machine: take what there is
    }
    for (int i = 0; i < S_PORT_TRIES; i++) {
        uint32_t random = 0;
        bb_error_t error = bb_random_bytes(&random, sizeof random);
        if (error != BB_OK) {
            return bb_fault_set(fault, error, "no random numbers");
        }
        uint32_t blocks = (limit - S_PORT_FIRST - spread) / S_PORTS_PER_NODE;
        if (s_try_ports(plan, (uint16_t)(S_PORT_FIRST + random % blocks * S_PORTS_PER_NODE))) {
            return BB_OK;
        }
    }
    return bb_fault_set(fault, BB_ERR_PORT_IN_USE, "no free ports were found on loopback");
}

// The last part of the folder's name, with everything else replaced by '-'.
static void s_name_of_folder(const char *directory, char out[BB_NODE_ID_BYTES_MAX + 1])
{
    char resolved[PATH_MAX];
    const char *path = realpath(directory, resolved) ? resolved : directory;
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/') {
        end--;
    }
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') {
        start--;
    }
    size_t length = BB_MIN(end - start, (size_t)BB_NODE_ID_BYTES_MAX);
    for (size_t i = 0; i < length; i++) {
        const char tried[2] = {'a', path[start + i]}; // any place but the first
        out[i] = bb_name_is_valid(tried, 2) ? path[start + i] : '-';
    }
    out[length] = '\0';
    if (!bb_name_is_valid(out, length)) {
        strcpy(out, "busbar");
    }
}

static bb_error_t s_generate_keys(s_plan_t *plan)
{
    bb_error_t error = bb_random_bytes(plan->id, sizeof plan->id);
    if (error == BB_OK) {
        error = bb_random_bytes(plan->placement_key, sizeof plan->placement_key);
    }
    if (error == BB_OK) {
        error = bb_sign_pair_generate(&plan->cluster_key);
    }
    for (uint32_t i = 0; i < BB_COUNT_OF(s_users) && error == BB_OK; i++) {
        error = bb_curve_pair_generate(&plan->user_keys[i]);
    }
    for (uint32_t i = 0; i < plan->node_count && error == BB_OK; i++) {
        error = bb_curve_pair_generate(&plan->node_keys[i]);
        memcpy(plan->nodes[i].public_key, plan->node_keys[i].public_key, 32);
    }
    return error;
}

static bb_error_t s_plan(s_plan_t *plan, const bb_cluster_template_t *template,
                         const char *directory, bb_fault_t *fault)
{
    bb_error_t error = s_check(template, fault);
    if (error != BB_OK) {
        return error;
    }
    plan->template = template;
    if (!template->name) {
        s_name_of_folder(directory, plan->name);
    } else if (bb_name_is_valid(template->name, strlen(template->name))) {
        strcpy(plan->name, template->name);
    } else {
        return bb_fault_set(fault, BB_ERR_USAGE,
                            "the name '%.64s' must be 1 to %d letters, digits, '.', '_' or '-'",
                            template->name, BB_NODE_ID_BYTES_MAX);
    }
    plan->partition_count =
        template->partition_count ? template->partition_count : BB_PARTITIONS_DEFAULT;
    plan->store_count = template->store_count ? template->store_count : 1;
    plan->node_count = bb_cluster_template_node_count(template);
    plan->nodes = bb_alloc_zero(plan->node_count, sizeof *plan->nodes);
    plan->node_keys = bb_alloc_zero(plan->node_count, sizeof *plan->node_keys);
    uint32_t index = 0;
    for (uint32_t dc = 0; dc < template->dc_count; dc++) {
        for (uint32_t i = 0; i < template->dcs[dc].node_count; i++, index++) {
            bb_config_node_t *node = &plan->nodes[index];
            snprintf(node->id, sizeof node->id, "n%u", index + 1);
            strcpy(node->dc, template->dcs[dc].name);
            node->weight = BB_PLACEMENT_WEIGHT_DEFAULT;
            if (template->host_count) {
                strcpy(node->host, template->hosts[index].host);
                s_set_ports(node, BB_PORT_CLIENT_DEFAULT);
            }
        }
    }
    error = s_generate_keys(plan);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "no random numbers for keys");
    }
    return template->host_count ? BB_OK : s_find_ports(plan, fault);
}

static void s_plan_end(s_plan_t *plan)
{
    free(plan->nodes);
    if (plan->node_keys) {
        bb_keys_wipe(plan->node_keys, plan->node_count * sizeof *plan->node_keys);
        free(plan->node_keys);
    }
    bb_keys_wipe(plan, sizeof *plan);
}

// ---- writing ----

static bb_error_t s_fault_of_errno(const char *doing, const char *path, bb_fault_t *fault)
{
    int number = errno;
    bb_error_t error = number == EACCES || number == EPERM || number == EROFS ? BB_ERR_PERMISSION
                       : number == ENOSPC || number == EDQUOT                 ? BB_ERR_DISK_FULL
                       : number == EEXIST || number == ENOTEMPTY              ? BB_ERR_EXISTS
                                                                              : BB_ERR_IO;
    return bb_fault_set(fault, error, "cannot %s '%s': %s", doing, path, strerror(number));
}

// Path of a file below a folder; paths are bounded when the folder is taken in.
typedef struct {
    char text[PATH_MAX + 128];
} s_path_t;

static s_path_t s_join(const char *folder, const char *format, ...) BB_PRINTF(2, 3);

static s_path_t s_join(const char *folder, const char *format, ...)
{
    s_path_t path;
    int length = snprintf(path.text, sizeof path.text, "%s/", folder);
    va_list arguments;
    va_start(arguments, format);
    length += vsnprintf(path.text + length, sizeof path.text - (size_t)length, format, arguments);
    va_end(arguments);
    BB_ASSERT(length < (int)sizeof path.text);
    return path;
}

static bb_error_t s_mkdir(const char *path, bb_fault_t *fault)
{
    return mkdir(path, 0700) == 0 ? BB_OK : s_fault_of_errno("create folder", path, fault);
}

// Opens a new file for writing; 0600 whatever the umask.
static bb_error_t s_create(const char *path, FILE **file, bb_fault_t *fault)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    *file = descriptor >= 0 ? fdopen(descriptor, "w") : NULL;
    if (!*file) {
        bb_error_t error = s_fault_of_errno("create", path, fault);
        if (descriptor >= 0) {
            close(descriptor);
        }
        return error;
    }
    return BB_OK;
}

static bb_error_t s_finish(FILE *file, const char *path, bb_fault_t *fault)
{
    bool failed = fflush(file) != 0 || ferror(file) || fsync(fileno(file)) != 0;
    bb_error_t error = failed ? s_fault_of_errno("write", path, fault) : BB_OK;
    if (fclose(file) != 0 && error == BB_OK) {
        error = s_fault_of_errno("close", path, fault);
    }
    return error;
}

static void s_print_hex(FILE *out, const char *key, const uint8_t *bytes, size_t length)
{
    fprintf(out, "  %s: \"", key);
    for (size_t i = 0; i < length; i++) {
        fprintf(out, "%02x", bytes[i]);
    }
    fprintf(out, "\"\n");
}

static bb_error_t s_write_node_file(const s_plan_t *plan, uint32_t index, const char *path,
                                    bb_fault_t *fault)
{
    FILE *out = NULL;
    bb_error_t error = s_create(path, &out, fault);
    if (error != BB_OK) {
        return error;
    }
    char key[BB_CURVE_TEXT_BYTES];
    fprintf(out,
            "# busbard of node %s; the same in every node but for the section node.\n"
            "# Paths are relative to this file. `busbard --check --config FILE` shows all "
            "settings.\ncluster:\n  name: \"%s\"\n",
            plan->nodes[index].id, plan->name);
    s_print_hex(out, "id", plan->id, sizeof plan->id);
    s_print_hex(out, "placement_key", plan->placement_key, sizeof plan->placement_key);
    fprintf(out, "  partitions: %u # fixed at creation\n  epoch: 1\n  replicas:\n",
            plan->partition_count);
    for (uint32_t i = 0; i < plan->template->dc_count; i++) {
        fprintf(out, "    \"%s\": %u\n", plan->template->dcs[i].name,
                s_replicas(plan->template, i));
    }
    fprintf(out,
            "node:\n  id: %s\n  data_dir: data\n  key_file: node.key\n"
            "  stores: %u # fixed once there is data\n  memory_bytes: 256MiB\n"
            "  log_level: info\nnodes:\n",
            plan->nodes[index].id, plan->store_count);
    for (uint32_t i = 0; i < plan->node_count; i++) {
        const bb_config_node_t *node = &plan->nodes[i];
        bb_z85_encode(node->public_key, 32, key);
        fprintf(out,
                "  - id: %s\n    dc: \"%s\"\n    host: \"%s\"\n    client_port: %u\n"
                "    peer_port: %u\n    bulk_port: %u\n    http_port: %u\n"
                "    public_key: \"%s\"\n",
                node->id, node->dc, node->host, node->client_port, node->peer_port, node->bulk_port,
                node->http_port, key);
    }
    fprintf(out, "users:\n");
    for (uint32_t i = 0; i < BB_COUNT_OF(s_users); i++) {
        bb_z85_encode(plan->user_keys[i].public_key, 32, key);
        fprintf(out, "  - name: %s\n    role: %s\n    public_key: \"%s\"\n", s_users[i].name,
                bb_role_name(s_users[i].role), key);
    }
    return s_finish(out, path, fault);
}

static bb_error_t s_write_client_file(const s_plan_t *plan, uint32_t user, const char *path,
                                      bb_fault_t *fault)
{
    FILE *out = NULL;
    bb_error_t error = s_create(path, &out, fault);
    if (error != BB_OK) {
        return error;
    }
    char key[BB_CURVE_TEXT_BYTES];
    fprintf(out,
            "# How %s (role %s) reaches the cluster. Holds a secret key: keep it private.\n"
            "cluster:\n  name: \"%s\"\n",
            s_users[user].name, bb_role_name(s_users[user].role), plan->name);
    s_print_hex(out, "id", plan->id, sizeof plan->id);
    bb_z85_encode(plan->user_keys[user].public_key, 32, key);
    fprintf(out, "user:\n  name: %s\n  public_key: \"%s\"\n", s_users[user].name, key);
    bb_z85_encode(plan->user_keys[user].secret_key, 32, key);
    fprintf(out, "  secret_key: \"%s\"\ndc: \"%s\" # preferred\nnodes:\n", key, plan->nodes[0].dc);
    for (uint32_t i = 0; i < plan->node_count; i++) {
        const bb_config_node_t *node = &plan->nodes[i];
        char host[BB_HOST_BYTES_MAX + 3];
        bb_host_format(node->host, host);
        bb_z85_encode(node->public_key, 32, key);
        fprintf(out,
                "  - id: %s\n    dc: \"%s\"\n    endpoint: \"tcp://%s:%u\"\n"
                "    public_key: \"%s\"\n",
                node->id, node->dc, host, node->client_port, key);
    }
    bb_keys_wipe(key, sizeof key);
    return s_finish(out, path, fault);
}

static bb_error_t s_write_node(const s_plan_t *plan, uint32_t index, const char *folder,
                               bb_fault_t *fault)
{
    char name[BB_KEY_NAME_BYTES_MAX + 1];
    const char *id = plan->nodes[index].id;
    snprintf(name, sizeof name, "node:%s", id);
    bb_error_t error = s_mkdir(s_join(folder, "nodes/%s", id).text, fault);
    if (error == BB_OK) {
        error = s_mkdir(s_join(folder, "nodes/%s/data", id).text, fault);
    }
    if (error == BB_OK) {
        error = bb_curve_pair_write(s_join(folder, "nodes/%s/node.key", id).text, name,
                                    &plan->node_keys[index], fault);
    }
    if (error == BB_OK) {
        error =
            s_write_node_file(plan, index, s_join(folder, "nodes/%s/busbard.yaml", id).text, fault);
    }
    if (error == BB_OK && plan->template->host_count) {
        s_path_t link = s_join(folder, "hosts/%s", plan->template->hosts[index].name);
        if (symlink(s_join("..", "nodes/%s", id).text, link.text) != 0) {
            error = s_fault_of_errno("create link", link.text, fault);
        }
    }
    return error;
}

static bb_error_t s_write_all(const s_plan_t *plan, const char *folder, bb_fault_t *fault)
{
    char name[BB_KEY_NAME_BYTES_MAX + 1];
    snprintf(name, sizeof name, "cluster:%s", plan->name);
    bb_error_t error =
        bb_sign_pair_write(s_join(folder, "cluster.key").text, name, &plan->cluster_key, fault);
    if (error == BB_OK) {
        error = s_mkdir(s_join(folder, "nodes").text, fault);
    }
    if (error == BB_OK && plan->template->host_count) {
        error = s_mkdir(s_join(folder, "hosts").text, fault);
    }
    for (uint32_t i = 0; i < plan->node_count && error == BB_OK; i++) {
        error = s_write_node(plan, i, folder, fault);
    }
    for (uint32_t i = 0; i < BB_COUNT_OF(s_users) && error == BB_OK; i++) {
        error = s_write_client_file(plan, i, s_join(folder, "%s", s_users[i].file).text, fault);
    }
    return error;
}

// ---- all or nothing ----

// Creates the folder and those above it; *created tells whether it was not there.
static bb_error_t s_make_folder(const char *directory, bool *created, bb_fault_t *fault)
{
    char path[PATH_MAX];
    *created = false;
    if (snprintf(path, sizeof path, "%s", directory) >= (int)sizeof path || path[0] == '\0') {
        return bb_fault_set(fault, BB_ERR_USAGE, "'%.64s' is no folder name", directory);
    }
    for (char *at = path + 1;; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        char kept = *at;
        *at = '\0';
        *created = mkdir(path, 0700) == 0;
        if (!*created && errno != EEXIST) {
            return s_fault_of_errno("create folder", path, fault);
        }
        *at = kept;
        if (kept == '\0') {
            return BB_OK;
        }
    }
}

static bb_error_t s_expect_empty(const char *directory, bb_fault_t *fault)
{
    DIR *folder = opendir(directory);
    if (!folder) {
        return s_fault_of_errno("open folder", directory, fault);
    }
    bb_error_t error = BB_OK;
    for (struct dirent *entry; error == BB_OK && (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            error =
                bb_fault_set(fault, BB_ERR_EXISTS,
                             "'%s' is not empty; a cluster needs a new or empty folder", directory);
        }
    }
    closedir(folder);
    return error;
}

static int s_remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    return remove(path);
}

// Moves what was written into place. client.yaml comes last: who finds it finds the rest.
static bb_error_t s_move_into_place(const char *staging, const char *directory, bool has_hosts,
                                    bb_fault_t *fault)
{
    const char *const names[] = {"cluster.key", "nodes",       "hosts",
                                 "reader.yaml", "writer.yaml", "client.yaml"};
    for (size_t i = 0; i < BB_COUNT_OF(names); i++) {
        if (strcmp(names[i], "hosts") == 0 && !has_hosts) {
            continue;
        }
        s_path_t from = s_join(staging, "%s", names[i]);
        s_path_t to = s_join(directory, "%s", names[i]);
        if (rename(from.text, to.text) != 0) {
            return s_fault_of_errno("move into place", to.text, fault);
        }
    }
    return BB_OK;
}

bb_error_t bb_cluster_template_write(const bb_cluster_template_t *self, const char *directory,
                                     bb_fault_t *fault)
{
    BB_ASSERT(self);
    BB_ASSERT(directory);
    bool created = false;
    bb_error_t error = s_check(self, fault); // before anything is touched
    if (error == BB_OK) {
        error = s_make_folder(directory, &created, fault);
    }
    if (error != BB_OK) {
        return error;
    }
    s_path_t staging = s_join(directory, ".init-XXXXXX");
    s_plan_t plan = {0};
    bool staged = false;
    error = s_expect_empty(directory, fault);
    if (error == BB_OK) {
        error = s_plan(&plan, self, directory, fault);
    }
    if (error == BB_OK) {
        staged = mkdtemp(staging.text) != NULL;
        error = staged ? BB_OK : s_fault_of_errno("create folder", staging.text, fault);
    }
    if (error == BB_OK) {
        error = s_write_all(&plan, staging.text, fault);
    }
    if (error == BB_OK) {
        error = s_move_into_place(staging.text, directory, self->host_count > 0, fault);
    }
    if (staged) {
        (void)nftw(staging.text, s_remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
    if (error != BB_OK && created) {
        (void)rmdir(directory);
    }
    s_plan_end(&plan);
    return error;
}
