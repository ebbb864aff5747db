// SPDX-License-Identifier: Apache-2.0
// fuzz_shard - a real shard on a simulated disk, node 0 of three with three copies, for targets
// that are its peers or its clients. Answers are counted, what it sends is counted and dropped,
// scans and jobs run at once.
#ifndef FUZZ_SHARD_H
#define FUZZ_SHARD_H

#include "node/ingest/bb_shard_internal.h"
#include "tests/fuzz/fuzz_bytes.h"
#include "tests/support/bb_sim_disk.h"
#include "tests/support/bb_sim_kv.h"
#include "tests/unit/node/replication_topology.h"

#define FUZZ_PARTITIONS  8
#define FUZZ_TICKETS_MAX 256
#define FUZZ_IN_FLIGHT   (1u << 20)
#define FUZZ_UNACKED     (1u << 16)
#define FUZZ_MEMORY      (1u << 20)

typedef struct {
    bb_sim_disk_t *disk;
    bb_topology_t *topology;
    bb_shard_t *shard;
    bb_store_job_t *job;
    int64_t now_ns;
    uint32_t answers[FUZZ_TICKETS_MAX]; // of each ticket
    bool is_ok[FUZZ_TICKETS_MAX];       // it was a WRITE_REPLY
    uint64_t sent_count;
} fuzz_shard_t;

static inline bb_shard_time_t fuzz_time(const fuzz_shard_t *self)
{
    return (bb_shard_time_t){.mono_ns = self->now_ns,
                             .wall_ns = INT64_C(1767225600000000000) + self->now_ns};
}

static inline void fuzz_send(void *context, uint32_t peer, bool bulk, const bb_outbound_t *out)
{
    fuzz_shard_t *self = context;
    (void)bulk;
    BB_ASSERT(peer != 0 && peer < 3);
    bb_message_t message;
    bb_error_t error = bb_message_decode(&message, bb_buffer_slice(out->envelope), NULL);
    BB_ASSERT(error == BB_OK); // whatever came, what leaves can be read
    bb_message_close(&message);
    self->sent_count++;
}

static inline void fuzz_answer(void *context, uint64_t ticket, const bb_outbound_t *out)
{
    fuzz_shard_t *self = context;
    BB_ASSERT(ticket < FUZZ_TICKETS_MAX);
    bb_message_t message;
    bb_error_t error = bb_message_decode(&message, bb_buffer_slice(out->envelope), NULL);
    BB_ASSERT(error == BB_OK);
    self->answers[ticket]++;
    BB_ASSERT(self->answers[ticket] == 1);
    self->is_ok[ticket] = message.kind == BB_KIND_WRITE_REPLY;
    bb_message_close(&message);
}

static inline void fuzz_scan(void *context, uint64_t ticket, uint64_t request_id,
                             bb_snapshot_t *snapshot, bb_buffer_t *request,
                             const bb_missing_t *missing, uint32_t missing_count,
                             bb_buffer_t *session, int64_t deadline_mono_ns)
{
    fuzz_shard_t *self = context;
    (void)request_id, (void)session, (void)deadline_mono_ns;
    bb_message_t message;
    bb_error_t error = bb_message_decode(&message, bb_buffer_slice(request), NULL);
    BB_ASSERT(error == BB_OK);
    uint32_t *room = bb_alloc(((size_t)message.query.partition_count + 1) * sizeof *room);
    bb_shard_query_exclude(&message.query, missing, missing_count, room);
    bb_page_builder_t *builder = bb_page_builder_new();
    bb_scan_result_t result = {0};
    error = bb_scan_page(snapshot, &message.query, builder, &result, NULL);
    bb_ignore(error, "a query may be refused as late as here");
    bb_snapshot_close(&snapshot);
    uint8_t *data = NULL;
    size_t length = 0;
    bb_page_builder_finish(builder, &data, &length);
    bb_page_builder_destroy(&builder);
    free(data);
    free(result.cursor);
    free(room);
    bb_message_close(&message);
    self->answers[ticket]++;
    BB_ASSERT(self->answers[ticket] == 1);
}

static inline void fuzz_job(void *context, bb_store_job_t *job)
{
    fuzz_shard_t *self = context;
    BB_ASSERT(!self->job);
    self->job = job;
}

static inline void fuzz_shard_open(fuzz_shard_t *self, uint8_t stream)
{
    bb_shard_options_t options = {
        .store = {.vfs = bb_sim_disk_vfs(self->disk),
                  .kv = bb_sim_kv(self->disk),
                  .directory = "store",
                  .cluster_id = {1},
                  .node_id = "n1",
                  .store_count = 1,
                  .partition_count = FUZZ_PARTITIONS,
                  .memory_bytes = FUZZ_MEMORY,
                  .journal_file_bytes = 8192},
        .topology = self->topology,
        .stream = test_stream(stream),
        .in_flight_bytes_max = FUZZ_IN_FLIGHT,
        .peer_unacked_bytes_max = FUZZ_UNACKED,
        .out = {.context = self,
                .send = fuzz_send,
                .answer = fuzz_answer,
                .scan = fuzz_scan,
                .job = fuzz_job},
    };
    bb_store_report_t report;
    bb_error_t error = bb_shard_open(&options, &report, &self->shard, NULL);
    BB_ASSERT(error == BB_OK);
}

static inline fuzz_shard_t *fuzz_shard_new(void)
{
    fuzz_shard_t *self = bb_alloc_zero(1, sizeof *self);
    self->disk = bb_sim_disk_new();
    self->topology = test_topology(3, 3, 0, 0, FUZZ_PARTITIONS, 0);
    self->now_ns = BB_NS_PER_S;
    fuzz_shard_open(self, 101);
    return self;
}

static inline void fuzz_shard_commit(fuzz_shard_t *self, int64_t passes_ns)
{
    bb_shard_commit(self->shard, fuzz_time(self));
    if (self->job) {
        bb_store_job_t *job = self->job;
        self->job = NULL;
        bb_error_t error = bb_store_job_run(job, NULL);
        BB_ASSERT(error == BB_OK); // the disk is sound, and what is in the store was checked
        bb_shard_job_done(self->shard, fuzz_time(self), job, error);
    }
    // Nothing that a peer or client does passes the limits by more than one message.
    BB_ASSERT(self->shard->in_flight_bytes <= FUZZ_IN_FLIGHT + (8u << 20));
    for (uint32_t peer = 1; peer < 3; peer++) {
        BB_ASSERT(bb_replication_unacked_bytes(self->shard->replication, peer) <=
                  FUZZ_UNACKED + (8u << 20));
    }
    bb_replication_check(self->shard->replication);
    self->now_ns += passes_ns;
}

static inline void fuzz_shard_destroy(fuzz_shard_t **self_pointer)
{
    fuzz_shard_t *self = *self_pointer;
    *self_pointer = NULL;
    bb_shard_close(&self->shard);
    bb_topology_destroy(&self->topology);
    bb_sim_disk_destroy(&self->disk);
    free(self);
}

#endif
