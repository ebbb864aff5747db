// SPDX-License-Identifier: Apache-2.0
// What stores hear of the marks of peers, and how often.
#include "node/runtime/bb_mark_board.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include <pthread.h>

#define PEERS  200
#define STORES 4

// One look at what is new, as the mesh has it with each of its heartbeats. The notices sent.
static uint32_t s_tell(bb_mark_board_t *board)
{
    uint32_t count = 0;
    bool has_news = bb_mark_board_has_news(board);
    for (uint32_t s = 0; s < STORES && has_news; s++) {
        count += bb_mark_board_tell(board, s);
    }
    return count;
}

// Goal: however often marks change, a store that does not look has one notice, and when it looks it
// reads the last ones; a mark that is said again is no news.
static void a_store_has_one_notice_at_most(void **state)
{
    (void)state;
    bb_mark_board_t *board = bb_mark_board_new(PEERS, STORES);
    assert_int_equal(s_tell(board), 0);
    uint32_t count = 0;
    for (uint64_t beat = 1; beat <= 100; beat++) {
        for (uint32_t p = 0; p < PEERS; p++) {
            bb_mark_board_set(board, p, 1000 * beat + p);
        }
        count += s_tell(board);
    }
    assert_int_equal(count, STORES);
    bb_mark_board_take(board, 2);
    for (uint32_t p = 0; p < PEERS; p++) {
        assert_int_equal(bb_mark_board_get(board, p), 100000 + p);
        bb_mark_board_set(board, p, 100000 + p);
    }
    assert_int_equal(s_tell(board), 0);
    bb_mark_board_set(board, 7, 1);
    assert_int_equal(s_tell(board), 1); // the others have not looked yet
    bb_mark_board_take(board, 2);
    assert_int_equal(bb_mark_board_get(board, 7), 1);
    bb_mark_board_destroy(&board);
    assert_null(board);
    bb_mark_board_destroy(&board);
}

typedef struct {
    bb_mark_board_t *board;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint32_t notices;
} s_shared_t;

#define LAST 100000

static void *s_reader(void *argument)
{
    s_shared_t *shared = argument;
    uint64_t mark = 0;
    while (mark < LAST) {
        pthread_mutex_lock(&shared->mutex);
        while (shared->notices == 0) {
            pthread_cond_wait(&shared->changed, &shared->mutex);
        }
        shared->notices--;
        assert_int_equal(shared->notices, 0);
        pthread_mutex_unlock(&shared->mutex);
        bb_mark_board_take(shared->board, 0);
        uint64_t now = bb_mark_board_get(shared->board, 0);
        assert_true(now >= mark);
        mark = now;
    }
    return NULL;
}

// Goal: the last mark is always read, whoever is faster. Method: two threads; the reader waits for
// a notice each time and ends with the last mark, so it would wait for ever if one were missing.
static void no_mark_is_missed(void **state)
{
    (void)state;
    s_shared_t shared = {.board = bb_mark_board_new(1, 1)};
    pthread_mutex_init(&shared.mutex, NULL);
    pthread_cond_init(&shared.changed, NULL);
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, s_reader, &shared), 0);
    for (uint64_t mark = 1; mark <= LAST; mark++) {
        bb_mark_board_set(shared.board, 0, mark);
        if (bb_mark_board_has_news(shared.board) && bb_mark_board_tell(shared.board, 0)) {
            pthread_mutex_lock(&shared.mutex);
            shared.notices++;
            pthread_cond_signal(&shared.changed);
            pthread_mutex_unlock(&shared.mutex);
        }
    }
    pthread_join(reader, NULL);
    pthread_cond_destroy(&shared.changed);
    pthread_mutex_destroy(&shared.mutex);
    bb_mark_board_destroy(&shared.board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_has_one_notice_at_most),
        cmocka_unit_test(no_mark_is_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
