// SPDX-License-Identifier: Apache-2.0
// cluster_process - the nodes of a cluster folder as processes: start, watch, signal.
//
// A node runs as `busbard --config DIR/nodes/n1/busbard.yaml`, in a session of its own, without any
// descriptor of ours, its output in busbard.log, its number in busbard.pid, both beside its
// configuration. A pid file says which process it was; whether that process still is the node is
// read from /proc/PID/cmdline, so that a stale file or a number that was given away harms nobody.
// One thread.
#ifndef CLUSTER_PROCESS_H
#define CLUSTER_PROCESS_H

#include <limits.h>
#include <sys/types.h>

#include "cluster-config/bb_config.h"

typedef struct {
    char folder[PATH_MAX];      // absolute
    char config_path[PATH_MAX]; // absolute
    char pid_path[PATH_MAX];
    char log_path[PATH_MAX];
    bb_config_t *config;
    const bb_config_node_t *self; // in config
    // What this process has started; 0 = nothing.
    pid_t child;
    int exit_status; // of the child, once child_is_gone; 128 + signal when killed
    bool child_is_gone;
    off_t log_start; // where the child's output begins
} cluster_node_t;

typedef struct {
    char folder[PATH_MAX]; // absolute
    cluster_node_t *nodes; // n1, n2, ... n10
    uint32_t node_count;
    int lock; // descriptor of the folder
} cluster_folder_t;

// Loads every nodes/*/busbard.yaml. CONFIG, NOT_FOUND, IO with a sentence.
BB_MUST_CHECK bb_error_t cluster_folder_open(const char *directory, cluster_folder_t *folder,
                                             bb_fault_t *fault);
void cluster_folder_close(cluster_folder_t *self);
// Waits until no other `busbar cluster` starts or stops nodes here. Held until _close.
BB_MUST_CHECK bb_error_t cluster_folder_lock(cluster_folder_t *self, bb_fault_t *fault);
cluster_node_t *cluster_folder_find(cluster_folder_t *self, const char *id); // or NULL

// The program beside the running one. NOT_FOUND with its path.
BB_MUST_CHECK bb_error_t cluster_busbard_path(char path[PATH_MAX], bb_fault_t *fault);

// Process number of the node; 0 = it does not run.
pid_t cluster_node_pid(cluster_node_t *self);
// True when this machine has the node's address.
bool cluster_node_is_local(const cluster_node_t *self);
// Starts it; does not wait. IO, NOT_FOUND, PERMISSION.
BB_MUST_CHECK bb_error_t cluster_node_start(cluster_node_t *self, const char *busbard,
                                            bb_fault_t *fault);
// One GET /readyz; true when it answers 200 within timeout_ms.
bool cluster_node_is_ready(const cluster_node_t *self, int timeout_ms);
// Last lines of the log since the start, for a complaint; at most `size` bytes.
void cluster_node_log_tail(const cluster_node_t *self, char *out, size_t size);

// "KILL", "SIGKILL", "kill" or "9"; 0 = no such signal.
int cluster_signal_of_name(const char *name);
const char *cluster_signal_name(int number); // "SIGKILL"; "signal" for others
// Order of node ids: n2 before n10.
int cluster_compare_ids(const char *a, const char *b);

#endif
