// SPDX-License-Identifier: Apache-2.0
// The yardsticks of the machine in the same run: sync latency, write bandwidth, memory bandwidth.
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    free(piece);
    close(file);
    unlink(path);
    return 0;
}
