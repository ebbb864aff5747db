// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/bench_nodes.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/bench/bench.h"

bool bench_nodes_find(bench_nodes_t *self, const char *cluster_directory)
{
    char path[8300];
    *self = (bench_nodes_t){.count = 0};
    snprintf(self->directory, sizeof self->directory, "%s", cluster_directory);
    snprintf(path, sizeof path, "%s/nodes", cluster_directory);
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        snprintf(path, sizeof path, "%s/nodes/%s/busbard.pid", self->directory, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file && self->count < BENCH_NODES_MAX &&
            fscanf(file, "%d", &self->pids[self->count]) == 1) {
            self->count++;
        }
        if (file) {
            fclose(file);
        }
    }
    if (directory) {
        closedir(directory);
    }
    return self->count > 0;
}

double bench_nodes_cpu_s(const bench_nodes_t *self)
{
    double total = 0;
    for (int i = 0; i < self->count; i++) {
        total += bench_process_cpu_s(self->pids[i]);
    }
    return total;
}

static uint64_t s_anonymous_bytes(int pid)
{
    char path[64], line[256];
    unsigned long long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "RssAnon: %llu kB", &kib) == 1) {
            break;
        }
    }
    if (file) {
        fclose(file);
    }
    return kib << 10;
}

uint64_t bench_nodes_anonymous_bytes(const bench_nodes_t *self)
{
    uint64_t total = 0;
    for (int i = 0; i < self->count; i++) {
        total += s_anonymous_bytes(self->pids[i]);
    }
    return total;
}

static void s_raise(_Atomic uint64_t *max, uint64_t bytes)
{
    if (bytes > atomic_load(max)) {
        atomic_store(max, bytes); // one thread samples
    }
}

static void *s_sample(void *context)
{
    bench_nodes_t *self = context;
    while (atomic_load(&self->is_watched)) {
        uint64_t total = 0;
        for (int i = 0; i < self->count; i++) {
            uint64_t bytes = s_anonymous_bytes(self->pids[i]);
            s_raise(&self->largest_bytes_max, bytes);
            total += bytes;
        }
        s_raise(&self->anonymous_bytes_max, total);
        nanosleep(&(struct timespec){0, 20 * BB_NS_PER_MS}, NULL);
    }
    return NULL;
}

void bench_nodes_watch(bench_nodes_t *self)
{
    atomic_store(&self->anonymous_bytes_max, 0);
    atomic_store(&self->largest_bytes_max, 0);
    atomic_store(&self->is_watched, true);
    if (pthread_create(&self->thread, NULL, s_sample, self) != 0) {
        atomic_store(&self->is_watched, false);
    }
}

double bench_nodes_unwatch_mib(bench_nodes_t *self)
{
    if (atomic_exchange(&self->is_watched, false)) {
        pthread_join(self->thread, NULL);
    }
    return (double)atomic_load(&self->anonymous_bytes_max) / self->count / (1 << 20);
}

double bench_nodes_largest_mib(const bench_nodes_t *self)
{
    return (double)atomic_load(&self->largest_bytes_max) / (1 << 20);
}
