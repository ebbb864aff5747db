// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cli_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define S_BUFFER_BYTES (2u * CLI_LINE_BYTES_MAX)
#define S_READ_BYTES   (256u << 10) // at once: what is parsed next is still in the cache

struct cli_lines {
    gzFile file; // zlib reads plain files as they are
    char *buffer;
    size_t first, limit; // unread bytes
    bool at_end;
    uint64_t number;
    uint64_t bytes_total;
};

cli_lines_t *cli_lines_open(const char *path, const char **why)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int descriptor = is_stdin ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (descriptor < 0 || fstat(descriptor, &status) != 0) {
        *why = strerror(errno);
        if (descriptor >= 0) {
            close(descriptor);
        }
        return NULL;
    }
    if (S_ISDIR(status.st_mode)) {
        *why = "is a directory";
        close(descriptor);
        return NULL;
    }
    gzFile file = gzdopen(descriptor, "rb");
    if (!file) {
        *why = "out of memory";
        close(descriptor);
        return NULL;
    }
    gzbuffer(file, S_READ_BYTES / 2); // zlib reads twice as much past its own buffer
    cli_lines_t *self = bb_alloc_zero(1, sizeof *self);
    self->file = file;
    self->buffer = bb_alloc_zero(1, S_BUFFER_BYTES + 1 + CLI_LINE_SLACK_BYTES);
    self->bytes_total = S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
    return self;
}

void cli_lines_close(cli_lines_t **self)
{
    if (*self) {
        gzclose((*self)->file);
        free((*self)->buffer);
        free(*self);
        *self = NULL;
    }
}

// Reads more behind what is unread; false on a read error.
static bool s_fill(cli_lines_t *self)
{
    if (self->first > 0) {
        memmove(self->buffer, self->buffer + self->first, self->limit - self->first);
        self->limit -= self->first;
        self->first = 0;
    }
    size_t room = BB_MIN((size_t)S_READ_BYTES, S_BUFFER_BYTES - self->limit);
    int got = gzread(self->file, self->buffer + self->limit, (unsigned)room);
    if (got < 0) {
        return false;
    }
    self->limit += (size_t)got;
    if (got == 0) {
        int error_number = Z_OK;
        gzerror(self->file, &error_number);
        self->at_end = true;
        return error_number == Z_OK; // a cut .gz file ends with Z_BUF_ERROR
    }
    return true;
}

static cli_lines_next_t s_failed(cli_lines_t *self, char **line, size_t *length)
{
    int error_number = Z_OK;
    const char *text = gzerror(self->file, &error_number);
    if (error_number == Z_ERRNO) {
        text = strerror(errno);
    }
    *length = BB_MIN(strlen(text), S_BUFFER_BYTES);
    memcpy(self->buffer, text, *length);
    self->buffer[*length] = '\0';
    *line = self->buffer;
    self->first = self->limit = 0;
    self->at_end = true;
    return CLI_LINES_FAILED;
}

// Drops bytes up to the next newline.
static cli_lines_next_t s_skip_long(cli_lines_t *self, char **line, size_t *length)
{
    for (;;) {
        char *newline = memchr(self->buffer + self->first, '\n', self->limit - self->first);
        if (newline) {
            self->first = (size_t)(newline + 1 - self->buffer);
            return CLI_LINES_TOO_LONG;
        }
        self->first = self->limit = 0;
        if (self->at_end) {
            return CLI_LINES_TOO_LONG;
        }
        if (!s_fill(self)) {
            return s_failed(self, line, length);
        }
    }
}

cli_lines_next_t cli_lines_next(cli_lines_t *self, char **line, size_t *length)
{
    for (;;) {
        char *first = self->buffer + self->first;
        size_t unread = self->limit - self->first;
        char *newline = memchr(first, '\n', unread);
        size_t found = newline ? (size_t)(newline - first) : unread;
        if (found > CLI_LINE_BYTES_MAX) {
            self->number++;
            return s_skip_long(self, line, length);
        }
        if (newline || (self->at_end && unread > 0)) {
            first[found] = '\0';
            self->first += found + (newline != NULL);
            self->number++;
            *line = first;
            *length = found;
            return CLI_LINES_LINE;
        }
        if (self->at_end) {
            return CLI_LINES_END;
        }
        if (!s_fill(self)) {
            return s_failed(self, line, length);
        }
    }
}

uint64_t cli_lines_number(const cli_lines_t *self)
{
    return self->number;
}

uint64_t cli_lines_bytes_read(const cli_lines_t *self)
{
    z_off_t offset = gzoffset(self->file);
    return offset < 0 ? 0 : (uint64_t)offset;
}

uint64_t cli_lines_bytes_total(const cli_lines_t *self)
{
    return self->bytes_total;
}
