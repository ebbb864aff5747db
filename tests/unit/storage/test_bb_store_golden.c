// SPDX-License-Identifier: Apache-2.0
// The bytes of store format 2: identity, meta records, keys and counts of windows. A store that was
// written once and kept must be read for ever; the same history must write the same identity and
// names. (Runs have a golden file of their own; better encodings may change how they are written,
// so what was kept of windows is only read.) `test_bb_store_golden --write-golden` rewrites the
// file and is used once per format version.
//
//   128 bytes of busbar.store, then entries: u8 map (0 meta, 1 window 2026-01-01, 2 quarantine),
//   u32 bytes of the key, u32 bytes of the value, key, value
#include "tests/unit/storage/store_fixture.h"

#define S_GOLDEN         BB_SOURCE_DIR "/tests/golden/disk/store_v2.bin"
#define S_IDENTITY_BYTES 128u
#define S_BYTES_MAX      65536u

static const char *const s_folders[3] = {"/store/meta", "/store/windows/default/2026-01-01.000001",
                                         "/store/quarantine/default/2026-01-01.000001"};

typedef struct {
    uint8_t bytes[S_BYTES_MAX];
    size_t length;
} s_image_t;

static void s_append(s_image_t *image, const void *data, size_t length)
{
    assert_true(image->length + length <= S_BYTES_MAX);
    memcpy(image->bytes + image->length, data, length);
    image->length += length;
}

// Two batteries; three frames at revision 0, one of them in quarantine; attributes; all four types.
static void s_history(fixture_t *fixture)
{
    const uint32_t metrics[4] = {0, 1, 2, 3};
    const uint8_t types[4] = {BB_TYPE_FLOAT64, BB_TYPE_INT64, BB_TYPE_BOOL, BB_TYPE_STATE};
    fixture_batch_t batch;
    memset(&batch, 0, sizeof batch);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    const bool marks[3] = {false, false, true};
    bb_attribute_t attributes[2] = {{fixture_slice("site"), fixture_slice("north")},
                                    {fixture_slice("maker"), fixture_slice("x")}};
    uint32_t handle;
    assert_int_equal(bb_batch_builder_battery(builder, fixture_partition(1), fixture_battery(1),
                                              attributes, 2, &handle, NULL),
                     BB_OK);
    for (uint32_t f = 0; f < 3; f++) {
        const uint64_t bits[4] = {bb_bits_of_double(3.5 + f), 100 + f, f & 1,
                                  (uint64_t)(uintptr_t)fixture_text(f)};
        fixture_add_frame(builder, &batch, 1 + f % 2, 0, FIXTURE_START_NS + f * BB_NS_PER_S,
                          metrics, types, bits, 4, marks[f]);
    }
    fixture_seal(fixture, builder, marks, FIXTURE_START_NS, &batch);
    bb_batch_builder_destroy(&builder);
    fixture_write(fixture, &batch);
    fixture_batch_free(&batch);
}

static void s_take_map(fixture_t *fixture, uint8_t map, s_image_t *image)
{
    bb_kv_driver_t *kv = fixture->options.kv;
    bb_kv_env_t *env = NULL;
    bb_kv_txn_t *txn = NULL;
    bb_kv_cursor_t *cursor = NULL;
    assert_int_equal(kv->open(kv, s_folders[map], 1u << 20, false, &env, NULL), BB_OK);
    assert_int_equal(kv->begin(env, false, &txn), BB_OK);
    assert_int_equal(kv->cursor(txn, &cursor), BB_OK);
    bb_slice_t key;
    bb_slice_t value;
    bb_error_t error = kv->seek(cursor, bb_slice(NULL, 0), &key, &value);
    while (error == BB_OK) {
        uint32_t lengths[2] = {(uint32_t)key.length, (uint32_t)value.length};
        s_append(image, &map, 1);
        s_append(image, lengths, sizeof lengths);
        s_append(image, key.data, key.length);
        s_append(image, value.data, value.length);
        error = kv->next(cursor, &key, &value);
    }
    kv->cursor_close(&cursor);
    kv->abort(&txn);
    kv->close(&env);
}

// What the history writes, as an image.
static void s_write(s_image_t *image)
{
    fixture_t fixture;
    image->length = 0;
    fixture_open(&fixture, true);
    s_history(&fixture);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    bb_store_close(&fixture.store);
    bb_slice_t identity = bb_sim_disk_get(fixture.disk, "/store/busbar.store");
    assert_int_equal(identity.length, S_IDENTITY_BYTES);
    s_append(image, identity.data, identity.length);
    for (uint8_t map = 0; map < 3; map++) {
        s_take_map(&fixture, map, image);
    }
    fixture_reopen_error(&fixture, BB_OK);
    fixture_close(&fixture);
}

static void s_load_golden(s_image_t *image)
{
    FILE *file = fopen(S_GOLDEN, "rb");
    assert_non_null(file);
    image->length = fread(image->bytes, 1, S_BYTES_MAX, file);
    assert_true(image->length > S_IDENTITY_BYTES);
    fclose(file);
}

typedef struct {
    uint8_t map;
    bb_slice_t key, value;
    size_t bytes; // of the entry
} s_entry_t;

static bool s_entry(const s_image_t *image, size_t at, s_entry_t *entry)
{
    if (at >= image->length) {
        return false;
    }
    uint32_t lengths[2];
    entry->map = image->bytes[at];
    memcpy(lengths, image->bytes + at + 1, sizeof lengths);
    const uint8_t *key = image->bytes + at + 1 + sizeof lengths;
    entry->key = bb_slice(key, lengths[0]);
    entry->value = bb_slice(key + lengths[0], lengths[1]);
    entry->bytes = 1 + sizeof lengths + lengths[0] + lengths[1];
    assert_true(entry->map < 3 && at + entry->bytes <= image->length);
    return true;
}

// Goal: a store that was kept answers what was written into it, and goes on.
static void test_kept_store_is_read(void **state)
{
    (void)state;
    static s_image_t image;
    s_load_golden(&image);
    fixture_t fixture;
    fixture_open(&fixture, true);
    s_history(&fixture); // for its oracle
    bb_store_close(&fixture.store);
    bb_sim_disk_destroy(&fixture.disk);
    fixture.disk = bb_sim_disk_new();
    fixture.options.vfs = bb_sim_disk_vfs(fixture.disk);
    fixture.options.kv = bb_sim_kv(fixture.disk);
    bb_sim_disk_put(fixture.disk, "/store/busbar.store", bb_slice(image.bytes, S_IDENTITY_BYTES));
    bb_kv_driver_t *kv = fixture.options.kv;
    for (uint8_t map = 0; map < 3; map++) {
        bb_kv_env_t *env = NULL;
        bb_kv_txn_t *txn = NULL;
        bb_vfs_t *vfs = fixture.options.vfs;
        assert_int_equal(vfs->make_directory(vfs, s_folders[map]), BB_OK);
        assert_int_equal(kv->open(kv, s_folders[map], 1u << 20, true, &env, NULL), BB_OK);
        assert_int_equal(kv->begin(env, true, &txn), BB_OK);
        s_entry_t entry;
        for (size_t at = S_IDENTITY_BYTES; s_entry(&image, at, &entry); at += entry.bytes) {
            if (entry.map == map) {
                assert_int_equal(kv->put(txn, entry.key, entry.value), BB_OK);
            }
        }
        assert_int_equal(kv->commit(&txn), BB_OK);
        kv->close(&env);
    }
    fixture_reopen_error(&fixture, BB_OK);
    bb_store_stats_t stats;
    bb_store_stats(fixture.store, &stats);
    assert_int_equal(stats.battery_count, 2);
    assert_int_equal(stats.metric_count, 4);
    assert_int_equal(stats.window_count, 2);
    assert_int_equal(stats.segment_points, 12);
    for (uint32_t p = 0; p < FIXTURE_PARTITIONS; p++) {
        const bb_have_set_t *have = bb_store_have(fixture.store, p);
        assert_int_equal(bb_have_set_count(have), fixture.seqs[p]);
        assert_true(fixture.seqs[p] == 0 || bb_have_set_contains(have, &fixture.stream, 1));
    }
    static const bb_query_mode_t modes[] = {BB_QUERY_RAW, BB_QUERY_LAST, BB_QUERY_QUARANTINE};
    for (uint32_t i = 0; i < 3; i++) {
        bb_query_t query = fixture_query(modes[i]);
        fixture_verify(&fixture, &query);
    }
    bb_random_t random = bb_random_seed(1);
    fixture_write_random(&fixture, &random, 30, true);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    while (fixture_job(&fixture, BB_JOB_MERGE) == BB_OK) {
    }
    bb_query_t query = fixture_query(BB_QUERY_RAW);
    fixture_verify(&fixture, &query);
    fixture_close(&fixture);
}

// Goal: identity and meta records, but for the counts of windows, are written to the same bytes.
static void test_same_history_same_bytes(void **state)
{
    (void)state;
    static s_image_t golden;
    static s_image_t fresh;
    s_load_golden(&golden);
    s_write(&fresh);
    assert_memory_equal(golden.bytes, fresh.bytes, S_IDENTITY_BYTES);
    size_t a = S_IDENTITY_BYTES;
    size_t b = S_IDENTITY_BYTES;
    s_entry_t kept;
    s_entry_t written;
    uint32_t compared = 0;
    while (s_entry(&golden, a, &kept)) {
        assert_true(s_entry(&fresh, b, &written));
        a += kept.bytes;
        b += written.bytes;
        assert_int_equal(kept.map, written.map);
        assert_int_equal(kept.key.length, written.key.length);
        assert_memory_equal(kept.key.data, written.key.data, kept.key.length);
        if (kept.map == 0 && *(const char *)kept.key.data != 'W') {
            assert_int_equal(kept.value.length, written.value.length);
            assert_memory_equal(kept.value.data, written.value.data, kept.value.length);
            compared++;
        }
    }
    assert_false(s_entry(&fresh, b, &written));
    // Seal, have-sets, newest, metrics, batteries, what was put last.
    assert_int_equal(compared, 1 + 2 + 1 + 4 + 2 + 1);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--write-golden") == 0) {
        static s_image_t image;
        s_write(&image);
        FILE *file = fopen(S_GOLDEN, "wb");
        bool written = file && fwrite(image.bytes, 1, image.length, file) == image.length;
        return file && fclose(file) == 0 && written ? 0 : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_store_is_read),
        cmocka_unit_test(test_same_history_same_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
