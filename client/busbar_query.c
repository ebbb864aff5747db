// SPDX-License-Identifier: Apache-2.0
// Queries: validated, cut into rounds whose memory is bounded, gathered, sorted, handed out row by
// row.
//
//   AGGREGATE, LAST, BATTERIES, QUARANTINE   one round over all partitions
//   RAW                                      rounds over sorted groups of batteries, whose size
//                                            follows the memory that the last group took; a group
//                                            of one battery streams
//
// A stream holds a metric's rows back until the next metric begins, because points of a second type
// may follow that belong between them. When that would take too much memory, or a limit asks for
// few rows, a count per (metric, type) tells beforehand whether any metric has two types.
#include <stdlib.h>
#include <string.h>

#include "client/bb_session.h"
#include "client/busbar_scatter.h"
#include "protocol/bb_text.h"

#define S_GROUP_FIRST   64
#define S_GROUP_MAX     4096
#define S_BATTERIES_MAX 100000 // in one query with group_by_none
#define S_BYTES_SMALL   ((size_t)16 << 20)
#define S_BYTES_LARGE   ((size_t)64 << 20)
#define S_BYTES_ABORT   ((size_t)256 << 20)
#define S_BYTES_LIMIT   ((size_t)4 << 30)

typedef enum { S_STAGE_LIST, S_STAGE_ROUNDS, S_STAGE_END } s_stage_t;

struct busbar_rows {
    busbar_client_t *client;
    bb_view_t *view;
    bb_query_t query;          // names point into `names`
    busbar_session_t *session; // NULL: none
    int64_t timeout_ns;
    uint64_t limit, emitted;
    char rollup[BB_NODE_ID_BYTES_MAX + 1];
    char *names; // owned copies of metric names and battery ids
    bb_slice_t *metrics;
    bb_slice_t *batteries; // sorted, unique
    uint32_t battery_count, battery_capacity;
    bool is_by_battery; // rounds over `batteries`; else one round over all
    s_stage_t stage;
    uint32_t round_first, round_count; // batteries of the current round
    uint32_t group_size;
    bool is_streaming, is_plain, is_probed; // plain: no metric has two types
    char **id_blocks;                       // ids found by listing
    uint32_t id_block_count;
    bb_rowset_t *rowset;
    busbar_scatter_t *scatter;
    busbar_missing_t missing;
    uint32_t *missing_list;
    busbar_fault_t fault;
};

// ---- validation --------------------------------------------------------------------------------

static busbar_status_t s_check_names(const busbar_query_t *query, busbar_fault_t *fault)
{
    if ((query->battery_count > 0 && !query->batteries) ||
        (query->metric_count > 0 && !query->metrics)) {
        return busbar_fault_say(fault, BB_ERR_QUERY, "a list of names is missing");
    }
    if (query->battery_count > BB_BATCH_BATTERIES_MAX ||
        (query->group_by_none && query->battery_count > S_BATTERIES_MAX)) {
        return busbar_fault_say(fault, BB_ERR_QUERY, "the query names %zu batteries, at most %u",
                                query->battery_count,
                                query->group_by_none ? S_BATTERIES_MAX : BB_BATCH_BATTERIES_MAX);
    }
    if (query->metric_count > BB_BATCH_SHAPES_MAX) {
        return busbar_fault_say(fault, BB_ERR_QUERY, "the query names %zu metrics, at most %d",
                                query->metric_count, BB_BATCH_SHAPES_MAX);
    }
    for (size_t i = 0; i < query->battery_count; i++) {
        const char *id = query->batteries[i] ? query->batteries[i] : "";
        if (bb_battery_id_check(bb_slice(id, strlen(id))) != BB_OK) {
            return busbar_fault_say(fault, BB_ERR_QUERY,
                                    "battery id '%.64s' has %zu bytes; 1 to %d of UTF-8 without "
                                    "control characters are allowed",
                                    id, strlen(id), BB_BATTERY_ID_BYTES_MAX);
        }
    }
    for (size_t i = 0; i < query->metric_count; i++) {
        const char *name = query->metrics[i] ? query->metrics[i] : "";
        if (bb_metric_name_check(bb_slice(name, strlen(name))) != BB_OK) {
            return busbar_fault_say(fault, BB_ERR_QUERY,
                                    "metric name '%.64s' has %zu bytes; 1 to %d of UTF-8 without "
                                    "control characters are allowed",
                                    name, strlen(name), BB_METRIC_NAME_BYTES_MAX);
        }
    }
    return BUSBAR_OK;
}

static busbar_status_t s_check(const busbar_query_t *query, busbar_fault_t *fault)
{
    if ((int)query->level < BUSBAR_DEFAULT_LEVEL || (int)query->level > BUSBAR_ALL) {
        return busbar_fault_say(fault, BB_ERR_QUERY, "there is no level %d", (int)query->level);
    }
    if (query->mode == BUSBAR_AGGREGATE && query->aggregates == 0) {
        return busbar_fault_say(fault, BB_ERR_QUERY, "an aggregate query names no aggregate");
    }
    if (query->compare != BUSBAR_COMPARE_NONE && query->mode != BUSBAR_LAST) {
        return busbar_fault_say(fault, BB_ERR_QUERY, "only newest values can be compared");
    }
    if (query->group_by_none && query->mode != BUSBAR_AGGREGATE) {
        return busbar_fault_say(fault, BB_ERR_QUERY,
                                "only aggregates can be grouped over all batteries");
    }
    if (query->rollup &&
        (query->mode != BUSBAR_AGGREGATE || query->every_ns != 0 || query->group_by_none ||
         query->rollup[0] == '\0' || strlen(query->rollup) > BB_NODE_ID_BYTES_MAX)) {
        return busbar_fault_say(fault, BB_ERR_QUERY,
                                "a rollup is asked for by its name, with aggregates, without a "
                                "bucket width, for each battery");
    }
    return s_check_names(query, fault);
}

// ---- names -------------------------------------------------------------------------------------

static int s_compare_ids(const void *left, const void *right)
{
    const bb_slice_t *a = left, *b = right;
    int compared = memcmp(a->data, b->data, BB_MIN(a->length, b->length));
    return compared ? compared : (a->length > b->length) - (a->length < b->length);
}

static void s_sort_batteries(busbar_rows_t *self)
{
    if (self->battery_count == 0) {
        return;
    }
    qsort(self->batteries, self->battery_count, sizeof *self->batteries, s_compare_ids);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < self->battery_count; i++) {
        if (s_compare_ids(&self->batteries[i], &self->batteries[kept - 1]) != 0) {
            self->batteries[kept++] = self->batteries[i];
        }
    }
    self->battery_count = kept;
}

static void s_copy_names(busbar_rows_t *self, const busbar_query_t *query)
{
    size_t bytes = 1;
    for (size_t i = 0; i < query->metric_count; i++) {
        bytes += strlen(query->metrics[i]);
    }
    for (size_t i = 0; i < query->battery_count; i++) {
        bytes += strlen(query->batteries[i]);
    }
    char *at = self->names = bb_alloc(bytes);
    self->metrics = bb_alloc(BB_MAX(query->metric_count, 1) * sizeof *self->metrics);
    for (size_t i = 0; i < query->metric_count; i++) {
        self->metrics[i] = bb_slice(at, strlen(query->metrics[i]));
        memcpy(at, query->metrics[i], self->metrics[i].length);
        at += self->metrics[i].length;
    }
    self->battery_count = self->battery_capacity = (uint32_t)query->battery_count;
    self->batteries = bb_alloc(BB_MAX(query->battery_count, 1) * sizeof *self->batteries);
    for (size_t i = 0; i < query->battery_count; i++) {
        self->batteries[i] = bb_slice(at, strlen(query->batteries[i]));
        memcpy(at, query->batteries[i], self->batteries[i].length);
        at += self->batteries[i].length;
    }
    self->query.metrics = self->metrics;
    self->query.metric_count = (uint32_t)query->metric_count;
    s_sort_batteries(self);
}

// ---- rounds ------------------------------------------------------------------------------------

static void s_fail(busbar_rows_t *self, bb_error_t error, const char *text)
{
    busbar_fault_say(&self->fault, error, "%s", text);
    self->stage = S_STAGE_END;
}

static void s_scatter(busbar_rows_t *self, const bb_query_t *query, const bb_slice_t *batteries,
                      uint32_t battery_count, bb_rowset_t *rowset, size_t bytes_held_max)
{
    busbar_scatter_options_t options = {
        .query = *query,
        .batteries = batteries,
        .battery_count = battery_count,
        .timeout_ns = self->timeout_ns,
        .bytes_held_max = bytes_held_max,
        .session = self->session,
    };
    self->scatter = busbar_scatter_new(self->client, self->view, &options, rowset, &self->missing);
}

// Runs a whole round into `rowset`. False when a fault ended the query.
static bool s_run(busbar_rows_t *self, const bb_query_t *query, const bb_slice_t *batteries,
                  uint32_t battery_count, bb_rowset_t *rowset)
{
    s_scatter(self, query, batteries, battery_count, rowset, S_BYTES_LIMIT);
    while (busbar_scatter_turn(self->scatter)) {
    }
    bool is_done = busbar_scatter_is_done(self->scatter);
    bb_error_t error = busbar_scatter_fault(self->scatter, &self->fault);
    busbar_scatter_destroy(&self->scatter);
    if (error != BB_OK) {
        self->stage = S_STAGE_END;
        return false;
    }
    if (!is_done) {
        s_fail(self, BB_ERR_LIMIT,
               "the answer takes more than 4 GiB before it can be sorted; ask for fewer "
               "batteries, metrics or buckets");
        return false;
    }
    return true;
}

static void s_keep_id(busbar_rows_t *self, const char *id)
{
    enum { BLOCK_BYTES = 1 << 20 };
    size_t length = strlen(id);
    // Blocks never move: slices point into them. The last block's fill level is kept at its start.
    size_t *used =
        self->id_block_count ? (size_t *)(void *)self->id_blocks[self->id_block_count - 1] : NULL;
    if (!used || BLOCK_BYTES - *used < length) {
        self->id_blocks =
            bb_realloc(self->id_blocks, (self->id_block_count + 1) * sizeof *self->id_blocks);
        self->id_blocks[self->id_block_count] = bb_alloc(BLOCK_BYTES);
        used = (size_t *)(void *)self->id_blocks[self->id_block_count++];
        *used = sizeof *used;
    }
    char *at = self->id_blocks[self->id_block_count - 1] + *used;
    memcpy(at, id, length);
    *used += length;
    if (self->battery_count == self->battery_capacity) {
        self->battery_capacity = self->battery_capacity ? self->battery_capacity * 2 : 1024;
        self->batteries =
            bb_realloc(self->batteries, self->battery_capacity * sizeof *self->batteries);
    }
    self->batteries[self->battery_count++] = bb_slice(at, length);
}

// Which batteries there are, for a RAW query that names none.
static bool s_list(busbar_rows_t *self)
{
    bb_query_t query = {.mode = BB_QUERY_BATTERIES, .level = self->query.level};
    bb_rowset_t *rowset = bb_rowset_new(BB_QUERY_BATTERIES, false);
    bool is_ok = s_run(self, &query, NULL, 0, rowset);
    if (is_ok) {
        bb_rowset_seal(rowset, bb_rowset_pending(rowset));
        busbar_row_t row;
        while (bb_rowset_next(rowset, &row)) {
            s_keep_id(self, row.battery);
        }
        s_sort_batteries(self);
        self->stage = S_STAGE_ROUNDS;
    }
    bb_rowset_destroy(&rowset);
    return is_ok;
}

// Whether no metric of the battery has points of two types in the range. False also when that
// cannot be told, or when a fault ended the query.
static bool s_probe_is_plain(busbar_rows_t *self, const bb_slice_t *battery)
{
    bb_query_t query = self->query;
    query.mode = BB_QUERY_AGGREGATE;
    query.aggregates = BB_AGGREGATE_COUNT;
    query.every_ns = 0;
    query.row_limit = 0;
    bb_rowset_t *rowset = bb_rowset_new(BB_QUERY_AGGREGATE, false);
    // What the probe cannot read says nothing about what the query itself will be able to read.
    busbar_missing_t missing = self->missing;
    busbar_scatter_t *stream = self->scatter;
    self->scatter = NULL;
    busbar_missing_init(&self->missing, missing.partition_count);
    bool is_plain = s_run(self, &query, battery, 1, rowset) && self->missing.count == 0;
    busbar_missing_free(&self->missing);
    self->missing = missing;
    self->scatter = stream;
    bb_rowset_seal(rowset, bb_rowset_pending(rowset));
    busbar_row_t row;
    char before[BB_METRIC_NAME_BYTES_MAX + 1] = "";
    while (is_plain && bb_rowset_next(rowset, &row)) {
        is_plain = strcmp(before, row.metric) != 0;
        memcpy(before, row.metric, strlen(row.metric) + 1);
    }
    bb_rowset_destroy(&rowset);
    return is_plain;
}

static bool s_begin_round(busbar_rows_t *self)
{
    bb_rowset_clear(self->rowset);
    bb_query_t query = self->query;
    uint32_t battery_count = 0;
    self->round_count = 0;
    self->is_streaming = self->is_plain = self->is_probed = false;
    if (self->is_by_battery) {
        if (self->round_first == self->battery_count) {
            self->stage = S_STAGE_END;
            return false;
        }
        battery_count = BB_MIN(self->group_size, self->battery_count - self->round_first);
        self->round_count = battery_count;
        self->is_streaming = battery_count == 1 && query.mode == BB_QUERY_RAW;
    }
    const bb_slice_t *batteries = self->batteries + self->round_first;
    if (self->is_streaming && self->limit > 0) {
        self->is_plain = s_probe_is_plain(self, batteries);
        self->is_probed = true;
        if (self->stage == S_STAGE_END) {
            return false;
        }
        query.row_limit = self->is_plain ? self->limit - self->emitted : 0;
    }
    // A stream may hold one large metric back; it is let go by the probe.
    size_t held_max = self->is_streaming ? S_BYTES_LARGE : S_BYTES_LIMIT;
    s_scatter(self, &query, batteries, battery_count, self->rowset, held_max);
    return true;
}

static void s_end_round(busbar_rows_t *self)
{
    busbar_scatter_destroy(&self->scatter);
    self->round_first += self->round_count;
    if (!self->is_by_battery) {
        self->stage = S_STAGE_END;
    }
}

static bool s_check_fault(busbar_rows_t *self)
{
    if (busbar_scatter_fault(self->scatter, &self->fault) == BB_OK) {
        return true;
    }
    self->stage = S_STAGE_END;
    return false;
}

// Seals what of a stream can be handed out. True: rows, or the round's end.
static bool s_fill_stream(busbar_rows_t *self)
{
    for (;;) {
        bool is_done = busbar_scatter_is_done(self->scatter);
        if (!s_check_fault(self)) {
            return false;
        }
        uint32_t count = is_done || self->is_plain ? bb_rowset_pending(self->rowset)
                                                   : bb_rowset_complete(self->rowset);
        if (count > 0 || is_done) {
            bb_rowset_seal(self->rowset, count);
            if (is_done) {
                s_end_round(self);
            }
            return true;
        }
        if (bb_rowset_bytes(self->rowset) >= S_BYTES_LARGE) {
            if (self->is_probed && !self->is_plain) {
                s_fail(self, BB_ERR_LIMIT,
                       "a metric has points of two types and more than 64 MiB of them in this "
                       "range; ask for a shorter range");
                return false;
            }
            self->is_plain = s_probe_is_plain(self, &self->batteries[self->round_first]);
            self->is_probed = true;
            if (self->stage == S_STAGE_END) {
                return false;
            }
            continue;
        }
        bb_ignore(busbar_scatter_turn(self->scatter), "the loop looks at what came of it");
    }
}

static void s_adapt(busbar_rows_t *self, size_t bytes)
{
    if (self->query.mode != BB_QUERY_RAW || self->round_count == 0) {
        return;
    }
    if (bytes < S_BYTES_SMALL) {
        self->group_size = BB_MIN(self->group_size * 2, S_GROUP_MAX);
    } else if (bytes > S_BYTES_LARGE) {
        self->group_size = BB_MAX(self->round_count / 2, 1);
    }
}

static bool s_fill_group(busbar_rows_t *self)
{
    bool may_shrink = self->query.mode == BB_QUERY_RAW && self->round_count > 1;
    size_t limit = may_shrink ? S_BYTES_ABORT : S_BYTES_LIMIT;
    while (bb_rowset_bytes(self->rowset) < limit && busbar_scatter_turn(self->scatter)) {
    }
    if (!s_check_fault(self)) {
        return false;
    }
    if (!busbar_scatter_is_done(self->scatter)) {
        busbar_scatter_destroy(&self->scatter);
        if (!may_shrink) {
            s_fail(self, BB_ERR_LIMIT,
                   "the answer takes more than 4 GiB before it can be sorted; ask for fewer "
                   "batteries, metrics or buckets");
            return false;
        }
        self->group_size = BB_MAX(self->round_count / 8, 1);
        return s_begin_round(self);
    }
    s_adapt(self, bb_rowset_bytes(self->rowset));
    bb_rowset_seal(self->rowset, bb_rowset_pending(self->rowset));
    s_end_round(self);
    return true;
}

// Makes more rows ready (perhaps none yet). False at the end of the answer.
static bool s_fill(busbar_rows_t *self)
{
    if (self->stage == S_STAGE_END) {
        return false;
    }
    if (self->stage == S_STAGE_LIST) {
        return s_list(self);
    }
    if (!self->scatter) {
        return s_begin_round(self);
    }
    return self->is_streaming ? s_fill_stream(self) : s_fill_group(self);
}

// ---- public ------------------------------------------------------------------------------------

static void s_fill_query(busbar_rows_t *self, const busbar_query_t *query)
{
    self->query = (bb_query_t){
        .mode = (bb_query_mode_t)query->mode,
        // The default is known when the cluster is; it is put in then.
        .level =
            query->level == BUSBAR_DEFAULT_LEVEL ? BB_LEVEL_LOCAL_QUORUM : (bb_level_t)query->level,
        .group_by_none = query->group_by_none,
        .compare = (bb_compare_t)query->compare,
        .threshold = query->threshold,
        .accepts_rows = true,
    };
    if (query->mode == BUSBAR_LAST && query->from_ns > 0) {
        self->query.from_wall_ns = query->from_ns;
        self->query.to_wall_ns = BB_TIME_WALL_NS_LIMIT;
    }
    if (query->mode != BUSBAR_LAST && query->mode != BUSBAR_BATTERIES) {
        self->query.from_wall_ns = query->from_ns;
        self->query.to_wall_ns = query->to_ns;
    }
    if (query->mode == BUSBAR_AGGREGATE) {
        self->query.every_ns = query->every_ns;
        if (query->rollup) {
            strcpy(self->rollup, query->rollup); // bounded by s_check
            self->query.rollup = bb_slice(self->rollup, strlen(self->rollup));
        }
        self->query.aggregates = query->aggregates | BB_AGGREGATE_COUNT;
        if (query->aggregates & BUSBAR_MEAN) {
            self->query.aggregates |= BB_AGGREGATE_SUM;
        }
    }
}

static bb_error_t s_bind(const busbar_rows_t *self, bb_fault_t *why)
{
    bb_error_t error =
        self->session ? bb_session_bind(self->session, self->view->cluster_id) : BB_OK;
    return error == BB_OK ? BB_OK
                          : bb_fault_set(why, error, "the session is of another cluster than %s",
                                         self->view->cluster_name);
}

busbar_status_t busbar_query(busbar_client_t *client, const busbar_query_t *query,
                             busbar_rows_t **rows, busbar_fault_t *fault)
{
    if (!client || !query || !rows) {
        return busbar_fault_say(fault, BB_ERR_USAGE,
                                "busbar_query needs a client, a query and a place for the rows");
    }
    busbar_status_t status = s_check(query, fault);
    if (status != BUSBAR_OK) {
        return status;
    }
    busbar_rows_t *self = bb_alloc_zero(1, sizeof *self);
    self->client = client;
    atomic_fetch_add(&client->users, 1);
    s_fill_query(self, query);
    s_copy_names(self, query);
    bb_fault_t why = {0};
    bb_error_t error = bb_query_check(&self->query, &why);
    if (error == BB_OK) {
        int64_t deadline_ns = busbar_deadline_ns(client, query->timeout_ns);
        self->timeout_ns = BB_MAX(deadline_ns - bb_io_now_ns(), 1);
        error = bb_io_wait_ready(client->io, deadline_ns, &why);
    }
    if (error == BB_OK) {
        self->view = bb_io_view(client->io);
        self->session = query->session;
        error = s_bind(self, &why);
    }
    if (error != BB_OK) {
        busbar_rows_close(&self);
        return busbar_fault_of(fault, &why, error);
    }
    if (query->level == BUSBAR_DEFAULT_LEVEL) {
        self->query.level = self->view->default_read_level;
    }
    self->limit = query->limit;
    self->rowset = bb_rowset_new(self->query.mode, query->group_by_none);
    busbar_missing_init(&self->missing, self->view->partition_count);
    bool is_raw = query->mode == BUSBAR_RAW;
    self->is_by_battery = is_raw || query->battery_count > 0;
    self->stage = is_raw && query->battery_count == 0 ? S_STAGE_LIST : S_STAGE_ROUNDS;
    self->group_size = !is_raw ? S_GROUP_MAX : query->limit > 0 ? 1 : S_GROUP_FIRST;
    if (query->group_by_none) {
        self->group_size = S_BATTERIES_MAX; // one round: its buckets are merged at its end
    }
    *rows = self;
    return BUSBAR_OK;
}

bool busbar_rows_next(busbar_rows_t *self, busbar_row_t *row)
{
    if (!self || !row || self->fault.status != BUSBAR_OK ||
        (self->limit > 0 && self->emitted >= self->limit)) {
        return false;
    }
    while (!bb_rowset_next(self->rowset, row)) {
        if (!s_fill(self)) {
            return false;
        }
    }
    self->emitted++;
    return true;
}

// A node that was asked alone and holds none of the partitions gives a partial answer; otherwise
// partitions that nobody could answer at all make the cluster unavailable.
static bool s_is_unavailable(const busbar_rows_t *self)
{
    bool has_other_reason = false;
    for (uint32_t p = 0; p < self->missing.partition_count; p++) {
        bb_error_t error = self->missing.errors[p];
        has_other_reason |= error != BB_OK && error != BB_ERR_NOT_REPLICA;
    }
    return has_other_reason && !self->missing.was_answered && self->emitted == 0;
}

busbar_status_t busbar_rows_status(const busbar_rows_t *self, bool *complete,
                                   const uint32_t **missing_partitions, size_t *missing_count,
                                   busbar_fault_t *fault)
{
    if (!self) {
        return busbar_fault_say(fault, BB_ERR_USAGE, "busbar_rows_status needs rows");
    }
    busbar_rows_t *mutable = (busbar_rows_t *)(uintptr_t)self; // only fills its cached list
    free(mutable->missing_list);
    mutable->missing_list = bb_alloc(BB_MAX(self->missing.count, 1) * sizeof(uint32_t));
    uint32_t count = 0;
    for (uint32_t p = 0; p < self->missing.partition_count; p++) {
        if (self->missing.errors[p] != BB_OK) {
            mutable->missing_list[count++] = p;
        }
    }
    if (complete) {
        *complete = count == 0 && self->fault.status == BUSBAR_OK;
    }
    if (missing_partitions) {
        *missing_partitions = self->missing_list;
    }
    if (missing_count) {
        *missing_count = count;
    }
    if (self->fault.status != BUSBAR_OK) {
        if (fault) {
            *fault = self->fault;
        }
        return self->fault.status;
    }
    if (count > 0 && s_is_unavailable(self)) {
        return busbar_fault_say(
            fault, BB_ERR_UNAVAILABLE, "none of %u partitions could be read at level %s: %s", count,
            bb_level_name(self->query.level),
            self->missing.detail[0] ? self->missing.detail : "no live replica answers");
    }
    return BUSBAR_OK;
}

void busbar_rows_close(busbar_rows_t **rows)
{
    if (!rows || !*rows) {
        return;
    }
    busbar_rows_t *self = *rows;
    busbar_scatter_destroy(&self->scatter);
    bb_rowset_destroy(&self->rowset);
    busbar_missing_free(&self->missing);
    for (uint32_t i = 0; i < self->id_block_count; i++) {
        free(self->id_blocks[i]);
    }
    free(self->id_blocks);
    free(self->missing_list);
    free(self->metrics);
    free(self->batteries);
    free(self->names);
    bb_view_drop(&self->view);
    atomic_fetch_sub(&self->client->users, 1);
    free(self);
    *rows = NULL;
}
