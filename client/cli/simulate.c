// SPDX-License-Identifier: Apache-2.0
#include "client/cli/simulate.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/cli/cli_context.h"
#include "client/cli/cli_number.h"
#include "client/simulate/bb_fleet.h"
#include "protocol/bb_time.h"

#define S_LATENCY_BUCKETS 40 // powers of two of microseconds
#define S_PROGRESS_NS     BB_NS_PER_S

typedef struct {
    uint64_t batteries, seed, revision;
    int64_t interval_ns, duration_ns, start_ns, timeout_ns;
    const char *speed, *out, *config, *level, *output;
    double factor; // times real time; 0 = as fast as possible
} s_flags_t;

typedef struct {
    const s_flags_t *flags;
    busbar_writer_t *writer;
    uint32_t shape;
    uint32_t *handles; // by battery; UINT32_MAX = not registered yet
    uint64_t latencies[S_LATENCY_BUCKETS];
    uint64_t deliveries;
    busbar_status_t failed_status;
    char failed_detail[256];
    int64_t start_mono_ns, drawn_ns;
    uint64_t acked_drawn;
} s_sink_t;

// ---- the end by a signal ----

// The only state outside of a structure: a handler of signals is given nothing else.
static volatile sig_atomic_t s_is_ended;

static void s_on_signal(int signal_number)
{
    (void)signal_number;
    s_is_ended = 1;
}

// The first SIGINT or SIGTERM ends the fleet, and what was sent is waited for and told; a second
// one ends the process. What a shell had us ignore (SIGINT in the background) stays ignored.
static void s_end_by_signal(void)
{
    const int numbers[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < BB_COUNT_OF(numbers); i++) {
        struct sigaction before;
        struct sigaction action = {.sa_handler = s_on_signal, .sa_flags = (int)SA_RESETHAND};
        sigemptyset(&action.sa_mask);
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            sigaction(numbers[i], &action, NULL);
        }
    }
}

// ---- text ----

static size_t s_scaled_print(char *out, bb_fleet_metric_t metric, int64_t scaled)
{
    uint32_t decimals = bb_fleet_metric_info(metric)->decimals;
    char digits[CLI_INTEGER_BYTES_MAX];
    size_t length = 0;
    uint64_t size = scaled < 0 ? 0 - (uint64_t)scaled : (uint64_t)scaled;
    size_t count = cli_int64_print((int64_t)size, digits);
    if (scaled < 0) {
        out[length++] = '-';
    }
    size_t whole = count > decimals ? count - decimals : 0;
    if (whole == 0) {
        out[length++] = '0';
    }
    memcpy(out + length, digits, whole);
    length += whole;
    if (decimals > 0) {
        out[length++] = '.';
        for (size_t i = count; i < decimals; i++) {
            out[length++] = '0';
        }
        memcpy(out + length, digits + whole, count - whole);
        length += count - whole;
    }
    return length;
}

static size_t s_value_print(char *out, bb_fleet_metric_t metric, int64_t scaled, bool is_influx)
{
    switch (bb_fleet_metric_info(metric)->type) {
    case BB_TYPE_STATE:
        return (size_t)sprintf(out, is_influx ? "\"%s\"" : "%s",
                               bb_fleet_state_name((bb_fleet_state_t)scaled));
    case BB_TYPE_BOOL:
        return (size_t)sprintf(out, "%s", scaled ? "true" : "false");
    case BB_TYPE_INT64:
        return (size_t)sprintf(out, is_influx ? "%lldi" : "%lld", (long long)scaled);
    default:
        return s_scaled_print(out, metric, scaled);
    }
}

static void s_print_influx(const bb_fleet_frame_t *frame)
{
    char line[1024], id[BB_FLEET_BATTERY_ID_BYTES];
    bb_fleet_battery_id(frame->battery_index, id);
    size_t length = (size_t)sprintf(line, "battery,battery=%s ", id);
    for (uint32_t m = 0; m < BB_FLEET_METRIC_COUNT; m++) {
        length +=
            (size_t)sprintf(line + length, "%s%s=", m ? "," : "", bb_fleet_metric_info(m)->name);
        length += s_value_print(line + length, m, frame->scaled[m], true);
    }
    length += (size_t)sprintf(line + length, " %lld\n", (long long)frame->time_wall_ns);
    fwrite(line, 1, length, stdout);
}

static void s_print_csv(const bb_fleet_frame_t *frame)
{
    char line[1024], id[BB_FLEET_BATTERY_ID_BYTES];
    bb_fleet_battery_id(frame->battery_index, id);
    size_t length = bb_time_format(frame->time_wall_ns, line);
    length += (size_t)sprintf(line + length, ",%s", id);
    for (uint32_t m = 0; m < BB_FLEET_METRIC_COUNT; m++) {
        line[length++] = ',';
        length += s_value_print(line + length, m, frame->scaled[m], false);
    }
    line[length++] = '\n';
    fwrite(line, 1, length, stdout);
}

static void s_print_csv_header(void)
{
    fputs("time,battery", stdout);
    for (uint32_t m = 0; m < BB_FLEET_METRIC_COUNT; m++) {
        static const char *const suffixes[] = {"", "", ":int", ":bool", ":state"};
        const bb_fleet_metric_info_t *info = bb_fleet_metric_info(m);
        printf(",%s%s", info->name, suffixes[info->type]);
    }
    putchar('\n');
}

// ---- cluster ----

static void s_on_delivery(void *context, const busbar_delivery_t *delivery)
{
    s_sink_t *self = context;
    uint32_t bucket = 0;
    for (int64_t us = delivery->latency_ns / 1000; us > 0 && bucket < S_LATENCY_BUCKETS - 1;
         us >>= 1) {
        bucket++;
    }
    self->latencies[bucket]++;
    self->deliveries++;
    if (delivery->status != BUSBAR_OK && self->failed_status == BUSBAR_OK) {
        self->failed_status = delivery->status;
        snprintf(self->failed_detail, sizeof self->failed_detail, "%s", delivery->detail);
    }
}

// Upper bound of the bucket that holds the 99th percentile.
static double s_p99_ms(const s_sink_t *self)
{
    uint64_t seen = 0;
    for (uint32_t i = 0; i < S_LATENCY_BUCKETS; i++) {
        seen += self->latencies[i];
        if (self->deliveries > 0 && seen * 100 >= self->deliveries * 99) {
            return (double)(UINT64_C(1) << i) / 1000;
        }
    }
    return 0;
}

static busbar_status_t s_send(s_sink_t *self, const bb_fleet_frame_t *frame, busbar_fault_t *fault)
{
    uint32_t *handle = &self->handles[frame->battery_index];
    if (*handle == UINT32_MAX) {
        char id[BB_FLEET_BATTERY_ID_BYTES];
        bb_fleet_battery_id(frame->battery_index, id);
        busbar_status_t status = busbar_writer_battery(self->writer, id, NULL, 0, handle, fault);
        if (status != BUSBAR_OK) {
            return status;
        }
    }
    busbar_value_t values[BB_FLEET_METRIC_COUNT];
    for (uint32_t m = 0; m < BB_FLEET_METRIC_COUNT; m++) {
        switch (bb_fleet_metric_info(m)->type) {
        case BB_TYPE_STATE:
            values[m].text = bb_fleet_state_name((bb_fleet_state_t)frame->scaled[m]);
            break;
        case BB_TYPE_FLOAT64:
            values[m].number = bb_fleet_number(m, frame->scaled[m]);
            break;
        default:
            values[m].integer = frame->scaled[m];
        }
    }
    return busbar_writer_append(self->writer, *handle, self->shape, frame->time_wall_ns, values,
                                fault);
}

static void s_progress(s_sink_t *self, bool at_end)
{
    int64_t now_ns = cli_mono_ns();
    if (!at_end && now_ns - self->drawn_ns < S_PROGRESS_NS) {
        return;
    }
    busbar_totals_t totals;
    busbar_writer_poll(self->writer);
    busbar_writer_totals(self->writer, &totals);
    double seconds = (double)(now_ns - self->drawn_ns) / 1e9;
    double rate = seconds > 0 ? (double)(totals.acked_points - self->acked_drawn) / seconds : 0;
    fprintf(stderr, "%6.1f s  acknowledged %llu points, %.2f M points/s, p99 <= %.1f ms\n",
            (double)(now_ns - self->start_mono_ns) / 1e9, (unsigned long long)totals.acked_points,
            rate / 1e6, s_p99_ms(self));
    self->drawn_ns = now_ns;
    self->acked_drawn = totals.acked_points;
}

// ---- the verb ----

// Waits until the frame's time has come at the wanted speed.
static void s_pace(const s_flags_t *flags, const bb_fleet_frame_t *frame, int64_t start_mono_ns)
{
    if (flags->factor <= 0) {
        return;
    }
    double ahead_ns = (double)(frame->time_wall_ns - flags->start_ns) / flags->factor -
                      (double)(cli_mono_ns() - start_mono_ns);
    if (ahead_ns > 1e6) {
        struct timespec wait = {(time_t)(ahead_ns / 1e9), (long)ahead_ns % 1000000000};
        fflush(stdout);
        nanosleep(&wait, NULL);
    }
}

static uint64_t s_frame_total(const s_flags_t *flags)
{
    return (uint64_t)((flags->duration_ns + flags->interval_ns - 1) / flags->interval_ns) *
           flags->batteries;
}

static int s_to_text(const s_flags_t *flags, bb_fleet_t *fleet, bool is_influx)
{
    if (!is_influx) {
        s_print_csv_header();
    }
    int64_t start_mono_ns = cli_mono_ns();
    for (uint64_t i = 0, total = s_frame_total(flags); i < total && !ferror(stdout); i++) {
        bb_fleet_frame_t frame;
        bb_fleet_next(fleet, &frame);
        s_pace(flags, &frame, start_mono_ns);
        if (is_influx) {
            s_print_influx(&frame);
        } else {
            s_print_csv(&frame);
        }
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_complain("simulate: standard output: %s", strerror(errno));
        return CLI_EXIT_REJECTED;
    }
    return CLI_EXIT_OK;
}

static int s_summary(s_sink_t *self, uint64_t frames)
{
    busbar_totals_t totals;
    int64_t wait_ns = self->flags->timeout_ns ? self->flags->timeout_ns : BB_DEADLINE_NS_DEFAULT;
    busbar_writer_flush(self->writer, wait_ns + BB_NS_PER_S);
    s_progress(self, true);
    double p99_ms = s_p99_ms(self);
    busbar_writer_close(&self->writer, wait_ns, &totals);
    uint64_t unknown_points = totals.unknown_points + totals.failed_points;
    double seconds = (double)(cli_mono_ns() - self->start_mono_ns) / 1e9;
    bool as_json = self->flags->output != NULL;
    printf(
        as_json ? "{\"frames\":%llu,\"points\":%llu,\"acked_points\":%llu,\"rejected_points\":%llu,"
                  "\"rejected_frames\":%llu,\"quarantined_points\":%llu,\"unknown_points\":%llu,"
                  "\"seconds\":%.3f,\"p99_ms\":%.3f}\n"
                : "%llu frames, %llu points: %llu acknowledged, %llu rejected in %llu frames, "
                  "%llu quarantined, %llu unknown, %.3f s, p99 <= %.1f ms\n",
        (unsigned long long)frames, (unsigned long long)frames * BB_FLEET_METRIC_COUNT,
        (unsigned long long)totals.acked_points, (unsigned long long)totals.rejected_points,
        (unsigned long long)totals.rejected_frames, (unsigned long long)totals.quarantined_points,
        (unsigned long long)unknown_points, seconds, p99_ms);
    if (self->failed_status != BUSBAR_OK) {
        cli_complain("simulate: %s (%s)", self->failed_detail,
                     busbar_status_name(self->failed_status));
        return cli_exit_of(self->failed_status);
    }
    return unknown_points           ? CLI_EXIT_UNAVAILABLE
           : totals.rejected_points ? CLI_EXIT_REJECTED
                                    : CLI_EXIT_OK;
}

static int s_to_cluster(const s_flags_t *flags, bb_fleet_t *fleet)
{
    int exit_status = CLI_EXIT_USAGE;
    cli_context_t context = {.config = flags->config, .now_ns = cli_wall_ns()};
    s_sink_t self = {.flags = flags};
    busbar_writer_options_t options = {.timeout_ns = flags->timeout_ns,
                                       .revision = flags->revision,
                                       .on_delivery = s_on_delivery,
                                       .context = &self};
    if (!cli_level(flags->level, &options.level)) {
        return exit_status;
    }
    busbar_client_t *client = cli_client_open(&context, NULL, flags->timeout_ns, &exit_status);
    if (!client) {
        return exit_status;
    }
    busbar_fault_t fault = {0};
    busbar_metric_t metrics[BB_FLEET_METRIC_COUNT];
    for (uint32_t m = 0; m < BB_FLEET_METRIC_COUNT; m++) {
        const bb_fleet_metric_info_t *info = bb_fleet_metric_info(m);
        metrics[m] = (busbar_metric_t){info->name, (busbar_type_t)info->type};
    }
    self.writer = busbar_writer_open(client, &options);
    self.handles = bb_alloc(flags->batteries * sizeof *self.handles);
    memset(self.handles, 0xff, flags->batteries * sizeof *self.handles);
    self.start_mono_ns = self.drawn_ns = cli_mono_ns();
    busbar_status_t status =
        busbar_writer_shape(self.writer, metrics, BB_FLEET_METRIC_COUNT, &self.shape, &fault);
    uint64_t sent = 0;
    s_end_by_signal();
    for (uint64_t total = s_frame_total(flags); status == BUSBAR_OK && sent < total; sent++) {
        bb_fleet_frame_t frame;
        bb_fleet_next(fleet, &frame);
        s_pace(flags, &frame, self.start_mono_ns);
        if (s_is_ended) {
            break;
        }
        status = s_send(&self, &frame, &fault);
        if (sent % 1024 == 0) {
            s_progress(&self, false);
        }
    }
    exit_status = s_summary(&self, sent);
    if (status != BUSBAR_OK) {
        exit_status = cli_failed("simulate", &fault);
    }
    free(self.handles);
    busbar_close(&client);
    return exit_status;
}

// Environment variables stand in for flags that are not given: they are parsed first.
static int s_environment(char **words)
{
    static const struct {
        const char *variable, *option;
    } names[] = {{"BUSBAR_SIM_BATTERIES", "--batteries"},
                 {"BUSBAR_SIM_INTERVAL", "--interval"},
                 {"BUSBAR_SIM_DURATION", "--duration"},
                 {"BUSBAR_SIM_START", "--start"},
                 {"BUSBAR_SIM_SEED", "--seed"},
                 {"BUSBAR_SIM_SPEED", "--speed"},
                 {"BUSBAR_SIM_OUT", "--out"}};
    int count = 0;
    for (size_t i = 0; i < BB_COUNT_OF(names); i++) {
        char *value = getenv(names[i].variable);
        if (value && value[0]) {
            words[count++] = (char *)(uintptr_t)names[i].option;
            words[count++] = value;
        }
    }
    return count;
}

static bool s_flags_check(s_flags_t *flags)
{
    if (flags->batteries == 0 || flags->batteries > 10000000) {
        cli_complain("simulate: --batteries must be 1 to 10000000");
    } else if (flags->interval_ns < BB_NS_PER_MS || flags->interval_ns % BB_NS_PER_MS != 0) {
        cli_complain("simulate: --interval must be whole milliseconds, at least 1ms");
    } else if (flags->duration_ns <= 0) {
        cli_complain("simulate: --duration must be larger than 0");
    } else if (flags->speed && strcmp(flags->speed, "max") != 0 &&
               (!cli_double_parse(flags->speed, strlen(flags->speed), false, &flags->factor) ||
                flags->factor <= 0)) {
        cli_complain("simulate: --speed: '%s' is neither max nor a number larger than 0",
                     flags->speed);
    } else if (flags->out && strcmp(flags->out, "influx") != 0 && strcmp(flags->out, "csv") != 0) {
        cli_complain("simulate: --out: '%s' is none of influx, csv", flags->out);
    } else if (flags->output && strcmp(flags->output, "json") != 0) {
        cli_complain("simulate: -o: '%s' is not json", flags->output);
    } else {
        return true;
    }
    return false;
}

int bb_cli_simulate(const char *client_file, int argc, char **argv)
{
    s_flags_t flags = {.config = client_file,
                       .batteries = 1000,
                       .interval_ns = 10 * BB_NS_PER_S,
                       .duration_ns = BB_NS_PER_DAY,
                       .start_ns = INT64_C(1767225600) * BB_NS_PER_S, // 2026-01-01T00:00:00Z
                       .seed = 42};
    const cli_option_t options[] = {
        {"--batteries", CLI_COUNT, &flags.batteries, NULL, "N", "default 1000"},
        {"--interval", CLI_DURATION, &flags.interval_ns, NULL, "D",
         "one frame of each battery per D (default 10s)"},
        {"--duration", CLI_DURATION, &flags.duration_ns, NULL, "D", "default 24h"},
        {"--start", CLI_TIME, &flags.start_ns, NULL, "T", "default 2026-01-01T00:00:00Z"},
        {"--seed", CLI_COUNT, &flags.seed, NULL, "S",
         "the same seed gives the same bytes (default 42)"},
        {"--speed", CLI_TEXT, &flags.speed, NULL, "X", "times real time, or max (default)"},
        {"--out", CLI_TEXT, &flags.out, NULL, "F", "influx (default) or csv, on standard output"},
        {"--consistency", CLI_TEXT, &flags.level, NULL, "L", CLI_LEVELS_HELP},
        {"--timeout", CLI_DURATION, &flags.timeout_ns, NULL, "D",
         "how long to wait for an answer (default 10s)"},
        {"-o --output", CLI_TEXT, &flags.output, NULL, "FORM",
         "json: with -c, one object at the end"},
    };
    const cli_command_t command = {
        "simulate",
        "[options]",
        "Telemetry of a fleet: states with legal transitions, metrics that agree with each other.",
        options,
        BB_COUNT_OF(options),
        "With -c CLIENT.yaml it writes into a cluster instead of standard output; SIGINT or\n"
        "SIGTERM ends the fleet there, and the summary tells of what was sent until then.\n"
        "BUSBAR_SIM_BATTERIES, _INTERVAL, _DURATION, _START, _SEED, _SPEED and _OUT stand in for "
        "options."};
    const cli_context_t context = {.now_ns = cli_wall_ns()};
    cli_texts_t arguments = {0};
    int exit_status = CLI_EXIT_USAGE;
    char **words = bb_alloc(((size_t)argc + 16) * sizeof *words);
    words[0] = argv[0];
    int count = 1 + s_environment(words + 1);
    for (int i = 1; i < argc; i++) {
        words[count++] = argv[i];
    }
    if (cli_parse(&command, &context, count, words, &arguments, &exit_status)) {
        exit_status = CLI_EXIT_USAGE;
        if (cli_no_arguments(&command, &arguments) && s_flags_check(&flags)) {
            bb_fleet_options_t fleet_options = {(uint32_t)flags.batteries, flags.interval_ns,
                                                flags.start_ns, flags.seed};
            bb_fleet_t *fleet = bb_fleet_new(&fleet_options);
            exit_status =
                flags.config ? s_to_cluster(&flags, fleet)
                             : s_to_text(&flags, fleet, !flags.out || !strcmp(flags.out, "influx"));
            bb_fleet_destroy(&fleet);
        }
    }
    free(words);
    cli_texts_clear(&arguments);
    return exit_status;
}
