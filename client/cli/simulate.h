// SPDX-License-Identifier: Apache-2.0
// simulate - the verb `busbar simulate`: a fleet's telemetry to standard output or into a cluster.
#ifndef CLI_SIMULATE_H
#define CLI_SIMULATE_H

// argv[0] is "simulate". Exit statuses as in cli_context.h.
int bb_cli_simulate(int argc, char **argv);

#endif
