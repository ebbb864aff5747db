// SPDX-License-Identifier: Apache-2.0
#include "storage/head/bb_arena.h"

#include <pthread.h>

#include "tests/unit/storage/run_support.h"

#define S_BYTES_MAX ((uint64_t)16 << 20)

static void s_fill(bb_arena_t *arena, uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes; done += 1000) {
        memset(bb_arena_alloc(arena, 1000), 0xa5, 1000);
    }
}

// Goal: a pool keeps what arenas give back, never more than it may, and the next arena takes that
// before it asks the system. Method: arenas that are larger and smaller than the pool's bound.
static void test_pool_keeps_blocks(void **state)
{
    (void)state;
    bb_arena_pool_t *pool = bb_arena_pool_new(S_BYTES_MAX);
    for (uint32_t round = 0; round < 3; round++) {
        bb_arena_t arena = {0};
        bb_arena_use_pool(&arena, pool);
        uint64_t kept = bb_arena_pool_bytes(pool);
        s_fill(&arena, S_BYTES_MAX / 2);
        assert_true(kept == 0 || bb_arena_pool_bytes(pool) < kept);
        s_fill(&arena, S_BYTES_MAX);
        assert_int_equal(bb_arena_pool_bytes(pool), 0);
        bb_arena_free(&arena);
        assert_true(bb_arena_pool_bytes(pool) <= S_BYTES_MAX);
        assert_true(bb_arena_pool_bytes(pool) > S_BYTES_MAX / 10 * 8);
    }
    bb_arena_t last = {0}; // outlives the owner of the pool, as the head of a snapshot may
    bb_arena_use_pool(&last, pool);
    bb_arena_pool_release(&pool);
    assert_null(pool);
    s_fill(&last, S_BYTES_MAX / 2);
    bb_arena_free(&last);
}

static void *s_free_arena(void *arena)
{
    bb_arena_free(arena);
    return NULL;
}

// Goal: arenas may be given back by any thread while the owner takes. Method: four at once; the
// sanitizer of threads looks on.
static void test_any_thread_gives_back(void **state)
{
    (void)state;
    bb_arena_pool_t *pool = bb_arena_pool_new(S_BYTES_MAX);
    for (uint32_t round = 0; round < 8; round++) {
        bb_arena_t arenas[5] = {0};
        pthread_t threads[4];
        for (uint32_t i = 0; i < 5; i++) {
            bb_arena_use_pool(&arenas[i], pool);
        }
        for (uint32_t i = 0; i < 4; i++) {
            s_fill(&arenas[i], S_BYTES_MAX / 4);
        }
        for (uint32_t i = 0; i < 4; i++) {
            assert_int_equal(pthread_create(&threads[i], NULL, s_free_arena, &arenas[i]), 0);
        }
        s_fill(&arenas[4], S_BYTES_MAX / 4);
        for (uint32_t i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        }
        bb_arena_free(&arenas[4]);
        assert_true(bb_arena_pool_bytes(pool) <= S_BYTES_MAX);
    }
    bb_arena_pool_release(&pool);
}

// Goal: a reset arena is empty, hands out memory again and keeps its pool.
static void test_reset(void **state)
{
    (void)state;
    bb_arena_pool_t *pool = bb_arena_pool_new(S_BYTES_MAX);
    bb_arena_t arena = {0};
    bb_arena_use_pool(&arena, pool);
    for (uint32_t round = 0; round < 4; round++) {
        s_fill(&arena, S_BYTES_MAX / 4);
        assert_true(arena.used_bytes >= S_BYTES_MAX / 4);
        bb_arena_reset(&arena);
        assert_int_equal(arena.used_bytes, 0);
        assert_true(bb_arena_pool_bytes(pool) > 0);
    }
    bb_arena_alloc(&arena, S_BYTES_MAX); // a block of its own, not an ordinary one
    bb_arena_reset(&arena);
    bb_arena_free(&arena);
    bb_arena_pool_release(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_keeps_blocks),
        cmocka_unit_test(test_any_thread_gives_back),
        cmocka_unit_test(test_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
