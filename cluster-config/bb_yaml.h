// SPDX-License-Identifier: Apache-2.0
// bb_yaml - a strict reader of small YAML files on top of libyaml.
//
// A file is one document of mappings, lists and scalars with a fixed shape. The first thing wrong
// is kept as "file:line: key 'a.b[1].c': rule" and every later call does nothing, so a loader
// reads all its fields in a row and asks once at the end. One thread owns it; memory is bounded by
// BB_YAML_BYTES_MAX. Not part of the public interface of this folder: used by its loaders only.
#ifndef BB_YAML_H
#define BB_YAML_H

#include <yaml.h>

#include "protocol/bb_error.h"

#define BB_YAML_BYTES_MAX (1u << 20)

typedef struct {
    const char *path; // as given; for faults
    bb_fault_t *fault;
    bb_error_t error; // the first one; BB_OK so far
    bool is_loaded;
    yaml_document_t document;
} bb_yaml_t;

// A mapping and the way to it, for faults. A node of NULL is an absent optional mapping.
typedef struct {
    bb_yaml_t *yaml;
    yaml_node_t *node;
    char where[160]; // "" at the top, else "nodes[1]"
} bb_yaml_map_t;

// Reads a whole file of at most BB_YAML_BYTES_MAX; malloc'd, with a terminator. NOT_FOUND,
// PERMISSION, IO, CONFIG.
BB_MUST_CHECK bb_error_t bb_yaml_read_file(const char *path, char **text, size_t *length,
                                           bb_fault_t *fault);

// Parses the text; its top must be a mapping. Close it in any case.
bb_yaml_map_t bb_yaml_open(bb_yaml_t *self, const char *text, size_t length, const char *path,
                           bb_fault_t *fault);
void bb_yaml_close(bb_yaml_t *self);

// Records a fault at a key of the mapping (or at the mapping, key NULL), unless there is one.
void bb_yaml_refuse(bb_yaml_map_t *map, const char *key, const char *format, ...) BB_PRINTF(3, 4);

// Every key must be one of `allowed` (NULL-terminated) and given once.
void bb_yaml_allow(bb_yaml_map_t *map, const char *const *allowed);
bool bb_yaml_has(const bb_yaml_map_t *map, const char *key);

// Copies a text of [1, size - 1] bytes. An absent key is a fault when `required`, else `out` stays.
void bb_yaml_text(bb_yaml_map_t *map, const char *key, bool required, char *out, size_t size);
// As above, and empty is allowed.
void bb_yaml_text_or_empty(bb_yaml_map_t *map, const char *key, char *out, size_t size);
// A plain decimal number in [min, max]; absent: `out` stays, or a fault when `required`.
void bb_yaml_number(bb_yaml_map_t *map, const char *key, bool required, uint64_t min, uint64_t max,
                    uint64_t *out);
// A number of bytes, with or without KiB, MiB, GiB, TiB.
void bb_yaml_size(bb_yaml_map_t *map, const char *key, uint64_t min, uint64_t max, uint64_t *out);
// A duration such as 500ms or 1m30s.
void bb_yaml_duration(bb_yaml_map_t *map, const char *key, int64_t min, int64_t max, int64_t *out);
// Exactly `length` bytes as hexadecimal digits.
void bb_yaml_hex(bb_yaml_map_t *map, const char *key, uint8_t *out, size_t length);
// 32 bytes as 40 characters of Z85.
void bb_yaml_key(bb_yaml_map_t *map, const char *key, uint8_t out[32]);
// A name of at most BB_NODE_ID_BYTES_MAX letters, digits, '.', '_' and '-', beginning with a
// letter or digit. `out` is BB_NODE_ID_BYTES_MAX + 1 bytes.
void bb_yaml_name(bb_yaml_map_t *map, const char *key, bool required, char *out);
bool bb_name_is_valid(const char *name, size_t length);
// Takes an IPv4 address, an IPv6 address with or without brackets, or a host name; false: it is
// none. IPv6 addresses lose their brackets and get their shortest form, so that equal ones are
// equal texts. In place: `host` has room for INET6_ADDRSTRLEN bytes.
bool bb_host_take(char *host);

// A nested mapping; absent: node NULL, and a fault when `required`.
bb_yaml_map_t bb_yaml_map(bb_yaml_map_t *map, const char *key, bool required);
// Length of a list, at most `max`; absent: 0, and a fault when `required`.
uint32_t bb_yaml_list_count(bb_yaml_map_t *map, const char *key, bool required, uint32_t max);
// Its element `index`, which must be a mapping.
bb_yaml_map_t bb_yaml_list_map(bb_yaml_map_t *map, const char *key, uint32_t index);
// Its element `index`, which must be a text of [1, size - 1] bytes.
void bb_yaml_list_text(bb_yaml_map_t *map, const char *key, uint32_t index, char *out, size_t size);
// Entries of a mapping with free keys, in the order of the file.
uint32_t bb_yaml_entry_count(const bb_yaml_map_t *map);
const char *bb_yaml_entry_key(const bb_yaml_map_t *map, uint32_t index);

#endif
