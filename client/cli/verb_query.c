// SPDX-License-Identifier: Apache-2.0
// busbar query, last, quarantine ls and battery ls: what is asked row by row.
#include <stdio.h>
#include <string.h>

#include "client/cli/cli_context.h"
#include "client/cli/cli_number.h"
#include "client/cli/cli_output.h"
#include "client/cli/cli_session.h"

typedef struct {
    cli_texts_t batteries, metrics;
    int64_t from_ns, to_ns, every_ns, timeout_ns;
    bool has_from, has_to, has_every, has_limit;
    const char *aggregates, *group_by, *level, *node_id, *output;
    const char *below, *above, *rollup, *session;
    uint64_t limit;
} s_flags_t;

typedef struct {
    const char *name;
    uint32_t bit;
} s_aggregate_t;

static const s_aggregate_t s_aggregates[] = {{"mean", BUSBAR_MEAN},     {"min", BUSBAR_MIN},
                                             {"max", BUSBAR_MAX},       {"sum", BUSBAR_SUM},
                                             {"count", BUSBAR_COUNT},   {"first", BUSBAR_FIRST},
                                             {"last", BUSBAR_LASTVALUE}};

// "mean,min" -> indexes into s_aggregates in the order given. 0 after complaining.
static uint32_t s_aggregates_parse(const char *text, uint32_t *chosen, uint32_t *bits)
{
    uint32_t count = 0;
    *bits = 0;
    while (*text) {
        size_t length = strcspn(text, ",");
        uint32_t found = UINT32_MAX;
        for (uint32_t i = 0; i < BB_COUNT_OF(s_aggregates); i++) {
            if (strlen(s_aggregates[i].name) == length &&
                memcmp(text, s_aggregates[i].name, length) == 0) {
                found = i;
            }
        }
        if (found == UINT32_MAX || *bits & s_aggregates[found].bit) {
            cli_complain("query: --agg: '%.*s' is none of mean, min, max, sum, count, first, last, "
                         "or is given twice",
                         (int)length, text);
            return 0;
        }
        chosen[count++] = found;
        *bits |= s_aggregates[found].bit;
        text += length + (text[length] == ',');
    }
    if (count == 0) {
        cli_complain("query: --agg: names no aggregate");
    }
    return count;
}

static void s_aggregate_cell(cli_output_t *output, const busbar_row_t *row, uint32_t bit)
{
    bool is_state = row->type == BUSBAR_STATE;
    switch (bit) {
    case BUSBAR_MEAN:
    case BUSBAR_SUM:
        if (is_state) {
            cli_output_empty(output);
        } else {
            cli_output_double(output, bit == BUSBAR_MEAN ? row->mean : row->sum);
        }
        break;
    case BUSBAR_COUNT:
        cli_output_uint64(output, row->count);
        break;
    case BUSBAR_MIN:
        cli_output_value(output, row->type, row->min);
        break;
    case BUSBAR_MAX:
        cli_output_value(output, row->type, row->max);
        break;
    case BUSBAR_FIRST:
        cli_output_value(output, row->type, row->first);
        break;
    default:
        cli_output_value(output, row->type, row->last);
        break;
    }
}

static void s_attributes_cell(cli_output_t *output, const busbar_row_t *row)
{
    char text[BB_ATTRIBUTES_MAX * (BB_ATTRIBUTE_KEY_BYTES_MAX + BB_ATTRIBUTE_VALUE_BYTES_MAX + 2) +
              1];
    size_t length = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < row->attribute_count; i++) {
        const busbar_attribute_t *attribute = &row->attributes[i];
        size_t needed = strlen(attribute->key) + strlen(attribute->value) + 2;
        if (length + needed >= sizeof text) {
            break; // cannot happen: 32 attributes of the largest size fit
        }
        length += (size_t)sprintf(text + length, "%s%s=%s", i ? "," : "", attribute->key,
                                  attribute->value);
    }
    cli_output_text(output, text);
}

static void s_row(cli_output_t *output, const busbar_query_t *query, const uint32_t *chosen,
                  uint32_t chosen_count, const busbar_row_t *row)
{
    if (!query->group_by_none) {
        cli_output_text(output, row->battery);
    }
    if (query->mode == BUSBAR_BATTERIES) {
        s_attributes_cell(output, row);
        cli_output_row_end(output);
        return;
    }
    cli_output_text(output, row->metric);
    cli_output_time(output, row->time_ns);
    if (query->mode == BUSBAR_AGGREGATE) {
        for (uint32_t i = 0; i < chosen_count; i++) {
            s_aggregate_cell(output, row, s_aggregates[chosen[i]].bit);
        }
    } else {
        cli_output_value(output, row->type, row->value);
    }
    cli_output_row_end(output);
}

static uint32_t s_columns(const busbar_query_t *query, const uint32_t *chosen,
                          uint32_t chosen_count, const char **columns)
{
    uint32_t count = 0;
    if (!query->group_by_none) {
        columns[count++] = "battery";
    }
    if (query->mode == BUSBAR_BATTERIES) {
        columns[count++] = "attributes";
        return count;
    }
    columns[count++] = "metric";
    columns[count++] = "time";
    for (uint32_t i = 0; i < chosen_count; i++) {
        columns[count++] = s_aggregates[chosen[i]].name;
    }
    if (chosen_count == 0) {
        columns[count++] = "value";
    }
    return count;
}

// Asks and prints; *query is complete but for the client's strings.
static int s_ask_in_session(const cli_context_t *context, const s_flags_t *flags,
                            busbar_query_t *query, const uint32_t *chosen, uint32_t chosen_count)
{
    cli_form_t form;
    int exit_status = CLI_EXIT_USAGE;
    if (!cli_form(flags->output, &form) || !cli_level(flags->level, &query->level)) {
        return exit_status;
    }
    if (query->session && !flags->level) {
        query->level = BUSBAR_ONE;
    }
    busbar_client_t *client =
        cli_client_open(context, flags->node_id, flags->timeout_ns, &exit_status);
    if (!client) {
        return exit_status;
    }
    query->batteries = flags->batteries.items;
    query->battery_count = flags->batteries.count;
    query->metrics = flags->metrics.items;
    query->metric_count = flags->metrics.count;
    query->timeout_ns = flags->timeout_ns;
    query->limit = flags->limit;
    busbar_fault_t fault = {0};
    busbar_rows_t *rows = NULL;
    if (busbar_query(client, query, &rows, &fault) != BUSBAR_OK) {
        exit_status = cli_failed("query", &fault);
        busbar_close(&client);
        return exit_status;
    }
    // The first row is fetched before anything is printed, so that a query that fails as a whole
    // leaves standard output empty.
    busbar_row_t row;
    bool has_row = busbar_rows_next(rows, &row);
    bool complete = true;
    const uint32_t *missing = NULL;
    size_t missing_count = 0;
    busbar_status_t status = BUSBAR_OK;
    cli_output_t *output = NULL;
    if (!has_row) {
        status = busbar_rows_status(rows, &complete, &missing, &missing_count, &fault);
    }
    if (status == BUSBAR_OK) {
        const char *columns[16];
        uint32_t column_count = s_columns(query, chosen, chosen_count, columns);
        output = cli_output_open(form, columns, column_count);
        for (; has_row; has_row = busbar_rows_next(rows, &row)) {
            s_row(output, query, chosen, chosen_count, &row);
        }
        status = busbar_rows_status(rows, &complete, &missing, &missing_count, &fault);
        // A failure in the middle is a partial answer and says so in the document.
        bool is_written =
            cli_output_finish(&output, complete && status == BUSBAR_OK, missing, missing_count);
        exit_status = !is_written ? CLI_EXIT_REJECTED : complete ? CLI_EXIT_OK : CLI_EXIT_PARTIAL;
    }
    if (status != BUSBAR_OK) {
        exit_status = cli_failed("query", &fault);
    }
    busbar_rows_close(&rows);
    busbar_close(&client);
    return exit_status;
}

static void s_flags_clear(s_flags_t *flags)
{
    cli_texts_clear(&flags->batteries);
    cli_texts_clear(&flags->metrics);
}

static int s_ask(const cli_context_t *context, const s_flags_t *flags, busbar_query_t *query,
                 const uint32_t *chosen, uint32_t chosen_count)
{
    if (!cli_session_open(flags->session, &query->session)) {
        return CLI_EXIT_USAGE;
    }
    int exit_status = s_ask_in_session(context, flags, query, chosen, chosen_count);
    if (!cli_session_close(flags->session, &query->session) && exit_status == CLI_EXIT_OK) {
        exit_status = CLI_EXIT_USAGE;
    }
    return exit_status;
}

#define S_OPTION_BATTERY                                                                           \
    {                                                                                              \
        "--battery", CLI_TEXTS, &flags.batteries, NULL, "ID", "only this battery; may be repeated" \
    }
#define S_OPTION_METRIC                                                                            \
    {                                                                                              \
        "--metric", CLI_TEXTS, &flags.metrics, NULL, "M", "only this metric; may be repeated"      \
    }
#define S_OPTION_LEVEL                                                                             \
    {                                                                                              \
        "--consistency", CLI_TEXT, &flags.level, NULL, "L", CLI_LEVELS_HELP                        \
    }
#define S_OPTION_SESSION                                                                           \
    {                                                                                              \
        "--session", CLI_TEXT, &flags.session, NULL, "FILE",                                       \
            "see at least what was written and read with it; level one, if none is named"          \
    }
#define S_OPTION_NODE                                                                              \
    {                                                                                              \
        "--node", CLI_TEXT, &flags.node_id, NULL, "ID", "ask this replica alone"                   \
    }
#define S_OPTION_TIMEOUT                                                                           \
    {                                                                                              \
        "--timeout", CLI_DURATION, &flags.timeout_ns, NULL, "D", "how long to wait (default 10s)"  \
    }
#define S_OPTION_OUTPUT                                                                            \
    {                                                                                              \
        "-o --output", CLI_TEXT, &flags.output, NULL, "FORM", "table (default), csv or json"       \
    }

int cli_verb_query(const cli_context_t *context, int argc, char **argv)
{
    s_flags_t flags = {0};
    const cli_option_t options[] = {
        S_OPTION_BATTERY,
        S_OPTION_METRIC,
        {"--from", CLI_TIME, &flags.from_ns, &flags.has_from, "T",
         "first time: RFC 3339, epoch with unit, -1h, now"},
        {"--to", CLI_TIME, &flags.to_ns, &flags.has_to, "T", "end of the range, not included"},
        {"--every", CLI_DURATION, &flags.every_ns, &flags.has_every, "D",
         "bucket width: ns us ms s m h d w"},
        {"--agg", CLI_TEXT, &flags.aggregates, NULL, "LIST", "mean,min,max,sum,count,first,last"},
        {"--rollup", CLI_TEXT, &flags.rollup, NULL, "NAME",
         "buckets of that rollup which begin in the range"},
        {"--group-by", CLI_TEXT, &flags.group_by, NULL, "G",
         "battery (default) or none: merge all batteries"},
        {"--limit", CLI_COUNT, &flags.limit, &flags.has_limit, "N",
         "at most N rows, sorted by battery, metric, time"},
        S_OPTION_LEVEL,
        S_OPTION_SESSION,
        S_OPTION_NODE,
        S_OPTION_TIMEOUT,
        S_OPTION_OUTPUT,
    };
    const cli_command_t command = {
        "query",
        "--from T --to T [options]",
        "Asks for points in [from, to), or with --agg for buckets. A bucket is named by its start "
        "and\n"
        "aligned to the epoch; without --every the range is one bucket.",
        options,
        BB_COUNT_OF(options),
        "  busbar -c client.yaml query --battery b1 --from -1h --to now\n"
        "  busbar -c client.yaml query --from 2026-01-01T00:00:00Z --to 2026-01-02T00:00:00Z "
        "--every 15m \\\n"
        "      --agg mean,max --metric power_kw --group-by none -o csv"};
    cli_texts_t arguments = {0};
    int exit_status = CLI_EXIT_USAGE;
    uint32_t chosen[BB_COUNT_OF(s_aggregates)], chosen_count = 0;
    busbar_query_t query = {.mode = BUSBAR_RAW};
    if (!cli_parse(&command, context, argc, argv, &arguments, &exit_status) ||
        !cli_no_arguments(&command, &arguments)) {
        goto out;
    }
    if (!flags.has_from || !flags.has_to) {
        cli_complain("query: --from and --to are needed");
        goto out;
    }
    if (flags.from_ns >= flags.to_ns) {
        cli_complain("query: --from must be before --to (the range is half open)");
        goto out;
    }
    if (flags.group_by && strcmp(flags.group_by, "none") != 0 &&
        strcmp(flags.group_by, "battery") != 0) {
        cli_complain("query: --group-by: '%s' is none of battery, none", flags.group_by);
        goto out;
    }
    query.group_by_none = flags.group_by && strcmp(flags.group_by, "none") == 0;
    if (flags.aggregates) {
        chosen_count = s_aggregates_parse(flags.aggregates, chosen, &query.aggregates);
        query.mode = BUSBAR_AGGREGATE;
    }
    if (flags.aggregates && chosen_count == 0) {
        goto out;
    }
    if (!flags.aggregates && (flags.has_every || query.group_by_none)) {
        cli_complain("query: %s needs --agg", flags.has_every ? "--every" : "--group-by none");
        goto out;
    }
    if (flags.rollup && (!flags.aggregates || flags.has_every || query.group_by_none)) {
        cli_complain("query: --rollup needs --agg, and has its own buckets, for each battery");
        goto out;
    }
    if ((flags.has_every && flags.every_ns <= 0) || (flags.has_limit && flags.limit == 0)) {
        cli_complain("query: %s must be larger than 0",
                     flags.has_every && flags.every_ns <= 0 ? "--every" : "--limit");
        goto out;
    }
    query.from_ns = flags.from_ns;
    query.to_ns = flags.to_ns;
    query.every_ns = flags.every_ns;
    query.rollup = flags.rollup;
    exit_status = s_ask(context, &flags, &query, chosen, chosen_count);
out:
    cli_texts_clear(&arguments);
    s_flags_clear(&flags);
    return exit_status;
}

// False after complaining.
static bool s_compare_parse(const s_flags_t *flags, busbar_query_t *query)
{
    const char *text = flags->below ? flags->below : flags->above;
    if (!text) {
        return true;
    }
    if (flags->below && flags->above) {
        cli_complain("last: --below and --above cannot be given together");
        return false;
    }
    if (!cli_double_parse(text, strlen(text), false, &query->threshold)) {
        cli_complain("last: %s: '%s' is not a number", flags->below ? "--below" : "--above", text);
        return false;
    }
    query->compare = flags->below ? BUSBAR_COMPARE_BELOW : BUSBAR_COMPARE_ABOVE;
    return true;
}

int cli_verb_last(const cli_context_t *context, int argc, char **argv)
{
    s_flags_t flags = {0};
    const cli_option_t options[] = {
        S_OPTION_BATTERY,
        S_OPTION_METRIC,
        {"--since", CLI_TIME, &flags.from_ns, &flags.has_from, "T",
         "only series with a point at T or later: RFC 3339, epoch with unit, -10s"},
        {"--below", CLI_TEXT, &flags.below, NULL, "X", "only numbers smaller than X"},
        {"--above", CLI_TEXT, &flags.above, NULL, "X", "only numbers larger than X"},
        S_OPTION_LEVEL,
        S_OPTION_SESSION,
        S_OPTION_NODE,
        S_OPTION_TIMEOUT,
        S_OPTION_OUTPUT,
    };
    const cli_command_t command = {
        "last",
        "[--battery ID]... [--metric M]... [options]",
        "The newest point of every series, or of those whose newest value compares.",
        options,
        BB_COUNT_OF(options),
        "  busbar last --battery b1\n"
        "  busbar last --metric state_of_charge_pct --below 20 --since -10s"};
    cli_texts_t arguments = {0};
    int exit_status = CLI_EXIT_USAGE;
    if (cli_parse(&command, context, argc, argv, &arguments, &exit_status) &&
        cli_no_arguments(&command, &arguments)) {
        busbar_query_t query = {.mode = BUSBAR_LAST, .from_ns = flags.from_ns};
        exit_status = s_compare_parse(&flags, &query) ? s_ask(context, &flags, &query, NULL, 0)
                                                      : CLI_EXIT_USAGE;
    }
    cli_texts_clear(&arguments);
    s_flags_clear(&flags);
    return exit_status;
}

int cli_verb_battery(const cli_context_t *context, int argc, char **argv)
{
    s_flags_t flags = {0};
    const cli_option_t options[] = {S_OPTION_BATTERY, S_OPTION_LEVEL,   S_OPTION_SESSION,
                                    S_OPTION_NODE,    S_OPTION_TIMEOUT, S_OPTION_OUTPUT};
    const cli_command_t command = {
        "battery", "ls [options]",       "Lists the batteries and their attributes.",
        options,   BB_COUNT_OF(options), NULL};
    cli_texts_t arguments = {0};
    int exit_status = CLI_EXIT_USAGE;
    if (cli_parse(&command, context, argc, argv, &arguments, &exit_status)) {
        if (arguments.count != 1 || strcmp(arguments.items[0], "ls") != 0) {
            cli_complain("battery: expected `busbar battery ls`");
        } else {
            busbar_query_t query = {.mode = BUSBAR_BATTERIES};
            exit_status = s_ask(context, &flags, &query, NULL, 0);
        }
    }
    cli_texts_clear(&arguments);
    s_flags_clear(&flags);
    return exit_status;
}

static int s_release(const cli_context_t *context, const s_flags_t *flags)
{
    int exit_status = CLI_EXIT_USAGE;
    busbar_client_t *client = cli_client_open(context, NULL, flags->timeout_ns, &exit_status);
    if (!client) {
        return exit_status;
    }
    busbar_fault_t fault = {0};
    uint64_t released = 0;
    if (busbar_release(client, flags->batteries.items, flags->batteries.count, flags->timeout_ns,
                       &released, &fault) == BUSBAR_OK) {
        bool as_json = flags->output && strcmp(flags->output, "json") == 0;
        printf(as_json ? "{\"released_points\":%llu}\n" : "%llu points released\n",
               (unsigned long long)released);
        exit_status = CLI_EXIT_OK;
    } else {
        exit_status = cli_failed("quarantine release", &fault);
    }
    busbar_close(&client);
    return exit_status;
}

int cli_verb_quarantine(const cli_context_t *context, int argc, char **argv)
{
    s_flags_t flags = {0};
    const cli_option_t options[] = {S_OPTION_BATTERY, S_OPTION_METRIC, S_OPTION_LEVEL,
                                    S_OPTION_SESSION, S_OPTION_NODE,   S_OPTION_TIMEOUT,
                                    S_OPTION_OUTPUT};
    const cli_command_t command = {"quarantine",
                                   "ls|release [--battery ID]... [options]",
                                   "Points that were more than 10 minutes ahead of the clock when "
                                   "they came: durable, and not\n"
                                   "in answers until they are released.",
                                   options,
                                   BB_COUNT_OF(options),
                                   NULL};
    cli_texts_t arguments = {0};
    int exit_status = CLI_EXIT_USAGE;
    if (cli_parse(&command, context, argc, argv, &arguments, &exit_status)) {
        const char *what = arguments.count == 1 ? arguments.items[0] : "";
        if (strcmp(what, "ls") == 0) {
            busbar_query_t query = {
                .mode = BUSBAR_QUARANTINE, .from_ns = 0, .to_ns = BB_TIME_WALL_NS_LIMIT};
            exit_status = s_ask(context, &flags, &query, NULL, 0);
        } else if (strcmp(what, "release") == 0) {
            exit_status = s_release(context, &flags);
        } else {
            cli_complain("quarantine: expected `ls` or `release`");
            exit_status = CLI_EXIT_USAGE;
        }
    }
    cli_texts_clear(&arguments);
    s_flags_clear(&flags);
    return exit_status;
}
