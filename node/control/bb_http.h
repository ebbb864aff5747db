// SPDX-License-Identifier: Apache-2.0
// bb_http - the request line of a GET, and the head of an answer.
//
// Pure, and all the HTTP that a metrics port needs: GET and HEAD, no bodies, one request per
// connection. Anything else gets the status that says so.
#ifndef BB_HTTP_H
#define BB_HTTP_H

#include "protocol/bb_base.h"

#define BB_HTTP_REQUEST_BYTES_MAX 4096
#define BB_HTTP_PATH_BYTES_MAX    255

typedef struct {
    int status;   // 0: not complete yet, read on; 200: `path` is asked for; else refuse with it
    bool is_head; // the answer has no body
    char path[BB_HTTP_PATH_BYTES_MAX + 1]; // without the query string
} bb_http_request_t;

// Looks at what has been received so far. 400 malformed, 405 another method, 414 path too long,
// 431 more than BB_HTTP_REQUEST_BYTES_MAX without an end, 505 another version of HTTP.
void bb_http_parse(const char *bytes, size_t length, bb_http_request_t *request);
// The head of an answer with a body of body_bytes; returns its length (< size).
size_t bb_http_head(char *out, size_t size, int status, const char *content_type,
                    size_t body_bytes);

#endif
