// SPDX-License-Identifier: Apache-2.0
// fuzz_map - any bytes as a map file, then two rows under a fixed header through it.
#include "tests/fuzz/fuzz_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char rows[] = "time,id,a,b\n"
                               "2026-01-01T00:00:00Z,b1,1.5,Idle\n"
                               ",b2,-7,\n"
                               "1767225600,b2,,on\n"
                               "01.01.2026 12:30:00,,nan,99999999999999999999\n";
    cli_error_t error = {""};
    map_file_t *map = fuzz_map_load(data, size, &error);
    if (!map) {
        BB_ASSERT(error.text[0] != '\0'); // a refusal says why
        return 0;
    }
    BB_ASSERT(map_file_battery_count(map) >= 1);
    BB_ASSERT(map_file_battery_count(map) <= MAP_BATTERIES_MAX);
    fuzz_map_rows(map, rows, sizeof rows - 1);
    map_file_destroy(&map);
    return 0;
}
