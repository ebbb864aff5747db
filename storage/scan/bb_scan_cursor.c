// SPDX-License-Identifier: Apache-2.0
#include "storage/scan/bb_scan_cursor.h"

#include <string.h>

#define S_VERSION     1u
#define S_FIXED_BYTES 24u
static_assert(S_FIXED_BYTES + BB_BATTERY_ID_BYTES_MAX + BB_METRIC_NAME_BYTES_MAX <=
                  BB_CURSOR_BYTES_MAX,
              "every cursor fits into a message");

bb_error_t bb_scan_cursor_decode(bb_slice_t encoded, bb_scan_cursor_t *cursor, bb_fault_t *fault)
{
    *cursor = (bb_scan_cursor_t){0};
    if (encoded.length == 0) {
        return BB_OK;
    }
    const uint8_t *bytes = encoded.data;
    if (encoded.length < S_FIXED_BYTES || bytes[0] != S_VERSION ||
        bytes[1] > BB_BATTERY_ID_BYTES_MAX || bytes[2] > BB_METRIC_NAME_BYTES_MAX ||
        encoded.length != S_FIXED_BYTES + (size_t)bytes[1] + bytes[2]) {
        return bb_fault_set(fault, BB_ERR_QUERY, "cursor: %zu bytes of an unknown form",
                            encoded.length);
    }
    bool has_metric = bytes[2] > 0;
    bb_scan_cursor_t found = {
        .is_set = true,
        .battery = bb_slice(bytes + S_FIXED_BYTES, bytes[1]),
        .metric = bb_slice(bytes + S_FIXED_BYTES + bytes[1], bytes[2]),
        .type = bytes[3],
    };
    memcpy(&found.partition, bytes + 4, 4);
    memcpy(&found.time_wall_ns, bytes + 8, 8);
    memcpy(&found.rows, bytes + 16, 8);
    if (has_metric != (found.type != 0) || (found.type != 0 && !bb_type_is_valid(found.type)) ||
        found.partition >= BB_PARTITIONS_MAX || found.time_wall_ns < 0 ||
        (!has_metric && found.time_wall_ns != 0)) {
        return bb_fault_set(fault, BB_ERR_QUERY, "cursor: its fields are out of range");
    }
    *cursor = found;
    return BB_OK;
}

void bb_scan_cursor_encode(const bb_scan_cursor_t *cursor, uint8_t **out, size_t *out_length)
{
    BB_ASSERT(cursor->battery.length <= BB_BATTERY_ID_BYTES_MAX);
    BB_ASSERT(cursor->metric.length <= BB_METRIC_NAME_BYTES_MAX);
    *out_length = S_FIXED_BYTES + cursor->battery.length + cursor->metric.length;
    uint8_t *bytes = bb_alloc(*out_length);
    bytes[0] = S_VERSION;
    bytes[1] = (uint8_t)cursor->battery.length;
    bytes[2] = (uint8_t)cursor->metric.length;
    bytes[3] = (uint8_t)cursor->type;
    memcpy(bytes + 4, &cursor->partition, 4);
    memcpy(bytes + 8, &cursor->time_wall_ns, 8);
    memcpy(bytes + 16, &cursor->rows, 8);
    if (cursor->battery.length > 0) {
        memcpy(bytes + S_FIXED_BYTES, cursor->battery.data, cursor->battery.length);
    }
    if (cursor->metric.length > 0) {
        memcpy(bytes + S_FIXED_BYTES + cursor->battery.length, cursor->metric.data,
               cursor->metric.length);
    }
    *out = bytes;
}
