// SPDX-License-Identifier: Apache-2.0
// bb_log - one line of logfmt per event, written with a single write(2).
//
//   ts=2026-01-01T00:00:00.000Z level=info actor=router msg="client refused" reason=role count=3
//
// Each actor owns a bb_log_t (level, descriptor, its name and what it has said lately), so nothing
// is shared between threads but the descriptor, and the kernel keeps whole lines apart. The same
// message is written at most BB_LOG_REPEATS_MAX times in BB_LOG_WINDOW_NS; the first one after that
// says how many were left out (suppressed=N). Never give it a secret.
#ifndef BB_LOG_H
#define BB_LOG_H

#include "cluster-config/bb_config.h"

#define BB_LOG_REPEATS_MAX    10
#define BB_LOG_WINDOW_NS      (INT64_C(10) * BB_NS_PER_S)
#define BB_LOG_LINE_BYTES_MAX 2048
#define BB_LOG_SLOTS          32

typedef struct {
    const char *message; // literal: its address is its name; NULL = free
    int64_t window_mono_ns;
    uint32_t count, suppressed;
} bb_log_repeat_t;

typedef struct {
    bb_log_level_t level; // quieter lines are not written
    int fd;
    const char *actor;    // borrowed for the life of the log
    uint32_t actor_index; // UINT32_MAX = not numbered
    bb_log_repeat_t repeats[BB_LOG_SLOTS];
} bb_log_t;

typedef enum {
    BB_LOG_FIELD_NONE,
    BB_LOG_FIELD_TEXT,
    BB_LOG_FIELD_U64,
    BB_LOG_FIELD_I64
} bb_log_field_kind_t;

typedef struct {
    bb_log_field_kind_t kind;
    const char *key;
    const char *text;
    int64_t text_length; // TEXT; -1 = NUL-terminated
    uint64_t number;
} bb_log_field_t;

#define BB_LOG_TEXT(name, value)                                                                   \
    {                                                                                              \
        .kind = BB_LOG_FIELD_TEXT, .key = (name), .text = (value), .text_length = -1               \
    }
#define BB_LOG_SLICE(name, slice)                                                                  \
    {                                                                                              \
        .kind = BB_LOG_FIELD_TEXT, .key = (name), .text = (slice).data,                            \
        .text_length = (int64_t)(slice).length                                                     \
    }
#define BB_LOG_U64(name, value)                                                                    \
    {                                                                                              \
        .kind = BB_LOG_FIELD_U64, .key = (name), .number = (uint64_t)(value)                       \
    }
#define BB_LOG_I64(name, value)                                                                    \
    {                                                                                              \
        .kind = BB_LOG_FIELD_I64, .key = (name), .number = (uint64_t)(int64_t)(value)              \
    }

void bb_log_init(bb_log_t *self, bb_log_level_t level, int fd, const char *actor,
                 uint32_t actor_index);

// Pure: the line, with its newline, into `out` (cut to `size`); returns its length. Values that
// hold anything but plain characters are quoted; quotes, backslashes and control bytes escaped.
size_t bb_log_format(char *out, size_t size, int64_t wall_ns, bb_log_level_t level,
                     const char *actor, uint32_t actor_index, const char *message,
                     uint32_t suppressed, const bb_log_field_t *fields, size_t field_count);
// Pure: whether the line may be written now; *suppressed = how many were left out before it.
bool bb_log_is_due(bb_log_t *self, const char *message, int64_t now_mono_ns, uint32_t *suppressed);

void bb_log_write(bb_log_t *self, bb_log_level_t level, const char *message,
                  const bb_log_field_t *fields, size_t field_count);

// bb_log_info(log, "listening", BB_LOG_TEXT("socket", "client"), BB_LOG_U64("port", port));
#define BB_LOG_AT(log, at, message, ...)                                                           \
    do {                                                                                           \
        const bb_log_field_t bb_log_fields[] = {{.kind = BB_LOG_FIELD_NONE}, ##__VA_ARGS__};       \
        bb_log_write((log), (at), (message), bb_log_fields + 1, BB_COUNT_OF(bb_log_fields) - 1);   \
    } while (0)
#define bb_log_debug(log, message, ...)   BB_LOG_AT(log, BB_LOG_DEBUG, message, ##__VA_ARGS__)
#define bb_log_info(log, message, ...)    BB_LOG_AT(log, BB_LOG_INFO, message, ##__VA_ARGS__)
#define bb_log_warning(log, message, ...) BB_LOG_AT(log, BB_LOG_WARNING, message, ##__VA_ARGS__)
#define bb_log_error(log, message, ...)   BB_LOG_AT(log, BB_LOG_ERROR, message, ##__VA_ARGS__)

#endif
