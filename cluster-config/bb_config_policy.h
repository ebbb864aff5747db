// SPDX-License-Identifier: Apache-2.0
// bb_config_policy - the sections `retention` and `rollups` of busbard.yaml: read, printed, edited.
//
// Reads compiled zone files below BB_ZONE_FOLDER; otherwise as bb_config.h says.
//
//   retention:
//     - {name: alarms, match: {metric: "alarm*"}, keep: forever}
//     - {name: lab, match: {site: aachen, tag: maker=acme}, keep: 30d}
//     - {name: default, keep: 400d}
//   rollups:
//     - name: soc-daily
//       match: {metric: soc_pct}
//       every: day
//       zone: Europe/Berlin
//       aggregates: [min, max]
//       keep: forever
//
// The first class whose conditions all hold is the class of a series. `default` has no `match`,
// stands last and, when it is not given, keeps everything for ever.
#ifndef BB_CONFIG_POLICY_H
#define BB_CONFIG_POLICY_H

#include <stdio.h>

#include "protocol/bb_policy.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BB_ZONE_FOLDER "/usr/share/zoneinfo"

// The zone of that name; NULL for "UTC". CONFIG: no such zone, or not a zone file.
BB_MUST_CHECK bb_error_t bb_config_zone_load(const char *name, bb_zone_t **zone, bb_fault_t *fault);

// Writes both sections as YAML that loads to the same.
void bb_config_policy_print(const bb_policy_t *policy, FILE *out);

// The text of a whole busbard.yaml with both sections replaced by those of `policy`; everything
// else stays byte for byte. Comments inside the two sections are lost. *out is malloc'd, with a
// terminator. CONFIG: the text is not YAML, or the sections are not written in block style.
BB_MUST_CHECK bb_error_t bb_config_policy_edit(const char *text, size_t length, const char *path,
                                               const bb_policy_t *policy, char **out,
                                               size_t *out_length, bb_fault_t *fault);
// The same for files. All are read and checked before the first one is written; each is replaced as
// a whole, by a rename. CONFIG, IO, NOT_FOUND, PERMISSION, DISK_FULL; files written before the one
// that failed stay written.
BB_MUST_CHECK bb_error_t bb_config_policy_rewrite(const char *const *paths, uint32_t path_count,
                                                  const bb_policy_t *policy, bb_fault_t *fault);

#ifdef __cplusplus
}
#endif
#endif
