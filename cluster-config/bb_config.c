// SPDX-License-Identifier: Apache-2.0
#include "cluster-config/bb_config.h"

#include <stdlib.h>
#include <string.h>

#include "cluster-config/bb_config_private.h"

#define S_MIB (UINT64_C(1) << 20)
#define S_GIB (UINT64_C(1) << 30)

const char *bb_role_name(bb_role_t role)
{
    switch (role) {
    case BB_ROLE_NODE:
        return "node";
    case BB_ROLE_WRITER:
        return "writer";
    case BB_ROLE_READER:
        return "reader";
    case BB_ROLE_ADMIN:
        return "admin";
    }
    return "unknown";
}

uint32_t bb_role_of_name(const char *name)
{
    for (uint32_t role = BB_ROLE_NODE; role <= BB_ROLE_ADMIN; role++) {
        if (strcmp(name, bb_role_name((bb_role_t)role)) == 0) {
            return role;
        }
    }
    return 0;
}

const char *bb_log_level_name(bb_log_level_t level)
{
    switch (level) {
    case BB_LOG_DEBUG:
        return "debug";
    case BB_LOG_INFO:
        return "info";
    case BB_LOG_WARNING:
        return "warning";
    case BB_LOG_ERROR:
        return "error";
    }
    return "unknown";
}

static uint32_t s_number32(bb_yaml_map_t *map, const char *key, bool required, uint32_t min,
                           uint32_t max, uint32_t absent)
{
    uint64_t number = absent;
    bb_yaml_number(map, key, required, min, max, &number);
    return (uint32_t)number;
}

// A relative path is relative to the folder of the configuration file.
static void s_path(bb_yaml_map_t *map, const char *key, const char *file,
                   char out[BB_PATH_BYTES_MAX + 1])
{
    char given[BB_PATH_BYTES_MAX + 1] = "";
    bb_yaml_text(map, key, true, given, sizeof given);
    if (given[0] == '\0') {
        return;
    }
    const char *slash = strrchr(file, '/');
    int folder = given[0] == '/' || !slash ? 0 : (int)(slash - file + 1);
    int length = snprintf(out, BB_PATH_BYTES_MAX + 1, "%.*s%s", folder, file, given);
    if (length > BB_PATH_BYTES_MAX) {
        bb_yaml_refuse(map, key, "is longer than %d bytes with its folder", BB_PATH_BYTES_MAX);
    }
}

void bb_host_format(const char *host, char out[BB_HOST_BYTES_MAX + 3])
{
    BB_ASSERT(strlen(host) <= BB_HOST_BYTES_MAX);
    sprintf(out, strchr(host, ':') ? "[%s]" : "%s", host);
}

// ---- cluster ----

static void s_load_replicas(bb_config_t *self, bb_yaml_map_t *cluster)
{
    bb_yaml_map_t replicas = bb_yaml_map(cluster, "replicas", true);
    uint32_t count = bb_yaml_entry_count(&replicas);
    if (replicas.node && (count == 0 || count > BB_DCS_MAX)) {
        bb_yaml_refuse(&replicas, NULL, "1 to %d data centres are allowed", BB_DCS_MAX);
        return;
    }
    uint32_t total = 0;
    for (uint32_t i = 0; i < count && replicas.yaml->error == BB_OK; i++) {
        const char *name = bb_yaml_entry_key(&replicas, i);
        if (!bb_name_is_valid(name, strlen(name))) {
            bb_yaml_refuse(&replicas, NULL, "'%.64s' is no name of a data centre", name);
            return;
        }
        bb_config_dc_t *dc = &self->dcs[self->dc_count++];
        strcpy(dc->name, name); // bounded by bb_name_is_valid
        dc->replica_count = s_number32(&replicas, name, true, 0, BB_REPLICAS_MAX, 0);
        total += dc->replica_count;
    }
    if (replicas.node && (total == 0 || total > BB_REPLICAS_MAX)) {
        bb_yaml_refuse(&replicas, NULL, "1 to %d replicas in all are allowed", BB_REPLICAS_MAX);
    }
}

static bb_level_t s_level(bb_yaml_map_t *map, const char *key)
{
    char name[16] = "local_quorum";
    bb_yaml_text(map, key, false, name, sizeof name);
    uint32_t level = bb_level_of_name(name);
    if (level == 0) {
        bb_yaml_refuse(map, key, "must be one, local_quorum, quorum, each_quorum or all");
        return BB_LEVEL_LOCAL_QUORUM;
    }
    return (bb_level_t)level;
}

static void s_load_cluster(bb_config_t *self, bb_yaml_map_t *top)
{
    static const char *const keys[] = {"name",
                                       "id",
                                       "placement_key",
                                       "partitions",
                                       "epoch",
                                       "replicas",
                                       "dc_link_bytes_per_s",
                                       "default_write_level",
                                       "default_read_level",
                                       NULL};
    bb_yaml_map_t map = bb_yaml_map(top, "cluster", true);
    bb_yaml_allow(&map, keys);
    bb_yaml_name(&map, "name", true, self->cluster_name);
    bb_yaml_hex(&map, "id", self->cluster_id, sizeof self->cluster_id);
    bb_yaml_hex(&map, "placement_key", self->placement_key, sizeof self->placement_key);
    self->partition_count = s_number32(&map, "partitions", true, 1, BB_PARTITIONS_MAX, 1);
    if ((self->partition_count & (self->partition_count - 1)) != 0) {
        bb_yaml_refuse(&map, "partitions", "must be a power of two up to %d", BB_PARTITIONS_MAX);
    }
    self->epoch = s_number32(&map, "epoch", false, 1, UINT32_MAX, 1);
    bb_yaml_size(&map, "dc_link_bytes_per_s", 0, 1024 * S_GIB, &self->dc_link_bytes_per_s);
    self->default_write_level = s_level(&map, "default_write_level");
    self->default_read_level = s_level(&map, "default_read_level");
    s_load_replicas(self, &map);
}

uint64_t bb_config_link_share(const bb_config_t *self)
{
    BB_ASSERT(self);
    uint32_t count = 0;
    for (uint32_t i = 0; i < self->node_count; i++) {
        count += strcmp(self->nodes[i].dc, self->nodes[self->node_index].dc) == 0;
    }
    uint64_t share = self->dc_link_bytes_per_s / ((uint64_t)count * self->store_count);
    return self->dc_link_bytes_per_s == 0 ? 0 : BB_MAX(share, UINT64_C(1));
}

// ---- node ----

static void s_load_limits(bb_config_t *self, bb_yaml_map_t *node)
{
    static const char *const keys[] = {"in_flight_bytes",
                                       "peer_queue_bytes",
                                       "journal_file_bytes",
                                       "map_bytes",
                                       "client_connections",
                                       "scan_threads",
                                       "io_threads",
                                       "heartbeat",
                                       "suspect",
                                       "have_report",
                                       "flush_age",
                                       "drain",
                                       NULL};
    bb_config_limits_t *limits = &self->limits;
    *limits = (bb_config_limits_t){
        .in_flight_bytes = 64 * S_MIB,
        .peer_queue_bytes = 64 * S_MIB,
        .journal_file_bytes = 64 * S_MIB,
        .map_bytes = 16 * S_GIB,
        .client_connections = 4096,
        .scan_threads = 2,
        .io_threads = 2,
        .heartbeat_ns = 100 * BB_NS_PER_MS,
        .suspect_ns = BB_NS_PER_S,
        .have_report_ns = 1 * BB_NS_PER_S,
        .flush_age_ns = 600 * BB_NS_PER_S,
        .drain_ns = 10 * BB_NS_PER_S,
    };
    bb_yaml_map_t map = bb_yaml_map(node, "limits", false);
    if (!map.node) {
        return;
    }
    bb_yaml_allow(&map, keys);
    bb_yaml_size(&map, "in_flight_bytes", BB_BATCH_BYTES_MAX, 64 * S_GIB, &limits->in_flight_bytes);
    bb_yaml_size(&map, "peer_queue_bytes", BB_MESSAGE_BYTES_MAX, 64 * S_GIB,
                 &limits->peer_queue_bytes);
    bb_yaml_size(&map, "journal_file_bytes", 16 * S_MIB, 64 * S_GIB, &limits->journal_file_bytes);
    bb_yaml_size(&map, "map_bytes", 64 * S_MIB, 64 * 1024 * S_GIB, &limits->map_bytes);
    limits->client_connections =
        s_number32(&map, "client_connections", false, 1, 1 << 20, limits->client_connections);
    limits->scan_threads = s_number32(&map, "scan_threads", false, 1, 64, limits->scan_threads);
    limits->io_threads = s_number32(&map, "io_threads", false, 1, 16, limits->io_threads);
    bb_yaml_duration(&map, "heartbeat", 10 * BB_NS_PER_MS, 60 * BB_NS_PER_S, &limits->heartbeat_ns);
    bb_yaml_duration(&map, "suspect", 50 * BB_NS_PER_MS, 600 * BB_NS_PER_S, &limits->suspect_ns);
    bb_yaml_duration(&map, "have_report", 10 * BB_NS_PER_MS, 60 * BB_NS_PER_S,
                     &limits->have_report_ns);
    bb_yaml_duration(&map, "flush_age", BB_NS_PER_S, BB_NS_PER_DAY, &limits->flush_age_ns);
    bb_yaml_duration(&map, "drain", 100 * BB_NS_PER_MS, 600 * BB_NS_PER_S, &limits->drain_ns);
    if (limits->suspect_ns < 2 * limits->heartbeat_ns) {
        bb_yaml_refuse(&map, "suspect", "must be at least two heartbeats");
    }
}

static void s_load_node(bb_config_t *self, bb_yaml_map_t *top)
{
    static const char *const keys[] = {"id",
                                       "data_dir",
                                       "key_file",
                                       "stores",
                                       "memory_bytes",
                                       "disk_reserve_bytes",
                                       "log_level",
                                       "limits",
                                       "scrub_bytes_per_s",
                                       "journal_budget_bytes",
                                       "repair_bytes_per_s",
                                       NULL};
    bb_yaml_map_t map = bb_yaml_map(top, "node", true);
    bb_yaml_allow(&map, keys);
    bb_yaml_name(&map, "id", true, self->node_id);
    s_path(&map, "data_dir", self->path, self->data_dir);
    s_path(&map, "key_file", self->path, self->key_file);
    self->store_count = s_number32(&map, "stores", false, 1, BB_STORES_MAX, 1);
    self->memory_bytes = 256 * S_MIB;
    bb_yaml_size(&map, "memory_bytes", 16 * S_MIB, 1024 * S_GIB, &self->memory_bytes);
    bb_yaml_size(&map, "disk_reserve_bytes", 0, 1024 * 1024 * S_GIB, &self->disk_reserve_bytes);
    self->scrub_bytes_per_s = 8 * S_MIB;
    bb_yaml_size(&map, "scrub_bytes_per_s", 0, 1024 * S_GIB, &self->scrub_bytes_per_s);
    self->journal_budget_bytes = 16 * S_GIB;
    bb_yaml_size(&map, "journal_budget_bytes", 0, 1024 * 1024 * S_GIB, &self->journal_budget_bytes);
    self->repair_bytes_per_s = 1 * S_MIB;
    bb_yaml_size(&map, "repair_bytes_per_s", 0, 1024 * S_GIB, &self->repair_bytes_per_s);
    char level[16] = "info";
    bb_yaml_text(&map, "log_level", false, level, sizeof level);
    for (uint32_t i = BB_LOG_DEBUG; i <= BB_LOG_ERROR; i++) {
        if (strcmp(level, bb_log_level_name((bb_log_level_t)i)) == 0) {
            self->log_level = (bb_log_level_t)i;
        }
    }
    if (self->log_level == 0) {
        bb_yaml_refuse(&map, "log_level", "must be debug, info, warning or error");
    }
    s_load_limits(self, &map);
}

// ---- lists ----

static void s_check_ports(const bb_config_t *self, uint32_t index, bb_yaml_map_t *map)
{
    static const char *const names[4] = {"client_port", "peer_port", "bulk_port", "http_port"};
    const bb_config_node_t *node = &self->nodes[index];
    const uint16_t ports[4] = {node->client_port, node->peer_port, node->bulk_port,
                               node->http_port};
    for (uint32_t i = 0; i <= index; i++) {
        const bb_config_node_t *other = &self->nodes[i];
        const uint16_t others[4] = {other->client_port, other->peer_port, other->bulk_port,
                                    other->http_port};
        if (strcmp(other->host, node->host) != 0) {
            continue;
        }
        for (uint32_t j = 0; j < 4; j++) {
            for (uint32_t k = 0; k < (i == index ? j : 4); k++) {
                if (ports[j] == others[k]) {
                    bb_yaml_refuse(map, names[j], "%s:%u is also the %s of node '%s'", node->host,
                                   ports[j], names[k], other->id);
                    return;
                }
            }
        }
    }
}

static void s_check_node(bb_config_t *self, uint32_t index, bb_yaml_map_t *map)
{
    bb_config_node_t *node = &self->nodes[index];
    if (map->yaml->error != BB_OK) {
        return;
    }
    if (!bb_host_take(node->host)) {
        bb_yaml_refuse(map, "host", "'%.64s' is not an IPv4 or IPv6 address or host name",
                       node->host);
    }
    bool dc_is_known = false;
    for (uint32_t i = 0; i < self->dc_count; i++) {
        dc_is_known |= strcmp(self->dcs[i].name, node->dc) == 0;
    }
    if (!dc_is_known) {
        bb_yaml_refuse(map, "dc", "'%s' is not in cluster.replicas", node->dc);
    }
    for (uint32_t i = 0; i < index; i++) {
        if (strcmp(self->nodes[i].id, node->id) == 0) {
            bb_yaml_refuse(map, "id", "'%s' is listed twice", node->id);
        }
        if (memcmp(self->nodes[i].public_key, node->public_key, 32) == 0) {
            bb_yaml_refuse(map, "public_key", "is also that of node '%s'", self->nodes[i].id);
        }
    }
    s_check_ports(self, index, map);
}

static void s_load_nodes(bb_config_t *self, bb_yaml_map_t *top)
{
    static const char *const keys[] = {"id",        "dc",          "rack",      "weight",
                                       "host",      "client_port", "peer_port", "bulk_port",
                                       "http_port", "public_key",  NULL};
    self->node_count = bb_yaml_list_count(top, "nodes", true, BB_NODES_MAX);
    self->nodes = bb_alloc_zero(self->node_count, sizeof *self->nodes);
    for (uint32_t i = 0; i < self->node_count && top->yaml->error == BB_OK; i++) {
        bb_config_node_t *node = &self->nodes[i];
        bb_yaml_map_t map = bb_yaml_list_map(top, "nodes", i);
        bb_yaml_allow(&map, keys);
        bb_yaml_name(&map, "id", true, node->id);
        bb_yaml_name(&map, "dc", true, node->dc);
        bb_yaml_text_or_empty(&map, "rack", node->rack, sizeof node->rack);
        if (node->rack[0] != '\0' && !bb_name_is_valid(node->rack, strlen(node->rack))) {
            bb_yaml_refuse(&map, "rack", "must be empty or a name");
        }
        node->weight = s_number32(&map, "weight", false, 1, BB_PLACEMENT_WEIGHT_MAX,
                                  BB_PLACEMENT_WEIGHT_DEFAULT);
        bb_yaml_text(&map, "host", true, node->host, sizeof node->host);
        node->client_port = (uint16_t)s_number32(&map, "client_port", true, 1, 65535, 1);
        node->peer_port = (uint16_t)s_number32(&map, "peer_port", true, 1, 65535, 1);
        node->bulk_port = (uint16_t)s_number32(&map, "bulk_port", true, 1, 65535, 1);
        node->http_port = (uint16_t)s_number32(&map, "http_port", true, 1, 65535, 1);
        bb_yaml_key(&map, "public_key", node->public_key);
        s_check_node(self, i, &map);
    }
}

static void s_load_users(bb_config_t *self, bb_yaml_map_t *top)
{
    static const char *const keys[] = {"name", "role", "public_key", NULL};
    self->user_count = bb_yaml_list_count(top, "users", false, BB_USERS_MAX);
    self->users = bb_alloc_zero(self->user_count, sizeof *self->users);
    for (uint32_t i = 0; i < self->user_count && top->yaml->error == BB_OK; i++) {
        bb_config_user_t *user = &self->users[i];
        bb_yaml_map_t map = bb_yaml_list_map(top, "users", i);
        bb_yaml_allow(&map, keys);
        bb_yaml_name(&map, "name", true, user->name);
        char role[16] = "";
        bb_yaml_text(&map, "role", true, role, sizeof role);
        user->role = (bb_role_t)bb_role_of_name(role);
        if (user->role == 0 || user->role == BB_ROLE_NODE) {
            bb_yaml_refuse(&map, "role", "must be writer, reader or admin");
        }
        bb_yaml_key(&map, "public_key", user->public_key);
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(self->users[j].name, user->name) == 0) {
                bb_yaml_refuse(&map, "name", "'%s' is listed twice", user->name);
            }
            if (memcmp(self->users[j].public_key, user->public_key, 32) == 0) {
                bb_yaml_refuse(&map, "public_key", "is also that of user '%s'",
                               self->users[j].name);
            }
        }
        for (uint32_t j = 0; j < self->node_count; j++) {
            if (memcmp(self->nodes[j].public_key, user->public_key, 32) == 0) {
                bb_yaml_refuse(&map, "public_key", "is also that of node '%s'", self->nodes[j].id);
            }
        }
    }
}

// What can only be checked when everything is there.
static void s_check_whole(bb_config_t *self, bb_yaml_map_t *top)
{
    bb_yaml_map_t cluster = bb_yaml_map(top, "cluster", true);
    bb_yaml_map_t replicas = bb_yaml_map(&cluster, "replicas", true);
    for (uint32_t i = 0; i < self->dc_count; i++) {
        uint32_t count = 0;
        for (uint32_t j = 0; j < self->node_count; j++) {
            count += strcmp(self->nodes[j].dc, self->dcs[i].name) == 0;
        }
        if (self->dcs[i].replica_count > count) {
            bb_yaml_refuse(&replicas, self->dcs[i].name, "%u replicas need %u nodes; there are %u",
                           self->dcs[i].replica_count, self->dcs[i].replica_count, count);
        }
    }
    self->node_index = UINT32_MAX;
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (strcmp(self->nodes[i].id, self->node_id) == 0) {
            self->node_index = i;
        }
    }
    if (self->node_index == UINT32_MAX) {
        bb_yaml_map_t node = bb_yaml_map(top, "node", true);
        bb_yaml_refuse(&node, "id", "'%s' is not in nodes", self->node_id);
    }
}

// ---- the whole ----

bb_error_t bb_config_parse(const char *text, size_t length, const char *path, bb_config_t **config,
                           bb_fault_t *fault)
{
    BB_ASSERT(path);
    BB_ASSERT(config);
    static const char *const keys[] = {"cluster",   "node",    "nodes", "users",
                                       "retention", "rollups", "watch", NULL};
    if (strlen(path) > BB_PATH_BYTES_MAX) {
        return bb_fault_set(fault, BB_ERR_CONFIG, "the path '%.64s...' is too long", path);
    }
    bb_config_t *self = bb_alloc_zero(1, sizeof *self);
    strcpy(self->path, path);
    bb_yaml_t yaml;
    bb_yaml_map_t top = bb_yaml_open(&yaml, text, length, path, fault);
    bb_yaml_allow(&top, keys);
    s_load_cluster(self, &top);
    s_load_node(self, &top);
    s_load_nodes(self, &top);
    s_load_users(self, &top);
    s_check_whole(self, &top);
    self->policy = bb_config_policy_load(&top);
    self->watch = bb_config_watch_load(&top);
    bb_error_t error = yaml.error;
    bb_yaml_close(&yaml);
    if (error != BB_OK) {
        bb_config_destroy(&self);
        return error;
    }
    *config = self;
    return BB_OK;
}

bb_error_t bb_config_load(const char *path, bb_config_t **config, bb_fault_t *fault)
{
    char *text = NULL;
    size_t length = 0;
    bb_error_t error = bb_yaml_read_file(path, &text, &length, fault);
    if (error == BB_OK) {
        error = bb_config_parse(text, length, path, config, fault);
        free(text);
    }
    return error;
}

void bb_config_destroy(bb_config_t **self)
{
    BB_ASSERT(self);
    if (*self) {
        free((*self)->nodes);
        free((*self)->users);
        bb_policy_release(&(*self)->policy);
        free((*self)->watch);
        free(*self);
        *self = NULL;
    }
}

bb_error_t bb_config_load_key(const bb_config_t *self, bb_curve_pair_t *pair, bb_fault_t *fault)
{
    bb_error_t error = bb_curve_pair_read(self->key_file, pair, NULL, fault);
    if (error == BB_OK &&
        memcmp(pair->public_key, self->nodes[self->node_index].public_key, 32) != 0) {
        bb_keys_wipe(pair, sizeof *pair);
        error = bb_fault_set(fault, BB_ERR_KEY,
                             "key file '%s' does not hold the public_key that '%s' lists for "
                             "node '%s'",
                             self->key_file, self->path, self->node_id);
    }
    return error;
}

bb_error_t bb_config_topology(const bb_config_t *self, bb_topology_t **topology, bb_fault_t *fault)
{
    bb_placement_dc_t dcs[BB_DCS_MAX];
    for (uint32_t i = 0; i < self->dc_count; i++) {
        dcs[i] = (bb_placement_dc_t){self->dcs[i].name, self->dcs[i].replica_count};
    }
    bb_topology_node_t *nodes = bb_alloc_zero(self->node_count, sizeof *nodes);
    for (uint32_t i = 0; i < self->node_count; i++) {
        const bb_config_node_t *from = &self->nodes[i];
        nodes[i] = (bb_topology_node_t){
            .id = from->id,
            .dc = from->dc,
            .rack = from->rack,
            .weight = from->weight,
            .host = from->host,
            .client_port = from->client_port,
            .peer_port = from->peer_port,
            .bulk_port = from->bulk_port,
            .http_port = from->http_port,
        };
        memcpy(nodes[i].public_key, from->public_key, sizeof nodes[i].public_key);
    }
    bb_topology_options_t options = {
        .cluster_name = self->cluster_name,
        .epoch = self->epoch,
        .partition_count = self->partition_count,
        .dc_count = self->dc_count,
        .dcs = dcs,
        .node_count = self->node_count,
        .nodes = nodes,
        .self_index = self->node_index,
    };
    memcpy(options.cluster_id, self->cluster_id, sizeof options.cluster_id);
    memcpy(options.placement_key, self->placement_key, sizeof options.placement_key);
    bb_error_t error = bb_topology_new(&options, topology, fault);
    free(nodes);
    return error;
}
