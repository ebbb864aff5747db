// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_trace.h"

#include <inttypes.h>
#include <stdarg.h>

void sim_trace_fold(sim_trace_t *self, uint64_t number)
{
    uint64_t z = self->hash ^ (number + UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    self->hash = z ^ (z >> 31);
}

BB_PRINTF(2, 0) static void s_print(const sim_trace_t *self, const char *format, va_list arguments)
{
    fprintf(self->lines, "%" PRId64 ".%06" PRId64 " ", self->now_ns / BB_NS_PER_S,
            self->now_ns % BB_NS_PER_S / BB_NS_PER_US);
    vfprintf(self->lines, format, arguments);
    fputc('\n', self->lines);
}

void sim_trace_line(sim_trace_t *self, const char *format, ...)
{
    if (self->lines) {
        va_list arguments;
        va_start(arguments, format);
        s_print(self, format, arguments);
        va_end(arguments);
    }
}

BB_PRINTF(4, 0)
static void s_note(sim_trace_t *self, uint32_t line, bool is_fault, const char *format,
                   va_list arguments)
{
    if (self->picture) {
        char text[256];
        vsnprintf(text, sizeof text, format, arguments);
        sim_picture_note(self->picture, self->now_ns, line, is_fault, text);
    }
}

void sim_trace_note(sim_trace_t *self, uint32_t line, const char *format, ...)
{
    va_list arguments;
    if (self->lines) {
        va_start(arguments, format);
        s_print(self, format, arguments);
        va_end(arguments);
    }
    va_start(arguments, format);
    s_note(self, line, false, format, arguments);
    va_end(arguments);
}

void sim_trace_fault(sim_trace_t *self, uint32_t line, const char *format, ...)
{
    va_list arguments;
    if (self->lines) {
        va_start(arguments, format);
        fputs("fault: ", self->lines);
        s_print(self, format, arguments);
        va_end(arguments);
    }
    va_start(arguments, format);
    s_note(self, line, true, format, arguments);
    va_end(arguments);
}

void sim_trace_fail(sim_trace_t *self, const char *format, ...)
{
    va_list arguments;
    if (self->lines) {
        va_start(arguments, format);
        fputs("FINDING ", self->lines);
        s_print(self, format, arguments);
        va_end(arguments);
    }
    if (self->finding[0] == 0) {
        va_start(arguments, format);
        vsnprintf(self->finding, sizeof self->finding, format, arguments);
        va_end(arguments);
    }
}
