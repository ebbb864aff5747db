// SPDX-License-Identifier: Apache-2.0
// The registry's environment: what was committed is there, whole or not at all, and damage is
// named.
#include "storage/bb_registry_disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_random.h"
#include "tests/support/bb_sim_kv.h"

#define S_ENTRIES_MAX 64

typedef struct {
    char text[256]; // kind key number payload
} s_seen_t;

typedef struct {
    bb_sim_disk_t *disk;
    bb_registry_disk_t *registry;
    s_seen_t entries[S_ENTRIES_MAX];
    uint32_t count;
    char identity[128];
} s_fixture_t;

static bb_error_t s_on_entry(void *context, const bb_registry_entry_t *entry)
{
    s_fixture_t *self = context;
    assert_true(self->count < S_ENTRIES_MAX);
    snprintf(self->entries[self->count++].text, sizeof(s_seen_t), "%d %.*s %llu %.*s",
             (int)entry->kind, (int)entry->key.length, (const char *)entry->key.data,
             (unsigned long long)entry->number, (int)entry->payload.length,
             (const char *)entry->payload.data);
    return BB_OK;
}

static bb_error_t s_on_identity(void *context, bb_slice_t identity)
{
    s_fixture_t *self = context;
    snprintf(self->identity, sizeof self->identity, "%.*s", (int)identity.length,
             (const char *)identity.data);
    return BB_OK;
}

static bb_error_t s_open(s_fixture_t *self, bb_fault_t *fault)
{
    self->count = 0;
    self->identity[0] = 0;
    bb_registry_disk_options_t options = {.vfs = bb_sim_disk_vfs(self->disk),
                                          .kv = bb_sim_kv(self->disk),
                                          .directory = "/data",
                                          .context = self,
                                          .entry = s_on_entry,
                                          .identity = s_on_identity};
    return bb_registry_disk_open(&options, &self->registry, fault);
}

static s_fixture_t *s_new(void)
{
    s_fixture_t *self = bb_alloc_zero(1, sizeof *self);
    self->disk = bb_sim_disk_new();
    bb_vfs_t *vfs = bb_sim_disk_vfs(self->disk);
    assert_int_equal(vfs->make_directory(vfs, "/data"), BB_OK);
    return self;
}

static void s_free(s_fixture_t **self)
{
    bb_registry_disk_close(&(*self)->registry);
    bb_sim_disk_destroy(&(*self)->disk);
    free(*self);
    *self = NULL;
}

static void s_put(s_fixture_t *self, bb_registry_kind_t kind, const char *key, uint64_t number,
                  const char *payload)
{
    bb_registry_entry_t entry = {.kind = kind,
                                 .key = bb_slice(key, strlen(key)),
                                 .number = number,
                                 .payload = bb_slice(payload, strlen(payload))};
    bb_registry_disk_entry(self->registry, &entry);
}

// Goal: entries and identity are there again, the last value of each, and nothing else.
static void s_test_round_trip(void **state)
{
    (void)state;
    s_fixture_t *f = s_new();
    assert_int_equal(s_open(f, NULL), BB_OK);
    assert_int_equal(f->count, 0);
    assert_string_equal(f->identity, "");
    s_put(f, BB_REGISTRY_BOOT, "n1", 1, "first");
    s_put(f, BB_REGISTRY_BOOT, "n2", 7, "");
    s_put(f, BB_REGISTRY_FLOOR, "n1", UINT64_MAX, "x");
    bb_registry_disk_identity(f->registry, bb_slice("disk 1", 6));
    assert_int_equal(bb_registry_disk_commit(f->registry), BB_OK);
    s_put(f, BB_REGISTRY_BOOT, "n1", 2, "second");
    bb_registry_disk_identity(f->registry, bb_slice("disk 1, boot 2", 14));
    assert_int_equal(bb_registry_disk_commit(f->registry), BB_OK);
    s_put(f, BB_REGISTRY_BOOT, "n3", 1, "never committed");
    bb_registry_disk_close(&f->registry);
    assert_int_equal(s_open(f, NULL), BB_OK);
    assert_int_equal(f->count, 3);
    assert_string_equal(f->entries[0].text, "1 n1 2 second");
    assert_string_equal(f->entries[1].text, "1 n2 7 ");
    assert_string_equal(f->entries[2].text, "3 n1 18446744073709551615 x");
    assert_string_equal(f->identity, "disk 1, boot 2");
    s_free(&f);
}

// Goal: a crash at any operation leaves what was committed, and of a commit under way all or
// nothing.
static void s_test_crash_at_every_operation(void **state)
{
    (void)state;
    uint32_t cut_count = 0;
    for (uint64_t at = 1; at < 60; at++) {
        s_fixture_t *f = s_new();
        bb_random_t random = bb_random_seed(at);
        bb_sim_disk_halt_at(f->disk, at);
        uint64_t committed = 0, tried = 0;
        bb_error_t error = s_open(f, NULL);
        for (uint64_t number = 1; error == BB_OK && number <= 10; number++) {
            tried = number;
            s_put(f, BB_REGISTRY_BOOT, "n1", number, "");
            s_put(f, BB_REGISTRY_EPOCH, "topology", number, "");
            error = bb_registry_disk_commit(f->registry);
            committed = error == BB_OK ? number : committed;
        }
        cut_count += error != BB_OK;
        bb_registry_disk_close(&f->registry);
        bb_sim_disk_crash(f->disk, &random);
        assert_int_equal(s_open(f, NULL), BB_OK);
        assert_true(f->count == 0 || f->count == 2);
        unsigned long long boot = 0, epoch = 0;
        if (f->count == 2) {
            assert_int_equal(sscanf(f->entries[0].text, "1 n1 %llu", &boot), 1);
            assert_int_equal(sscanf(f->entries[1].text, "5 topology %llu", &epoch), 1);
        }
        assert_true(boot == epoch && boot >= committed && boot <= tried);
        s_free(&f);
    }
    assert_true(cut_count > 5);
}

// Goal: a full disk refuses and nothing is lost; a failed sync fences for good.
static void s_test_disk_faults(void **state)
{
    (void)state;
    s_fixture_t *f = s_new();
    assert_int_equal(s_open(f, NULL), BB_OK);
    s_put(f, BB_REGISTRY_BOOT, "n1", 1, "");
    assert_int_equal(bb_registry_disk_commit(f->registry), BB_OK);
    bb_sim_disk_fail(f->disk, BB_SIM_COMMIT, 1, BB_ERR_DISK_FULL);
    s_put(f, BB_REGISTRY_BOOT, "n1", 2, "");
    assert_int_equal(bb_registry_disk_commit(f->registry), BB_ERR_DISK_FULL);
    s_put(f, BB_REGISTRY_BOOT, "n1", 3, "");
    assert_int_equal(bb_registry_disk_commit(f->registry), BB_OK);
    bb_sim_disk_fail(f->disk, BB_SIM_COMMIT, 1, BB_ERR_IO);
    s_put(f, BB_REGISTRY_BOOT, "n1", 4, "");
    assert_int_equal(bb_registry_disk_commit(f->registry), BB_ERR_IO);
    s_put(f, BB_REGISTRY_BOOT, "n1", 5, "");
    assert_int_equal(bb_registry_disk_commit(f->registry), BB_ERR_FENCED);
    s_free(&f);
}

// Goal: a record that is not what was written is refused and named; so is one of a kind that does
// not exist.
static void s_test_damage(void **state)
{
    (void)state;
    for (uint32_t what = 0; what < 2; what++) {
        s_fixture_t *f = s_new();
        assert_int_equal(s_open(f, NULL), BB_OK);
        s_put(f, BB_REGISTRY_BOOT, "n1", 1, "payload");
        assert_int_equal(bb_registry_disk_commit(f->registry), BB_OK);
        bb_registry_disk_close(&f->registry);
        bb_kv_driver_t *kv = bb_sim_kv(f->disk);
        bb_kv_env_t *env = NULL;
        bb_kv_txn_t *txn = NULL;
        assert_int_equal(kv->open(kv, "/data/registry", 1 << 20, false, &env, NULL), BB_OK);
        assert_int_equal(kv->begin(env, true, &txn), BB_OK);
        const char *key = what == 0 ? "R\1n1" : "R\77n1";
        assert_int_equal(kv->put(txn, bb_slice(key, 4), bb_slice("damaged bytes", 13)), BB_OK);
        assert_int_equal(kv->commit(&txn), BB_OK);
        kv->close(&env);
        bb_fault_t fault = {0};
        assert_int_equal(s_open(f, &fault), BB_ERR_CORRUPT);
        assert_non_null(strstr(fault.text, "n1"));
        assert_null(f->registry);
        s_free(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_round_trip),
        cmocka_unit_test(s_test_crash_at_every_operation),
        cmocka_unit_test(s_test_disk_faults),
        cmocka_unit_test(s_test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
