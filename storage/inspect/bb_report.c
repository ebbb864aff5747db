// SPDX-License-Identifier: Apache-2.0
#include "storage/inspect/bb_report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "protocol/bb_text.h"
#include "protocol/bb_time.h"

#define S_NAME_WIDTH 18

void bb_report_open(bb_report_t *self, FILE *out, bb_report_form_t form)
{
    *self = (bb_report_t){.out = out, .form = form};
    self->kinds[0] = 'o';
    if (form == BB_REPORT_JSON) {
        fputc('{', out);
    }
}

void bb_report_close(bb_report_t *self)
{
    BB_ASSERT(self->depth == 0);
    fputs(self->form == BB_REPORT_JSON ? "}\n" : "", self->out);
}

static bool s_is_row(const bb_report_t *self)
{
    return self->kinds[self->depth] == 'r';
}

static void s_json_text(FILE *out, bb_slice_t text)
{
    const uint8_t *bytes = text.data;
    bool is_utf8 = bb_text_is_utf8(text.data, text.length);
    fputc('"', out);
    for (size_t i = 0; i < text.length; i++) {
        if (bytes[i] == '"' || bytes[i] == '\\') {
            fprintf(out, "\\%c", bytes[i]);
        } else if (bytes[i] < 0x20 || bytes[i] == 0x7f || (bytes[i] >= 0x80 && !is_utf8)) {
            fprintf(out, "\\u%04x", bytes[i]);
        } else {
            fputc(bytes[i], out);
        }
    }
    fputc('"', out);
}

// What stands before a value.
static void s_name(bb_report_t *self, const char *name)
{
    uint32_t index = self->item_counts[self->depth]++;
    BB_ASSERT(self->kinds[self->depth] != 'l');
    if (self->form == BB_REPORT_JSON) {
        fprintf(self->out, "%s\"%s\":", index > 0 ? "," : "", name);
    } else if (s_is_row(self)) {
        fprintf(self->out, "%s%s=", index > 0 ? " " : "", name);
    } else {
        fprintf(self->out, "%*s%-*s ", (int)self->depth * 2, "", S_NAME_WIDTH, name);
    }
}

static void s_after(bb_report_t *self)
{
    if (self->form == BB_REPORT_PLAIN && !s_is_row(self)) {
        fputc('\n', self->out);
    }
}

static void s_push(bb_report_t *self, char kind)
{
    BB_ASSERT(self->depth < BB_REPORT_DEPTH_MAX);
    self->depth++;
    self->kinds[self->depth] = kind;
    self->item_counts[self->depth] = 0;
}

static void s_open(bb_report_t *self, const char *name, char kind)
{
    BB_ASSERT(!s_is_row(self));
    if (self->form == BB_REPORT_JSON) {
        s_name(self, name);
        fputc(kind == 'l' ? '[' : '{', self->out);
    } else {
        self->item_counts[self->depth]++;
        fprintf(self->out, "%*s%s\n", (int)self->depth * 2, "", name);
    }
    s_push(self, kind);
}

void bb_report_begin(bb_report_t *self, const char *name)
{
    s_open(self, name, 'o');
}

void bb_report_list(bb_report_t *self, const char *name)
{
    s_open(self, name, 'l');
}

void bb_report_row(bb_report_t *self)
{
    BB_ASSERT(self->kinds[self->depth] == 'l');
    uint32_t index = self->item_counts[self->depth]++;
    if (self->form == BB_REPORT_JSON) {
        fputs(index > 0 ? ",{" : "{", self->out);
    } else {
        fprintf(self->out, "%*s- ", (int)self->depth * 2, "");
    }
    s_push(self, 'r');
}

void bb_report_end(bb_report_t *self)
{
    BB_ASSERT(self->depth > 0);
    if (self->form == BB_REPORT_JSON) {
        fputc(self->kinds[self->depth] == 'l' ? ']' : '}', self->out);
    } else if (s_is_row(self)) {
        fputc('\n', self->out);
    }
    self->depth--;
}

// ---- values ----------------------------------------------------------------------------------
void bb_report_slice(bb_report_t *self, const char *name, bb_slice_t text)
{
    s_name(self, name);
    if (self->form == BB_REPORT_JSON || s_is_row(self)) {
        s_json_text(self->out, text);
    } else {
        fwrite(text.data, 1, text.length, self->out);
    }
    s_after(self);
}

void bb_report_text(bb_report_t *self, const char *name, const char *text)
{
    s_name(self, name);
    if (self->form == BB_REPORT_JSON) {
        s_json_text(self->out, bb_slice(text, strlen(text)));
    } else {
        fputs(text, self->out);
    }
    s_after(self);
}

void bb_report_u64(bb_report_t *self, const char *name, uint64_t number)
{
    s_name(self, name);
    fprintf(self->out, "%" PRIu64, number);
    s_after(self);
}

void bb_report_i64(bb_report_t *self, const char *name, int64_t number)
{
    s_name(self, name);
    fprintf(self->out, "%" PRId64, number);
    s_after(self);
}

void bb_report_bool(bb_report_t *self, const char *name, bool is_true)
{
    s_name(self, name);
    fputs(is_true ? "true" : "false", self->out);
    s_after(self);
}

void bb_report_double(bb_report_t *self, const char *name, double number)
{
    s_name(self, name);
    if (!isfinite(number) && self->form == BB_REPORT_JSON) {
        fputs("null", self->out);
    } else {
        char text[32];
        snprintf(text, sizeof text, "%.15g", number);
        double again = 0;
        if (sscanf(text, "%lf", &again) != 1 || again != number) {
            snprintf(text, sizeof text, "%.17g", number);
        }
        fputs(text, self->out);
    }
    s_after(self);
}

void bb_report_time(bb_report_t *self, const char *name, int64_t wall_ns)
{
    char text[BB_TIME_TEXT_BYTES];
    bb_time_format(wall_ns, text);
    bb_report_text(self, name, text);
}

void bb_report_hex(bb_report_t *self, const char *name, const uint8_t *bytes, size_t length)
{
    s_name(self, name);
    fputs(self->form == BB_REPORT_JSON ? "\"" : "", self->out);
    for (size_t i = 0; i < length; i++) {
        fprintf(self->out, "%02x", bytes[i]);
    }
    fputs(self->form == BB_REPORT_JSON ? "\"" : "", self->out);
    s_after(self);
}

void bb_report_value(bb_report_t *self, const char *name, bb_type_t type, uint64_t bits)
{
    switch (type) {
    case BB_TYPE_FLOAT64:
        bb_report_double(self, name, bb_double_of_bits(bits));
        return;
    case BB_TYPE_INT64:
        bb_report_i64(self, name, (int64_t)bits);
        return;
    case BB_TYPE_BOOL:
        bb_report_bool(self, name, bits != 0);
        return;
    case BB_TYPE_STATE: {
        const bb_text_t *text = (const bb_text_t *)(uintptr_t)bits;
        bb_report_slice(self, name, bb_slice(text->bytes, text->length));
        return;
    }
    }
    bb_report_u64(self, name, bits);
}
