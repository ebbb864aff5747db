// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cli_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli_number.h"
#include "protocol/bb_time.h"

void cli_texts_add(cli_texts_t *self, const char *text)
{
    if (self->count == self->capacity) {
        self->capacity = BB_MAX(8, 2 * self->capacity);
        self->items = bb_realloc(self->items, self->capacity * sizeof *self->items);
    }
    self->items[self->count++] = text;
}

void cli_texts_clear(cli_texts_t *self)
{
    free(self->items);
    *self = (cli_texts_t){0};
}

static size_t s_distance(const char *a, const char *b)
{
    enum { LENGTH_MAX = 40 };
    size_t a_length = strlen(a), b_length = strlen(b);
    if (a_length > LENGTH_MAX || b_length > LENGTH_MAX) {
        return LENGTH_MAX;
    }
    size_t table[LENGTH_MAX + 1][LENGTH_MAX + 1];
    for (size_t i = 0; i <= a_length; i++) {
        for (size_t j = 0; j <= b_length; j++) {
            if (i == 0 || j == 0) {
                table[i][j] = i + j;
                continue;
            }
            size_t best = table[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = BB_MIN(best, table[i - 1][j] + 1);
            best = BB_MIN(best, table[i][j - 1] + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                best = BB_MIN(best, table[i - 2][j - 2] + 1);
            }
            table[i][j] = best;
        }
    }
    return table[a_length][b_length];
}

const char *cli_nearest(const char *word, const char *const *candidates, size_t count)
{
    const char *best = NULL;
    size_t distance_best = 3;
    for (size_t i = 0; i < count; i++) {
        size_t distance = s_distance(word, candidates[i]);
        if (distance < distance_best) {
            distance_best = distance;
            best = candidates[i];
        }
    }
    return best;
}

// True when `word` is one of the blank-separated spellings in `names`.
static bool s_spells(const char *names, const char *word, size_t length)
{
    while (*names) {
        size_t name_length = strcspn(names, " ");
        if (name_length == length && memcmp(names, word, length) == 0) {
            return true;
        }
        names += name_length;
        names += strspn(names, " ");
    }
    return false;
}

static const cli_option_t *s_find(const cli_command_t *command, const char *word, size_t length)
{
    for (size_t i = 0; i < command->option_count; i++) {
        if (s_spells(command->options[i].name, word, length)) {
            return &command->options[i];
        }
    }
    return NULL;
}

static cli_parsed_t s_unknown(const cli_command_t *command, const char *word, cli_error_t *error)
{
    const char *names[64];
    char copies[64][32];
    size_t count = 0;
    for (size_t i = 0; i < command->option_count && count < BB_COUNT_OF(names); i++) {
        snprintf(copies[count], sizeof copies[count], "%.*s",
                 (int)strcspn(command->options[i].name, " "), command->options[i].name);
        names[count] = copies[count];
        count++;
    }
    const char *nearest = cli_nearest(word, names, count);
    cli_bad(error, "unknown option '%s'%s%s%s; see `busbar %s --help`", word,
            nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "",
            command->verb);
    return CLI_USAGE;
}

static cli_parsed_t s_store(const cli_option_t *option, const char *value, int64_t now_ns,
                            cli_error_t *error)
{
    int name_length = (int)strcspn(option->name, " ");
    bb_fault_t fault = {0};
    int64_t number = 0;
    bb_error_t failed = BB_OK;
    switch (option->kind) {
    case CLI_FLAG:
        *(bool *)option->target = true;
        break;
    case CLI_TEXT:
        *(const char **)option->target = value;
        break;
    case CLI_TEXTS:
        cli_texts_add(option->target, value);
        break;
    case CLI_COUNT:
        if (!cli_int64_parse(value, strlen(value), &number) || number < 0) {
            failed = bb_fault_set(&fault, BB_ERR_USAGE, "'%s' is not a whole number >= 0", value);
        } else {
            *(uint64_t *)option->target = (uint64_t)number;
        }
        break;
    case CLI_DURATION:
        failed = bb_duration_parse(bb_slice(value, strlen(value)), option->target, &fault);
        break;
    case CLI_TIME:
        failed = bb_time_parse(bb_slice(value, strlen(value)), 1, now_ns, option->target, &fault);
        break;
    }
    if (failed != BB_OK) {
        cli_bad(error, "%.*s: %s", name_length, option->name, fault.text);
        return CLI_USAGE;
    }
    if (option->is_given) {
        *option->is_given = true;
    }
    return CLI_PARSED;
}

cli_parsed_t cli_options_parse(const cli_command_t *command, int argc, char **argv, int64_t now_ns,
                               cli_texts_t *positional, cli_error_t *error)
{
    bool options_ended = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (options_ended || word[0] != '-' || strcmp(word, "-") == 0) {
            cli_texts_add(positional, word);
            continue;
        }
        if (strcmp(word, "--") == 0) {
            options_ended = true;
            continue;
        }
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            return CLI_HELP;
        }
        size_t length = word[1] == '-' ? strcspn(word, "=") : strlen(word);
        const cli_option_t *option = s_find(command, word, length);
        if (!option) {
            return s_unknown(command, word, error);
        }
        const char *value = word[length] == '=' ? word + length + 1 : NULL;
        if (option->kind == CLI_FLAG && value) {
            cli_bad(error, "%.*s takes no value", (int)length, word);
            return CLI_USAGE;
        }
        if (option->kind != CLI_FLAG && !value) {
            if (i + 1 == argc) {
                cli_bad(error, "%s needs a value (%s)", word, option->value_name);
                return CLI_USAGE;
            }
            value = argv[++i];
        }
        cli_parsed_t stored = s_store(option, value, now_ns, error);
        if (stored != CLI_PARSED) {
            return stored;
        }
    }
    return CLI_PARSED;
}

void cli_options_help(const cli_command_t *command)
{
    printf("busbar %s %s\n\n%s\n", command->verb, command->synopsis, command->summary);
    if (command->option_count > 0) {
        printf("\nOptions:\n");
    }
    for (size_t i = 0; i < command->option_count; i++) {
        const cli_option_t *option = &command->options[i];
        char left[48];
        snprintf(left, sizeof left, "%s%s%s", option->name, option->value_name ? " " : "",
                 option->value_name ? option->value_name : "");
        for (char *c = left; c[0] && c[1]; c++) {
            if (c[0] == ' ' && c[1] == '-') {
                c[0] = ',';
            }
        }
        printf("  %-24s %s\n", left, option->help);
    }
    if (command->epilogue) {
        printf("\n%s\n", command->epilogue);
    }
}
