// SPDX-License-Identifier: Apache-2.0
// cluster_verbs - busbar cluster init | up | down | restart | kill.
//
// Works on a cluster folder (cluster-config/bb_cluster_template.h) and on processes of this
// machine; nothing here talks to the cluster but GET /readyz. Results go to standard output, one
// line per node; complaints to standard error.
#ifndef CLUSTER_VERBS_H
#define CLUSTER_VERBS_H

// argv[0] is "cluster". Exit status: 0 done, 2 usage or configuration, 4 a node is not ready or not
// gone in time.
int bb_cli_cluster(int argc, char **argv);

#endif
