// SPDX-License-Identifier: Apache-2.0
#include "cluster-config/bb_config_policy.h"

#include <stdlib.h>
#include <string.h>

#include "cluster-config/bb_config_private.h"

// ---- zones -----------------------------------------------------------------------------------
bb_error_t bb_config_zone_load(const char *name, bb_zone_t **zone, bb_fault_t *fault)
{
    BB_ASSERT(zone);
    *zone = NULL;
    if (strcmp(name, "UTC") == 0) {
        return BB_OK;
    }
    if (!bb_zone_name_is_valid(name)) {
        return bb_fault_set(fault, BB_ERR_CONFIG, "'%.64s' is no name of a time zone", name);
    }
    char path[sizeof BB_ZONE_FOLDER + BB_ZONE_NAME_BYTES_MAX + 1];
    snprintf(path, sizeof path, "%s/%s", BB_ZONE_FOLDER, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        return bb_fault_set(fault, BB_ERR_CONFIG, "'%.64s' is not in %s", name, BB_ZONE_FOLDER);
    }
    uint8_t *bytes = bb_alloc(BB_ZONE_FILE_BYTES_MAX + 1);
    size_t length = fread(bytes, 1, BB_ZONE_FILE_BYTES_MAX + 1, file);
    fclose(file);
    bb_error_t error = bb_zone_decode(bb_slice(bytes, length), zone, NULL);
    free(bytes);
    if (error != BB_OK) {
        return bb_fault_set(fault, BB_ERR_CONFIG, "'%.64s' is no time zone in %s", name,
                            BB_ZONE_FOLDER);
    }
    return BB_OK;
}

// ---- reading ---------------------------------------------------------------------------------
// How many of the conditions were given.
static uint32_t s_load_match(bb_yaml_map_t *entry, bb_selector_t *selector)
{
    static const char *const keys[] = {"site", "tag", "metric", NULL};
    bb_yaml_map_t map = bb_yaml_map(entry, "match", false);
    if (!map.node) {
        return 0;
    }
    bb_yaml_allow(&map, keys);
    bb_yaml_text(&map, "site", false, selector->site, sizeof selector->site);
    bb_yaml_text(&map, "metric", false, selector->metric, sizeof selector->metric);
    char tag[BB_ATTRIBUTE_KEY_BYTES_MAX + BB_SELECTOR_BYTES_MAX + 2] = "";
    bb_yaml_text(&map, "tag", false, tag, sizeof tag);
    bb_fault_t fault = {0};
    if (tag[0] && bb_selector_parse_tag(selector, tag, &fault) != BB_OK) {
        bb_yaml_refuse(&map, "tag", "%s", fault.text);
    }
    return bb_yaml_entry_count(&map);
}

static void s_load_keep(bb_yaml_map_t *entry, bool required, int64_t *keep_ns)
{
    char text[BB_DURATION_TEXT_BYTES] = "";
    bb_fault_t fault = {0};
    bb_yaml_text(entry, "keep", required, text, sizeof text);
    if (text[0] && bb_keep_parse(bb_slice(text, strlen(text)), keep_ns, &fault) != BB_OK) {
        bb_yaml_refuse(entry, "keep", "%s", fault.text);
    }
}

// Named classes go to `classes`; `default` to *default_keep_ns.
static uint32_t s_load_classes(bb_yaml_map_t *top, bb_retention_class_t *classes,
                               int64_t *default_keep_ns)
{
    static const char *const keys[] = {"name", "match", "keep", NULL};
    uint32_t entries = bb_yaml_list_count(top, "retention", false, BB_RETENTION_CLASSES_MAX + 1);
    uint32_t count = 0;
    for (uint32_t i = 0; i < entries && top->yaml->error == BB_OK; i++) {
        bb_retention_class_t class = {.keep_ns = BB_KEEP_FOREVER_NS};
        bb_yaml_map_t map = bb_yaml_list_map(top, "retention", i);
        bb_yaml_allow(&map, keys);
        bb_yaml_name(&map, "name", true, class.name);
        uint32_t conditions = s_load_match(&map, &class.selector);
        s_load_keep(&map, true, &class.keep_ns);
        for (uint32_t j = 0; j < count; j++) {
            if (strcmp(classes[j].name, class.name) == 0) {
                bb_yaml_refuse(&map, "name", "'%s' is listed twice", class.name);
            }
        }
        if (strcmp(class.name, BB_RETENTION_DEFAULT) == 0) {
            if (bb_yaml_has(&map, "match")) {
                bb_yaml_refuse(&map, "match", "'default' takes what no other class takes");
            }
            if (i + 1 < entries) {
                bb_yaml_refuse(&map, "name", "'default' must stand last");
            }
            *default_keep_ns = class.keep_ns;
            continue;
        }
        if (conditions == 0) {
            bb_yaml_refuse(&map, "match", "needs one of site, tag and metric");
        }
        if (count == BB_RETENTION_CLASSES_MAX) {
            bb_yaml_refuse(&map, "name", "at most %d classes beside 'default' are allowed",
                           BB_RETENTION_CLASSES_MAX);
            break;
        }
        classes[count++] = class;
    }
    return count;
}

static void s_load_aggregates(bb_yaml_map_t *map, uint32_t *aggregates)
{
    uint32_t count = bb_yaml_list_count(map, "aggregates", true, 7);
    for (uint32_t i = 0; i < count && map->yaml->error == BB_OK; i++) {
        char name[16] = "";
        bb_yaml_list_text(map, "aggregates", i, name, sizeof name);
        uint32_t bit = bb_aggregate_of_name(bb_slice(name, strlen(name)));
        if (bit == 0 || (*aggregates & bit) != 0) {
            bb_yaml_refuse(map, "aggregates",
                           bit ? "'%s' is listed twice"
                               : "'%s' is none of mean, min, max, sum, count, first, last",
                           name);
        }
        *aggregates |= bit;
    }
}

static void s_load_bucket(bb_yaml_map_t *map, bb_rollup_t *rollup, bb_zone_t **zone)
{
    char every[BB_DURATION_TEXT_BYTES] = "";
    bb_fault_t fault = {0};
    bb_yaml_text(map, "every", true, every, sizeof every);
    if (every[0] && bb_every_parse(bb_slice(every, strlen(every)), &rollup->every,
                                   &rollup->every_ns, &fault) != BB_OK) {
        bb_yaml_refuse(map, "every", "%s", fault.text);
    }
    if (!bb_yaml_has(map, "zone")) {
        return;
    }
    bb_yaml_text(map, "zone", false, rollup->zone_name, sizeof rollup->zone_name);
    if (rollup->every == BB_EVERY_FIXED && every[0]) {
        bb_yaml_refuse(map, "zone", "belongs to day, week, month and year; %s is counted in UTC",
                       every);
    } else if (rollup->zone_name[0] &&
               bb_config_zone_load(rollup->zone_name, zone, &fault) != BB_OK) {
        bb_yaml_refuse(map, "zone", "%s", fault.text);
    }
}

static uint32_t s_load_rollups(bb_yaml_map_t *top, bb_rollup_t *rollups, bb_zone_t **zones)
{
    static const char *const keys[] = {"name",       "match", "every", "zone",
                                       "aggregates", "keep",  NULL};
    uint32_t count = bb_yaml_list_count(top, "rollups", false, BB_ROLLUPS_MAX);
    for (uint32_t i = 0; i < count && top->yaml->error == BB_OK; i++) {
        bb_rollup_t *rollup = &rollups[i];
        rollup->keep_ns = BB_KEEP_FOREVER_NS;
        bb_yaml_map_t map = bb_yaml_list_map(top, "rollups", i);
        bb_yaml_allow(&map, keys);
        bb_yaml_name(&map, "name", true, rollup->name);
        (void)s_load_match(&map, &rollup->selector);
        s_load_bucket(&map, rollup, &zones[i]);
        s_load_aggregates(&map, &rollup->aggregates);
        s_load_keep(&map, false, &rollup->keep_ns);
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(rollups[j].name, rollup->name) == 0) {
                bb_yaml_refuse(&map, "name", "'%s' is listed twice", rollup->name);
            }
        }
    }
    return count;
}

bb_policy_t *bb_config_policy_load(bb_yaml_map_t *top)
{
    int64_t default_keep_ns = BB_KEEP_FOREVER_NS;
    bb_retention_class_t *classes = bb_alloc_zero(BB_RETENTION_CLASSES_MAX, sizeof *classes);
    bb_rollup_t *rollups = bb_alloc_zero(BB_ROLLUPS_MAX, sizeof *rollups);
    bb_zone_t *zones[BB_ROLLUPS_MAX] = {NULL};
    uint32_t class_count = s_load_classes(top, classes, &default_keep_ns);
    uint32_t rollup_count = s_load_rollups(top, rollups, zones);
    bb_policy_t *policy =
        bb_policy_new(classes, class_count, default_keep_ns, rollups, zones, rollup_count);
    free(classes);
    free(rollups);
    return policy;
}

// ---- printing --------------------------------------------------------------------------------
void bb_config_print_text(FILE *out, const char *key, const char *text, const char *after)
{
    fprintf(out, "%s: \"", key);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', out);
        }
        if ((unsigned char)*text < 0x20) {
            fprintf(out, "\\x%02x", (unsigned char)*text);
        } else {
            fputc(*text, out);
        }
    }
    fprintf(out, "\"%s", after);
}

static void s_print_match(const bb_selector_t *selector, FILE *out)
{
    if (!bb_selector_names_batteries(selector) && !selector->metric[0]) {
        return;
    }
    fprintf(out, "    match:\n");
    if (selector->site[0]) {
        bb_config_print_text(out, "      site", selector->site, "\n");
    }
    if (selector->tag_key[0]) {
        char tag[sizeof selector->tag_key + sizeof selector->tag_value];
        snprintf(tag, sizeof tag, "%s=%s", selector->tag_key, selector->tag_value);
        bb_config_print_text(out, "      tag", tag, "\n");
    }
    if (selector->metric[0]) {
        bb_config_print_text(out, "      metric", selector->metric, "\n");
    }
}

static void s_print_rollup(const bb_rollup_t *rollup, FILE *out)
{
    char text[BB_DURATION_TEXT_BYTES];
    char list[64];
    fprintf(out, "  - name: \"%s\"\n", rollup->name);
    s_print_match(&rollup->selector, out);
    bb_every_format(rollup->every, rollup->every_ns, text);
    fprintf(out, "    every: %s\n", text);
    if (rollup->zone_name[0]) {
        fprintf(out, "    zone: \"%s\"\n", rollup->zone_name);
    }
    bb_aggregates_format(rollup->aggregates, ", ", list, sizeof list);
    bb_keep_format(rollup->keep_ns, text);
    fprintf(out, "    aggregates: [%s]\n    keep: %s\n", list, text);
}

void bb_config_policy_print(const bb_policy_t *policy, FILE *out)
{
    char keep[BB_DURATION_TEXT_BYTES];
    fprintf(out, "retention:\n");
    for (uint32_t i = 0; i <= bb_policy_class_count(policy); i++) {
        const bb_retention_class_t *class = bb_policy_class(policy, i);
        bb_keep_format(class->keep_ns, keep);
        fprintf(out, "  - name: \"%s\"\n", class->name);
        s_print_match(&class->selector, out);
        fprintf(out, "    keep: %s\n", keep);
    }
    uint32_t rollups = bb_policy_rollup_count(policy);
    fprintf(out, "rollups:%s\n", rollups ? "" : " []");
    for (uint32_t i = 0; i < rollups; i++) {
        s_print_rollup(bb_policy_rollup(policy, i), out);
    }
}
