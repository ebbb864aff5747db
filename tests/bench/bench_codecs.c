// SPDX-License-Identifier: Apache-2.0
// bench_codecs - what the encodings cost and save, column by column of the yardstick, in one
// thread.
//
// Method: each battery's rows in stripes of 1,024, its metrics as columns, as a segment writer does
// it; every stripe is encoded once, compared after decoding, then decoded and aggregated again and
// again. Clock: CPU time of the thread, so that other load matters little.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "storage/encoding/bb_encoding.h"
#include "tests/bench/bench.h"

#define COLUMNS (BENCH_METRICS + 1) // the times last
#define TIMES   BENCH_METRICS
#define ROWS    BB_BLOCK_ROWS_MAX
#define REPEATS 16
#define STRIPES 256 // at most
#define ROOM    BB_ENCODING_BYTES_MAX(ROWS)

typedef struct {
    uint64_t values, bytes, ids[BB_ENCODING_LAST + 1];
    int64_t encode_ns, decode_ns, aggregate_ns;
} s_cost_t;

typedef struct {
    uint64_t words[COLUMNS][ROWS];
    uint8_t encoded[COLUMNS][ROOM];
    size_t bytes[COLUMNS];
    uint8_t ids[COLUMNS];
    uint32_t rows;
} s_stripe_t;

static const bb_encoding_kind_t s_kinds[BENCH_METRICS] = {
    BB_ENCODING_FLOAT64, BB_ENCODING_FLOAT64, BB_ENCODING_FLOAT64, BB_ENCODING_FLOAT64,
    BB_ENCODING_FLOAT64, BB_ENCODING_FLOAT64, BB_ENCODING_FLOAT64, BB_ENCODING_FLOAT64,
    BB_ENCODING_FLOAT64, BB_ENCODING_FLOAT64, BB_ENCODING_FLOAT64, BB_ENCODING_FLOAT64};

static int64_t s_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * BB_NS_PER_S + now.tv_nsec;
}

static bb_encoding_input_t s_input(const s_stripe_t *stripe, uint32_t column,
                                   const uint64_t *const *peers)
{
    bool is_time = column == TIMES;
    return (bb_encoding_input_t){
        .kind = is_time ? BB_ENCODING_INTEGER : BB_ENCODING_FLOAT64,
        .words = stripe->words[column],
        .count = stripe->rows,
        .peers = peers,
        .peer_kinds = s_kinds,
        .peer_count = is_time ? 0 : BENCH_METRICS,
    };
}

static void s_peers(const s_stripe_t *stripe, const uint64_t *peers[BENCH_METRICS])
{
    for (uint32_t i = 0; i < BENCH_METRICS; i++) {
        peers[i] = stripe->words[i];
    }
}

static void s_encode(bb_encoder_t *encoder, s_stripe_t *stripe, uint32_t hints[COLUMNS],
                     s_cost_t costs[COLUMNS], int64_t *relate_ns)
{
    const uint64_t *peers[BENCH_METRICS];
    bb_encoding_input_t inputs[COLUMNS];
    uint32_t *hint_list[COLUMNS];
    s_peers(stripe, peers);
    for (uint32_t i = 0; i < COLUMNS; i++) {
        inputs[i] = s_input(stripe, i, peers);
        hint_list[i] = &hints[i];
    }
    int64_t begin = s_cpu_ns();
    bb_encoder_relate(encoder, inputs, BENCH_METRICS, hint_list);
    *relate_ns += s_cpu_ns() - begin;
    for (uint32_t i = 0; i < COLUMNS; i++) {
        begin = s_cpu_ns();
        for (uint32_t k = 0; k < REPEATS; k++) {
            stripe->bytes[i] = bb_encoder_encode(encoder, &inputs[i], &hints[i], stripe->encoded[i],
                                                 &stripe->ids[i]);
        }
        costs[i].encode_ns += s_cpu_ns() - begin;
        costs[i].values += stripe->rows;
        costs[i].bytes += stripe->bytes[i];
        costs[i].ids[stripe->ids[i]]++;
    }
}

// Decodes and adds up one column, REPEATS times; false if it is not what was encoded.
static bool s_measure(const s_stripe_t *stripe, uint32_t column, s_cost_t *cost)
{
    uint64_t out[ROWS];
    const uint64_t *peers[BENCH_METRICS];
    const uint64_t *named[BB_ENCODING_PEERS_MAX];
    uint32_t indexes[BB_ENCODING_PEERS_MAX], count = 0;
    s_peers(stripe, peers);
    const bb_encoding_input_t input = s_input(stripe, column, peers);
    bb_slice_t encoded = bb_slice(stripe->encoded[column], stripe->bytes[column]);
    uint32_t id = stripe->ids[column];
    if (bb_encoding_peers(id, encoded, input.peer_count, indexes, &count) != BB_OK) {
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        named[i] = peers[indexes[i]];
    }
    bool is_equal = true;
    int64_t begin = s_cpu_ns();
    for (uint32_t i = 0; i < REPEATS; i++) {
        is_equal &= bb_encoding_decode(id, input.kind, encoded, stripe->rows, named, out) == BB_OK;
    }
    cost->decode_ns += s_cpu_ns() - begin;
    is_equal &= memcmp(out, input.words, (size_t)stripe->rows * 8) == 0;
    bb_type_t type = column == TIMES ? BB_TYPE_INT64 : BB_TYPE_FLOAT64;
    bb_encoding_totals_t totals, expected;
    bb_encoding_totals_of(type, out, stripe->rows, &expected);
    begin = s_cpu_ns();
    for (uint32_t i = 0; i < REPEATS; i++) {
        is_equal &= bb_encoding_aggregate(id, type, encoded, stripe->rows, named, 0, stripe->rows,
                                          &totals) == BB_OK;
    }
    cost->aggregate_ns += s_cpu_ns() - begin;
    is_equal &= totals.min == expected.min && totals.max == expected.max &&
                totals.first == expected.first && totals.last == expected.last &&
                bb_sum_is_equal(&totals.sum, &expected.sum);
    return is_equal;
}

static void s_print(const char *name, const s_cost_t *cost)
{
    double values = (double)cost->values;
    printf("%-24s %7.3f %7.2f %7.2f %7.2f  ", name, (double)cost->bytes * 8 / values,
           (double)cost->encode_ns / values / REPEATS, (double)cost->decode_ns / values / REPEATS,
           (double)cost->aggregate_ns / values / REPEATS);
    for (uint32_t id = 1; id <= BB_ENCODING_LAST; id++) {
        if (cost->ids[id] > 0) {
            printf(" %s %llu", bb_encoding_name(id), (unsigned long long)cost->ids[id]);
        }
    }
    puts("");
}

static void s_add(s_cost_t *into, const s_cost_t *from)
{
    into->values += from->values;
    into->bytes += from->bytes;
    into->encode_ns += from->encode_ns;
    into->decode_ns += from->decode_ns;
    into->aggregate_ns += from->aggregate_ns;
    for (uint32_t id = 0; id <= BB_ENCODING_LAST; id++) {
        into->ids[id] += from->ids[id];
    }
}

static void s_report(const s_cost_t costs[COLUMNS], int64_t relate_ns, FILE *results)
{
    s_cost_t sum = {0};
    printf("%-24s %7s %7s %7s %7s   %s\n", "column", "bits", "encode", "decode", "totals",
           "ns/value; stripes per encoding");
    for (uint32_t i = 0; i < COLUMNS; i++) {
        s_print(i == TIMES ? "times" : bench_metric_names[i], &costs[i]);
        s_add(&sum, &costs[i]);
    }
    s_print("all columns", &sum);
    double points = (double)(sum.values / COLUMNS * BENCH_METRICS);
    int64_t totals_ns = sum.aggregate_ns - costs[TIMES].aggregate_ns;
    bench_report(results, "codecs_bytes_per_point", (double)sum.bytes / points, "B",
                 "columns and times, no directory");
    bench_report(results, "codecs_encode_ns_per_point",
                 ((double)sum.encode_ns / REPEATS + (double)relate_ns) / points, "ns",
                 "with the search for relations");
    bench_report(results, "codecs_relate_ns_per_point", (double)relate_ns / points, "ns", NULL);
    bench_report(results, "codecs_decode_ns_per_point",
                 (double)(sum.decode_ns - costs[TIMES].decode_ns) / points / REPEATS, "ns", NULL);
    bench_report(results, "codecs_totals_mvalues_per_s", points * REPEATS * 1e3 / (double)totals_ns,
                 "million/s", "one core; peers decoded before");
}

int bench_codecs(const bench_data_t *data, FILE *results)
{
    s_cost_t costs[COLUMNS] = {0};
    uint32_t hints[COLUMNS] = {0};
    s_stripe_t *stripe = bb_alloc_zero(1, sizeof *stripe);
    bb_encoder_t *encoder = bb_encoder_new();
    int64_t relate_ns = 0;
    bool is_equal = true;
    uint32_t stripe_count = 0;
    uint64_t ticks = data->frame_count / data->battery_count; // frames lie tick by tick
    for (uint32_t battery = 0; battery < data->battery_count && stripe_count < STRIPES; battery++) {
        for (uint64_t tick = 0; tick < ticks; stripe_count++) {
            stripe->rows = 0;
            for (; tick < ticks && stripe->rows < ROWS; tick++, stripe->rows++) {
                const bench_frame_t *frame = &data->frames[tick * data->battery_count + battery];
                for (uint32_t i = 0; i < BENCH_METRICS; i++) {
                    stripe->words[i][stripe->rows] = bb_bits_of_double(frame->values[i]);
                }
                stripe->words[TIMES][stripe->rows] = (uint64_t)frame->time_ms * BB_NS_PER_MS;
            }
            s_encode(encoder, stripe, hints, costs, &relate_ns);
            for (uint32_t i = 0; i < COLUMNS; i++) {
                is_equal &= s_measure(stripe, i, &costs[i]);
            }
        }
    }
    bb_encoder_destroy(&encoder);
    free(stripe);
    s_report(costs, relate_ns, results);
    if (!is_equal) {
        fprintf(stderr, "bench: a block came back different\n");
    }
    return is_equal ? 0 : 1;
}
