// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    int32_t number;
    bb_retry_t retry;
    const char *name;
    const char *message;
} s_entry_t;

#define S_ENTRY(name, number, retry, message) {number, BB_RETRY_##retry, #name, message},
static const s_entry_t s_entries[] = {BB_ERROR_LIST(S_ENTRY)};
#undef S_ENTRY

static const s_entry_t *s_find(int32_t number)
{
    for (size_t i = 0; i < BB_COUNT_OF(s_entries); i++) {
        if (s_entries[i].number == number) {
            return &s_entries[i];
        }
    }
    return NULL;
}

const char *bb_error_name(bb_error_t error)
{
    const s_entry_t *entry = s_find((int32_t)error);
    return entry ? entry->name : "UNKNOWN";
}

const char *bb_error_message(bb_error_t error)
{
    const s_entry_t *entry = s_find((int32_t)error);
    return entry ? entry->message : "unknown error number";
}

bb_retry_t bb_error_retry(bb_error_t error)
{
    const s_entry_t *entry = s_find((int32_t)error);
    return entry ? entry->retry : BB_RETRY_NEVER;
}

bool bb_error_is_known(int32_t number)
{
    return s_find(number) != NULL;
}

bb_error_t bb_fault_set(bb_fault_t *fault, bb_error_t error, const char *format, ...)
{
    if (fault) {
        fault->error = error;
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf(fault->text, sizeof fault->text, format, arguments);
        va_end(arguments);
        if (length >= (int)sizeof fault->text) {
            memcpy(fault->text + sizeof fault->text - 4, "...", 4);
        }
    }
    return error;
}
