// SPDX-License-Identifier: Apache-2.0
#include "node/runtime/bb_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "node/runtime/bb_clock.h"

// A line under construction; what does not fit is left out, never half a byte of it.
typedef struct {
    char *out;
    size_t size, length;
} s_line_t;

static void s_put(s_line_t *line, const char *text, size_t length)
{
    size_t room = line->size - line->length;
    size_t taken = BB_MIN(length, room);
    memcpy(line->out + line->length, text, taken);
    line->length += taken;
}

static void s_puts(s_line_t *line, const char *text)
{
    s_put(line, text, strlen(text));
}

static bool s_is_plain(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c <= 0x20 || c == '"' || c == '=' || c == '\\' || c == 0x7f) {
            return false;
        }
    }
    return length > 0;
}

static void s_put_value(s_line_t *line, const char *text, size_t length)
{
    if (s_is_plain(text, length)) {
        s_put(line, text, length);
        return;
    }
    s_put(line, "\"", 1);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        char escaped[8];
        if (c == '"' || c == '\\') {
            escaped[0] = '\\';
            escaped[1] = (char)c;
            s_put(line, escaped, 2);
        } else if (c == '\n') {
            s_put(line, "\\n", 2);
        } else if (c < 0x20 || c == 0x7f) {
            int width = snprintf(escaped, sizeof escaped, "\\x%02x", c);
            s_put(line, escaped, (size_t)width);
        } else {
            s_put(line, &text[i], 1);
        }
    }
    s_put(line, "\"", 1);
}

static void s_put_time(s_line_t *line, int64_t wall_ns)
{
    time_t seconds = (time_t)(wall_ns / BB_NS_PER_S);
    int milliseconds = (int)(wall_ns % BB_NS_PER_S / BB_NS_PER_MS);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    char text[40];
    size_t length = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    length += (size_t)snprintf(text + length, sizeof text - length, ".%03dZ", milliseconds);
    s_put(line, text, length);
}

static void s_put_field(s_line_t *line, const bb_log_field_t *field)
{
    if (field->kind == BB_LOG_FIELD_NONE) {
        return;
    }
    s_put(line, " ", 1);
    s_puts(line, field->key);
    s_put(line, "=", 1);
    char number[32];
    switch (field->kind) {
    case BB_LOG_FIELD_TEXT: {
        const char *text = field->text ? field->text : "";
        size_t length = field->text_length < 0 ? strlen(text) : (size_t)field->text_length;
        s_put_value(line, text, length);
        break;
    }
    case BB_LOG_FIELD_U64:
        snprintf(number, sizeof number, "%" PRIu64, field->number);
        s_puts(line, number);
        break;
    case BB_LOG_FIELD_I64:
        snprintf(number, sizeof number, "%" PRId64, (int64_t)field->number);
        s_puts(line, number);
        break;
    case BB_LOG_FIELD_NONE:
        break;
    }
}

void bb_log_init(bb_log_t *self, bb_log_level_t level, int fd, const char *actor,
                 uint32_t actor_index)
{
    *self = (bb_log_t){.level = level, .fd = fd, .actor = actor, .actor_index = actor_index};
}

size_t bb_log_format(char *out, size_t size, int64_t wall_ns, bb_log_level_t level,
                     const char *actor, uint32_t actor_index, const char *message,
                     uint32_t suppressed, const bb_log_field_t *fields, size_t field_count)
{
    BB_ASSERT(size > 1);
    s_line_t line = {out, size - 1, 0}; // one byte is kept for the newline
    s_puts(&line, "ts=");
    s_put_time(&line, wall_ns);
    s_puts(&line, " level=");
    s_puts(&line, bb_log_level_name(level));
    s_puts(&line, " actor=");
    s_puts(&line, actor);
    if (actor_index != UINT32_MAX) {
        char number[16];
        snprintf(number, sizeof number, "-%" PRIu32, actor_index);
        s_puts(&line, number);
    }
    s_puts(&line, " msg=");
    s_put_value(&line, message, strlen(message));
    for (size_t i = 0; i < field_count; i++) {
        s_put_field(&line, &fields[i]);
    }
    if (suppressed > 0) {
        bb_log_field_t field = BB_LOG_U64("suppressed", suppressed);
        s_put_field(&line, &field);
    }
    out[line.length++] = '\n';
    return line.length;
}

bool bb_log_is_due(bb_log_t *self, const char *message, int64_t now_mono_ns, uint32_t *suppressed)
{
    bb_log_repeat_t *slot = NULL, *oldest = &self->repeats[0];
    for (size_t i = 0; i < BB_LOG_SLOTS && !slot; i++) {
        bb_log_repeat_t *repeat = &self->repeats[i];
        if (repeat->message == message || !repeat->message) {
            slot = repeat;
        } else if (repeat->window_mono_ns < oldest->window_mono_ns) {
            oldest = repeat;
        }
    }
    slot = slot ? slot : oldest;
    bool is_new = slot->message != message;
    if (is_new || now_mono_ns - slot->window_mono_ns >= BB_LOG_WINDOW_NS) {
        *suppressed = is_new ? 0 : slot->suppressed;
        *slot = (bb_log_repeat_t){message, now_mono_ns, 1, 0};
        return true;
    }
    *suppressed = 0;
    if (slot->count >= BB_LOG_REPEATS_MAX) {
        slot->suppressed++;
        return false;
    }
    slot->count++;
    return true;
}

void bb_log_write(bb_log_t *self, bb_log_level_t level, const char *message,
                  const bb_log_field_t *fields, size_t field_count)
{
    uint32_t suppressed = 0;
    if (level < self->level || !bb_log_is_due(self, message, bb_clock_mono_ns(), &suppressed)) {
        return;
    }
    char line[BB_LOG_LINE_BYTES_MAX];
    size_t length = bb_log_format(line, sizeof line, bb_clock_wall_ns(), level, self->actor,
                                  self->actor_index, message, suppressed, fields, field_count);
    // A log that cannot be written must not stop the node; there is nowhere else to say so.
    ssize_t written = write(self->fd, line, length);
    (void)written;
}
