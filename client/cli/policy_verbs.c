// SPDX-License-Identifier: Apache-2.0
#include "client/cli/policy_verbs.h"

#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/cli_output.h"
#include "client/cli/cluster_process.h"

static int s_refuse(const bb_fault_t *fault)
{
    cli_complain("%s", fault->text);
    return fault->error == BB_ERR_IO || fault->error == BB_ERR_DISK_FULL ? CLI_EXIT_UNAVAILABLE
                                                                         : CLI_EXIT_USAGE;
}

// ---- a policy that can be changed ----
typedef struct {
    bb_retention_class_t classes[BB_RETENTION_CLASSES_MAX];
    uint32_t class_count;
    int64_t default_keep_ns;
    bb_rollup_t rollups[BB_ROLLUPS_MAX];
    uint32_t rollup_count;
} s_draft_t;

static s_draft_t *s_draft_new(const bb_policy_t *policy)
{
    s_draft_t *self = bb_alloc_zero(1, sizeof *self);
    self->class_count = bb_policy_class_count(policy);
    for (uint32_t i = 0; i < self->class_count; i++) {
        self->classes[i] = *bb_policy_class(policy, i);
    }
    self->default_keep_ns = bb_policy_class(policy, self->class_count)->keep_ns;
    self->rollup_count = bb_policy_rollup_count(policy);
    for (uint32_t i = 0; i < self->rollup_count; i++) {
        self->rollups[i] = *bb_policy_rollup(policy, i);
    }
    return self;
}

// Index of the name, or the count.
static uint32_t s_class_find(const s_draft_t *self, const char *name)
{
    uint32_t i = 0;
    while (i < self->class_count && strcmp(self->classes[i].name, name) != 0) {
        i++;
    }
    return i;
}

static uint32_t s_rollup_find(const s_draft_t *self, const char *name)
{
    uint32_t i = 0;
    while (i < self->rollup_count && strcmp(self->rollups[i].name, name) != 0) {
        i++;
    }
    return i;
}

// Takes the one of this name out; false: there is none.
static bool s_class_remove(s_draft_t *self, const char *name)
{
    uint32_t at = s_class_find(self, name);
    if (at == self->class_count) {
        cli_complain("retention drop: there is no class '%s'", name);
        return false;
    }
    memmove(&self->classes[at], &self->classes[at + 1],
            (--self->class_count - at) * sizeof self->classes[0]);
    return true;
}

static bool s_rollup_remove(s_draft_t *self, const char *name)
{
    uint32_t at = s_rollup_find(self, name);
    if (at == self->rollup_count) {
        cli_complain("rollup drop: there is no rollup '%s'", name);
        return false;
    }
    memmove(&self->rollups[at], &self->rollups[at + 1],
            (--self->rollup_count - at) * sizeof self->rollups[0]);
    return true;
}

// ---- the folder ----
typedef struct {
    cli_texts_t arguments;
    cluster_folder_t folder;
    s_draft_t *draft;
} s_edit_t;

static bool s_parse(s_edit_t *edit, const cli_command_t *command, const cli_context_t *context,
                    int argc, char **argv, size_t argument_count, int *exit_status)
{
    *edit = (s_edit_t){.folder = {.lock = -1}};
    *exit_status = CLI_EXIT_USAGE;
    if (!cli_parse(command, context, argc, argv, &edit->arguments, exit_status)) {
        return false;
    }
    if (edit->arguments.count != argument_count) {
        cli_complain("%s: %s; see `busbar %s --help`", command->verb,
                     argument_count ? "one name is needed" : "no argument is needed",
                     command->verb);
        return false;
    }
    return true;
}

// Opens and locks the folder and takes the first node's policy as the draft.
static bool s_open(s_edit_t *edit, const cli_context_t *context, const char *given, bool is_change,
                   int *exit_status)
{
    char path[PATH_MAX];
    bb_fault_t fault;
    const char *folder = given;
    if (!folder && context->config && strlen(context->config) < sizeof path) {
        strcpy(path, context->config);
        folder = dirname(path);
    }
    if (!folder) {
        cli_complain("the cluster's folder is not known: give -c DIR/client.yaml or --cluster DIR");
        return false;
    }
    if (cluster_folder_open(folder, &edit->folder, &fault) != BB_OK ||
        (is_change && cluster_folder_lock(&edit->folder, &fault) != BB_OK)) {
        *exit_status = s_refuse(&fault);
        return false;
    }
    edit->draft = s_draft_new(edit->folder.nodes[0].config->policy);
    return true;
}

static int s_end(s_edit_t *edit, int exit_status)
{
    free(edit->draft);
    cluster_folder_close(&edit->folder);
    cli_texts_clear(&edit->arguments);
    return exit_status;
}

static bb_error_t s_policy_of(const s_draft_t *draft, bb_policy_t **policy, bb_fault_t *fault)
{
    bb_zone_t *zones[BB_ROLLUPS_MAX] = {NULL};
    bb_error_t error = BB_OK;
    for (uint32_t i = 0; i < draft->rollup_count && error == BB_OK; i++) {
        if (draft->rollups[i].zone_name[0]) {
            error = bb_config_zone_load(draft->rollups[i].zone_name, &zones[i], fault);
        }
    }
    if (error == BB_OK) {
        *policy = bb_policy_new(draft->classes, draft->class_count, draft->default_keep_ns,
                                draft->rollups, zones, draft->rollup_count);
    }
    for (uint32_t i = 0; i < draft->rollup_count; i++) {
        bb_zone_destroy(&zones[i]);
    }
    return error;
}

// Tells every node that runs here; one that is elsewhere or down reads its file when it starts.
static int s_tell(cluster_folder_t *folder)
{
    int exit_status = CLI_EXIT_OK;
    for (uint32_t i = 0; i < folder->node_count; i++) {
        cluster_node_t *node = &folder->nodes[i];
        pid_t pid = cluster_node_pid(node);
        if (pid == 0) {
            printf("%-4s written; it does not run here\n", node->self->id);
        } else if (kill(pid, SIGHUP) == 0) {
            printf("%-4s written; told to read it\n", node->self->id);
        } else {
            cli_complain("%s: cannot signal process %ld: %s", node->self->id, (long)pid,
                         strerror(errno));
            exit_status = CLI_EXIT_UNAVAILABLE;
        }
    }
    return exit_status;
}

// Writes the draft into every node's file.
static int s_apply(s_edit_t *edit)
{
    const char *paths[BB_NODES_MAX];
    bb_policy_t *policy = NULL;
    bb_fault_t fault;
    for (uint32_t i = 0; i < edit->folder.node_count; i++) {
        paths[i] = edit->folder.nodes[i].config_path;
    }
    bb_error_t error = s_policy_of(edit->draft, &policy, &fault);
    if (error == BB_OK) {
        error = bb_config_policy_rewrite(paths, edit->folder.node_count, policy, &fault);
    }
    bb_policy_release(&policy);
    return error == BB_OK ? s_tell(&edit->folder) : s_refuse(&fault);
}

// ---- options that both have ----
typedef struct {
    const char *cluster, *site, *tag, *metric, *keep;
} s_given_t;

#define S_SELECTOR_OPTIONS(given)                                                                  \
    {"--site", CLI_TEXT, &(given).site, NULL, "S", "batteries whose attribute `site` is S"},       \
        {"--tag", CLI_TEXT, &(given).tag, NULL, "K=V", "batteries whose attribute K is V"},        \
        {"--metric", CLI_TEXT,  &(given).metric,                                                   \
         NULL,       "PATTERN", "metrics by name; * and ? are wild"},                              \
        {"--keep", CLI_TEXT, &(given).keep, NULL, "D", "30d, 12h, 26w or forever"},                \
    {                                                                                              \
        "--cluster", CLI_TEXT, &(given).cluster, NULL, "DIR",                                      \
            "folder of the cluster (default: that of the client file)"                             \
    }

static bool s_copy(const char *option, const char *text, char *out, size_t size)
{
    if (!text) {
        return true;
    }
    if (text[0] == '\0' || strlen(text) >= size) {
        cli_complain("%s: must be 1 to %zu bytes", option, size - 1);
        return false;
    }
    strcpy(out, text);
    return true;
}

// Replaces the selector when some condition was given; then *is_given.
static bool s_take_selector(const s_given_t *given, bb_selector_t *selector, bool *is_given)
{
    bb_selector_t taken = {0};
    bb_fault_t fault;
    *is_given = given->site || given->tag || given->metric;
    if (!s_copy("--site", given->site, taken.site, sizeof taken.site) ||
        !s_copy("--metric", given->metric, taken.metric, sizeof taken.metric)) {
        return false;
    }
    if (given->tag && bb_selector_parse_tag(&taken, given->tag, &fault) != BB_OK) {
        cli_complain("--tag: %s", fault.text);
        return false;
    }
    if (*is_given) {
        *selector = taken;
    }
    return true;
}

static bool s_take_keep(const char *text, int64_t *keep_ns)
{
    bb_fault_t fault;
    if (text && bb_keep_parse(bb_slice(text, strlen(text)), keep_ns, &fault) != BB_OK) {
        cli_complain("--keep: '%s' %s", text, fault.text);
        return false;
    }
    return true;
}

static bool s_is_name(const char *verb, const char *name)
{
    bool is_good = strlen(name) <= BB_NODE_ID_BYTES_MAX && name[0] != '\0';
    for (const char *at = name; *at && is_good; at++) {
        bool is_letter =
            (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
        is_good = is_letter || (at > name && (*at == '.' || *at == '_' || *at == '-'));
    }
    if (!is_good) {
        cli_complain("%s: '%s': a name is 1 to %d letters, digits, '.', '_' or '-'", verb, name,
                     BB_NODE_ID_BYTES_MAX);
    }
    return is_good;
}

static void s_put_selector(cli_output_t *output, const bb_selector_t *selector)
{
    char tag[sizeof selector->tag_key + sizeof selector->tag_value] = "";
    if (selector->tag_key[0]) {
        snprintf(tag, sizeof tag, "%s=%s", selector->tag_key, selector->tag_value);
    }
    cli_output_text(output, selector->site);
    cli_output_text(output, tag);
    cli_output_text(output, selector->metric);
}

// ---- what both do alike ----
typedef bool (*s_remove_fn)(s_draft_t *draft, const char *name);

static int s_drop(const cli_context_t *context, int argc, char **argv, const char *verb,
                  const char *help, s_remove_fn remove)
{
    const char *cluster = NULL;
    const cli_option_t options[] = {{"--cluster", CLI_TEXT, &cluster, NULL, "DIR",
                                     "folder of the cluster (default: that of the client file)"}};
    const cli_command_t command = {verb,    "NAME [--cluster DIR]", help,
                                   options, BB_COUNT_OF(options),   NULL};
    s_edit_t edit;
    int exit_status;
    if (!s_parse(&edit, &command, context, argc, argv, 1, &exit_status) ||
        !s_open(&edit, context, cluster, true, &exit_status)) {
        return s_end(&edit, exit_status);
    }
    exit_status = remove(edit.draft, edit.arguments.items[0]) ? s_apply(&edit) : CLI_EXIT_USAGE;
    return s_end(&edit, exit_status);
}

typedef void (*s_put_fn)(cli_output_t *output, const bb_policy_t *policy);

static int s_list(const cli_context_t *context, int argc, char **argv, const char *verb,
                  const char *help, const char *const *columns, size_t column_count, s_put_fn put)
{
    const char *cluster = NULL;
    const char *form_name = NULL;
    const cli_option_t options[] = {
        {"--output -o", CLI_TEXT, &form_name, NULL, "FORM", "table, csv or json"},
        {"--cluster", CLI_TEXT, &cluster, NULL, "DIR",
         "folder of the cluster (default: that of the client file)"}};
    const cli_command_t command = {
        verb, "[--output table|csv|json] [--cluster DIR]", help, options, BB_COUNT_OF(options),
        NULL};
    s_edit_t edit;
    int exit_status;
    cli_form_t form;
    if (!s_parse(&edit, &command, context, argc, argv, 0, &exit_status) ||
        !cli_form(form_name, &form) || !s_open(&edit, context, cluster, false, &exit_status)) {
        return s_end(&edit, exit_status);
    }
    cli_output_t *output = cli_output_open(form, columns, column_count);
    put(output, edit.folder.nodes[0].config->policy);
    bool is_written = cli_output_finish(&output, true, NULL, 0);
    return s_end(&edit, is_written ? CLI_EXIT_OK : CLI_EXIT_UNAVAILABLE);
}

// ---- retention ----

// Changes or adds the class in the draft.
static bool s_draft_set(s_draft_t *draft, const char *name, const s_given_t *given,
                        const char *before)
{
    if (strcmp(name, BB_RETENTION_DEFAULT) == 0) {
        if (given->site || given->tag || given->metric || before) {
            cli_complain("retention set: 'default' takes what no other class takes; only --keep "
                         "can be given");
            return false;
        }
        return s_take_keep(given->keep, &draft->default_keep_ns);
    }
    uint32_t at = s_class_find(draft, name);
    bool is_new = at == draft->class_count;
    bb_retention_class_t class = {.keep_ns = 0};
    if (!is_new) {
        class = draft->classes[at];
    }
    bool has_selector = false;
    strcpy(class.name, name);
    if (!s_take_selector(given, &class.selector, &has_selector) ||
        !s_take_keep(given->keep, &class.keep_ns)) {
        return false;
    }
    if (is_new && (!given->keep || !has_selector)) {
        cli_complain("retention set: '%s' is new: --keep and one of --site, --tag and --metric are "
                     "needed",
                     name);
        return false;
    }
    if (is_new && draft->class_count == BB_RETENTION_CLASSES_MAX) {
        cli_complain("retention set: there are %d classes already", BB_RETENTION_CLASSES_MAX);
        return false;
    }
    if (!is_new && !before) {
        draft->classes[at] = class;
        return true;
    }
    if (before &&
        (strcmp(before, name) == 0 || s_class_find(draft, before) == draft->class_count)) {
        cli_complain("retention set: --before: there is no other class '%s'", before);
        return false;
    }
    if (!is_new) {
        memmove(&draft->classes[at], &draft->classes[at + 1],
                (--draft->class_count - at) * sizeof class);
    }
    at = before ? s_class_find(draft, before) : draft->class_count;
    memmove(&draft->classes[at + 1], &draft->classes[at],
            (draft->class_count++ - at) * sizeof class);
    draft->classes[at] = class;
    return true;
}

static int s_retention_set(const cli_context_t *context, int argc, char **argv)
{
    s_given_t given = {0};
    const char *before = NULL;
    const cli_option_t options[] = {
        {"--before", CLI_TEXT, &before, NULL, "NAME", "stand before that class (default: last)"},
        S_SELECTOR_OPTIONS(given)};
    const cli_command_t command = {
        "retention set",
        "NAME --keep D [--site S] [--tag K=V] [--metric PATTERN] [--before NAME]",
        "Adds or changes a retention class. A series belongs to the first class whose conditions "
        "all hold, else to `default`. What is older than --keep goes, whole UTC days at a time, "
        "and is refused when it is written again.",
        options,
        BB_COUNT_OF(options),
        "Example: busbar -c DIR/client.yaml retention set cells --metric 'cell_*' --keep 90d\n"};
    s_edit_t edit;
    int exit_status;
    if (!s_parse(&edit, &command, context, argc, argv, 1, &exit_status) ||
        !s_is_name("retention set", edit.arguments.items[0]) ||
        !s_open(&edit, context, given.cluster, true, &exit_status)) {
        return s_end(&edit, exit_status);
    }
    exit_status = s_draft_set(edit.draft, edit.arguments.items[0], &given, before) ? s_apply(&edit)
                                                                                   : CLI_EXIT_USAGE;
    return s_end(&edit, exit_status);
}

static int s_retention_drop(const cli_context_t *context, int argc, char **argv)
{
    return s_drop(
        context, argc, argv, "retention drop",
        "Removes a class from the list. Points that it holds stay as long as it promised; "
        "new ones fall into another class.",
        s_class_remove);
}

static void s_put_classes(cli_output_t *output, const bb_policy_t *policy)
{
    for (uint32_t i = 0; i <= bb_policy_class_count(policy); i++) {
        const bb_retention_class_t *class = bb_policy_class(policy, i);
        char keep[BB_DURATION_TEXT_BYTES];
        bb_keep_format(class->keep_ns, keep);
        cli_output_text(output, class->name);
        s_put_selector(output, &class->selector);
        cli_output_text(output, keep);
        cli_output_row_end(output);
    }
}

static int s_retention_ls(const cli_context_t *context, int argc, char **argv)
{
    static const char *const columns[] = {"name", "site", "tag", "metric", "keep"};
    return s_list(context, argc, argv, "retention ls",
                  "Lists retention classes in the order in which they are tried.", columns,
                  BB_COUNT_OF(columns), s_put_classes);
}

// ---- rollups ----

static bool s_take_aggregates(const char *text, uint32_t *aggregates)
{
    while (text && *text) {
        size_t length = strcspn(text, ",");
        uint32_t bit = bb_aggregate_of_name(bb_slice(text, length));
        if (bit == 0) {
            cli_complain("rollup create: --agg: '%.*s' is none of mean, min, max, sum, count, "
                         "first, last",
                         (int)length, text);
            return false;
        }
        *aggregates |= bit;
        text += length + (text[length] == ',');
    }
    if (*aggregates == 0) {
        cli_complain("rollup create: --agg is needed, such as --agg min,max");
    }
    return *aggregates != 0;
}

static bool s_draft_create(s_draft_t *draft, const char *name, const s_given_t *given,
                           const char *every, const char *zone, const char *aggregates)
{
    bool has_selector;
    bb_fault_t fault;
    if (s_rollup_find(draft, name) < draft->rollup_count) {
        cli_complain("rollup create: '%s' exists; drop it first", name);
        return false;
    }
    if (draft->rollup_count == BB_ROLLUPS_MAX) {
        cli_complain("rollup create: there are %d rollups already", BB_ROLLUPS_MAX);
        return false;
    }
    bb_rollup_t rollup = {.keep_ns = BB_KEEP_FOREVER_NS};
    strcpy(rollup.name, name);
    if (!every) {
        cli_complain("rollup create: --every is needed");
        return false;
    }
    if (bb_every_parse(bb_slice(every, strlen(every)), &rollup.every, &rollup.every_ns, &fault) !=
        BB_OK) {
        cli_complain("rollup create: --every: '%s' %s", every, fault.text);
        return false;
    }
    if (zone && rollup.every == BB_EVERY_FIXED) {
        cli_complain("rollup create: --zone belongs to day, week, month and year; %s is counted "
                     "in UTC",
                     every);
        return false;
    }
    if (!s_copy("--zone", zone, rollup.zone_name, sizeof rollup.zone_name) ||
        !s_take_selector(given, &rollup.selector, &has_selector) ||
        !s_take_keep(given->keep, &rollup.keep_ns) ||
        !s_take_aggregates(aggregates, &rollup.aggregates)) {
        return false;
    }
    draft->rollups[draft->rollup_count++] = rollup;
    return true;
}

static int s_rollup_create(const cli_context_t *context, int argc, char **argv)
{
    s_given_t given = {0};
    const char *every = NULL;
    const char *zone = NULL;
    const char *aggregates = NULL;
    const cli_option_t options[] = {
        {"--every", CLI_TEXT, &every, NULL, "E", "15m, 1h, 1d (UTC), or day, week, month, year"},
        {"--zone", CLI_TEXT, &zone, NULL, "Z", "time zone of day, week, month, year (UTC)"},
        {"--agg", CLI_TEXT, &aggregates, NULL, "LIST", "mean,min,max,sum,count,first,last"},
        S_SELECTOR_OPTIONS(given)};
    const cli_command_t command = {
        "rollup create",
        "NAME --every E --agg LIST [--zone Z] [--metric PATTERN] [--site S] [--tag K=V] [--keep D]",
        "Names an aggregate that is kept up to date and outlives the points it is made of.",
        options,
        BB_COUNT_OF(options),
        "Example: busbar -c DIR/client.yaml rollup create soc-daily --metric soc_pct --every day "
        "--zone Europe/Berlin --agg min,max\n"};
    s_edit_t edit;
    int exit_status;
    if (!s_parse(&edit, &command, context, argc, argv, 1, &exit_status) ||
        !s_is_name("rollup create", edit.arguments.items[0]) ||
        !s_open(&edit, context, given.cluster, true, &exit_status)) {
        return s_end(&edit, exit_status);
    }
    exit_status =
        s_draft_create(edit.draft, edit.arguments.items[0], &given, every, zone, aggregates)
            ? s_apply(&edit)
            : CLI_EXIT_USAGE;
    return s_end(&edit, exit_status);
}

static int s_rollup_drop(const cli_context_t *context, int argc, char **argv)
{
    return s_drop(context, argc, argv, "rollup drop",
                  "Removes a rollup and everything that is stored of it.", s_rollup_remove);
}

static void s_put_rollups(cli_output_t *output, const bb_policy_t *policy)
{
    for (uint32_t i = 0; i < bb_policy_rollup_count(policy); i++) {
        const bb_rollup_t *rollup = bb_policy_rollup(policy, i);
        char every[BB_DURATION_TEXT_BYTES];
        char keep[BB_DURATION_TEXT_BYTES];
        char aggregates[64];
        bb_every_format(rollup->every, rollup->every_ns, every);
        bb_keep_format(rollup->keep_ns, keep);
        bb_aggregates_format(rollup->aggregates, ",", aggregates, sizeof aggregates);
        cli_output_text(output, rollup->name);
        s_put_selector(output, &rollup->selector);
        cli_output_text(output, every);
        cli_output_text(output, rollup->zone_name[0] ? rollup->zone_name : "UTC");
        cli_output_text(output, aggregates);
        cli_output_text(output, keep);
        cli_output_row_end(output);
    }
}

static int s_rollup_ls(const cli_context_t *context, int argc, char **argv)
{
    static const char *const columns[] = {"name",  "site", "tag",        "metric",
                                          "every", "zone", "aggregates", "keep"};
    return s_list(context, argc, argv, "rollup ls", "Lists rollups.", columns, BB_COUNT_OF(columns),
                  s_put_rollups);
}

// ---- which verb ----
typedef struct {
    const char *name;
    cli_verb_fn run;
    const char *help;
} s_verb_t;

static const s_verb_t s_retention_verbs[] = {
    {"set", s_retention_set, "NAME --keep D ...    add or change a class"},
    {"drop", s_retention_drop, "NAME                remove a class"},
    {"ls", s_retention_ls, "                      list classes"},
};

static const s_verb_t s_rollup_verbs[] = {
    {"create", s_rollup_create, "NAME --every E --agg LIST ...   name a continuous aggregate"},
    {"drop", s_rollup_drop, "NAME                             remove one with its results"},
    {"ls", s_rollup_ls, "                                   list them"},
};

static int s_dispatch(const char *group, const s_verb_t *verbs, size_t verb_count,
                      const cli_context_t *context, int argc, char **argv)
{
    const char *names[4];
    BB_ASSERT(verb_count <= BB_COUNT_OF(names));
    bool is_help = argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    if (argc < 2 || is_help) {
        printf("Usage: busbar -c DIR/client.yaml %s VERB ...\n\n", group);
        for (size_t i = 0; i < verb_count; i++) {
            printf("  %s %s\n", verbs[i].name, verbs[i].help);
        }
        printf("\nbusbar %s VERB --help says more.\n", group);
        return is_help ? CLI_EXIT_OK : CLI_EXIT_USAGE;
    }
    for (size_t i = 0; i < verb_count; i++) {
        names[i] = verbs[i].name;
        if (strcmp(argv[1], names[i]) == 0) {
            return verbs[i].run(context, argc - 1, argv + 1);
        }
    }
    const char *nearest = cli_nearest(argv[1], names, verb_count);
    cli_complain("unknown verb '%s %s'%s%s%s; see `busbar %s --help`", group, argv[1],
                 nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "",
                 group);
    return CLI_EXIT_USAGE;
}

int cli_verb_retention(const cli_context_t *context, int argc, char **argv)
{
    return s_dispatch("retention", s_retention_verbs, BB_COUNT_OF(s_retention_verbs), context, argc,
                      argv);
}

int cli_verb_rollup(const cli_context_t *context, int argc, char **argv)
{
    return s_dispatch("rollup", s_rollup_verbs, BB_COUNT_OF(s_rollup_verbs), context, argc, argv);
}
