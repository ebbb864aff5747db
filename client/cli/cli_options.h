// SPDX-License-Identifier: Apache-2.0
// cli_options - reads `--name value` from a table and says what is wrong in the user's words.
//
// Pure but for cli_options_help (standard output). Options may stand before or behind positional
// arguments; `--name=value` works; `--` ends options.
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "client/cli/cli_record.h"

typedef enum {
    CLI_FLAG,     // bool: present or not
    CLI_TEXT,     // const char *
    CLI_TEXTS,    // cli_texts_t: may be repeated
    CLI_COUNT,    // uint64_t, decimal
    CLI_DURATION, // int64_t ns: 90s, 1h30m
    CLI_TIME,     // int64_t ns: RFC 3339, epoch with unit, relative to now
} cli_option_kind_t;

typedef struct {
    const char **items;
    size_t count, capacity;
} cli_texts_t;

typedef struct {
    const char *name; // "--from"; a second spelling may follow after a space: "--output -o"
    cli_option_kind_t kind;
    void *target;           // as the kind says
    bool *is_given;         // may be NULL
    const char *value_name; // "T", NULL for flags
    const char *help;
} cli_option_t;

typedef struct {
    const char *verb;     // "query"
    const char *synopsis; // "[--battery ID]... --from T --to T"
    const char *summary;  // what it does, in a sentence or two
    const cli_option_t *options;
    size_t option_count;
    const char *epilogue; // examples; may be NULL
} cli_command_t;

typedef enum { CLI_PARSED, CLI_HELP, CLI_USAGE } cli_parsed_t;

// Fills the targets; positional arguments are collected in `positional`. argv[0] is the verb.
// now_ns is the wall clock that relative times refer to. CLI_HELP: --help was given. CLI_USAGE:
// error->text names the argument and the rule, with the nearest option for a misspelt one.
cli_parsed_t cli_options_parse(const cli_command_t *command, int argc, char **argv, int64_t now_ns,
                               cli_texts_t *positional, cli_error_t *error);
void cli_options_help(const cli_command_t *command);
void cli_texts_add(cli_texts_t *self, const char *text);
void cli_texts_clear(cli_texts_t *self);

// The candidate nearest to `word` within two edits (optimal string alignment), or NULL.
const char *cli_nearest(const char *word, const char *const *candidates, size_t count);

#endif
