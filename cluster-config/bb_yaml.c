// SPDX-License-Identifier: Apache-2.0
#include "cluster-config/bb_yaml.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/bb_keys.h"
#include "protocol/bb_limits.h"
#include "protocol/bb_time.h"

// ---- files ----

static bb_error_t s_fault_of_errno(const char *path, bb_fault_t *fault)
{
    int number = errno;
    bb_error_t error = number == ENOENT || number == ENOTDIR ? BB_ERR_NOT_FOUND
                       : number == EACCES || number == EPERM ? BB_ERR_PERMISSION
                                                             : BB_ERR_IO;
    return bb_fault_set(fault, error, "cannot read '%s': %s", path, strerror(number));
}

bb_error_t bb_yaml_read_file(const char *path, char **text, size_t *length, bb_fault_t *fault)
{
    BB_ASSERT(path);
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) {
        return s_fault_of_errno(path, fault);
    }
    struct stat info;
    bb_error_t error = BB_OK;
    if (fstat(file, &info) != 0) {
        error = s_fault_of_errno(path, fault);
    } else if (!S_ISREG(info.st_mode)) {
        error = bb_fault_set(fault, BB_ERR_CONFIG, "'%s' is not a regular file", path);
    }
    char *bytes = bb_alloc(BB_YAML_BYTES_MAX + 1);
    size_t filled = 0;
    while (error == BB_OK && filled <= BB_YAML_BYTES_MAX) {
        ssize_t got = read(file, bytes + filled, BB_YAML_BYTES_MAX + 1 - filled);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            error = s_fault_of_errno(path, fault);
        }
        if (got <= 0) {
            break;
        }
        filled += (size_t)got;
    }
    close(file);
    if (error == BB_OK && filled > BB_YAML_BYTES_MAX) {
        error = bb_fault_set(fault, BB_ERR_CONFIG, "%s:1: larger than %u bytes", path,
                             BB_YAML_BYTES_MAX);
    }
    if (error != BB_OK) {
        free(bytes);
        return error;
    }
    bytes[filled] = '\0';
    *text = bytes;
    *length = filled;
    return BB_OK;
}

// ---- faults ----

static void s_set(bb_yaml_t *self, size_t line, const char *format, ...) BB_PRINTF(3, 4);

static void s_set(bb_yaml_t *self, size_t line, const char *format, ...)
{
    if (self->error != BB_OK) {
        return;
    }
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    self->error = bb_fault_set(self->fault, BB_ERR_CONFIG, "%s:%zu: %s", self->path, line, text);
}

static bool s_is_scalar(const yaml_node_t *node)
{
    return node && node->type == YAML_SCALAR_NODE;
}

static bool s_key_is(const yaml_node_t *node, const char *key)
{
    return s_is_scalar(node) && node->data.scalar.length == strlen(key) &&
           memcmp(node->data.scalar.value, key, strlen(key)) == 0;
}

static yaml_node_t *s_find(const bb_yaml_map_t *map, const char *key)
{
    if (map->yaml->error != BB_OK || !map->node) {
        return NULL;
    }
    yaml_document_t *document = &map->yaml->document;
    for (yaml_node_pair_t *pair = map->node->data.mapping.pairs.start;
         pair < map->node->data.mapping.pairs.top; pair++) {
        if (s_key_is(yaml_document_get_node(document, pair->key), key)) {
            return yaml_document_get_node(document, pair->value);
        }
    }
    return NULL;
}

void bb_yaml_refuse(bb_yaml_map_t *map, const char *key, const char *format, ...)
{
    if (map->yaml->error != BB_OK) {
        return;
    }
    char rule[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(rule, sizeof rule, format, arguments);
    va_end(arguments);
    const yaml_node_t *node = key ? s_find(map, key) : NULL;
    node = node ? node : map->node;
    size_t line = node ? node->start_mark.line + 1 : 1;
    const char *dot = key && map->where[0] ? "." : "";
    if (!key && !map->where[0]) {
        s_set(map->yaml, line, "%s", rule);
    } else {
        s_set(map->yaml, line, "key '%s%s%s': %s", map->where, dot, key ? key : "", rule);
    }
}

// ---- the document ----

static void s_load(bb_yaml_t *self, const char *text, size_t length)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        self->error = bb_fault_set(self->fault, BB_ERR_INTERNAL, "libyaml cannot start");
        return;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    if (yaml_parser_load(&parser, &self->document)) {
        self->is_loaded = true;
        yaml_document_t second;
        if (!yaml_parser_load(&parser, &second)) {
            s_set(self, parser.problem_mark.line + 1, "%s",
                  parser.problem ? parser.problem : "not YAML");
        } else {
            if (yaml_document_get_root_node(&second)) {
                s_set(self, yaml_document_get_root_node(&second)->start_mark.line + 1,
                      "a second document; there must be one");
            }
            yaml_document_delete(&second);
        }
    } else {
        s_set(self, parser.problem_mark.line + 1, "%s",
              parser.problem ? parser.problem : "not YAML");
    }
    yaml_parser_delete(&parser);
}

bb_yaml_map_t bb_yaml_open(bb_yaml_t *self, const char *text, size_t length, const char *path,
                           bb_fault_t *fault)
{
    BB_ASSERT(self);
    memset(self, 0, sizeof *self);
    self->path = path;
    self->fault = fault;
    bb_yaml_map_t top = {.yaml = self};
    s_load(self, text, length);
    if (self->error == BB_OK) {
        top.node = yaml_document_get_root_node(&self->document);
        if (!top.node || top.node->type != YAML_MAPPING_NODE) {
            top.node = NULL;
            s_set(self, 1, "the file must be a mapping of keys to values");
        }
    }
    return top;
}

void bb_yaml_close(bb_yaml_t *self)
{
    if (self->is_loaded) {
        yaml_document_delete(&self->document);
        self->is_loaded = false;
    }
}

static bool s_is_one_of(const yaml_node_t *key, const char *const *allowed)
{
    for (; *allowed; allowed++) {
        if (s_key_is(key, *allowed)) {
            return true;
        }
    }
    return false;
}

// Keys are scalars and none is given twice; `allowed` may be NULL for free keys.
static void s_check_keys(bb_yaml_map_t *map, const char *const *allowed)
{
    if (map->yaml->error != BB_OK || !map->node) {
        return;
    }
    yaml_document_t *document = &map->yaml->document;
    yaml_node_pair_t *start = map->node->data.mapping.pairs.start;
    yaml_node_pair_t *top = map->node->data.mapping.pairs.top;
    const char *dot = map->where[0] ? "." : "";
    for (yaml_node_pair_t *pair = start; pair < top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(document, pair->key);
        if (!s_is_scalar(key)) {
            s_set(map->yaml, key ? key->start_mark.line + 1 : 1, "a key must be a plain text");
            return;
        }
        const char *text = (const char *)key->data.scalar.value;
        size_t line = key->start_mark.line + 1;
        if (allowed && !s_is_one_of(key, allowed)) {
            s_set(map->yaml, line, "key '%s%s%.64s': is not known", map->where, dot, text);
            return;
        }
        for (yaml_node_pair_t *other = start; other < pair; other++) {
            const yaml_node_t *before = yaml_document_get_node(document, other->key);
            if (s_key_is(before, text) && before->data.scalar.length == key->data.scalar.length) {
                s_set(map->yaml, line, "key '%s%s%.64s': is given twice", map->where, dot, text);
                return;
            }
        }
    }
}

void bb_yaml_allow(bb_yaml_map_t *map, const char *const *allowed)
{
    s_check_keys(map, allowed);
}

bool bb_yaml_has(const bb_yaml_map_t *map, const char *key)
{
    return s_find(map, key) != NULL;
}

// ---- scalars ----

// The scalar at a key, or NULL; absent and required, or not a scalar, is a fault.
static const yaml_node_t *s_scalar(bb_yaml_map_t *map, const char *key, bool required)
{
    const yaml_node_t *node = s_find(map, key);
    if (!node) {
        if (required) {
            bb_yaml_refuse(map, key, "is missing");
        }
        return NULL;
    }
    if (!s_is_scalar(node) || memchr(node->data.scalar.value, '\0', node->data.scalar.length)) {
        bb_yaml_refuse(map, key, "must be a single value");
        return NULL;
    }
    return node;
}

static const char *s_bytes(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

static bool s_is_null(const yaml_node_t *node)
{
    return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (node->data.scalar.length == 0 || strcmp(s_bytes(node), "~") == 0 ||
            strcmp(s_bytes(node), "null") == 0);
}

static void s_text(bb_yaml_map_t *map, const char *key, bool required, bool may_be_empty, char *out,
                   size_t size)
{
    const yaml_node_t *node = s_scalar(map, key, required);
    if (!node) {
        return;
    }
    size_t length = node->data.scalar.length;
    if (s_is_null(node) || (length == 0 && !may_be_empty)) {
        bb_yaml_refuse(map, key, "must be a text");
    } else if (length >= size) {
        bb_yaml_refuse(map, key, "is longer than %zu bytes", size - 1);
    } else {
        memcpy(out, node->data.scalar.value, length);
        out[length] = '\0';
    }
}

void bb_yaml_text(bb_yaml_map_t *map, const char *key, bool required, char *out, size_t size)
{
    s_text(map, key, required, false, out, size);
}

void bb_yaml_text_or_empty(bb_yaml_map_t *map, const char *key, char *out, size_t size)
{
    s_text(map, key, false, true, out, size);
}

// Plain digits; false when there are none, something else, or more than 64 bits.
static bool s_digits(const char *text, size_t length, uint64_t *out)
{
    uint64_t number = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(text[i] - '0'), &number)) {
            return false;
        }
    }
    *out = number;
    return length > 0;
}

void bb_yaml_number(bb_yaml_map_t *map, const char *key, bool required, uint64_t min, uint64_t max,
                    uint64_t *out)
{
    const yaml_node_t *node = s_scalar(map, key, required);
    uint64_t number = 0;
    if (!node) {
        return;
    }
    if (node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE ||
        !s_digits(s_bytes(node), node->data.scalar.length, &number) || number < min ||
        number > max) {
        bb_yaml_refuse(map, key, "must be a whole number from %llu to %llu",
                       (unsigned long long)min, (unsigned long long)max);
        return;
    }
    *out = number;
}

void bb_yaml_size(bb_yaml_map_t *map, const char *key, uint64_t min, uint64_t max, uint64_t *out)
{
    static const struct {
        const char *suffix;
        uint32_t shift;
    } units[] = {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}, {"", 0}};
    const yaml_node_t *node = s_scalar(map, key, false);
    if (!node) {
        return;
    }
    size_t length = node->data.scalar.length;
    size_t unit = 0;
    for (; unit < BB_COUNT_OF(units); unit++) {
        size_t suffix = strlen(units[unit].suffix);
        if (length > suffix &&
            memcmp(s_bytes(node) + length - suffix, units[unit].suffix, suffix) == 0) {
            length -= suffix;
            break;
        }
    }
    uint64_t number = 0;
    if (unit == BB_COUNT_OF(units) || !s_digits(s_bytes(node), length, &number) ||
        number > UINT64_MAX >> units[unit].shift || number << units[unit].shift < min ||
        number << units[unit].shift > max) {
        bb_yaml_refuse(map, key, "must be a size from %llu to %llu bytes, such as 256MiB",
                       (unsigned long long)min, (unsigned long long)max);
        return;
    }
    *out = number << units[unit].shift;
}

void bb_yaml_duration(bb_yaml_map_t *map, const char *key, int64_t min, int64_t max, int64_t *out)
{
    const yaml_node_t *node = s_scalar(map, key, false);
    int64_t number = 0;
    if (!node) {
        return;
    }
    if (bb_duration_parse(bb_slice(s_bytes(node), node->data.scalar.length), &number, NULL) !=
            BB_OK ||
        number < min || number > max) {
        char from[BB_DURATION_TEXT_BYTES];
        char to[BB_DURATION_TEXT_BYTES];
        bb_duration_format(min, from);
        bb_duration_format(max, to);
        bb_yaml_refuse(map, key, "must be a duration from %s to %s", from, to);
        return;
    }
    *out = number;
}

static int s_hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

void bb_yaml_hex(bb_yaml_map_t *map, const char *key, uint8_t *out, size_t length)
{
    const yaml_node_t *node = s_scalar(map, key, true);
    if (!node) {
        return;
    }
    bool valid = node->data.scalar.length == 2 * length;
    for (size_t i = 0; valid && i < length; i++) {
        int high = s_hex_digit(s_bytes(node)[2 * i]);
        int low = s_hex_digit(s_bytes(node)[2 * i + 1]);
        valid = high >= 0 && low >= 0;
        out[i] = (uint8_t)((high & 15) << 4 | (low & 15));
    }
    if (!valid) {
        bb_yaml_refuse(map, key, "must be %zu hexadecimal digits", 2 * length);
    }
}

void bb_yaml_key(bb_yaml_map_t *map, const char *key, uint8_t out[32])
{
    const yaml_node_t *node = s_scalar(map, key, true);
    if (node && (node->data.scalar.length != 40 || !bb_z85_decode(s_bytes(node), 40, out))) {
        bb_yaml_refuse(map, key, "must be 40 characters of Z85");
    }
}

bool bb_name_is_valid(const char *name, size_t length)
{
    if (length == 0 || length > BB_NODE_ID_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (i == 0 || (c != '.' && c != '_' && c != '-'))) {
            return false;
        }
    }
    return true;
}

void bb_yaml_name(bb_yaml_map_t *map, const char *key, bool required, char *out)
{
    const yaml_node_t *node = s_scalar(map, key, required);
    if (!node) {
        return;
    }
    size_t length = node->data.scalar.length;
    if (s_is_null(node) || !bb_name_is_valid(s_bytes(node), length)) {
        bb_yaml_refuse(map, key, "must be 1 to %d letters, digits, '.', '_' or '-'",
                       BB_NODE_ID_BYTES_MAX);
        return;
    }
    memcpy(out, s_bytes(node), length);
    out[length] = '\0';
}

// Labels of 1 to 63 letters, digits and inner hyphens; the last one not all digits, so that a wrong
// IPv4 address is not taken for a name.
static bool s_is_host_name(const char *host)
{
    size_t label = 0;
    bool digits_only = true;
    for (const char *at = host;; at++) {
        if (*at == '.' || *at == '\0') {
            if (label == 0 || label > 63 || at[-1] == '-') {
                return false;
            }
            if (*at == '\0') {
                return !digits_only && at - host <= 253;
            }
            label = 0;
            digits_only = true;
            continue;
        }
        bool digit = *at >= '0' && *at <= '9';
        bool letter = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z');
        if (!digit && !letter && (*at != '-' || label == 0)) {
            return false;
        }
        digits_only = digits_only && digit;
        label++;
    }
}

bool bb_host_take(char *host)
{
    struct in_addr address;
    struct in6_addr address6;
    char bare[INET6_ADDRSTRLEN];
    size_t length = strlen(host);
    bool has_brackets = length > 2 && host[0] == '[' && host[length - 1] == ']';
    snprintf(bare, sizeof bare, "%.*s", (int)(has_brackets ? length - 2 : length),
             has_brackets ? host + 1 : host);
    if (inet_pton(AF_INET6, bare, &address6) == 1) {
        const char *shortest = inet_ntop(AF_INET6, &address6, bare, sizeof bare);
        BB_ASSERT(shortest);
        strcpy(host, shortest);
        return true;
    }
    return inet_pton(AF_INET, host, &address) == 1 || s_is_host_name(host);
}

// ---- structure ----

static void s_extend(const bb_yaml_map_t *map, const char *key, int index, char *out, size_t size)
{
    const char *dot = map->where[0] ? "." : "";
    int length = index < 0 ? snprintf(out, size, "%s%s%s", map->where, dot, key)
                           : snprintf(out, size, "%s%s%s[%d]", map->where, dot, key, index);
    BB_ASSERT(length > 0);
}

bb_yaml_map_t bb_yaml_map(bb_yaml_map_t *map, const char *key, bool required)
{
    bb_yaml_map_t child = {.yaml = map->yaml};
    s_extend(map, key, -1, child.where, sizeof child.where);
    yaml_node_t *node = s_find(map, key);
    if (!node) {
        if (required) {
            bb_yaml_refuse(map, key, "is missing");
        }
    } else if (node->type != YAML_MAPPING_NODE) {
        bb_yaml_refuse(map, key, "must be a mapping");
    } else {
        child.node = node;
        s_check_keys(&child, NULL);
    }
    return child;
}

uint32_t bb_yaml_list_count(bb_yaml_map_t *map, const char *key, bool required, uint32_t max)
{
    const yaml_node_t *node = s_find(map, key);
    if (!node) {
        if (required) {
            bb_yaml_refuse(map, key, "is missing");
        }
        return 0;
    }
    if (node->type != YAML_SEQUENCE_NODE) {
        bb_yaml_refuse(map, key, "must be a list");
        return 0;
    }
    size_t count = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    if (count > max || (required && count == 0)) {
        bb_yaml_refuse(map, key, "has %zu entries; %d to %u are allowed", count, required, max);
        return 0;
    }
    return (uint32_t)count;
}

bb_yaml_map_t bb_yaml_list_map(bb_yaml_map_t *map, const char *key, uint32_t index)
{
    bb_yaml_map_t child = {.yaml = map->yaml};
    s_extend(map, key, (int)index, child.where, sizeof child.where);
    const yaml_node_t *list = s_find(map, key);
    if (!list) {
        return child;
    }
    yaml_node_t *node =
        yaml_document_get_node(&map->yaml->document, list->data.sequence.items.start[index]);
    if (!node || node->type != YAML_MAPPING_NODE) {
        s_set(map->yaml, node ? node->start_mark.line + 1 : 1, "key '%s': must be a mapping",
              child.where);
        return child;
    }
    child.node = node;
    return child;
}

void bb_yaml_list_text(bb_yaml_map_t *map, const char *key, uint32_t index, char *out, size_t size)
{
    const yaml_node_t *list = s_find(map, key);
    if (!list) {
        return;
    }
    const yaml_node_t *node =
        yaml_document_get_node(&map->yaml->document, list->data.sequence.items.start[index]);
    bool is_text = node && s_is_scalar(node);
    size_t length = is_text ? node->data.scalar.length : 0;
    if (!is_text || length == 0 || length >= size ||
        memchr(node->data.scalar.value, '\0', length)) {
        char where[sizeof map->where];
        s_extend(map, key, (int)index, where, sizeof where);
        s_set(map->yaml, node ? node->start_mark.line + 1 : 1,
              "key '%s': must be a text of 1 to %zu bytes", where, size - 1);
        return;
    }
    memcpy(out, node->data.scalar.value, length);
    out[length] = '\0';
}

uint32_t bb_yaml_entry_count(const bb_yaml_map_t *map)
{
    if (map->yaml->error != BB_OK || !map->node) {
        return 0;
    }
    return (uint32_t)(map->node->data.mapping.pairs.top - map->node->data.mapping.pairs.start);
}

const char *bb_yaml_entry_key(const bb_yaml_map_t *map, uint32_t index)
{
    BB_ASSERT(index < bb_yaml_entry_count(map));
    yaml_node_t *key = yaml_document_get_node(&map->yaml->document,
                                              map->node->data.mapping.pairs.start[index].key);
    return (const char *)key->data.scalar.value; // s_check_keys has seen that it is a scalar
}
