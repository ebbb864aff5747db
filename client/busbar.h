// SPDX-License-Identifier: Apache-2.0
// busbar.h - the client library of a busbar cluster: write in the background, ask with one call.
//
// C11, no process-wide state, no signal handlers. Link with -lbusbar (pkg-config busbar).
//
// Threads: a busbar_client_t may be used from any number of threads at once. A busbar_writer_t and
// a busbar_rows_t belong to one thread at a time; open one per thread. Delivery callbacks run on
// the thread that calls a writer function (busbar_writer_poll, _flush, _close or an append that has
// to wait), never on a thread of ours. Every call has a deadline.
//
//   busbar_fault_t fault;
//   busbar_client_t *client = NULL;
//   if (busbar_open("client.yaml", NULL, &client, &fault)) { puts(fault.text); return 1; }
//   busbar_writer_t *writer = busbar_writer_open(client, NULL);
//   busbar_metric_t metrics[] = {{"voltage_v", BUSBAR_FLOAT64}, {"cycles", BUSBAR_INT64}};
//   uint32_t shape, battery;
//   busbar_writer_shape(writer, metrics, 2, &shape, &fault);
//   busbar_writer_battery(writer, "b1", NULL, 0, &battery, &fault);
//   busbar_value_t values[] = {{.number = 412.7}, {.integer = 31}};
//   busbar_writer_append(writer, battery, shape, time_ns, values, &fault);
//   busbar_writer_close(&writer, 10 * BUSBAR_SECOND, &totals);   // waits for every acknowledgement
//
// Times are int64_t nanoseconds since 1970-01-01T00:00:00Z; ranges are half open [from, to).
#ifndef BUSBAR_H
#define BUSBAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BUSBAR_API    __attribute__((visibility("default")))
#define BUSBAR_SECOND INT64_C(1000000000)

// 0 is success; other numbers are those of the error list (docs, protocol/bb_error.h) and stable.
typedef int32_t busbar_status_t;
#define BUSBAR_OK 0

typedef enum {
    BUSBAR_RETRY_NEVER,     // the request is wrong; sending it again cannot help
    BUSBAR_RETRY_LATER,     // try again after a while
    BUSBAR_RETRY_ELSEWHERE, // another replica may answer (the library has already tried)
    BUSBAR_RETRY_UNKNOWN,   // outcome unknown; repeating is safe
} busbar_retry_t;

typedef struct {
    busbar_status_t status;
    char text[512]; // what was tried, on what, what was found, what was expected
} busbar_fault_t;

BUSBAR_API const char *busbar_version(void);
BUSBAR_API const char *busbar_status_name(busbar_status_t status);
BUSBAR_API const char *busbar_status_message(busbar_status_t status);
BUSBAR_API busbar_retry_t busbar_status_retry(busbar_status_t status);

// Stable numbers.
typedef enum {
    BUSBAR_FLOAT64 = 1,
    BUSBAR_INT64 = 2,
    BUSBAR_BOOL = 3,
    BUSBAR_STATE = 4
} busbar_type_t;
typedef enum {
    BUSBAR_DEFAULT_LEVEL = 0, // what the cluster's configuration says; local_quorum if nothing
    BUSBAR_ONE = 1,
    BUSBAR_LOCAL_QUORUM = 2, // a majority in the coordinator's data centre
    BUSBAR_QUORUM = 3,       // a majority over all data centres, and in the coordinator's
    BUSBAR_EACH_QUORUM = 4,  // a majority in every data centre
    BUSBAR_ALL = 5,          // every replica
} busbar_level_t;

// ---- client ------------------------------------------------------------------------------------
typedef struct busbar_client busbar_client_t;

typedef struct {
    int64_t timeout_ns;  // of calls that do not say; 0 = 10 s
    const char *node_id; // talk to this node alone (and answer partially if it lacks partitions)
    const char *name;    // for the nodes' logs; NULL = "libbusbar"
    bool no_hedges;      // small reads are never sent to a second node (busbar_client_stats_t)
} busbar_options_t;

// Reads a client file and starts the background thread; does not wait for a node to answer.
// CONFIG, KEY, PERMISSION with the file, line and rule in `fault`. NULL options = defaults.
BUSBAR_API busbar_status_t busbar_open(const char *client_file, const busbar_options_t *options,
                                       busbar_client_t **client, busbar_fault_t *fault);
// Waits until one node has answered. UNAVAILABLE, IDENTITY-like refusals end in
// TIMEOUT/UNAVAILABLE.
BUSBAR_API busbar_status_t busbar_wait_ready(busbar_client_t *client, int64_t timeout_ns,
                                             busbar_fault_t *fault);
// A small read (newest values, points or buckets of up to four named batteries, over a day or 1,000
// rows at most) that takes longer than 95 % of the last ones is sent to a second replica as well,
// and the first whole answer counts: never more than one for twenty reads, and not while a node
// says BUSY or batches wait to be sent.
typedef struct {
    uint64_t small_reads; // requests that could be sent twice
    uint64_t hedges;      // those that were
    uint64_t hedges_won;  // whose second node answered first
} busbar_client_stats_t;
BUSBAR_API void busbar_client_stats(busbar_client_t *client, busbar_client_stats_t *stats);
// All writers and rows of the client must be closed. Sets the pointer to NULL.
BUSBAR_API void busbar_close(busbar_client_t **client);

// ---- sessions ----------------------------------------------------------------------------------
// What was written and seen through it. A read at BUSBAR_ONE with a session sees at least all that,
// whichever replica answers: read your writes, and never an older answer than one before. A replica
// that lacks something waits for it for half a second at most, then others are asked; partitions
// that nobody can serve so are missing from the answer, and named.
//
// Writes count once they are acknowledged, reads as far as their rows were fetched. A session may
// be shared by writers, queries and threads, and handed to other processes as bytes. It takes
// memory by what replicas lack, not by what was written: in step nothing of a read is kept. Beyond
// BUSBAR_SESSION_BYTES_MAX it holds nothing any more (busbar_session_is_whole), and reads with it
// are made at BUSBAR_LOCAL_QUORUM, which see what was acknowledged at that level or above in that
// data centre; so they are when a node of an older version answers.
typedef struct busbar_session busbar_session_t;
#define BUSBAR_SESSION_BYTES_MAX 65536

BUSBAR_API busbar_session_t *busbar_session_new(void);
// After the writers and rows that use it are closed. Sets the pointer to NULL.
BUSBAR_API void busbar_session_free(busbar_session_t **session);
BUSBAR_API bool busbar_session_is_whole(busbar_session_t *session);
// Writes the token. A buffer of BUSBAR_SESSION_BYTES_MAX is always enough; LIMIT: this one is not.
BUSBAR_API busbar_status_t busbar_session_export(busbar_session_t *session, void *buffer,
                                                 size_t capacity, size_t *length);
// Adds a token that was exported, in any order. MESSAGE_CORRUPT, MESSAGE_VERSION, MESSAGE_BYTES: it
// cannot be read. CLUSTER: it is of another cluster.
BUSBAR_API busbar_status_t busbar_session_import(busbar_session_t *session, const void *bytes,
                                                 size_t length, busbar_fault_t *fault);

// ---- writing -----------------------------------------------------------------------------------
typedef struct busbar_writer busbar_writer_t;

typedef struct {
    const char *name;
    busbar_type_t type;
} busbar_metric_t;

typedef struct {
    const char *key;
    const char *value;
} busbar_attribute_t;

typedef union {
    double number;    // FLOAT64
    int64_t integer;  // INT64
    uint64_t boolean; // BOOL: 0 or 1
    uint64_t bits;
    const char *text; // STATE: NUL-terminated UTF-8, copied
} busbar_value_t;

typedef struct {
    uint64_t user_frame; // number of the frame since the writer was opened, from 0, in
                         // append order; UINT64_MAX: the whole batch
    const char *metric;  // NULL: the whole frame
    busbar_status_t status;
    const char *detail;
} busbar_rejection_t;

// The fate of one batch; every frame appended is in exactly one delivery.
typedef struct {
    busbar_status_t status; // OK: see the counts; TIMEOUT: unknown, safe to write again
    const char *detail;     // "" when OK
    uint64_t frames, points;
    uint64_t acked_frames, acked_points, rejected_frames, rejected_points, quarantined_points;
    uint32_t rejection_count; // named ones, at most 1,024
    const busbar_rejection_t *rejections;
    int64_t latency_ns; // first send to answer
    uint32_t attempts;
} busbar_delivery_t;
typedef void (*busbar_delivery_fn)(void *context, const busbar_delivery_t *delivery);

typedef struct {
    busbar_level_t level;
    int64_t timeout_ns;      // per batch, over all attempts; 0 = client's
    size_t buffer_bytes_max; // frames not yet acknowledged; 0 = 64 MiB. Full: append waits
    size_t batch_bytes;      // of frames before they are packed; 0 = 1 MiB
    int64_t linger_ns;       // a smaller batch is sent after this long, or, while nothing else is
                             // on its way to that node, after a tenth of it; 0 = 20 ms
    uint32_t in_flight_max;  // batches per node; 0 = 8
    uint64_t revision;       // of every point, below 2^32; 0 = telemetry
    busbar_delivery_fn on_delivery;
    void *context;
    busbar_session_t *session; // what is acknowledged is noted there; NULL = nowhere. Borrowed
    // Of every point, below 2^31: which life of their batteries they belong to. What was deleted
    // takes points of its generation or a later one only; rejections (GENERATION) name it.
    uint32_t generation;
} busbar_writer_options_t;

typedef struct {
    uint64_t frames, points;
    uint64_t acked_frames, acked_points, rejected_frames, rejected_points, quarantined_points;
    uint64_t unknown_frames, unknown_points; // no answer in time
    uint64_t failed_frames, failed_points;   // whole batches refused; see last_fault
    uint64_t batches, retries;
    busbar_status_t last_status; // of the newest batch that was not OK
    char last_detail[256];
} busbar_totals_t;

BUSBAR_API busbar_writer_t *busbar_writer_open(busbar_client_t *client,
                                               const busbar_writer_options_t *options);
// Registers names once; handles are small integers valid until the writer is closed. The same
// arguments give the same handle. Errors: BATTERY_ID, ATTRIBUTES, METRIC_NAME, FRAME_METRICS,
// LIMIT.
BUSBAR_API busbar_status_t busbar_writer_battery(busbar_writer_t *writer, const char *id,
                                                 const busbar_attribute_t *attributes,
                                                 uint32_t attribute_count, uint32_t *battery,
                                                 busbar_fault_t *fault);
BUSBAR_API busbar_status_t busbar_writer_shape(busbar_writer_t *writer,
                                               const busbar_metric_t *metrics,
                                               uint32_t metric_count, uint32_t *shape,
                                               busbar_fault_t *fault);
// Copies one frame into the buffer; `values` in the order in which the shape's metrics were given.
// Waits while the buffer is full, up to the writer's timeout (BUSY: not taken). TIME_RANGE,
// STATE_TEXT, VALUE: not taken. No allocation in steady state.
BUSBAR_API busbar_status_t busbar_writer_append(busbar_writer_t *writer, uint32_t battery,
                                                uint32_t shape, int64_t time_ns,
                                                const busbar_value_t *values,
                                                busbar_fault_t *fault);
// Runs delivery callbacks of what has been answered; does not wait.
BUSBAR_API void busbar_writer_poll(busbar_writer_t *writer);
// Sends what is buffered and waits until everything appended so far has its delivery.
BUSBAR_API busbar_status_t busbar_writer_flush(busbar_writer_t *writer, int64_t timeout_ns);
BUSBAR_API void busbar_writer_totals(const busbar_writer_t *writer, busbar_totals_t *totals);
// Flush, then close; what has no answer in time is counted as unknown. totals may be NULL.
BUSBAR_API busbar_status_t busbar_writer_close(busbar_writer_t **writer, int64_t timeout_ns,
                                               busbar_totals_t *totals);

// ---- reading -----------------------------------------------------------------------------------
typedef enum {
    BUSBAR_RAW = 1,
    BUSBAR_AGGREGATE = 2,
    BUSBAR_LAST = 3,
    BUSBAR_BATTERIES = 4,
    BUSBAR_QUARANTINE = 5,
    BUSBAR_GENERATIONS = 6, // of each battery that has one, at time 0, as `generation` (INT64)
} busbar_mode_t;
enum {
    BUSBAR_MEAN = 1,
    BUSBAR_MIN = 2,
    BUSBAR_MAX = 4,
    BUSBAR_SUM = 8,
    BUSBAR_COUNT = 16,
    BUSBAR_FIRST = 32,
    BUSBAR_LASTVALUE = 64,
};

// Which newest values a LAST query wants.
typedef enum {
    BUSBAR_COMPARE_NONE = 0,  // all
    BUSBAR_COMPARE_BELOW = 1, // numbers < threshold; booleans count as 0 and 1, states never do
    BUSBAR_COMPARE_ABOVE = 2, // numbers > threshold
} busbar_compare_t;

typedef struct {
    busbar_mode_t mode;
    busbar_level_t level;
    const char *const *batteries;
    size_t battery_count; // 0 = all
    const char *const *metrics;
    size_t metric_count; // 0 = all
    int64_t from_ns,
        to_ns;           // [from, to); LAST: series whose newest point is before from are left out
    int64_t every_ns;    // AGGREGATE: bucket width; 0 = one bucket
    uint32_t aggregates; // AGGREGATE
    bool group_by_none;
    uint64_t limit;           // rows, after sorting by battery, metric, time; 0 = all
    int64_t timeout_ns;       // for each page, over all replicas; 0 = client's
    busbar_compare_t compare; // LAST
    double threshold;
    // AGGREGATE: buckets of the rollup of that name which begin in [from, to); every_ns is 0 then,
    // and aggregates are among those that the rollup has. NULL = none.
    const char *rollup;
    busbar_session_t *session; // what must be seen, and where it is noted; NULL = none. Borrowed
} busbar_query_t;

typedef struct {
    const char *battery; // "" with group_by_none
    const char *metric;  // "" for BATTERIES
    busbar_type_t type;
    int64_t time_ns;      // of the point, or start of the bucket
    busbar_value_t value; // RAW, LAST, QUARANTINE; STATE: text
    // AGGREGATE; min, max, first and last have the series' type
    uint64_t count;
    double mean, sum; // NaN for STATE
    busbar_value_t min, max, first, last;
    uint32_t attribute_count; // BATTERIES
    const busbar_attribute_t *attributes;
} busbar_row_t;

// An answer, read row by row in (battery, metric, time) order. One thread at a time.
typedef struct busbar_rows busbar_rows_t;

// Scatters the query over replicas and prepares to gather. Rows arrive as they are asked for.
BUSBAR_API busbar_status_t busbar_query(busbar_client_t *client, const busbar_query_t *query,
                                        busbar_rows_t **rows, busbar_fault_t *fault);
// true and *row (valid until the next call) or false at the end or on failure: see _status.
BUSBAR_API bool busbar_rows_next(busbar_rows_t *rows, busbar_row_t *row);
// After the last row. OK with complete = true; OK with complete = false and the partitions that are
// missing; UNAVAILABLE when nothing could be asked; TIMEOUT; QUERY; ROLE.
BUSBAR_API busbar_status_t busbar_rows_status(const busbar_rows_t *rows, bool *complete,
                                              const uint32_t **missing_partitions,
                                              size_t *missing_count, busbar_fault_t *fault);
BUSBAR_API void busbar_rows_close(busbar_rows_t **rows);

// ---- operating ---------------------------------------------------------------------------------
typedef struct {
    const char *id;
    const char *dc;
    bool up;   // answered us, or is up in the view of a node that did
    bool slow; // others find it slow just now: it is asked last
    uint64_t lag_chunks;
    uint64_t points_total, journal_bytes, segment_bytes, segment_points, head_bytes;
    uint64_t unsealed_chunks, untrimmed_chunks;
    const char *standing; // "counting", "joining", "rebuilding" or "fenced"; NULL: it was not asked
    uint32_t boot;        // number of its start; 0: none yet
    // Starts of processes whose chunks it tells apart, and how many of them are not a node's
    // present one: these are forgotten once all replicas have been there together and flushed.
    uint64_t streams, streams_dead;
} busbar_node_t;

// What a majority of the replicas in a data centre is not known to hold, as far as nodes of the
// others know: the most that any of them misses there.
typedef struct {
    const char *name;
    uint64_t lag_chunks;
    int64_t lag_ns; // age of the oldest of those that the node took itself since its start
} busbar_dc_t;

typedef struct {
    char cluster[40];
    // under_replicated: partitions with a replica that is down or being rebuilt, or has lacked
    // something for two seconds or more. unequal: those with a replica that is not known to have
    // everything at this moment; while something is written there nearly always are some.
    uint32_t epoch, partitions, under_replicated, unequal;
    uint64_t quarantined_points;
    uint64_t
        damaged; // windows and batteries of windows that nodes know to be damaged on their disks
    uint32_t node_count;
    busbar_node_t nodes[256];
    busbar_level_t default_write_level, default_read_level;
    uint32_t dc_count;
    busbar_dc_t dcs[16];
} busbar_cluster_t;

// Asks every node; free the result with busbar_cluster_free. UNAVAILABLE when none answers.
BUSBAR_API busbar_status_t busbar_cluster_status(busbar_client_t *client, int64_t timeout_ns,
                                                 busbar_cluster_t **cluster, busbar_fault_t *fault);
BUSBAR_API void busbar_cluster_free(busbar_cluster_t **cluster);
// Returns when every node has sealed, merged and trimmed; TIMEOUT says what is still missing where.
BUSBAR_API busbar_status_t busbar_settle(busbar_client_t *client, int64_t timeout_ns,
                                         busbar_fault_t *fault);
// Verifies what every node has on its disks. `rate_bytes_per_s`: of each store; 0 = as configured,
// UINT64_MAX = no limit. Returns when all have ended, with one call of on_damage (may be NULL) for
// each line about damage, known before or found now; *damaged counts all of it. TIMEOUT: it goes on
// without us.
typedef void (*busbar_damage_fn)(void *context, const char *node, const char *line);
BUSBAR_API busbar_status_t busbar_scrub(busbar_client_t *client, uint64_t rate_bytes_per_s,
                                        int64_t timeout_ns, busbar_damage_fn on_damage,
                                        void *context, uint64_t *damaged, uint64_t *verified_bytes,
                                        busbar_fault_t *fault);
// Makes quarantined points of these batteries (0 = all) normal.
BUSBAR_API busbar_status_t busbar_release(busbar_client_t *client, const char *const *batteries,
                                          size_t battery_count, int64_t timeout_ns,
                                          uint64_t *released_points, busbar_fault_t *fault);

// ---- deleting ----------------------------------------------------------------------------------
// A delete takes away every point of its interval that has a lower generation, on every replica and
// for ever: what was acknowledged before it, and what arrives later from a node that was away or a
// writer that does not know. A battery that is to be written again there needs a writer with the
// generation of the delete.
typedef struct {
    const char *battery;
    const char *metric;     // NULL = all
    int64_t from_ns, to_ns; // [from, to), [0, INT64_MAX) = all times
    busbar_level_t level;   // at which points were acknowledged that must be gone; also that of the
                            // delete itself. ONE covers what one node knows
    uint32_t generation;    // 0 = one more than the battery's; else what an attempt before gave
    int64_t timeout_ns;     // 0 = client's
} busbar_delete_t;

// Needs the role admin. *generation (may be NULL) is set once it is known, also when the call
// fails: after TIMEOUT (unknown) repeat it with that one, so that nothing written since is deleted,
// too. Errors: USAGE, UNAVAILABLE (nothing was deleted, or TIMEOUT), ROLE, LIMIT (4,096 deletes of
// one battery none of which contains another), GENERATION (a given one far above the battery's).
BUSBAR_API busbar_status_t busbar_delete(busbar_client_t *client, const busbar_delete_t *what,
                                         uint32_t *generation, busbar_fault_t *fault);
// The largest generation of any delete or point of the battery that was acknowledged at the level
// before; 0: it has none.
BUSBAR_API busbar_status_t busbar_generation(busbar_client_t *client, const char *battery,
                                             busbar_level_t level, int64_t timeout_ns,
                                             uint32_t *generation, busbar_fault_t *fault);

#ifdef __cplusplus
}
#endif
#endif
