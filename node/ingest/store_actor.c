// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/store_actor.h"

#include <czmq.h>

#include "node/runtime/bb_clock.h"
#include "node/runtime/bb_poller.h"
#include "node/runtime/bb_post_order.h"
#include "node/runtime/bb_tsan.h"
#include "node/runtime/bb_window_checker.h"
#include "storage/bb_store_room.h"

#define S_POSTS_PER_COMMIT        256
#define S_STAGED_BYTES_PER_COMMIT (8u << 20)
#define S_WAIT_MS_MAX             1000
// How often what is kept back is looked through for deadlines.
#define S_HELD_LOOK_NS (INT64_C(20) * BB_NS_PER_MS)
// Of the node's memory; the rest is for flushes, merges, scans and queues.
#define S_HEAD_SHARE_NUMERATOR   5
#define S_HEAD_SHARE_DENOMINATOR 8
#define S_PUBLISH_NS             (INT64_C(250) * BB_NS_PER_MS)
// Nothing came but questions and answers about have-sets.
#define S_PUBLISH_IDLE_NS (INT64_C(1000) * BB_NS_PER_MS)
// After an answer the figures may be asked for at once: publish them sooner.
#define S_PUBLISH_ANSWER_NS (INT64_C(25) * BB_NS_PER_MS)

// Posts kept back, in order.
typedef struct {
    bb_post_t *first, **end;
    uint64_t bytes;
} s_queue_t;

typedef struct {
    bb_node_t *node;
    uint32_t index;
    bb_log_t log;
    zsock_t *pipe;
    bb_mailbox_t *mailbox;
    bb_outlet_t *router, *mesh, *control, *background, *observer, *supervisor;
    bb_outlet_t *scans[BB_SCAN_THREADS_MAX];
    bb_vfs_t vfs; // the machine's, and who wants to know of kill points
    bb_kv_driver_t kv;
    bb_shard_t *shard; // NULL: could not be opened
    bool is_skewed, is_fenced;
    bool is_draining, drain_told;
    bool is_stopping, stop_told;
    bool job_is_out, has_answered, has_worked; // since the last publishing
    bool rebuilt_told, settled_told;
    uint64_t promises; // told to control
    int64_t published_mono_ns;
    s_queue_t writes; // of clients, kept back until there is room
    s_queue_t chunks; // REPLICATEs of peers, likewise
    int64_t held_look_mono_ns;
} s_store_t;

static bb_shard_time_t s_now(const s_store_t *self)
{
    return (bb_shard_time_t){
        .mono_ns = bb_clock_mono_ns(), .wall_ns = bb_clock_wall_ns(), .is_skewed = self->is_skewed};
}

static void s_event(s_store_t *self, bb_event_kind_t kind, const bb_fault_t *fault)
{
    bb_post_t *post = bb_post_new(BB_POST_EVENT);
    post->event.kind = kind;
    post->event.index = self->index;
    if (fault) {
        post->event.fault = *fault;
    }
    bb_outlet_send_always(self->supervisor, &post);
}

// ---- what leaves the shard ---------------------------------------------------------------------
static void s_send(void *context, uint32_t peer_index, bool is_bulk, const bb_outbound_t *message)
{
    s_store_t *self = context;
    bb_post_t *post = bb_post_new(BB_POST_SEND);
    post->send = (bb_post_send_t){
        .peer_index = peer_index, .is_bulk = is_bulk, .outbound = bb_outbound_keep(message)};
    if (bb_outlet_send(self->mesh, &post, bb_outbound_bytes(message)) != BB_OK) {
        bb_metrics_add(self->node->metrics, BB_METRIC_PEER_DROPPED_QUEUE, 1);
        bb_post_destroy(&post); // messages to peers may be lost: the peer pulls
    }
}

static void s_answer(void *context, uint64_t ticket, const bb_outbound_t *message)
{
    s_store_t *self = context;
    bb_post_t *post = bb_post_new(BB_POST_ANSWER);
    post->answer = (bb_post_answer_t){ticket, self->index, bb_outbound_keep(message)};
    bb_outlet_send_always(self->router, &post);
    self->has_answered = true;
}

static void s_answer_error(s_store_t *self, uint64_t ticket, uint64_t request_id, bb_error_t error,
                           const char *detail)
{
    bb_message_t message = {.kind = BB_KIND_ERROR,
                            .epoch = bb_topology_epoch(self->node->topology),
                            .request_id = request_id};
    message.error = (bb_error_reply_t){.code = error, .detail = bb_slice(detail, strlen(detail))};
    uint8_t *encoded;
    size_t length;
    bb_message_encode(&message, &encoded, &length);
    bb_outbound_t outbound = {.envelope = bb_buffer_new(encoded, length, NULL, NULL)};
    s_answer(self, ticket, &outbound);
    bb_outbound_drop(&outbound);
}

static void s_scan(void *context, uint64_t ticket, uint64_t request_id, bb_snapshot_t *snapshot,
                   bb_buffer_t *request, const bb_missing_t *missing, uint32_t missing_count,
                   bb_buffer_t *session, int64_t deadline_mono_ns)
{
    s_store_t *self = context;
    if (self->is_stopping) {
        bb_snapshot_close(&snapshot);
        s_answer_error(self, ticket, request_id, BB_ERR_STOPPING, "");
        return;
    }
    bb_post_t *post = bb_post_new(BB_POST_SCAN);
    post->scan = (bb_post_scan_t){
        .ticket = ticket,
        .request_id = request_id,
        .store_index = self->index,
        .snapshot = snapshot,
        .request = bb_buffer_keep(request),
        .missing = bb_alloc_zero((size_t)missing_count + 1, sizeof *missing),
        .missing_count = missing_count,
        .session = session ? bb_buffer_keep(session) : NULL,
        .deadline_mono_ns = deadline_mono_ns,
    };
    if (missing_count > 0) {
        memcpy(post->scan.missing, missing, missing_count * sizeof *missing);
    }
    uint32_t least = 0;
    for (uint32_t i = 1; i < self->node->scan_count; i++) {
        if (bb_mailbox_load(self->node->scans[i]) < bb_mailbox_load(self->node->scans[least])) {
            least = i;
        }
    }
    bb_outlet_send_always(self->scans[least], &post); // bounded by what the router admitted
}

static void s_job(void *context, bb_store_job_t *job)
{
    s_store_t *self = context;
    BB_ASSERT(!self->job_is_out);
    self->job_is_out = true;
    bb_post_t *post = bb_post_new(BB_POST_JOB);
    post->job = (bb_post_job_t){.store_index = self->index, .job = job};
    bb_outlet_send_always(self->background, &post);
}

// Only measures; the times that the shard decides by come in with each call.
static int64_t s_clock_mono_ns(void *context)
{
    (void)context;
    return bb_clock_mono_ns();
}

// ---- publishing --------------------------------------------------------------------------------
// That something was promised since the last time, and that a lost disk is made good.
static void s_tell_control(s_store_t *self, const bb_shard_stats_t *stats)
{
    if (stats->promises != self->promises) {
        self->promises = stats->promises;
        bb_post_t *post = bb_post_new(BB_POST_PROMISED);
        bb_outlet_send_always(self->control, &post);
    }
    if (!self->rebuilt_told && bb_shard_standing(self->shard) == BB_STANDING_REBUILDING &&
        bb_shard_is_rebuilt(self->shard)) {
        self->rebuilt_told = true;
        bb_post_t *post = bb_post_new(BB_POST_REBUILT);
        post->store_index = self->index;
        bb_outlet_send_always(self->control, &post);
    }
    if (!self->settled_told && bb_shard_is_settled(self->shard)) {
        self->settled_told = true;
        bb_post_t *post = bb_post_new(BB_POST_SETTLED);
        post->store_index = self->index;
        bb_outlet_send_always(self->control, &post);
    }
}

static void s_publish(s_store_t *self, int64_t now_mono_ns)
{
    bb_shard_stats_t stats;
    bb_shard_stats(self->shard, &stats);
    if (stats.is_fenced && !self->is_fenced) {
        self->is_fenced = true;
        bb_log_error(&self->log, "store fenced: a sync failed, nothing more is acknowledged");
    }
    s_tell_control(self, &stats);
    bb_outlet_t *readers[] = {self->router, self->observer, self->mesh};
    for (size_t i = 0; i < BB_COUNT_OF(readers); i++) {
        bb_post_t *post = bb_post_new(BB_POST_STATS);
        post->stats.store_index = self->index;
        post->stats.stats = bb_alloc(sizeof stats);
        *post->stats.stats = stats;
        bb_outlet_send_always(readers[i], &post);
    }
    self->published_mono_ns = now_mono_ns;
    self->has_answered = false;
    self->has_worked = self->job_is_out;
}

static int64_t s_publish_due_mono_ns(const s_store_t *self)
{
    return self->published_mono_ns + (self->has_answered ? S_PUBLISH_ANSWER_NS
                                      : self->has_worked ? S_PUBLISH_NS
                                                         : S_PUBLISH_IDLE_NS);
}

// ---- what comes in -----------------------------------------------------------------------------
static void s_on_client(s_store_t *self, bb_post_request_t *request)
{
    bb_message_t *message = &request->message;
    bb_shard_time_t now = s_now(self);
    int64_t waited_ns = now.mono_ns - request->received_mono_ns;
    if (waited_ns >= message->timeout_ns) { // the router gives every request a deadline
        bb_metrics_add(self->node->metrics, BB_METRIC_REFUSED_LATE, 1);
        s_answer_error(self, request->ticket, message->request_id, BB_ERR_TIMEOUT,
                       "the deadline passed while the request waited; nothing was done");
        return;
    }
    message->timeout_ns -= waited_ns;
    bb_shard_client(self->shard, now, request->ticket, message, request->envelope, request->batch);
}

// ---- kept back ---------------------------------------------------------------------------------
// While the head is full, or fills faster than flushes empty it (bb_pace.h), WRITEs wait here
// instead of being refused: their clients wait for the answer, which slows them down without a
// pause and a second sending. Past a quarter of what may be in flight they are refused after all,
// and each has its deadline. Chunks of peers wait while the head is full: dropped ones would be
// pulled, but only after somebody has noticed that they lack. Past a quarter of what may wait for a
// peer they are.
static bool s_is_kept_back(const s_store_t *self, const bb_post_t *post)
{
    const bb_config_limits_t *limits = &self->node->config->limits;
    if (post->kind == BB_POST_CLIENT && post->request.message.kind == BB_KIND_WRITE) {
        int64_t now_mono_ns = bb_clock_mono_ns();
        return (self->writes.first ||
                bb_shard_take_mono_ns(self->shard, now_mono_ns) > now_mono_ns) &&
               self->writes.bytes < limits->in_flight_bytes / 4;
    }
    if (post->kind == BB_POST_PEER && post->request.message.kind == BB_KIND_REPLICATE) {
        return (self->chunks.first || bb_shard_is_full(self->shard)) &&
               self->chunks.bytes < limits->peer_queue_bytes / 4;
    }
    return false;
}

static void s_hold(s_store_t *self, bb_post_t *post)
{
    s_queue_t *queue = post->kind == BB_POST_PEER ? &self->chunks : &self->writes;
    post->next = NULL;
    *queue->end = post;
    queue->end = &post->next;
    queue->bytes += bb_buffer_slice(post->request.batch).length;
}

static bb_post_t *s_release(s_queue_t *queue, bb_post_t **link)
{
    bb_post_t *post = *link;
    *link = post->next;
    if (!post->next) {
        queue->end = link;
    }
    queue->bytes -= bb_buffer_slice(post->request.batch).length;
    return post;
}

// Answers WRITEs whose deadline has come; looks once in a while.
static void s_refuse_late(s_store_t *self)
{
    int64_t now_mono_ns = bb_clock_mono_ns();
    if (now_mono_ns < self->held_look_mono_ns) {
        return;
    }
    self->held_look_mono_ns = now_mono_ns + S_HELD_LOOK_NS;
    for (bb_post_t **link = &self->writes.first; *link;) {
        const bb_post_request_t *request = &(*link)->request;
        if (now_mono_ns + 2 * S_HELD_LOOK_NS - request->received_mono_ns <
            request->message.timeout_ns) {
            link = &(*link)->next;
            continue;
        }
        bb_post_t *post = s_release(&self->writes, link);
        s_answer_error(self, post->request.ticket, post->request.message.request_id, BB_ERR_BUSY,
                       "the head was full until the deadline; nothing was done");
        bb_post_destroy(&post);
    }
}

// When the first one kept back may be taken; BB_NEVER_NS: none is, or when a flush has ended.
static int64_t s_held_due_mono_ns(const s_store_t *self, int64_t now_mono_ns)
{
    int64_t due_mono_ns = BB_NEVER_NS;
    if (self->writes.first) {
        due_mono_ns =
            BB_MIN(bb_shard_take_mono_ns(self->shard, now_mono_ns), self->held_look_mono_ns);
    }
    return self->chunks.first && !bb_shard_is_full(self->shard) ? now_mono_ns : due_mono_ns;
}

static void s_on_marks(s_store_t *self)
{
    const bb_topology_t *topology = self->node->topology;
    bb_shard_time_t now = s_now(self);
    bb_mark_board_take(self->node->mark_board, self->index);
    for (uint32_t i = 0; i < bb_topology_node_count(topology); i++) {
        if (i != bb_topology_self_index(topology)) {
            bb_shard_peer_mark(self->shard, now, i, bb_mark_board_get(self->node->mark_board, i));
        }
    }
}

// How long live batches wait here says whether repair is to give way.
static void s_note_wait(s_store_t *self, const bb_post_t *post)
{
    bb_post_class_t class = bb_post_class(post);
    if (class == BB_POST_CLASS_CHUNKS || class == BB_POST_CLASS_WRITES) {
        int64_t now_mono_ns = bb_clock_mono_ns();
        bb_shard_waited(self->shard, now_mono_ns, now_mono_ns - post->request.received_mono_ns);
    }
}

static void s_on_post(s_store_t *self, bb_post_t *post)
{
    s_note_wait(self, post);
    self->has_worked |= bb_post_class(post) != BB_POST_CLASS_SMALL;
    switch (post->kind) {
    case BB_POST_CLIENT:
        s_on_client(self, &post->request);
        break;
    case BB_POST_PEER:
        bb_shard_peer(self->shard, s_now(self), post->request.peer_index, &post->request.message,
                      post->request.chunks, post->request.batch);
        break;
    case BB_POST_PEER_STATE:
        bb_shard_peer_state(self->shard, s_now(self), post->peer_state.peer_index,
                            post->peer_state.is_up, &post->peer_state.incarnation,
                            post->peer_state.store_count);
        break;
    case BB_POST_FORGOTTEN:
        bb_shard_forget(self->shard, s_now(self), post->forgotten);
        break;
    case BB_POST_STANDING:
        bb_shard_set_standing(self->shard, s_now(self), post->standing);
        break;
    case BB_POST_PEER_STANDING:
        bb_shard_peer_standing(self->shard, s_now(self), post->peer_word.peer_index,
                               post->peer_word.is_counting);
        break;
    case BB_POST_PEER_SLOW:
        bb_shard_peer_slow(self->shard, post->peer_slow.peer_index, post->peer_slow.is_slow);
        break;
    case BB_POST_PEER_MARKS:
        s_on_marks(self);
        break;
    case BB_POST_CLOCK:
        self->is_skewed = post->is_skewed;
        break;
    case BB_POST_JOB_DONE:
        self->job_is_out = false;
        bb_shard_job_done(self->shard, s_now(self), post->job.job, post->job.error);
        break;
    case BB_POST_POLICY:
        bb_shard_policy(self->shard, s_now(self), post->policy);
        break;
    case BB_POST_DRAIN:
        self->is_draining = true;
        bb_shard_drain(self->shard, s_now(self));
        break;
    case BB_POST_STOP:
        self->is_stopping = true;
        break;
    default:
        BB_ASSERT(!"a post that a store never gets");
    }
}

// Takes what there is room for.
static void s_take_held(s_store_t *self)
{
    while (self->chunks.first && !bb_shard_is_full(self->shard) &&
           bb_shard_staged_bytes(self->shard) < S_STAGED_BYTES_PER_COMMIT) {
        bb_post_t *post = s_release(&self->chunks, &self->chunks.first);
        s_on_post(self, post);
        bb_post_destroy(&post);
    }
    int64_t now_mono_ns = bb_clock_mono_ns();
    while (self->writes.first && bb_shard_take_mono_ns(self->shard, now_mono_ns) <= now_mono_ns &&
           bb_shard_staged_bytes(self->shard) < S_STAGED_BYTES_PER_COMMIT) {
        bb_post_t *post = s_release(&self->writes, &self->writes.first);
        s_on_post(self, post);
        bb_post_destroy(&post);
    }
    s_refuse_late(self);
}

static void s_take_posts(s_store_t *self)
{
    for (uint32_t i = 0; i < S_POSTS_PER_COMMIT; i++) {
        bb_post_t *post = bb_mailbox_receive(self->mailbox);
        if (!post) {
            break;
        }
        if (s_is_kept_back(self, post)) {
            s_hold(self, post);
            continue;
        }
        s_on_post(self, post);
        bb_post_destroy(&post);
        if (bb_shard_staged_bytes(self->shard) >= S_STAGED_BYTES_PER_COMMIT) {
            break;
        }
    }
}

static void s_tell_supervisor(s_store_t *self)
{
    if (self->is_draining && !self->drain_told && bb_shard_is_drained(self->shard)) {
        self->drain_told = true;
        s_event(self, BB_EVENT_STORE_DRAINED, NULL);
    }
    // Stopped: no job is out and no snapshot will be given out any more.
    if (self->is_stopping && !self->stop_told && !self->job_is_out) {
        self->stop_told = true;
        s_event(self, BB_EVENT_STORE_STOPPED, NULL);
    }
}

static void s_run(s_store_t *self)
{
    bb_poller_t poller = {.count = 0};
    uint32_t on_pipe = bb_poller_add(&poller, zsock_resolve(self->pipe));
    uint32_t on_mailbox = bb_poller_add_fd(&poller, bb_mailbox_fd(self->mailbox));
    while (!bb_poller_is_ready(&poller, on_pipe)) { // $TERM is all that is ever said on the pipe
        int64_t wake_mono_ns =
            BB_MIN(bb_shard_wake_mono_ns(self->shard), s_publish_due_mono_ns(self));
        int64_t begin_mono_ns = bb_clock_mono_ns();
        wake_mono_ns = BB_MIN(wake_mono_ns, s_held_due_mono_ns(self, begin_mono_ns));
        if (self->stop_told) {
            wake_mono_ns = BB_NEVER_NS;
        }
        long wait_ms = bb_clock_timeout_ms(begin_mono_ns, wake_mono_ns, S_WAIT_MS_MAX);
        if (!bb_poller_wait(&poller, wait_ms)) {
            break;
        }
        if (self->stop_told) {
            continue; // what still arrives is dropped with the mailbox
        }
        s_take_held(self);
        if (bb_poller_is_ready(&poller, on_mailbox)) {
            s_take_posts(self);
        }
        bb_shard_commit(self->shard, s_now(self));
        atomic_store_explicit(&self->node->have_versions[self->index],
                              bb_shard_have_version(self->shard), memory_order_relaxed);
        int64_t now_mono_ns = bb_clock_mono_ns();
        if (now_mono_ns >= s_publish_due_mono_ns(self)) {
            s_publish(self, now_mono_ns);
        }
        s_tell_supervisor(self);
    }
}

// ---- life --------------------------------------------------------------------------------------
void bb_store_actor_directory(const bb_config_t *config, uint32_t index, char *out, size_t size)
{
    snprintf(out, size, "%s/store-%02u", config->data_dir, index);
}

static void s_open(s_store_t *self)
{
    const bb_config_t *config = self->node->config;
    char directory[BB_PATH_BYTES_MAX + 16];
    bb_store_actor_directory(config, self->index, directory, sizeof directory);
    self->vfs = *bb_vfs_posix();
    self->kv = *bb_kv_lmdb();
    self->vfs.killpoint = self->kv.killpoint = bb_killpoint_of_process();
    bb_shard_options_t options = {
        .store = {.vfs = &self->vfs,
                  .kv = &self->kv,
                  .directory = directory,
                  .node_id = config->node_id,
                  .store_index = self->index,
                  .store_count = self->node->store_count,
                  .partition_count = bb_topology_partition_count(self->node->topology),
                  .memory_bytes = (size_t)(config->memory_bytes * S_HEAD_SHARE_NUMERATOR /
                                           S_HEAD_SHARE_DENOMINATOR / self->node->store_count),
                  .journal_file_bytes = config->limits.journal_file_bytes,
                  .disk_reserve_bytes =
                      config->disk_reserve_bytes
                          ? config->disk_reserve_bytes
                          : bb_store_room_reserve_default(bb_vfs_posix(), config->data_dir),
                  .kv_map_bytes = (size_t)config->limits.map_bytes,
                  .policy = config->policy,
                  .scrub_bytes_per_s = config->scrub_bytes_per_s,
                  .checker = bb_window_checker()},
        .topology = self->node->topology,
        .stream = self->node->incarnation,
        .rules = bb_threshold_engine(config->watch),
        .in_flight_bytes_max = config->limits.in_flight_bytes,
        .peer_unacked_bytes_max = config->limits.peer_queue_bytes,
        .dc_link_bytes_per_s = bb_config_link_share(config),
        .repair_bytes_per_s =
            (config->repair_bytes_per_s + self->node->store_count - 1) / self->node->store_count,
        .have_report_interval_ns = config->limits.have_report_ns,
        .flush_age_ns_max = config->limits.flush_age_ns,
        .journal_budget_bytes =
            (config->journal_budget_bytes + self->node->store_count - 1) / self->node->store_count,
        .standing = BB_STANDING_JOINING,
        .out = {.context = self,
                .send = s_send,
                .answer = s_answer,
                .scan = s_scan,
                .job = s_job,
                .clock_mono_ns = s_clock_mono_ns},
    };
    memcpy(options.store.cluster_id, config->cluster_id, sizeof options.store.cluster_id);
    bb_store_report_t report = {0};
    bb_fault_t fault = {0};
    int64_t begin_mono_ns = bb_clock_mono_ns();
    bb_error_t error = bb_shard_open(&options, &report, &self->shard, &fault);
    fault.error = error;
    if (error != BB_OK) {
        self->shard = NULL;
    } else {
        bb_log_info(&self->log, "store open", BB_LOG_TEXT("directory", directory),
                    BB_LOG_U64("journal_records", report.journal_records),
                    BB_LOG_U64("journal_bytes", report.journal_bytes),
                    BB_LOG_U64("torn_bytes", report.torn_bytes),
                    BB_LOG_U64("damaged", report.damaged_count),
                    BB_LOG_U64("batteries", report.battery_count),
                    BB_LOG_U64("windows", report.window_count),
                    BB_LOG_I64("ms", (bb_clock_mono_ns() - begin_mono_ns) / BB_NS_PER_MS));
        if (report.damaged_count > report.unsynced_count) { // the others nobody was told of
            bb_log_error(&self->log, "journal damaged", BB_LOG_U64("records", report.damaged_count),
                         BB_LOG_U64("bytes", report.damaged_bytes),
                         BB_LOG_TEXT("first", report.first_damage));
        }
        if (report.meta_damaged_count > 0) { // nothing of it is needed: it is found again
            bb_log_error(&self->log, "meta damaged",
                         BB_LOG_U64("records", report.meta_damaged_count),
                         BB_LOG_TEXT("first", report.first_meta_damage));
        }
    }
    s_event(self, BB_EVENT_STORE_OPENED, &fault);
}

static void s_connect(s_store_t *self)
{
    self->mailbox = self->node->stores[self->index];
    self->router = bb_outlet_new(self->node->router);
    self->mesh = bb_outlet_new(self->node->mesh);
    self->control = bb_outlet_new(self->node->control);
    self->background = bb_outlet_new(self->node->background);
    self->observer = bb_outlet_new(self->node->observer);
    self->supervisor = bb_outlet_new(self->node->supervisor);
    for (uint32_t i = 0; i < self->node->scan_count; i++) {
        self->scans[i] = bb_outlet_new(self->node->scans[i]);
    }
}

static void s_destroy(s_store_t **self_p)
{
    s_store_t *self = *self_p;
    *self_p = NULL;
    s_queue_t *queues[] = {&self->writes, &self->chunks};
    for (size_t i = 0; i < BB_COUNT_OF(queues); i++) {
        while (queues[i]->first) { // the router answers for the writes it still knows
            bb_post_t *post = s_release(queues[i], &queues[i]->first);
            bb_post_destroy(&post);
        }
    }
    if (self->shard) {
        bb_shard_sign_off(self->shard);
        bb_shard_close(&self->shard);
    }
    bb_outlet_destroy(&self->router);
    bb_outlet_destroy(&self->mesh);
    bb_outlet_destroy(&self->control);
    bb_outlet_destroy(&self->background);
    bb_outlet_destroy(&self->observer);
    bb_outlet_destroy(&self->supervisor);
    for (uint32_t i = 0; i < self->node->scan_count; i++) {
        bb_outlet_destroy(&self->scans[i]);
    }
    BB_TSAN_RELEASE(self->node);
    free(self);
}

static void s_store_actor(zsock_t *pipe, void *argument)
{
    s_store_t *self = argument;
    bb_actor_set_name("store", self->index);
    self->pipe = pipe;
    s_connect(self);
    zsock_signal(pipe, 0); // recovery may take long: the supervisor must not wait here
    s_open(self);
    if (self->shard) {
        s_run(self);
    } else {
        zmq_pollitem_t item = {.socket = zsock_resolve(pipe), .events = ZMQ_POLLIN};
        zmq_poll(&item, 1, -1); // $TERM
    }
    s_destroy(&self);
}

zactor_t *bb_store_actor_new(bb_node_t *node, uint32_t index)
{
    s_store_t *self = bb_alloc_zero(1, sizeof *self);
    self->node = node;
    self->index = index;
    self->writes.end = &self->writes.first;
    self->chunks.end = &self->chunks.first;
    bb_log_init(&self->log, node->config->log_level, STDERR_FILENO, "store", index);
    return zactor_new(s_store_actor, self);
}
