// SPDX-License-Identifier: Apache-2.0
// fuzz_query - any fields as a query. What bb_query_check accepts travels in a message and arrives
// as it was sent; what arrives passes the same check.
#include "protocol/bb_message.h"
#include "tests/fuzz/fuzz_bytes.h"

#define S_LIST_MAX 4u

typedef struct {
    uint32_t partitions[S_LIST_MAX];
    bb_slice_t batteries[S_LIST_MAX];
    bb_slice_t metrics[S_LIST_MAX];
} s_lists_t;

static uint32_t s_names(fuzz_bytes_t *bytes, bb_slice_t *names)
{
    uint32_t count = (uint32_t)fuzz_take_word(bytes, 1) % (S_LIST_MAX + 1);
    for (uint32_t i = 0; i < count; i++) {
        names[i] = fuzz_take(bytes, (size_t)fuzz_take_word(bytes, 1));
    }
    return count;
}

static bb_query_t s_query(fuzz_bytes_t *bytes, s_lists_t *lists)
{
    bb_query_t query = {
        .mode = (bb_query_mode_t)fuzz_take_word(bytes, 1),
        .level = (bb_level_t)fuzz_take_word(bytes, 1),
        .from_wall_ns = (int64_t)fuzz_take_word(bytes, 8),
        .to_wall_ns = (int64_t)fuzz_take_word(bytes, 8),
        .every_ns = (int64_t)fuzz_take_word(bytes, 8),
        .aggregates = (uint32_t)fuzz_take_word(bytes, 1),
        .group_by_none = fuzz_take_word(bytes, 1) & 1,
        .row_limit = fuzz_take_word(bytes, 2),
        .page_bytes_max = (uint32_t)fuzz_take_word(bytes, 4),
    };
    query.partition_count = (uint32_t)fuzz_take_word(bytes, 1) % (S_LIST_MAX + 1);
    for (uint32_t i = 0; i < query.partition_count; i++) {
        lists->partitions[i] = (uint32_t)fuzz_take_word(bytes, 2);
    }
    query.partitions = lists->partitions;
    query.battery_count = s_names(bytes, lists->batteries);
    query.batteries = lists->batteries;
    query.metric_count = s_names(bytes, lists->metrics);
    query.metrics = lists->metrics;
    query.cursor = fuzz_take(bytes, bytes->left);
    return query;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(data, size);
    fuzz_bytes_t bytes = {copy, size};
    s_lists_t lists = {0};
    bb_fault_t fault = {0};
    bb_message_t message = {
        .kind = BB_KIND_QUERY, .request_id = 1, .query = s_query(&bytes, &lists)};
    if (bb_query_check(&message.query, &fault) != BB_OK) {
        BB_ASSERT(fault.text[0] != '\0'); // a refusal says why
    } else {
        uint8_t *encoded;
        size_t length;
        bb_message_t arrived;
        bb_message_encode(&message, &encoded, &length);
        bb_error_t error = bb_message_decode(&arrived, bb_slice(encoded, length), &fault);
        BB_ASSERT(error == BB_OK);
        BB_ASSERT(arrived.query.mode == message.query.mode);
        BB_ASSERT(arrived.query.from_wall_ns == message.query.from_wall_ns);
        BB_ASSERT(arrived.query.battery_count == message.query.battery_count);
        BB_ASSERT(arrived.query.cursor.length == message.query.cursor.length);
        error = bb_query_check(&arrived.query, &fault);
        BB_ASSERT(error == BB_OK);
        bb_message_close(&arrived);
        free(encoded);
    }
    free(copy);
    return 0;
}
