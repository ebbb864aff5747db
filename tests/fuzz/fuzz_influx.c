// SPDX-License-Identifier: Apache-2.0
// fuzz_influx - any bytes as one line of line protocol. The first byte chooses the precision and
// whether the battery's tag has a name of its own.
#include "client/cli/parse_influx.h"
#include "tests/fuzz/fuzz_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const cli_precision_t precisions[] = {CLI_NS, CLI_US, CLI_MS, CLI_S};
    static cli_record_t record; // 10 kB; written by each call before it is read
    if (size == 0) {
        return 0;
    }
    const parse_influx_options_t options = {data[0] & 4 ? "host" : NULL, precisions[data[0] & 3]};
    const size_t length = size - 1;
    char *line = fuzz_line_copy(data + 1, length);
    cli_error_t error = {""};
    fuzz_outcome_check(parse_influx(&options, line, length, &record, &error), &record, &error,
                       length);
    free(line);
    return 0;
}
