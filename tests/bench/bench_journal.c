// SPDX-License-Identifier: Apache-2.0
// Recovery of a journal: files of full batches are written, synced and closed; then everything is
// read, its checksums and its batches verified, as at the start of a node.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "protocol/bb_placement.h"
#include "storage/journal/bb_journal.h"
#include "tests/bench/bench_chunk.h"

#define S_BATCH_FRAMES  5000u
#define S_JOURNAL_BYTES (512u << 20)
#define S_REPEATS       3

static bb_error_t s_count(void *context, uint64_t file_seq, const bb_chunks_t *chunks,
                          bb_slice_t chunks_encoded, const bb_batch_t *batch)
{
    uint64_t *frames = context;
    (void)file_seq, (void)chunks, (void)chunks_encoded;
    *frames += batch->frame_count;
    return BB_OK;
}

static bb_error_t s_open(const char *directory, bb_journal_t **journal, uint64_t *frames,
                         bb_journal_report_t *report)
{
    const bb_journal_options_t options = {
        .vfs = bb_vfs_posix(), .directory = directory, .owner = 7};
    bb_fault_t fault = {0};
    bb_error_t error = bb_journal_open(&options, s_count, frames, report, journal, &fault);
    if (error != BB_OK) {
        fprintf(stderr, "busbar-bench: journal: %s %s\n", bb_error_name(error), fault.text);
    }
    return error;
}

// Batches of the yardstick, again and again, until the journal is large enough.
static bb_error_t s_fill(const bench_data_t *data, bb_journal_t *journal, uint64_t *frames)
{
    const uint32_t partition_count = BENCH_PARTITIONS;
    const uint8_t key[16] = {0};
    uint32_t *partitions = bb_alloc(data->battery_count * sizeof *partitions);
    uint64_t *seqs = bb_alloc_zero(partition_count, sizeof *seqs);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    bb_error_t error = BB_OK;
    for (uint32_t b = 0; b < data->battery_count; b++) {
        char id[16];
        bench_battery_id(b, id);
        partitions[b] = bb_partition_of(key, id, strlen(id), partition_count);
    }
    for (uint64_t next = 0; error == BB_OK && bb_journal_bytes(journal) < S_JOURNAL_BYTES;) {
        uint64_t limit = BB_MIN(next + S_BATCH_FRAMES, data->frame_count);
        bench_chunk_t chunk;
        if (!bench_chunk_make(data, partitions, seqs, builder, next, limit, &chunk)) {
            error = BB_ERR_CORRUPT;
            break;
        }
        error = bb_journal_append(journal, &chunk.chunks,
                                  bb_slice(chunk.chunks_bytes, chunk.chunks_length), &chunk.batch);
        if (error == BB_OK) {
            error = bb_journal_sync(journal);
        }
        *frames += limit - next;
        next = limit == data->frame_count ? 0 : limit;
        bench_chunk_free(&chunk);
    }
    bb_batch_builder_destroy(&builder);
    free(partitions);
    free(seqs);
    return error;
}

int bench_journal(const bench_data_t *data, const char *directory, FILE *results)
{
    char path[4200], note[128];
    bb_journal_t *journal = NULL;
    bb_journal_report_t report;
    uint64_t written = 0, read = 0;
    double rates[S_REPEATS], cpu_s = 0;
    uint64_t bytes = 0;
    snprintf(path, sizeof path, "%s/replay", directory);
    if (s_open(path, &journal, &read, &report) != BB_OK) {
        return 1;
    }
    bb_error_t error = s_fill(data, journal, &written);
    bb_journal_close(&journal);
    for (int i = 0; error == BB_OK && i < S_REPEATS; i++) {
        read = 0;
        int64_t begin = bench_mono_ns();
        double begin_cpu_s = bench_process_cpu_s(getpid());
        error = s_open(path, &journal, &read, &report);
        cpu_s += bench_process_cpu_s(getpid()) - begin_cpu_s;
        bytes += report.bytes;
        rates[i] = (double)report.bytes / ((double)(bench_mono_ns() - begin) / 1e3);
        bb_journal_close(&journal);
        if (read != written || report.damaged_count > 0) {
            error = BB_ERR_CORRUPT;
        }
    }
    if (error != BB_OK) {
        fprintf(stderr, "busbar-bench: replay: %s, %llu of %llu frames\n", bb_error_name(error),
                (unsigned long long)read, (unsigned long long)written);
        return 1;
    }
    snprintf(note, sizeof note,
             "journal of %llu MB from the page cache, records and batches "
             "verified, one thread; %.0f MB a CPU second",
             (unsigned long long)report.bytes / 1000000, (double)bytes / 1e6 / cpu_s);
    bench_report(results, "replay_mb_per_s", bench_median(rates, S_REPEATS), "MB/s", note);
    bench_report(results, "replay_mpts_per_s",
                 bench_median(rates, S_REPEATS) / (double)report.bytes * (double)written *
                     BENCH_METRICS,
                 "M points/s", "the same in points");
    return 0;
}
