// SPDX-License-Identifier: Apache-2.0
// Ten times more than a cluster can do, and then less than that: does it come back, how soon, and
// with everything that it acknowledged?
//
//   clients   clients of libbusbar, as fast as their windows allow: frames a second acknowledged
//   capacity  the same, and bench_flood with a small window beside them
//   storm     0.8 of what clients reached, from them, and ten times the capacity from bench_flood
//   after     0.8 of it, from the clients alone, until 90 % of it was acknowledged for 2 s
//   proof     counts at local_quorum: nothing that was acknowledged is missing
//
// Batches are small, so that requests are what is too much, and not points: sealing, which uses as
// much as taking them at such rates, begins later. Goodput is what was acknowledged of what was
// asked. Clients have an open loop: a frame that is due while a second's worth waits already is
// asked for and not taken.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/bb_retry_budget.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_flood.h"
#include "tests/bench/bench_nodes.h"
#include "tests/bench/bench_sender.h"

#define S_CLIENTS         4u
#define S_BATTERIES       8u // of each client
#define S_BATCH_FRAMES    20u
#define S_FACTOR          10.0
#define S_WINDOW          16u // requests of a connection, when only as much as goes is sent
#define S_AFTER_SHARE     0.8
#define S_GOOD_SHARE      0.9
#define S_SLOT_NS         (250 * BB_NS_PER_MS)
#define S_SLOTS_MAX       1200u
#define S_SLOTS_GOOD      8u     // 2 s
#define S_AFTER_SLOTS_MAX 120u   // 30 s
#define S_WAITING_MAX     5000.0 // frames of a client, when it has no rate
#define S_TIMEOUT_NS      (2 * BUSBAR_SECOND)

typedef struct {
    int64_t origin_ns;
    _Atomic double rate; // frames a second of each client; < 0: as many as it can
    _Atomic bool must_stop;
    _Atomic uint64_t asked[S_SLOTS_MAX], acked[S_SLOTS_MAX]; // frames
} s_storm_t;

typedef struct {
    s_storm_t *storm;
    uint32_t index;
    busbar_client_t *client;
    busbar_writer_t *writer;
    uint32_t shape, batteries[S_BATTERIES];
    uint64_t frames, done_frames;
    uint64_t batches, wasted; // wasted: repetitions that failed
    busbar_totals_t totals;
    pthread_t thread;
} s_steady_t;

static uint32_t s_slot(const s_storm_t *self)
{
    int64_t slot = (bench_mono_ns() - self->origin_ns) / S_SLOT_NS;
    return (uint32_t)BB_MIN(slot, (int64_t)S_SLOTS_MAX - 1);
}

static uint64_t s_sum(const _Atomic uint64_t *slots, uint32_t first, uint32_t limit)
{
    uint64_t sum = 0;
    for (uint32_t i = first; i < limit; i++) {
        sum += atomic_load(&slots[i]);
    }
    return sum;
}

static void s_sleep(double seconds)
{
    int64_t ns = (int64_t)(seconds * 1e9);
    nanosleep(&(struct timespec){ns / BB_NS_PER_S, ns % BB_NS_PER_S}, NULL);
}

// ---- clients -----------------------------------------------------------------------------------
static void s_on_delivery(void *context, const busbar_delivery_t *delivery)
{
    s_steady_t *self = context;
    self->done_frames += delivery->frames;
    self->batches++;
    if (delivery->attempts > 1) {
        self->wasted += delivery->attempts - 1 - (delivery->status == BUSBAR_OK);
    }
    atomic_fetch_add(&self->storm->acked[s_slot(self->storm)], delivery->acked_frames);
}

static void s_append(s_steady_t *self)
{
    busbar_value_t values[BENCH_METRICS];
    for (uint32_t m = 0; m < BENCH_METRICS; m++) {
        values[m].number = (double)((self->frames * 7 + m * 13) % 1000) / 10.0;
    }
    busbar_fault_t fault;
    int64_t time_ns = BENCH_FLOOD_NS_FIRST + (int64_t)self->frames * BB_NS_PER_MS;
    if (busbar_writer_append(self->writer, self->batteries[self->frames % S_BATTERIES], self->shape,
                             time_ns, values, &fault) == BUSBAR_OK) {
        self->frames++;
    }
}

static void *s_steady_main(void *argument)
{
    s_steady_t *self = argument;
    s_storm_t *storm = self->storm;
    double rate = 0, asked = 0;
    int64_t begin_ns = 0;
    while (!atomic_load(&storm->must_stop)) {
        double rate_now = atomic_load(&storm->rate);
        if (rate_now != rate) {
            rate = rate_now;
            asked = 0;
            begin_ns = bench_mono_ns();
        }
        double due = (double)(bench_mono_ns() - begin_ns) / 1e9 * rate - asked;
        uint64_t count = rate < 0 ? S_BATCH_FRAMES : (uint64_t)BB_MAX(due, 0.0);
        double waiting_max = rate < 0 ? S_WAITING_MAX : rate;
        bool is_full = false;
        for (uint64_t i = 0; i < count; i++) {
            is_full = (double)(self->frames - self->done_frames) >= waiting_max;
            if (!is_full) {
                s_append(self);
            }
        }
        asked += (double)count;
        atomic_fetch_add(&storm->asked[s_slot(storm)], count);
        busbar_writer_poll(self->writer);
        if (is_full || rate >= 0) {
            s_sleep(0.002);
        }
    }
    return NULL;
}

static bool s_steady_open(s_steady_t *self, const char *client_file)
{
    busbar_fault_t fault = {0};
    if (busbar_open(client_file, NULL, &self->client, &fault) != BUSBAR_OK ||
        busbar_wait_ready(self->client, 10 * BUSBAR_SECOND, &fault) != BUSBAR_OK) {
        fprintf(stderr, "busbar-bench: %s\n", fault.text);
        return false;
    }
    const busbar_writer_options_t options = {.timeout_ns = S_TIMEOUT_NS,
                                             .batch_bytes =
                                                 S_BATCH_FRAMES * 8 * (BENCH_METRICS + 1),
                                             .on_delivery = s_on_delivery,
                                             .context = self};
    self->writer = busbar_writer_open(self->client, &options);
    busbar_metric_t metrics[BENCH_METRICS];
    for (int m = 0; m < BENCH_METRICS; m++) {
        metrics[m] = (busbar_metric_t){bench_metric_names[m], BUSBAR_FLOAT64};
    }
    busbar_status_t status =
        busbar_writer_shape(self->writer, metrics, BENCH_METRICS, &self->shape, &fault);
    for (uint32_t b = 0; b < S_BATTERIES && status == BUSBAR_OK; b++) {
        char id[24];
        snprintf(id, sizeof id, "steady-%u-%u", self->index, b);
        status = busbar_writer_battery(self->writer, id, NULL, 0, &self->batteries[b], &fault);
    }
    return status == BUSBAR_OK && pthread_create(&self->thread, NULL, s_steady_main, self) == 0;
}

// ---- proof -------------------------------------------------------------------------------------
// The count of one metric in each bucket; true when all partitions answered.
static bool s_counts(busbar_client_t *client, const char *prefix, uint32_t battery_count,
                     int64_t every_ns, uint64_t *counts, uint32_t bucket_count)
{
    char ids[64][24];
    const char *batteries[64];
    for (uint32_t i = 0; i < battery_count; i++) {
        snprintf(ids[i], sizeof ids[i], "%s%02u", prefix, i);
        if (strcmp(prefix, "steady-") == 0) {
            snprintf(ids[i], sizeof ids[i], "%s%u-%u", prefix, i / S_BATTERIES, i % S_BATTERIES);
        }
        batteries[i] = ids[i];
    }
    const char *metric = bench_metric_names[0];
    const busbar_query_t query = {.mode = BUSBAR_AGGREGATE,
                                  .level = BUSBAR_LOCAL_QUORUM,
                                  .batteries = batteries,
                                  .battery_count = battery_count,
                                  .metrics = &metric,
                                  .metric_count = 1,
                                  .to_ns = INT64_C(4102444800) * BUSBAR_SECOND,
                                  .every_ns = every_ns,
                                  .aggregates = BUSBAR_COUNT,
                                  .group_by_none = true,
                                  .timeout_ns = 20 * BUSBAR_SECOND};
    busbar_rows_t *rows = NULL;
    busbar_fault_t fault = {0};
    if (busbar_query(client, &query, &rows, &fault) != BUSBAR_OK) {
        fprintf(stderr, "busbar-bench: %s\n", fault.text);
        return false;
    }
    busbar_row_t row;
    while (busbar_rows_next(rows, &row)) {
        int64_t bucket = every_ns ? (row.time_ns - BENCH_FLOOD_NS_FIRST) / every_ns : 0;
        if (bucket >= 0 && bucket < bucket_count) {
            counts[bucket] += row.count;
        }
    }
    bool is_complete = false;
    busbar_status_t status = busbar_rows_status(rows, &is_complete, NULL, NULL, &fault);
    busbar_rows_close(&rows);
    return status == BUSBAR_OK && is_complete;
}

// Frames that were acknowledged and are not there; UINT64_MAX: no complete answer. Of the flood
// batch by batch; of the library's clients by number, because a delivery does not name its frames:
// one that ended as unknown and was stored can stand for one that was lost.
static uint64_t s_lost(busbar_client_t *client, const bench_flood_t *flood, uint64_t acked_frames,
                       uint64_t *steady_frames)
{
    uint64_t *counts = bb_alloc_zero(BENCH_FLOOD_BATCHES, sizeof *counts);
    uint64_t lost = 0;
    *steady_frames = 0;
    bool is_known = s_counts(client, "flood-", 16, BENCH_FLOOD_NS, counts, BENCH_FLOOD_BATCHES) &&
                    s_counts(client, "steady-", S_CLIENTS * S_BATTERIES, 0, steady_frames, 1);
    for (uint32_t b = 0; b < BENCH_FLOOD_BATCHES; b++) {
        lost +=
            bench_flood_is_acked(flood, b) ? S_BATCH_FRAMES - BB_MIN(counts[b], S_BATCH_FRAMES) : 0;
    }
    lost += acked_frames - BB_MIN(acked_frames, *steady_frames);
    free(counts);
    return is_known ? lost : UINT64_MAX;
}

// ---- phases ------------------------------------------------------------------------------------
// The slot at which goodput is good again for S_SLOTS_GOOD, or UINT32_MAX; waits for it.
static uint32_t s_await_recovery(const s_storm_t *self, uint32_t first)
{
    for (uint32_t slot = first; slot < first + S_AFTER_SLOTS_MAX; slot++) {
        while (s_slot(self) < slot + S_SLOTS_GOOD) {
            s_sleep(0.02);
        }
        double asked = (double)s_sum(self->asked, slot, slot + S_SLOTS_GOOD);
        double acked = (double)s_sum(self->acked, slot, slot + S_SLOTS_GOOD);
        if (acked >= S_GOOD_SHARE * asked) {
            return slot;
        }
    }
    return UINT32_MAX;
}

static double s_percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

// Frames a second that clients have acknowledged from now on for so long.
static double s_measure(const s_storm_t *self, double seconds)
{
    s_sleep(0.5);
    uint32_t first = s_slot(self) + 1, slots = (uint32_t)(seconds * 1e9 / S_SLOT_NS);
    while (s_slot(self) < first + slots) {
        s_sleep(0.005);
    }
    return (double)s_sum(self->acked, first, first + slots) / seconds;
}

// The same of clients and flood together, when the nodes have as much as they can do.
static double s_capacity(const s_storm_t *self, bench_flood_t *flood)
{
    bench_flood_totals_t totals;
    bench_flood_start(flood, 1e6, S_WINDOW);
    int64_t begin_ns = bench_mono_ns();
    double frames_per_s = s_measure(self, 1);
    double lasted_s = (double)(bench_mono_ns() - begin_ns) / 1e9;
    frames_per_s += (double)bench_flood_acked(flood) * S_BATCH_FRAMES / lasted_s;
    bench_flood_stop(flood, &totals);
    return frames_per_s;
}

static void s_report_storm(const bench_flood_totals_t *totals, double could, FILE *results)
{
    char note[200];
    snprintf(note, sizeof note,
             "%llu sent, %llu held back by full sockets; BUSY %llu, TIMEOUT %llu",
             (unsigned long long)totals->sent, (unsigned long long)totals->held,
             (unsigned long long)totals->busy, (unsigned long long)totals->timeout);
    bench_report(results, "storm_asked_pct", 100 * (double)totals->asked / could, "%",
                 "of the capacity");
    bench_report(results, "storm_sent_pct", 100 * (double)totals->sent / could, "%", note);
    bench_report(results, "storm_flood_acked_pct", 100 * (double)totals->acked / could, "%",
                 "of the capacity, in the storm");
}

static bool s_phases(s_storm_t *self, bench_flood_t *flood, double storm_s, FILE *results)
{
    double clients = s_measure(self, 1.5);
    bench_report(results, "storm_clients_frames_per_s", clients, "frames/s",
                 "of 12 points, in batches of 20, by clients of the library alone");
    double capacity = BB_MAX(s_capacity(self, flood), clients);
    bench_report(results, "storm_capacity_frames_per_s", capacity, "frames/s", "of the nodes");
    atomic_store(&self->rate, S_AFTER_SHARE * clients / S_CLIENTS);
    int64_t begin_ns = bench_mono_ns();
    uint32_t storm_first = s_slot(self);
    bench_flood_start(flood, S_FACTOR * capacity / S_BATCH_FRAMES, BENCH_FLOOD_WINDOW_MAX);
    s_sleep(storm_s);
    uint32_t storm_limit = s_slot(self), limit;
    double lasted_s = (double)(bench_mono_ns() - begin_ns) / 1e9;
    bench_flood_totals_t totals;
    bench_flood_stop(flood, &totals);
    s_report_storm(&totals, capacity / S_BATCH_FRAMES * lasted_s, results);
    bench_report(results, "storm_steady_pct",
                 s_percent(s_sum(self->acked, storm_first, storm_limit),
                           s_sum(self->asked, storm_first, storm_limit)),
                 "%", "of what clients of the library asked for in the storm");
    uint32_t good = s_await_recovery(self, storm_limit);
    if (good == UINT32_MAX) {
        fprintf(stderr, "busbar-bench: goodput is not back 30 s after the storm\n");
        return false;
    }
    bench_report(results, "storm_recovery_s",
                 (double)(good - storm_limit) * (double)S_SLOT_NS / 1e9, "s",
                 "from the end of the storm until 90 % of what is asked was acknowledged for 2 s");
    s_sleep(2);
    limit = s_slot(self);
    bench_report(results, "storm_after_pct",
                 s_percent(s_sum(self->acked, good, limit), s_sum(self->asked, good, limit)), "%",
                 "of 0.8 of what clients reached before, from then on");
    return true;
}

static bool s_prove(s_steady_t *clients, bench_flood_t *flood, FILE *results)
{
    uint64_t appended = 0, acked = 0, wasted = 0, batches = 0, found = 0;
    for (uint32_t c = 0; c < S_CLIENTS; c++) {
        pthread_join(clients[c].thread, NULL);
        busbar_writer_close(&clients[c].writer, 10 * BUSBAR_SECOND, &clients[c].totals);
        appended += clients[c].totals.frames;
        acked += clients[c].totals.acked_frames;
        wasted += clients[c].wasted - BB_MIN(clients[c].wasted, (uint64_t)BB_RETRY_TOKENS_MAX);
        batches += clients[c].batches;
    }
    uint64_t lost = s_lost(clients[0].client, flood, acked, &found);
    bench_report(
        results, "storm_wasted_pct", s_percent(wasted, batches), "%",
        "of the batches of the library's clients: repetitions that failed, but for 10 each");
    bench_report(results, "storm_lost_frames", lost == UINT64_MAX ? -1 : (double)lost, "frames",
                 "acknowledged and not there");
    if (lost != 0 || found > appended) {
        fprintf(stderr, "busbar-bench: %llu of %llu acknowledged frames of clients are there\n",
                (unsigned long long)found, (unsigned long long)acked);
        return false;
    }
    return true;
}

int bench_storm(const char *cluster_directory, double storm_s, FILE *results)
{
    char client_file[4200];
    snprintf(client_file, sizeof client_file, "%s/client.yaml", cluster_directory);
    bench_nodes_t nodes;
    bench_flood_t *flood = bench_flood_open(cluster_directory, S_BATCH_FRAMES);
    if (!flood || !bench_nodes_find(&nodes, cluster_directory)) {
        bench_flood_close(&flood);
        return 1;
    }
    s_storm_t *self = bb_alloc_zero(1, sizeof *self);
    self->origin_ns = bench_mono_ns();
    atomic_store(&self->rate, -1.0);
    bench_nodes_watch(&nodes);
    s_steady_t clients[S_CLIENTS] = {0};
    bool is_good = true;
    for (uint32_t c = 0; c < S_CLIENTS && is_good; c++) {
        clients[c] = (s_steady_t){.storm = self, .index = c};
        is_good = s_steady_open(&clients[c], client_file);
    }
    BB_ASSERT(is_good); // a cluster that is up takes four clients
    is_good = s_phases(self, flood, storm_s, results);
    atomic_store(&self->must_stop, true);
    bench_nodes_unwatch_mib(&nodes);
    bench_report(results, "storm_node_anonymous_mib", bench_nodes_largest_mib(&nodes), "MiB",
                 "of the node that had most, at its worst moment");
    is_good = s_prove(clients, flood, results) && is_good;
    for (uint32_t c = 0; c < S_CLIENTS; c++) {
        busbar_close(&clients[c].client);
    }
    bench_flood_close(&flood);
    free(self);
    return is_good ? 0 : 1;
}
