// SPDX-License-Identifier: Apache-2.0
#include "node/control/supervisor_actor.h"

#include <czmq.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include "node/background/background_actor.h"
#include "node/control/bb_control.h"
#include "node/control/control_actor.h"
#include "node/control/mesh_actor.h"
#include "node/control/metrics_actor.h"
#include "node/control/zap_actor.h"
#include "node/ingest/router_actor.h"
#include "node/ingest/store_actor.h"
#include "node/query/scan_actor.h"
#include "node/runtime/bb_clock.h"
#include "node/runtime/bb_socket.h"
#include "node/runtime/bb_tsan.h"

#define S_EXIT_IN_USE   5
#define S_EXIT_STALE    6 // to be started again
#define S_UNBOUNDED     UINT64_MAX
#define S_CONTROL_BYTES (UINT64_C(16) << 20) // of peers; past it they ask again
// A job cannot be interrupted; past this the process ends without waiting: the journal has it all.
#define S_STOP_NS (INT64_C(20) * BB_NS_PER_S)

typedef struct {
    bb_node_t node;
    bb_identity_t *identity;
    bb_log_t log;
    bb_file_t *lock;
    int signals; // signalfd
    int listener;
    zsock_t *client, *peer, *bulk; // bound; given to their actors
    zactor_t *zap, *metrics, *router, *mesh, *control, *background;
    zactor_t *stores[BB_STORES_MAX], *scans[BB_SCAN_THREADS_MAX];
    uint32_t stores_told, stores_open; // told: open, or it failed
    uint32_t stores_drained, stores_stopped;
    bool has_signal, peers_seen, store_failed, is_stale;
    bb_fault_t fault; // of what failed
} s_supervisor_t;

static void s_set_state(s_supervisor_t *self, bb_node_state_t state)
{
    atomic_store_explicit(&self->node.state, state, memory_order_relaxed);
}

// ---- events ------------------------------------------------------------------------------------
static void s_on_event(s_supervisor_t *self, const bb_post_event_t *event)
{
    switch (event->kind) {
    case BB_EVENT_STORE_OPENED:
        self->stores_told++;
        if (event->fault.error == BB_OK) {
            self->stores_open++;
        } else if (!self->store_failed) {
            self->store_failed = true;
            self->fault = event->fault;
        }
        break;
    case BB_EVENT_STORE_DRAINED:
        self->stores_drained++;
        break;
    case BB_EVENT_STORE_STOPPED:
        self->stores_stopped++;
        break;
    case BB_EVENT_PEERS_SEEN:
        self->peers_seen = true;
        break;
    case BB_EVENT_STANDING:
        break; // whoever waits for it looks
    case BB_EVENT_STALE:
        self->is_stale = self->has_signal = true;
        break;
    case BB_EVENT_ACTOR_FAILED:
        bb_log_error(&self->log, "actor failed", BB_LOG_TEXT("detail", event->fault.text));
        break;
    }
}

// ---- reload ------------------------------------------------------------------------------------
// Reads the file again and gives its retention and rollups to the stores. Everything else of a
// configuration is fixed while a node runs. A file that is refused changes nothing.
static void s_reload(s_supervisor_t *self)
{
    bb_config_t *config = NULL;
    bb_fault_t fault = {0};
    if (bb_config_load(self->node.config->path, &config, &fault) != BB_OK) {
        bb_log_error(&self->log, "configuration refused, nothing changed",
                     BB_LOG_TEXT("detail", fault.text));
        return;
    }
    for (uint32_t i = 0; i < self->node.store_count; i++) {
        bb_outlet_t *outlet = bb_outlet_new(self->node.stores[i]);
        bb_post_t *post = bb_post_new(BB_POST_POLICY);
        post->policy = bb_policy_retain(config->policy);
        bb_outlet_send_always(outlet, &post);
        bb_outlet_destroy(&outlet);
    }
    bb_log_info(&self->log, "retention and rollups read",
                BB_LOG_U64("classes", bb_policy_class_count(config->policy)),
                BB_LOG_U64("rollups", bb_policy_rollup_count(config->policy)));
    bb_config_destroy(&config);
}

static void s_on_signal(s_supervisor_t *self)
{
    struct signalfd_siginfo information;
    if (read(self->signals, &information, sizeof information) != sizeof information) {
        return;
    }
    if (information.ssi_signo == SIGHUP) {
        s_reload(self);
        return;
    }
    self->has_signal = true;
    bb_log_info(&self->log, "stopping", BB_LOG_U64("signal", information.ssi_signo));
    // The next one is for the kernel: it ends the process at once.
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

// Waits for events and signals until `is_done` says so or the time has come; true when done.
typedef bool (*s_done_fn)(const s_supervisor_t *self);
static bool s_wait(s_supervisor_t *self, s_done_fn is_done, int64_t limit_mono_ns)
{
    zmq_pollitem_t items[] = {
        {.fd = bb_mailbox_fd(self->node.supervisor), .events = ZMQ_POLLIN},
        {.fd = self->signals, .events = ZMQ_POLLIN},
    };
    while (!is_done(self)) {
        int64_t now_mono_ns = bb_clock_mono_ns();
        if (now_mono_ns >= limit_mono_ns) {
            return false;
        }
        if (zmq_poll(items, 2, bb_clock_timeout_ms(now_mono_ns, limit_mono_ns, 60000)) < 0) {
            continue; // EINTR
        }
        if (items[1].revents & ZMQ_POLLIN) {
            s_on_signal(self);
        }
        for (bb_post_t *post = bb_mailbox_receive(self->node.supervisor); post;
             post = bb_mailbox_receive(self->node.supervisor)) {
            if (post->kind == BB_POST_EVENT) {
                s_on_event(self, &post->event);
            }
            bb_post_destroy(&post);
        }
    }
    return true;
}

static bool s_is_open(const s_supervisor_t *self)
{
    return self->has_signal || self->store_failed || self->stores_open == self->node.store_count;
}

static bool s_is_met(const s_supervisor_t *self)
{
    return self->has_signal || self->peers_seen;
}

static bool s_is_counting(const s_supervisor_t *self)
{
    return self->has_signal ||
           atomic_load_explicit(&self->node.standing, memory_order_relaxed) == BB_STANDING_COUNTING;
}

static bool s_is_told_to_stop(const s_supervisor_t *self)
{
    return self->has_signal;
}

static bool s_is_drained(const s_supervisor_t *self)
{
    return self->stores_drained == self->node.store_count;
}

static bool s_is_stopped(const s_supervisor_t *self)
{
    // A store that still recovers opens first: it may begin a job, which has to end.
    return self->stores_told == self->node.store_count && self->stores_stopped == self->stores_open;
}

// ---- start -------------------------------------------------------------------------------------
static void s_raise_file_limit(s_supervisor_t *self)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < 4096) {
        bb_log_warning(&self->log, "few file descriptors", BB_LOG_U64("limit", limit.rlim_max));
    }
}

static void s_block_signals(s_supervisor_t *self)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL); // inherited by every thread made later
    signal(SIGPIPE, SIG_IGN);
    self->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    BB_ASSERT(self->signals >= 0);
}

static void s_start_messaging(const bb_config_t *config)
{
    setenv("ZSYS_SIGHANDLER", "false", 1); // before CZMQ's first call: it reads it once
    zsys_init();
    zsys_handler_set(NULL);
    zsys_set_logstream(NULL);
    zsys_set_io_threads(config->limits.io_threads);
    zsys_set_max_sockets(8192);
    zsys_set_linger(500);
}

static bb_error_t s_lock_folder(s_supervisor_t *self, bb_fault_t *fault)
{
    const char *data_dir = self->node.config->data_dir;
    bb_vfs_t *vfs = bb_vfs_posix();
    bb_error_t error = vfs->make_directory(vfs, data_dir);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "cannot make the data folder %s: %s", data_dir,
                            bb_error_message(error));
    }
    char path[BB_PATH_BYTES_MAX + 32];
    snprintf(path, sizeof path, "%s/busbar.lock", data_dir);
    error = vfs->open(vfs, path, BB_FILE_WRITE, &self->lock, fault);
    if (error != BB_OK) {
        return error;
    }
    error = vfs->lock(vfs, self->lock);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "the data folder %s cannot be locked: %s", data_dir,
                            bb_error_message(error));
    }
    for (uint32_t i = 0; i < self->node.store_count; i++) {
        bb_store_actor_directory(self->node.config, i, path, sizeof path);
        error = vfs->make_directory(vfs, path);
        if (error != BB_OK) {
            return bb_fault_set(fault, error, "cannot make %s: %s", path, bb_error_message(error));
        }
    }
    return BB_OK;
}

static void s_make_mailboxes(bb_node_t *node)
{
    uint64_t peer_bytes = 2 * node->config->limits.peer_queue_bytes;
    node->supervisor = bb_mailbox_new("supervisor", S_UNBOUNDED);
    node->router = bb_mailbox_new("router", S_UNBOUNDED); // answers: bounded by admission
    node->mesh = bb_mailbox_new("mesh", peer_bytes);
    node->control = bb_mailbox_new("control", S_CONTROL_BYTES);
    node->background = bb_mailbox_new("background", S_UNBOUNDED); // one job per store
    node->observer = bb_mailbox_new("metrics", S_UNBOUNDED);      // snapshots, four a second
    for (uint32_t i = 0; i < node->store_count; i++) {
        node->stores[i] = bb_mailbox_new_ordered("store", peer_bytes);
    }
    for (uint32_t i = 0; i < node->scan_count; i++) {
        node->scans[i] = bb_mailbox_new("scan", S_UNBOUNDED); // bounded by admission
    }
}

static bb_error_t s_bind(s_supervisor_t *self, bb_fault_t *fault)
{
    const bb_config_t *config = self->node.config;
    const bb_config_node_t *me = &config->nodes[config->node_index];
    const bb_server_options_t client = {.domain = "client",
                                        .backlog = config->limits.client_connections,
                                        .receive_max = 8, // of 16 MiB at most
                                        .send_max = 256,
                                        .is_mandatory = true,
                                        .asks_alive = true};
    const bb_server_options_t small = {
        .domain = "peer", .backlog = 1024, .receive_max = 10000, .send_max = 1};
    const bb_server_options_t bulk = {
        .domain = "peer", .backlog = 1024, .receive_max = 16, .send_max = 1};
    bb_error_t error =
        bb_socket_serve(&self->node.keys, me->host, me->client_port, &client, &self->client, fault);
    if (error == BB_OK) {
        error =
            bb_socket_serve(&self->node.keys, me->host, me->peer_port, &small, &self->peer, fault);
    }
    if (error == BB_OK) {
        error =
            bb_socket_serve(&self->node.keys, me->host, me->bulk_port, &bulk, &self->bulk, fault);
    }
    return error;
}

static bb_error_t s_start_services(s_supervisor_t *self, bb_fault_t *fault)
{
    const bb_config_t *config = self->node.config;
    const bb_config_node_t *me = &config->nodes[config->node_index];
    bb_error_t error = bb_metrics_listen(me->host, me->http_port, &self->listener, fault);
    if (error != BB_OK) {
        return error;
    }
    self->metrics = bb_metrics_actor_new(&self->node, self->listener);
    self->listener = -1;
    self->zap = bb_zap_actor_new(&self->node);
    if (!self->zap) {
        return bb_fault_set(fault, BB_ERR_INTERNAL, "the identity handler cannot start");
    }
    error = bb_zap_self_test(&self->node, fault);
    if (error != BB_OK) {
        return error;
    }
    return s_bind(self, fault);
}

static void s_start_stores(s_supervisor_t *self)
{
    for (uint32_t i = 0; i < self->node.scan_count; i++) {
        self->scans[i] = bb_scan_actor_new(&self->node, i);
    }
    self->background = bb_background_actor_new(&self->node);
    for (uint32_t i = 0; i < self->node.store_count; i++) {
        self->stores[i] = bb_store_actor_new(&self->node, i);
    }
}

// Which start of this node it is, into the stream that was drawn.
static bb_error_t s_number_stream(s_supervisor_t *self, bb_fault_t *fault)
{
    bb_node_t *node = &self->node;
    bb_control_starting_t starting = {.vfs = bb_vfs_posix(),
                                      .kv = bb_kv_lmdb(),
                                      .directory = node->config->data_dir,
                                      .node_id = node->config->node_id,
                                      .now_wall_ns = node->start_wall_ns};
    uint32_t number = 0;
    bb_error_t error = bb_control_stream_number(&starting, &number, fault);
    uint8_t random[8];
    memcpy(random, node->incarnation.bytes + 8, sizeof random);
    node->incarnation = bb_stream_make(bb_stream_node_hash(node->config->node_id), number, random);
    return error;
}

static bb_error_t s_start(s_supervisor_t *self, bb_fault_t *fault)
{
    bb_error_t error = s_lock_folder(self, fault);
    if (error != BB_OK) {
        return error;
    }
    error = s_number_stream(self, fault);
    if (error != BB_OK) {
        return error;
    }
    s_start_stores(self); // they recover while the rest starts; clients already connect
    error = s_start_services(self, fault);
    if (error != BB_OK) {
        return error;
    }
    s_set_state(self, BB_NODE_RECOVERING);
    s_wait(self, s_is_open, BB_NEVER_NS);
    if (self->store_failed) {
        *fault = self->fault;
        return self->fault.error;
    }
    if (self->has_signal) {
        return BB_OK;
    }
    self->control = bb_control_actor_new(&self->node, fault);
    if (!self->control) {
        return fault->error;
    }
    s_set_state(self, BB_NODE_MEETING_PEERS);
    self->mesh = bb_mesh_actor_new(&self->node, &self->peer, &self->bulk);
    self->router = bb_router_actor_new(&self->node, &self->client);
    return BB_OK;
}

// ---- stop --------------------------------------------------------------------------------------
static void s_post_to(bb_mailbox_t *mailbox, bb_post_kind_t kind)
{
    bb_outlet_t *outlet = bb_outlet_new(mailbox);
    bb_post_t *post = bb_post_new(kind);
    bb_outlet_send_always(outlet, &post);
    bb_outlet_destroy(&outlet); // what was sent on inproc stays with the receiver
}

static void s_post_to_stores(s_supervisor_t *self, bb_post_kind_t kind)
{
    for (uint32_t i = 0; i < self->node.store_count; i++) {
        s_post_to(self->node.stores[i], kind);
    }
}

static void s_drain(s_supervisor_t *self)
{
    s_set_state(self, BB_NODE_DRAINING);
    if (!self->router || self->store_failed) {
        return;
    }
    s_post_to(self->node.router, BB_POST_DRAIN);
    s_post_to_stores(self, BB_POST_DRAIN);
    int64_t limit_mono_ns = bb_clock_mono_ns() + self->node.config->limits.drain_ns;
    if (!s_wait(self, s_is_drained, limit_mono_ns)) {
        bb_log_warning(&self->log, "not everything was answered before the drain limit");
    }
}

static void s_end_actor(s_supervisor_t *self, zactor_t **actor)
{
    if (*actor) {
        zactor_destroy(actor); // says $TERM and waits until the thread's function has returned
        BB_TSAN_ACQUIRE(&self->node);
    }
}

static bool s_stop(s_supervisor_t *self)
{
    s_end_actor(self, &self->router); // sends the last answers
    if (self->stores[0]) {
        s_post_to_stores(self, BB_POST_STOP);
        if (!s_wait(self, s_is_stopped, bb_clock_mono_ns() + S_STOP_NS)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < self->node.scan_count; i++) {
        s_end_actor(self, &self->scans[i]);
    }
    for (uint32_t i = 0; i < self->node.scan_count; i++) {
        bb_mailbox_clear(self->node.scans[i]); // what one asked of another that had ended
    }                                          // Every snapshot is closed.
    for (uint32_t i = 0; i < self->node.store_count; i++) {
        s_end_actor(self, &self->stores[i]);
    }
    s_end_actor(self, &self->background);
    s_end_actor(self, &self->control);
    s_end_actor(self, &self->mesh);
    zsock_destroy(&self->client); // when they were never given away
    zsock_destroy(&self->peer);
    zsock_destroy(&self->bulk);
    s_end_actor(self, &self->zap);
    s_end_actor(self, &self->metrics);
    return true;
}

static void s_free(s_supervisor_t *self)
{
    bb_node_t *node = &self->node;
    bb_mailbox_destroy(&node->supervisor);
    bb_mailbox_destroy(&node->router);
    bb_mailbox_destroy(&node->mesh);
    bb_mailbox_destroy(&node->control);
    bb_mailbox_destroy(&node->background);
    bb_mailbox_destroy(&node->observer);
    for (uint32_t i = 0; i < node->store_count; i++) {
        bb_mailbox_destroy(&node->stores[i]);
    }
    for (uint32_t i = 0; i < node->scan_count; i++) {
        bb_mailbox_destroy(&node->scans[i]);
    }
    zsys_shutdown(); // after it libzmq holds no buffer of ours and touches no account
    if (self->lock) {
        bb_vfs_posix()->close(bb_vfs_posix(), &self->lock);
    }
    if (self->listener >= 0) {
        close(self->listener);
    }
    close(self->signals);
    bb_identity_destroy(&self->identity);
    bb_keys_wipe(&node->keys, sizeof node->keys);
    free(node->peer_queued_bytes);
    free(node->peer_small_bytes);
    bb_mark_board_destroy(&node->mark_board);
    free(node->client_untaken_bytes);
    free(node->metrics);
}

static void s_init(s_supervisor_t *self, const bb_config_t *config, const bb_topology_t *topology,
                   bb_curve_pair_t *keys)
{
    bb_log_init(&self->log, config->log_level, STDERR_FILENO, "supervisor", UINT32_MAX);
    self->listener = -1;
    self->identity = bb_identity_new(config);
    bb_node_t *node = &self->node;
    node->config = config;
    node->topology = topology;
    node->identity = self->identity;
    node->keys = *keys;
    bb_keys_wipe(keys, sizeof *keys);
    node->start_mono_ns = bb_clock_mono_ns();
    node->start_wall_ns = bb_clock_wall_ns();
    atomic_store_explicit(&node->standing, BB_STANDING_JOINING, memory_order_relaxed);
    node->store_count = config->store_count;
    node->scan_count = BB_MIN(BB_MAX(config->limits.scan_threads, 1), BB_SCAN_THREADS_MAX);
    node->metrics = bb_alloc_zero(1, sizeof *node->metrics);
    node->peer_queued_bytes =
        bb_alloc_zero(bb_topology_node_count(topology), sizeof *node->peer_queued_bytes);
    node->peer_small_bytes =
        bb_alloc_zero(bb_topology_node_count(topology), sizeof *node->peer_small_bytes);
    node->mark_board = bb_mark_board_new(bb_topology_node_count(topology), config->store_count);
    node->client_untaken_bytes =
        bb_alloc_zero(BB_CLIENT_ACCOUNTS, sizeof *node->client_untaken_bytes);
}

static void s_serve(s_supervisor_t *self)
{
    const bb_config_t *config = self->node.config;
    const bb_config_node_t *me = &config->nodes[config->node_index];
    if (!self->has_signal) {
        bb_log_info(&self->log, "listening", BB_LOG_TEXT("node", config->node_id),
                    BB_LOG_TEXT("cluster", config->cluster_name), BB_LOG_TEXT("host", me->host),
                    BB_LOG_U64("client_port", me->client_port),
                    BB_LOG_U64("peer_port", me->peer_port), BB_LOG_U64("bulk_port", me->bulk_port),
                    BB_LOG_U64("http_port", me->http_port), BB_LOG_U64("pid", (uint64_t)getpid()),
                    BB_LOG_TEXT("version", BB_VERSION));
    }
    s_wait(self, s_is_met, bb_clock_mono_ns() + config->limits.suspect_ns);
    s_wait(self, s_is_counting, BB_NEVER_NS); // requests at `one` are served meanwhile
    if (!self->has_signal) {
        s_set_state(self, BB_NODE_READY);
        bb_log_info(&self->log, "ready", BB_LOG_TEXT("peers", self->peers_seen ? "all" : "some"));
    }
    s_wait(self, s_is_told_to_stop, BB_NEVER_NS);
}

int bb_supervisor_run(const bb_config_t *config, const bb_topology_t *topology,
                      bb_curve_pair_t *keys)
{
    s_supervisor_t *self = bb_alloc_zero(1, sizeof *self);
    s_init(self, config, topology, keys);
    bb_error_t error =
        bb_random_bytes(self->node.incarnation.bytes, sizeof self->node.incarnation.bytes);
    BB_ASSERT(error == BB_OK); // no randomness, no dots
    s_raise_file_limit(self);
    s_block_signals(self);
    s_start_messaging(config);
    s_make_mailboxes(&self->node);
    bb_fault_t fault = {0};
    error = s_start(self, &fault);
    if (error == BB_OK) {
        s_serve(self);
    } else {
        bb_log_error(&self->log, "cannot start", BB_LOG_TEXT("error", bb_error_name(error)),
                     BB_LOG_TEXT("detail", fault.text));
        fprintf(stderr, "busbard: %s\n", fault.text[0] ? fault.text : bb_error_message(error));
    }
    s_drain(self);
    // However it stops: who started it must know that another start mends it.
    int status = error != BB_OK ? S_EXIT_IN_USE : self->is_stale ? S_EXIT_STALE : 0;
    if (!s_stop(self)) {
        bb_log_error(&self->log, "a job did not end in time; leaving it to recovery");
        _exit(status);
    }
    bb_log_info(&self->log, "stopped");
    s_free(self);
    free(self);
    return status;
}
