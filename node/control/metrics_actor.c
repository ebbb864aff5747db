// SPDX-License-Identifier: Apache-2.0
#include "node/control/metrics_actor.h"

#include <czmq.h>
#include <dirent.h>
#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "node/control/bb_http.h"
#include "node/runtime/bb_clock.h"
#include "node/runtime/bb_tsan.h"

#define S_CONNECTIONS_MAX 32
#define S_CONNECTION_NS   (INT64_C(5) * BB_NS_PER_S)

typedef struct {
    int fd; // -1 = free
    int64_t limit_mono_ns;
    size_t in_length;
    char in[BB_HTTP_REQUEST_BYTES_MAX];
    char *out; // NULL while the request is read
    size_t out_length, out_sent;
    bool is_closing; // the answer is sent; waits for the other side to close
} s_connection_t;

typedef struct {
    bb_node_t *node;
    bb_log_t log;
    zsock_t *pipe;
    int listener;
    bb_shard_stats_t *stats[BB_STORES_MAX];
    bb_post_t *peers;
    s_connection_t connections[S_CONNECTIONS_MAX];
} s_metrics_t;

bb_error_t bb_metrics_listen(const char *host, uint16_t port, int *listener, bb_fault_t *fault)
{
    char service[8], written[BB_HOST_BYTES_MAX + 3];
    bb_host_format(host, written);
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *address = NULL;
    int found = getaddrinfo(host, service, &hints, &address);
    if (found != 0) {
        return bb_fault_set(fault, BB_ERR_IO, "cannot listen on %s:%u (http port): %s", written,
                            port, gai_strerror(found));
    }
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1, reason = 0;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, 128) != 0) {
        reason = errno;
    }
    freeaddrinfo(address);
    if (reason != 0) {
        if (fd >= 0) {
            close(fd);
        }
        return bb_fault_set(fault, reason == EADDRINUSE ? BB_ERR_PORT_IN_USE : BB_ERR_IO,
                            "cannot listen on %s:%u (http port): %s", written, port,
                            strerror(reason));
    }
    *listener = fd;
    return BB_OK;
}

// ---- pages -------------------------------------------------------------------------------------
static uint64_t s_open_files(void)
{
    DIR *directory = opendir("/proc/self/fd");
    uint64_t count = 0;
    while (directory && readdir(directory)) {
        count++;
    }
    if (directory) {
        closedir(directory);
    }
    return count > 3 ? count - 3 : 0; // ".", ".." and the directory itself
}

static bb_process_stats_t s_process(const s_metrics_t *self)
{
    bb_process_stats_t process = {
        .open_files = s_open_files(),
        .start_wall_s = (double)self->node->start_wall_ns * 1e-9,
        .uptime_s = (double)(bb_clock_mono_ns() - self->node->start_mono_ns) * 1e-9,
    };
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        process.cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                        (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
    }
    FILE *statm = fopen("/proc/self/statm", "re");
    unsigned long long total_pages, resident_pages;
    if (statm && fscanf(statm, "%llu %llu", &total_pages, &resident_pages) == 2) {
        process.resident_bytes = resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    if (statm) {
        fclose(statm);
    }
    return process;
}

static char *s_render(s_metrics_t *self, size_t *length)
{
    uint64_t counters[BB_METRIC_COUNT];
    for (uint32_t i = 0; i < BB_METRIC_COUNT; i++) {
        counters[i] = atomic_load_explicit(&self->node->metrics->counters[i], memory_order_relaxed);
    }
    const bb_shard_stats_t *stores[BB_STORES_MAX];
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        stores[i] = self->stats[i];
    }
    bb_node_state_t state = bb_node_state(self->node);
    bb_metrics_view_t view = {
        .counters = counters,
        .topology = self->node->topology,
        .store_count = self->node->store_count,
        .stores = stores,
        .peers = self->peers ? &self->peers->peers : NULL,
        .is_ready = bb_node_is_ready(self->node),
        .standing = bb_node_standing(self->node),
        .boot = atomic_load_explicit(&self->node->boot, memory_order_relaxed),
        .is_draining = state == BB_NODE_DRAINING,
        .process = s_process(self),
        .version = BB_VERSION,
    };
    return bb_metrics_render(&view, length);
}

static bool s_is_fenced(const s_metrics_t *self)
{
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        if (self->stats[i] && self->stats[i]->is_fenced) {
            return true;
        }
    }
    return false;
}

// NULL: ready.
static const char *s_not_ready_because(const s_metrics_t *self)
{
    switch (bb_node_state(self->node)) {
    case BB_NODE_STARTING:
        return "starting\n";
    case BB_NODE_RECOVERING:
        return "stores are recovering\n";
    case BB_NODE_DRAINING:
        return "draining\n";
    case BB_NODE_MEETING_PEERS:
    case BB_NODE_READY:
        break;
    }
    switch (bb_node_standing(self->node)) {
    case BB_STANDING_JOINING:
        return "waiting for a majority of the nodes to register this start\n";
    case BB_STANDING_REBUILDING:
        return "the disk lost what it held and is being rebuilt from the other nodes\n";
    case BB_STANDING_FENCED:
        return "fenced: a later process has this node's identity\n";
    case BB_STANDING_COUNTING:
        break;
    }
    if (bb_node_state(self->node) == BB_NODE_MEETING_PEERS) {
        return "waiting for peers\n";
    }
    return s_is_fenced(self) ? "a store is fenced after a failed sync\n" : NULL;
}

static void s_answer(s_connection_t *connection, int status, bool is_head, const char *type,
                     const char *body, size_t body_bytes)
{
    char head[512];
    size_t head_bytes = bb_http_head(head, sizeof head, status, type, body_bytes);
    connection->out_length = head_bytes + (is_head ? 0 : body_bytes);
    connection->out = bb_alloc(connection->out_length);
    memcpy(connection->out, head, head_bytes);
    if (!is_head) {
        memcpy(connection->out + head_bytes, body, body_bytes);
    }
}

static void s_serve(s_metrics_t *self, s_connection_t *connection, const bb_http_request_t *request)
{
    static const char plain[] = "text/plain; charset=utf-8";
    bb_metrics_add(self->node->metrics, BB_METRIC_HTTP_REQUESTS, 1);
    const char *text = NULL;
    int status = request->status;
    if (status != 200) {
        text = "bad request\n";
    } else if (strcmp(request->path, "/metrics") == 0) {
        size_t length;
        char *body = s_render(self, &length);
        s_answer(connection, 200, request->is_head, "text/plain; version=0.0.4; charset=utf-8",
                 body, length);
        free(body);
        return;
    } else if (strcmp(request->path, "/healthz") == 0) {
        bool is_fenced = s_is_fenced(self);
        status = is_fenced ? 503 : 200;
        text = is_fenced ? "a store is fenced after a failed sync\n" : "ok\n";
    } else if (strcmp(request->path, "/readyz") == 0) {
        text = s_not_ready_because(self);
        status = text ? 503 : 200;
        text = text ? text : "ready\n";
    } else {
        status = 404;
        text = "there are /metrics, /healthz and /readyz\n";
    }
    s_answer(connection, status, request->is_head, plain, text, strlen(text));
}

// ---- connections -------------------------------------------------------------------------------
static void s_close(s_connection_t *connection)
{
    close(connection->fd);
    free(connection->out);
    connection->fd = -1;
    connection->out = NULL;
}

static void s_accept(s_metrics_t *self)
{
    for (uint32_t i = 0; i < S_CONNECTIONS_MAX; i++) {
        s_connection_t *connection = &self->connections[i];
        if (connection->fd >= 0) {
            continue;
        }
        int fd = accept4(self->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        connection->fd = fd;
        connection->limit_mono_ns = bb_clock_mono_ns() + S_CONNECTION_NS;
        connection->in_length = connection->out_length = connection->out_sent = 0;
        connection->is_closing = false;
    }
}

static void s_write(s_connection_t *connection)
{
    ssize_t sent = send(connection->fd, connection->out + connection->out_sent,
                        connection->out_length - connection->out_sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        s_close(connection);
        return;
    }
    connection->out_sent += sent > 0 ? (size_t)sent : 0;
    if (connection->out_sent == connection->out_length) {
        // Half-close and wait for the peer's end: closing with unread bytes would reset the answer.
        shutdown(connection->fd, SHUT_WR);
        connection->is_closing = true;
    }
}

static void s_read(s_metrics_t *self, s_connection_t *connection)
{
    if (connection->is_closing) {
        char rest[1024];
        ssize_t got = recv(connection->fd, rest, sizeof rest, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
            s_close(connection);
        }
        return;
    }
    ssize_t got = recv(connection->fd, connection->in + connection->in_length,
                       sizeof connection->in - connection->in_length, 0);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            s_close(connection);
        }
        return;
    }
    connection->in_length += (size_t)got;
    bb_http_request_t request;
    bb_http_parse(connection->in, connection->in_length, &request);
    if (request.status != 0) {
        s_serve(self, connection, &request);
        s_write(connection);
    }
}

// ---- loop --------------------------------------------------------------------------------------
static void s_on_mailbox(s_metrics_t *self)
{
    for (bb_post_t *post = bb_mailbox_receive(self->node->observer); post;
         post = bb_mailbox_receive(self->node->observer)) {
        if (post->kind == BB_POST_STATS) {
            free(self->stats[post->stats.store_index]);
            self->stats[post->stats.store_index] = post->stats.stats;
            post->stats.stats = NULL;
        } else if (post->kind == BB_POST_PEERS) {
            bb_post_t *older = self->peers;
            self->peers = post;
            post = older;
        }
        bb_post_destroy(&post);
    }
}

static void s_run(s_metrics_t *self)
{
    enum { PIPE, MAILBOX, LISTENER, FIRST };
    for (;;) {
        zmq_pollitem_t items[FIRST + S_CONNECTIONS_MAX] = {
            [PIPE] = {.socket = zsock_resolve(self->pipe), .events = ZMQ_POLLIN},
            [MAILBOX] = {.fd = bb_mailbox_fd(self->node->observer), .events = ZMQ_POLLIN},
        };
        s_connection_t *polled[S_CONNECTIONS_MAX];
        int count = 0;
        for (uint32_t i = 0; i < S_CONNECTIONS_MAX; i++) {
            s_connection_t *connection = &self->connections[i];
            if (connection->fd >= 0) {
                bool writes = connection->out && !connection->is_closing;
                items[FIRST + count] = (zmq_pollitem_t){
                    .fd = connection->fd, .events = writes ? ZMQ_POLLOUT : ZMQ_POLLIN};
                polled[count++] = connection;
            }
        }
        // With no connection free the listener is left alone: the backlog holds the others.
        items[LISTENER] = (zmq_pollitem_t){.fd = self->listener,
                                           .events = count < S_CONNECTIONS_MAX ? ZMQ_POLLIN : 0};
        if (zmq_poll(items, FIRST + count, count > 0 ? 500 : 5000) < 0 && zmq_errno() != EINTR) {
            break;
        }
        if (items[PIPE].revents & ZMQ_POLLIN) {
            break; // $TERM
        }
        s_on_mailbox(self);
        int64_t now_mono_ns = bb_clock_mono_ns();
        for (int i = 0; i < count; i++) {
            short events = items[FIRST + i].revents;
            if (now_mono_ns >= polled[i]->limit_mono_ns || (events & ZMQ_POLLERR)) {
                s_close(polled[i]);
            } else if (events & ZMQ_POLLOUT) {
                s_write(polled[i]);
            } else if (events & ZMQ_POLLIN) {
                s_read(self, polled[i]);
            }
        }
        if (items[LISTENER].revents & ZMQ_POLLIN) {
            s_accept(self);
        }
    }
}

static void s_metrics_actor(zsock_t *pipe, void *argument)
{
    s_metrics_t *self = argument;
    bb_actor_set_name("metrics", UINT32_MAX);
    self->pipe = pipe;
    zsock_signal(pipe, 0);
    s_run(self);
    for (uint32_t i = 0; i < S_CONNECTIONS_MAX; i++) {
        if (self->connections[i].fd >= 0) {
            s_close(&self->connections[i]);
        }
    }
    for (uint32_t i = 0; i < self->node->store_count; i++) {
        free(self->stats[i]);
    }
    bb_post_destroy(&self->peers);
    close(self->listener);
    BB_TSAN_RELEASE(self->node);
    free(self);
}

zactor_t *bb_metrics_actor_new(bb_node_t *node, int listener)
{
    s_metrics_t *self = bb_alloc_zero(1, sizeof *self);
    self->node = node;
    self->listener = listener;
    for (uint32_t i = 0; i < S_CONNECTIONS_MAX; i++) {
        self->connections[i].fd = -1;
    }
    bb_log_init(&self->log, node->config->log_level, STDERR_FILENO, "metrics", UINT32_MAX);
    return zactor_new(s_metrics_actor, self);
}
