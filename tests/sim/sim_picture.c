// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_picture.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define S_ROW        22 // pixels
#define S_TOP        70
#define S_LEFT       150 // to the first lifeline
#define S_GAP        230 // between lifelines
#define S_TEXT_BYTES 96

typedef enum { S_SEND, S_ARRIVE, S_NOTE, S_FAULT, S_UP, S_DOWN } s_kind_t;

typedef struct {
    int64_t time_ns;
    uint32_t order;
    s_kind_t kind;
    uint32_t line, other_line; // SEND: from, to
    uint32_t message;          // SEND, ARRIVE: which
    sim_message_fate_t fate;
    char text[S_TEXT_BYTES];
} s_thing_t;

struct sim_picture {
    sim_options_t options;
    s_thing_t *things;
    uint32_t count, capacity, message_count;
    bool is_used[SIM_CLIENTS_MAX];
};

sim_picture_t *sim_picture_new(const sim_options_t *options)
{
    sim_picture_t *self = bb_alloc_zero(1, sizeof *self);
    self->options = *options;
    return self;
}

void sim_picture_destroy(sim_picture_t **self)
{
    if (*self) {
        free((*self)->things);
        free(*self);
        *self = NULL;
    }
}

static void s_add(sim_picture_t *self, s_thing_t thing, const char *text)
{
    if (self->count == self->capacity) {
        self->capacity = BB_MAX(2 * self->capacity, 1024u);
        self->things = bb_realloc(self->things, self->capacity * sizeof *self->things);
    }
    thing.order = self->count;
    snprintf(thing.text, sizeof thing.text, "%s", text);
    self->things[self->count++] = thing;
}

void sim_picture_message(sim_picture_t *self, int64_t now_ns, int64_t arrival_ns,
                         uint32_t from_line, uint32_t to_line, sim_message_fate_t fate,
                         const char *text)
{
    uint32_t message = self->message_count++;
    if (from_line < self->options.client_count) {
        self->is_used[from_line] = true;
    }
    s_thing_t send = {.time_ns = now_ns,
                      .kind = S_SEND,
                      .line = from_line,
                      .other_line = to_line,
                      .message = message,
                      .fate = fate};
    s_add(self, send, text);
    if (fate != SIM_MESSAGE_LOST) {
        s_thing_t arrive = {
            .time_ns = arrival_ns, .kind = S_ARRIVE, .line = to_line, .message = message};
        s_add(self, arrive, "");
    }
}

void sim_picture_note(sim_picture_t *self, int64_t now_ns, uint32_t line, bool is_fault,
                      const char *text)
{
    s_thing_t note = {.time_ns = now_ns, .kind = is_fault ? S_FAULT : S_NOTE, .line = line};
    s_add(self, note, text);
}

void sim_picture_up(sim_picture_t *self, int64_t now_ns, uint32_t line, bool is_up)
{
    s_thing_t thing = {.time_ns = now_ns, .kind = is_up ? S_UP : S_DOWN, .line = line};
    s_add(self, thing, "");
}

// ---- drawing ---------------------------------------------------------------------------------

static int s_compare(const void *a, const void *b)
{
    const s_thing_t *x = a, *y = b;
    if (x->time_ns != y->time_ns) {
        return x->time_ns < y->time_ns ? -1 : 1;
    }
    return (x->order > y->order) - (x->order < y->order);
}

// Where the lifeline is: clients that did nothing are left out.
static int s_x(const sim_picture_t *self, uint32_t line)
{
    uint32_t place = 0;
    for (uint32_t i = 0; i < line; i++) {
        place += i >= self->options.client_count || self->is_used[i];
    }
    return S_LEFT + (int)place * S_GAP;
}

static void s_text(FILE *out, int x, double y, const char *style, const char *text)
{
    fprintf(out, "<text x=\"%d\" y=\"%.1f\" %s>", x, y, style);
    for (const char *at = text; *at; at++) {
        switch (*at) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        default:
            fputc((unsigned char)*at < 32 ? ' ' : *at, out);
        }
    }
    fputs("</text>\n", out);
}

static void s_lifelines(const sim_picture_t *self, FILE *out, const s_thing_t *things,
                        uint32_t count, uint32_t first, int bottom)
{
    uint32_t line_count = self->options.client_count + self->options.node_count;
    for (uint32_t line = 0; line < line_count; line++) {
        bool is_client = line < self->options.client_count;
        if (is_client && !self->is_used[line]) {
            continue;
        }
        char name[32];
        snprintf(name, sizeof name, "%s %u", is_client ? "client" : "node",
                 is_client ? line : line - self->options.client_count);
        s_text(out, s_x(self, line), S_TOP - 18, "class=\"name\"", name);
        bool is_up = true;
        int from = S_TOP - 10;
        for (uint32_t i = 0; i <= count; i++) {
            bool is_change = i < count && things[i].line == line &&
                             (things[i].kind == S_UP || things[i].kind == S_DOWN);
            if (!is_change && i < count) {
                continue;
            }
            int to = i == count  ? bottom
                     : i < first ? S_TOP - 10
                                 : S_TOP + (int)(i - first) * S_ROW;
            if (to > from) {
                fprintf(out, "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" class=\"%s\"/>\n",
                        s_x(self, line), from, s_x(self, line), to, is_up ? "up" : "down");
            }
            from = to;
            is_up = i < count ? things[i].kind == S_UP : is_up;
        }
    }
}

static void s_message(const sim_picture_t *self, FILE *out, const s_thing_t *send, double y,
                      double arrive_y)
{
    bool is_lost = send->fate == SIM_MESSAGE_LOST;
    int from = s_x(self, send->line), to = s_x(self, send->other_line);
    double end_x = is_lost ? from + (to - from) * 0.45 : to + (to > from ? -3 : 3);
    double end_y = is_lost ? y + 8 : arrive_y;
    const char *class = is_lost ? "lost" : send->fate == SIM_MESSAGE_REPEATED ? "again" : "message";
    fprintf(out, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"%s/>\n", from, y,
            end_x, end_y, class, is_lost ? "" : " marker-end=\"url(#tip)\"");
    if (is_lost) {
        fprintf(out, "<path d=\"M %.1f %.1f l 8 8 m 0 -8 l -8 8\" class=\"cross\"/>\n", end_x - 4,
                end_y - 4);
    }
    char style[96];
    snprintf(style, sizeof style, "class=\"label\" text-anchor=\"%s\"",
             to > from ? "start" : "end");
    s_text(out, from + (to > from ? 8 : -8), y - 4, style, send->text);
}

static void s_row(const sim_picture_t *self, FILE *out, const s_thing_t *things, uint32_t i,
                  uint32_t first, uint32_t count, const uint32_t *arrival_of)
{
    const s_thing_t *thing = &things[i];
    double y = S_TOP + (double)(i - first) * S_ROW;
    uint32_t lines = self->options.client_count + self->options.node_count;
    char when[40];
    snprintf(when, sizeof when, "%.3f ms", (double)thing->time_ns / 1e6);
    if (thing->kind != S_ARRIVE) {
        s_text(out, 8, y + 4, "class=\"when\"", when);
    }
    switch (thing->kind) {
    case S_SEND: {
        uint32_t arrive = arrival_of[thing->message];
        double arrive_y = S_TOP + (double)(BB_MIN(arrive, count) - first) * S_ROW;
        s_message(self, out, thing, y, arrive_y);
        break;
    }
    case S_NOTE:
    case S_FAULT: {
        bool is_all = thing->line == SIM_LINE_ALL;
        int x = is_all ? S_LEFT - 20 : s_x(self, thing->line) - 6;
        int width = is_all ? s_x(self, lines - 1) - S_LEFT + 40
                           : BB_MIN((int)strlen(thing->text) * 7 + 14, S_GAP + 120);
        fprintf(out,
                "<rect x=\"%d\" y=\"%.1f\" width=\"%d\" height=\"18\" rx=\"4\" class=\"%s\"/>\n", x,
                y - 11, width, thing->kind == S_FAULT ? "fault" : "note");
        s_text(out, x + 7, y + 3, "class=\"inside\"", thing->text);
        break;
    }
    default:
        break;
    }
}

static const char s_head[] =
    "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" "
    "markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0 L8 4 L0 8 z\" "
    "fill=\"#345\"/></marker></defs>\n"
    "<style>text{font:12px monospace;fill:#223}.name{font-weight:bold;text-anchor:middle}"
    ".when{fill:#889;font-size:11px}.label{font-size:11px;fill:#345;paint-order:stroke;stroke:#fff;"
    "stroke-width:3px}.title{font-size:15px;"
    "font-weight:bold}.up{stroke:#567;stroke-width:3}.down{stroke:#bbc;stroke-width:1;"
    "stroke-dasharray:3 4}.message{stroke:#345;stroke-width:1.2}.again{stroke:#345;"
    "stroke-dasharray:2 3}.lost{stroke:#b55;stroke-dasharray:5 3}.cross{stroke:#b00;stroke-width:2;"
    "fill:none}.note{fill:#eef4ff;stroke:#9ab}.fault{fill:#fff0d8;stroke:#d93}.finding{fill:#"
    "fde3e3;"
    "stroke:#c33}.inside{font-size:11px}</style>\n<rect width=\"100%\" height=\"100%\" "
    "fill=\"#fff\"/>\n";

// The finding may be long: cut into lines of the picture's width.
static int s_finding(FILE *out, const char *finding, int y, int width)
{
    size_t columns = (size_t)BB_MAX((width - 60) / 7, 40), length = strlen(finding);
    size_t line_count = (length + columns - 1) / columns;
    fprintf(out,
            "<rect x=\"20\" y=\"%d\" width=\"%d\" height=\"%zu\" rx=\"4\" class=\"finding\"/>\n", y,
            width - 40, 14 + 16 * line_count);
    for (size_t i = 0; i < line_count; i++) {
        char line[512];
        snprintf(line, sizeof line, "%.*s", (int)BB_MIN(columns, sizeof line - 1),
                 finding + i * columns);
        s_text(out, 30, y + 18 + (int)i * 16, "class=\"inside\"", line);
    }
    return y + 20 + 16 * (int)line_count;
}

bool sim_picture_write(const sim_picture_t *self, const char *path, const char *title,
                       const char *finding, int64_t end_ns)
{
    FILE *out = fopen(path, "w");
    if (!out) {
        return false;
    }
    s_thing_t *things = bb_alloc(self->count * sizeof *things + 1);
    if (self->count > 0) {
        memcpy(things, self->things, self->count * sizeof *things);
    }
    qsort(things, self->count, sizeof *things, s_compare);
    uint32_t count = self->count;
    while (count > 0 && things[count - 1].time_ns > end_ns) {
        count--; // on its way when the run ended
    }
    uint32_t first = count > SIM_PICTURE_ROWS_MAX ? count - SIM_PICTURE_ROWS_MAX : 0;
    uint32_t *arrival_of = bb_alloc(self->message_count * sizeof *arrival_of + 1);
    memset(arrival_of, 0xff, self->message_count * sizeof *arrival_of);
    for (uint32_t i = 0; i < count; i++) {
        if (things[i].kind == S_ARRIVE) {
            arrival_of[things[i].message] = i;
        }
    }
    uint32_t lines = self->options.client_count + self->options.node_count;
    int width = s_x(self, lines - 1) + 330, bottom = S_TOP + (int)(count - first) * S_ROW;
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "font-family=\"monospace\">\n%s",
            width, bottom + 120, s_head);
    s_text(out, 20, 26, "class=\"title\"", title);
    s_lifelines(self, out, things, count, first, bottom);
    for (uint32_t i = first; i < count; i++) {
        s_row(self, out, things, i, first, count, arrival_of);
    }
    if (finding[0]) {
        s_finding(out, finding, bottom + 10, width);
    }
    fputs("</svg>\n", out);
    free(things);
    free(arrival_of);
    bool is_good = ferror(out) == 0;
    return fclose(out) == 0 && is_good;
}
