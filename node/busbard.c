// SPDX-License-Identifier: Apache-2.0
// busbard - one node of a busbar cluster.
//
// Reads its configuration, then runs until SIGTERM. See --help for options and exit statuses.
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "node/control/supervisor_actor.h"

enum { S_EXIT_OK = 0, S_EXIT_CONFIG = 2 };

static const char s_help[] =
    "usage: busbard --config FILE.yaml [--check]\n"
    "       busbard --version | --help\n"
    "\n"
    "Runs one node of a busbar cluster in the foreground; logs go to standard error.\n"
    "\n"
    "  --config FILE   the node's configuration (made by `busbar cluster init`)\n"
    "  --check         check the configuration and its key file, print what is in effect, end\n"
    "  --version       print the version\n"
    "  --help          print this\n"
    "\n"
    "SIGHUP: read `retention` and `rollups` of the configuration again.\n"
    "SIGTERM or SIGINT: answer what is in flight, then end; a second one ends at once.\n"
    "\n"
    "exit status: 0 stopped after a drain, or the configuration is good\n"
    "             2 usage, configuration or key file\n"
    "             5 the data folder or a port is in use, or the folder belongs to another node\n";

typedef struct {
    const char *config_path;
    bool is_check, is_version, is_help;
} s_options_t;

static bool s_parse(int argc, char **argv, s_options_t *options)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc && !options->config_path) {
            options->config_path = argv[++i];
        } else if (strncmp(argv[i], "--config=", 9) == 0 && !options->config_path) {
            options->config_path = argv[i] + 9;
        } else if (strcmp(argv[i], "--check") == 0) {
            options->is_check = true;
        } else if (strcmp(argv[i], "--version") == 0) {
            options->is_version = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options->is_help = true;
        } else {
            fprintf(stderr, "busbard: argument '%s' is unknown or incomplete; see --help\n",
                    argv[i]);
            return false;
        }
    }
    if (!options->config_path && !options->is_version && !options->is_help) {
        fprintf(stderr, "busbard: --config FILE is missing; see --help\n");
        return false;
    }
    return true;
}

static int s_run(const s_options_t *options)
{
    bb_fault_t fault = {0};
    bb_config_t *config = NULL;
    bb_topology_t *topology = NULL;
    bb_curve_pair_t keys = {0};
    int status = S_EXIT_CONFIG;
    if (bb_config_load(options->config_path, &config, &fault) != BB_OK ||
        bb_config_load_key(config, &keys, &fault) != BB_OK ||
        bb_config_topology(config, &topology, &fault) != BB_OK) {
        fprintf(stderr, "busbard: %s\n", fault.text);
    } else if (options->is_check) {
        bb_config_print(config, stdout);
        status = S_EXIT_OK;
    } else {
        status = bb_supervisor_run(config, topology, &keys);
    }
    bb_keys_wipe(&keys, sizeof keys);
    bb_topology_destroy(&topology);
    bb_config_destroy(&config);
    return status;
}

// Blocks of a generation go back to the system when it is freed: left to itself, malloc takes
// larger and larger blocks from heaps that can only shrink at their end. What comes and goes all
// the time (packs on their way into a segment, messages) is smaller and stays in the heaps, which
// keep a little at their end: else each use of it faults its pages in again.
static void s_keep_memory_small(void)
{
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 8 << 20);
    mallopt(M_TOP_PAD, 1 << 20);
    mallopt(M_ARENA_MAX, 4);
}

int main(int argc, char **argv)
{
    s_options_t options = {0};
    s_keep_memory_small();
    umask(0077); // data and logs of a node are nobody else's
    // One that comes while the node starts waits until the supervisor listens: the file may have
    // changed after it was read.
    sigset_t reload;
    sigemptyset(&reload);
    sigaddset(&reload, SIGHUP);
    sigprocmask(SIG_BLOCK, &reload, NULL);
    if (!s_parse(argc, argv, &options)) {
        return S_EXIT_CONFIG;
    }
    if (options.is_help) {
        fputs(s_help, stdout);
        return S_EXIT_OK;
    }
    if (options.is_version) {
        puts("busbard " BB_VERSION);
        return S_EXIT_OK;
    }
    return s_run(&options);
}
