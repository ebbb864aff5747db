// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cli_session.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "client/cli/cli_context.h"

static bool s_complain(const char *path)
{
    cli_complain("--session: %s: %s", path, strerror(errno));
    return false;
}

// Adds what the file holds; an empty one holds nothing.
static bool s_read(const char *path, int file, busbar_session_t *session)
{
    uint8_t bytes[BUSBAR_SESSION_BYTES_MAX + 1];
    size_t length = 0;
    ssize_t count;
    while (length < sizeof bytes &&
           (count = pread(file, bytes + length, sizeof bytes - length, (off_t)length)) != 0) {
        if (count < 0 && errno != EINTR) {
            return s_complain(path);
        }
        length += count > 0 ? (size_t)count : 0;
    }
    busbar_fault_t fault = {0};
    if (length > 0 && busbar_session_import(session, bytes, length, &fault) != BUSBAR_OK) {
        cli_complain("--session: %s: %s; without the file a new session begins", path, fault.text);
        return false;
    }
    return true;
}

static bool s_write(const char *path, int file, busbar_session_t *session)
{
    uint8_t bytes[BUSBAR_SESSION_BYTES_MAX];
    size_t length = 0;
    busbar_status_t status = busbar_session_export(session, bytes, sizeof bytes, &length);
    BB_ASSERT(status == BUSBAR_OK); // the buffer is large enough for any
    for (size_t at = 0; at < length;) {
        ssize_t count = pwrite(file, bytes + at, length - at, (off_t)at);
        if (count < 0 && errno != EINTR) {
            return s_complain(path);
        }
        at += count > 0 ? (size_t)count : 0;
    }
    return ftruncate(file, (off_t)length) == 0 || s_complain(path);
}

bool cli_session_open(const char *path, busbar_session_t **session)
{
    *session = NULL;
    if (!path) {
        return true;
    }
    *session = busbar_session_new();
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 && errno == ENOENT) {
        return true;
    }
    bool is_good =
        file >= 0 && flock(file, LOCK_SH) == 0 ? s_read(path, file, *session) : s_complain(path);
    if (file >= 0) {
        close(file);
    }
    if (!is_good) {
        busbar_session_free(session);
    }
    return is_good;
}

bool cli_session_close(const char *path, busbar_session_t **session)
{
    if (!*session) {
        return true;
    }
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    bool is_good = file >= 0 && flock(file, LOCK_EX) == 0
                       ? s_read(path, file, *session) && s_write(path, file, *session)
                       : s_complain(path);
    if (file >= 0) {
        close(file);
    }
    busbar_session_free(session);
    return is_good;
}
