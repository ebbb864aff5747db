// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cluster_verbs.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/cli/cli_context.h"
#include "client/cli/cluster_process.h"
#include "cluster-config/bb_cluster_template.h"

#define S_POLL_MS          20
#define S_READY_NS_DEFAULT (10 * BB_NS_PER_S)
#define S_STOP_NS_DEFAULT  (15 * BB_NS_PER_S) // a little more than a node takes to drain

static void s_pause(void)
{
    nanosleep(&(struct timespec){.tv_nsec = S_POLL_MS * 1000000L}, NULL);
}

static int s_refuse(const bb_fault_t *fault)
{
    cli_complain("%s", fault->text);
    return CLI_EXIT_USAGE;
}

// ---- init ----

#define S_NOT_GIVEN UINT64_MAX

// --rf, --partitions, --stores; what is not given stays 0, the template's default.
static bool s_take_numbers(bb_cluster_template_t *template, uint64_t nodes, bool dcs_given,
                           const uint64_t numbers[3], const char *const names[3])
{
    uint32_t *const targets[3] = {&template->replica_count, &template->partition_count,
                                  &template->store_count};
    for (int i = 0; i < 3; i++) {
        if (numbers[i] == S_NOT_GIVEN) {
            continue;
        }
        if (numbers[i] == 0 || numbers[i] > BB_PARTITIONS_MAX) {
            cli_complain("cluster init: %s: %llu is out of range", names[i],
                         (unsigned long long)numbers[i]);
            return false;
        }
        *targets[i] = (uint32_t)numbers[i];
    }
    if (!dcs_given) {
        if (nodes < 1 || nodes > BB_NODES_MAX) {
            cli_complain("cluster init: --nodes: 1 to %d are possible", BB_NODES_MAX);
            return false;
        }
        template->dc_count = 1;
        strcpy(template->dcs[0].name, "dc1");
        template->dcs[0].node_count = (uint32_t)nodes;
    }
    return true;
}

// Shows what was made by reading it back.
static int s_show_new(const char *directory, const bb_cluster_template_t *template)
{
    cluster_folder_t folder;
    bb_fault_t fault;
    if (cluster_folder_open(directory, &folder, &fault) != BB_OK) {
        return s_refuse(&fault);
    }
    const bb_config_t *config = folder.nodes[0].config;
    printf("cluster %s in %s: %u node%s, %u partitions", config->cluster_name, directory,
           config->node_count, config->node_count == 1 ? "" : "s", config->partition_count);
    for (uint32_t i = 0; i < config->dc_count; i++) {
        printf(", %s: %u replica%s", config->dcs[i].name, config->dcs[i].replica_count,
               config->dcs[i].replica_count == 1 ? "" : "s");
    }
    printf("\n");
    for (uint32_t i = 0; i < config->node_count; i++) {
        const bb_config_node_t *node = &config->nodes[i];
        printf("  %-4s %-8s %s  client %u  peer %u  bulk %u  http %u", node->id, node->dc,
               node->host, node->client_port, node->peer_port, node->bulk_port, node->http_port);
        if (template->host_count) {
            printf("  copy %s/hosts/%s there", directory, template->hosts[i].name);
        }
        printf("\n");
    }
    if (template->host_count) {
        printf("On each host: busbard --config busbard.yaml\n");
    } else {
        printf("Next: busbar cluster up %s\n", directory);
    }
    printf("Then: busbar -c %s/client.yaml status\n", directory);
    cluster_folder_close(&folder);
    return CLI_EXIT_OK;
}

static int s_init(const cli_context_t *context, int argc, char **argv)
{
    const char *name = NULL;
    const char *dcs = NULL;
    const char *hosts = NULL;
    uint64_t nodes = 3;
    bool nodes_given = false;
    uint64_t numbers[3] = {S_NOT_GIVEN, S_NOT_GIVEN, S_NOT_GIVEN};
    const char *const number_names[3] = {"--rf", "--partitions", "--stores"};
    const cli_option_t options[] = {
        {"--name", CLI_TEXT, &name, NULL, "N", "name of the cluster (default: of the folder)"},
        {"--nodes", CLI_COUNT, &nodes, &nodes_given, "3", "nodes, all in data centre dc1"},
        {"--dcs", CLI_TEXT, &dcs, NULL, "DCS", "data centres with nodes, dc1:3,dc2:3"},
        {"--hosts", CLI_TEXT, &hosts, NULL, "HOSTS", "a machine per node, a=192.0.2.1,b=192.0.2.2"},
        {"--rf", CLI_COUNT, &numbers[0], NULL, "3",
         "replicas per data centre (default min(3, nodes))"},
        {"--partitions", CLI_COUNT, &numbers[1], NULL, "1024", "power of two, fixed at creation"},
        {"--stores", CLI_COUNT, &numbers[2], NULL, "1", "stores per node, fixed at creation"},
    };
    const cli_command_t command = {
        "cluster init",
        "DIR [--name N] [--nodes 3] [--dcs dc1:3,dc2:3] [--hosts a=192.0.2.1,...] [--rf 3]",
        "Configuration, keys and data folders of a new cluster. Nodes are n1, n2, ... Without "
        "--hosts each gets a loopback address and free ports.",
        options,
        BB_COUNT_OF(options),
        NULL};
    cli_texts_t arguments = {0};
    int exit_status = CLI_EXIT_USAGE;
    bb_fault_t fault = {0};
    bb_error_t error = BB_OK;
    bb_cluster_template_t *template = bb_alloc_zero(1, sizeof *template);
    if (!cli_parse(&command, context, argc, argv, &arguments, &exit_status)) {
        goto out;
    }
    if (arguments.count != 1) {
        cli_complain("cluster init: one folder is needed");
        goto out;
    }
    if (dcs) {
        error = bb_cluster_template_parse_dcs(template, dcs, &fault);
    }
    if (error == BB_OK && hosts) {
        error = bb_cluster_template_parse_hosts(template, hosts, &fault);
    }
    if (error == BB_OK) {
        if (hosts && !nodes_given) {
            nodes = template->host_count;
        }
        if (!s_take_numbers(template, nodes, dcs != NULL, numbers, number_names)) {
            goto out;
        }
        template->name = name;
        error = bb_cluster_template_write(template, arguments.items[0], &fault);
    }
    exit_status = error == BB_OK ? s_show_new(arguments.items[0], template) : s_refuse(&fault);
out:
    free(template);
    cli_texts_clear(&arguments);
    return exit_status;
}

// ---- starting ----

static void s_say_up(cluster_node_t *node, const char *how)
{
    const bb_config_node_t *self = node->self;
    char host[BB_HOST_BYTES_MAX + 3];
    bb_host_format(self->host, host);
    printf("%-4s %-9s pid %ld  tcp://%s:%u  http://%s:%u\n", self->id, how,
           (long)cluster_node_pid(node), host, self->client_port, host, self->http_port);
    fflush(stdout);
}

// Complains about a node that ended or did not get ready; the exit status that belongs to it.
static int s_say_not_ready(cluster_node_t *node, int64_t waited_ns)
{
    char tail[1024];
    cluster_node_log_tail(node, tail, sizeof tail);
    if (node->child_is_gone) {
        cli_complain("%s ended with status %d; see %s", node->self->id, node->exit_status,
                     node->log_path);
    } else {
        cli_complain("%s is not ready after %lld s; see %s", node->self->id,
                     (long long)(waited_ns / BB_NS_PER_S), node->log_path);
    }
    if (tail[0]) {
        fprintf(stderr, "%s%s", tail, tail[strlen(tail) - 1] == '\n' ? "" : "\n");
    }
    return node->child_is_gone && node->exit_status == 2 ? CLI_EXIT_USAGE : CLI_EXIT_UNAVAILABLE;
}

// Waits until every node marked `waiting` is ready, ended, or late.
static int s_wait_ready(cluster_folder_t *folder, bool *waiting, const char *how,
                        int64_t timeout_ns)
{
    int exit_status = CLI_EXIT_OK;
    int64_t deadline_ns = cli_mono_ns() + timeout_ns;
    for (bool any = true; any;) {
        any = false;
        bool late = cli_mono_ns() >= deadline_ns;
        for (uint32_t i = 0; i < folder->node_count; i++) {
            cluster_node_t *node = &folder->nodes[i];
            if (!waiting[i]) {
                continue;
            }
            if (cluster_node_pid(node) != 0 && cluster_node_is_ready(node, 300)) {
                s_say_up(node, how);
                waiting[i] = false;
            } else if (late || (cluster_node_pid(node) == 0 && node->child_is_gone)) {
                int status = s_say_not_ready(node, timeout_ns);
                exit_status = exit_status == CLI_EXIT_OK ? status : exit_status;
                waiting[i] = false;
            } else {
                any = true;
            }
        }
        if (any) {
            s_pause();
        }
    }
    return exit_status;
}

static int s_up_all(cluster_folder_t *folder, int64_t timeout_ns)
{
    char busbard[PATH_MAX];
    bool waiting[BB_NODES_MAX] = {false};
    bb_fault_t fault;
    uint32_t local = 0;
    if (cluster_busbard_path(busbard, &fault) != BB_OK) {
        return s_refuse(&fault);
    }
    int exit_status = CLI_EXIT_OK;
    for (uint32_t i = 0; i < folder->node_count; i++) {
        cluster_node_t *node = &folder->nodes[i];
        if (!cluster_node_is_local(node)) {
            printf("%-4s is on another machine (%s)\n", node->self->id, node->self->host);
            continue;
        }
        local++;
        if (cluster_node_pid(node) != 0) {
            waiting[i] = true; // it may still be starting
        } else if (cluster_node_start(node, busbard, &fault) == BB_OK) {
            waiting[i] = true;
        } else {
            cli_complain("%s: %s", node->self->id, fault.text);
            exit_status = CLI_EXIT_UNAVAILABLE;
        }
    }
    if (local == 0) {
        cli_complain("no node of '%s' is on this machine", folder->folder);
        return CLI_EXIT_USAGE;
    }
    int status = s_wait_ready(folder, waiting, "up", timeout_ns);
    return exit_status == CLI_EXIT_OK ? status : exit_status;
}

// ---- stopping ----

// Asks the marked nodes to end and waits; false when one is still there.
static bool s_stop(cluster_folder_t *folder, const bool *chosen, int64_t timeout_ns)
{
    pid_t pids[BB_NODES_MAX] = {0};
    int64_t deadline_ns = cli_mono_ns() + timeout_ns;
    for (uint32_t i = 0; i < folder->node_count; i++) {
        cluster_node_t *node = &folder->nodes[i];
        pids[i] = chosen[i] ? cluster_node_pid(node) : 0;
        if (chosen[i] && pids[i] == 0) {
            printf("%-4s was not running\n", node->self->id);
            (void)unlink(node->pid_path); // stale, if there is one
        } else if (pids[i] != 0 && kill(pids[i], SIGTERM) != 0 && errno != ESRCH) {
            cli_complain("%s: cannot signal process %ld: %s", node->self->id, (long)pids[i],
                         strerror(errno));
        }
    }
    bool gone = true;
    for (uint32_t i = 0; i < folder->node_count; i++) {
        cluster_node_t *node = &folder->nodes[i];
        while (pids[i] != 0 && cluster_node_pid(node) == pids[i] && cli_mono_ns() < deadline_ns) {
            s_pause();
        }
        if (pids[i] != 0 && cluster_node_pid(node) == pids[i]) {
            cli_complain("%s (pid %ld) has not ended after %lld s; busbar cluster kill ends it",
                         node->self->id, (long)pids[i], (long long)(timeout_ns / BB_NS_PER_S));
            gone = false;
        } else if (pids[i] != 0) {
            (void)unlink(node->pid_path);
            printf("%-4s stopped\n", node->self->id);
        }
        fflush(stdout);
    }
    return gone;
}

// ---- verbs on an existing folder ----

// What `up`, `down`, `restart` and `kill` have in common: a folder, and nodes for the last two.
typedef struct {
    cli_texts_t arguments;
    cluster_folder_t folder;
    bool chosen[BB_NODES_MAX];
    int exit_status;
} s_job_t;

static bool s_begin(s_job_t *job, const cli_command_t *command, const cli_context_t *context,
                    int argc, char **argv, bool needs_nodes, bool needs_lock)
{
    bb_fault_t fault;
    job->exit_status = CLI_EXIT_USAGE;
    job->folder.lock = -1;
    if (!cli_parse(command, context, argc, argv, &job->arguments, &job->exit_status)) {
        return false;
    }
    size_t count = job->arguments.count;
    if (needs_nodes ? count < 2 : count != 1) {
        cli_complain("%s: %s", command->verb,
                     needs_nodes ? "a folder and a node are needed" : "one folder is needed");
        return false;
    }
    if (cluster_folder_open(job->arguments.items[0], &job->folder, &fault) != BB_OK ||
        (needs_lock && cluster_folder_lock(&job->folder, &fault) != BB_OK)) {
        job->exit_status = s_refuse(&fault);
        return false;
    }
    for (size_t i = 1; i < count; i++) {
        cluster_node_t *node = cluster_folder_find(&job->folder, job->arguments.items[i]);
        if (!node) {
            cli_complain("%s: '%s' has no node '%s'", command->verb, job->arguments.items[0],
                         job->arguments.items[i]);
            return false;
        }
        job->chosen[node - job->folder.nodes] = true;
    }
    return true;
}

static int s_end(s_job_t *job)
{
    cluster_folder_close(&job->folder);
    cli_texts_clear(&job->arguments);
    int exit_status = job->exit_status;
    free(job);
    return exit_status;
}

static int s_up(const cli_context_t *context, int argc, char **argv)
{
    int64_t timeout_ns = S_READY_NS_DEFAULT;
    const cli_option_t options[] = {
        {"--timeout", CLI_DURATION, &timeout_ns, NULL, "D", "how long to wait (default 10s)"}};
    const cli_command_t command = {"cluster up",
                                   "DIR [--timeout D]",
                                   "Starts every node of this machine that does not run, and waits "
                                   "until all are ready.",
                                   options,
                                   BB_COUNT_OF(options),
                                   NULL};
    s_job_t *job = bb_alloc_zero(1, sizeof *job);
    if (s_begin(job, &command, context, argc, argv, false, true)) {
        job->exit_status = s_up_all(&job->folder, timeout_ns);
    }
    return s_end(job);
}

static int s_down(const cli_context_t *context, int argc, char **argv)
{
    int64_t timeout_ns = S_STOP_NS_DEFAULT;
    const cli_option_t options[] = {
        {"--timeout", CLI_DURATION, &timeout_ns, NULL, "D", "how long to wait (default 15s)"}};
    const cli_command_t command = {"cluster down",
                                   "DIR [--timeout D]",
                                   "Asks every node to finish its work and end, and waits for it.",
                                   options,
                                   BB_COUNT_OF(options),
                                   NULL};
    s_job_t *job = bb_alloc_zero(1, sizeof *job);
    if (s_begin(job, &command, context, argc, argv, false, true)) {
        for (uint32_t i = 0; i < job->folder.node_count; i++) {
            job->chosen[i] = cluster_node_is_local(&job->folder.nodes[i]);
        }
        job->exit_status =
            s_stop(&job->folder, job->chosen, timeout_ns) ? CLI_EXIT_OK : CLI_EXIT_UNAVAILABLE;
    }
    return s_end(job);
}

static int s_restart_nodes(s_job_t *job, int64_t timeout_ns)
{
    char busbard[PATH_MAX];
    bb_fault_t fault;
    if (cluster_busbard_path(busbard, &fault) != BB_OK) {
        return s_refuse(&fault);
    }
    if (!s_stop(&job->folder, job->chosen, S_STOP_NS_DEFAULT)) {
        return CLI_EXIT_UNAVAILABLE;
    }
    for (uint32_t i = 0; i < job->folder.node_count; i++) {
        cluster_node_t *node = &job->folder.nodes[i];
        if (job->chosen[i] && cluster_node_start(node, busbard, &fault) != BB_OK) {
            cli_complain("%s: %s", node->self->id, fault.text);
            return CLI_EXIT_UNAVAILABLE;
        }
    }
    return s_wait_ready(&job->folder, job->chosen, "restarted", timeout_ns);
}

static int s_restart(const cli_context_t *context, int argc, char **argv)
{
    int64_t timeout_ns = S_READY_NS_DEFAULT;
    const cli_option_t options[] = {
        {"--timeout", CLI_DURATION, &timeout_ns, NULL, "D", "how long to wait (default 10s)"}};
    const cli_command_t command = {"cluster restart",
                                   "DIR NODE... [--timeout D]",
                                   "Stops a node if it runs, starts it, and waits until it is "
                                   "ready.",
                                   options,
                                   BB_COUNT_OF(options),
                                   NULL};
    s_job_t *job = bb_alloc_zero(1, sizeof *job);
    if (s_begin(job, &command, context, argc, argv, true, true)) {
        job->exit_status = s_restart_nodes(job, timeout_ns);
    }
    return s_end(job);
}

// Sends the signal; a node that must die of it is waited for.
static int s_kill_node(cluster_node_t *node, int signal_number)
{
    pid_t pid = cluster_node_pid(node);
    if (pid == 0) {
        cli_complain("%s is not running", node->self->id);
        return CLI_EXIT_UNAVAILABLE;
    }
    if (kill(pid, signal_number) != 0) {
        cli_complain("%s: cannot signal process %ld: %s", node->self->id, (long)pid,
                     strerror(errno));
        return CLI_EXIT_UNAVAILABLE;
    }
    int64_t deadline_ns = cli_mono_ns() + 5 * BB_NS_PER_S;
    while (signal_number == SIGKILL && cluster_node_pid(node) == pid) {
        if (cli_mono_ns() >= deadline_ns) {
            cli_complain("%s (pid %ld) is still there 5 s after SIGKILL", node->self->id,
                         (long)pid);
            return CLI_EXIT_UNAVAILABLE;
        }
        s_pause();
    }
    printf("%-4s pid %ld got %s (%d)\n", node->self->id, (long)pid,
           cluster_signal_name(signal_number), signal_number);
    fflush(stdout);
    return CLI_EXIT_OK;
}

static int s_kill(const cli_context_t *context, int argc, char **argv)
{
    const char *signal_text = "KILL";
    const cli_option_t options[] = {{"--signal", CLI_TEXT, &signal_text, NULL, "KILL",
                                     "KILL, TERM, STOP, CONT, ... or a number"}};
    const cli_command_t command = {"cluster kill",
                                   "DIR NODE... [--signal KILL]",
                                   "Sends a signal to a node; without --signal it is killed at "
                                   "once, as by a power cut of the process.",
                                   options,
                                   BB_COUNT_OF(options),
                                   NULL};
    s_job_t *job = bb_alloc_zero(1, sizeof *job);
    if (s_begin(job, &command, context, argc, argv, true, false)) {
        int signal_number = cluster_signal_of_name(signal_text);
        if (signal_number == 0) {
            cli_complain("cluster kill: --signal: '%s' is no signal", signal_text);
            return s_end(job);
        }
        job->exit_status = CLI_EXIT_OK;
        for (uint32_t i = 0; i < job->folder.node_count; i++) {
            if (job->chosen[i]) {
                int status = s_kill_node(&job->folder.nodes[i], signal_number);
                job->exit_status = job->exit_status == CLI_EXIT_OK ? status : job->exit_status;
            }
        }
    }
    return s_end(job);
}

static const struct {
    const char *name;
    cli_verb_fn run;
    const char *help;
} s_verbs[] = {
    {"init", s_init, "DIR           configuration, keys and data folders of a new cluster"},
    {"up", s_up, "DIR             start every node and wait until all are ready"},
    {"down", s_down, "DIR           let every node finish its work and end"},
    {"restart", s_restart, "DIR NODE   stop and start one node; also starts a dead one"},
    {"kill", s_kill, "DIR NODE      [--signal KILL] end one node at once, or signal it"},
};

int bb_cli_cluster(int argc, char **argv)
{
    const cli_context_t context = {.now_ns = cli_wall_ns()};
    bool help = argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    if (argc < 2 || help) {
        puts("Usage: busbar cluster VERB ...\n");
        for (size_t i = 0; i < BB_COUNT_OF(s_verbs); i++) {
            printf("  %s %s\n", s_verbs[i].name, s_verbs[i].help);
        }
        puts("\nbusbar cluster VERB --help says more. Exit status: 0 done, 2 usage or "
             "configuration,\n4 a node is not ready or not gone in time.");
        return help ? CLI_EXIT_OK : CLI_EXIT_USAGE;
    }
    const char *names[BB_COUNT_OF(s_verbs)];
    for (size_t i = 0; i < BB_COUNT_OF(s_verbs); i++) {
        names[i] = s_verbs[i].name;
        if (strcmp(argv[1], names[i]) == 0) {
            return s_verbs[i].run(&context, argc - 1, argv + 1);
        }
    }
    const char *nearest = cli_nearest(argv[1], names, BB_COUNT_OF(names));
    cli_complain("unknown verb 'cluster %s'%s%s%s; see `busbar cluster --help`", argv[1],
                 nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
    return CLI_EXIT_USAGE;
}
