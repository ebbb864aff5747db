// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cli_context.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "protocol/bb_error.h"
#include "protocol/bb_limits.h"
#include "protocol/bb_value.h"

static int64_t s_clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * BB_NS_PER_S + now.tv_nsec;
}

int64_t cli_wall_ns(void)
{
    return s_clock_ns(CLOCK_REALTIME);
}

int64_t cli_mono_ns(void)
{
    return s_clock_ns(CLOCK_MONOTONIC);
}

void cli_complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("busbar: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

int cli_exit_of(busbar_status_t status)
{
    switch (status) {
    case BB_OK:
        return CLI_EXIT_OK;
    case BB_ERR_TIMEOUT:
    case BB_ERR_UNAVAILABLE:
    case BB_ERR_BUSY:
    case BB_ERR_STOPPING:
    case BB_ERR_BEHIND:
    case BB_ERR_FENCED:
    case BB_ERR_DISK_FULL:
    case BB_ERR_IO:
    case BB_ERR_CLOCK_SKEW:
        return CLI_EXIT_UNAVAILABLE;
    case BB_ERR_CONFIG:
    case BB_ERR_KEY:
    case BB_ERR_PERMISSION:
    case BB_ERR_USAGE:
    case BB_ERR_ROLE:
    case BB_ERR_IDENTITY:
    case BB_ERR_QUERY:
    case BB_ERR_NOT_FOUND:
    case BB_ERR_PEER_UNKNOWN:
        return CLI_EXIT_USAGE;
    default:
        return CLI_EXIT_REJECTED;
    }
}

int cli_failed(const char *what, const busbar_fault_t *fault)
{
    cli_complain("%s: %s (%s)", what, fault->text, busbar_status_name(fault->status));
    return cli_exit_of(fault->status);
}

bool cli_parse(const cli_command_t *command, const cli_context_t *context, int argc, char **argv,
               cli_texts_t *positional, int *exit_status)
{
    cli_error_t error = {{0}};
    switch (cli_options_parse(command, argc, argv, context->now_ns, positional, &error)) {
    case CLI_PARSED:
        return true;
    case CLI_HELP:
        cli_options_help(command);
        *exit_status = CLI_EXIT_OK;
        return false;
    case CLI_USAGE:
        break;
    }
    cli_complain("%s: %s", command->verb, error.text);
    *exit_status = CLI_EXIT_USAGE;
    return false;
}

bool cli_no_arguments(const cli_command_t *command, const cli_texts_t *positional)
{
    if (positional->count > 0) {
        cli_complain("%s: unexpected argument '%s'; see `busbar %s --help`", command->verb,
                     positional->items[0], command->verb);
    }
    return positional->count == 0;
}

busbar_client_t *cli_client_open(const cli_context_t *context, const char *node_id,
                                 int64_t timeout_ns, int *exit_status)
{
    if (!context->config) {
        cli_complain("no client file: give -c FILE or set BUSBAR_CONFIG");
        *exit_status = CLI_EXIT_USAGE;
        return NULL;
    }
    busbar_options_t options = {
        .timeout_ns = timeout_ns, .node_id = node_id, .name = "busbar " BB_VERSION};
    busbar_client_t *client = NULL;
    busbar_fault_t fault = {0};
    if (busbar_open(context->config, &options, &client, &fault) != BUSBAR_OK) {
        *exit_status = cli_failed("client file", &fault);
        return NULL;
    }
    return client;
}

static const char *const s_level_names[] = {
    [BUSBAR_DEFAULT_LEVEL] = "default",     [BUSBAR_ONE] = "one",
    [BUSBAR_LOCAL_QUORUM] = "local_quorum", [BUSBAR_QUORUM] = "quorum",
    [BUSBAR_EACH_QUORUM] = "each_quorum",   [BUSBAR_ALL] = "all"};

const char *cli_level_name(busbar_level_t level)
{
    return (size_t)level < BB_COUNT_OF(s_level_names) ? s_level_names[level] : "?";
}

bool cli_level(const char *name, busbar_level_t *level)
{
    *level = BUSBAR_DEFAULT_LEVEL;
    if (!name) {
        return true;
    }
    for (uint32_t i = BUSBAR_ONE; i < BB_COUNT_OF(s_level_names); i++) {
        if (strcmp(name, s_level_names[i]) == 0) {
            *level = (busbar_level_t)i;
            return true;
        }
    }
    cli_complain("--consistency: '%s' is none of one, local_quorum, quorum, each_quorum, all",
                 name);
    return false;
}

bool cli_is_version(const char *verb, uint64_t revision, uint64_t generation)
{
    if (revision >= BB_REVISION_LIMIT) {
        cli_complain("%s: --revision: at most %llu", verb,
                     (unsigned long long)BB_REVISION_LIMIT - 1);
        return false;
    }
    if (generation >= BB_GENERATION_POINT_LIMIT) {
        cli_complain("%s: --generation: at most %u", verb, BB_GENERATION_POINT_LIMIT - 1);
        return false;
    }
    return true;
}
