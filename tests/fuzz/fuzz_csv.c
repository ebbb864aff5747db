// SPDX-License-Identifier: Apache-2.0
// fuzz_csv - any bytes as a CSV file: the plain form (header, rows), or rows read through a map.
//
// The first byte chooses: bit 0 the map, bits 1 and 2 the precision of the plain form. The map and
// the header for it are fixed, so that rows are reached; they use every way to read a cell.
#include "client/cli/parse_csv.h"
#include "tests/fuzz/fuzz_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define S_NOW_NS INT64_C(1767225600000000000) // 2026-01-01T00:00:00Z

static const char s_map[] =
    "time:\n"
    "  column: time\n"
    "  format: rfc3339\n"
    "  zone: \"+01:00\"\n"
    "  carry: true\n"
    "  offsets:\n"
    "    - {column: offset, unit: s}\n"
    "batteries:\n"
    "  - column: id\n"
    "    prefix: site-\n"
    "    carry: true\n"
    "    metrics:\n"
    "      - {column: soc, metric: state_of_charge_pct, type: float, scale: 0.1, offset: 2}\n"
    "      - {column: cycles, type: int}\n"
    "      - {column: on, metric: is_on, type: bool}\n"
    "      - {column: mode, metric: state, type: state, carry: true}\n"
    "      - {column: any}\n"
    "    tags:\n"
    "      - {column: maker}\n"
    "  - id: fixed\n"
    "    metrics:\n"
    "      - {column: any, metric: other}\n";
static const char s_header[] = "time,offset,id,soc,cycles,on,mode,any,maker\n";

static void s_mapped(const uint8_t *data, size_t size)
{
    const size_t header_length = sizeof s_header - 1;
    cli_error_t error = {""};
    map_file_t *map = fuzz_map_load(s_map, sizeof s_map - 1, &error);
    BB_ASSERT(map);
    char *text = bb_alloc(header_length + size);
    memcpy(text, s_header, header_length);
    if (size > 0) {
        memcpy(text + header_length, data, size);
    }
    fuzz_map_rows(map, text, header_length + size);
    free(text);
    map_file_destroy(&map);
}

static void s_plain(const uint8_t *data, size_t size, cli_precision_t precision)
{
    static cli_record_t record; // large; each call fills it before it is read
    fuzz_text_t text = {(const char *)data, (const char *)data + size};
    cli_error_t error = {""};
    size_t length;
    char *line = fuzz_text_next(&text, &length);
    if (!line) {
        return;
    }
    parse_csv_t *csv = parse_csv_new(line, length, precision, S_NOW_NS, &error);
    free(line);
    if (!csv) {
        BB_ASSERT(error.text[0] != '\0');
        return;
    }
    while ((line = fuzz_text_next(&text, &length))) {
        error.text[0] = '\0';
        fuzz_outcome_check(parse_csv_row(csv, line, length, &record, &error), &record, &error,
                           size);
        free(line);
    }
    parse_csv_destroy(&csv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const cli_precision_t precisions[] = {CLI_NS, CLI_US, CLI_MS, CLI_S};
    if (size == 0) {
        return 0;
    }
    if (data[0] & 1) {
        s_mapped(data + 1, size - 1);
    } else {
        s_plain(data + 1, size - 1, precisions[data[0] >> 1 & 3]);
    }
    return 0;
}
