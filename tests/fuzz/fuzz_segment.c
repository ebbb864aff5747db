// SPDX-License-Identifier: Apache-2.0
// fuzz_segment - any packs under any keys as a segment: the cursor ends, hands out runs that lie
// inside of their packs, and what a check of the window counts is what it walked.
//
// Input: per pack u8 choice (bit 0: the checksum of the index is made right; bit 1: so are those of
// the first run), u16 bytes, u16 partition, u32 battery, then the pack. Keys count from 0.
#include "protocol/bb_crc32c.h"
#include "storage/scrub/bb_window_check.h"
#include "storage/segment/bb_pack.h"
#include "storage/segment/bb_run_reader.h"
#include "tests/fuzz/fuzz_bytes.h"
#include "tests/support/bb_sim_kv.h"

#define S_MAP_BYTES (8u << 20)

static void s_sign(uint8_t *bytes, size_t length, uint8_t choice)
{
    uint32_t entries;
    uint32_t runs;
    if (!(choice & 1) || length < 28) {
        return;
    }
    memcpy(bytes, "BBP2", 4);
    memcpy(&entries, bytes + 12, 4);
    memcpy(&runs, bytes + 24, 4);
    uint64_t limit = 28 + (uint64_t)entries * 8 + (uint64_t)runs * 4;
    if (entries == 0 || runs == 0 || limit > length) {
        return;
    }
    uint32_t offset;
    memcpy(&offset, bytes + 28 + (size_t)entries * 4, 4);
    if (choice & 2 && offset >= limit && offset < length) {
        bb_ignore(bb_run_sign(bytes + offset, length - offset), "any outcome is fine");
    }
    uint32_t checksum = bb_crc32c(0, bytes + 8, limit - 8);
    memcpy(bytes + 4, &checksum, 4);
}

static void s_fill(bb_kv_driver_t *kv, bb_kv_env_t *env, fuzz_bytes_t bytes)
{
    bb_kv_txn_t *txn = NULL;
    BB_ASSERT(kv->begin(env, true, &txn) == BB_OK);
    for (uint32_t seq = 0; bytes.left >= 9; seq++) {
        uint8_t choice = (uint8_t)fuzz_take_word(&bytes, 1);
        size_t length = (size_t)fuzz_take_word(&bytes, 2);
        uint32_t partition = (uint32_t)fuzz_take_word(&bytes, 2);
        uint32_t battery = (uint32_t)fuzz_take_word(&bytes, 4);
        bb_slice_t pack = fuzz_take(&bytes, length);
        uint8_t *copy = fuzz_copy(pack.data, pack.length);
        uint8_t key[BB_PACK_KEY_BYTES];
        s_sign(copy, pack.length, choice);
        bb_pack_key_encode(key, bb_pack_place(partition, battery), seq);
        BB_ASSERT(kv->put(txn, bb_slice(key, sizeof key), bb_slice(copy, pack.length)) == BB_OK);
        free(copy);
    }
    BB_ASSERT(kv->commit(&txn) == BB_OK);
}

static void s_found(void *context, uint32_t partition, uint32_t battery, bb_damage_reason_t reason,
                    const char *text)
{
    (void)partition;
    (void)battery;
    BB_ASSERT(reason >= BB_DAMAGE_CHECKSUM && reason <= BB_DAMAGE_REASON_LAST);
    BB_ASSERT(text[0] != '\0');
    (*(uint64_t *)context)++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
    bb_kv_driver_t *kv = bb_sim_kv(disk);
    bb_segment_part_t part = {0};
    bb_segment_cursor_t *cursor = NULL;
    BB_ASSERT(vfs->make_directory(vfs, "/segment") == BB_OK);
    BB_ASSERT(kv->open(kv, "/segment", S_MAP_BYTES, true, &part.env, NULL) == BB_OK);
    s_fill(kv, part.env, (fuzz_bytes_t){data, size});
    BB_ASSERT(bb_segment_cursor_open(kv, &part, 1, &cursor) == BB_OK);
    uint64_t found_count = 0;
    bb_window_check_t check = {
        .cursor = cursor, .budget_bytes = 4096, .found = s_found, .context = &found_count};
    bb_window_check_at_t at = {0};
    bb_window_check_totals_t totals = {0};
    uint32_t step_count = 0;
    while (!bb_window_check_step(&check, &at, &totals)) {
        BB_ASSERT(step_count++ < 100000); // it ends
    }
    BB_ASSERT(totals.finding_count == found_count);
    bb_segment_cursor_close(&cursor);
    kv->close(&part.env);
    bb_sim_disk_destroy(&disk);
    return 0;
}
