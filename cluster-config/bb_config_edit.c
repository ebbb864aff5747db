// SPDX-License-Identifier: Apache-2.0
// Changes of retention and rollups in files that people have written.
#include <stdlib.h>
#include <string.h>

#include "cluster-config/bb_config_private.h"
#include "protocol/bb_whole_file.h"

// ---- editing ---------------------------------------------------------------------------------
// Offset of the line behind the one at `at`.
static size_t s_line_end(const char *text, size_t length, size_t at)
{
    const char *end = memchr(text + at, '\n', length - at);
    return end ? (size_t)(end - text) + 1 : length;
}

static bool s_begins_with_key(const char *text, size_t length, size_t at, const char *key)
{
    size_t key_length = strlen(key);
    return length - at > key_length && memcmp(text + at, key, key_length) == 0 &&
           text[at + key_length] == ':';
}

// A line that goes on with what stands before it: indented, or an entry of a list at the margin.
static bool s_is_inner(const char *text, size_t length, size_t at)
{
    char c = text[at];
    return c == ' ' || c == '\t' ||
           (c == '-' && (at + 1 == length || text[at + 1] == ' ' || text[at + 1] == '\n') &&
            !(length - at >= 3 && memcmp(text + at, "---", 3) == 0));
}

static bool s_is_empty(const char *text, size_t length, size_t at)
{
    while (at < length && (text[at] == ' ' || text[at] == '\r' || text[at] == '\t')) {
        at++;
    }
    return at == length || text[at] == '\n' || text[at] == '#';
}

// Copies the text without the sections. Blank lines and comments belong to what follows them, so
// that the words above the next section stay.
static void s_copy_others(const char *text, size_t length, FILE *out)
{
    bool is_inside = false;
    size_t waiting = 0; // where the blank lines and comments before `at` begin
    for (size_t at = 0; at < length; at = s_line_end(text, length, at)) {
        if (s_is_empty(text, length, at)) {
            continue;
        }
        bool is_key = s_begins_with_key(text, length, at, "retention") ||
                      s_begins_with_key(text, length, at, "rollups");
        is_inside = is_key || (is_inside && s_is_inner(text, length, at));
        size_t end = s_line_end(text, length, at);
        if (!is_inside) {
            fwrite(text + waiting, 1, end - waiting, out);
        } else if (is_key) {
            fwrite(text + waiting, 1, at - waiting, out);
        }
        waiting = end;
    }
    fwrite(text + waiting, 1, length - waiting, out);
}

bb_error_t bb_config_policy_edit(const char *text, size_t length, const char *path,
                                 const bb_policy_t *policy, char **out, size_t *out_length,
                                 bb_fault_t *fault)
{
    BB_ASSERT(out);
    BB_ASSERT(out_length);
    char *edited = NULL;
    size_t edited_length = 0;
    FILE *stream = open_memstream(&edited, &edited_length);
    BB_ASSERT(stream);
    s_copy_others(text, length, stream);
    if (length > 0 && text[length - 1] != '\n') {
        fputc('\n', stream);
    }
    bb_config_policy_print(policy, stream);
    fclose(stream);
    // What a reader of the file will see decides, not what was meant.
    bb_config_t *config = NULL;
    bb_error_t error = bb_config_parse(edited, edited_length, path, &config, fault);
    bb_config_destroy(&config);
    if (error != BB_OK) {
        free(edited);
        return error;
    }
    *out = edited;
    *out_length = edited_length;
    return BB_OK;
}

// ---- files -----------------------------------------------------------------------------------
bb_error_t bb_config_policy_rewrite(const char *const *paths, uint32_t path_count,
                                    const bb_policy_t *policy, bb_fault_t *fault)
{
    char **texts = bb_alloc_zero(path_count, sizeof *texts);
    size_t *lengths = bb_alloc_zero(path_count, sizeof *lengths);
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; i < path_count && error == BB_OK; i++) {
        char *text = NULL;
        size_t length = 0;
        error = bb_yaml_read_file(paths[i], &text, &length, fault);
        if (error == BB_OK) {
            error = bb_config_policy_edit(text, length, paths[i], policy, &texts[i], &lengths[i],
                                          fault);
            free(text);
        }
    }
    for (uint32_t i = 0; i < path_count && error == BB_OK; i++) {
        error = bb_whole_file_replace("configuration", paths[i], texts[i], lengths[i], fault);
    }
    for (uint32_t i = 0; i < path_count; i++) {
        free(texts[i]);
    }
    free(texts);
    free(lengths);
    return error;
}
