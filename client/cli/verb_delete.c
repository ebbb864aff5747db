// SPDX-License-Identifier: Apache-2.0
// busbar delete: says what it is going to take away, asks, and does it.
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli_context.h"
#include "protocol/bb_limits.h"
#include "protocol/bb_time.h"

typedef struct {
    const char *battery, *metric, *level, *output;
    int64_t from_ns, to_ns, timeout_ns;
    bool has_from, has_to, has_generation;
    uint64_t generation;
    bool is_sure, is_dry;
} s_flags_t;

// What is there now, quarantine included.
typedef struct {
    uint64_t points, quarantined;
    uint32_t generation;
} s_extent_t;

static bool s_as_json(const s_flags_t *flags)
{
    return flags->output && strcmp(flags->output, "json") == 0;
}

// Counts rows, or adds up counts of buckets. CLI_EXIT_OK, or the status after complaining.
static int s_count(busbar_client_t *client, const s_flags_t *flags, busbar_level_t level,
                   busbar_mode_t mode, uint64_t *count)
{
    const busbar_query_t query = {.mode = mode,
                                  .level = level,
                                  .batteries = &flags->battery,
                                  .battery_count = 1,
                                  .metrics = &flags->metric,
                                  .metric_count = flags->metric ? 1 : 0,
                                  .from_ns = flags->from_ns,
                                  .to_ns = flags->to_ns,
                                  .aggregates = mode == BUSBAR_AGGREGATE ? BUSBAR_COUNT : 0,
                                  .timeout_ns = flags->timeout_ns};
    busbar_rows_t *rows = NULL;
    busbar_fault_t fault = {0};
    if (busbar_query(client, &query, &rows, &fault) != BUSBAR_OK) {
        return cli_failed("delete", &fault);
    }
    busbar_row_t row;
    while (busbar_rows_next(rows, &row)) {
        *count += mode == BUSBAR_AGGREGATE ? row.count : 1;
    }
    bool complete = false;
    size_t missing = 0;
    busbar_status_t status = busbar_rows_status(rows, &complete, NULL, &missing, &fault);
    busbar_rows_close(&rows);
    if (status != BUSBAR_OK) {
        return cli_failed("delete", &fault);
    }
    if (!complete) {
        cli_complain("delete: the battery's partition could not be read completely");
        return CLI_EXIT_PARTIAL;
    }
    return CLI_EXIT_OK;
}

static int s_look(busbar_client_t *client, const s_flags_t *flags, busbar_level_t level,
                  s_extent_t *extent)
{
    busbar_fault_t fault = {0};
    int exit_status = s_count(client, flags, level, BUSBAR_AGGREGATE, &extent->points);
    if (exit_status == CLI_EXIT_OK) {
        exit_status = s_count(client, flags, level, BUSBAR_QUARANTINE, &extent->quarantined);
    }
    if (exit_status == CLI_EXIT_OK &&
        busbar_generation(client, flags->battery, level, flags->timeout_ns, &extent->generation,
                          &fault) != BUSBAR_OK) {
        exit_status = cli_failed("delete", &fault);
    }
    return exit_status;
}

static void s_say_range(FILE *out, const s_flags_t *flags)
{
    char from[BB_TIME_TEXT_BYTES], to[BB_TIME_TEXT_BYTES];
    bb_time_format(flags->from_ns, from);
    bb_time_format(flags->to_ns, to);
    if (!flags->has_from && !flags->has_to) {
        fputs(", all times", out);
    }
    if (flags->has_from) {
        fprintf(out, ", from %s", from);
    }
    if (flags->has_to) {
        fprintf(out, ", before %s", to);
    }
}

static void s_announce(FILE *out, const s_flags_t *flags, const s_extent_t *extent)
{
    fprintf(out, "battery '%s', ", flags->battery);
    if (flags->metric) {
        fprintf(out, "metric '%s'", flags->metric);
    } else {
        fputs("all metrics", out);
    }
    s_say_range(out, flags);
    fprintf(out, ": %llu points", (unsigned long long)extent->points);
    if (extent->quarantined > 0) {
        fprintf(out, " and %llu in quarantine", (unsigned long long)extent->quarantined);
    }
    fprintf(out, ". There, points are taken again with --generation %u or later.\n",
            flags->has_generation ? (uint32_t)flags->generation : extent->generation + 1);
}

// Somebody at a terminal says yes; without one --yes has to.
static bool s_confirm(const s_flags_t *flags)
{
    char answer[16] = "";
    if (flags->is_sure) {
        return true;
    }
    if (!isatty(STDIN_FILENO)) {
        cli_complain("delete: this cannot be taken back; --yes says that it is meant, --dry-run "
                     "only counts");
        return false;
    }
    fputs("This cannot be taken back. Delete them? [y/N] ", stderr);
    if (!fgets(answer, sizeof answer, stdin) || (answer[0] != 'y' && answer[0] != 'Y')) {
        cli_complain("delete: nothing was deleted");
        return false;
    }
    return true;
}

static int s_delete(busbar_client_t *client, const s_flags_t *flags, busbar_level_t level,
                    const s_extent_t *extent)
{
    const busbar_delete_t what = {.battery = flags->battery,
                                  .metric = flags->metric,
                                  .from_ns = flags->from_ns,
                                  .to_ns = flags->to_ns,
                                  .level = level,
                                  .generation = (uint32_t)flags->generation,
                                  .timeout_ns = flags->timeout_ns};
    uint32_t generation = 0;
    busbar_fault_t fault = {0};
    if (busbar_delete(client, &what, &generation, &fault) != BUSBAR_OK) {
        int exit_status = cli_failed("delete", &fault);
        if (generation > 0) {
            cli_complain("delete: to repeat the same delete, give --generation %u", generation);
        }
        return exit_status;
    }
    if (s_as_json(flags)) {
        printf("{\"points\":%llu,\"quarantined_points\":%llu,\"generation\":%u}\n",
               (unsigned long long)extent->points, (unsigned long long)extent->quarantined,
               generation);
    } else {
        printf("deleted, generation %u\n", generation);
    }
    return CLI_EXIT_OK;
}

static int s_run(const cli_context_t *context, const s_flags_t *flags, busbar_level_t level)
{
    int exit_status = CLI_EXIT_USAGE;
    busbar_client_t *client = cli_client_open(context, NULL, flags->timeout_ns, &exit_status);
    if (!client) {
        return exit_status;
    }
    s_extent_t extent = {0};
    exit_status = s_look(client, flags, level, &extent);
    if (exit_status == CLI_EXIT_OK && flags->is_dry && s_as_json(flags)) {
        printf("{\"points\":%llu,\"quarantined_points\":%llu,\"generation\":%u}\n",
               (unsigned long long)extent.points, (unsigned long long)extent.quarantined,
               extent.generation);
    } else if (exit_status == CLI_EXIT_OK) {
        s_announce(flags->is_dry ? stdout : stderr, flags, &extent);
    }
    if (exit_status == CLI_EXIT_OK && !flags->is_dry) {
        exit_status = s_confirm(flags) ? s_delete(client, flags, level, &extent) : CLI_EXIT_USAGE;
    }
    busbar_close(&client);
    return exit_status;
}

static bool s_check(s_flags_t *flags, busbar_level_t *level)
{
    flags->from_ns = flags->has_from ? flags->from_ns : BB_TIME_WALL_NS_FIRST;
    flags->to_ns = flags->has_to ? flags->to_ns : BB_TIME_WALL_NS_LIMIT;
    if (!flags->battery) {
        cli_complain("delete: --battery ID is needed");
    } else if (flags->from_ns >= flags->to_ns) {
        cli_complain("delete: --from is not before --to");
    } else if (flags->output && !s_as_json(flags)) {
        cli_complain("delete: -o: '%s' is not json", flags->output);
    } else if (flags->has_generation &&
               (flags->generation == 0 || flags->generation > UINT32_MAX)) {
        cli_complain("delete: --generation: 1 to %u", UINT32_MAX);
    } else {
        return cli_level(flags->level, level);
    }
    return false;
}

int cli_verb_delete(const cli_context_t *context, int argc, char **argv)
{
    s_flags_t flags = {0};
    const cli_option_t options[] = {
        {"--battery", CLI_TEXT, &flags.battery, NULL, "ID", "whose points"},
        {"--metric", CLI_TEXT, &flags.metric, NULL, "M", "of this metric alone"},
        {"--from", CLI_TIME, &flags.from_ns, &flags.has_from, "T", "from this time on"},
        {"--to", CLI_TIME, &flags.to_ns, &flags.has_to, "T",
         "before this time; without it also what is still to come"},
        {"--dry-run", CLI_FLAG, &flags.is_dry, NULL, NULL,
         "say how many points there are, no more"},
        {"--yes", CLI_FLAG, &flags.is_sure, NULL, NULL, "do not ask"},
        {"--generation", CLI_COUNT, &flags.generation, &flags.has_generation, "N",
         "repeat a delete whose outcome is unknown"},
        {"--consistency", CLI_TEXT, &flags.level, NULL, "L", CLI_LEVELS_HELP},
        {"--timeout", CLI_DURATION, &flags.timeout_ns, NULL, "D",
         "how long to wait for an answer (default 10s)"},
        {"-o --output", CLI_TEXT, &flags.output, NULL, "FORM", "json: one object at the end"},
    };
    const cli_command_t command = {
        "delete",
        "--battery ID [--metric M] [--from T] [--to T] [options]",
        "Takes points away on every node and for ever: also those that a node which is away still "
        "has,\n"
        "and those that a writer which does not know sends later. Needs a key of the role admin.",
        options,
        BB_COUNT_OF(options),
        "  busbar -c admin.yaml delete --battery b17 --dry-run\n"
        "  busbar -c admin.yaml delete --battery b17 --metric soc --from 2026-01-01T00:00:00Z "
        "--to 2026-01-02T00:00:00Z\n"
        "Points of the interval are taken again from `write --generation N`, N as it was "
        "answered."};
    cli_texts_t arguments = {0};
    int exit_status = CLI_EXIT_USAGE;
    busbar_level_t level;
    if (cli_parse(&command, context, argc, argv, &arguments, &exit_status) &&
        cli_no_arguments(&command, &arguments)) {
        exit_status = s_check(&flags, &level) ? s_run(context, &flags, level) : CLI_EXIT_USAGE;
    }
    cli_texts_clear(&arguments);
    return exit_status;
}
