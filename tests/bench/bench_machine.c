// SPDX-License-Identifier: Apache-2.0
// The yardsticks of the machine in the same run: sync latency, write and memory bandwidth, CURVE.
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "tests/bench/bench.h"

#define S_SYNCS       200
#define S_WRITE_BYTES (256u << 20)
#define S_PIECE_BYTES (1u << 20)

static double s_sync_ms(int file, const char *piece)
{
    double latencies[S_SYNCS];
    for (int i = 0; i < S_SYNCS; i++) {
        int64_t begin = bench_mono_ns();
        if (pwrite(file, piece, 4096, (off_t)i * 4096) != 4096 || fdatasync(file) != 0) {
            return -1;
        }
        latencies[i] = (double)(bench_mono_ns() - begin) / 1e6;
    }
    return bench_median(latencies, S_SYNCS);
}

static double s_write_gb_per_s(int file, const char *piece)
{
    int64_t begin = bench_mono_ns();
    for (uint32_t done = 0; done < S_WRITE_BYTES; done += S_PIECE_BYTES) {
        if (pwrite(file, piece, S_PIECE_BYTES, done) != S_PIECE_BYTES) {
            return -1;
        }
    }
    if (fdatasync(file) != 0) {
        return -1;
    }
    return S_WRITE_BYTES / (double)(bench_mono_ns() - begin);
}

static double s_copy_gb_per_s(void)
{
    enum { BYTES = 64 << 20, ROUNDS = 5 };
    char *source = bb_alloc(BYTES), *target = bb_alloc(BYTES);
    double rates[ROUNDS];
    memset(source, 1, BYTES);
    memset(target, 2, BYTES);
    for (int i = 0; i < ROUNDS; i++) {
        int64_t begin = bench_mono_ns();
        memcpy(target, source, BYTES);
        __asm__ volatile("" : : "r"(target) : "memory");
        rates[i] = BYTES / (double)(bench_mono_ns() - begin);
    }
    free(source);
    free(target);
    return bench_median(rates, ROUNDS);
}

// ---- CURVE: what encryption costs on the way, both ends together --------------------------------

#define S_CURVE_MESSAGES 1200
#define S_CURVE_BYTES    (256u << 10)

typedef struct {
    void *context;
    char endpoint[64];
    char server_public[41], client_public[41], client_secret[41];
} s_curve_t;

static void *s_curve_send(void *argument)
{
    const s_curve_t *self = argument;
    void *socket = zmq_socket(self->context, ZMQ_PUSH);
    char *piece = bb_alloc_zero(1, S_CURVE_BYTES);
    zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, self->server_public, 41);
    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, self->client_public, 41);
    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, self->client_secret, 41);
    zmq_connect(socket, self->endpoint);
    for (int i = 0; i < S_CURVE_MESSAGES; i++) {
        zmq_send(socket, piece, S_CURVE_BYTES, 0);
    }
    zmq_close(socket);
    free(piece);
    return NULL;
}

// One direction over loopback; false when the library does not offer CURVE.
static bool s_curve(double *gb_per_s, double *cpu_s_per_gb)
{
    s_curve_t self = {.context = zmq_ctx_new()};
    char secret[41];
    int yes = 1, patience_ms = 10000, received = 0;
    size_t length = sizeof self.endpoint;
    pthread_t sender;
    void *socket = zmq_socket(self.context, ZMQ_PULL);
    zmq_curve_keypair(self.client_public, self.client_secret);
    bool good = zmq_curve_keypair(self.server_public, secret) == 0 &&
                zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) == 0 &&
                zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, 41) == 0 &&
                zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience_ms, sizeof patience_ms) == 0 &&
                zmq_bind(socket, "tcp://127.0.0.1:*") == 0 &&
                zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, self.endpoint, &length) == 0;
    if (good) {
        char *piece = bb_alloc(S_CURVE_BYTES);
        double cpu_before_s = bench_own_cpu_s();
        int64_t begin = bench_mono_ns();
        pthread_create(&sender, NULL, s_curve_send, &self);
        while (received < S_CURVE_MESSAGES && zmq_recv(socket, piece, S_CURVE_BYTES, 0) >= 0) {
            received++;
        }
        double bytes = (double)received * S_CURVE_BYTES;
        *gb_per_s = bytes / (double)(bench_mono_ns() - begin);
        *cpu_s_per_gb = (bench_own_cpu_s() - cpu_before_s) / bytes * 1e9;
        pthread_join(sender, NULL);
        free(piece);
    }
    zmq_close(socket);
    zmq_ctx_term(self.context);
    return good && received == S_CURVE_MESSAGES;
}

int bench_machine(const char *directory, FILE *results)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/machine.tmp", directory);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) {
        fprintf(stderr, "busbar-bench: %s cannot be written\n", path);
        return 1;
    }
    char *piece = bb_alloc_zero(1, S_PIECE_BYTES);
    bench_report(results, "machine_cores", (double)sysconf(_SC_NPROCESSORS_ONLN), "cores", NULL);
    bench_report(results, "machine_fdatasync_4k_ms", s_sync_ms(file, piece), "ms", "median of 200");
    bench_report(results, "machine_write_gb_per_s", s_write_gb_per_s(file, piece), "GB/s",
                 "256 MiB with one fdatasync");
    bench_report(results, "machine_memcpy_gb_per_s", s_copy_gb_per_s(), "GB/s", "one thread");
    double gb_per_s, cpu_s_per_gb;
    if (s_curve(&gb_per_s, &cpu_s_per_gb)) {
        bench_report(results, "machine_curve_gb_per_s", gb_per_s, "GB/s",
                     "one direction, messages of 256 KiB, loopback");
        bench_report(results, "machine_curve_cpu_s_per_gb", cpu_s_per_gb, "CPU s per GB",
                     "both ends together");
    }
    free(piece);
    close(file);
    unlink(path);
    return 0;
}
