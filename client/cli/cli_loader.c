// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cli_loader.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli_context.h"
#include "client/cli/cli_number.h"
#include "protocol/bb_crc32c.h"
#include "protocol/bb_text.h"
#include "protocol/bb_time.h"

#define S_LINES_KEPT  (1u << 22) // frames whose line number is still known
#define S_NAMED_MAX   1000       // rejections printed; all are counted
#define S_PROGRESS_NS (BB_NS_PER_S / 10)
#define S_FILES_MAX   4096

typedef struct {
    char *id;
    uint32_t id_length;
    uint32_t hash;
    uint32_t tags_hash; // of the attributes sent last
    uint32_t handle;
} s_battery_t;

typedef struct {
    uint32_t hash;
    uint32_t handle;
    uint32_t field_count;
    char *names; // field_count times: type byte, name, NUL
    size_t names_length;
} s_shape_t;

typedef struct {
    const char *name;
    uint64_t frame_first;
} s_file_t;

struct cli_loader {
    busbar_writer_t *writer;
    cli_loader_options_t options;
    s_battery_t *batteries;
    uint32_t *battery_slots; // open addressing, index + 1
    uint32_t battery_count, battery_capacity, slot_count;
    s_shape_t *shapes;
    uint32_t shape_count, shape_capacity, shape_last;
    char *key; // scratch: description of the current shape
    size_t key_length, key_capacity;
    char *texts;     // scratch: NUL-terminated states of one frame
    uint32_t *lines; // by frame number % S_LINES_KEPT
    s_file_t files[S_FILES_MAX];
    uint32_t file_count;
    uint64_t frames_sent;
    uint64_t frames, points, local_rejected_frames, local_rejected_points, empty_cells, named_count;
    uint64_t bytes_total, bytes_before;
    int64_t start_ns, drawn_ns;
    bool has_drawn;
    busbar_status_t failed_status;
    char failed_detail[256];
};

static void s_name_rejection(cli_loader_t *self, const char *file, uint64_t line, const char *what,
                             const char *why)
{
    if (self->has_drawn) {
        fputs("\r\033[K", stderr);
    }
    if (self->named_count++ < S_NAMED_MAX) {
        fprintf(stderr, "%s:%llu: %s%s\n", file, (unsigned long long)line, what, why);
    } else if (self->named_count == S_NAMED_MAX + 1) {
        fprintf(stderr, "more rejections follow; they are counted but not named\n");
    }
}

static const char *s_file_of(const cli_loader_t *self, uint64_t frame)
{
    uint32_t i = self->file_count;
    while (i > 1 && self->files[i - 1].frame_first > frame) {
        i--;
    }
    return i > 0 ? self->files[i - 1].name : "-";
}

static void s_on_delivery(void *context, const busbar_delivery_t *delivery)
{
    cli_loader_t *self = context;
    for (uint32_t i = 0; i < delivery->rejection_count; i++) {
        const busbar_rejection_t *rejection = &delivery->rejections[i];
        bool is_known = self->frames_sent - rejection->user_frame <= S_LINES_KEPT;
        char what[128];
        snprintf(what, sizeof what, rejection->metric ? "field '%.80s': " : "%s",
                 rejection->metric ? rejection->metric : "");
        s_name_rejection(self, s_file_of(self, rejection->user_frame),
                         is_known ? self->lines[rejection->user_frame % S_LINES_KEPT] : 0, what,
                         rejection->detail && rejection->detail[0]
                             ? rejection->detail
                             : busbar_status_message(rejection->status));
    }
    if (delivery->status != BUSBAR_OK && self->failed_status == BUSBAR_OK) {
        self->failed_status = delivery->status;
        snprintf(self->failed_detail, sizeof self->failed_detail, "%s",
                 delivery->detail && delivery->detail[0] ? delivery->detail
                                                         : busbar_status_message(delivery->status));
    }
}

cli_loader_t *cli_loader_open(busbar_client_t *client, const cli_loader_options_t *options)
{
    cli_loader_t *self = bb_alloc_zero(1, sizeof *self);
    self->options = *options;
    self->lines = bb_alloc_zero(S_LINES_KEPT, sizeof *self->lines);
    self->texts = bb_alloc((size_t)BB_FRAME_METRICS_MAX * (BB_STATE_BYTES_MAX + 1));
    self->start_ns = cli_mono_ns();
    busbar_writer_options_t writer = {.level = options->level,
                                      .timeout_ns = options->timeout_ns,
                                      .revision = options->revision,
                                      .generation = (uint32_t)options->generation,
                                      .session = options->session,
                                      .on_delivery = s_on_delivery,
                                      .context = self};
    self->writer = busbar_writer_open(client, &writer);
    return self;
}

void cli_loader_file(cli_loader_t *self, const char *name, uint64_t bytes_total)
{
    if (self->file_count < S_FILES_MAX) {
        self->files[self->file_count++] = (s_file_t){name, self->frames_sent};
    }
    self->bytes_before += self->bytes_total;
    self->bytes_total = bytes_total;
}

// ---- batteries ----

static uint32_t s_tags_hash(const cli_record_t *record)
{
    uint32_t hash = record->tag_count;
    for (uint32_t i = 0; i < record->tag_count; i++) {
        hash = bb_crc32c(hash, record->tags[i].key.data, record->tags[i].key.length);
        hash = bb_crc32c(hash, "=", 1);
        hash = bb_crc32c(hash, record->tags[i].value.data, record->tags[i].value.length);
        hash = bb_crc32c(hash, ",", 1);
    }
    return hash;
}

static uint32_t *s_slot(cli_loader_t *self, bb_slice_t id, uint32_t hash)
{
    uint32_t mask = self->slot_count - 1;
    uint32_t slot = hash & mask;
    while (self->battery_slots[slot] != 0) {
        const s_battery_t *at = &self->batteries[self->battery_slots[slot] - 1];
        if (at->hash == hash && at->id_length == id.length &&
            memcmp(at->id, id.data, id.length) == 0) {
            break;
        }
        slot = (slot + 1) & mask;
    }
    return &self->battery_slots[slot];
}

static void s_slots_grow(cli_loader_t *self)
{
    free(self->battery_slots);
    self->slot_count = self->slot_count ? self->slot_count * 2 : 4096;
    self->battery_slots = bb_alloc_zero(self->slot_count, sizeof *self->battery_slots);
    for (uint32_t i = 0; i < self->battery_count; i++) {
        const s_battery_t *at = &self->batteries[i];
        *s_slot(self, bb_slice(at->id, at->id_length), at->hash) = i + 1;
    }
}

static busbar_status_t s_register(cli_loader_t *self, const cli_record_t *record, const char *id,
                                  uint32_t *handle, busbar_fault_t *fault)
{
    busbar_attribute_t attributes[BB_ATTRIBUTES_MAX];
    char *memory = NULL;
    size_t bytes = 0;
    for (uint32_t i = 0; i < record->tag_count; i++) {
        bytes += record->tags[i].key.length + record->tags[i].value.length + 2;
    }
    memory = bb_alloc(bytes);
    char *at = memory;
    for (uint32_t i = 0; i < record->tag_count; i++) {
        const cli_tag_t *tag = &record->tags[i];
        attributes[i].key = at;
        memcpy(at, tag->key.data, tag->key.length);
        at[tag->key.length] = '\0';
        at += tag->key.length + 1;
        attributes[i].value = at;
        memcpy(at, tag->value.data, tag->value.length);
        at[tag->value.length] = '\0';
        at += tag->value.length + 1;
    }
    busbar_status_t status =
        busbar_writer_battery(self->writer, id, attributes, record->tag_count, handle, fault);
    free(memory);
    return status;
}

static busbar_status_t s_battery(cli_loader_t *self, const cli_record_t *record, uint32_t *handle,
                                 busbar_fault_t *fault)
{
    bb_slice_t id = record->battery;
    if (bb_battery_id_check(id) != BB_OK) {
        fault->status = BB_ERR_BATTERY_ID;
        snprintf(
            fault->text, sizeof fault->text,
            "battery id has %zu bytes; 1 to %d of UTF-8 without control characters are allowed",
            id.length, BB_BATTERY_ID_BYTES_MAX);
        return fault->status;
    }
    if (self->battery_count * 2 >= self->slot_count) {
        s_slots_grow(self);
    }
    uint32_t hash = bb_crc32c(0, id.data, id.length);
    uint32_t tags_hash = s_tags_hash(record);
    uint32_t *slot = s_slot(self, id, hash);
    if (*slot != 0 &&
        (record->tag_count == 0 || self->batteries[*slot - 1].tags_hash == tags_hash)) {
        *handle = self->batteries[*slot - 1].handle;
        return BUSBAR_OK;
    }
    char text[BB_BATTERY_ID_BYTES_MAX + 1];
    memcpy(text, id.data, id.length);
    text[id.length] = '\0';
    busbar_status_t status = s_register(self, record, text, handle, fault);
    if (status != BUSBAR_OK) {
        return status;
    }
    if (*slot == 0) {
        if (self->battery_count == self->battery_capacity) {
            self->battery_capacity = BB_MAX(1024, self->battery_capacity * 2);
            self->batteries =
                bb_realloc(self->batteries, self->battery_capacity * sizeof *self->batteries);
        }
        self->batteries[self->battery_count] =
            (s_battery_t){.id = bb_strdup(text), .id_length = (uint32_t)id.length, .hash = hash};
        *slot = ++self->battery_count;
    }
    self->batteries[*slot - 1].tags_hash = tags_hash;
    self->batteries[*slot - 1].handle = *handle;
    return BUSBAR_OK;
}

// ---- shapes ----

static void s_key_build(cli_loader_t *self, const cli_record_t *record)
{
    self->key_length = 0;
    for (uint32_t i = 0; i < record->field_count; i++) {
        const cli_field_t *field = &record->fields[i];
        size_t needed = self->key_length + field->name.length + 2;
        if (needed > self->key_capacity) {
            self->key_capacity = needed * 2;
            self->key = bb_realloc(self->key, self->key_capacity);
        }
        self->key[self->key_length++] = (char)field->type;
        memcpy(self->key + self->key_length, field->name.data, field->name.length);
        self->key_length += field->name.length;
        self->key[self->key_length++] = '\0';
    }
}

static bool s_is_shape(const cli_loader_t *self, uint32_t index)
{
    const s_shape_t *shape = &self->shapes[index];
    return shape->names_length == self->key_length &&
           memcmp(shape->names, self->key, self->key_length) == 0;
}

static busbar_status_t s_shape(cli_loader_t *self, const cli_record_t *record, uint32_t *handle,
                               busbar_fault_t *fault)
{
    s_key_build(self, record);
    if (self->shape_last < self->shape_count && s_is_shape(self, self->shape_last)) {
        *handle = self->shapes[self->shape_last].handle;
        return BUSBAR_OK;
    }
    uint32_t hash = bb_crc32c(0, self->key, self->key_length);
    for (uint32_t i = 0; i < self->shape_count; i++) {
        if (self->shapes[i].hash == hash && s_is_shape(self, i)) {
            self->shape_last = i;
            *handle = self->shapes[i].handle;
            return BUSBAR_OK;
        }
    }
    busbar_metric_t metrics[BB_FRAME_METRICS_MAX];
    const char *at = self->key;
    for (uint32_t i = 0; i < record->field_count; i++) {
        metrics[i] = (busbar_metric_t){at + 1, record->fields[i].type};
        if (strlen(at + 1) != record->fields[i].name.length) {
            fault->status = BB_ERR_METRIC_NAME;
            snprintf(fault->text, sizeof fault->text, "a metric name holds a NUL byte");
            return fault->status;
        }
        at += record->fields[i].name.length + 2;
    }
    busbar_status_t status =
        busbar_writer_shape(self->writer, metrics, record->field_count, handle, fault);
    if (status != BUSBAR_OK) {
        return status;
    }
    if (self->shape_count == self->shape_capacity) {
        self->shape_capacity = BB_MAX(16, self->shape_capacity * 2);
        self->shapes = bb_realloc(self->shapes, self->shape_capacity * sizeof *self->shapes);
    }
    s_shape_t *shape = &self->shapes[self->shape_count];
    *shape = (s_shape_t){.hash = hash,
                         .handle = *handle,
                         .field_count = record->field_count,
                         .names = bb_alloc(self->key_length),
                         .names_length = self->key_length};
    memcpy(shape->names, self->key, self->key_length);
    self->shape_last = self->shape_count++;
    return BUSBAR_OK;
}

// ---- frames ----

static busbar_status_t s_values(cli_loader_t *self, const cli_record_t *record,
                                busbar_value_t *values, busbar_fault_t *fault)
{
    char *text = self->texts;
    for (uint32_t i = 0; i < record->field_count; i++) {
        const cli_field_t *field = &record->fields[i];
        switch (field->type) {
        case BUSBAR_FLOAT64:
            values[i].number = field->number;
            break;
        case BUSBAR_INT64:
            values[i].integer = field->integer;
            break;
        case BUSBAR_BOOL:
            values[i].boolean = field->boolean;
            break;
        case BUSBAR_STATE:
            if (bb_state_text_check(field->text) != BB_OK ||
                memchr(field->text.data ? field->text.data : "", '\0', field->text.length)) {
                fault->status = BB_ERR_STATE_TEXT;
                snprintf(fault->text, sizeof fault->text,
                         "field '%.*s': text of %zu bytes; at most %d of UTF-8 are allowed",
                         (int)BB_MIN(field->name.length, 64), (const char *)field->name.data,
                         field->text.length, BB_STATE_BYTES_MAX);
                return fault->status;
            }
            if (field->text.length > 0) {
                memcpy(text, field->text.data, field->text.length);
            }
            text[field->text.length] = '\0';
            values[i].text = text;
            text += field->text.length + 1;
            break;
        }
    }
    return BUSBAR_OK;
}

// The writer's answer to one frame, into the books; true: it was taken.
static bool s_account(cli_loader_t *self, uint64_t line_number, uint32_t point_count,
                      busbar_status_t status, const busbar_fault_t *fault)
{
    if (BB_LIKELY(status == BUSBAR_OK)) {
        self->frames_sent++;
        self->frames++;
        self->points += point_count;
        return true;
    }
    cli_loader_reject(self, line_number, point_count, fault->text);
    // Not the line's fault (no node takes our key, none is there): the exit status says so.
    if (cli_exit_of(status) != CLI_EXIT_REJECTED && self->failed_status == BUSBAR_OK) {
        self->failed_status = status;
        snprintf(self->failed_detail, sizeof self->failed_detail, "%.250s", fault->text);
    }
    return false;
}

static busbar_status_t s_append(cli_loader_t *self, uint64_t line_number, cli_handles_t handles,
                                const int64_t *time_ns, const busbar_value_t *values,
                                busbar_fault_t *fault)
{
    self->lines[self->frames_sent % S_LINES_KEPT] = (uint32_t)line_number;
    int64_t at_ns = time_ns ? *time_ns : self->options.stamp_ns;
    busbar_status_t status =
        busbar_writer_append(self->writer, handles.battery, handles.shape, at_ns, values, fault);
    if (status == BB_ERR_TIME_RANGE) {
        char text[BB_TIME_TEXT_BYTES];
        bb_time_format(at_ns, text);
        snprintf(fault->text, sizeof fault->text,
                 "field 'time': %s is outside 1970-01-01 to 2262-01-01", text);
    }
    return status;
}

bool cli_loader_add(cli_loader_t *self, uint64_t line_number, const cli_record_t *record,
                    cli_handles_t *handles)
{
    busbar_fault_t fault = {0};
    busbar_value_t values[BB_FRAME_METRICS_MAX];
    cli_handles_t found = {0};
    busbar_status_t status = s_battery(self, record, &found.battery, &fault);
    if (status == BUSBAR_OK) {
        status = s_shape(self, record, &found.shape, &fault);
    }
    if (status == BUSBAR_OK) {
        status = s_values(self, record, values, &fault);
    }
    if (status == BUSBAR_OK) {
        status = s_append(self, line_number, found, record->has_time ? &record->time_ns : NULL,
                          values, &fault);
    }
    if (!s_account(self, line_number, record->field_count, status, &fault)) {
        return false;
    }
    self->empty_cells += record->empty_count;
    if (handles) {
        *handles = found;
    }
    return true;
}

void cli_loader_append(cli_loader_t *self, uint64_t line_number, cli_handles_t handles,
                       const int64_t *time_ns, const busbar_value_t *values, uint32_t value_count)
{
    busbar_fault_t fault;
    busbar_status_t status = s_append(self, line_number, handles, time_ns, values, &fault);
    s_account(self, line_number, value_count, status, &fault);
}

void cli_loader_reject(cli_loader_t *self, uint64_t line_number, uint64_t point_count,
                       const char *why)
{
    const char *file = self->file_count ? self->files[self->file_count - 1].name : "-";
    self->frames++;
    self->points += point_count;
    self->local_rejected_frames++;
    self->local_rejected_points += point_count;
    s_name_rejection(self, file, line_number, "", why);
}

void cli_loader_empty(cli_loader_t *self, uint64_t cell_count)
{
    self->empty_cells += cell_count;
}

void cli_loader_progress(cli_loader_t *self, uint64_t bytes_read)
{
    busbar_writer_poll(self->writer);
    int64_t now_ns = cli_mono_ns();
    if (!self->options.show_progress || now_ns - self->drawn_ns < S_PROGRESS_NS) {
        return;
    }
    self->drawn_ns = now_ns;
    self->has_drawn = true;
    busbar_totals_t totals;
    busbar_writer_totals(self->writer, &totals);
    double seconds = (double)(now_ns - self->start_ns) / 1e9;
    double rate = seconds > 0 ? (double)self->points / seconds : 0;
    fprintf(stderr, "\r\033[K%llu points, %.0f points/s, %llu acknowledged",
            (unsigned long long)self->points, rate, (unsigned long long)totals.acked_points);
    if (self->bytes_total > 0 && bytes_read > 0) {
        double done = BB_MIN(1.0, (double)bytes_read / (double)self->bytes_total);
        char bar[21];
        memset(bar, '.', 20);
        memset(bar, '#', (size_t)(done * 20));
        bar[20] = '\0';
        fprintf(stderr, " [%s] %3.0f %%", bar, done * 100);
        if (self->bytes_before == 0 && done > 0.01) {
            fprintf(stderr, ", %.0f s left", seconds * (1 - done) / done);
        }
    }
    fflush(stderr);
}

static void s_destroy(cli_loader_t *self)
{
    for (uint32_t i = 0; i < self->battery_count; i++) {
        free(self->batteries[i].id);
    }
    for (uint32_t i = 0; i < self->shape_count; i++) {
        free(self->shapes[i].names);
    }
    free(self->batteries);
    free(self->battery_slots);
    free(self->shapes);
    free(self->key);
    free(self->texts);
    free(self->lines);
    free(self);
}

int cli_loader_finish(cli_loader_t **loader, bool as_json)
{
    cli_loader_t *self = *loader;
    busbar_totals_t totals = {0};
    int64_t timeout_ns =
        self->options.timeout_ns ? self->options.timeout_ns : BB_DEADLINE_NS_DEFAULT;
    busbar_status_t closed = busbar_writer_close(&self->writer, timeout_ns + BB_NS_PER_S, &totals);
    if (self->has_drawn) {
        fputs("\r\033[K", stderr);
    }
    // Whole batches that were refused for good are rejections; those that may be tried again have
    // an outcome nobody knows.
    bool is_final = self->failed_status != BUSBAR_OK &&
                    busbar_status_retry(self->failed_status) == BUSBAR_RETRY_NEVER;
    uint64_t rejected_points = self->local_rejected_points + totals.rejected_points;
    uint64_t rejected_frames = self->local_rejected_frames + totals.rejected_frames;
    uint64_t unknown_points = totals.unknown_points;
    if (is_final) {
        rejected_points += totals.failed_points;
        rejected_frames += totals.failed_frames;
    } else {
        unknown_points += totals.failed_points;
    }
    double seconds = (double)(cli_mono_ns() - self->start_ns) / 1e9;
    printf(as_json
               ? "{\"frames\":%llu,\"points\":%llu,\"acked_points\":%llu,\"rejected_points\":%llu,"
                 "\"rejected_frames\":%llu,\"quarantined_points\":%llu,\"unknown_points\":%llu,"
                 "\"empty_cells\":%llu,\"seconds\":%.3f}\n"
               : "%llu frames, %llu points: %llu acknowledged, %llu rejected in %llu frames, "
                 "%llu quarantined, %llu unknown, %llu empty cells, %.3f s\n",
           (unsigned long long)self->frames, (unsigned long long)self->points,
           (unsigned long long)totals.acked_points, (unsigned long long)rejected_points,
           (unsigned long long)rejected_frames, (unsigned long long)totals.quarantined_points,
           (unsigned long long)unknown_points, (unsigned long long)self->empty_cells, seconds);
    int exit_status = rejected_points + rejected_frames > 0 ? CLI_EXIT_REJECTED : CLI_EXIT_OK;
    if (self->failed_status != BUSBAR_OK) {
        const char *name = busbar_status_name(self->failed_status);
        const char *detail = self->failed_detail;
        size_t length = strlen(name); // an answer of a node begins with it
        detail += strncmp(detail, name, length) == 0 && detail[length] == ':' ? length + 2 : 0;
        cli_complain("%s (%s)", *detail ? detail : busbar_status_message(self->failed_status),
                     name);
        exit_status = cli_exit_of(self->failed_status);
    }
    if (unknown_points > 0 || (closed != BUSBAR_OK && exit_status == CLI_EXIT_OK)) {
        cli_complain("%llu points have no answer; writing them again is safe",
                     (unsigned long long)unknown_points);
        exit_status = CLI_EXIT_UNAVAILABLE;
    }
    s_destroy(self);
    *loader = NULL;
    return exit_status;
}
