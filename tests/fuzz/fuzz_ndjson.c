// SPDX-License-Identifier: Apache-2.0
// fuzz_ndjson - any bytes as one JSON object. The first byte chooses the precision.
#include "client/cli/parse_ndjson.h"
#include "tests/fuzz/fuzz_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const cli_precision_t precisions[] = {CLI_NS, CLI_US, CLI_MS, CLI_S};
    static cli_record_t record; // 10 kB; written by each call before it is read
    if (size == 0) {
        return 0;
    }
    const size_t length = size - 1;
    char *line = fuzz_line_copy(data + 1, length);
    cli_error_t error = {""};
    cli_line_t outcome = parse_ndjson(precisions[data[0] & 3], INT64_C(1767225600000000000), line,
                                      length, &record, &error);
    fuzz_outcome_check(outcome, &record, &error, length);
    free(line);
    return 0;
}
