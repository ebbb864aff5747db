// SPDX-License-Identifier: Apache-2.0
// bb_cluster_template - everything a new cluster is made of, written into one folder.
//
//   DIR/cluster.key               Ed25519 key of the cluster, 0600
//   DIR/client.yaml               an admin's file; reader.yaml and writer.yaml lie beside it, 0600
//   DIR/nodes/n1/busbard.yaml     configuration; paths in it are relative to it
//   DIR/nodes/n1/node.key         CURVE key, 0600
//   DIR/nodes/n1/data/            data folder
//   DIR/hosts/NAME -> ../nodes/n1 with hosts only: the folder to copy to that host
//
// Without hosts every node gets a loopback address of its own (127.0.0.N) and the same four free
// ports, below the range from which outgoing connections take theirs, so that a node that was dead
// for a while finds its ports free. With hosts the ports are BB_PORT_*_DEFAULT.
// One thread; touches files and, for free ports, sockets.
#ifndef BB_CLUSTER_TEMPLATE_H
#define BB_CLUSTER_TEMPLATE_H

#include "cluster-config/bb_config.h"

#define BB_PORT_CLIENT_DEFAULT 7711
#define BB_PORT_PEER_DEFAULT   7712
#define BB_PORT_BULK_DEFAULT   7713
#define BB_PORT_HTTP_DEFAULT   7714

typedef struct {
    char name[BB_NODE_ID_BYTES_MAX + 1];
    uint32_t node_count; // >= 1
} bb_template_dc_t;

typedef struct {
    char name[BB_NODE_ID_BYTES_MAX + 1];
    char host[BB_HOST_BYTES_MAX + 1];
} bb_template_host_t;

// True when `count` ports from `port_first` can be listened on at `host`; *is_local is false when
// the machine does not have the address.
typedef bool (*bb_ports_are_free_fn)(void *context, const char *host, uint16_t port_first,
                                     uint32_t count, bool *is_local);

typedef struct {
    const char *name;  // of the cluster; NULL = the last part of the folder's name
    uint32_t dc_count; // 1.. BB_DCS_MAX
    bb_template_dc_t dcs[BB_DCS_MAX];
    uint32_t host_count; // 0 = a local cluster; else as many as nodes, in node order
    bb_template_host_t hosts[BB_NODES_MAX];
    uint32_t replica_count;              // per data centre; 0 = min(3, its nodes)
    uint32_t partition_count;            // 0 = BB_PARTITIONS_DEFAULT
    uint32_t store_count;                // 0 = 1
    bb_ports_are_free_fn ports_are_free; // NULL = ask the operating system
    void *ports_context;
} bb_cluster_template_t;

// "dc1:3,dc2:3". USAGE with a sentence.
BB_MUST_CHECK bb_error_t bb_cluster_template_parse_dcs(bb_cluster_template_t *self,
                                                       const char *text, bb_fault_t *fault);
// "a=192.0.2.1,b=192.0.2.2". USAGE with a sentence.
BB_MUST_CHECK bb_error_t bb_cluster_template_parse_hosts(bb_cluster_template_t *self,
                                                         const char *text, bb_fault_t *fault);
// Nodes of all data centres.
uint32_t bb_cluster_template_node_count(const bb_cluster_template_t *self);

// Writes it all; `directory` is created if need be. All or nothing: on an error nothing new is
// left. USAGE (numbers that do not fit together, with the rule), EXISTS (the folder is not empty),
// IO, PERMISSION, DISK_FULL.
BB_MUST_CHECK bb_error_t bb_cluster_template_write(const bb_cluster_template_t *self,
                                                   const char *directory, bb_fault_t *fault);

#endif
