// SPDX-License-Identifier: Apache-2.0
// bb_config - reads busbard.yaml and client.yaml strictly, and prints what is in effect.
//
// Strict: unknown keys, keys given twice, wrong types and values out of range are refused as
// "file:line: key 'nodes[1].client_port': rule". Relative paths are relative to the file. What is
// not given takes the default that stands beside its field here, and bb_config_print shows it.
// A loaded configuration is plain data that never changes; any thread may read it.
//
// busbard.yaml:
//   cluster:
//     name: demo
//     id: 00112233445566778899aabbccddeeff
//     placement_key: 00112233445566778899aabbccddeeff
//     partitions: 1024
//     epoch: 1
//     replicas: {dc1: 3}
//     dc_link_bytes_per_s: 0
//     default_write_level: local_quorum
//     default_read_level: local_quorum
//   node:
//     id: n1
//     data_dir: data
//     key_file: node.key
//     stores: 1
//     memory_bytes: 256MiB
//     disk_reserve_bytes: 0
//     scrub_bytes_per_s: 8MiB
//     journal_budget_bytes: 16GiB
//     repair_bytes_per_s: 1MiB
//     log_level: info
//     limits: {in_flight_bytes: 64MiB, ...}
//   nodes:
//     - {id: n1, dc: dc1, rack: "", weight: 100, host: 127.0.0.1, client_port: 7711,
//        peer_port: 7712, bulk_port: 7713, http_port: 7714, public_key: "..."}
//   users:
//     - {name: admin, role: admin, public_key: "..."}
//   retention: [...]       bb_config_policy.h; absent: everything is kept for ever
//   rollups: [...]
//   watch: [...]           bb_config_watch.h; absent: nothing is noticed
#ifndef BB_CONFIG_H
#define BB_CONFIG_H

#include <stdio.h>

#include "cluster-config/bb_config_policy.h"
#include "cluster-config/bb_config_watch.h"
#include "cluster-config/bb_topology.h"
#include "protocol/bb_keys.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_PATH_BYTES_MAX 1023
#define BB_HOST_BYTES_MAX 255
// A host as addresses have it: with brackets round an IPv6 one (tcp://[::1]:7711).
void bb_host_format(const char *host, char out[BB_HOST_BYTES_MAX + 3]);
#define BB_USERS_MAX 1024

// Stable numbers. A user has one role; a node's key has the role node.
typedef enum {
    BB_ROLE_NODE = 1,
    BB_ROLE_WRITER = 2,
    BB_ROLE_READER = 3,
    BB_ROLE_ADMIN = 4,
} bb_role_t;

const char *bb_role_name(bb_role_t role);
uint32_t bb_role_of_name(const char *name); // 0: no such role

typedef enum {
    BB_LOG_DEBUG = 1,
    BB_LOG_INFO = 2,
    BB_LOG_WARNING = 3,
    BB_LOG_ERROR = 4,
} bb_log_level_t;

const char *bb_log_level_name(bb_log_level_t level); // debug, info, warning, error

typedef struct {
    char name[BB_NODE_ID_BYTES_MAX + 1];
    uint32_t replica_count;
} bb_config_dc_t;

typedef struct {
    char id[BB_NODE_ID_BYTES_MAX + 1];
    char dc[BB_NODE_ID_BYTES_MAX + 1];
    char rack[BB_NODE_ID_BYTES_MAX + 1]; // ""
    uint32_t weight;                     // 100
    char host[BB_HOST_BYTES_MAX + 1];    // address or name to bind and to connect to; no brackets
    uint16_t client_port, peer_port, bulk_port, http_port;
    uint8_t public_key[32];
} bb_config_node_t;

typedef struct {
    char name[BB_NODE_ID_BYTES_MAX + 1];
    bb_role_t role; // writer, reader or admin
    uint8_t public_key[32];
} bb_config_user_t;

// Limits of one node; all under node.limits. Sizes may be written 64MiB. Times are written with
// their unit, so their keys have none: heartbeat: 100ms.
typedef struct {
    uint64_t in_flight_bytes;    // 64 MiB: client batches not yet answered, per store; then BUSY
    uint64_t peer_queue_bytes;   // 64 MiB: waiting for one peer; then dropped, the peer pulls
    uint64_t journal_file_bytes; // 64 MiB
    uint64_t map_bytes;          // 16 GiB of address space reserved per LMDB environment
    uint32_t client_connections; // 4096
    uint32_t scan_threads;       // 2
    uint32_t io_threads;         // 2
    int64_t heartbeat_ns;        // 100 ms
    int64_t suspect_ns;          // 1 s: the longest silence of a peer that is up
    int64_t have_report_ns;      // 1 s
    int64_t flush_age_ns;        // 10 min
    int64_t drain_ns;            // 10 s
} bb_config_limits_t;

typedef struct {
    char path[BB_PATH_BYTES_MAX + 1]; // of the file itself
    // cluster
    char cluster_name[BB_NODE_ID_BYTES_MAX + 1];
    uint8_t cluster_id[16];
    uint8_t placement_key[16];
    uint32_t partition_count;
    uint32_t epoch; // 1
    uint32_t dc_count;
    bb_config_dc_t dcs[BB_DCS_MAX]; // in the order of the file
    // From all nodes of one data centre together to each other one, for chunks and repair; 0: no
    // cap. bb_config_link_share gives a store its part.
    uint64_t dc_link_bytes_per_s;
    bb_level_t default_write_level, default_read_level; // local_quorum: of requests that name none
    // node
    char node_id[BB_NODE_ID_BYTES_MAX + 1];
    uint32_t node_index; // of node_id in nodes
    char data_dir[BB_PATH_BYTES_MAX + 1];
    char key_file[BB_PATH_BYTES_MAX + 1];
    uint32_t store_count;  // 1; fixed once there is data; nodes may differ
    uint64_t memory_bytes; // 256 MiB: anonymous memory; five eighths are for the heads
    // Free space of data_dir's file system below which writes are refused; reads and sealing go on.
    // 0: the smaller of 1 GiB and 5 % of the file system.
    uint64_t disk_reserve_bytes;
    uint64_t scrub_bytes_per_s; // 8 MiB: how fast each store reads its windows again; 0 = never
    // 16 GiB: what journals may keep for replicas that are away, all stores together; 0 = no limit
    uint64_t journal_budget_bytes;
    // 1 MiB: what repair may send and take, each, besides a quarter of what is written, while that
    // is more or live batches wait; all stores together; 0 = no bound (node/ingest/bb_pace.h)
    uint64_t repair_bytes_per_s;
    bb_log_level_t log_level; // info
    bb_config_limits_t limits;
    // lists
    uint32_t node_count;
    bb_config_node_t *nodes;
    uint32_t user_count;
    bb_config_user_t *users;
    bb_policy_t *policy;     // never NULL
    bb_watch_rules_t *watch; // owned; never NULL
} bb_config_t;

// Loads and checks everything that can be checked without opening data: syntax, ranges, duplicate
// ids, names, keys and host:port pairs, RF above the nodes of a data centre. The key file is not
// read here (bb_config_load_key). Errors: CONFIG, NOT_FOUND, PERMISSION, IO; nothing to free then.
BB_MUST_CHECK bb_error_t bb_config_load(const char *path, bb_config_t **config, bb_fault_t *fault);
// The same from memory; `path` stands for the file in faults and relative paths.
BB_MUST_CHECK bb_error_t bb_config_parse(const char *text, size_t length, const char *path,
                                         bb_config_t **config, bb_fault_t *fault);
void bb_config_destroy(bb_config_t **self);

// This node's key pair; its public key must be the one that `nodes` lists (KEY).
BB_MUST_CHECK bb_error_t bb_config_load_key(const bb_config_t *self, bb_curve_pair_t *pair,
                                            bb_fault_t *fault);
// The topology that the configuration describes, with self_index set. CONFIG.
BB_MUST_CHECK bb_error_t bb_config_topology(const bb_config_t *self, bb_topology_t **topology,
                                            bb_fault_t *fault);
// What one store of this node may send to each other data centre: the cap, shared out equally among
// the nodes of its own and then among its stores; 0: no cap.
uint64_t bb_config_link_share(const bb_config_t *self);
// Writes the effective configuration as YAML that loads to the same, defaults included, secrets
// excluded.
void bb_config_print(const bb_config_t *self, FILE *out);

// client.yaml:
//   cluster: {name: demo, id: 00112233445566778899aabbccddeeff}
//   user: {name: admin, key_file: admin.key}     or secret_key and public_key in place (file 0600)
//   dc: dc1                                      preferred; may be absent
//   nodes:
//     - {id: n1, dc: dc1, endpoint: "tcp://127.0.0.1:7711",
//        public_key: "..."}
typedef struct {
    char id[BB_NODE_ID_BYTES_MAX + 1];
    char dc[BB_NODE_ID_BYTES_MAX + 1];
    char endpoint[BB_HOST_BYTES_MAX + 17]; // tcp://host:port
    uint8_t public_key[32];
} bb_client_node_t;

typedef struct {
    char path[BB_PATH_BYTES_MAX + 1];
    char cluster_name[BB_NODE_ID_BYTES_MAX + 1];
    uint8_t cluster_id[16];
    char user_name[BB_NODE_ID_BYTES_MAX + 1];
    bb_curve_pair_t key;               // loaded; wiped by _destroy
    char dc[BB_NODE_ID_BYTES_MAX + 1]; // "" = no preference
    uint32_t node_count;
    bb_client_node_t *nodes;
} bb_client_file_t;

// Loads the file and the key it names. Errors: CONFIG, KEY, NOT_FOUND, PERMISSION, IO.
BB_MUST_CHECK bb_error_t bb_client_file_load(const char *path, bb_client_file_t **file,
                                             bb_fault_t *fault);
void bb_client_file_destroy(bb_client_file_t **self);

#ifdef __cplusplus
}
#endif
#endif
