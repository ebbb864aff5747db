// SPDX-License-Identifier: Apache-2.0
// Tests of node/control/bb_http: request lines, good and bad.
#include "node/control/bb_http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static bb_http_request_t s_parse(const char *text)
{
    bb_http_request_t request;
    memset(&request, 0xa5, sizeof request);
    bb_http_parse(text, strlen(text), &request);
    return request;
}

static void s_test_good(void **state)
{
    (void)state;
    bb_http_request_t request = s_parse("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(request.status, 200);
    assert_string_equal(request.path, "/metrics");
    assert_false(request.is_head);
    request = s_parse("GET /readyz?verbose=1 HTTP/1.0\r\n\r\n");
    assert_int_equal(request.status, 200);
    assert_string_equal(request.path, "/readyz");
    request = s_parse("HEAD / HTTP/1.1\n\n"); // bare line ends are accepted
    assert_int_equal(request.status, 200);
    assert_true(request.is_head);
    assert_string_equal(request.path, "/");
}

// Goal: a request that has not ended is not judged, at whatever byte it stops.
static void s_test_incomplete(void **state)
{
    (void)state;
    const char text[] = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
    for (size_t length = 0; length + 1 < sizeof text - 1; length++) {
        bb_http_request_t request;
        bb_http_parse(text, length, &request);
        assert_int_equal(request.status, 0);
    }
    char full[BB_HTTP_REQUEST_BYTES_MAX];
    memset(full, 'a', sizeof full);
    bb_http_request_t request;
    bb_http_parse(full, sizeof full, &request);
    assert_int_equal(request.status, 431);
}

static void s_test_bad(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int status;
    } cases[] = {
        {"\r\n\r\n", 400},
        {"GET\r\n\r\n", 400},
        {"GET /metrics\r\n\r\n", 400},
        {" /metrics HTTP/1.1\r\n\r\n", 400},
        {"GET  HTTP/1.1\r\n\r\n", 400},
        {"GET metrics HTTP/1.1\r\n\r\n", 400},
        {"GET http://a/metrics HTTP/1.1\r\n\r\n", 400},
        {"GET /a b HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.12\r\n\r\n", 400},
        {"GET / XTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\n\r\n", 505},
        {"GET / HTTP/1.9\r\n\r\n", 505},
        {"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405},
        {"get / HTTP/1.1\r\n\r\n", 405},
        {"DELETE / HTTP/1.1\r\n\r\n", 405},
    };
    for (size_t i = 0; i < BB_COUNT_OF(cases); i++) {
        assert_int_equal(s_parse(cases[i].text).status, cases[i].status);
    }
    char text[600] = "GET /";
    memset(text + 5, 'a', 300);
    strcpy(text + 305, " HTTP/1.1\r\n\r\n");
    assert_int_equal(s_parse(text).status, 414);
}

static void s_test_head(void **state)
{
    (void)state;
    char out[512];
    size_t length = bb_http_head(out, sizeof out, 503, "text/plain", 12);
    assert_int_equal(length, strlen(out));
    assert_non_null(strstr(out, "HTTP/1.1 503 Service Unavailable\r\n"));
    assert_non_null(strstr(out, "Content-Length: 12\r\n"));
    assert_non_null(strstr(out, "Content-Type: text/plain\r\n"));
    assert_memory_equal(out + length - 4, "\r\n\r\n", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_good),
        cmocka_unit_test(s_test_incomplete),
        cmocka_unit_test(s_test_bad),
        cmocka_unit_test(s_test_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
