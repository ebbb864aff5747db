// SPDX-License-Identifier: Apache-2.0
// busbar-inspect - looks at the files of a node: what is inside, and whether all of it verifies.
//
// The programs of the command line know no storage; `busbar inspect` and `busbar verify` run this
// one, which lies beside them. Also the child process that reads a suspect window for a node.
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/inspect/bb_inspect_journal.h"
#include "storage/inspect/bb_inspect_segment.h"
#include "storage/inspect/bb_verify_store.h"

enum { S_EXIT_CLEAN = 0, S_EXIT_DAMAGED = 1, S_EXIT_USAGE = 2, S_EXIT_UNREADABLE = 3 };

static const char s_help[] =
    "usage: busbar-inspect journal FILE [--records] [--json]\n"
    "       busbar-inspect segment FOLDER [--json]\n"
    "       busbar-inspect window FOLDER/DAY [--json]\n"
    "       busbar-inspect verify DIR [--json] [--in-use]\n"
    "       busbar-inspect verify --window DIR [--json] [--cpu-seconds N] [--memory-bytes N]\n"
    "\n"
    "journal   what a journal file holds; --records: each record\n"
    "segment   what a segment's folder holds (windows/default/2026-01-01.000001), per encoding "
    "and\n"
    "          column; window: all segments of that day (windows/default/2026-01-01). Not of a "
    "node\n"
    "          that runs\n"
    "verify    checks a node's data folder, or one store's, from end to end; with --window one\n"
    "          window's folder. A folder that a node uses is refused; --in-use checks it all the\n"
    "          same, and what changes meanwhile may look damaged. A window that a node has open\n"
    "          must not be checked by name.\n"
    "\n"
    "  --json            one JSON object on standard output\n"
    "  --cpu-seconds N   limits of this process: processor time, address space beyond the\n"
    "  --memory-bytes N  mapped window\n"
    "\n"
    "exit status: 0 all verifies       1 damage was found (named on standard output)\n"
    "             2 usage, no such file, no permission, in use, or another version wrote it\n"
    "             3 --window: it cannot be opened or walked at all\n";

typedef struct {
    const char *verb, *path;
    bool is_json, has_records, in_use_is_fine, is_window;
    uint64_t cpu_s, memory_bytes;
} s_options_t;

// ---- command line ----------------------------------------------------------------------------
static bool s_number(const char *text, uint64_t *number)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = text ? strtoull(text, &end, 10) : 0;
    if (!text || text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0) {
        return false;
    }
    *number = value;
    return true;
}

static bool s_parse(int argc, char **argv, s_options_t *options)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        bool is_fine = true;
        if (strcmp(word, "--json") == 0) {
            options->is_json = true;
        } else if (strcmp(word, "--records") == 0) {
            options->has_records = true;
        } else if (strcmp(word, "--in-use") == 0) {
            options->in_use_is_fine = true;
        } else if (strcmp(word, "--window") == 0) {
            options->is_window = true;
        } else if (strcmp(word, "--cpu-seconds") == 0 && i + 1 < argc) {
            is_fine = s_number(argv[++i], &options->cpu_s);
        } else if (strcmp(word, "--memory-bytes") == 0 && i + 1 < argc) {
            is_fine = s_number(argv[++i], &options->memory_bytes);
        } else if (word[0] == '-') {
            is_fine = false;
        } else if (!options->verb) {
            options->verb = word;
        } else if (!options->path) {
            options->path = word;
        } else {
            is_fine = false;
        }
        if (!is_fine) {
            fprintf(stderr, "busbar-inspect: argument '%s' is unknown or incomplete; see --help\n",
                    word);
            return false;
        }
    }
    if (!options->verb || !options->path) {
        fputs(s_help, stderr);
        return false;
    }
    return true;
}

static void s_limit(const s_options_t *options)
{
    if (options->cpu_s > 0) {
        struct rlimit limit = {options->cpu_s, options->cpu_s};
        bb_ignore(setrlimit(RLIMIT_CPU, &limit), "without it the caller's deadline remains");
    }
    if (options->memory_bytes > 0) {
        struct rlimit limit = {options->memory_bytes, options->memory_bytes};
        bb_ignore(setrlimit(RLIMIT_DATA, &limit), "likewise");
    }
    struct rlimit no_core = {0, 0};
    bb_ignore(setrlimit(RLIMIT_CORE, &no_core), "a large file at worst");
}

static int s_fail(const bb_fault_t *fault, bb_error_t error)
{
    fprintf(stderr, "busbar-inspect: %s\n", fault->text[0] ? fault->text : bb_error_message(error));
    return S_EXIT_USAGE;
}

// ---- journal ---------------------------------------------------------------------------------
static int s_journal(const s_options_t *options)
{
    bb_report_t report;
    bb_fault_t fault = {0};
    bb_inspect_journal_t found;
    bb_report_open(&report, stdout, options->is_json ? BB_REPORT_JSON : BB_REPORT_PLAIN);
    bb_inspect_journal_options_t wanted = {bb_vfs_posix(), options->path, 0, NULL};
    // Whether it can be read at all comes first: standard output stays empty if not.
    bb_error_t error = bb_inspect_journal(&wanted, &found, &fault);
    if (error != BB_OK) {
        return s_fail(&fault, error);
    }
    if (options->has_records) {
        bb_report_list(&report, "records");
        wanted.records = &report;
        error = bb_inspect_journal(&wanted, &found, &fault);
        bb_report_end(&report);
    }
    bb_report_begin(&report, "journal");
    bb_report_text(&report, "path", options->path);
    bb_inspect_journal_report(&found, &report);
    bb_report_end(&report);
    bb_report_close(&report);
    return error != BB_OK                                           ? s_fail(&fault, error)
           : found.damaged_count > 0 || found.missing_seq_count > 0 ? S_EXIT_DAMAGED
                                                                    : S_EXIT_CLEAN;
}

// ---- segments --------------------------------------------------------------------------------
typedef struct {
    bb_inspect_segment_t *found;
    const char *folder, *day;
    bb_error_t error;
    bb_fault_t *fault;
} s_window_t;

static void s_window_folder(void *context, const char *name, bool is_directory)
{
    s_window_t *self = context;
    char path[4096];
    size_t length = strlen(self->day);
    if (!is_directory || self->error != BB_OK || strncmp(name, self->day, length) != 0 ||
        name[length] != '.') {
        return;
    }
    snprintf(path, sizeof path, "%s/%s", self->folder, name);
    self->error = bb_inspect_segment_add(self->found, bb_kv_lmdb(), path, self->fault);
}

static bb_error_t s_add_segments(const s_options_t *options, bb_inspect_segment_t *found,
                                 bb_fault_t *fault)
{
    if (strcmp(options->verb, "segment") == 0) {
        return bb_inspect_segment_add(found, bb_kv_lmdb(), options->path, fault);
    }
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", options->path);
    char *slash = strrchr(folder, '/');
    s_window_t window = {found, slash ? folder : ".", slash ? slash + 1 : folder, BB_OK, fault};
    if (slash) {
        *slash = '\0';
    }
    bb_vfs_t *vfs = bb_vfs_posix();
    bb_error_t error = vfs->list(vfs, window.folder, s_window_folder, &window);
    if (error != BB_OK) {
        return bb_fault_set(fault, error, "%s: cannot list the folder: %s", window.folder,
                            bb_error_message(error));
    }
    error = window.error;
    if (error == BB_OK && found->segment_count == 0) {
        error = bb_fault_set(fault, BB_ERR_NOT_FOUND, "%s: there is no segment of that day",
                             options->path);
    }
    return error;
}

static int s_segments(const s_options_t *options)
{
    bb_report_t report;
    bb_fault_t fault = {0};
    bb_inspect_segment_t found = {0};
    bb_error_t error = s_add_segments(options, &found, &fault);
    int status = found.damaged_count > 0 ? S_EXIT_DAMAGED : S_EXIT_CLEAN;
    if (error == BB_OK) {
        bb_report_open(&report, stdout, options->is_json ? BB_REPORT_JSON : BB_REPORT_PLAIN);
        bb_inspect_segment_report(&found, &report);
        bb_report_close(&report);
    } else {
        status = s_fail(&fault, error);
    }
    bb_inspect_segment_free(&found);
    return status;
}

// ---- verify ----------------------------------------------------------------------------------
typedef struct {
    bb_report_t *report;
    bb_report_form_t form;
    bool is_begun; // the report: not before there is something to say
    int pipe;      // in a child: findings are written here; -1: reported
} s_sink_t;

static void s_begin(s_sink_t *sink)
{
    if (!sink->is_begun) {
        sink->is_begun = true;
        bb_report_open(sink->report, stdout, sink->form);
        bb_report_list(sink->report, "findings");
    }
}

static void s_on_finding(void *context, const bb_verify_finding_t *finding)
{
    s_sink_t *sink = context;
    if (sink->pipe >= 0) {
        // A finding is smaller than what a pipe takes as one piece.
        static_assert(sizeof *finding <= 4096, "written whole or not at all");
        if (write(sink->pipe, finding, sizeof *finding) != (ssize_t)sizeof *finding) {
            _exit(S_EXIT_USAGE);
        }
        return;
    }
    s_begin(sink);
    bb_report_row(sink->report);
    bb_report_slice(sink->report, "where", bb_slice(finding->where, strlen(finding->where)));
    bb_report_slice(sink->report, "what", bb_slice(finding->what, strlen(finding->what)));
    bb_report_end(sink->report);
}

// What the child writes last.
typedef struct {
    bb_verify_totals_t totals;
    bb_error_t error;
    bb_fault_t fault;
} s_outcome_t;

static void s_child(const bb_verify_options_t *options, bb_verify_work_fn work, void *argument,
                    const int pipes[2])
{
    s_outcome_t outcome;
    memset(&outcome, 0, sizeof outcome);
    s_sink_t sink = {.pipe = pipes[1]};
    bb_verify_options_t inner = *options;
    inner.context = &sink;
    inner.guard = NULL;
    close(pipes[0]);
    outcome.error = work(&inner, argument, &outcome.totals, &outcome.fault);
    bool is_whole = write(pipes[1], &(bb_verify_finding_t){{0}, {0}},
                          sizeof(bb_verify_finding_t)) == (ssize_t)sizeof(bb_verify_finding_t) &&
                    write(pipes[1], &outcome, sizeof outcome) == (ssize_t)sizeof outcome;
    _exit(is_whole ? S_EXIT_CLEAN : S_EXIT_USAGE);
}

static bool s_read(int pipe, void *out, size_t length)
{
    uint8_t *at = out;
    while (length > 0) {
        ssize_t got = read(pipe, at, length);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        at += got;
        length -= (size_t)got;
    }
    return true;
}

static void s_add(bb_verify_totals_t *totals, const bb_verify_totals_t *more)
{
    totals->window_count += more->window_count;
    totals->window_run_count += more->window_run_count;
    totals->window_point_count += more->window_point_count;
    totals->window_bytes += more->window_bytes;
    totals->battery_count += more->battery_count;
    totals->metric_count += more->metric_count;
}

// Runs the work in a child, so that a page that crashes its reader is one more finding.
static bb_error_t s_guard(const bb_verify_options_t *options, bb_verify_work_fn work,
                          void *argument, bb_verify_totals_t *totals, bb_fault_t *fault)
{
    int pipes[2];
    fflush(NULL);
    if (pipe(pipes) != 0) {
        return bb_fault_set(fault, BB_ERR_IO, "cannot make a pipe: %s", strerror(errno));
    }
    pid_t child = fork();
    if (child == 0) {
        s_child(options, work, argument, pipes);
    }
    close(pipes[1]);
    if (child < 0) {
        close(pipes[0]);
        return bb_fault_set(fault, BB_ERR_IO, "cannot start a process: %s", strerror(errno));
    }
    bb_verify_finding_t finding;
    s_outcome_t outcome;
    bool is_ended = false;
    while (!is_ended && s_read(pipes[0], &finding, sizeof finding)) {
        if (finding.where[0] == '\0' && finding.what[0] == '\0') {
            is_ended = s_read(pipes[0], &outcome, sizeof outcome);
            break;
        }
        bb_verify_found(options, totals, finding.where, "%s", finding.what);
    }
    close(pipes[0]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!is_ended) {
        bb_verify_found(options, totals, options->directory,
                        "unreadable: reading one of its maps ended a process (%s)",
                        WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "no answer");
        return BB_ERR_INTERNAL;
    }
    s_add(totals, &outcome.totals);
    if (outcome.error != BB_OK) {
        return bb_fault_set(fault, outcome.error, "%s", outcome.fault.text);
    }
    return BB_OK;
}

static void s_totals(bb_report_t *report, const bb_verify_totals_t *totals)
{
    bb_report_begin(report, "totals");
    bb_report_u64(report, "stores", totals->store_count);
    bb_report_u64(report, "journal_files", totals->journal_file_count);
    bb_report_u64(report, "journal_records", totals->journal_record_count);
    bb_report_u64(report, "journal_bytes", totals->journal_bytes);
    bb_report_u64(report, "batteries", totals->battery_count);
    bb_report_u64(report, "metrics", totals->metric_count);
    bb_report_u64(report, "windows", totals->window_count);
    bb_report_u64(report, "runs", totals->window_run_count);
    bb_report_u64(report, "points", totals->window_point_count);
    bb_report_u64(report, "run_bytes", totals->window_bytes);
    bb_report_u64(report, "findings", totals->finding_count);
    bb_report_end(report);
}

static int s_verify(const s_options_t *options)
{
    bb_report_t report;
    bb_fault_t fault = {0};
    bb_verify_totals_t totals = {0};
    s_sink_t sink = {
        .report = &report, .form = options->is_json ? BB_REPORT_JSON : BB_REPORT_PLAIN, .pipe = -1};
    bb_verify_options_t wanted = {.vfs = bb_vfs_posix(),
                                  .kv = bb_kv_lmdb(),
                                  .directory = options->path,
                                  .in_use_is_fine = options->in_use_is_fine,
                                  .on_finding = s_on_finding,
                                  .context = &sink,
                                  .guard = options->is_window ? NULL : s_guard};
    s_limit(options);
    bb_error_t error = options->is_window ? bb_verify_window_folder(&wanted, &totals, &fault)
                                          : bb_verify_folder(&wanted, &totals, &fault);
    if (error != BB_OK && !sink.is_begun && totals.store_count == 0 && !options->is_window) {
        return s_fail(&fault, error); // nothing was looked at
    }
    s_begin(&sink);
    bb_report_end(&report);
    s_totals(&report, &totals);
    bb_report_close(&report);
    if (error != BB_OK && options->is_window && error != BB_ERR_NOT_FOUND &&
        error != BB_ERR_PERMISSION) {
        s_fail(&fault, error);
        return S_EXIT_UNREADABLE;
    }
    if (error != BB_OK) {
        return s_fail(&fault, error);
    }
    return totals.finding_count > 0 ? S_EXIT_DAMAGED : S_EXIT_CLEAN;
}

int main(int argc, char **argv)
{
    s_options_t options = {0};
    signal(SIGPIPE, SIG_IGN);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(s_help, stdout);
            return S_EXIT_CLEAN;
        }
        if (strcmp(argv[i], "--version") == 0) {
            puts("busbar-inspect " BB_VERSION);
            return S_EXIT_CLEAN;
        }
    }
    if (!s_parse(argc, argv, &options)) {
        return S_EXIT_USAGE;
    }
    if (strcmp(options.verb, "journal") == 0) {
        return s_journal(&options);
    }
    if (strcmp(options.verb, "segment") == 0 || strcmp(options.verb, "window") == 0) {
        return s_segments(&options);
    }
    if (strcmp(options.verb, "verify") == 0) {
        return s_verify(&options);
    }
    fprintf(stderr, "busbar-inspect: unknown verb '%s'; see --help\n", options.verb);
    return S_EXIT_USAGE;
}
