// SPDX-License-Identifier: Apache-2.0
// What peers need of the journal: finding what one lacks, and deleting what all have.
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_batch_equal.h"
#include "storage/bb_store.h"
#include "storage/bb_store_private.h"

// ---- trim ------------------------------------------------------------------------------------
typedef struct {
    bb_store_is_held_fn is_held;
    void *context;
    bool all_held;
} s_trim_t;

static bool s_check_held(void *context, uint32_t partition, const bb_stream_t *stream,
                         uint64_t first_seq, uint64_t last_seq)
{
    s_trim_t *trim = context;
    trim->all_held = trim->is_held(trim->context, partition, stream, first_seq, last_seq);
    return trim->all_held;
}

static bool s_is_all_held(const bb_store_t *self, uint64_t file, bb_store_is_held_fn is_held,
                          void *context)
{
    s_trim_t trim = {is_held, context, true};
    bb_journal_dots(self->journal, file, s_check_held, &trim);
    return trim.all_held;
}

bb_error_t bb_store_trim(bb_store_t *self, bb_store_is_held_fn is_held, void *context)
{
    uint64_t first = bb_journal_file_first(self->journal);
    uint64_t last = bb_journal_file_last(self->journal);
    if (first == 0) {
        return BB_OK;
    }
    // The file that is being written stays, whatever meta says.
    for (uint64_t file = first; file <= self->sealed_through && file < last; file++) {
        if (!s_is_all_held(self, file, is_held, context)) {
            continue;
        }
        BB_KILLPOINT(self->vfs, JOURNAL_TRIM);
        bb_error_t error = bb_journal_drop(self->journal, file);
        if (error != BB_OK && error != BB_ERR_NOT_FOUND) {
            return error;
        }
    }
    return BB_OK;
}

bb_error_t bb_store_trim_past(bb_store_t *self, uint64_t budget_bytes,
                              bb_store_is_held_fn is_needless, void *context, uint64_t *bytes)
{
    uint64_t last = bb_journal_file_last(self->journal);
    uint64_t before = bb_journal_bytes(self->journal);
    uint64_t file = bb_journal_file_first(self->journal);
    for (; file > 0 && file <= self->sealed_through && file < last && before > budget_bytes;
         file++) {
        if (!s_is_all_held(self, file, is_needless, context)) {
            continue;
        }
        bb_error_t error = bb_journal_drop(self->journal, file);
        if (error != BB_OK && error != BB_ERR_NOT_FOUND) {
            return error;
        }
        uint64_t after = bb_journal_bytes(self->journal);
        *bytes += before - after;
        before = after;
    }
    return BB_OK;
}

// ---- contradictions ---------------------------------------------------------------------------
typedef struct {
    const bb_chunks_t *chunks;
    const bb_batch_t *batch;
    uint32_t part_index;
    uint64_t budget_bytes;
    bool is_there; // a file says that it has the dot
    bool is_other; // the chunk has another content
} s_contradiction_t;

static bool s_find_dot(void *context, uint32_t partition, const bb_stream_t *stream,
                       uint64_t first_seq, uint64_t last_seq)
{
    s_contradiction_t *self = context;
    uint64_t seq = bb_chunks_seq(self->chunks, self->part_index);
    self->is_there = partition == self->batch->parts[self->part_index].partition &&
                     bb_stream_is_equal(stream, &self->chunks->stream) && first_seq <= seq &&
                     seq <= last_seq;
    return !self->is_there;
}

static bb_error_t s_compare_record(void *context, uint64_t file_seq, const bb_chunks_t *chunks,
                                   bb_slice_t chunks_encoded, const bb_batch_t *batch)
{
    (void)file_seq;
    s_contradiction_t *self = context;
    uint64_t bytes = chunks_encoded.length + batch->encoded.length;
    uint32_t partition = self->batch->parts[self->part_index].partition;
    bool is_stream = bb_stream_is_equal(&chunks->stream, &self->chunks->stream);
    for (uint32_t i = 0; is_stream && i < chunks->part_count; i++) {
        if (batch->parts[i].partition == partition &&
            bb_chunks_seq(chunks, i) == bb_chunks_seq(self->chunks, self->part_index)) {
            self->is_other = !bb_batch_part_is_equal(batch, chunks, i, self->batch, self->chunks,
                                                     self->part_index);
            return BB_ERR_CANCELLED;
        }
    }
    self->budget_bytes -= BB_MIN(self->budget_bytes, bytes);
    return self->budget_bytes == 0 ? BB_ERR_CANCELLED : BB_OK;
}

bool bb_store_is_contradicted(bb_store_t *self, const bb_chunks_t *chunks, const bb_batch_t *batch,
                              uint32_t part_index, uint64_t *budget_bytes)
{
    s_contradiction_t contradiction = {
        .chunks = chunks, .batch = batch, .part_index = part_index, .budget_bytes = *budget_bytes};
    uint64_t first = bb_journal_file_first(self->journal);
    uint64_t file = bb_journal_file_last(self->journal);
    for (; first > 0 && file >= first && !contradiction.is_there; file--) {
        bb_journal_dots(self->journal, file, s_find_dot, &contradiction);
    }
    uint64_t offset = 0;
    bb_error_t error = BB_ERR_CORRUPT;
    while (contradiction.is_there && error == BB_ERR_CORRUPT) { // goes on behind what is damaged
        error = bb_journal_read(self->journal, file + 1, &offset, s_compare_record, &contradiction);
    }
    *budget_bytes = contradiction.budget_bytes;
    return contradiction.is_other;
}

// ---- missing ---------------------------------------------------------------------------------
typedef struct {
    uint32_t index; // of the partition in the question
    bb_stream_t stream;
    bb_seq_range_t range;
} s_dots_t;

typedef struct {
    bb_store_t *store;
    const bb_have_set_t *their_have;
    uint32_t *index_of; // per partition: index in the question + 1, 0 = not asked
    bool *lacking;      // per index: they lack something that we have
    bb_store_emit_fn emit;
    void *context;
    uint64_t budget_bytes;
    uint64_t emitted_bytes;
    bool *keep;
    uint32_t keep_capacity;
    bool is_wanted;            // of the file at hand: it holds something they lack
    bb_store_places_t *places; // or NULL
    bool has_skipped;          // what is before a place
    // Dots of the journal in partitions where they lack something.
    s_dots_t *dots;
    size_t dot_count, dot_capacity;
} s_missing_t;

static bool s_note_dots(void *context, uint32_t partition, const bb_stream_t *stream,
                        uint64_t first_seq, uint64_t last_seq)
{
    s_missing_t *self = context;
    uint32_t index = partition < self->store->partition_count ? self->index_of[partition] : 0;
    // Journals outlive what is said of them: streams that are forgotten are nobody's to miss.
    if (index == 0 || !self->lacking[index - 1] ||
        !bb_have_set_stream(&self->store->have[partition], stream)) {
        return true;
    }
    if (self->dot_count == self->dot_capacity) {
        self->dot_capacity = self->dot_capacity ? self->dot_capacity * 2 : 64;
        self->dots = bb_realloc(self->dots, self->dot_capacity * sizeof *self->dots);
    }
    self->dots[self->dot_count++] = (s_dots_t){index - 1, *stream, {first_seq, last_seq}};
    self->is_wanted = self->is_wanted || !bb_have_set_contains_range(&self->their_have[index - 1],
                                                                     stream, first_seq, last_seq);
    return true;
}

static uint8_t *s_copy(bb_slice_t bytes)
{
    uint8_t *copy = bb_alloc(bytes.length);
    memcpy(copy, bytes.data, bytes.length);
    return copy;
}

static bb_error_t s_offer(void *context, uint64_t file_seq, const bb_chunks_t *chunks,
                          bb_slice_t chunks_encoded, const bb_batch_t *batch)
{
    s_missing_t *self = context;
    (void)file_seq;
    if (batch->part_count > self->keep_capacity) {
        self->keep_capacity = batch->part_count * 2;
        self->keep = bb_realloc(self->keep, self->keep_capacity * sizeof *self->keep);
    }
    uint32_t kept = 0;
    if (bb_stream_is_none(&chunks->stream)) {
        return BB_OK; // nobody can ask for what has no dots
    }
    for (uint32_t i = 0; i < batch->part_count; i++) {
        uint32_t partition = batch->parts[i].partition;
        uint32_t index = partition < self->store->partition_count ? self->index_of[partition] : 0;
        self->keep[i] = index != 0 &&
                        !bb_have_set_contains(&self->their_have[index - 1], &chunks->stream,
                                              bb_chunks_seq(chunks, i)) &&
                        bb_have_set_contains(&self->store->have[partition], &chunks->stream,
                                             bb_chunks_seq(chunks, i));
        kept += self->keep[i];
    }
    if (kept == 0) {
        return BB_OK;
    }
    uint8_t *header;
    uint8_t *body;
    size_t header_length = chunks_encoded.length;
    size_t body_length = batch->encoded.length;
    if (kept == batch->part_count) {
        header = s_copy(chunks_encoded);
        body = s_copy(batch->encoded);
    } else {
        bb_error_t error = bb_chunks_subset(chunks, batch, self->keep, &header, &header_length,
                                            &body, &body_length);
        if (error != BB_OK) {
            return error;
        }
    }
    self->emit(self->context, header, header_length, body, body_length);
    self->emitted_bytes += header_length + body_length;
    return self->emitted_bytes >= self->budget_bytes ? BB_ERR_CANCELLED : BB_OK;
}

static bb_error_t s_note_record(void *context, uint64_t file_seq, const bb_chunks_t *chunks,
                                bb_slice_t chunks_encoded, const bb_batch_t *batch)
{
    (void)file_seq;
    (void)chunks_encoded;
    for (uint32_t i = 0; i < batch->part_count && !bb_stream_is_none(&chunks->stream); i++) {
        s_note_dots(context, batch->parts[i].partition, &chunks->stream, bb_chunks_seq(chunks, i),
                    bb_chunks_seq(chunks, i));
    }
    return BB_OK;
}

// Gives all records of a file from an offset on, also those behind damage; *offset is then where to
// go on. CANCELLED: one said enough.
static bb_error_t s_read_file(s_missing_t *self, uint64_t file, uint64_t *offset,
                              bb_journal_record_fn on_record, bool *is_damaged)
{
    bb_error_t error = BB_OK;
    while (error == BB_OK) {
        uint64_t before = *offset;
        error = bb_journal_read(self->store->journal, file, offset, on_record, self);
        if (error == BB_ERR_CORRUPT) {
            *is_damaged = true;
            error = *offset > before ? BB_OK : BB_ERR_NOT_FOUND;
        }
    }
    return error == BB_ERR_NOT_FOUND ? BB_OK : error;
}

// The place in the file, which is 0 where none is known; NULL: nobody keeps places.
static uint64_t *s_place(s_missing_t *self, uint64_t file)
{
    bb_store_places_t *places = self->places;
    for (uint32_t i = 0; places && i < BB_STORE_PLACES_MAX; i++) {
        if (places->files[i].file == file) {
            return &places->files[i].offset;
        }
    }
    if (!places) {
        return NULL;
    }
    uint32_t at = places->next++ % BB_STORE_PLACES_MAX;
    places->files[at].file = file;
    places->files[at].offset = 0;
    return &places->files[at].offset;
}

// Emits what they lack of one file, whose dots are those from dot_first on. CANCELLED: the budget
// is used up.
static bb_error_t s_offer_file(s_missing_t *self, uint64_t file, size_t dot_first)
{
    bool is_damaged = false;
    uint64_t *place = s_place(self, file);
    uint64_t offset = place ? *place : 0;
    self->has_skipped = self->has_skipped || offset > 0;
    bb_error_t error = s_read_file(self, file, &offset, s_offer, &is_damaged);
    if (place) {
        *place = offset;
    }
    if (error == BB_OK && is_damaged) {
        // Some of the dots went bad since the file was opened: available is what can be read.
        self->dot_count = dot_first;
        offset = 0;
        error = s_read_file(self, file, &offset, s_note_record, &is_damaged);
    }
    return error;
}

static int s_compare_dots(const void *a, const void *b)
{
    const s_dots_t *left = a;
    const s_dots_t *right = b;
    if (left->index != right->index) {
        return left->index < right->index ? -1 : 1;
    }
    int order = memcmp(left->stream.bytes, right->stream.bytes, sizeof left->stream.bytes);
    if (order != 0) {
        return order;
    }
    return (left->range.first_seq > right->range.first_seq) -
           (left->range.first_seq < right->range.first_seq);
}

// First dots of (index, stream) in the sorted list.
static size_t s_dots_find(const s_missing_t *self, uint32_t index, const bb_stream_t *stream)
{
    s_dots_t wanted = {index, *stream, {0, 0}};
    size_t first = 0;
    size_t limit = self->dot_count;
    while (first < limit) {
        size_t middle = first + (limit - first) / 2;
        if (s_compare_dots(&self->dots[middle], &wanted) < 0) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return first;
}

// True if the journal has every dot of [first, last] that `theirs` lacks. Walks both sorted lists
// of ranges: what is known to be covered grows from the left.
static bool s_is_available(const s_missing_t *self, uint32_t index, const bb_stream_t *stream,
                           const bb_have_stream_t *theirs, bb_seq_range_t range)
{
    size_t dot = s_dots_find(self, index, stream);
    uint32_t at = 0;
    uint64_t next = range.first_seq; // first seq not known to be covered
    while (next <= range.last_seq) {
        uint64_t before = next;
        for (; theirs && at < theirs->range_count && theirs->ranges[at].first_seq <= next; at++) {
            if (theirs->ranges[at].last_seq >= next) {
                next = theirs->ranges[at].last_seq + 1;
            }
        }
        for (; dot < self->dot_count && self->dots[dot].index == index &&
               bb_stream_is_equal(&self->dots[dot].stream, stream) &&
               self->dots[dot].range.first_seq <= next;
             dot++) {
            if (self->dots[dot].range.last_seq >= next) {
                next = self->dots[dot].range.last_seq + 1;
            }
        }
        if (next == before) {
            return false;
        }
    }
    return true;
}

static bool s_is_all_available(const s_missing_t *self, uint32_t partition, uint32_t index)
{
    const bb_have_set_t *ours = &self->store->have[partition];
    for (uint32_t s = 0; s < ours->stream_count; s++) {
        const bb_have_stream_t *stream = &ours->streams[s];
        const bb_have_stream_t *theirs =
            bb_have_set_stream(&self->their_have[index], &stream->stream);
        for (uint32_t r = 0; r < stream->range_count; r++) {
            if (!s_is_available(self, index, &stream->stream, theirs, stream->ranges[r])) {
                return false;
            }
        }
    }
    return true;
}

// Newest file first. CANCELLED: the budget is used up.
static bb_error_t s_walk(s_missing_t *self)
{
    bb_journal_t *journal = self->store->journal;
    bb_error_t error = BB_OK;
    self->dot_count = 0;
    self->has_skipped = false;
    uint64_t first = bb_journal_file_first(journal);
    for (uint64_t file = bb_journal_file_last(journal); first > 0 && file >= first; file--) {
        size_t dot_first = self->dot_count;
        self->is_wanted = false;
        bb_journal_dots(journal, file, s_note_dots, self);
        if (!self->is_wanted || error != BB_OK) {
            continue; // the walk goes on to see what is available
        }
        error = s_offer_file(self, file, dot_first);
    }
    return error;
}

bb_error_t bb_store_missing(bb_store_t *self, const uint32_t *partitions,
                            const bb_have_set_t *their_have, uint32_t partition_count,
                            uint64_t budget_bytes, bb_store_places_t *places, bb_store_emit_fn emit,
                            void *context, bool *more, uint32_t *unavailable,
                            uint32_t *unavailable_count)
{
    s_missing_t missing = {
        .store = self,
        .their_have = their_have,
        .index_of = bb_alloc_zero(self->partition_count, sizeof(uint32_t)),
        .lacking = bb_alloc_zero(partition_count + 1, sizeof(bool)),
        .emit = emit,
        .context = context,
        .budget_bytes = budget_bytes,
        .places = places,
    };
    *more = false;
    *unavailable_count = 0;
    bool any = false;
    for (uint32_t i = 0; i < partition_count; i++) {
        if (partitions[i] >= self->partition_count) {
            continue; // a peer's mistake; nothing of it is here
        }
        missing.index_of[partitions[i]] = i + 1;
        missing.lacking[i] =
            bb_have_set_lacks_count(&their_have[i], &self->have[partitions[i]]) > 0;
        any |= missing.lacking[i];
    }
    bb_error_t error = any ? s_walk(&missing) : BB_OK;
    if (error == BB_OK && missing.emitted_bytes == 0 && missing.has_skipped) {
        *places = (bb_store_places_t){0};
        error = s_walk(&missing);
    }
    *more = error == BB_ERR_CANCELLED;
    if (missing.dot_count > 1) {
        qsort(missing.dots, missing.dot_count, sizeof *missing.dots, s_compare_dots);
    }
    for (uint32_t i = 0; i < partition_count; i++) {
        if (missing.lacking[i] && !s_is_all_available(&missing, partitions[i], i)) {
            unavailable[(*unavailable_count)++] = partitions[i];
        }
    }
    free(missing.index_of);
    free(missing.lacking);
    free(missing.keep);
    free(missing.dots);
    return error == BB_ERR_CANCELLED ? BB_OK : error;
}
