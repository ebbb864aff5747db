// SPDX-License-Identifier: Apache-2.0
// cli_lines - reads lines from a file, a .gz file or standard input, and counts them.
//
// One thread. A line may hold up to CLI_LINE_BYTES_MAX bytes; a longer one is skipped and reported.
#ifndef CLI_LINES_H
#define CLI_LINES_H

#include "protocol/bb_base.h"

#define CLI_LINE_BYTES_MAX   (1u << 20)
#define CLI_LINE_SLACK_BYTES 64 // readable behind a line's NUL

typedef struct cli_lines cli_lines_t;

typedef enum {
    CLI_LINES_LINE,
    CLI_LINES_END,
    CLI_LINES_TOO_LONG,
    CLI_LINES_FAILED
} cli_lines_next_t;

// path "-" is standard input; gzip is recognised by its first bytes. NULL: *why says why.
cli_lines_t *cli_lines_open(const char *path, const char **why);
void cli_lines_close(cli_lines_t **self);
// *line (without the newline, writable, NUL-terminated, CLI_LINE_SLACK_BYTES readable behind it)
// is valid until the next call. FAILED: the file is damaged or cannot be read; *line is the reason.
cli_lines_next_t cli_lines_next(cli_lines_t *self, char **line, size_t *length);
uint64_t cli_lines_number(const cli_lines_t *self);      // of the line last returned, from 1
uint64_t cli_lines_bytes_read(const cli_lines_t *self);  // of the file as stored (compressed)
uint64_t cli_lines_bytes_total(const cli_lines_t *self); // 0 when unknown

#endif
