// SPDX-License-Identifier: Apache-2.0
// fuzz_line - what the targets of the command line's parsers share: lines as cli_lines gives them,
// and what must hold for every record that a parser accepts.
#ifndef FUZZ_LINE_H
#define FUZZ_LINE_H

#include <stdlib.h>
#include <string.h>

#include "client/cli/cli_record.h"

// A writable copy of exactly `length` bytes and a NUL, so that an overrun is seen.
static inline char *fuzz_line_copy(const void *data, size_t length)
{
    char *line = bb_alloc(length + 1);
    if (length > 0) {
        memcpy(line, data, length);
    }
    line[length] = '\0';
    return line;
}

// Reads every byte, so that a slice that points astray is found by the sanitizer.
static inline void fuzz_slice_check(bb_slice_t slice, size_t length_max)
{
    uint8_t sum = 0;
    BB_ASSERT(slice.length <= length_max);
    for (size_t i = 0; i < slice.length; i++) {
        sum ^= ((const uint8_t *)slice.data)[i];
    }
    __asm__ volatile("" : : "r"(sum));
}

static inline void fuzz_record_check(const cli_record_t *record, size_t line_length)
{
    BB_ASSERT(record->field_count >= 1);
    BB_ASSERT(record->field_count <= BB_FRAME_METRICS_MAX);
    BB_ASSERT(record->tag_count <= BB_ATTRIBUTES_MAX);
    fuzz_slice_check(record->battery, line_length);
    for (uint32_t i = 0; i < record->field_count; i++) {
        const cli_field_t *field = &record->fields[i];
        BB_ASSERT(field->type >= BUSBAR_FLOAT64 && field->type <= BUSBAR_STATE);
        fuzz_slice_check(field->name, line_length);
        if (field->type == BUSBAR_STATE) {
            fuzz_slice_check(field->text, line_length);
        } else if (field->type == BUSBAR_BOOL) {
            BB_ASSERT(*(const uint8_t *)&field->boolean <= 1);
        }
    }
    for (uint32_t i = 0; i < record->tag_count; i++) {
        fuzz_slice_check(record->tags[i].key, line_length);
        fuzz_slice_check(record->tags[i].value, line_length);
    }
}

// A refusal says why.
static inline void fuzz_outcome_check(cli_line_t outcome, const cli_record_t *record,
                                      const cli_error_t *error, size_t line_length)
{
    if (outcome == CLI_LINE_RECORD) {
        fuzz_record_check(record, line_length);
    } else if (outcome == CLI_LINE_BAD) {
        BB_ASSERT(error->text[0] != '\0');
        BB_ASSERT(strnlen(error->text, sizeof error->text) < sizeof error->text);
    }
}

#endif
