// SPDX-License-Identifier: Apache-2.0
// fuzz_meta - any keys and values as the meta map of a store: the reader ends, calls back only with
// what it understood, and have-sets and names inside are decoded as a store does at its opening.
//
// Input: per record u8 length of the key (bit 7: the value is stored as it is, without a sound
// checksum), u8 length of the value / 2, both.
#include "storage/bb_store_meta.h"
#include "storage/kv/bb_kv_record.h"
#include "tests/fuzz/fuzz_bytes.h"
#include "tests/support/bb_sim_kv.h"

static bb_error_t s_seal(void *context, const bb_meta_seal_t *seal, bb_fault_t *fault)
{
    (void)context;
    (void)fault;
    BB_ASSERT(seal->format == BB_META_FORMAT);
    return BB_OK;
}

static bb_error_t s_have(void *context, uint32_t partition, bb_slice_t encoded, bb_fault_t *fault)
{
    (void)context;
    (void)fault;
    BB_ASSERT(partition < BB_PARTITIONS_MAX || partition <= UINT16_MAX);
    bb_have_set_t set = {0};
    uint8_t *copy = fuzz_copy(encoded.data, encoded.length);
    bb_error_t error = bb_have_set_decode(&set, copy, encoded.length);
    free(copy);
    bb_have_set_clear(&set);
    return error;
}

static bb_error_t s_name(void *context, bool is_metric, uint32_t number, bb_slice_t record,
                         bb_fault_t *fault)
{
    return bb_dictionary_load(context, is_metric, number, record, fault);
}

static bb_error_t s_window(void *context, bb_window_id_t id, const bb_meta_window_t *window,
                           const bb_meta_part_t *parts, bb_fault_t *fault)
{
    (void)context;
    (void)fault;
    BB_ASSERT(id.kind < BB_WINDOW_KIND_COUNT);
    uint64_t runs = 0;
    for (uint32_t i = 0; i < window->part_count; i++) {
        runs += parts[i].info.run_count;
    }
    (void)runs;
    return BB_OK;
}

static bb_error_t s_damage(void *context, const bb_damage_entry_t *entry, bb_fault_t *fault)
{
    (void)context;
    (void)fault;
    BB_ASSERT(bb_damage_reason_name(entry->reason));
    return BB_OK;
}

static bb_error_t s_verified(void *context, bb_window_id_t window,
                             const bb_meta_verified_t *verified, bb_fault_t *fault)
{
    (void)context;
    (void)fault;
    BB_ASSERT(window.kind < BB_WINDOW_KIND_COUNT);
    return verified->number == UINT64_MAX ? BB_ERR_CORRUPT : BB_OK;
}

static bb_error_t s_damaged(void *context, bool is_needed, const char *what, bb_fault_t *fault)
{
    (void)context;
    (void)fault;
    BB_ASSERT(what[0] != '\0');
    return is_needed ? BB_ERR_CORRUPT : BB_OK;
}

static void s_fill(bb_kv_driver_t *kv, bb_kv_env_t *env, fuzz_bytes_t bytes)
{
    bb_kv_txn_t *txn = NULL;
    BB_ASSERT(kv->begin(env, true, &txn) == BB_OK);
    while (bytes.left >= 3) {
        uint64_t head = fuzz_take_word(&bytes, 1);
        size_t key_length = (head & 0x7f) % 12 + 1;
        size_t value_length = (size_t)fuzz_take_word(&bytes, 1) * 2;
        bb_slice_t key = fuzz_take(&bytes, key_length);
        bb_slice_t value = fuzz_take(&bytes, value_length);
        if (key.length > 0) {
            bb_error_t error =
                head & 0x80 ? kv->put(txn, key, value) : bb_kv_record_put(kv, txn, key, value);
            BB_ASSERT(error == BB_OK);
        }
    }
    BB_ASSERT(kv->commit(&txn) == BB_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
    bb_kv_driver_t *kv = bb_sim_kv(disk);
    bb_kv_env_t *env = NULL;
    bb_kv_txn_t *txn = NULL;
    bb_fault_t fault = {0};
    BB_ASSERT(vfs->make_directory(vfs, "/meta") == BB_OK);
    BB_ASSERT(kv->open(kv, "/meta", 1 << 20, true, &env, &fault) == BB_OK);
    s_fill(kv, env, (fuzz_bytes_t){data, size});
    BB_ASSERT(kv->begin(env, false, &txn) == BB_OK);
    bb_dictionary_t *dictionary = bb_dictionary_new(1, BB_PARTITIONS_MAX);
    const bb_meta_visitor_t visitor = {.context = dictionary,
                                       .seal = s_seal,
                                       .have = s_have,
                                       .name = s_name,
                                       .window = s_window,
                                       .damage = s_damage,
                                       .verified = s_verified,
                                       .damaged = s_damaged};
    bb_error_t error = bb_meta_read(kv, txn, &visitor, &fault);
    BB_ASSERT(error != BB_ERR_FORMAT || fault.text[0] != '\0');
    kv->abort(&txn);
    kv->close(&env);
    bb_dictionary_destroy(&dictionary);
    bb_sim_disk_destroy(&disk);
    return 0;
}
