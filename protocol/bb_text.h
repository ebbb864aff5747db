// SPDX-License-Identifier: Apache-2.0
// bb_text - what names and texts may look like.
//
// Pure. Ids and names: UTF-8 without control characters (below 0x20, and 0x7f). State texts: UTF-8.
#ifndef BB_TEXT_H
#define BB_TEXT_H

#include "protocol/bb_error.h"

#ifdef __cplusplus
extern "C" {
#endif

// RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
bool bb_text_is_utf8(const char *text, size_t length);

// All bytes are printable ASCII: any piece of such a text is good. False says nothing.
bool bb_text_is_plain(bb_slice_t text);

BB_MUST_CHECK bb_error_t bb_battery_id_check(bb_slice_t id);    // BB_ERR_BATTERY_ID
BB_MUST_CHECK bb_error_t bb_metric_name_check(bb_slice_t name); // BB_ERR_METRIC_NAME
BB_MUST_CHECK bb_error_t bb_state_text_check(bb_slice_t text);  // BB_ERR_STATE_TEXT
// One attribute: key 1 to 64 bytes, value 1 to 256 bytes. BB_ERR_ATTRIBUTES
BB_MUST_CHECK bb_error_t bb_attribute_check(bb_slice_t key, bb_slice_t value);

#ifdef __cplusplus
}
#endif
#endif
