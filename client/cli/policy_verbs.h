// SPDX-License-Identifier: Apache-2.0
// policy_verbs - busbar retention set | drop | ls, busbar rollup create | drop | ls.
//
// Until there is a catalogue the configuration of the nodes is the truth: these verbs edit
// nodes/*/busbard.yaml of a cluster's folder, all files or none that is found wrong, and send
// SIGHUP to the nodes that run on this machine. The folder is --cluster DIR, else the one in which
// the client file lies.
#ifndef POLICY_VERBS_H
#define POLICY_VERBS_H

#include "client/cli/cli_context.h"

int cli_verb_retention(const cli_context_t *context, int argc, char **argv);
int cli_verb_rollup(const cli_context_t *context, int argc, char **argv);

#endif
