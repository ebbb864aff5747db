// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_keep.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define S_NUMBERS_MAX 100000u

bool sim_keep_has(const sim_keep_t *self, uint64_t number)
{
    if (!self->is_limited) {
        return true;
    }
    uint32_t first = 0, limit = self->count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (self->numbers[middle] == number) {
            return true;
        }
        if (self->numbers[middle] < number) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    return false;
}

void sim_keep_clear(sim_keep_t *self)
{
    free(self->numbers);
    *self = (sim_keep_t){0};
}

void sim_keep_copy(sim_keep_t *self, const sim_keep_t *other)
{
    sim_keep_clear(self);
    *self = *other;
    self->numbers = bb_alloc(other->count * sizeof *self->numbers + 1);
    if (other->count > 0) {
        memcpy(self->numbers, other->numbers, other->count * sizeof *self->numbers);
    }
}

bool sim_keep_parse(sim_keep_t *self, const char *text)
{
    sim_keep_t read = {.is_limited = true, .numbers = bb_alloc(S_NUMBERS_MAX * sizeof(uint64_t))};
    bool is_good = strcmp(text, "none") != 0;
    for (const char *at = text; is_good;) {
        char *end = NULL;
        uint64_t first = strtoull(at, &end, 10), last = first;
        is_good = end != at && *at >= '0' && *at <= '9';
        if (is_good && *end == '-') {
            at = end + 1;
            last = strtoull(at, &end, 10);
            is_good = end != at && *at >= '0' && *at <= '9' && last >= first;
        }
        is_good = is_good && (read.count == 0 || first > read.numbers[read.count - 1]) &&
                  last - first < S_NUMBERS_MAX - read.count;
        for (uint64_t number = first; is_good && number <= last; number++) {
            read.numbers[read.count++] = number;
        }
        if (!is_good || *end != ',') {
            is_good = is_good && *end == 0;
            break;
        }
        at = end + 1;
    }
    if (!is_good && strcmp(text, "none") != 0) {
        sim_keep_clear(&read);
        return false;
    }
    sim_keep_clear(self);
    *self = read;
    return true;
}

void sim_keep_print(const sim_keep_t *self, FILE *out)
{
    if (self->count == 0) {
        fputs("none", out);
    }
    for (uint32_t i = 0; i < self->count;) {
        uint32_t last = i;
        while (last + 1 < self->count && self->numbers[last + 1] == self->numbers[last] + 1) {
            last++;
        }
        fprintf(out, "%s%" PRIu64, i > 0 ? "," : "", self->numbers[i]);
        if (last > i) {
            fprintf(out, "-%" PRIu64, self->numbers[last]);
        }
        i = last + 1;
    }
}
