// SPDX-License-Identifier: Apache-2.0
// cli_context - what every verb needs: the client file, exit statuses, messages.
//
// Exit statuses of all verbs: 0 done, 1 some data was rejected, 2 usage or configuration,
// 3 partial answer, 4 unavailable or no answer in time.
#ifndef CLI_CONTEXT_H
#define CLI_CONTEXT_H

#include "client/cli/cli_options.h"

enum {
    CLI_EXIT_OK = 0,
    CLI_EXIT_REJECTED = 1,
    CLI_EXIT_USAGE = 2,
    CLI_EXIT_PARTIAL = 3,
    CLI_EXIT_UNAVAILABLE = 4,
};

typedef struct {
    const char *config;       // client file: -c, else BUSBAR_CONFIG, else NULL
    const char *given_config; // -c, else NULL
    int64_t now_ns;           // wall clock at start
} cli_context_t;

typedef int (*cli_verb_fn)(const cli_context_t *context, int argc, char **argv);

int64_t cli_wall_ns(void);
int64_t cli_mono_ns(void);

// "busbar: ..." on standard error.
void cli_complain(const char *format, ...) BB_PRINTF(1, 2);
// The exit status that belongs to a failed call.
int cli_exit_of(busbar_status_t status);
// Complains about a fault and returns its exit status.
int cli_failed(const char *what, const busbar_fault_t *fault);
// Parses; on --help or a usage error prints and sets *exit_status, and returns false.
bool cli_parse(const cli_command_t *command, const cli_context_t *context, int argc, char **argv,
               cli_texts_t *positional, int *exit_status);
// Complains and returns false when there are positional arguments.
bool cli_no_arguments(const cli_command_t *command, const cli_texts_t *positional);
// Opens the client; NULL after complaining, with *exit_status set.
busbar_client_t *cli_client_open(const cli_context_t *context, const char *node_id,
                                 int64_t timeout_ns, int *exit_status);
#define CLI_LEVELS_HELP                                                                            \
    "one, local_quorum, quorum, each_quorum or all (default: the cluster's, see `busbar status`)"
// "one", "local_quorum", "quorum", "each_quorum", "all"; NULL gives the default. false after
// complaining.
bool cli_level(const char *name, busbar_level_t *level);
const char *cli_level_name(busbar_level_t level);

// What --revision and --generation may be; false after complaining.
bool cli_is_version(const char *verb, uint64_t revision, uint64_t generation);
#define CLI_GENERATION_HELP "generation of every point, after a delete (default 0)"

// The verbs, each in its own file.
int cli_verb_write(const cli_context_t *context, int argc, char **argv);
int cli_verb_import(const cli_context_t *context, int argc, char **argv);
int cli_verb_query(const cli_context_t *context, int argc, char **argv);
int cli_verb_last(const cli_context_t *context, int argc, char **argv);
int cli_verb_status(const cli_context_t *context, int argc, char **argv);
int cli_verb_settle(const cli_context_t *context, int argc, char **argv);
int cli_verb_quarantine(const cli_context_t *context, int argc, char **argv);
int cli_verb_delete(const cli_context_t *context, int argc, char **argv);
int cli_verb_scrub(const cli_context_t *context, int argc, char **argv);
int cli_verb_inspect(const cli_context_t *context, int argc, char **argv);
int cli_verb_verify(const cli_context_t *context, int argc, char **argv);
int cli_verb_battery(const cli_context_t *context, int argc, char **argv);

#endif
