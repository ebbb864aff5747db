// SPDX-License-Identifier: Apache-2.0
// Tests of node/ingest/bb_admission: bounds, tickets, expiry.
#include "node/ingest/bb_admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/bb_random.h"

static bb_admitted_t s_request(uint64_t request_id, size_t bytes)
{
    return (bb_admitted_t){
        .kind = BB_KIND_WRITE, .request_id = request_id, .bytes = bytes, .deadline_mono_ns = 1000};
}

static bb_error_t s_take(bb_admission_t *admission, uint64_t request_id, size_t bytes,
                         uint64_t *ticket, uint32_t *retry_after_ms)
{
    bb_admitted_t request = s_request(request_id, bytes);
    return bb_admission_take(admission, &request, ticket, retry_after_ms);
}

// Goal: bytes are bounded, freed with the answer, and a lone request always fits.
static void s_test_bytes(void **state)
{
    (void)state;
    bb_admission_t *admission = bb_admission_new(1000, 100);
    uint64_t first, second, third;
    uint32_t retry_after_ms = 0;
    assert_int_equal(s_take(admission, 1, 600, &first, &retry_after_ms), BB_OK);
    assert_int_equal(s_take(admission, 2, 400, &second, &retry_after_ms), BB_OK);
    assert_int_equal(s_take(admission, 3, 1, &third, &retry_after_ms), BB_ERR_BUSY);
    assert_in_range(retry_after_ms, 10, 500);
    assert_int_equal(bb_admission_bytes(admission), 1000);
    bb_admitted_t released;
    assert_true(bb_admission_release(admission, first, &released));
    assert_int_equal(released.request_id, 1);
    assert_int_equal(bb_admission_bytes(admission), 400);
    assert_int_equal(s_take(admission, 3, 601, &third, &retry_after_ms), BB_ERR_BUSY);
    assert_true(bb_admission_release(admission, second, &released));
    assert_int_equal(s_take(admission, 4, 1 << 20, &third, &retry_after_ms), BB_OK);
    assert_int_equal(s_take(admission, 5, 0, &first, &retry_after_ms), BB_ERR_BUSY);
    assert_true(bb_admission_release(admission, third, &released));
    bb_admission_destroy(&admission);
    assert_null(admission);
}

// Goal: past three quarters of either bound only writes enter; a lone question always does.
static void s_test_questions_go_first(void **state)
{
    (void)state;
    for (uint32_t by_count = 0; by_count < 2; by_count++) {
        bb_admission_t *admission = bb_admission_new(by_count ? 1000000 : 1000, by_count ? 8 : 100);
        uint64_t ticket;
        uint32_t retry_after_ms = 0;
        bb_admitted_t question = s_request(1, 125);
        question.kind = BB_KIND_QUERY;
        for (uint32_t i = 0; i < 6; i++) {
            assert_int_equal(bb_admission_take(admission, &question, &ticket, &retry_after_ms),
                             BB_OK);
        }
        assert_int_equal(bb_admission_take(admission, &question, &ticket, &retry_after_ms),
                         BB_ERR_BUSY);
        assert_in_range(retry_after_ms, 10, 500);
        assert_int_equal(s_take(admission, 2, 125, &ticket, &retry_after_ms), BB_OK);
        assert_int_equal(s_take(admission, 3, 125, &ticket, &retry_after_ms), BB_OK);
        assert_int_equal(s_take(admission, 4, 125, &ticket, &retry_after_ms), BB_ERR_BUSY);
        bb_admission_destroy(&admission);
    }
    bb_admission_t *admission = bb_admission_new(1000, 100);
    uint64_t ticket;
    uint32_t retry_after_ms = 0;
    bb_admitted_t question = s_request(1, 5000);
    question.kind = BB_KIND_QUERY;
    assert_int_equal(bb_admission_take(admission, &question, &ticket, &retry_after_ms), BB_OK);
    bb_admission_destroy(&admission);
}

// Goal: an answer reaches only the request that its ticket was made for.
static void s_test_tickets(void **state)
{
    (void)state;
    bb_admission_t *admission = bb_admission_new(1000, 2);
    uint64_t first, second, third;
    uint32_t retry_after_ms;
    assert_int_equal(s_take(admission, 1, 1, &first, &retry_after_ms), BB_OK);
    assert_int_equal(s_take(admission, 2, 1, &second, &retry_after_ms), BB_OK);
    assert_int_equal(s_take(admission, 3, 1, &third, &retry_after_ms), BB_ERR_BUSY);
    assert_int_equal(bb_admission_count(admission), 2);
    bb_admitted_t released;
    assert_true(bb_admission_release(admission, first, &released));
    assert_null(bb_admission_find(admission, first));
    assert_int_equal(s_take(admission, 3, 1, &third, &retry_after_ms), BB_OK); // same slot
    assert_true(third != first);
    assert_false(bb_admission_release(admission, first, &released)); // the late answer
    assert_int_equal(bb_admission_find(admission, third)->request_id, 3);
    const uint64_t never[] = {0, 2, UINT64_MAX, UINT64_C(7) << 32, (UINT64_C(1) << 32) | 5};
    for (size_t i = 0; i < BB_COUNT_OF(never); i++) {
        assert_null(bb_admission_find(admission, never[i]));
        assert_false(bb_admission_release(admission, never[i], &released));
    }
    bb_admission_destroy(&admission);
}

// Goal: what passes its deadline is found, once each, and nothing else is.
static void s_test_expiry(void **state)
{
    (void)state;
    bb_admission_t *admission = bb_admission_new(1000, 10);
    uint64_t tickets[3], expired;
    uint32_t retry_after_ms;
    for (uint32_t i = 0; i < 3; i++) {
        bb_admitted_t request = s_request(i, 1);
        request.deadline_mono_ns = 100 * (i + 1);
        assert_int_equal(bb_admission_take(admission, &request, &tickets[i], &retry_after_ms),
                         BB_OK);
    }
    assert_false(bb_admission_next_expired(admission, 99, &expired));
    assert_true(bb_admission_next_expired(admission, 100, &expired));
    assert_true(expired == tickets[0]);
    bb_admitted_t released;
    assert_true(bb_admission_release(admission, expired, &released));
    assert_false(bb_admission_next_expired(admission, 199, &expired));
    uint32_t found = 0;
    while (bb_admission_next_expired(admission, BB_NEVER_NS, &expired)) {
        assert_true(bb_admission_release(admission, expired, &released));
        found++;
    }
    assert_int_equal(found, 2);
    assert_int_equal(bb_admission_bytes(admission), 0);
    bb_admission_destroy(&admission);
}

static void s_test_drain(void **state)
{
    (void)state;
    bb_admission_t *admission = bb_admission_new(1000, 10);
    uint64_t ticket, other;
    uint32_t retry_after_ms = 0;
    assert_int_equal(s_take(admission, 1, 1, &ticket, &retry_after_ms), BB_OK);
    bb_admission_drain(admission);
    assert_int_equal(s_take(admission, 2, 1, &other, &retry_after_ms), BB_ERR_STOPPING);
    bb_admitted_t released;
    assert_true(bb_admission_release(admission, ticket, &released)); // what is in flight goes on
    assert_int_equal(s_take(admission, 2, 1, &other, &retry_after_ms), BB_ERR_STOPPING);
    bb_admission_destroy(&admission);
}

// Goal: any sequence of takes and releases agrees with a model that keeps a plain list.
static void s_test_against_model(void **state)
{
    (void)state;
    enum { REQUESTS_MAX = 20, BYTES_MAX = 5000 };
    struct {
        uint64_t ticket, request_id;
        size_t bytes;
    } model[REQUESTS_MAX];
    uint32_t count = 0;
    uint64_t bytes_in_flight = 0;
    bb_admission_t *admission = bb_admission_new(BYTES_MAX, REQUESTS_MAX);
    bb_random_t random = bb_random_seed(42);
    for (uint64_t step = 0; step < 20000; step++) {
        if (bb_random_below(&random, 2) == 0) {
            size_t bytes = (size_t)bb_random_below(&random, 1000);
            uint64_t ticket;
            uint32_t retry_after_ms;
            bool fits =
                count < REQUESTS_MAX && (count == 0 || bytes_in_flight + bytes <= BYTES_MAX);
            bb_error_t error = s_take(admission, step, bytes, &ticket, &retry_after_ms);
            assert_int_equal(error, fits ? BB_OK : BB_ERR_BUSY);
            if (fits) {
                model[count].ticket = ticket;
                model[count].request_id = step;
                model[count++].bytes = bytes;
                bytes_in_flight += bytes;
            }
        } else if (count > 0) {
            uint32_t index = (uint32_t)bb_random_below(&random, count);
            bb_admitted_t released;
            assert_true(bb_admission_release(admission, model[index].ticket, &released));
            assert_true(released.request_id == model[index].request_id);
            assert_false(bb_admission_release(admission, model[index].ticket, &released));
            bytes_in_flight -= model[index].bytes;
            model[index] = model[--count];
        }
        assert_int_equal(bb_admission_count(admission), count);
        assert_int_equal(bb_admission_bytes(admission), bytes_in_flight);
    }
    bb_admission_destroy(&admission);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_bytes),   cmocka_unit_test(s_test_questions_go_first),
        cmocka_unit_test(s_test_tickets), cmocka_unit_test(s_test_expiry),
        cmocka_unit_test(s_test_drain),   cmocka_unit_test(s_test_against_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
