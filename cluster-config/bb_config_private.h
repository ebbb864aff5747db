// SPDX-License-Identifier: Apache-2.0
// bb_config_private - what the files bb_config*.c share; nobody else includes it.
#ifndef BB_CONFIG_PRIVATE_H
#define BB_CONFIG_PRIVATE_H

#include "cluster-config/bb_config.h"
#include "cluster-config/bb_yaml.h"

// Reads `retention` and `rollups`; a fault is in the reader then, and a policy comes all the same.
bb_policy_t *bb_config_policy_load(bb_yaml_map_t *top);

// Reads `watch`; likewise. To be freed.
bb_watch_rules_t *bb_config_watch_load(bb_yaml_map_t *top);
void bb_config_watch_print(const bb_watch_rules_t *self, FILE *out);
// Double-quoted, so that any text is read back as it is.
void bb_config_print_text(FILE *out, const char *key, const char *text, const char *after);

#endif
