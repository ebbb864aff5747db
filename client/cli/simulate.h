// SPDX-License-Identifier: Apache-2.0
// simulate - the verb `busbar simulate`: a fleet's telemetry to standard output or into a cluster.
#ifndef CLI_SIMULATE_H
#define CLI_SIMULATE_H

// argv[0] is "simulate". With a client file it writes into that cluster, with NULL to standard
// output. Exit statuses as in cli_context.h.
int bb_cli_simulate(const char *client_file, int argc, char **argv);

#endif
