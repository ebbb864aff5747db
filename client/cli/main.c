// SPDX-License-Identifier: Apache-2.0
// busbar: the command line. This file only finds the verb.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli_context.h"
#include "client/cli/cluster_verbs.h"
#include "client/cli/policy_verbs.h"
#include "client/cli/simulate.h"

static int s_cluster(const cli_context_t *context, int argc, char **argv)
{
    (void)context;
    return bb_cli_cluster(argc, argv);
}

static int s_simulate(const cli_context_t *context, int argc, char **argv)
{
    return bb_cli_simulate(context->given_config, argc, argv);
}

static const struct {
    const char *name;
    cli_verb_fn run;
    const char *help;
} s_verbs[] = {
    {"cluster", s_cluster, "init DIR | up DIR | down DIR | restart DIR NODE | kill DIR NODE"},
    {"status", cli_verb_status, "nodes, who is up, replication lag"},
    {"write", cli_verb_write, "points from line protocol, CSV or NDJSON"},
    {"import", cli_verb_import, "any CSV through a map file"},
    {"query", cli_verb_query, "points or aggregates of a time range"},
    {"last", cli_verb_last, "the newest point of every series"},
    {"battery", cli_verb_battery, "ls: batteries and their attributes"},
    {"delete", cli_verb_delete, "points of a battery, on every node and for ever"},
    {"quarantine", cli_verb_quarantine, "ls | release: points from the future"},
    {"inspect", cli_verb_inspect, "what a node's files hold: journal, segment, window"},
    {"verify", cli_verb_verify, "check a node's data folder while the node is down"},
    {"retention", cli_verb_retention, "set | drop | ls: how long points are kept"},
    {"rollup", cli_verb_rollup, "create | drop | ls: continuous aggregates"},
    {"scrub", cli_verb_scrub, "verify what nodes have on disk, now"},
    {"settle", cli_verb_settle, "wait until everything is sealed, merged and trimmed"},
    {"simulate", s_simulate, "a fleet of batteries, to a file or into a cluster"},
};

static void s_help(void)
{
    puts("busbar " BB_VERSION " - a cluster for battery and energy telemetry\n\n"
         "Usage: busbar [-c CLIENT.yaml] VERB ...      (BUSBAR_CONFIG names a client file, too)\n");
    for (size_t i = 0; i < BB_COUNT_OF(s_verbs); i++) {
        printf("  %-11s %s\n", s_verbs[i].name, s_verbs[i].help);
    }
    puts("\nbusbar VERB --help says more. Exit status: 0 done, 1 some data rejected, 2 usage or\n"
         "configuration, 3 partial answer, 4 unavailable.");
}

// Takes `-c FILE`, which may stand before or behind the verb, out of argv.
static bool s_take_config(int *argc, char **argv, cli_context_t *context)
{
    int kept = 1;
    for (int i = 1; i < *argc; i++) {
        bool is_config = strcmp(argv[i], "-c") == 0 || strcmp(argv[i], "--config") == 0;
        if (strcmp(argv[i], "--") == 0) {
            while (i < *argc) {
                argv[kept++] = argv[i++];
            }
            break;
        }
        if (is_config && i + 1 == *argc) {
            cli_complain("%s needs a value (a client file)", argv[i]);
            return false;
        }
        if (is_config) {
            context->config = context->given_config = argv[++i];
        } else {
            argv[kept++] = argv[i];
        }
    }
    argv[kept] = NULL;
    *argc = kept;
    return true;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); // a closed pipe is an error of printf, not the end
    cli_context_t context = {.config = getenv("BUSBAR_CONFIG"), .now_ns = cli_wall_ns()};
    bool is_cluster = argc > 1 && strcmp(argv[1], "cluster") == 0; // needs no client file
    if (!is_cluster && !s_take_config(&argc, argv, &context)) {
        return CLI_EXIT_USAGE;
    }
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        s_help();
        return argc < 2 ? CLI_EXIT_USAGE : CLI_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("busbar " BB_VERSION);
        return CLI_EXIT_OK;
    }
    const char *names[BB_COUNT_OF(s_verbs)];
    for (size_t i = 0; i < BB_COUNT_OF(s_verbs); i++) {
        names[i] = s_verbs[i].name;
        if (strcmp(argv[1], s_verbs[i].name) == 0) {
            return s_verbs[i].run(&context, argc - 1, argv + 1);
        }
    }
    const char *nearest = cli_nearest(argv[1], names, BB_COUNT_OF(names));
    cli_complain("unknown verb '%s'%s%s%s; see `busbar --help`", argv[1],
                 nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
    return CLI_EXIT_USAGE;
}
