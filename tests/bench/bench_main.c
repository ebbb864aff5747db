// SPDX-License-Identifier: Apache-2.0
// busbar-bench machine DIR | engine DIR | journal DIR | codecs |
//              cluster|ingest|latency CLUSTER_DIR SUFFIX | crash CLUSTER_DIR | fleet
//              CLUSTER_DIR BATTERIES SUFFIX (raw frames on standard input) |
//              small CLIENT_FILE SECONDS (with hedges and without) |
//              storm CLUSTER_DIR [SECONDS] | stuck CLUSTER_DIR
//   --data FILE (raw yardstick)  --hours N (own fleet)  --results FILE (appended)
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/simulate/bb_fleet.h"
#include "tests/bench/bench.h"

const char *const bench_metric_names[BENCH_METRICS] = {"state_of_charge_pct",
                                                       "voltage_v",
                                                       "current_a",
                                                       "power_kw",
                                                       "temperature_c",
                                                       "cell_voltage_min_v",
                                                       "cell_voltage_max_v",
                                                       "soh_pct",
                                                       "energy_charged_kwh",
                                                       "energy_discharged_kwh",
                                                       "state",
                                                       "grid_frequency_hz"};

static bool s_map(bench_data_t *self, const char *path)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (file < 0 || fstat(file, &status) != 0 ||
        status.st_size % (off_t)sizeof(bench_frame_t) != 0) {
        fprintf(stderr, "busbar-bench: %s: cannot be read as raw frames\n", path);
        return false;
    }
    void *memory =
        mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    close(file);
    if (memory == MAP_FAILED) {
        fprintf(stderr, "busbar-bench: %s: cannot be mapped\n", path);
        return false;
    }
    self->memory = memory;
    self->frames = memory;
    self->frame_count = (uint64_t)status.st_size / sizeof(bench_frame_t);
    return true;
}

// The same twelve metrics from the project's own fleet; the state is its number.
static void s_make(bench_data_t *self, uint32_t hours)
{
    static const bb_fleet_metric_t metrics[BENCH_METRICS] = {
        BB_FLEET_STATE_OF_CHARGE, BB_FLEET_VOLTAGE,
        BB_FLEET_CURRENT,         BB_FLEET_POWER,
        BB_FLEET_TEMPERATURE,     BB_FLEET_CELL_MIN,
        BB_FLEET_CELL_MAX,        BB_FLEET_STATE_OF_HEALTH,
        BB_FLEET_ENERGY_CHARGED,  BB_FLEET_ENERGY_DISCHARGED,
        BB_FLEET_STATE,           BB_FLEET_FREQUENCY};
    const bb_fleet_options_t options = {1000, 10 * BB_NS_PER_S, INT64_C(1767225600) * BB_NS_PER_S,
                                        42};
    bb_fleet_t *fleet = bb_fleet_new(&options);
    self->frame_count = UINT64_C(360000) * hours;
    bench_frame_t *frames = bb_alloc(self->frame_count * sizeof *frames);
    for (uint64_t i = 0; i < self->frame_count; i++) {
        bb_fleet_frame_t from;
        bb_fleet_next(fleet, &from);
        frames[i] = (bench_frame_t){.time_ms = from.time_wall_ns / BB_NS_PER_MS,
                                    .battery = from.battery_index};
        for (int m = 0; m < BENCH_METRICS; m++) {
            frames[i].values[m] = bb_fleet_number(metrics[m], from.scaled[metrics[m]]);
        }
    }
    bb_fleet_destroy(&fleet);
    self->memory = frames;
    self->frames = frames;
}

bool bench_data_load(bench_data_t *self, const char *path, uint32_t hours)
{
    *self = (bench_data_t){.first_ms = INT64_MAX, .last_ms = INT64_MIN};
    if (path && !s_map(self, path)) {
        return false;
    }
    if (!path) {
        s_make(self, hours);
    }
    for (uint64_t i = 0; i < self->frame_count; i++) { // also touches every page
        self->battery_count = BB_MAX(self->battery_count, self->frames[i].battery + 1);
        self->first_ms = BB_MIN(self->first_ms, self->frames[i].time_ms);
        self->last_ms = BB_MAX(self->last_ms, self->frames[i].time_ms);
    }
    return self->frame_count > 0;
}

void bench_battery_id(uint32_t battery, char out[16])
{
    snprintf(out, 16, "b%06u", battery);
}

int64_t bench_mono_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * BB_NS_PER_S + now.tv_nsec;
}

double bench_process_cpu_s(int pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) {
        return 0;
    }
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    const char *behind_name = strrchr(text, ')');
    unsigned long user = 0, system = 0;
    if (!behind_name ||
        sscanf(behind_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
               &system) != 2) {
        return 0;
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

double bench_own_cpu_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int s_compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

double bench_median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, s_compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

void bench_report(FILE *results, const char *name, double value, const char *unit, const char *note)
{
    FILE *files[] = {results, stdout};
    for (size_t i = 0; i < BB_COUNT_OF(files); i++) {
        fprintf(files[i], "{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"", name, value, unit);
        if (note) {
            fprintf(files[i], ",\"note\":\"%s\"", note);
        }
        fputs("}\n", files[i]);
        fflush(files[i]);
    }
}

static void s_data_free(bench_data_t *self, bool is_mapped)
{
    if (is_mapped && self->frames) {
        munmap(self->memory, self->frame_count * sizeof *self->frames);
    } else {
        free(self->memory);
    }
    *self = (bench_data_t){0};
}

int main(int argc, char **argv)
{
    const char *words[8] = {NULL}, *data_path = NULL, *results_path = "/dev/null";
    int word_count = 0;
    uint32_t hours = 6;
    for (int i = 1; i < argc; i++) {
        bool has_value = i + 1 < argc;
        if (strcmp(argv[i], "--data") == 0 && has_value) {
            data_path = argv[++i];
        } else if (strcmp(argv[i], "--hours") == 0 && has_value) {
            hours = (uint32_t)strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--results") == 0 && has_value) {
            results_path = argv[++i];
        } else if (word_count < 8) {
            words[word_count++] = argv[i];
        }
    }
    FILE *results = fopen(results_path, "a");
    bool is_complete = word_count >= 2 || (word_count == 1 && strcmp(words[0], "codecs") == 0);
    if (!is_complete || hours == 0 || !results) {
        fprintf(
            stderr,
            "busbar-bench machine DIR | engine DIR | journal DIR | codecs |\n"
            "             cluster|ingest|load|latency CLUSTER_DIR SUFFIX |\n"
            "             crash CLUSTER_DIR | fleet CLUSTER_DIR BATTERIES SUFFIX <RAW_FRAMES |\n"
            "             small CLIENT_FILE SECONDS | storm CLUSTER_DIR [SECONDS] |\n"
            "             stuck CLUSTER_DIR\n"
            "             [--data FILE | --hours N] [--results FILE]\n");
        return 2;
    }
    bench_data_t data = {0};
    int status = 2;
    if (strcmp(words[0], "machine") == 0) {
        status = bench_machine(words[1], results);
    } else if (strcmp(words[0], "fleet") == 0 && word_count >= 3) {
        uint32_t batteries = (uint32_t)strtoul(words[2], NULL, 10);
        status = bench_fleet(words[1], batteries, word_count > 3 ? words[3] : "", results);
    } else if (strcmp(words[0], "small") == 0 && word_count >= 2) {
        uint32_t seconds = word_count > 2 ? (uint32_t)strtoul(words[2], NULL, 10) : 10;
        status = bench_small(words[1], BB_MAX(seconds, 1), results);
    } else if (strcmp(words[0], "storm") == 0) {
        status = bench_storm(words[1], word_count > 2 ? strtod(words[2], NULL) : 7, results);
    } else if (strcmp(words[0], "stuck") == 0) {
        status = bench_stuck(words[1], results);
    } else if (!bench_data_load(&data, data_path, hours)) {
        status = 1;
    } else if (strcmp(words[0], "engine") == 0) {
        status = bench_engine(&data, words[1], results);
    } else if (strcmp(words[0], "codecs") == 0) {
        status = bench_codecs(&data, results);
    } else if (strcmp(words[0], "journal") == 0) {
        status = bench_journal(&data, words[1], results);
    } else if (strcmp(words[0], "crash") == 0) {
        status = bench_crash(&data, words[1], results);
    } else if (strcmp(words[0], "latency") == 0) {
        status = bench_latency(&data, words[1], word_count > 2 ? words[2] : "", results);
    } else if (strcmp(words[0], "load") == 0) {
        status = bench_load(&data, words[1], word_count > 2 ? words[2] : "", results);
    } else if (strcmp(words[0], "cluster") == 0 || strcmp(words[0], "ingest") == 0) {
        status = bench_cluster(&data, words[1], word_count > 2 ? words[2] : "",
                               strcmp(words[0], "cluster") == 0, results);
    }
    s_data_free(&data, data_path != NULL);
    fclose(results);
    return status;
}
