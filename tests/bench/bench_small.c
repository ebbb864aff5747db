// SPDX-License-Identifier: Apache-2.0
// How long small reads take while something is wrong with a node at times, with hedges and without:
// two clients ask the same at the same time, the newest values of one battery after the other.
//
// Each read has a time at which it should begin, and its latency counts from there: a thread that
// is held up by one read does not hide what the next ones would have met (Tene, "How NOT to measure
// latency", 2013).
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/bench/bench.h"

#define S_BATTERIES  64u
#define S_THREADS    4u                  // of each client
#define S_GAP_NS     (40 * BB_NS_PER_MS) // between two reads of a thread: 100 reads/s a client
#define S_TIMEOUT_NS (10 * BUSBAR_SECOND)
#define S_TIME_NS    (INT64_C(1767225600) * BB_NS_PER_S)

typedef struct {
    pthread_t thread;
    busbar_client_t *client;
    uint32_t number, count, wrong_count;
    int64_t begin_ns;
    double *latencies_ms;
} s_reader_t;

static void s_sleep_until(int64_t mono_ns)
{
    struct timespec until = {mono_ns / BB_NS_PER_S, mono_ns % BB_NS_PER_S};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0) {
    }
}

// The newest value of the battery is its number, and comes once.
static bool s_read(busbar_client_t *client, uint32_t battery)
{
    char id[16];
    bench_battery_id(battery, id);
    const char *name = id;
    busbar_query_t query = {.mode = BUSBAR_LAST,
                            .level = BUSBAR_LOCAL_QUORUM,
                            .batteries = &name,
                            .battery_count = 1,
                            .timeout_ns = S_TIMEOUT_NS};
    busbar_rows_t *rows = NULL;
    busbar_fault_t fault;
    if (busbar_query(client, &query, &rows, &fault) != BUSBAR_OK) {
        return false;
    }
    busbar_row_t row;
    uint32_t count = 0;
    bool is_right = true, complete = false;
    while (busbar_rows_next(rows, &row)) {
        is_right = is_right && row.value.integer == (int64_t)battery;
        count++;
    }
    size_t missing_count = 0;
    is_right = is_right && count == 1 &&
               busbar_rows_status(rows, &complete, NULL, &missing_count, &fault) == BUSBAR_OK;
    busbar_rows_close(&rows);
    return is_right && complete;
}

static void *s_run(void *context)
{
    s_reader_t *self = context;
    for (uint32_t i = 0; i < self->count; i++) {
        int64_t due_ns = self->begin_ns + i * S_GAP_NS + self->number * S_GAP_NS / S_THREADS;
        s_sleep_until(due_ns);
        self->wrong_count += !s_read(self->client, (i * S_THREADS + self->number) % S_BATTERIES);
        self->latencies_ms[i] = (double)(bench_mono_ns() - due_ns) / 1e6;
    }
    return NULL;
}

static bool s_write(busbar_client_t *client, busbar_fault_t *fault)
{
    busbar_writer_t *writer = busbar_writer_open(client, NULL);
    const busbar_metric_t metric = {"number", BUSBAR_INT64};
    uint32_t shape = 0, battery = 0;
    bool is_ok = busbar_writer_shape(writer, &metric, 1, &shape, fault) == BUSBAR_OK;
    for (uint32_t i = 0; i < S_BATTERIES && is_ok; i++) {
        char id[16];
        bench_battery_id(i, id);
        const busbar_value_t value = {.integer = i};
        is_ok = busbar_writer_battery(writer, id, NULL, 0, &battery, fault) == BUSBAR_OK &&
                busbar_writer_append(writer, battery, shape, S_TIME_NS, &value, fault) == BUSBAR_OK;
    }
    busbar_totals_t totals = {0};
    return busbar_writer_close(&writer, S_TIMEOUT_NS, &totals) == BUSBAR_OK && is_ok &&
           totals.acked_points == S_BATTERIES;
}

static int s_compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static void s_tell(const char *what, const busbar_client_t *client, s_reader_t *readers,
                   FILE *results)
{
    size_t count = (size_t)S_THREADS * readers[0].count;
    double *all_ms = bb_alloc(count * sizeof *all_ms);
    for (uint32_t t = 0; t < S_THREADS; t++) {
        memcpy(all_ms + (size_t)t * readers[0].count, readers[t].latencies_ms,
               readers[0].count * sizeof *all_ms);
    }
    qsort(all_ms, count, sizeof *all_ms, s_compare);
    busbar_client_stats_t stats = {0};
    busbar_client_stats((busbar_client_t *)(uintptr_t)client, &stats);
    char note[128], name[64];
    snprintf(note, sizeof note, "%zu reads, %llu asked twice, %llu of them answered by the second",
             count, (unsigned long long)stats.hedges, (unsigned long long)stats.hedges_won);
    const struct {
        const char *name;
        size_t rank;
    } ranks[] = {{"p50", count / 2}, {"p95", count * 95 / 100}, {"p99", count * 99 / 100}};
    for (size_t i = 0; i < BB_COUNT_OF(ranks); i++) {
        snprintf(name, sizeof name, "small_read_%s_%s_ms", what, ranks[i].name);
        bench_report(results, name, all_ms[ranks[i].rank], "ms", note);
    }
    free(all_ms);
}

int bench_small(const char *client_file, uint32_t seconds, FILE *results)
{
    busbar_client_t *clients[2] = {NULL};
    busbar_fault_t fault = {0};
    for (uint32_t c = 0; c < 2; c++) {
        const busbar_options_t options = {.no_hedges = c == 1};
        if (busbar_open(client_file, &options, &clients[c], &fault) != BUSBAR_OK) {
            fprintf(stderr, "busbar-bench: %s\n", fault.text);
            return 1;
        }
    }
    if (!s_write(clients[0], &fault)) {
        fprintf(stderr, "busbar-bench: what is to be read was not written: %s\n", fault.text);
        return 1;
    }
    s_reader_t readers[2 * S_THREADS];
    int64_t begin_ns = bench_mono_ns() + BB_NS_PER_S / 10;
    uint32_t count = (uint32_t)(seconds * BB_NS_PER_S / S_GAP_NS);
    for (uint32_t i = 0; i < 2 * S_THREADS; i++) {
        readers[i] = (s_reader_t){.client = clients[i / S_THREADS],
                                  .number = i % S_THREADS,
                                  .count = count,
                                  .begin_ns = begin_ns,
                                  .latencies_ms = bb_alloc_zero(count, sizeof(double))};
        int error = pthread_create(&readers[i].thread, NULL, s_run, &readers[i]);
        BB_ASSERT(error == 0);
    }
    uint32_t wrong_count = 0;
    for (uint32_t i = 0; i < 2 * S_THREADS; i++) {
        pthread_join(readers[i].thread, NULL);
        wrong_count += readers[i].wrong_count;
    }
    s_tell("hedged", clients[0], readers, results);
    s_tell("plain", clients[1], readers + S_THREADS, results);
    bench_report(results, "small_reads_wrong", wrong_count, "reads", NULL);
    for (uint32_t i = 0; i < 2 * S_THREADS; i++) {
        free(readers[i].latencies_ms);
    }
    busbar_close(&clients[0]);
    busbar_close(&clients[1]);
    return wrong_count > 0;
}
