// SPDX-License-Identifier: Apache-2.0
// busbar-sim: runs whole clusters under faults, one per seed, and says whether a promise was
// broken.
//
// Standard output holds nothing that differs between two runs of a seed; the last line of each is
//   seed=N events=E trace_hash=H result=ok|FAIL
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim_minimise.h"
#include "tests/sim/sim_world.h"

static const char s_help[] =
    "usage: busbar-sim [--seed N | --seeds A..B | --count N | --regression FILE] [options]\n"
    "\n"
    "  --seed N           one seed (default 1)\n"
    "  --seeds A..B       the seeds from A to B, both included\n"
    "  --count N          the seeds from 1 to N\n"
    "  --regression FILE  the seeds in FILE, first word of each line; # begins a comment\n"
    "  --plant NAME       switches a bug on, to see whether it is found\n"
    "  --plants           their names, one a line\n"
    "  --stop             ends at the first seed with a finding\n"
    "  --minimise         makes a seed with a finding short: names the faults and operations that\n"
    "                     it takes, as options that run just these again\n"
    "  --render FILE      draws the run of one seed as a sequence diagram (SVG)\n"
    "  --faults LIST      only these faults happen: 3,7-9 or none\n"
    "  --operations LIST  likewise the clients' operations\n"
    "  --without LIST     leaves out noise (of the network), policy, scrub, settle, release,\n"
    "                     power-loss (at the end), damage, twin, hostile\n"
    "  --verbose          one line for each thing that happens\n"
    "  --counters         what happened in all seeds together, on standard error\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 every seed is clean, 1 a finding, 2 usage.\n";

typedef struct {
    uint64_t first_seed, last_seed;
    const char *regression_file;
    uint32_t planted;
    bool is_verbose, stops, has_counters, minimises;
    sim_keep_t faults, operations;
    uint32_t without;
    const char *render_file;
} s_arguments_t;

static int s_usage(const char *problem, const char *what)
{
    fprintf(stderr, "busbar-sim: %s%s\n\n%s", problem, what, s_help);
    return 2;
}

static bool s_number(const char *text, const char **end, uint64_t *number)
{
    char *stop = NULL;
    errno = 0;
    *number = strtoull(text, &stop, 10);
    *end = stop;
    return errno == 0 && stop != text && text[0] >= '0' && text[0] <= '9';
}

static const struct {
    const char *name;
    uint32_t planted;
} s_plants[] = {
    {"ack-before-sync", BB_PLANTED_ACK_BEFORE_SYNC},
    {"count-unsynced-replica", BB_PLANTED_COUNT_UNSYNCED_REPLICA},
    {"cached-fence", BB_PLANTED_CACHED_FENCE},
    {"silent-partial", BB_PLANTED_SILENT_PARTIAL},
    {"trim-early", BB_PLANTED_TRIM_EARLY},
    {"forget-dot", BB_PLANTED_FORGET_DOT},
    {"still-clock", BB_PLANTED_STILL_CLOCK},
    {"swapped-extremes", BB_PLANTED_SWAPPED_EXTREMES},
    {"rounded-sum", BB_PLANTED_ROUNDED_SUM},
    {"local-fence", BB_PLANTED_LOCAL_FENCE},
    {"local-level", BB_PLANTED_LOCAL_LEVEL},
    {"arrival-order", BB_PLANTED_ARRIVAL_ORDER},
    {"delete-resurrects", BB_PLANTED_DELETE_RESURRECTS},
    {"retry-not-idempotent", BB_PLANTED_RETRY_NOT_IDEMPOTENT},
    {"session-ignored", BB_PLANTED_SESSION_IGNORED},
    {"stream-resumed", BB_PLANTED_STREAM_RESUMED},
    {"forget-early", BB_PLANTED_FORGET_EARLY},
    {"adopt-late", BB_PLANTED_ADOPT_LATE},
    {"stale-source", BB_PLANTED_STALE_SOURCE},
    {"rollups-left-out", BB_PLANTED_ROLLUPS_LEFT_OUT},
    {"busy-wait", BB_PLANTED_BUSY_WAIT},
    {"rest-untold", BB_PLANTED_REST_UNTOLD},
    {"boot-not-checked", BB_PLANTED_BOOT_NOT_CHECKED},
    {"count-before-rebuilt", BB_PLANTED_COUNT_BEFORE_REBUILT},
    {"watch-early", BB_PLANTED_WATCH_EARLY},
    {"judge-at-replica", BB_PLANTED_JUDGE_AT_REPLICA},
    {"no-epoch-fence", BB_PLANTED_NO_EPOCH_FENCE},
    {"hostile-believed", BB_PLANTED_HOSTILE_BELIEVED},
    {"twin-not-fenced", BB_PLANTED_TWIN_NOT_FENCED},
    {"retention-resurrects", BB_PLANTED_RETENTION_RESURRECTS},
};

static uint32_t s_planted_of(const char *name)
{
    for (size_t i = 0; i < BB_COUNT_OF(s_plants); i++) {
        if (strcmp(s_plants[i].name, name) == 0) {
            return s_plants[i].planted;
        }
    }
    return BB_PLANTED_NONE;
}

static const char *s_planted_name(uint32_t planted)
{
    for (size_t i = 0; i < BB_COUNT_OF(s_plants); i++) {
        if (s_plants[i].planted == planted) {
            return s_plants[i].name;
        }
    }
    return "?";
}

static bool s_without(const char *text, uint32_t *without)
{
    *without = 0;
    while (*text) {
        size_t length = strcspn(text, ",");
        uint32_t bit = 0;
        while (bit < SIM_WITHOUT_COUNT && (strlen(sim_without_name(bit)) != length ||
                                           strncmp(sim_without_name(bit), text, length) != 0)) {
            bit++;
        }
        if (bit == SIM_WITHOUT_COUNT) {
            return false;
        }
        *without |= 1u << bit;
        text += length + (text[length] == ',');
    }
    return *without != 0;
}

// 0: run; otherwise the exit status plus one.
static int s_parse(int argc, char **argv, s_arguments_t *arguments)
{
    for (int i = 1; i < argc; i++) {
        const char *option = argv[i];
        if (strcmp(option, "--help") == 0) {
            fputs(s_help, stdout);
            return 1;
        }
        if (strcmp(option, "--plants") == 0) {
            for (size_t k = 0; k < BB_COUNT_OF(s_plants); k++) {
                puts(s_plants[k].name);
            }
            return 1;
        }
        if (strcmp(option, "--version") == 0) {
            puts("busbar-sim " BB_VERSION);
            return 1;
        }
        if (strcmp(option, "--verbose") == 0) {
            arguments->is_verbose = true;
            continue;
        }
        if (strcmp(option, "--stop") == 0) {
            arguments->stops = true;
            continue;
        }
        if (strcmp(option, "--minimise") == 0) {
            arguments->minimises = true;
            continue;
        }
        if (strcmp(option, "--counters") == 0) {
            arguments->has_counters = true;
            continue;
        }
        const char *value = i + 1 < argc ? argv[++i] : NULL;
        const char *end = "";
        if (!value) {
            return 1 + s_usage("unknown option or no value: ", option);
        }
        bool is_good = true;
        if (strcmp(option, "--seed") == 0) {
            is_good = s_number(value, &end, &arguments->first_seed) && *end == 0;
            arguments->last_seed = arguments->first_seed;
        } else if (strcmp(option, "--seeds") == 0) {
            is_good = s_number(value, &end, &arguments->first_seed) && strncmp(end, "..", 2) == 0 &&
                      s_number(end + 2, &end, &arguments->last_seed) && *end == 0 &&
                      arguments->first_seed <= arguments->last_seed;
        } else if (strcmp(option, "--count") == 0) {
            is_good = s_number(value, &end, &arguments->last_seed) && *end == 0 &&
                      arguments->last_seed >= 1;
            arguments->first_seed = 1;
        } else if (strcmp(option, "--regression") == 0) {
            arguments->regression_file = value;
        } else if (strcmp(option, "--render") == 0) {
            arguments->render_file = value;
        } else if (strcmp(option, "--faults") == 0) {
            is_good = sim_keep_parse(&arguments->faults, value);
        } else if (strcmp(option, "--operations") == 0) {
            is_good = sim_keep_parse(&arguments->operations, value);
        } else if (strcmp(option, "--without") == 0) {
            is_good = s_without(value, &arguments->without);
        } else if (strcmp(option, "--plant") == 0) {
            arguments->planted = s_planted_of(value);
            is_good = arguments->planted != BB_PLANTED_NONE;
        } else {
            return 1 + s_usage("unknown option ", option);
        }
        if (!is_good) {
            return 1 + s_usage("bad value of ", option);
        }
    }
    return 0;
}

static void s_render(const s_arguments_t *arguments, const sim_world_t *world,
                     const sim_picture_t *picture)
{
    char title[160];
    snprintf(title, sizeof title, "busbar-sim --seed %" PRIu64 "%s%s: %u nodes, %u+%u+%u replicas",
             world->options.seed, arguments->planted != BB_PLANTED_NONE ? " --plant " : "",
             arguments->planted != BB_PLANTED_NONE ? s_planted_name(arguments->planted) : "",
             world->options.node_count, world->options.replicas_in_dc[0],
             world->options.replicas_in_dc[1], world->options.replicas_in_dc[2]);
    if (!sim_picture_write(picture, arguments->render_file, title, world->trace.finding,
                           world->trace.now_ns)) {
        fprintf(stderr, "busbar-sim: cannot write %s\n", arguments->render_file);
    }
}

static bool s_run(const s_arguments_t *arguments, uint64_t seed, sim_counters_t *sum)
{
    sim_options_t options;
    sim_options_draw(&options, seed);
    options.planted = arguments->planted;
    options.keep_faults = arguments->faults;
    options.keep_operations = arguments->operations;
    options.without = arguments->without;
    sim_options_apply(&options);
    if (arguments->is_verbose) {
        printf("seed=%" PRIu64
               " nodes=%u replicas=%u+%u+%u partitions=%u clients=%u batteries=%u\n",
               seed, options.node_count, options.replicas_in_dc[0], options.replicas_in_dc[1],
               options.replicas_in_dc[2], options.partition_count, options.client_count,
               options.battery_count);
    }
    sim_picture_t *picture = arguments->render_file ? sim_picture_new(&options) : NULL;
    sim_world_t *world = sim_world_new(&options, arguments->is_verbose ? stdout : NULL, picture);
    sim_world_run(world);
    if (picture) {
        s_render(arguments, world, picture);
        sim_picture_destroy(&picture);
    }
    bool is_ok = !sim_trace_has_failed(&world->trace);
    if (!is_ok) {
        printf("seed=%" PRIu64 " finding at %" PRId64 " ns: %s\n", seed, world->trace.now_ns,
               world->trace.finding);
    }
    uint64_t hash = world->trace.hash;
    uint64_t event_count = world->trace.event_count;
    const uint64_t *from = (const uint64_t *)&world->counters;
    uint64_t *to = (uint64_t *)sum;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++) {
        to[i] += from[i];
    }
    sim_world_destroy(&world);
    printf("seed=%" PRIu64 " events=%" PRIu64 " trace_hash=%016" PRIx64 " result=%s\n", seed,
           event_count, hash, is_ok ? "ok" : "FAIL");
    fflush(stdout);
    return is_ok;
}

// Prints the options that run what is left of a failing run.
static int s_minimise(const s_arguments_t *arguments)
{
    sim_options_t options;
    sim_minimised_t result;
    sim_options_draw(&options, arguments->first_seed);
    options.planted = arguments->planted;
    options.without = arguments->without;
    sim_keep_copy(&options.keep_faults, &arguments->faults);
    sim_keep_copy(&options.keep_operations, &arguments->operations);
    bool is_found = sim_minimise(&options, &result);
    if (is_found) {
        printf("finding: %s\n", result.finding);
        printf("%u runs: %u of %" PRIu64 " faults, %u of %" PRIu64 " operations, %" PRIu64
               " of %" PRIu64 " events are left\n",
               result.run_count, result.faults_left, result.fault_count, result.operations_left,
               result.operation_count, result.event_count_after, result.event_count_before);
        printf("busbar-sim --seed %" PRIu64, arguments->first_seed);
        if (arguments->planted != BB_PLANTED_NONE) {
            printf(" --plant %s", s_planted_name(arguments->planted));
        }
        if (options.keep_faults.is_limited) {
            fputs(" --faults ", stdout);
            sim_keep_print(&options.keep_faults, stdout);
        }
        if (options.keep_operations.is_limited) {
            fputs(" --operations ", stdout);
            sim_keep_print(&options.keep_operations, stdout);
        }
        for (uint32_t bit = 0, count = 0; bit < SIM_WITHOUT_COUNT; bit++) {
            if (options.without >> bit & 1) {
                printf("%s%s", count++ == 0 ? " --without " : ",", sim_without_name(bit));
            }
        }
        putchar('\n');
    } else {
        printf("seed=%" PRIu64 " has no finding\n", arguments->first_seed);
    }
    sim_keep_clear(&options.keep_faults);
    sim_keep_clear(&options.keep_operations);
    return is_found;
}

static int s_run_file(const s_arguments_t *arguments, sim_counters_t *sum)
{
    FILE *file = fopen(arguments->regression_file, "r");
    if (!file) {
        return s_usage("cannot read ", arguments->regression_file);
    }
    bool is_clean = true;
    char line[1024];
    while (fgets(line, sizeof line, file)) {
        const char *end = line;
        uint64_t seed = 0;
        if (line[0] != '#' && line[0] != '\n') {
            if (!s_number(line, &end, &seed) || (*end != 0 && *end != '\n' && *end != ' ')) {
                fclose(file);
                return s_usage("not a seed: ", line);
            }
            is_clean &= s_run(arguments, seed, sum);
        }
    }
    fclose(file);
    return is_clean ? 0 : 1;
}

int main(int argc, char **argv)
{
    s_arguments_t arguments = {.first_seed = 1, .last_seed = 1};
    int status = s_parse(argc, argv, &arguments);
    if (status != 0) {
        return status - 1;
    }
    // Each run takes and gives back the same few megabytes: the heap keeps them.
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_TOP_PAD, 16 << 20);
    sim_counters_t sum = {0};
    if (arguments.minimises) {
        status = s_minimise(&arguments);
    } else if (arguments.regression_file) {
        status = s_run_file(&arguments, &sum);
    } else {
        for (uint64_t seed = arguments.first_seed;; seed++) {
            status |= !s_run(&arguments, seed, &sum);
            if (seed == arguments.last_seed || (status != 0 && arguments.stops)) {
                break;
            }
        }
    }
    if (arguments.has_counters) {
#define SIM_COUNTER_PRINT(name) fprintf(stderr, "%-28s %" PRIu64 "\n", #name, sum.name);
        SIM_COUNTERS(SIM_COUNTER_PRINT)
#undef SIM_COUNTER_PRINT
        for (int i = 0; i < BB_KILLPOINT_COUNT; i++) {
            fprintf(stderr, "kill_%-23s %" PRIu64 "\n", bb_killpoint_name((bb_killpoint_point_t)i),
                    sum.kills[i]);
        }
    }
    sim_keep_clear(&arguments.faults);
    sim_keep_clear(&arguments.operations);
    return status;
}
