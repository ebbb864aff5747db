// SPDX-License-Identifier: Apache-2.0
// Goal: what is damaged at rest is found, named, remembered, and never part of an answer that says
// complete; the rest is served. Method: stores on the simulated disk and on LMDB, damaged through
// the key-value driver while they are closed; a checker that answers as it is told.
#include "storage/segment/bb_pack.h"
#include "storage/segment/bb_run_reader.h"
#include "tests/unit/storage/store_fixture.h"

#define S_ROWS   600u // a run of so many rows has statistics
#define S_DAY_NS (INT64_C(86400) * BB_NS_PER_S)

// ---- a shell for the scrubber ----------------------------------------------------------------
static int64_t s_now_ns; // monotonic; wall = FIXTURE_START_NS + s_now_ns

// Runs steps until nothing is due before `until_ns`.
static uint32_t s_scrub(fixture_t *fixture, int64_t until_ns)
{
    uint32_t step_count = 0;
    for (;;) {
        int64_t wake_ns;
        if (bb_store_scrub_tick(fixture->store, s_now_ns, FIXTURE_START_NS + s_now_ns, &wake_ns)) {
            assert_int_equal(fixture_job(fixture, BB_JOB_SCRUB), BB_OK);
            step_count++;
            continue;
        }
        if (wake_ns > until_ns) {
            s_now_ns = until_ns;
            return step_count;
        }
        s_now_ns = BB_MAX(s_now_ns + 1, wake_ns);
    }
}

static bb_store_scrub_stats_t s_pass(fixture_t *fixture)
{
    bb_store_scrub_start(fixture->store, s_now_ns, FIXTURE_START_NS + s_now_ns,
                         BB_SCRUB_RATE_UNLIMITED);
    s_scrub(fixture, s_now_ns + BB_NS_PER_S);
    bb_store_scrub_stats_t stats = bb_store_scrub_stats(fixture->store, FIXTURE_START_NS);
    assert_false(stats.scrub.is_pass);
    return stats;
}

// ---- what is written -------------------------------------------------------------------------
// One frame a minute of batteries 1 and 2 on that day, one metric.
static void s_write_day(fixture_t *fixture, uint32_t day)
{
    const uint32_t metrics[1] = {0};
    const uint8_t types[1] = {BB_TYPE_FLOAT64};
    fixture_batch_t batch;
    memset(&batch, 0, sizeof batch);
    bool *marks = bb_alloc_zero(2 * S_ROWS, 1);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    for (uint32_t f = 0; f < 2 * S_ROWS; f++) {
        const uint64_t bits[1] = {bb_bits_of_double(20.0 + (f * 7 % 100) / 10.0)};
        int64_t time_ns = FIXTURE_START_NS + day * S_DAY_NS + f / 2 * 60 * BB_NS_PER_S;
        fixture_add_frame(builder, &batch, 1 + f % 2, 0, time_ns, metrics, types, bits, 1, false);
    }
    fixture_seal(fixture, builder, marks, FIXTURE_START_NS, &batch);
    bb_batch_builder_destroy(&builder);
    fixture_write(fixture, &batch);
    fixture_batch_free(&batch);
    free(marks);
}

// Two such days; flushed.
static void s_fill(fixture_t *fixture)
{
    s_write_day(fixture, 0);
    s_write_day(fixture, 1);
    assert_int_equal(fixture_job(fixture, BB_JOB_FLUSH), BB_OK);
}

// A store that holds that, and a scrubber's clock at 0.
static void s_open(fixture_t *fixture, bool simulated)
{
    s_now_ns = 0;
    fixture_open(fixture, simulated);
    s_fill(fixture);
}

// ---- damage ----------------------------------------------------------------------------------
static void s_window_folder(fixture_t *fixture, const char *day, char path[256])
{
    snprintf(path, 256, "%s/windows/default/%s.000001", fixture->folder, day);
}

typedef enum {
    S_VANISH,
    S_FLIP,
    S_STATISTICS,
    S_NEWER_RUN,
    S_UNKNOWN_ENCODING,
    S_NEWER_PACK,
    S_SWAPPED,
} s_damage_t;

// The statistics of the first column say another last value; checksums are made right.
static void s_forge_statistics(uint8_t *pack_bytes, size_t pack_length)
{
    bb_pack_t pack;
    assert_int_equal(bb_pack_open(&pack, bb_slice(pack_bytes, pack_length), NULL), BB_OK);
    bb_slice_t first = bb_pack_entry_run(&pack, 0);
    uint8_t *bytes = pack_bytes + ((const uint8_t *)first.data - pack_bytes);
    size_t length = first.length;
    bb_run_t run;
    assert_int_equal(bb_run_open(&run, bb_slice(bytes, length), NULL), BB_OK);
    assert_true(bb_run_has_stats(&run));
    bb_slice_t stats = bb_run_raw_stats(&run, 0, 0);
    // Somewhere in the packed statistics is a byte whose change still decodes.
    for (size_t i = 1; i < stats.length; i++) {
        uint8_t *byte = bytes + ((const uint8_t *)stats.data - bytes) + i;
        *byte ^= 1;
        assert_true(bb_run_sign(bytes, length));
        bb_block_stats_t decoded;
        if (bb_run_open(&run, bb_slice(bytes, length), NULL) == BB_OK &&
            bb_run_block_stats(&run, 0, 0, &decoded) == BB_OK && bb_run_verify(&run) != BB_OK) {
            return;
        }
        *byte ^= 1;
    }
    fail_msg("no byte of the statistics could be forged");
}

// The first run of the pack is of a version, or has an encoding, that nobody knows yet.
static void s_forge_format(uint8_t *pack_bytes, size_t pack_length, bool is_encoding)
{
    bb_pack_t pack;
    bb_run_t run;
    assert_int_equal(bb_pack_open(&pack, bb_slice(pack_bytes, pack_length), NULL), BB_OK);
    bb_slice_t first = bb_pack_entry_run(&pack, 0);
    uint8_t *bytes = pack_bytes + ((const uint8_t *)first.data - pack_bytes);
    assert_int_equal(bb_run_open(&run, first, NULL), BB_OK);
    if (is_encoding) {
        bytes[run.encodings_raw - bytes + 1] = 99;
        assert_true(bb_run_sign(bytes, first.length));
    } else {
        bytes[1] = '3';
    }
}

// The first two batteries have each other's runs: every part is sound, and so are all counts.
static void s_forge_swap(uint8_t *pack_bytes, size_t pack_length)
{
    bb_pack_t pack;
    bb_pack_writer_t writer = {0};
    assert_int_equal(bb_pack_open(&pack, bb_slice(pack_bytes, pack_length), NULL), BB_OK);
    assert_int_equal(pack.entry_count, 2);
    for (uint32_t i = 0; i < pack.entry_count; i++) {
        bb_run_t run; // for its length without what follows
        assert_int_equal(bb_run_open(&run, bb_pack_entry_run(&pack, 1 - i), NULL), BB_OK);
        bb_pack_writer_add(&writer, bb_pack_entry_place(&pack, i), run.encoded);
    }
    uint8_t *forged = bb_alloc(pack_length);
    assert_int_equal(bb_pack_writer_bytes(&writer), pack_length);
    bb_pack_writer_finish(&writer, pack.seq, pack.before, forged);
    memcpy(pack_bytes, forged, pack_length);
    bb_pack_writer_free(&writer);
    free(forged);
}

// Damages the first pack of a closed store's window.
static void s_damage(fixture_t *fixture, const char *day, s_damage_t damage)
{
    bb_kv_cursor_t *cursor;
    bb_slice_t key;
    bb_slice_t value;
    char path[256];
    s_window_folder(fixture, day, path);
    fixture_map_t map = fixture_map_open(fixture, path, bb_slice(NULL, 0), &cursor, &key, &value);
    uint8_t key_copy[64];
    uint8_t *bytes = bb_alloc(value.length);
    bb_slice_t name = bb_slice(key_copy, key.length);
    size_t length = value.length;
    memcpy(key_copy, key.data, key.length);
    memcpy(bytes, value.data, length);
    map.kv->cursor_close(&cursor);
    if (damage == S_VANISH) {
        assert_int_equal(map.kv->remove(map.txn, name), BB_OK);
    } else {
        if (damage == S_NEWER_PACK) {
            bytes[3] = '3';
        } else if (damage == S_NEWER_RUN || damage == S_UNKNOWN_ENCODING) {
            s_forge_format(bytes, length, damage == S_UNKNOWN_ENCODING);
        } else if (damage == S_SWAPPED) {
            s_forge_swap(bytes, length);
        } else if (damage == S_FLIP) {
            bytes[length - 1] ^= 0x40;
        } else {
            s_forge_statistics(bytes, length);
        }
        assert_int_equal(map.kv->put(map.txn, name, bb_slice(bytes, length)), BB_OK);
    }
    fixture_map_close(&map);
    free(bytes);
}

// Somebody deletes the folder of a closed store's window. `path` says which.
static void s_remove_window(fixture_t *fixture, const char *day, char path[256])
{
    s_window_folder(fixture, day, path);
    assert_int_equal(fixture->options.vfs->remove_tree(fixture->options.vfs, path), BB_OK);
}

static fixture_rows_t s_ask(fixture_t *fixture, uint32_t battery, uint32_t day)
{
    fixture_rows_t rows;
    bb_slice_t id = fixture_battery(battery);
    bb_query_t query = fixture_query(BB_QUERY_AGGREGATE);
    query.aggregates = BB_AGGREGATE_ALL;
    query.from_wall_ns = FIXTURE_START_NS + day * S_DAY_NS;
    query.to_wall_ns = query.from_wall_ns + S_DAY_NS;
    query.batteries = &id;
    query.battery_count = 1;
    fixture_ask(fixture, &query, &rows);
    free(rows.items);
    return rows;
}

static bool s_is_complete(fixture_t *fixture, uint32_t battery, uint32_t day)
{
    return s_ask(fixture, battery, day).damaged_partition_count == 0;
}

// ---- tests -----------------------------------------------------------------------------------
// Goal: a sound store has no findings; every byte of every window is read; the time is remembered.
static void s_test_sound(bool simulated)
{
    fixture_t fixture;
    s_now_ns = 0;
    fixture_open(&fixture, simulated);
    fixture.options.scrub_bytes_per_s = 1u << 30;
    fixture_reopen(&fixture);
    s_fill(&fixture);
    s_scrub(&fixture, 60 * BB_NS_PER_S);
    bb_store_scrub_stats_t stats = bb_store_scrub_stats(fixture.store, FIXTURE_START_NS + s_now_ns);
    bb_store_stats_t store_stats;
    bb_store_stats(fixture.store, &store_stats);
    assert_int_equal(stats.scrub.windows_total, 2);
    // All but the indexes of packs, which are read with each look-up.
    assert_in_range(stats.scrub.bytes_total, store_stats.segment_bytes * 9 / 10,
                    store_stats.segment_bytes);
    assert_int_equal(stats.scrub.findings_total, 0);
    assert_int_equal(stats.damage_count, 0);
    fixture_reopen(&fixture);
    assert_int_equal(s_scrub(&fixture, s_now_ns + 3600 * BB_NS_PER_S), 0); // verified an hour ago
    assert_true(s_scrub(&fixture, s_now_ns + BB_SCRUB_INTERVAL_NS) > 0);
    fixture_close(&fixture);
}

// Goal: what was verified is remembered for each segment of each class, and not read again after a
// restart. Method: two classes, two flushes, so two segments a day and class.
static void s_test_verified_is_remembered(void **state)
{
    (void)state;
    fixture_t fixture;
    bb_retention_class_t class = {
        .name = "a", .selector = {.metric = "a"}, .keep_ns = 400 * BB_NS_PER_DAY};
    s_now_ns = 0;
    fixture_open(&fixture, true);
    bb_store_close(&fixture.store);
    fixture.options.scrub_bytes_per_s = 1u << 30;
    fixture.options.policy = bb_policy_new(&class, 1, BB_KEEP_FOREVER_NS, NULL, NULL, 0);
    fixture_reopen_error(&fixture, BB_OK);
    bb_random_t random = bb_random_seed(1);
    for (uint32_t flush = 0; flush < 2; flush++) {
        fixture_write_random(&fixture, &random, 400, false);
        assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    }
    bb_store_stats_t stats;
    bb_store_stats(fixture.store, &stats);
    uint64_t segment_count = stats.segments;
    assert_true(segment_count == 2 * stats.window_count && stats.window_count >= 2);
    s_scrub(&fixture, 60 * BB_NS_PER_S);
    assert_int_equal(bb_store_scrub_stats(fixture.store, 0).scrub.windows_total, segment_count);
    fixture_reopen(&fixture);
    assert_int_equal(s_scrub(&fixture, s_now_ns + 3600 * BB_NS_PER_S), 0);
    // A merge forgets what is gone, and the rest stays.
    assert_int_equal(fixture_job(&fixture, BB_JOB_MERGE), BB_OK);
    s_scrub(&fixture, s_now_ns + 60 * BB_NS_PER_S);
    assert_int_equal(bb_store_scrub_stats(fixture.store, 0).scrub.windows_total, 1);
    fixture_reopen(&fixture);
    assert_int_equal(s_scrub(&fixture, s_now_ns + 3600 * BB_NS_PER_S), 0);
    bb_policy_release(&fixture.options.policy);
    fixture_close(&fixture);
}

static void s_test_sound_simulated(void **state)
{
    (void)state;
    s_test_sound(true);
}

static void s_test_sound_lmdb(void **state)
{
    (void)state;
    s_test_sound(false);
}

static void s_expect_damage(bool simulated, s_damage_t damage, bb_damage_reason_t reason,
                            bool is_battery)
{
    fixture_t fixture;
    s_open(&fixture, simulated);
    bb_store_close(&fixture.store);
    s_damage(&fixture, "2026-01-01", damage);
    fixture_reopen_error(&fixture, BB_OK);
    bb_store_scrub_stats_t stats = s_pass(&fixture);
    assert_int_equal(stats.damage_count, 1);
    const bb_damage_entry_t *entry = &stats.damage[0];
    assert_int_equal(entry->reason, reason);
    assert_int_equal(entry->day, FIXTURE_START_NS / S_DAY_NS);
    assert_int_equal(entry->battery != BB_DAMAGE_BATTERY_ALL, is_battery);
    assert_true(entry->text[0] != '\0');
    for (uint32_t round = 0; round < 2; round++) { // the second time after a restart
        uint32_t partial = 0;
        for (uint32_t battery = 1; battery <= 2; battery++) {
            partial += !s_is_complete(&fixture, battery, 0);
            assert_true(s_is_complete(&fixture, battery, 1)); // the other day is whole
        }
        assert_int_equal(partial, is_battery ? 1 : 2);
        fixture_reopen(&fixture);
        stats = bb_store_scrub_stats(fixture.store, 0);
        assert_int_equal(stats.damage_count, 1);
        assert_int_equal(stats.damage[0].reason, reason);
    }
    // Found again, it is not a second entry.
    stats = s_pass(&fixture);
    assert_int_equal(stats.damage_count, 1);
    fixture_close(&fixture);
}

// Goal: a block whose statistics disagree with its values is refused, although all checksums hold.
static void s_test_statistics(void **state)
{
    (void)state;
    s_expect_damage(true, S_STATISTICS, BB_DAMAGE_STATISTICS, true);
    s_expect_damage(false, S_STATISTICS, BB_DAMAGE_STATISTICS, true);
}

static void s_test_flip(void **state)
{
    (void)state;
    s_expect_damage(true, S_FLIP, BB_DAMAGE_CHECKSUM, true);
    s_expect_damage(false, S_FLIP, BB_DAMAGE_CHECKSUM, true);
}

// Goal: a window that one flush has filled, and that had no fingerprint because its day was the
// newest, has one after it was scrubbed.
static void s_test_scrub_records_fingerprints(void **state)
{
    (void)state;
    fixture_t fixture;
    bb_fingerprint_t print;
    uint32_t day = FIXTURE_START_NS / S_DAY_NS;
    uint32_t partition = fixture_partition(1);
    s_open(&fixture, true);
    assert_int_equal(bb_store_fingerprint(fixture.store, day, partition, &print), BB_OK);
    assert_int_equal(bb_store_fingerprint(fixture.store, day + 1, partition, &print),
                     BB_ERR_NOT_FOUND);
    assert_int_equal(s_pass(&fixture).damage_count, 0);
    assert_int_equal(bb_store_fingerprint(fixture.store, day + 1, partition, &print), BB_OK);
    assert_int_equal(s_pass(&fixture).damage_count, 0);
    fixture_close(&fixture);
}

// Goal: points that are not those that were written are found, although each part verifies and all
// counts are right: the fingerprint, which meta keeps, is another one.
static void s_test_fingerprint(void **state)
{
    (void)state;
    s_expect_damage(true, S_SWAPPED, BB_DAMAGE_FINGERPRINT, false);
    s_expect_damage(false, S_SWAPPED, BB_DAMAGE_FINGERPRINT, false);
}

// Goal: a run or pack of a newer version, or a block of an encoding that is not known, is refused
// by its form and named; it is never read as something else.
static void s_test_newer_formats(void **state)
{
    (void)state;
    s_expect_damage(true, S_NEWER_RUN, BB_DAMAGE_FORM, true);
    s_expect_damage(true, S_UNKNOWN_ENCODING, BB_DAMAGE_FORM, true);
    s_expect_damage(true, S_NEWER_PACK, BB_DAMAGE_FORM, false);
}

// Goal: a map that reaches its size is a clean end of a segment: what is written meanwhile is all
// there, in answers that are complete, and so it is after a restart. Method: LMDB with maps of
// 128 KiB and days of more than two of them.
static void s_test_map_reaches_its_size(void **state)
{
    (void)state;
    fixture_t fixture;
    s_now_ns = 0;
    fixture_open(&fixture, false);
    bb_random_t random = bb_random_seed(5);
    bb_store_close(&fixture.store);
    fixture.options.kv_map_bytes = 128u << 10;
    fixture_reopen_error(&fixture, BB_OK);
    for (uint32_t round = 0; round < 12; round++) {
        for (uint32_t i = 0; i < 40; i++) {
            fixture_write_random(&fixture, &random, 200, false);
        }
        bb_error_t error = fixture_job(&fixture, BB_JOB_FLUSH);
        assert_true(error == BB_OK || error == BB_ERR_DISK_FULL || error == BB_ERR_NOT_FOUND);
        error = fixture_job(&fixture, BB_JOB_MERGE);
        assert_true(error == BB_OK || error == BB_ERR_DISK_FULL || error == BB_ERR_NOT_FOUND ||
                    error == BB_ERR_BUSY);
        assert_false(bb_store_is_fenced(fixture.store));
    }
    bb_store_stats_t stats;
    bb_store_stats(fixture.store, &stats);
    assert_true(stats.segment_bytes > 2 * stats.window_count * fixture.options.kv_map_bytes);
    bb_query_t query = fixture_query(BB_QUERY_RAW);
    fixture_verify(&fixture, &query);
    fixture_reopen(&fixture);
    fixture_verify(&fixture, &query);
    assert_int_equal(s_pass(&fixture).damage_count, 0);
    fixture_close(&fixture);
}

// `count` batteries that nobody knows yet, with a frame each.
static void s_write_batteries(fixture_t *fixture, uint32_t first, uint32_t count)
{
    fixture_batch_t batch;
    memset(&batch, 0, sizeof batch);
    bb_batch_builder_t *builder = bb_batch_builder_new(0);
    const bb_slice_t metric = fixture_metric(0);
    const uint8_t type = BB_TYPE_FLOAT64;
    const uint64_t bits = bb_bits_of_double(1.5);
    for (uint32_t i = first; i < first + count; i++) {
        char id[32];
        uint32_t handle;
        uint32_t shape;
        uint32_t order;
        snprintf(id, sizeof id, "battery-%08u", i);
        assert_int_equal(bb_batch_builder_battery(builder, i % FIXTURE_PARTITIONS,
                                                  fixture_slice(id), NULL, 0, &handle, NULL),
                         BB_OK);
        assert_int_equal(bb_batch_builder_shape(builder, &metric, &type, 1, &shape, &order, NULL),
                         BB_OK);
        assert_int_equal(bb_batch_builder_frame(builder, handle, shape, FIXTURE_START_NS, &bits),
                         BB_OK);
    }
    fixture_seal(fixture, builder, NULL, FIXTURE_START_NS, &batch);
    bb_batch_builder_destroy(&builder);
    fixture_write(fixture, &batch);
    fixture_batch_free(&batch);
}

// Goal: a meta map that reaches its size grows: the flush that met it is repeated and succeeds,
// and the store opens again with what it was configured with. Method: maps of 256 KiB (LMDB
// reserves a little more), and names of batteries for more than that, all in one flush and then
// some by some.
static void s_test_meta_reaches_its_size(void **state)
{
    (void)state;
    for (uint32_t simulated = 0; simulated < 2; simulated++) {
        fixture_t fixture;
        s_now_ns = 0;
        fixture_open(&fixture, simulated);
        bb_store_close(&fixture.store);
        fixture.options.kv_map_bytes = 256u << 10;
        fixture_reopen_error(&fixture, BB_OK);
        uint32_t battery_count = 0;
        uint32_t refused_count = 0;
        for (uint32_t round = 0; round < 6; round++) {
            uint32_t count = round == 0 ? 40000 : 3000;
            s_write_batteries(&fixture, battery_count, count);
            battery_count += count;
            bb_error_t error;
            for (uint32_t attempt = 0; (error = fixture_job(&fixture, BB_JOB_FLUSH)) != BB_OK;
                 attempt++) {
                assert_int_equal(error, BB_ERR_DISK_FULL);
                assert_true(attempt < 4);
                refused_count++;
            }
            fixture_reopen(&fixture);
        }
        assert_true(refused_count > 0);
        assert_false(bb_store_is_fenced(fixture.store));
        bb_store_stats_t stats;
        bb_store_stats(fixture.store, &stats);
        assert_int_equal(stats.battery_count, battery_count);
        assert_int_equal(stats.segment_points, battery_count);
        assert_int_equal(s_pass(&fixture).damage_count, 0);
        fixture_close(&fixture);
    }
}

// Goal: a pack that vanished without an error is a damaged window, not a battery without points.
static void s_test_vanished(void **state)
{
    (void)state;
    s_expect_damage(true, S_VANISH, BB_DAMAGE_CHECKSUM, false);
    s_expect_damage(false, S_VANISH, BB_DAMAGE_CHECKSUM, false);
}

// Goal: a window's folder that somebody deleted is named, answers of that day are partial, other
// days and the intake go on.
static void s_test_folder_removed(void **state)
{
    (void)state;
    for (uint32_t simulated = 0; simulated < 2; simulated++) {
        fixture_t fixture;
        char path[256];
        s_open(&fixture, simulated);
        bb_store_close(&fixture.store);
        s_remove_window(&fixture, "2026-01-01", path);
        fixture_reopen_error(&fixture, BB_OK);
        bb_store_scrub_stats_t stats = s_pass(&fixture);
        assert_int_equal(stats.damage_count, 1);
        assert_int_equal(stats.damage[0].reason, BB_DAMAGE_MISSING);
        assert_int_equal(stats.damage[0].battery, BB_DAMAGE_BATTERY_ALL);
        assert_false(s_is_complete(&fixture, 1, 0));
        assert_true(s_is_complete(&fixture, 1, 1));
        fixture_close(&fixture);
    }
}

// A bit of the first record of that kind flips; the store is closed.
static void s_flip_meta(fixture_t *fixture, const char *kind)
{
    bb_kv_cursor_t *cursor;
    bb_slice_t key;
    bb_slice_t value;
    uint8_t bytes[4096];
    uint8_t name[32];
    fixture_map_t map =
        fixture_map_open(fixture, "/store/meta", bb_slice(kind, 1), &cursor, &key, &value);
    assert_int_equal(*(const char *)key.data, *kind);
    size_t key_length = key.length;
    size_t length = value.length;
    assert_true(key_length <= sizeof name && length <= sizeof bytes);
    memcpy(name, key.data, key_length);
    memcpy(bytes, value.data, length);
    map.kv->cursor_close(&cursor);
    bytes[length / 2] ^= 8;
    assert_int_equal(map.kv->put(map.txn, bb_slice(name, key_length), bb_slice(bytes, length)),
                     BB_OK);
    fixture_map_close(&map);
}

// Goal: scrubbing looks at meta: what does not verify and is not needed is gone after a pass, and
// made again. (test_bb_store_meta has what is needed.)
static void s_test_meta_is_scrubbed(void **state)
{
    (void)state;
    fixture_t fixture;
    s_open(&fixture, true);
    assert_int_equal(s_pass(&fixture).meta_damage_count, 0);
    bb_store_sign_off(fixture.store);
    for (const char *kind = "TL"; *kind; kind++) {
        bb_store_close(&fixture.store);
        s_flip_meta(&fixture, kind);
        bb_store_report_t report;
        assert_int_equal(bb_store_open(&fixture.options, &report, &fixture.store, NULL), BB_OK);
        assert_int_equal(report.meta_damaged_count, 1);
        bb_store_scrub_stats_t stats = s_pass(&fixture);
        assert_int_equal(stats.damage_count, 0);
        fixture_reopen(&fixture);
        bb_store_close(&fixture.store);
        assert_int_equal(bb_store_open(&fixture.options, &report, &fixture.store, NULL), BB_OK);
        assert_int_equal(report.meta_damaged_count, 0);
        assert_true(s_is_complete(&fixture, 1, 1));
    }
    fixture_close(&fixture);
}

static bb_kv_driver_t *s_inner;
static bool s_is_failing;

static bb_error_t s_open_or_fail(bb_kv_driver_t *driver, const char *directory, size_t map_bytes,
                                 bool create, bb_kv_env_t **env, bb_fault_t *fault)
{
    (void)driver;
    if (s_is_failing && strstr(directory, "windows/default/2026-01-01")) {
        return bb_fault_set(fault, BB_ERR_IO, "%s: the disk gives an error", directory);
    }
    return s_inner->open(s_inner, directory, map_bytes, create, env, fault);
}

// Goal: a disk that gives errors for one day makes answers of that day partial and is named; other
// days and the intake go on. When it gives none any more, the day is complete again, by itself.
static void s_test_disk_errors(void **state)
{
    (void)state;
    fixture_t fixture;
    s_open(&fixture, true);
    bb_store_close(&fixture.store);
    s_inner = fixture.options.kv;
    bb_kv_driver_t failing = *s_inner;
    failing.open = s_open_or_fail;
    fixture.options.kv = &failing;
    fixture_reopen_error(&fixture, BB_OK);
    s_is_failing = true;
    assert_false(s_is_complete(&fixture, 1, 0));
    assert_true(s_is_complete(&fixture, 1, 1));
    bb_store_scrub_stats_t stats = s_pass(&fixture);
    assert_int_equal(stats.damage_count, 1);
    assert_int_equal(stats.damage[0].reason, BB_DAMAGE_IO);
    s_write_day(&fixture, 2);
    assert_int_equal(fixture_job(&fixture, BB_JOB_FLUSH), BB_OK);
    assert_true(s_is_complete(&fixture, 1, 2));
    assert_false(bb_store_is_fenced(fixture.store));
    s_is_failing = false;
    assert_int_equal(s_pass(&fixture).damage_count, 0);
    assert_true(s_is_complete(&fixture, 1, 0));
    fixture_close(&fixture);
}

// ---- windows that are not trusted ------------------------------------------------------------
typedef struct {
    uint32_t spawned, killed;
    bool has_ended;
    bb_suspect_event_t event;
    char path[256];
} s_checker_t;

static int64_t s_spawn(void *context, const char *window_path, int64_t timeout_ns)
{
    s_checker_t *self = context;
    assert_true(timeout_ns >= BB_SUSPECT_TIMEOUT_NS);
    snprintf(self->path, sizeof self->path, "%s", window_path);
    return self->spawned++;
}

static bool s_poll(void *context, int64_t handle, bb_suspect_event_t *event)
{
    const s_checker_t *self = context;
    assert_int_equal(handle, self->spawned - 1);
    *event = self->event;
    return self->has_ended;
}

static void s_kill(void *context, int64_t handle)
{
    (void)handle;
    ((s_checker_t *)context)->killed++;
}

// Opened again with a checker, and without the folder of that day.
static void s_reopen_without(fixture_t *fixture, s_checker_t *checker, const char *day,
                             char path[256])
{
    bb_store_sign_off(fixture->store);
    bb_store_close(&fixture->store);
    fixture->options.checker = (bb_store_checker_t){checker, s_spawn, s_poll, s_kill, 0};
    s_remove_window(fixture, day, path);
    fixture_reopen_error(fixture, BB_OK);
}

// Goal: a window that cannot be read is looked at by the checker first, stays closed meanwhile, and
// is opened again only if that went well.
static void s_test_checker(void **state)
{
    (void)state;
    const struct {
        bb_suspect_event_t event;
        uint32_t barred_count;
    } cases[] = {{BB_SUSPECT_FOUND, 0}, {BB_SUSPECT_CRASHED, 1}, {BB_SUSPECT_REFUSED, 1}};
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        fixture_t fixture;
        s_checker_t checker = {.event = cases[i].event};
        char path[256];
        s_open(&fixture, true);
        s_reopen_without(&fixture, &checker, "2026-01-01", path);
        s_pass(&fixture);
        assert_int_equal(checker.spawned, 1);
        assert_string_equal(checker.path, path);
        assert_int_equal(bb_store_scrub_stats(fixture.store, 0).barred_count, 1);
        assert_false(s_is_complete(&fixture, 1, 0));
        assert_true(s_is_complete(&fixture, 1, 1));
        checker.has_ended = true;
        s_scrub(&fixture, s_now_ns + 10 * BB_NS_PER_S);
        assert_int_equal(bb_store_scrub_stats(fixture.store, 0).barred_count,
                         cases[i].barred_count);
        assert_int_equal(checker.spawned, 1);
        fixture_close(&fixture);
    }
}

// Goal: who meets something odd in a segment, whoever it is, makes it suspect: nobody of this
// process looks into it before the checker has. Method: a query that meets a missing folder.
static void s_test_failed_read_is_doubt(void **state)
{
    (void)state;
    fixture_t fixture;
    s_checker_t checker = {.event = BB_SUSPECT_CRASHED};
    char path[256];
    s_open(&fixture, true);
    s_reopen_without(&fixture, &checker, "2026-01-01", path);
    s_scrub(&fixture, s_now_ns + BB_NS_PER_S);
    assert_int_equal(checker.spawned, 0); // nobody has looked
    assert_false(s_is_complete(&fixture, 1, 0));
    s_scrub(&fixture, s_now_ns + BB_NS_PER_S);
    assert_int_equal(checker.spawned, 1);
    assert_string_equal(checker.path, path);
    assert_int_equal(bb_store_scrub_stats(fixture.store, 0).suspect_count, 1);
    checker.has_ended = true;
    s_scrub(&fixture, s_now_ns + BB_NS_PER_S);
    bb_store_scrub_stats_t stats = bb_store_scrub_stats(fixture.store, 0);
    assert_int_equal(stats.suspect_count, 0);
    assert_int_equal(stats.barred_count, 1);
    assert_int_equal(stats.damage_count, 1);
    assert_int_equal(stats.damage[0].reason, BB_DAMAGE_UNREADABLE);
    assert_false(s_is_complete(&fixture, 1, 0));
    assert_true(s_is_complete(&fixture, 1, 1));
    fixture_close(&fixture);
}

// Goal: a segment that was damaged before a restart is not opened after it until the checker has
// read it; with its verdict it is served again, or stays closed and named.
static void s_test_damage_is_doubt_after_restart(void **state)
{
    (void)state;
    for (uint32_t is_crash = 0; is_crash < 2; is_crash++) {
        fixture_t fixture;
        s_checker_t checker = {.event = is_crash ? BB_SUSPECT_CRASHED : BB_SUSPECT_FOUND};
        s_open(&fixture, true);
        bb_store_sign_off(fixture.store);
        bb_store_close(&fixture.store);
        s_damage(&fixture, "2026-01-01", S_VANISH);
        fixture.options.checker = (bb_store_checker_t){&checker, s_spawn, s_poll, s_kill, 0};
        fixture_reopen_error(&fixture, BB_OK);
        assert_int_equal(s_pass(&fixture).damage_count, 1);
        checker.has_ended = true;
        s_scrub(&fixture, s_now_ns + BB_NS_PER_S);
        assert_int_equal(checker.spawned, 1);
        checker.has_ended = false;
        bb_store_sign_off(fixture.store);
        fixture_reopen(&fixture);
        s_scrub(&fixture, s_now_ns + BB_NS_PER_S); // nothing was read
        bb_store_scrub_stats_t stats = bb_store_scrub_stats(fixture.store, 0);
        assert_int_equal(checker.spawned, 2);
        assert_int_equal(stats.suspect_count, 1);
        assert_int_equal(fixture_job(&fixture, BB_JOB_MERGE), BB_ERR_NOT_FOUND);
        assert_false(s_is_complete(&fixture, 1, 0));
        assert_true(s_is_complete(&fixture, 1, 1));
        checker.has_ended = true;
        s_scrub(&fixture, s_now_ns + BB_NS_PER_S);
        stats = bb_store_scrub_stats(fixture.store, 0);
        assert_int_equal(stats.barred_count, is_crash);
        assert_int_equal(stats.damage_count, 1);
        assert_int_equal(checker.spawned, 2);
        fixture_close(&fixture);
    }
}

static int64_t s_spawn_nothing(void *context, const char *window_path, int64_t timeout_ns)
{
    (void)window_path;
    (void)timeout_ns;
    ((s_checker_t *)context)->spawned++;
    return -1;
}

// A store that was not signed off, with two days of which the second was flushed last.
static void s_open_crashed(fixture_t *fixture, s_checker_t *checker)
{
    s_now_ns = 0;
    fixture_open(fixture, true);
    for (uint32_t day = 0; day < 2; day++) {
        s_write_day(fixture, day);
        assert_int_equal(fixture_job(fixture, BB_JOB_FLUSH), BB_OK);
    }
    bb_store_close(&fixture->store);
    fixture->options.checker = (bb_store_checker_t){checker, s_spawn, s_poll, s_kill, 0};
    fixture_reopen_error(fixture, BB_OK);
}

// Goal: after a crash what was put last, and nothing else, is looked at by the checker before
// anybody reads it; with its verdict it is read, or named. Once signed off it is not asked again.
static void s_test_crash_is_doubt(void **state)
{
    (void)state;
    const bb_suspect_event_t events[] = {BB_SUSPECT_PASSED, BB_SUSPECT_CRASHED};
    for (uint32_t i = 0; i < BB_COUNT_OF(events); i++) {
        fixture_t fixture;
        s_checker_t checker = {.event = events[i]};
        s_open_crashed(&fixture, &checker);
        assert_true(s_is_complete(&fixture, 1, 0));
        assert_false(s_is_complete(&fixture, 1, 1)); // barred before the first tick
        assert_int_equal(checker.spawned, 0);
        assert_true(bb_store_suspect_tick(fixture.store, 5, s_now_ns) <= 5 + BB_NS_PER_S);
        assert_int_equal(checker.spawned, 1);
        assert_non_null(strstr(checker.path, "2026-01-02"));
        assert_false(s_is_complete(&fixture, 1, 1));
        checker.has_ended = true;
        (void)bb_store_suspect_tick(fixture.store, 6, s_now_ns);
        assert_int_equal(bb_store_scrub_stats(fixture.store, 0).barred_count, i);
        assert_int_equal(s_is_complete(&fixture, 1, 1), i == 0);
        assert_true(s_is_complete(&fixture, 1, 0));
        if (i == 0) {
            bb_store_sign_off(fixture.store);
            fixture_reopen(&fixture);
            (void)bb_store_suspect_tick(fixture.store, 7, s_now_ns);
            assert_int_equal(checker.spawned, 1);
            assert_true(s_is_complete(&fixture, 1, 1));
        }
        fixture_close(&fixture);
    }
}

// Goal: without anybody who could look, and without any evidence but a crash, it is read as always;
// what scrubbing has read whole since is not suspect at all.
static void s_test_crash_without_a_checker(void **state)
{
    (void)state;
    fixture_t fixture;
    s_checker_t checker = {.event = BB_SUSPECT_PASSED};
    s_open_crashed(&fixture, &checker);
    fixture.options.checker.spawn = s_spawn_nothing;
    fixture_reopen(&fixture);
    (void)bb_store_suspect_tick(fixture.store, 5, s_now_ns);
    assert_int_equal(checker.spawned, 1);
    assert_true(s_is_complete(&fixture, 1, 1));
    s_pass(&fixture);
    fixture_reopen(&fixture);
    (void)bb_store_suspect_tick(fixture.store, 5, s_now_ns);
    assert_int_equal(checker.spawned, 1);
    fixture_close(&fixture);
}

// Goal: a store that is closed while a child looks at a window does not leave it behind.
static void s_test_checker_is_killed(void **state)
{
    (void)state;
    fixture_t fixture;
    s_checker_t checker = {0};
    char path[256];
    s_open(&fixture, true);
    s_reopen_without(&fixture, &checker, "2026-01-02", path);
    s_pass(&fixture);
    assert_int_equal(checker.spawned, 1);
    fixture_close(&fixture);
    assert_int_equal(checker.killed, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_sound_simulated),
        cmocka_unit_test(s_test_sound_lmdb),
        cmocka_unit_test(s_test_statistics),
        cmocka_unit_test(s_test_flip),
        cmocka_unit_test(s_test_fingerprint),
        cmocka_unit_test(s_test_scrub_records_fingerprints),
        cmocka_unit_test(s_test_newer_formats),
        cmocka_unit_test(s_test_map_reaches_its_size),
        cmocka_unit_test(s_test_vanished),
        cmocka_unit_test(s_test_folder_removed),
        cmocka_unit_test(s_test_disk_errors),
        cmocka_unit_test(s_test_meta_is_scrubbed),
        cmocka_unit_test(s_test_checker),
        cmocka_unit_test(s_test_checker_is_killed),
        cmocka_unit_test(s_test_meta_reaches_its_size),
        cmocka_unit_test(s_test_failed_read_is_doubt),
        cmocka_unit_test(s_test_damage_is_doubt_after_restart),
        cmocka_unit_test(s_test_crash_is_doubt),
        cmocka_unit_test(s_test_crash_without_a_checker),
        cmocka_unit_test(s_test_verified_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
