// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_minimise.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_world.h"

typedef struct {
    sim_options_t *options; // what is known to fail
    sim_minimised_t *result;
    char class[1024]; // of the finding: its words without numbers
    uint64_t fault_count, operation_count;
} s_search_t;

static void s_class(const char *finding, char out[1024])
{
    size_t length = 0;
    for (const char *word = finding; *word && length < 1000;) {
        size_t word_length = strcspn(word, " ");
        bool has_digit = strcspn(word, "0123456789") < word_length;
        if (!has_digit && length + word_length < 1000) {
            memcpy(out + length, word, word_length);
            length += word_length;
            out[length++] = ' ';
        }
        word += word_length;
        word += strspn(word, " ");
    }
    out[length] = 0;
}

// Runs once; true when it fails as the first run did.
static bool s_fails(s_search_t *self, const sim_options_t *options)
{
    if (self->result->run_count >= SIM_MINIMISE_RUNS_MAX) {
        return false;
    }
    self->result->run_count++;
    sim_options_t run = *options;
    sim_options_apply(&run);
    sim_world_t *world = sim_world_new(&run, NULL, NULL);
    sim_world_run(world);
    char class[1024];
    s_class(world->trace.finding, class);
    bool is_same = sim_trace_has_failed(&world->trace) &&
                   (self->class[0] == 0 || strcmp(class, self->class) == 0);
    if (is_same) {
        memcpy(self->class, class, sizeof class);
        memcpy(self->result->finding, world->trace.finding, sizeof self->result->finding);
        self->result->event_count_after = world->trace.event_count;
        self->fault_count = world->fault_number;
        uint64_t turns = 0;
        for (uint32_t i = 0; i < options->client_count; i++) {
            turns = BB_MAX(turns, world->clients[i].turn);
        }
        self->operation_count = turns * SIM_CLIENTS_MAX;
    }
    sim_world_destroy(&world);
    return is_same;
}

// Tries the list without the numbers [first, limit). True: it still fails, and they are gone.
static bool s_try_without(s_search_t *self, sim_keep_t *list, uint32_t first, uint32_t limit)
{
    sim_keep_t before = {0}, shorter = {.is_limited = true};
    shorter.numbers = bb_alloc(list->count * sizeof *shorter.numbers + 1);
    for (uint32_t i = 0; i < list->count; i++) {
        if (i < first || i >= limit) {
            shorter.numbers[shorter.count++] = list->numbers[i];
        }
    }
    before = *list;
    *list = shorter;
    if (s_fails(self, self->options)) {
        sim_keep_clear(&before);
        return true;
    }
    *list = before;
    sim_keep_clear(&shorter);
    return false;
}

// ddmin by complements: chunks of half the list, then smaller ones, until single numbers stay.
static void s_reduce(s_search_t *self, sim_keep_t *list, uint64_t all_count)
{
    if (!list->is_limited) {
        list->is_limited = true;
        list->count = (uint32_t)all_count;
        list->numbers = bb_alloc(all_count * sizeof *list->numbers + 1);
        for (uint32_t i = 0; i < list->count; i++) {
            list->numbers[i] = i;
        }
        if (!s_fails(self, self->options)) { // something that came later belongs to it
            sim_keep_clear(list);
            return;
        }
    }
    for (uint32_t size = BB_MAX(list->count, 1u); size >= 1 && list->count > 0; size /= 2) {
        for (uint32_t first = 0; first < list->count;) {
            uint32_t limit = BB_MIN(first + size, list->count);
            if (!s_try_without(self, list, first, limit)) {
                first = limit;
            }
        }
    }
}

bool sim_minimise(sim_options_t *options, sim_minimised_t *result)
{
    *result = (sim_minimised_t){0};
    s_search_t search = {.options = options, .result = result};
    if (!s_fails(&search, options)) {
        return false;
    }
    result->event_count_before = result->event_count_after;
    result->fault_count = search.fault_count;
    result->operation_count = search.operation_count;
    for (uint32_t bit = 0; bit < SIM_WITHOUT_COUNT; bit++) {
        options->without |= 1u << bit;
        if (!s_fails(&search, options)) {
            options->without &= ~(1u << bit);
        }
    }
    for (uint32_t round = 0; round < 2; round++) {
        s_reduce(&search, &options->keep_faults, search.fault_count);
        s_reduce(&search, &options->keep_operations, search.operation_count);
    }
    result->faults_left =
        options->keep_faults.is_limited ? options->keep_faults.count : (uint32_t)search.fault_count;
    result->operations_left = options->keep_operations.is_limited
                                  ? options->keep_operations.count
                                  : (uint32_t)search.operation_count;
    return true;
}
