// SPDX-License-Identifier: Apache-2.0
// fuzz_http - any bytes as a request to the metrics port, byte after byte as a socket gives them: a
// request that was judged complete is judged alike once more bytes have come.
#include "node/control/bb_http.h"
#include "tests/fuzz/fuzz_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = (char *)fuzz_copy(data, size);
    bb_http_request_t whole;
    bb_http_parse(copy, size, &whole);
    BB_ASSERT(whole.status == 0 || whole.status == 200 || whole.status == 400 ||
              whole.status == 405 || whole.status == 414 || whole.status == 431 ||
              whole.status == 505);
    if (whole.status == 200) {
        BB_ASSERT(memchr(whole.path, '\0', sizeof whole.path));
        BB_ASSERT(whole.path[0] == '/');
    }
    BB_ASSERT(whole.status != 0 || size < BB_HTTP_REQUEST_BYTES_MAX);
    if (size > 0 && size <= BB_HTTP_REQUEST_BYTES_MAX) {
        bb_http_request_t part;
        bb_http_parse(copy, size - 1, &part);
        BB_ASSERT(part.status == 0 || part.status == whole.status);
    }
    char head[512];
    size_t length = bb_http_head(head, sizeof head, whole.status ? whole.status : 200,
                                 "text/plain; version=0.0.4", size);
    BB_ASSERT(length < sizeof head);
    free(copy);
    return 0;
}
