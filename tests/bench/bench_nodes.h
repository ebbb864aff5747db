// SPDX-License-Identifier: Apache-2.0
// bench_nodes - the processes of a cluster that somebody else has started: their CPU time
// and their anonymous memory, as /proc says.
#ifndef BENCH_NODES_H
#define BENCH_NODES_H

#include <pthread.h>
#include <stdatomic.h>

#include "protocol/bb_base.h"

#define BENCH_NODES_MAX 16

typedef struct {
    char directory[4096]; // of the cluster
    int pids[BENCH_NODES_MAX];
    int count;
    // The sampler, between watch and unwatch.
    pthread_t thread;
    _Atomic bool is_watched;
    _Atomic uint64_t anonymous_bytes_max; // largest sum over the nodes
    _Atomic uint64_t largest_bytes_max;   // of a single one
} bench_nodes_t;

// Reads the pid files; false: no node is up.
bool bench_nodes_find(bench_nodes_t *self, const char *cluster_directory);
// User and system CPU time of all, in seconds.
double bench_nodes_cpu_s(const bench_nodes_t *self);
// RssAnon of all at this moment.
uint64_t bench_nodes_anonymous_bytes(const bench_nodes_t *self);
// A thread looks every 20 ms for the peak. unwatch gives it in MiB of one node (the mean).
void bench_nodes_watch(bench_nodes_t *self);
double bench_nodes_unwatch_mib(bench_nodes_t *self);
// Of the node that had most, at its own worst moment; after unwatch.
double bench_nodes_largest_mib(const bench_nodes_t *self);

#endif
