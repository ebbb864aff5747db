// SPDX-License-Identifier: Apache-2.0
// Who of several writers may take what room there is on the way to nodes.
#include "client/bb_room_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "client/bb_allowance.h"

#define WRITERS   4
#define IN_FLIGHT 8 // batches of a writer

typedef struct s_model s_model_t;

// A writer with a line without end of batches of one size, all for link 0.
typedef struct {
    bb_room_waiter_t waiter; // first: s_on_turn
    s_model_t *model;
    uint64_t batch_bytes;
    uint32_t in_flight, sent, waited; // waited: answers to anybody since it last sent
} s_writer_t;

struct s_model {
    bb_room_line_t line;
    bb_allowance_t allowance;
    s_writer_t writers[WRITERS];
};

static void s_pump(s_writer_t *writer)
{
    s_model_t *model = writer->model;
    while (writer->in_flight < IN_FLIGHT) {
        bool has_room = bb_allowance_admits(&model->allowance, 0, writer->batch_bytes);
        if (!bb_room_line_take(&model->line, &writer->waiter, 0, has_room)) {
            break;
        }
        assert_true(has_room);
        bb_allowance_begin(&model->allowance, writer->batch_bytes);
        writer->in_flight++;
        writer->sent++;
        writer->waited = 0;
    }
}

static void s_on_turn(bb_room_waiter_t *waiter)
{
    s_pump((s_writer_t *)(void *)waiter);
}

// Goal: each writer sends again within a number of answers that does not depend on how the batches
// of others are sized or how many they have. Method: random answers in random bursts; a writer does
// not wait longer than until each of the others has been the first and all on its way was answered.
static void nobody_starves(void **state)
{
    (void)state;
    uint32_t random = 1;
    for (uint32_t run = 0; run < 200; run++) {
        s_model_t model;
        memset(&model, 0, sizeof model);
        bb_allowance_told(&model.allowance, 1, 1 + run * run);
        for (uint32_t w = 0; w < WRITERS; w++) {
            uint64_t bytes = 1 + (run * 7919 + w * w * w * 977) % 20000;
            model.writers[w] = (s_writer_t){
                .waiter.run = s_on_turn, .model = &model, .batch_bytes = w == 0 ? 100 : bytes};
            s_pump(&model.writers[w]);
        }
        for (uint32_t answers = 0; answers < 3000;) {
            bb_room_line_round(&model.line);
            for (uint32_t w = 0; w < WRITERS; w++) {
                random = random * 1664525 + 1013904223;
                s_writer_t *writer = &model.writers[(w + run) % WRITERS];
                bool is_any = model.allowance.sent_count == writer->in_flight;
                if (writer->in_flight == 0 || ((random >> 16) % 4 != 0 && !is_any)) {
                    continue;
                }
                writer->in_flight--;
                bb_allowance_end(&model.allowance, writer->batch_bytes);
                bb_room_line_freed(&model.line);
                answers++;
                for (uint32_t o = 0; o < WRITERS; o++) {
                    model.writers[o].waited++;
                    assert_in_range(model.writers[o].waited, 0, WRITERS * WRITERS * IN_FLIGHT);
                }
                if (!writer->waiter.is_waiting) {
                    s_pump(writer); // it had all that it may have on their way
                }
            }
        }
        for (uint32_t w = 0; w < WRITERS; w++) {
            assert_true(model.writers[w].sent > 0);
        }
    }
}

static void s_do_nothing(bb_room_waiter_t *waiter)
{
    (void)waiter;
}

// Goal: who comes later passes nobody who waits, also for another link; for that link it has its
// turn at once. Who leaves the line, or does not want its turn, keeps nobody back.
static void who_waits_is_first(void **state)
{
    (void)state;
    bb_room_line_t line = {0};
    bb_room_waiter_t first = {.run = s_do_nothing}, second = {.run = s_do_nothing};
    assert_false(bb_room_line_take(&line, &first, 0, false));
    assert_false(line.is_round_due); // nothing was found that somebody could take
    assert_false(bb_room_line_take(&line, &second, 0, true));
    assert_false(line.is_round_due); // not before something gets free on that link
    assert_false(bb_room_line_take(&line, &second, 1, true));
    assert_true(line.is_round_due);
    bb_room_line_round(&line);
    assert_true(!first.is_waiting && !second.is_waiting); // neither wanted anything any more
    assert_true(bb_room_line_take(&line, &second, 0, true));

    assert_false(bb_room_line_take(&line, &first, 0, false));
    assert_false(bb_room_line_take(&line, &second, 0, true));
    bb_room_line_leave(&line, &first);
    assert_true(line.is_round_due && second.is_waiting);
    bb_room_line_leave(&line, &first); // once more: nothing
    bb_room_line_round(&line);
    bb_room_line_round(&line); // none is due
    assert_null(line.first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_starves),
        cmocka_unit_test(who_waits_is_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
