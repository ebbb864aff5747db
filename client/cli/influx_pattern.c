// SPDX-License-Identifier: Apache-2.0
#include "client/cli/influx_pattern.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/bb_crc32c.h"
#include "protocol/bb_text.h"

#define S_HEADS_MAX      (1u << 22)
#define S_SHAPES_MAX     (1u << 12)
#define S_HEAD_BYTES_MAX 4096u
#define S_KEY_BYTES_MAX  (BB_METRIC_NAME_BYTES_MAX * 2u + 2) // every byte escaped, ',' and '='
#define S_ARENA_BYTES    (1u << 18)

typedef struct {
    const char *text; // with the blank before the fields; in an arena
    uint32_t length;
    uint32_t hash;
    uint32_t battery;
    uint32_t shape; // index of the fields it had the time before
    uint32_t next;  // index of the head that followed it the time before
} s_head_t;

// "name=" of the first field, ",name=" of the others.
typedef struct {
    uint64_t first_bytes, first_mask; // up to eight
    const char *text;
    uint32_t length;
    busbar_type_t type;
} s_key_t;

typedef struct {
    uint32_t handle;
    uint32_t key_count;
    s_key_t *keys;
} s_shape_t;

struct influx_pattern {
    cli_precision_t precision;
    s_head_t *heads;
    uint32_t head_count, head_capacity;
    uint32_t *slots; // open addressing by hash, index + 1
    uint32_t slot_count;
    s_shape_t *shapes;
    uint32_t shape_count, shape_capacity;
    uint32_t last; // head of the line read last
    char **arenas;
    size_t arena_count, arena_used;
    char *texts; // states of one frame, NUL-terminated
};

influx_pattern_t *influx_pattern_new(cli_precision_t precision)
{
    influx_pattern_t *self = bb_alloc_zero(1, sizeof *self);
    self->precision = precision;
    self->texts = bb_alloc((size_t)BB_FRAME_METRICS_MAX * (BB_STATE_BYTES_MAX + 1));
    return self;
}

void influx_pattern_destroy(influx_pattern_t **pattern)
{
    influx_pattern_t *self = *pattern;
    if (!self) {
        return;
    }
    for (uint32_t i = 0; i < self->shape_count; i++) {
        free(self->shapes[i].keys);
    }
    for (size_t i = 0; i < self->arena_count; i++) {
        free(self->arenas[i]);
    }
    free(self->arenas);
    free(self->heads);
    free(self->slots);
    free(self->shapes);
    free(self->texts);
    free(self);
    *pattern = NULL;
}

static const char *s_keep(influx_pattern_t *self, const char *text, size_t length)
{
    BB_ASSERT(length <= S_ARENA_BYTES);
    if (self->arena_count == 0 || self->arena_used + length > S_ARENA_BYTES) {
        self->arenas = bb_realloc(self->arenas, (self->arena_count + 1) * sizeof *self->arenas);
        self->arenas[self->arena_count++] = bb_alloc(S_ARENA_BYTES);
        self->arena_used = 0;
    }
    char *copy = self->arenas[self->arena_count - 1] + self->arena_used;
    memcpy(copy, text, length);
    self->arena_used += length;
    return copy;
}

// ---- heads -----------------------------------------------------------------------------------

// Length of the head with its blank; 0: there is none that can be remembered. A backslash hides the
// byte behind it as in parse_influx.
static size_t s_head_length(const char *line, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (line[i] == '\\' && i + 1 < length && strchr(",= \\", line[i + 1])) {
            i++;
        } else if (line[i] == ' ') {
            return i > 0 && i < S_HEAD_BYTES_MAX ? i + 1 : 0;
        }
    }
    return 0;
}

static bool s_is_head(const s_head_t *head, const char *line, size_t length)
{
    return head->length < length && memcmp(head->text, line, head->length) == 0;
}

static uint32_t *s_slot(const influx_pattern_t *self, const char *text, size_t length,
                        uint32_t hash)
{
    uint32_t slot = hash & (self->slot_count - 1);
    while (self->slots[slot] != 0) {
        const s_head_t *head = &self->heads[self->slots[slot] - 1];
        if (head->hash == hash && head->length == length && memcmp(head->text, text, length) == 0) {
            break;
        }
        slot = (slot + 1) & (self->slot_count - 1);
    }
    return &self->slots[slot];
}

static void s_slots_grow(influx_pattern_t *self)
{
    free(self->slots);
    self->slot_count = self->slot_count ? self->slot_count * 2 : 2048;
    self->slots = bb_alloc_zero(self->slot_count, sizeof *self->slots);
    for (uint32_t i = 0; i < self->head_count; i++) {
        const s_head_t *head = &self->heads[i];
        *s_slot(self, head->text, head->length, head->hash) = i + 1;
    }
}

// UINT32_MAX: not known. Corrects the guess that was wrong.
static uint32_t s_head_find(influx_pattern_t *self, const char *line, size_t length)
{
    if (self->head_count == 0) {
        return UINT32_MAX;
    }
    uint32_t guess = self->heads[self->last].next;
    if (BB_LIKELY(guess < self->head_count && s_is_head(&self->heads[guess], line, length))) {
        return guess;
    }
    size_t head_length = s_head_length(line, length);
    if (head_length == 0) {
        return UINT32_MAX;
    }
    uint32_t found = *s_slot(self, line, head_length, bb_crc32c(0, line, head_length));
    if (found == 0) {
        return UINT32_MAX;
    }
    self->heads[self->last].next = found - 1;
    return found - 1;
}

// ---- values ----------------------------------------------------------------------------------

// A number, integer or bool up to ',', ' ' or the end; the length, or 0: not of this type.
static size_t s_word_read(const char *at, const char *end, busbar_type_t type,
                          busbar_value_t *value)
{
    size_t length = 0;
    while (at + length < end && at[length] != ',' && at[length] != ' ') {
        length++;
    }
    if (length == 0) {
        return 0;
    }
    bool good = false, flag = false;
    switch (type) {
    case BUSBAR_FLOAT64:
        good = cli_double_parse(at, length, false, &value->number);
        break;
    case BUSBAR_INT64:
        good = (at[length - 1] == 'i' || at[length - 1] == 'u') &&
               cli_int64_parse(at, length - 1, &value->integer) &&
               (at[length - 1] == 'i' || value->integer >= 0);
        break;
    default: // "0" and "1" are numbers here
        good = *at != '0' && *at != '1' && cli_bool_parse(at, length, &flag);
        value->boolean = flag;
    }
    return good ? length : 0;
}

// A quoted string without escapes; `used` grows by what it takes of self->texts.
static size_t s_state_read(influx_pattern_t *self, const char *at, const char *end, size_t *used,
                           busbar_value_t *value)
{
    if (at == end || *at != '"') {
        return 0;
    }
    at++;
    size_t length_max = BB_MIN((size_t)(end - at), (size_t)BB_STATE_BYTES_MAX + 1);
    const char *quote = memchr(at, '"', length_max);
    if (!quote) {
        return 0;
    }
    size_t length = (size_t)(quote - at);
    if (memchr(at, '\\', length) || memchr(at, '\0', length) ||
        bb_state_text_check(bb_slice(at, length)) != BB_OK) {
        return 0;
    }
    char *text = self->texts + *used;
    memcpy(text, at, length);
    text[length] = '\0';
    *used += length + 1;
    value->text = text;
    return length + 2;
}

static bool s_is_key(const s_key_t *key, const char *at, const char *end)
{
    uint64_t first_bytes;
    memcpy(&first_bytes, at, sizeof first_bytes);
    if (((first_bytes ^ key->first_bytes) & key->first_mask) != 0) {
        return false;
    }
    return key->length <= 8 || ((size_t)(end - at) > key->length &&
                                memcmp(at + 8, key->text + 8, key->length - 8) == 0);
}

// Reads keys and values; the end of the last value, or NULL.
static const char *s_fields_read(influx_pattern_t *self, const s_shape_t *shape, const char *at,
                                 const char *end, influx_frame_t *frame)
{
    size_t texts_used = 0;
    for (uint32_t i = 0; i < shape->key_count; i++) {
        const s_key_t *key = &shape->keys[i];
        if (!s_is_key(key, at, end)) {
            return NULL; // no key holds a NUL, so `at` stays in front of the end
        }
        at += key->length;
        busbar_value_t *value = &frame->values[i];
        size_t length = 0;
        if (BB_LIKELY(key->type == BUSBAR_FLOAT64)) {
            length = cli_decimal_read(at, &value->number);
            if (at[length] != ',' && at[length] != ' ') {
                length = 0;
            }
        }
        if (length == 0) {
            length = key->type == BUSBAR_STATE ? s_state_read(self, at, end, &texts_used, value)
                                               : s_word_read(at, end, key->type, value);
        }
        if (length == 0) {
            return NULL;
        }
        at += length;
    }
    return at;
}

static bool s_time_read(const influx_pattern_t *self, const char *at, const char *end,
                        influx_frame_t *frame)
{
    frame->has_time = at < end;
    if (at == end) {
        return true;
    }
    uint64_t count;
    size_t length = *at == ' ' ? cli_digits_read(at + 1, &count) : 0;
    return length > 0 && at + 1 + length == end && count <= INT64_MAX &&
           cli_time_scale((int64_t)count, self->precision, &frame->time_ns);
}

bool influx_pattern_read(influx_pattern_t *self, const char *line, size_t length,
                         influx_frame_t *frame)
{
    uint32_t index = s_head_find(self, line, length);
    if (index == UINT32_MAX) {
        return false;
    }
    self->last = index;
    const s_head_t *head = &self->heads[index];
    const s_shape_t *shape = &self->shapes[head->shape];
    const char *end = line + length;
    end -= end[-1] == '\r'; // a head is shorter than its line, so this is behind it
    const char *at = s_fields_read(self, shape, line + head->length, end, frame);
    if (!at || !s_time_read(self, at, end, frame)) {
        return false;
    }
    frame->battery = head->battery;
    frame->shape = shape->handle;
    frame->value_count = shape->key_count;
    return true;
}

// ---- learning --------------------------------------------------------------------------------

// Cuts the raw text behind the head into keys; false when it is not laid out plainly.
static bool s_keys_cut(const char *at, const char *end, const cli_record_t *record,
                       bb_slice_t keys[BB_FRAME_METRICS_MAX])
{
    for (uint32_t i = 0; i < record->field_count; i++) {
        const char *first = at;
        at += i > 0; // the comma
        while (at < end && *at != '=') {
            at += *at == '\\' && at + 1 < end && strchr(",= \\", at[1]) ? 2 : 1;
        }
        if (at >= end || at + 1 - first > (ptrdiff_t)S_KEY_BYTES_MAX) {
            return false;
        }
        at++;
        keys[i] = bb_slice(first, (size_t)(at - first));
        bool is_quoted = at < end && *at == '"';
        at += is_quoted;
        while (at < end && (is_quoted ? *at != '"' : *at != ',' && *at != ' ')) {
            at +=
                is_quoted && *at == '\\' && at + 1 < end && (at[1] == '"' || at[1] == '\\') ? 2 : 1;
        }
        at += is_quoted;
    }
    return at <= end;
}

static bool s_is_shape(const s_shape_t *shape, uint32_t handle, const cli_record_t *record,
                       const bb_slice_t *keys)
{
    bool is_same = shape->handle == handle && shape->key_count == record->field_count;
    for (uint32_t i = 0; is_same && i < shape->key_count; i++) {
        const s_key_t *key = &shape->keys[i];
        is_same = key->type == record->fields[i].type && key->length == keys[i].length &&
                  memcmp(key->text, keys[i].data, keys[i].length) == 0;
    }
    return is_same;
}

static s_key_t s_key(influx_pattern_t *self, bb_slice_t text, busbar_type_t type)
{
    s_key_t key = {.length = (uint32_t)text.length,
                   .text = s_keep(self, text.data, text.length),
                   .type = type};
    char mask[8] = {0};
    size_t first = BB_MIN(text.length, (size_t)8);
    memset(mask, 0xff, first);
    memcpy(&key.first_mask, mask, 8);
    memcpy(&key.first_bytes, text.data, first);
    return key;
}

// Index of the shape; UINT32_MAX: no room.
static uint32_t s_shape_learn(influx_pattern_t *self, uint32_t handle, const cli_record_t *record,
                              const bb_slice_t *keys)
{
    for (uint32_t i = 0; i < self->shape_count; i++) {
        if (s_is_shape(&self->shapes[i], handle, record, keys)) {
            return i;
        }
    }
    if (self->shape_count == S_SHAPES_MAX) {
        return UINT32_MAX;
    }
    if (self->shape_count == self->shape_capacity) {
        self->shape_capacity = BB_MAX(16, self->shape_capacity * 2);
        self->shapes = bb_realloc(self->shapes, self->shape_capacity * sizeof *self->shapes);
    }
    s_shape_t *shape = &self->shapes[self->shape_count];
    *shape = (s_shape_t){.handle = handle,
                         .key_count = record->field_count,
                         .keys = bb_alloc(record->field_count * sizeof *shape->keys)};
    for (uint32_t i = 0; i < shape->key_count; i++) {
        shape->keys[i] = s_key(self, keys[i], record->fields[i].type);
    }
    return self->shape_count++;
}

void influx_pattern_learn(influx_pattern_t *self, const char *line, size_t length,
                          const cli_record_t *record, uint32_t battery, uint32_t shape_handle)
{
    bb_slice_t keys[BB_FRAME_METRICS_MAX];
    size_t head_length = s_head_length(line, length);
    if (head_length == 0 || line[0] == '\t' ||
        !s_keys_cut(line + head_length, line + length, record, keys)) {
        return;
    }
    uint32_t shape = s_shape_learn(self, shape_handle, record, keys);
    if (shape == UINT32_MAX) {
        return;
    }
    if (self->head_count * 2 >= self->slot_count) {
        s_slots_grow(self);
    }
    uint32_t hash = bb_crc32c(0, line, head_length);
    uint32_t *slot = s_slot(self, line, head_length, hash);
    if (*slot == 0) {
        if (self->head_count == S_HEADS_MAX) {
            return;
        }
        if (self->head_count == self->head_capacity) {
            self->head_capacity = BB_MAX(1024, self->head_capacity * 2);
            self->heads = bb_realloc(self->heads, self->head_capacity * sizeof *self->heads);
        }
        self->heads[self->head_count] = (s_head_t){.text = s_keep(self, line, head_length),
                                                   .length = (uint32_t)head_length,
                                                   .hash = hash,
                                                   .next = self->head_count + 1};
        *slot = ++self->head_count;
    }
    s_head_t *head = &self->heads[*slot - 1];
    head->battery = battery;
    head->shape = shape;
    self->heads[self->last].next = *slot - 1;
    self->last = *slot - 1;
}
