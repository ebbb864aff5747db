// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_text.h"

#include <string.h>

#include "protocol/bb_limits.h"

// Length of the UTF-8 sequence at text, or 0.
static size_t s_sequence(const unsigned char *text, size_t length)
{
    unsigned char first = text[0];
    if (first < 0x80) {
        return 1;
    }
    size_t count = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || length < count) {
        return 0;
    }
    for (size_t i = 1; i < count; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    unsigned char second = text[1];
    bool is_bad = (first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
                  (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f);
    return is_bad ? 0 : count;
}

bool bb_text_is_utf8(const char *text, size_t length)
{
    const unsigned char *at = (const unsigned char *)text;
    while (length > 0) {
        uint64_t eight; // mostly ASCII
        while (length >= sizeof eight) {
            memcpy(&eight, at, sizeof eight);
            if (eight & UINT64_C(0x8080808080808080)) {
                break;
            }
            at += sizeof eight;
            length -= sizeof eight;
        }
        if (length == 0) {
            break;
        }
        size_t used = s_sequence(at, length);
        if (used == 0) {
            return false;
        }
        at += used;
        length -= used;
    }
    return true;
}

BB_VECTOR static bool s_is_plain(const uint8_t *bytes, size_t length)
{
    uint8_t bad = 0;
    for (size_t i = 0; i < length; i++) {
        bad |= (uint8_t)(bytes[i] - 0x20) > 0x5e;
    }
    return !bad;
}

bool bb_text_is_plain(bb_slice_t text)
{
    return s_is_plain(text.data, text.length);
}

static bool s_is_name(bb_slice_t name, size_t length_max)
{
    const unsigned char *bytes = name.data;
    if (name.length == 0 || name.length > length_max) {
        return false;
    }
    for (size_t i = 0; i < name.length; i++) {
        if (bytes[i] < 0x20 || bytes[i] == 0x7f) {
            return false;
        }
    }
    return bb_text_is_utf8(name.data, name.length);
}

bb_error_t bb_battery_id_check(bb_slice_t id)
{
    return s_is_name(id, BB_BATTERY_ID_BYTES_MAX) ? BB_OK : BB_ERR_BATTERY_ID;
}

bb_error_t bb_metric_name_check(bb_slice_t name)
{
    return s_is_name(name, BB_METRIC_NAME_BYTES_MAX) ? BB_OK : BB_ERR_METRIC_NAME;
}

bb_error_t bb_state_text_check(bb_slice_t text)
{
    bool is_good = text.length <= BB_STATE_BYTES_MAX && bb_text_is_utf8(text.data, text.length);
    return is_good ? BB_OK : BB_ERR_STATE_TEXT;
}

bb_error_t bb_attribute_check(bb_slice_t key, bb_slice_t value)
{
    bool is_good = s_is_name(key, BB_ATTRIBUTE_KEY_BYTES_MAX) &&
                   s_is_name(value, BB_ATTRIBUTE_VALUE_BYTES_MAX);
    return is_good ? BB_OK : BB_ERR_ATTRIBUTES;
}
