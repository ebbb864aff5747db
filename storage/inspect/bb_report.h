// SPDX-License-Identifier: Apache-2.0
// bb_report - what an inspection found, written as text for people or as one JSON value.
//
// One thread. The same calls give both forms:
//
//   bb_report_begin(report, "file");            file                     {"file":{
//   bb_report_text(report, "path", "a");          path     a              "path":"a",
//   bb_report_list(report, "records");            records                 "records":[
//   bb_report_row(report);                                                {
//   bb_report_u64(report, "seq", 1);              - seq=1 bytes=64        "seq":1,"bytes":64
//   bb_report_u64(report, "bytes", 64);
//   bb_report_end(report);  (row)                                         }
//   bb_report_end(report);  (list)                                        ]
//   bb_report_end(report);  (object)                                      }}
//
// Nothing is buffered; write errors show in ferror(out).
#ifndef BB_REPORT_H
#define BB_REPORT_H

#include <stdio.h>

#include "protocol/bb_value.h"

#define BB_REPORT_DEPTH_MAX 8u

typedef enum { BB_REPORT_PLAIN, BB_REPORT_JSON } bb_report_form_t;

typedef struct {
    FILE *out; // borrowed
    bb_report_form_t form;
    uint32_t depth;
    char kinds[BB_REPORT_DEPTH_MAX + 1];           // 'o' object, 'l' list, 'r' row
    uint32_t item_counts[BB_REPORT_DEPTH_MAX + 1]; // written so far at each depth
} bb_report_t;

void bb_report_open(bb_report_t *self, FILE *out, bb_report_form_t form);
void bb_report_close(bb_report_t *self); // everything that was begun has ended

void bb_report_begin(bb_report_t *self, const char *name); // an object
void bb_report_list(bb_report_t *self, const char *name);  // of rows
void bb_report_row(bb_report_t *self);                     // directly inside a list
void bb_report_end(bb_report_t *self);

void bb_report_text(bb_report_t *self, const char *name, const char *text);
void bb_report_slice(bb_report_t *self, const char *name, bb_slice_t text); // any bytes
void bb_report_u64(bb_report_t *self, const char *name, uint64_t number);
void bb_report_i64(bb_report_t *self, const char *name, int64_t number);
void bb_report_bool(bb_report_t *self, const char *name, bool is_true);
// JSON has no NaN and no infinity: those are null there.
void bb_report_double(bb_report_t *self, const char *name, double number);
void bb_report_time(bb_report_t *self, const char *name, int64_t wall_ns); // RFC 3339
void bb_report_hex(bb_report_t *self, const char *name, const uint8_t *bytes, size_t length);
// A value of that type, from its bits; STATE: `bits` is the address of a bb_text_t.
void bb_report_value(bb_report_t *self, const char *name, bb_type_t type, uint64_t bits);

#endif
