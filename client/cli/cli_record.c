// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cli_record.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

cli_line_t cli_bad(cli_error_t *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    return CLI_LINE_BAD;
}

bool cli_time_scale(int64_t count, cli_precision_t unit, int64_t *time_ns)
{
    return !__builtin_mul_overflow(count, (int64_t)unit, time_ns);
}

bool cli_name_split(bb_slice_t *name, uint32_t *type)
{
    static const struct {
        const char *suffix;
        busbar_type_t type;
    } types[] = {{":float", BUSBAR_FLOAT64},
                 {":int", BUSBAR_INT64},
                 {":bool", BUSBAR_BOOL},
                 {":state", BUSBAR_STATE}};
    *type = 0;
    const char *colon = memrchr(name->data, ':', name->length);
    if (!colon) {
        return true;
    }
    size_t kept = (size_t)(colon - (const char *)name->data);
    size_t suffix_length = name->length - kept;
    for (size_t i = 0; i < BB_COUNT_OF(types); i++) {
        if (suffix_length == strlen(types[i].suffix) &&
            memcmp(colon, types[i].suffix, suffix_length) == 0) {
            name->length = kept;
            *type = types[i].type;
            return true;
        }
    }
    return false;
}
