// SPDX-License-Identifier: Apache-2.0
// The contract of bb_kv.h, held against LMDB in a temporary folder and against the simulated map;
// the oracle is a plain sorted array. Then the failures of each.
#include "storage/kv/bb_kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "storage/vfs/bb_file.h"
#include "tests/support/bb_sim_kv.h"

#define S_MAP_BYTES ((size_t)16 << 20)

typedef struct {
    bb_kv_driver_t *kv;
    bb_vfs_t *vfs;
    bb_sim_disk_t *disk; // NULL with LMDB
    char root[64];
} s_place_t;

static int s_setup_lmdb(void **state)
{
    s_place_t *place = calloc(1, sizeof *place);
    place->kv = bb_kv_lmdb();
    place->vfs = bb_vfs_posix();
    snprintf(place->root, sizeof place->root, "/tmp/test_bb_kv.XXXXXX");
    *state = place;
    return mkdtemp(place->root) ? 0 : -1;
}

static int s_setup_sim(void **state)
{
    s_place_t *place = calloc(1, sizeof *place);
    place->disk = bb_sim_disk_new();
    place->kv = bb_sim_kv(place->disk);
    place->vfs = bb_sim_disk_vfs(place->disk);
    snprintf(place->root, sizeof place->root, "/maps");
    *state = place;
    return place->vfs->make_directory(place->vfs, place->root) == BB_OK ? 0 : -1;
}

static int s_teardown(void **state)
{
    s_place_t *place = *state;
    bb_error_t error = place->vfs->remove_tree(place->vfs, place->root);
    bb_sim_disk_destroy(&place->disk);
    free(place);
    return error == BB_OK ? 0 : -1;
}

static bb_kv_env_t *s_open(s_place_t *place, bool create)
{
    bb_kv_env_t *env = NULL;
    bb_fault_t fault = {0};
    bb_error_t error = place->kv->open(place->kv, place->root, S_MAP_BYTES, create, &env, &fault);
    assert_string_equal(error == BB_OK ? "" : fault.text, "");
    return env;
}

static bb_slice_t s_text(const char *text)
{
    return bb_slice(text, strlen(text));
}

static void s_put(s_place_t *place, bb_kv_env_t *env, const char *key, const char *value)
{
    bb_kv_txn_t *txn = NULL;
    assert_int_equal(place->kv->begin(env, true, &txn), BB_OK);
    assert_int_equal(place->kv->put(txn, s_text(key), s_text(value)), BB_OK);
    assert_int_equal(place->kv->commit(&txn), BB_OK);
    assert_null(txn);
}

// NULL: the key is not there.
static void s_expect(s_place_t *place, bb_kv_env_t *env, const char *key, const char *value)
{
    bb_kv_txn_t *txn = NULL;
    bb_slice_t found = {0};
    assert_int_equal(place->kv->begin(env, false, &txn), BB_OK);
    bb_error_t error = place->kv->get(txn, s_text(key), &found);
    assert_int_equal(error, value ? BB_OK : BB_ERR_NOT_FOUND);
    if (value) {
        assert_int_equal(found.length, strlen(value));
        assert_memory_equal(found.data, value, found.length);
    }
    place->kv->abort(&txn);
    assert_null(txn);
}

static void s_test_open(void **state)
{
    s_place_t *place = *state;
    bb_kv_env_t *env = NULL;
    bb_fault_t fault = {0};
    assert_int_equal(place->kv->open(place->kv, place->root, S_MAP_BYTES, false, &env, &fault),
                     BB_ERR_NOT_FOUND);
    assert_non_null(strstr(fault.text, place->root));
    char none[80];
    snprintf(none, sizeof none, "%s/none", place->root);
    assert_int_equal(place->kv->open(place->kv, none, S_MAP_BYTES, true, &env, &fault),
                     BB_ERR_NOT_FOUND); // the folder must exist
    assert_null(env);
    env = s_open(place, true);
    s_expect(place, env, "a", NULL);
    s_put(place, env, "a", "1");
    assert_true(place->kv->file_bytes(env) > 0);
    place->kv->close(&env);
    assert_null(env);
    env = s_open(place, true); // create does not empty it
    s_expect(place, env, "a", "1");
    place->kv->close(&env);
    env = s_open(place, false);
    s_expect(place, env, "a", "1");
    place->kv->close(&env);
}

static void s_test_abort_and_replace(void **state)
{
    s_place_t *place = *state;
    bb_kv_env_t *env = s_open(place, true);
    s_put(place, env, "a", "1");
    bb_kv_txn_t *txn = NULL;
    assert_int_equal(place->kv->begin(env, true, &txn), BB_OK);
    assert_int_equal(place->kv->put(txn, s_text("a"), s_text("longer than before")), BB_OK);
    assert_int_equal(place->kv->put(txn, s_text("b"), s_text("")), BB_OK);
    bb_slice_t found;
    assert_int_equal(place->kv->get(txn, s_text("b"), &found), BB_OK); // sees its own changes
    assert_int_equal(found.length, 0);
    assert_int_equal(place->kv->entry_count(txn), 2);
    assert_int_equal(place->kv->remove(txn, s_text("c")), BB_ERR_NOT_FOUND);
    place->kv->abort(&txn);
    place->kv->abort(&txn); // NULL is fine
    s_expect(place, env, "a", "1");
    s_expect(place, env, "b", NULL);
    assert_int_equal(place->kv->begin(env, true, &txn), BB_OK);
    void *room = NULL;
    assert_int_equal(place->kv->reserve(txn, s_text("a"), 3, &room), BB_OK);
    memcpy(room, "xyz", 3);
    assert_int_equal(place->kv->remove(txn, s_text("c")), BB_ERR_NOT_FOUND); // harmless
    assert_int_equal(place->kv->commit(&txn), BB_OK);
    s_expect(place, env, "a", "xyz");
    place->kv->close(&env);
}

// Goal: a reader sees the map as it was when it began, whatever is committed meanwhile.
static void s_test_snapshots(void **state)
{
    s_place_t *place = *state;
    bb_kv_env_t *env = s_open(place, true);
    s_put(place, env, "a", "1");
    bb_kv_txn_t *before = NULL;
    bb_kv_txn_t *after = NULL;
    assert_int_equal(place->kv->begin(env, false, &before), BB_OK);
    s_put(place, env, "a", "2");
    s_put(place, env, "b", "3");
    assert_int_equal(place->kv->begin(env, false, &after), BB_OK);
    bb_slice_t found;
    assert_int_equal(place->kv->get(before, s_text("a"), &found), BB_OK);
    assert_memory_equal(found.data, "1", 1);
    assert_int_equal(place->kv->get(before, s_text("b"), &found), BB_ERR_NOT_FOUND);
    assert_int_equal(place->kv->entry_count(before), 1);
    assert_int_equal(place->kv->get(after, s_text("a"), &found), BB_OK);
    assert_memory_equal(found.data, "2", 1);
    assert_int_equal(place->kv->entry_count(after), 2);
    assert_int_equal(place->kv->commit(&before), BB_OK); // ends a reader too
    place->kv->abort(&after);
    place->kv->close(&env);
}

static void s_test_cursors(void **state)
{
    s_place_t *place = *state;
    bb_kv_env_t *env = s_open(place, true);
    const char *keys[] = {"a", "ab", "b\x01", "b\x7f", "b\x80", "b\xff", "c"}; // unsigned order
    for (size_t i = BB_COUNT_OF(keys); i-- > 0;) {
        s_put(place, env, keys[i], keys[i]);
    }
    bb_kv_txn_t *txn = NULL;
    bb_kv_cursor_t *cursor = NULL;
    bb_slice_t key;
    bb_slice_t value;
    assert_int_equal(place->kv->begin(env, false, &txn), BB_OK);
    assert_int_equal(place->kv->cursor(txn, &cursor), BB_OK);
    bb_error_t error = place->kv->seek(cursor, bb_slice("", 0), &key, &value);
    for (size_t i = 0; i < BB_COUNT_OF(keys); i++) {
        assert_int_equal(error, BB_OK);
        assert_int_equal(key.length, strlen(keys[i]));
        assert_memory_equal(key.data, keys[i], key.length);
        assert_memory_equal(value.data, keys[i], key.length);
        error = place->kv->next(cursor, &key, &value);
    }
    assert_int_equal(error, BB_ERR_NOT_FOUND);
    assert_int_equal(place->kv->seek(cursor, s_text("aa"), &key, &value), BB_OK);
    assert_memory_equal(key.data, "ab", 2);
    assert_int_equal(place->kv->seek(cursor, s_text("b\x80"), &key, &value), BB_OK);
    assert_memory_equal(key.data, "b\x80", 2);
    assert_int_equal(place->kv->seek(cursor, s_text("d"), &key, &value), BB_ERR_NOT_FOUND);
    place->kv->cursor_close(&cursor);
    place->kv->cursor_close(&cursor);
    place->kv->abort(&txn);
    place->kv->close(&env);
}

// Goal: any sequence of changes gives what a plain array gives. Method: 300 keys, values from 0 to
// 5,000 bytes (inside and outside of a page), transactions that commit or abort, reopening.
enum { S_KEYS = 300 };

typedef struct {
    size_t length; // SIZE_MAX: not there
    uint8_t byte;
} s_oracle_t;

static void s_check_oracle(s_place_t *place, bb_kv_env_t *env, const s_oracle_t *oracle)
{
    bb_kv_txn_t *txn = NULL;
    bb_kv_cursor_t *cursor = NULL;
    bb_slice_t key;
    bb_slice_t value;
    assert_int_equal(place->kv->begin(env, false, &txn), BB_OK);
    assert_int_equal(place->kv->cursor(txn, &cursor), BB_OK);
    bb_error_t error = place->kv->seek(cursor, bb_slice("", 0), &key, &value);
    uint64_t count = 0;
    for (uint32_t i = 0; i < S_KEYS; i++) {
        if (oracle[i].length == SIZE_MAX) {
            continue;
        }
        char expected[8];
        snprintf(expected, sizeof expected, "k%05u", i);
        assert_int_equal(error, BB_OK);
        assert_int_equal(key.length, 6);
        assert_memory_equal(key.data, expected, 6);
        assert_int_equal(value.length, oracle[i].length);
        for (size_t j = 0; j < value.length; j++) {
            assert_int_equal(((const uint8_t *)value.data)[j], oracle[i].byte);
        }
        count++;
        error = place->kv->next(cursor, &key, &value);
    }
    assert_int_equal(error, BB_ERR_NOT_FOUND);
    assert_int_equal(place->kv->entry_count(txn), count);
    place->kv->cursor_close(&cursor);
    place->kv->abort(&txn);
}

static void s_test_random(void **state)
{
    s_place_t *place = *state;
    bb_random_t random = bb_random_seed(42);
    bb_kv_env_t *env = s_open(place, true);
    s_oracle_t oracle[S_KEYS];
    static uint8_t bytes[5000];
    for (uint32_t i = 0; i < S_KEYS; i++) {
        oracle[i].length = SIZE_MAX;
    }
    for (int round = 0; round < 60; round++) {
        s_oracle_t next[S_KEYS];
        memcpy(next, oracle, sizeof next);
        bb_kv_txn_t *txn = NULL;
        assert_int_equal(place->kv->begin(env, true, &txn), BB_OK);
        for (int change = 0; change < 40; change++) {
            uint32_t index = (uint32_t)bb_random_below(&random, S_KEYS);
            char name[8];
            snprintf(name, sizeof name, "k%05u", index);
            if (bb_random_chance(&random, 1, 3)) {
                bool there = next[index].length != SIZE_MAX;
                assert_int_equal(place->kv->remove(txn, s_text(name)),
                                 there ? BB_OK : BB_ERR_NOT_FOUND);
                next[index].length = SIZE_MAX;
                continue;
            }
            next[index].length = (size_t)bb_random_below(&random, sizeof bytes);
            next[index].byte = (uint8_t)bb_random_next(&random);
            memset(bytes, next[index].byte, next[index].length);
            assert_int_equal(place->kv->put(txn, s_text(name), bb_slice(bytes, next[index].length)),
                             BB_OK);
        }
        if (bb_random_chance(&random, 1, 4)) {
            place->kv->abort(&txn);
        } else {
            assert_int_equal(place->kv->commit(&txn), BB_OK);
            memcpy(oracle, next, sizeof oracle);
        }
        if (bb_random_chance(&random, 1, 10)) {
            place->kv->close(&env);
            env = s_open(place, false);
        }
        if (round % 5 == 0) {
            s_check_oracle(place, env, oracle);
        }
    }
    s_check_oracle(place, env, oracle);
    place->kv->close(&env);
}

// Goal: a full map refuses the transaction as DISK_FULL, keeps what it had and is not fenced.
static void s_test_map_full(void **state)
{
    s_place_t *place = *state;
    bb_kv_env_t *env = NULL;
    assert_int_equal(place->kv->open(place->kv, place->root, 1 << 20, true, &env, NULL), BB_OK);
    s_put(place, env, "kept", "yes");
    bb_kv_txn_t *txn = NULL;
    void *room = NULL;
    assert_int_equal(place->kv->begin(env, true, &txn), BB_OK);
    assert_int_equal(place->kv->reserve(txn, s_text("big"), 2 << 20, &room), BB_ERR_DISK_FULL);
    assert_int_equal(place->kv->put(txn, s_text("small"), s_text("x")), BB_ERR_DISK_FULL);
    assert_int_equal(place->kv->commit(&txn), BB_ERR_DISK_FULL);
    assert_null(txn);
    s_expect(place, env, "kept", "yes");
    s_expect(place, env, "small", NULL);
    s_put(place, env, "small", "x");
    s_expect(place, env, "small", "x");
    place->kv->close(&env);
}

// ---- LMDB alone ------------------------------------------------------------------------------
static void s_test_lmdb_files(void **state)
{
    s_place_t *place = *state;
    bb_kv_env_t *env = s_open(place, true);
    s_put(place, env, "a", "1");
    place->kv->close(&env);
    char path[96];
    snprintf(path, sizeof path, "%s/data.mdb", place->root);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 077, 0);
    char fresh[128];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    assert_int_equal(access(fresh, F_OK), -1);
    // A leftover of a crash while making it is no obstacle.
    assert_int_equal(unlink(path), 0);
    FILE *left = fopen(fresh, "w");
    assert_non_null(left);
    fputs("half made", left);
    fclose(left);
    env = s_open(place, true);
    s_expect(place, env, "a", NULL);
    place->kv->close(&env);
}

// Goal: a file that lost its end, or that never was one, is refused and never mapped (SIGBUS).
static void s_test_lmdb_truncated(void **state)
{
    s_place_t *place = *state;
    bb_kv_env_t *env = s_open(place, true);
    static char big[200000];
    memset(big, 'x', sizeof big);
    bb_kv_txn_t *txn = NULL;
    assert_int_equal(place->kv->begin(env, true, &txn), BB_OK);
    assert_int_equal(place->kv->put(txn, s_text("a"), bb_slice(big, sizeof big)), BB_OK);
    assert_int_equal(place->kv->commit(&txn), BB_OK);
    place->kv->close(&env);
    char path[96];
    snprintf(path, sizeof path, "%s/data.mdb", place->root);
    const off_t sizes[] = {100000, 8192, 4096, 100, 0};
    for (size_t i = 0; i < BB_COUNT_OF(sizes); i++) {
        assert_int_equal(truncate(path, sizes[i]), 0);
        bb_fault_t fault = {0};
        assert_int_equal(place->kv->open(place->kv, place->root, S_MAP_BYTES, true, &env, &fault),
                         BB_ERR_CORRUPT);
        assert_non_null(strstr(fault.text, "data.mdb"));
        assert_null(env);
    }
    assert_int_equal(truncate(path, 20000), 0); // zeros are no map either
    assert_int_equal(place->kv->open(place->kv, place->root, S_MAP_BYTES, true, &env, NULL),
                     BB_ERR_CORRUPT);
}

// ---- the simulation alone --------------------------------------------------------------------
static bb_error_t s_try_put(s_place_t *place, bb_kv_env_t *env, const char *key)
{
    bb_kv_txn_t *txn = NULL;
    bb_error_t error = place->kv->begin(env, true, &txn);
    if (error != BB_OK) {
        return error;
    }
    assert_int_equal(place->kv->put(txn, s_text(key), s_text("x")), BB_OK);
    return place->kv->commit(&txn);
}

static void s_test_sim_failed_commit(void **state)
{
    s_place_t *place = *state;
    bb_kv_env_t *env = s_open(place, true);
    assert_int_equal(s_try_put(place, env, "a"), BB_OK);
    bb_sim_disk_fail(place->disk, BB_SIM_COMMIT, 2, BB_ERR_DISK_FULL);
    assert_int_equal(s_try_put(place, env, "b"), BB_OK);
    assert_int_equal(s_try_put(place, env, "c"), BB_ERR_DISK_FULL);
    assert_int_equal(s_try_put(place, env, "c"), BB_OK); // not fenced
    bb_sim_disk_fail(place->disk, BB_SIM_COMMIT, 1, BB_ERR_IO);
    assert_int_equal(s_try_put(place, env, "d"), BB_ERR_IO);
    s_expect(place, env, "d", NULL);
    assert_int_equal(s_try_put(place, env, "e"), BB_ERR_FENCED);
    s_expect(place, env, "c", "x"); // reads go on
    place->kv->close(&env);
    env = s_open(place, false);
    s_expect(place, env, "d", NULL);
    assert_int_equal(s_try_put(place, env, "e"), BB_OK);
    place->kv->close(&env);
}

// ---- damaged pages ---------------------------------------------------------------------------
#define S_PAGE_BYTES 4096u

// A map of small values and of values of several pages; the bytes of its file.
static uint8_t *s_make_victim(s_place_t *place, char path[128], size_t *length)
{
    bb_kv_env_t *env = s_open(place, true);
    bb_kv_txn_t *txn = NULL;
    uint8_t value[3 * S_PAGE_BYTES] = {0};
    assert_int_equal(place->kv->begin(env, true, &txn), BB_OK);
    for (uint32_t i = 0; i < 400; i++) {
        char key[16];
        snprintf(key, sizeof key, "%05u", i);
        size_t bytes = i % 8 == 0 ? sizeof value : 90 + i % 50;
        assert_int_equal(place->kv->put(txn, s_text(key), bb_slice(value, bytes)), BB_OK);
    }
    assert_int_equal(place->kv->commit(&txn), BB_OK);
    place->kv->close(&env);
    snprintf(path, 128, "%s/data.mdb", place->root);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    uint8_t *bytes = malloc(1 << 22);
    *length = fread(bytes, 1, 1 << 22, file);
    fclose(file);
    return bytes;
}

// Reads all there is, by walking and by looking up, and every byte of what is found.
static uint64_t s_read_all(s_place_t *place, bb_kv_env_t *env)
{
    bb_kv_txn_t *txn = NULL;
    bb_kv_cursor_t *cursor = NULL;
    bb_slice_t key;
    bb_slice_t value;
    uint64_t sum = 0;
    if (place->kv->begin(env, false, &txn) != BB_OK) {
        return 0;
    }
    if (place->kv->cursor(txn, &cursor) == BB_OK) {
        bb_error_t error = place->kv->seek(cursor, bb_slice(NULL, 0), &key, &value);
        // A damaged page may lead back to one before: a walk has to end all the same.
        for (uint32_t i = 0; error == BB_OK && i < 1000; i++) {
            for (size_t b = 0; b < value.length; b++) {
                sum += ((const uint8_t *)value.data)[b];
            }
            error = place->kv->next(cursor, &key, &value);
        }
        place->kv->cursor_close(&cursor);
    }
    for (uint32_t i = 0; i < 400; i += 7) {
        char name[16];
        snprintf(name, sizeof name, "%05u", i);
        sum += place->kv->get(txn, s_text(name), &value) == BB_OK;
    }
    place->kv->abort(&txn);
    return sum;
}

// Goal: whatever the pages of a file hold, reading it gives values or errors, and the process
// lives. Method: 1,000 copies of a file with a few bytes changed, mostly in the headers and the
// tables of offsets of pages, where they lead readers astray.
static void s_test_lmdb_damaged_pages(void **state)
{
    s_place_t *place = *state;
    char path[128];
    size_t length;
    uint8_t *bytes = s_make_victim(place, path, &length);
    uint64_t read_count = 0;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        bb_random_t random = bb_random_seed(seed);
        uint8_t *copy = malloc(length);
        memcpy(copy, bytes, length);
        uint32_t change_count = 1 + (uint32_t)bb_random_below(&random, 6);
        for (uint32_t i = 0; i < change_count; i++) {
            size_t page = bb_random_below(&random, length / S_PAGE_BYTES);
            size_t reach = bb_random_chance(&random, 3, 4) ? 32 : S_PAGE_BYTES;
            copy[page * S_PAGE_BYTES + bb_random_below(&random, reach)] =
                (uint8_t)bb_random_next(&random);
        }
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(copy, 1, length, file), length);
        fclose(file);
        free(copy);
        bb_kv_env_t *env = NULL;
        if (place->kv->open(place->kv, place->root, S_MAP_BYTES, false, &env, NULL) == BB_OK) {
            s_read_all(place, env);
            read_count++;
            place->kv->close(&env);
        }
    }
    assert_true(read_count > 500);
    free(bytes);
}

// Goal: commits that returned OK survive a crash; the interrupted one is there or not, both happen.
static void s_test_sim_crash(void **state)
{
    s_place_t *place = *state;
    int there_count = 0;
    enum { ROUNDS = 40 };
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        bb_random_t random = bb_random_seed(seed);
        bb_kv_env_t *env = s_open(place, true);
        assert_int_equal(s_try_put(place, env, "sure"), BB_OK);
        bb_kv_txn_t *reader = NULL;
        assert_int_equal(place->kv->begin(env, false, &reader), BB_OK);
        bb_sim_disk_halt_at(place->disk, 1);
        assert_int_equal(s_try_put(place, env, "doubt"), BB_ERR_IO);
        assert_int_equal(s_try_put(place, env, "never"), BB_ERR_FENCED);
        bb_sim_disk_crash(place->disk, &random);
        bb_slice_t found;
        assert_int_equal(place->kv->get(reader, s_text("doubt"), &found), BB_ERR_NOT_FOUND);
        place->kv->abort(&reader);
        place->kv->close(&env);
        env = s_open(place, false);
        s_expect(place, env, "sure", "x");
        s_expect(place, env, "never", NULL);
        bb_kv_txn_t *txn = NULL;
        assert_int_equal(place->kv->begin(env, true, &txn), BB_OK);
        there_count += place->kv->remove(txn, s_text("doubt")) == BB_OK;
        assert_int_equal(place->kv->commit(&txn), BB_OK);
        place->kv->close(&env);
    }
    assert_in_range(there_count, 5, ROUNDS - 5);
}

// Goal: a map goes where its folder goes, and away with it; its bytes count on the disk.
static void s_test_sim_folders(void **state)
{
    s_place_t *place = *state;
    bb_vfs_t *vfs = place->vfs;
    bb_kv_env_t *env = NULL;
    assert_int_equal(vfs->make_directory(vfs, "/maps/new"), BB_OK);
    assert_int_equal(place->kv->open(place->kv, "/maps/new", S_MAP_BYTES, true, &env, NULL), BB_OK);
    assert_int_equal(s_try_put(place, env, "a"), BB_OK);
    assert_true(bb_sim_disk_used_bytes(place->disk) >= place->kv->file_bytes(env));
    place->kv->close(&env);
    assert_int_equal(vfs->rename(vfs, "/maps/new", "/maps/final"), BB_OK);
    assert_int_equal(place->kv->open(place->kv, "/maps/new", S_MAP_BYTES, true, &env, NULL),
                     BB_ERR_NOT_FOUND);
    assert_int_equal(place->kv->open(place->kv, "/maps/final", S_MAP_BYTES, false, &env, NULL),
                     BB_OK);
    s_expect(place, env, "a", "x");
    // A full disk is a clean refusal.
    bb_sim_disk_capacity_set(place->disk, bb_sim_disk_used_bytes(place->disk));
    bb_kv_txn_t *txn = NULL;
    void *room = NULL;
    assert_int_equal(place->kv->begin(env, true, &txn), BB_OK);
    assert_int_equal(place->kv->reserve(txn, s_text("big"), 100000, &room), BB_OK);
    assert_int_equal(place->kv->commit(&txn), BB_ERR_DISK_FULL);
    bb_sim_disk_capacity_set(place->disk, UINT64_MAX);
    assert_int_equal(s_try_put(place, env, "b"), BB_OK);
    place->kv->close(&env);
    assert_int_equal(vfs->remove_tree(vfs, "/maps/final"), BB_OK);
    assert_int_equal(bb_sim_disk_used_bytes(place->disk), 0);
}

#define S_BOTH(test)                                                                               \
    {#test "_lmdb", test, s_setup_lmdb, s_teardown, NULL},                                         \
    {                                                                                              \
#test "_sim", test, s_setup_sim, s_teardown, NULL                                          \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        S_BOTH(s_test_open),
        S_BOTH(s_test_abort_and_replace),
        S_BOTH(s_test_snapshots),
        S_BOTH(s_test_cursors),
        S_BOTH(s_test_random),
        S_BOTH(s_test_map_full),
        cmocka_unit_test_setup_teardown(s_test_lmdb_files, s_setup_lmdb, s_teardown),
        cmocka_unit_test_setup_teardown(s_test_lmdb_truncated, s_setup_lmdb, s_teardown),
        cmocka_unit_test_setup_teardown(s_test_lmdb_damaged_pages, s_setup_lmdb, s_teardown),
        cmocka_unit_test_setup_teardown(s_test_sim_failed_commit, s_setup_sim, s_teardown),
        cmocka_unit_test_setup_teardown(s_test_sim_crash, s_setup_sim, s_teardown),
        cmocka_unit_test_setup_teardown(s_test_sim_folders, s_setup_sim, s_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
