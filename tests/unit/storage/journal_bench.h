// SPDX-License-Identifier: Apache-2.0
// journal_bench - what the journal's tests share: a journal on a simulated disk and a list of the
// records that came back, compared by their bytes.
#ifndef JOURNAL_BENCH_H
#define JOURNAL_BENCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "storage/journal/bb_journal.h"
#include "tests/support/bb_sample.h"
#include "tests/support/bb_sim_disk.h"

#define S_FOLDER "/node/journal"
#define S_OWNER  UINT64_C(0x1234567890abcdef)

enum { S_SAMPLES = 48, S_FOUND_MAX = 256 };

// Sample i: stream 1 or 2, partition i % 5, one to three parts, seq i + 1; all differ.
typedef struct {
    bb_sample_t samples[S_SAMPLES];
    // What on_record saw: the index of the sample with these bytes.
    uint32_t found[S_FOUND_MAX];
    uint64_t found_files[S_FOUND_MAX];
    uint32_t found_count;
    uint32_t enough_after; // on_record answers CANCELLED at this count; 0 = never
} s_bench_t;

static inline int s_bench_setup(void **state)
{
    s_bench_t *bench = calloc(1, sizeof *bench);
    for (uint32_t i = 0; i < S_SAMPLES; i++) {
        bb_sample_make(&bench->samples[i], (bb_sample_plan_t){.stream = (uint8_t)(1 + i % 2),
                                                              .seq = i + 1,
                                                              .partition = i % 5,
                                                              .part_count = 1 + i % 3,
                                                              .frame_count = 1 + i % 4});
    }
    *state = bench;
    return 0;
}

static inline int s_bench_teardown(void **state)
{
    s_bench_t *bench = *state;
    for (uint32_t i = 0; i < S_SAMPLES; i++) {
        bb_sample_clear(&bench->samples[i]);
    }
    free(bench);
    return 0;
}

static inline bool s_same(bb_slice_t a, bb_slice_t b)
{
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

// A record that equals no sample is a wrong record delivered: the worst there is.
static inline bb_error_t s_on_record(void *context, uint64_t file_seq, const bb_chunks_t *chunks,
                                     bb_slice_t chunks_encoded, const bb_batch_t *batch)
{
    s_bench_t *bench = context;
    assert_int_equal((uintptr_t)chunks_encoded.data % 8, 0);
    assert_int_equal((uintptr_t)batch->encoded.data % 8, 0);
    uint32_t i = (uint32_t)bb_chunks_seq(chunks, 0) - 1;
    assert_in_range(i, 0, S_SAMPLES - 1);
    assert_true(s_same(chunks_encoded, bench->samples[i].chunks_encoded));
    assert_true(s_same(batch->encoded, bench->samples[i].batch.encoded));
    assert_int_equal(chunks->stream.bytes[0], 1 + i % 2);
    assert_in_range(bench->found_count, 0, S_FOUND_MAX - 1);
    bench->found_files[bench->found_count] = file_seq;
    bench->found[bench->found_count++] = i;
    return bench->found_count == bench->enough_after ? BB_ERR_CANCELLED : BB_OK;
}

static inline bb_error_t s_try_open(s_bench_t *bench, bb_sim_disk_t *disk, uint64_t file_bytes_max,
                                    bb_journal_report_t *report, bb_journal_t **journal,
                                    bb_fault_t *fault)
{
    bench->found_count = 0;
    const bb_journal_options_t options = {.vfs = bb_sim_disk_vfs(disk),
                                          .directory = S_FOLDER,
                                          .file_bytes_max = file_bytes_max,
                                          .owner = S_OWNER};
    return bb_journal_open(&options, s_on_record, bench, report, journal, fault);
}

static inline bb_journal_t *s_open(s_bench_t *bench, bb_sim_disk_t *disk, uint64_t file_bytes_max,
                                   bb_journal_report_t *report)
{
    bb_journal_t *journal = NULL;
    bb_fault_t fault = {0};
    bb_journal_report_t unread;
    bb_error_t error =
        s_try_open(bench, disk, file_bytes_max, report ? report : &unread, &journal, &fault);
    assert_string_equal(error == BB_OK ? "" : fault.text, "");
    assert_int_equal(error, BB_OK);
    return journal;
}

static inline bb_error_t s_append(s_bench_t *bench, bb_journal_t *journal, uint32_t index)
{
    const bb_sample_t *sample = &bench->samples[index];
    return bb_journal_append(journal, &sample->chunks, sample->chunks_encoded, &sample->batch);
}

// Appends [first, limit) and makes them durable in one group.
static inline void s_write(s_bench_t *bench, bb_journal_t *journal, uint32_t first, uint32_t limit)
{
    for (uint32_t i = first; i < limit; i++) {
        assert_int_equal(s_append(bench, journal, i), BB_OK);
    }
    assert_int_equal(bb_journal_sync(journal), BB_OK);
    assert_int_equal(bb_journal_staged_bytes(journal), 0);
}

static inline void s_expect_found(const s_bench_t *bench, uint32_t first, uint32_t limit)
{
    assert_int_equal(bench->found_count, limit - first);
    for (uint32_t i = first; i < limit; i++) {
        assert_int_equal(bench->found[i - first], i);
    }
}

static inline bool s_was_found(const s_bench_t *bench, uint32_t index)
{
    for (uint32_t i = 0; i < bench->found_count; i++) {
        if (bench->found[i] == index) {
            return true;
        }
    }
    return false;
}

static inline const char *s_file_name(uint64_t file_seq)
{
    static char name[64]; // one at a time, in tests only
    snprintf(name, sizeof name, S_FOLDER "/%012llu.journal", (unsigned long long)file_seq);
    return name;
}

#endif
