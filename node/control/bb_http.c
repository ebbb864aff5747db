// SPDX-License-Identifier: Apache-2.0
#include "node/control/bb_http.h"

#include <stdio.h>
#include <string.h>

static const char *s_reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 414:
        return "URI Too Long";
    case 431:
        return "Request Header Fields Too Large";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Internal Server Error";
    }
}

// METHOD SP PATH SP HTTP/1.x, without the line end.
static int s_parse_line(const char *line, size_t length, bb_http_request_t *request)
{
    const char *end = line + length;
    const char *first = memchr(line, ' ', length);
    if (!first || first == line) {
        return 400;
    }
    const char *target = first + 1;
    const char *second = memchr(target, ' ', (size_t)(end - target));
    if (!second || second == target || *target != '/') {
        return 400;
    }
    const char *version = second + 1;
    if (end - version != 8 || memcmp(version, "HTTP/", 5) != 0) {
        return 400;
    }
    if (memcmp(version, "HTTP/1.", 7) != 0 || (version[7] != '0' && version[7] != '1')) {
        return 505;
    }
    size_t method_length = (size_t)(first - line);
    request->is_head = method_length == 4 && memcmp(line, "HEAD", 4) == 0;
    if (!request->is_head && (method_length != 3 || memcmp(line, "GET", 3) != 0)) {
        return 405;
    }
    const char *question = memchr(target, '?', (size_t)(second - target));
    size_t path_length = (size_t)((question ? question : second) - target);
    if (path_length > BB_HTTP_PATH_BYTES_MAX) {
        return 414;
    }
    memcpy(request->path, target, path_length);
    request->path[path_length] = '\0';
    return 200;
}

void bb_http_parse(const char *bytes, size_t length, bb_http_request_t *request)
{
    memset(request, 0, sizeof *request);
    if (!memmem(bytes, length, "\r\n\r\n", 4) && !memmem(bytes, length, "\n\n", 2)) {
        request->status = length >= BB_HTTP_REQUEST_BYTES_MAX ? 431 : 0;
        return;
    }
    const char *line_end = memchr(bytes, '\n', length);
    size_t line_length = (size_t)(line_end - bytes);
    if (line_length > 0 && bytes[line_length - 1] == '\r') {
        line_length--;
    }
    request->status = s_parse_line(bytes, line_length, request);
}

size_t bb_http_head(char *out, size_t size, int status, const char *content_type, size_t body_bytes)
{
    int length = snprintf(out, size,
                          "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                          "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
                          status, s_reason(status), content_type, body_bytes);
    BB_ASSERT(length > 0 && (size_t)length < size);
    return (size_t)length;
}
