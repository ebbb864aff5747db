// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_selector.h"

#include <string.h>

// Greedy with one point to return to: a later star makes the earlier ones irrelevant.
bool bb_pattern_matches(bb_slice_t pattern, bb_slice_t text)
{
    const char *p = pattern.data;
    const char *t = text.data;
    size_t at = 0;
    size_t in = 0;
    size_t star = SIZE_MAX; // place of the last star
    size_t star_in = 0;     // how far the text was when it was met
    while (in < text.length) {
        if (at < pattern.length && p[at] == '*') {
            star = at++;
            star_in = in;
        } else if (at < pattern.length && (p[at] == '?' || p[at] == t[in])) {
            at++;
            in++;
        } else if (star != SIZE_MAX) {
            at = star + 1;
            in = ++star_in;
        } else {
            return false;
        }
    }
    while (at < pattern.length && p[at] == '*') {
        at++;
    }
    return at == pattern.length;
}

static bool s_has(const bb_attribute_t *attributes, uint32_t count, const char *key,
                  const char *value)
{
    size_t key_length = strlen(key);
    size_t value_length = strlen(value);
    for (uint32_t i = 0; i < count; i++) {
        if (attributes[i].key.length == key_length &&
            memcmp(attributes[i].key.data, key, key_length) == 0) {
            return attributes[i].value.length == value_length &&
                   memcmp(attributes[i].value.data, value, value_length) == 0;
        }
    }
    return false;
}

bool bb_selector_takes_battery(const bb_selector_t *self, const bb_attribute_t *attributes,
                               uint32_t attribute_count)
{
    BB_ASSERT(self);
    return (!self->site[0] || s_has(attributes, attribute_count, "site", self->site)) &&
           (!self->tag_key[0] ||
            s_has(attributes, attribute_count, self->tag_key, self->tag_value));
}

bool bb_selector_takes_metric(const bb_selector_t *self, bb_slice_t metric)
{
    BB_ASSERT(self);
    return !self->metric[0] ||
           bb_pattern_matches(bb_slice(self->metric, strlen(self->metric)), metric);
}

bool bb_selector_names_batteries(const bb_selector_t *self)
{
    return self->site[0] || self->tag_key[0];
}

bb_error_t bb_selector_parse_tag(bb_selector_t *self, const char *text, bb_fault_t *fault)
{
    BB_ASSERT(self);
    const char *equals = strchr(text, '=');
    size_t key = equals ? (size_t)(equals - text) : 0;
    size_t value = equals ? strlen(equals + 1) : 0;
    if (key == 0 || value == 0) {
        return bb_fault_set(fault, BB_ERR_SYNTAX, "'%.64s' is not of the form key=value", text);
    }
    if (key > BB_ATTRIBUTE_KEY_BYTES_MAX || value > BB_ATTRIBUTE_VALUE_BYTES_MAX) {
        return bb_fault_set(fault, BB_ERR_SYNTAX,
                            "'%.64s': a key has at most %d bytes, a value at most %d", text,
                            BB_ATTRIBUTE_KEY_BYTES_MAX, BB_ATTRIBUTE_VALUE_BYTES_MAX);
    }
    memcpy(self->tag_key, text, key);
    self->tag_key[key] = '\0';
    memcpy(self->tag_value, equals + 1, value + 1);
    return BB_OK;
}
