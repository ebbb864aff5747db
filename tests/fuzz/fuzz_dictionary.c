// SPDX-License-Identifier: Apache-2.0
// fuzz_dictionary - any bytes as records of names, and as packed attributes.
//
// Input: per record u8 kind (bit 0: a metric), u8 length, bytes. What one dictionary accepts it
// gives back as records that a second one accepts, which then gives the same.
#include "storage/head/bb_dictionary.h"
#include "tests/fuzz/fuzz_bytes.h"

#define S_PARTITIONS 16u

typedef struct {
    bb_dictionary_t *copy;
    bb_slice_t *records; // of the first pass, owned
    uint32_t count, at;
    uint32_t capacity;
} s_pass_t;

static void s_keep(void *context, bool is_metric, uint32_t number, bb_slice_t record)
{
    s_pass_t *pass = context;
    bb_error_t error = bb_dictionary_load(pass->copy, is_metric, number, record, NULL);
    BB_ASSERT(error == BB_OK);
    BB_ASSERT(pass->count < pass->capacity);
    pass->records[pass->count++] = bb_slice(fuzz_copy(record.data, record.length), record.length);
}

static void s_attributes(bb_slice_t packed)
{
    bb_dictionary_attribute_t list[BB_ATTRIBUTES_MAX];
    uint32_t count = 0;
    uint8_t *copy = fuzz_copy(packed.data, packed.length);
    if (bb_dictionary_attributes_unpack(bb_slice(copy, packed.length), list, &count) == BB_OK) {
        BB_ASSERT(count <= BB_ATTRIBUTES_MAX);
        for (uint32_t i = 0; i < count; i++) {
            fuzz_touch(list[i].key);
            fuzz_touch(list[i].value);
        }
    }
    free(copy);
}

// Loads the records; marks what was accepted as changed by giving each battery an attribute.
static void s_load(bb_dictionary_t *dictionary, fuzz_bytes_t bytes)
{
    bb_attribute_t mark = {bb_slice("k", 1), bb_slice("v", 1)};
    while (bytes.left >= 2) {
        bool is_metric = fuzz_take_word(&bytes, 1) & 1;
        bb_slice_t record = fuzz_take(&bytes, (size_t)fuzz_take_word(&bytes, 1));
        uint8_t *copy = fuzz_copy(record.data, record.length);
        uint32_t number = is_metric ? bb_dictionary_metric_count(dictionary)
                                    : bb_dictionary_battery_count(dictionary);
        bb_fault_t fault = {0};
        if (bb_dictionary_load(dictionary, is_metric, number, bb_slice(copy, record.length),
                               &fault) != BB_OK) {
            BB_ASSERT(fault.text[0] != '\0');
        } else if (!is_metric) {
            bb_dictionary_attributes_merge(dictionary, number, &mark, 1, 1);
            fuzz_touch(bb_dictionary_battery_id(dictionary, number));
            s_attributes(bb_dictionary_attributes(dictionary, number));
        } else {
            fuzz_touch(bb_dictionary_metric_name(dictionary, number));
        }
        free(copy);
        s_attributes(record);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bb_dictionary_t *dictionary = bb_dictionary_new(1, S_PARTITIONS);
    s_load(dictionary, (fuzz_bytes_t){data, size});
    // What is drained has been marked above; metrics are not, so they are given first.
    s_pass_t pass = {.copy = bb_dictionary_new(2, S_PARTITIONS),
                     .capacity = bb_dictionary_battery_count(dictionary) +
                                 bb_dictionary_metric_count(dictionary)};
    pass.records = bb_alloc((pass.capacity + 1) * sizeof *pass.records);
    for (uint32_t i = 0; i < bb_dictionary_metric_count(dictionary); i++) {
        bb_slice_t name = bb_dictionary_metric_name(dictionary, i);
        BB_ASSERT(bb_dictionary_metric(pass.copy, name) == i);
    }
    bb_dictionary_drain(dictionary, s_keep, &pass);
    BB_ASSERT(bb_dictionary_battery_count(pass.copy) == bb_dictionary_battery_count(dictionary));
    for (uint32_t i = 0; i < bb_dictionary_battery_count(dictionary); i++) {
        bb_slice_t one = bb_dictionary_battery_id(dictionary, i);
        bb_slice_t two = bb_dictionary_battery_id(pass.copy, i);
        BB_ASSERT(bb_dictionary_compare(one, two) == 0);
    }
    for (uint32_t i = 0; i < pass.count; i++) {
        free((void *)(uintptr_t)pass.records[i].data);
    }
    free(pass.records);
    bb_dictionary_destroy(&pass.copy);
    bb_dictionary_destroy(&dictionary);
    return 0;
}
