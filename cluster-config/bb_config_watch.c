// SPDX-License-Identifier: Apache-2.0
#include "cluster-config/bb_config_watch.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cluster-config/bb_config_private.h"
#include "protocol/bb_text.h"

#define S_NUMBER_BYTES 64

static void s_load_above(bb_yaml_map_t *map, double *above)
{
    char text[S_NUMBER_BYTES] = "";
    bb_yaml_text(map, "above", true, text, sizeof text);
    char *end = text;
    *above = strtod(text, &end);
    if (map->yaml->error == BB_OK && (end == text || *end != '\0' || !isfinite(*above))) {
        bb_yaml_refuse(map, "above", "'%s' is not a number", text);
    }
}

static void s_load_metric(bb_yaml_map_t *map, char *metric, size_t size)
{
    bb_yaml_text(map, "metric", true, metric, size);
    if (map->yaml->error != BB_OK) {
        return;
    }
    if (bb_metric_name_check(bb_slice(metric, strlen(metric))) != BB_OK) {
        bb_yaml_refuse(map, "metric", "'%s' is no name of a metric", metric);
    } else if (strncmp(metric, BB_WATCH_METRIC_PREFIX, strlen(BB_WATCH_METRIC_PREFIX)) == 0) {
        bb_yaml_refuse(map, "metric", "'%s' is what rules write, and none looks at", metric);
    }
}

bb_watch_rules_t *bb_config_watch_load(bb_yaml_map_t *top)
{
    static const char *const keys[] = {"name", "metric", "above", NULL};
    bb_watch_rules_t *self = bb_alloc_zero(1, sizeof *self);
    uint32_t count = bb_yaml_list_count(top, "watch", false, BB_WATCH_RULES_MAX);
    for (uint32_t i = 0; i < count && top->yaml->error == BB_OK; i++) {
        bb_watch_rule_t *rule = &self->rules[self->rule_count++];
        bb_yaml_map_t map = bb_yaml_list_map(top, "watch", i);
        bb_yaml_allow(&map, keys);
        bb_yaml_name(&map, "name", true, rule->name);
        s_load_metric(&map, rule->metric, sizeof rule->metric);
        s_load_above(&map, &rule->above);
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(self->rules[j].name, rule->name) == 0) {
                bb_yaml_refuse(&map, "name", "'%s' is listed twice", rule->name);
            }
        }
    }
    return self;
}

void bb_config_watch_print(const bb_watch_rules_t *self, FILE *out)
{
    if (self->rule_count > 0) {
        fprintf(out, "watch:\n");
    }
    for (uint32_t i = 0; i < self->rule_count; i++) {
        const bb_watch_rule_t *rule = &self->rules[i];
        fprintf(out, "  - name: \"%s\"\n", rule->name);
        bb_config_print_text(out, "    metric", rule->metric, "\n");
        fprintf(out, "    above: %.17g\n", rule->above);
    }
}
