// SPDX-License-Identifier: Apache-2.0
// The node is killed (SIGKILL) in the middle of the load and started again with its own command
// line: how long until it takes a write and answers a question completely, and is every point that
// was acknowledged still there?
//
// Several writers load at once, each its own batteries, slice after slice: when the flush at the
// end of a slice succeeds, everything in it is acknowledged for certain. After the restart every
// point of these slices is looked for, by battery, metric, time and value.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/busbar.h"
#include "tests/bench/bench.h"
#include "tests/bench/bench_nodes.h"

#define S_WRITERS      3u
#define S_SLICE_FRAMES 20000u
#define S_ARGUMENTS    32

typedef struct s_load s_load_t;

typedef struct {
    s_load_t *load;
    uint32_t index;       // its batteries: those with battery % S_WRITERS == index
    uint64_t acked_limit; // its frames before this index of the data are acknowledged
    pthread_t thread;
} s_writer_t;

struct s_load {
    const bench_data_t *data;
    busbar_client_t *client;
    _Atomic uint64_t acked_frames;
    _Atomic bool is_over;
    s_writer_t writers[S_WRITERS];
};

static void s_sleep_us(long us)
{
    nanosleep(&(struct timespec){0, us * 1000}, NULL);
}

// ---- load ------------------------------------------------------------------------------------

static busbar_status_t s_names(busbar_writer_t *writer, const bench_data_t *data, uint32_t *shape,
                               uint32_t *handles)
{
    busbar_metric_t metrics[BENCH_METRICS];
    busbar_fault_t fault;
    for (int m = 0; m < BENCH_METRICS; m++) {
        metrics[m] = (busbar_metric_t){bench_metric_names[m], BUSBAR_FLOAT64};
    }
    busbar_status_t status = busbar_writer_shape(writer, metrics, BENCH_METRICS, shape, &fault);
    for (uint32_t b = 0; status == BUSBAR_OK && b < data->battery_count; b++) {
        char id[16];
        bench_battery_id(b, id);
        status = busbar_writer_battery(writer, id, NULL, 0, &handles[b], &fault);
    }
    return status;
}

// Appends the writer's next frames; the index behind them. *status is the first failure.
static uint64_t s_slice(const s_writer_t *self, busbar_writer_t *writer, uint32_t shape,
                        const uint32_t *handles, uint64_t next, busbar_status_t *status)
{
    const bench_data_t *data = self->load->data;
    busbar_fault_t fault;
    uint32_t count = 0;
    for (; *status == BUSBAR_OK && next < data->frame_count && count < S_SLICE_FRAMES; next++) {
        const bench_frame_t *frame = &data->frames[next];
        if (frame->battery % S_WRITERS == self->index) {
            *status = busbar_writer_append(writer, handles[frame->battery], shape,
                                           frame->time_ms * BB_NS_PER_MS,
                                           (const busbar_value_t *)frame->values, &fault);
            count++;
        }
    }
    if (*status == BUSBAR_OK) {
        *status = busbar_writer_flush(writer, 20 * BUSBAR_SECOND);
    }
    return next;
}

static void *s_write(void *context)
{
    s_writer_t *self = context;
    s_load_t *load = self->load;
    const busbar_writer_options_t options = {.timeout_ns = 10 * BUSBAR_SECOND};
    uint32_t shape, *handles = bb_alloc(load->data->battery_count * sizeof *handles);
    busbar_writer_t *writer = busbar_writer_open(load->client, &options);
    busbar_totals_t totals;
    busbar_status_t status = s_names(writer, load->data, &shape, handles);
    uint64_t acked = 0;
    while (status == BUSBAR_OK && self->acked_limit < load->data->frame_count &&
           !atomic_load(&load->is_over)) {
        uint64_t next = s_slice(self, writer, shape, handles, self->acked_limit, &status);
        busbar_writer_totals(writer, &totals);
        if (status == BUSBAR_OK && totals.failed_frames + totals.unknown_frames == 0) {
            atomic_fetch_add(&load->acked_frames, totals.acked_frames - acked);
            acked = totals.acked_frames;
            self->acked_limit = next;
        } else {
            break;
        }
    }
    busbar_writer_close(&writer, 20 * BUSBAR_SECOND, &totals);
    free(handles);
    return NULL;
}

// ---- the node --------------------------------------------------------------------------------

typedef struct {
    char executable[4096], directory[4096];
    char words[8192];
    char *arguments[S_ARGUMENTS];
} s_command_t;

static bool s_command_of(int pid, s_command_t *self)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    ssize_t length = readlink(path, self->executable, sizeof self->executable - 1);
    if (length < 0) {
        return false;
    }
    self->executable[length] = '\0';
    snprintf(path, sizeof path, "/proc/%d/cwd", pid);
    length = readlink(path, self->directory, sizeof self->directory - 1);
    if (length < 0) {
        return false;
    }
    self->directory[length] = '\0';
    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    FILE *file = fopen(path, "r");
    size_t bytes = file ? fread(self->words, 1, sizeof self->words - 1, file) : 0;
    if (file) {
        fclose(file);
    }
    self->words[bytes] = '\0';
    size_t count = 0;
    for (size_t at = 0; at < bytes && count < S_ARGUMENTS - 1; at += strlen(self->words + at) + 1) {
        self->arguments[count++] = self->words + at;
    }
    self->arguments[count] = NULL;
    return count > 0;
}

static int s_start(const s_command_t *command)
{
    int pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null >= 0 && chdir(command->directory) == 0) {
            dup2(null, 0);
            dup2(null, 1);
            dup2(null, 2);
            execv(command->executable, command->arguments);
        }
        _exit(127);
    }
    return pid;
}

static void s_kill_and_wait(int pid)
{
    kill(pid, SIGKILL);
    while (kill(pid, 0) == 0) {
        s_sleep_us(200);
    }
}

// ---- after the restart -----------------------------------------------------------------------

// One frame of a battery of its own, acknowledged.
static bool s_write_one(busbar_client_t *client, int64_t time_ns)
{
    const busbar_writer_options_t options = {.timeout_ns = 10 * BUSBAR_SECOND, .linger_ns = 1};
    const busbar_metric_t metric = {"restart", BUSBAR_FLOAT64};
    const busbar_value_t value = {.number = 1};
    busbar_writer_t *writer = busbar_writer_open(client, &options);
    busbar_fault_t fault;
    busbar_totals_t totals = {0};
    uint32_t shape, battery;
    bool good = busbar_writer_shape(writer, &metric, 1, &shape, &fault) == BUSBAR_OK &&
                busbar_writer_battery(writer, "restart", NULL, 0, &battery, &fault) == BUSBAR_OK &&
                busbar_writer_append(writer, battery, shape, time_ns, &value, &fault) == BUSBAR_OK;
    busbar_writer_close(&writer, 10 * BUSBAR_SECOND, &totals);
    return good && totals.acked_points == 1;
}

static bool s_ask(busbar_client_t *client, const busbar_query_t *query,
                  bool (*take)(void *, const busbar_row_t *), void *context)
{
    busbar_fault_t fault;
    busbar_rows_t *rows = NULL;
    busbar_row_t row;
    const uint32_t *missing;
    size_t missing_count;
    bool complete = false, good = true;
    if (busbar_query(client, query, &rows, &fault) != BUSBAR_OK) {
        return false;
    }
    while (busbar_rows_next(rows, &row)) {
        good = good && (!take || take(context, &row));
    }
    busbar_status_t status = busbar_rows_status(rows, &complete, &missing, &missing_count, &fault);
    busbar_rows_close(&rows);
    return good && status == BUSBAR_OK && complete;
}

// Time from exec to the first acknowledged write and the first complete answer; negative: never.
static double s_until_ready_s(const char *client_file, int64_t begin_ns, int64_t time_ns,
                              double *write_s)
{
    const busbar_query_t query = {
        .mode = BUSBAR_LAST, .metrics = bench_metric_names, .metric_count = 1};
    const busbar_options_t options = {.timeout_ns = 10 * BUSBAR_SECOND};
    busbar_client_t *client = NULL;
    busbar_fault_t fault;
    bool good = busbar_open(client_file, &options, &client, &fault) == BUSBAR_OK &&
                busbar_wait_ready(client, 30 * BUSBAR_SECOND, &fault) == BUSBAR_OK &&
                s_write_one(client, time_ns);
    *write_s = (double)(bench_mono_ns() - begin_ns) / 1e9;
    good = good && s_ask(client, &query, NULL, NULL);
    double seconds = (double)(bench_mono_ns() - begin_ns) / 1e9;
    busbar_close(&client);
    return good ? seconds : -1;
}

// The frames of one battery, and how far each metric's rows have come.
typedef struct {
    const bench_data_t *data;
    const uint64_t *frames; // indexes into data, by time
    uint64_t count, acked_limit;
    uint64_t at[BENCH_METRICS];
    uint64_t found; // acknowledged points seen with their value
} s_search_t;

static bool s_take_point(void *context, const busbar_row_t *row)
{
    s_search_t *self = context;
    uint32_t metric = bench_metric_of(row->metric, strlen(row->metric));
    if (metric == BENCH_METRICS || row->type != BUSBAR_FLOAT64) {
        return false;
    }
    uint64_t *at = &self->at[metric];
    while (*at < self->count &&
           self->data->frames[self->frames[*at]].time_ms * BB_NS_PER_MS < row->time_ns) {
        ++*at;
    }
    if (*at < self->count && self->frames[*at] < self->acked_limit) {
        const bench_frame_t *frame = &self->data->frames[self->frames[*at]];
        self->found += frame->time_ms * BB_NS_PER_MS == row->time_ns &&
                       memcmp(&frame->values[metric], &row->value.number, sizeof(double)) == 0;
    }
    return true;
}

// Acknowledged points that are not there any more; negative when an answer failed.
static double s_lost_points(busbar_client_t *client, const s_load_t *load, uint64_t *acked_points)
{
    const bench_data_t *data = load->data;
    uint64_t *frames = bb_alloc((data->frame_count + 1) * sizeof *frames);
    double lost = 0;
    *acked_points = 0;
    for (uint32_t b = 0; lost >= 0 && b < data->battery_count; b++) {
        char id[16];
        bench_battery_id(b, id);
        const char *const ids[] = {id};
        s_search_t search = {.data = data,
                             .frames = frames,
                             .acked_limit = load->writers[b % S_WRITERS].acked_limit};
        uint64_t acked = 0;
        // Generators go tick by tick: every battery_count frames there is one of each battery.
        for (uint64_t i = b; i < data->frame_count; i += data->battery_count) {
            BB_ASSERT(data->frames[i].battery == b);
            frames[search.count++] = i;
            acked += (i < search.acked_limit) * BENCH_METRICS;
        }
        const busbar_query_t query = {.mode = BUSBAR_RAW,
                                      .batteries = ids,
                                      .battery_count = 1,
                                      .from_ns = data->first_ms * BB_NS_PER_MS,
                                      .to_ns = (data->last_ms + 1) * BB_NS_PER_MS};
        if (acked > 0 && !s_ask(client, &query, s_take_point, &search)) {
            lost = -1;
        } else {
            lost += (double)(acked - search.found);
            *acked_points += acked;
        }
    }
    free(frames);
    return lost;
}

// ---- the run ---------------------------------------------------------------------------------

static bool s_run(s_load_t *load, int pid, const char *client_file, FILE *results, int *restarted)
{
    s_command_t *command = bb_alloc_zero(1, sizeof *command);
    bool good = s_command_of(pid, command);
    for (uint32_t i = 0; good && i < S_WRITERS; i++) {
        load->writers[i] = (s_writer_t){.load = load, .index = i};
        pthread_create(&load->writers[i].thread, NULL, s_write, &load->writers[i]);
    }
    int64_t begin_ns = bench_mono_ns(), give_up_ns = begin_ns + 120 * BB_NS_PER_S;
    while (good && atomic_load(&load->acked_frames) < load->data->frame_count / 2) {
        good = bench_mono_ns() < give_up_ns;
        s_sleep_us(500);
    }
    double rate = (double)atomic_load(&load->acked_frames) * BENCH_METRICS /
                  ((double)(bench_mono_ns() - begin_ns) / 1e3);
    s_kill_and_wait(pid);
    int64_t exec_ns = bench_mono_ns();
    *restarted = s_start(command);
    double write_s = -1;
    double ready_s =
        s_until_ready_s(client_file, exec_ns, (load->data->last_ms + 1) * BB_NS_PER_MS, &write_s);
    atomic_store(&load->is_over, true);
    for (uint32_t i = 0; i < S_WRITERS; i++) {
        pthread_join(load->writers[i].thread, NULL);
    }
    uint64_t acked_points = 0;
    double lost = good ? s_lost_points(load->client, load, &acked_points) : -1;
    char note[160];
    snprintf(note, sizeof note,
             "from exec to an acknowledged write (%.3f s) and a complete answer, other writers "
             "retrying; killed at %.1f M points/s",
             write_s, rate);
    bench_report(results, "restart_s", ready_s, "s", note);
    snprintf(note, sizeof note, "of %llu acknowledged points, each read back with its value",
             (unsigned long long)acked_points);
    bench_report(results, "acked_lost_points", lost, "points", note);
    free(command);
    return good && lost == 0 && ready_s >= 0;
}

int bench_crash(const bench_data_t *data, const char *cluster_directory, FILE *results)
{
    char path[4200];
    bench_nodes_t nodes;
    busbar_fault_t fault = {0};
    int restarted = -1;
    s_load_t load = {.data = data};
    const busbar_options_t options = {.timeout_ns = 60 * BUSBAR_SECOND};
    snprintf(path, sizeof path, "%s/client.yaml", cluster_directory);
    if (!bench_nodes_find(&nodes, cluster_directory) || nodes.count != 1 ||
        busbar_open(path, &options, &load.client, &fault) != BUSBAR_OK ||
        busbar_wait_ready(load.client, 10 * BUSBAR_SECOND, &fault) != BUSBAR_OK) {
        fprintf(stderr, "busbar-bench: %s: %s\n", path, fault.text);
        busbar_close(&load.client);
        return 1;
    }
    bool good = s_run(&load, nodes.pids[0], path, results, &restarted);
    busbar_close(&load.client);
    if (restarted > 0) {
        kill(restarted, SIGTERM);
        waitpid(restarted, NULL, 0);
    }
    return good ? 0 : 1;
}
