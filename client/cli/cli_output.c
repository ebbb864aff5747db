// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cli_output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client/cli/cli_context.h"
#include "client/cli/cli_number.h"
#include "protocol/bb_time.h"

#define S_COLUMNS_MAX 16
#define S_TABLE_ROWS  200 // rows whose widths decide the layout of a table

typedef struct {
    cli_cell_kind_t kind;
    char *text;
} s_cell_t;

struct cli_output {
    cli_form_t form;
    const char *columns[S_COLUMNS_MAX];
    uint32_t column_count, column;
    uint64_t row_count;
    bool is_color;
    uint32_t terminal_width; // 0: not a terminal
    uint32_t widths[S_COLUMNS_MAX];
    bool is_number[S_COLUMNS_MAX];
    s_cell_t *held; // table rows before the layout is known
    uint32_t held_rows;
    bool is_laid_out;
};

bool cli_form(const char *name, cli_form_t *form)
{
    static const char *const names[] = {"table", "csv", "json"};
    *form = CLI_TABLE;
    for (size_t i = 0; name && i < BB_COUNT_OF(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *form = (cli_form_t)i;
            return true;
        }
    }
    if (name) {
        cli_complain("-o: '%s' is none of table, csv, json", name);
    }
    return name == NULL;
}

cli_output_t *cli_output_open(cli_form_t form, const char *const *columns, uint32_t column_count)
{
    BB_ASSERT(column_count > 0 && column_count <= S_COLUMNS_MAX);
    cli_output_t *self = bb_alloc_zero(1, sizeof *self);
    self->form = form;
    self->column_count = column_count;
    for (uint32_t i = 0; i < column_count; i++) {
        self->columns[i] = columns[i];
        self->widths[i] = (uint32_t)strlen(columns[i]);
    }
    struct winsize window = {0};
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0) {
        self->terminal_width = window.ws_col ? window.ws_col : 80;
        self->is_color = getenv("NO_COLOR") == NULL;
    }
    if (form == CLI_JSON) {
        printf("{\"columns\":[");
        for (uint32_t i = 0; i < column_count; i++) {
            printf("%s\"%s\"", i ? "," : "", columns[i]);
        }
        printf("],\"rows\":[");
    } else if (form == CLI_CSV) {
        for (uint32_t i = 0; i < column_count; i++) {
            printf("%s%s", i ? "," : "", columns[i]);
        }
        putchar('\n');
    } else {
        self->held = bb_alloc_zero((size_t)S_TABLE_ROWS * column_count, sizeof *self->held);
    }
    return self;
}

void cli_json_string(const char *text)
{
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        switch (*c) {
        case '"':
            fputs("\\\"", stdout);
            break;
        case '\\':
            fputs("\\\\", stdout);
            break;
        case '\n':
            fputs("\\n", stdout);
            break;
        case '\t':
            fputs("\\t", stdout);
            break;
        case '\r':
            fputs("\\r", stdout);
            break;
        default:
            if (*c < 0x20) {
                printf("\\u%04x", *c);
            } else {
                putchar(*c);
            }
        }
    }
    putchar('"');
}

static void s_csv_text(const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, stdout);
        return;
    }
    putchar('"');
    for (const char *c = text; *c; c++) {
        if (*c == '"') {
            putchar('"');
        }
        putchar(*c);
    }
    putchar('"');
}

// Characters on the screen: UTF-8 continuation bytes take none.
static uint32_t s_shown_width(const char *text)
{
    uint32_t width = 0;
    for (const char *c = text; *c; c++) {
        width += ((unsigned char)*c & 0xc0) != 0x80;
    }
    return width;
}

// Shrinks the widest text columns until the row fits the terminal.
static void s_fit(cli_output_t *self)
{
    for (;;) {
        uint32_t total = 2 * (self->column_count - 1), widest = UINT32_MAX;
        for (uint32_t i = 0; i < self->column_count; i++) {
            total += self->widths[i];
            if (!self->is_number[i] && self->widths[i] > 12 &&
                (widest == UINT32_MAX || self->widths[i] > self->widths[widest])) {
                widest = i;
            }
        }
        if (self->terminal_width == 0 || total <= self->terminal_width || widest == UINT32_MAX) {
            return;
        }
        self->widths[widest]--;
    }
}

static void s_table_cell(const cli_output_t *self, uint32_t column, const char *text)
{
    uint32_t width = self->widths[column], shown = s_shown_width(text);
    bool is_last = column + 1 == self->column_count;
    uint32_t pad = width > shown ? width - shown : 0;
    if (column > 0) {
        fputs("  ", stdout);
    }
    if (self->is_number[column]) {
        printf("%*s%s", (int)pad, "", text);
    } else if (self->terminal_width > 0 && shown > width) {
        uint32_t kept = 0;
        const char *end = text;
        for (; *end && (kept < width - 1 || ((unsigned char)*end & 0xc0) == 0x80); end++) {
            kept += ((unsigned char)*end & 0xc0) != 0x80;
        }
        printf("%.*s~", (int)(end - text), text);
    } else {
        printf("%s%*s", text, is_last ? 0 : (int)pad, "");
    }
}

static void s_table_row(const cli_output_t *self, const s_cell_t *cells)
{
    for (uint32_t i = 0; i < self->column_count; i++) {
        s_table_cell(self, i, cells[i].text ? cells[i].text : "-");
    }
    putchar('\n');
}

static void s_table_layout(cli_output_t *self)
{
    for (uint32_t i = 0; i < self->column_count; i++) {
        self->is_number[i] = self->held_rows > 0;
        for (uint32_t r = 0; r < self->held_rows; r++) {
            const s_cell_t *cell = &self->held[r * self->column_count + i];
            self->is_number[i] &= cell->kind == CLI_CELL_NUMBER || cell->kind == CLI_CELL_EMPTY;
            self->widths[i] = BB_MAX(self->widths[i], cell->text ? s_shown_width(cell->text) : 1);
        }
    }
    s_fit(self);
    if (self->is_color) {
        fputs("\033[1m", stdout);
    }
    for (uint32_t i = 0; i < self->column_count; i++) {
        s_table_cell(self, i, self->columns[i]);
    }
    puts(self->is_color ? "\033[0m" : "");
    for (uint32_t r = 0; r < self->held_rows; r++) {
        s_table_row(self, &self->held[r * self->column_count]);
    }
    self->is_laid_out = true;
}

static void s_held_clear(cli_output_t *self)
{
    for (uint32_t i = 0; i < self->held_rows * self->column_count; i++) {
        free(self->held[i].text);
        self->held[i] = (s_cell_t){0};
    }
    self->held_rows = 0;
}

static void s_cell(cli_output_t *self, cli_cell_kind_t kind, const char *text)
{
    BB_ASSERT(self->column < self->column_count);
    switch (self->form) {
    case CLI_JSON:
        printf("%s", self->column > 0 ? "," : self->row_count > 0 ? ",\n[" : "\n[");
        if (kind == CLI_CELL_TEXT) {
            cli_json_string(text);
        } else {
            fputs(kind == CLI_CELL_EMPTY ? "null" : text, stdout);
        }
        break;
    case CLI_CSV:
        if (self->column > 0) {
            putchar(',');
        }
        if (kind != CLI_CELL_EMPTY) {
            s_csv_text(text);
        }
        break;
    case CLI_TABLE:
        self->held[self->held_rows * self->column_count + self->column] =
            (s_cell_t){kind, kind == CLI_CELL_EMPTY ? NULL : bb_strdup(text)};
        break;
    }
    self->column++;
}

void cli_output_text(cli_output_t *self, const char *text)
{
    s_cell(self, CLI_CELL_TEXT, text);
}

void cli_output_double(cli_output_t *self, double number)
{
    char text[CLI_DOUBLE_BYTES_MAX + 1];
    text[cli_double_print(number, text)] = '\0';
    s_cell(self, self->form == CLI_JSON && !isfinite(number) ? CLI_CELL_EMPTY : CLI_CELL_NUMBER,
           text);
}

void cli_output_int64(cli_output_t *self, int64_t number)
{
    char text[CLI_INTEGER_BYTES_MAX + 1];
    text[cli_int64_print(number, text)] = '\0';
    s_cell(self, CLI_CELL_NUMBER, text);
}

void cli_output_uint64(cli_output_t *self, uint64_t number)
{
    char text[CLI_INTEGER_BYTES_MAX + 1];
    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    s_cell(self, CLI_CELL_NUMBER, text);
}

void cli_output_bool(cli_output_t *self, bool value)
{
    s_cell(self, CLI_CELL_BOOL, value ? "true" : "false");
}

void cli_output_time(cli_output_t *self, int64_t time_ns)
{
    char text[BB_TIME_TEXT_BYTES];
    bb_time_format(time_ns, text);
    s_cell(self, CLI_CELL_TEXT, text);
}

void cli_output_empty(cli_output_t *self)
{
    s_cell(self, CLI_CELL_EMPTY, "");
}

void cli_output_value(cli_output_t *self, busbar_type_t type, busbar_value_t value)
{
    switch (type) {
    case BUSBAR_FLOAT64:
        cli_output_double(self, value.number);
        break;
    case BUSBAR_INT64:
        cli_output_int64(self, value.integer);
        break;
    case BUSBAR_BOOL:
        cli_output_bool(self, value.boolean != 0);
        break;
    case BUSBAR_STATE:
        cli_output_text(self, value.text);
        break;
    }
}

void cli_output_row_end(cli_output_t *self)
{
    BB_ASSERT(self->column == self->column_count);
    self->column = 0;
    self->row_count++;
    if (self->form == CLI_JSON) {
        putchar(']');
    } else if (self->form == CLI_CSV) {
        putchar('\n');
    } else {
        self->held_rows++;
        if (self->is_laid_out) {
            s_table_row(self, self->held);
            s_held_clear(self);
        } else if (self->held_rows == S_TABLE_ROWS) {
            s_table_layout(self);
            s_held_clear(self);
        }
    }
}

bool cli_output_finish(cli_output_t **output, bool complete, const uint32_t *missing_partitions,
                       size_t missing_count)
{
    cli_output_t *self = *output;
    if (self->form == CLI_JSON) {
        printf("%s],\"complete\":%s,\"missing_partitions\":[", self->row_count ? "\n" : "",
               complete ? "true" : "false");
        for (size_t i = 0; i < missing_count; i++) {
            printf("%s%u", i ? "," : "", missing_partitions[i]);
        }
        printf("]}\n");
    } else if (self->form == CLI_TABLE) {
        if (!self->is_laid_out) {
            s_table_layout(self);
        }
        s_held_clear(self);
        free(self->held);
    }
    if (!complete) {
        cli_complain("partial answer: %zu partitions are missing", missing_count);
    }
    free(self);
    *output = NULL;
    return fflush(stdout) == 0 && !ferror(stdout);
}
