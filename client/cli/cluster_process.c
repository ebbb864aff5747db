// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cluster_process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static bb_error_t s_fault_of_errno(const char *doing, const char *path, bb_fault_t *fault)
{
    int number = errno;
    bb_error_t error = number == ENOENT || number == ENOTDIR ? BB_ERR_NOT_FOUND
                       : number == EACCES || number == EPERM ? BB_ERR_PERMISSION
                                                             : BB_ERR_IO;
    return bb_fault_set(fault, error, "cannot %s '%s': %s", doing, path, strerror(number));
}

// ---- names ----

static const struct {
    const char *name;
    int number;
} s_signals[] = {
    {"SIGKILL", SIGKILL}, {"SIGTERM", SIGTERM}, {"SIGINT", SIGINT},   {"SIGQUIT", SIGQUIT},
    {"SIGHUP", SIGHUP},   {"SIGSTOP", SIGSTOP}, {"SIGCONT", SIGCONT}, {"SIGABRT", SIGABRT},
    {"SIGSEGV", SIGSEGV}, {"SIGUSR1", SIGUSR1}, {"SIGUSR2", SIGUSR2},
};

int cluster_signal_of_name(const char *name)
{
    char *end = NULL;
    long number = strtol(name, &end, 10);
    if (name[0] >= '0' && name[0] <= '9' && *end == '\0' && number >= 1 && number < NSIG) {
        return (int)number;
    }
    for (size_t i = 0; i < BB_COUNT_OF(s_signals); i++) {
        if (strcasecmp(name, s_signals[i].name) == 0 ||
            strcasecmp(name, s_signals[i].name + 3) == 0) {
            return s_signals[i].number;
        }
    }
    return 0;
}

const char *cluster_signal_name(int number)
{
    for (size_t i = 0; i < BB_COUNT_OF(s_signals); i++) {
        if (s_signals[i].number == number) {
            return s_signals[i].name;
        }
    }
    return "signal";
}

int cluster_compare_ids(const char *a, const char *b)
{
    return strverscmp(a, b);
}

// ---- the folder ----

static int s_by_id(const void *a, const void *b)
{
    return cluster_compare_ids(((const cluster_node_t *)a)->config->node_id,
                               ((const cluster_node_t *)b)->config->node_id);
}

// Puts "folder/name" into a path; false when it does not fit.
static bool s_join(char out[PATH_MAX], const char *folder, const char *name)
{
    return snprintf(out, PATH_MAX, "%s/%s", folder, name) < PATH_MAX;
}

static bb_error_t s_load_node(cluster_node_t *node, const char *nodes_folder, const char *name,
                              bb_fault_t *fault)
{
    *node = (cluster_node_t){0};
    if (!s_join(node->folder, nodes_folder, name) ||
        !s_join(node->config_path, node->folder, "busbard.yaml") ||
        !s_join(node->pid_path, node->folder, "busbard.pid") ||
        !s_join(node->log_path, node->folder, "busbard.log")) {
        return bb_fault_set(fault, BB_ERR_CONFIG, "the path of '%s' is too long", name);
    }
    bb_error_t error = bb_config_load(node->config_path, &node->config, fault);
    if (error == BB_OK) {
        node->self = &node->config->nodes[node->config->node_index];
    }
    return error;
}

bb_error_t cluster_folder_open(const char *directory, cluster_folder_t *folder, bb_fault_t *fault)
{
    char nodes_folder[PATH_MAX];
    *folder = (cluster_folder_t){.lock = -1};
    if (!realpath(directory, folder->folder)) {
        return s_fault_of_errno("find", directory, fault);
    }
    DIR *list = s_join(nodes_folder, folder->folder, "nodes") ? opendir(nodes_folder) : NULL;
    if (!list) {
        return bb_fault_set(fault, BB_ERR_CONFIG,
                            "'%s' is no cluster folder: it has no folder 'nodes' "
                            "(busbar cluster init makes one)",
                            directory);
    }
    folder->nodes = bb_alloc_zero(BB_NODES_MAX, sizeof *folder->nodes);
    bb_error_t error = BB_OK;
    for (struct dirent *entry; error == BB_OK && (entry = readdir(list));) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (folder->node_count == BB_NODES_MAX) {
            error = bb_fault_set(fault, BB_ERR_LIMIT, "'%s' has more than %d nodes", nodes_folder,
                                 BB_NODES_MAX);
        } else {
            error =
                s_load_node(&folder->nodes[folder->node_count], nodes_folder, entry->d_name, fault);
            folder->node_count += error == BB_OK;
        }
    }
    closedir(list);
    if (error == BB_OK && folder->node_count == 0) {
        error = bb_fault_set(fault, BB_ERR_CONFIG, "'%s' has no node", nodes_folder);
    }
    if (error != BB_OK) {
        cluster_folder_close(folder);
        return error;
    }
    qsort(folder->nodes, folder->node_count, sizeof *folder->nodes, s_by_id);
    return BB_OK;
}

void cluster_folder_close(cluster_folder_t *self)
{
    for (uint32_t i = 0; i < self->node_count; i++) {
        bb_config_destroy(&self->nodes[i].config);
    }
    free(self->nodes);
    if (self->lock >= 0) {
        close(self->lock);
    }
    *self = (cluster_folder_t){.lock = -1};
}

bb_error_t cluster_folder_lock(cluster_folder_t *self, bb_fault_t *fault)
{
    self->lock = open(self->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (self->lock >= 0 && flock(self->lock, LOCK_EX) != 0) {
        if (errno != EINTR) {
            return s_fault_of_errno("lock", self->folder, fault);
        }
    }
    return self->lock >= 0 ? BB_OK : s_fault_of_errno("open", self->folder, fault);
}

cluster_node_t *cluster_folder_find(cluster_folder_t *self, const char *id)
{
    for (uint32_t i = 0; i < self->node_count; i++) {
        if (strcmp(self->nodes[i].config->node_id, id) == 0) {
            return &self->nodes[i];
        }
    }
    return NULL;
}

bb_error_t cluster_busbard_path(char path[PATH_MAX], bb_fault_t *fault)
{
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - sizeof "busbard");
    if (length <= 0) {
        return s_fault_of_errno("read", "/proc/self/exe", fault);
    }
    while (length > 0 && path[length - 1] != '/') {
        length--;
    }
    strcpy(path + length, "busbard");
    if (access(path, X_OK) != 0) {
        return bb_fault_set(fault, BB_ERR_NOT_FOUND, "the program '%s' is not there", path);
    }
    return BB_OK;
}

// ---- watching ----

// A small file or /proc entry into `out`; its length, or 0.
static size_t s_read_small(const char *path, char *out, size_t size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    while (file >= 0 && length < size - 1) {
        ssize_t got = read(file, out + length, size - 1 - length);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        length += (size_t)got;
    }
    if (file >= 0) {
        close(file);
    }
    out[length] = '\0';
    return length;
}

// True when the process has `argument` among its arguments. A zombie has none.
static bool s_has_argument(pid_t pid, const char *argument)
{
    char path[64];
    char line[2 * PATH_MAX];
    snprintf(path, sizeof path, "/proc/%ld/cmdline", (long)pid);
    size_t length = s_read_small(path, line, sizeof line);
    for (size_t at = 0; at < length; at += strlen(line + at) + 1) {
        if (strcmp(line + at, argument) == 0) {
            return true;
        }
    }
    return false;
}

// Takes the end of a process that we started, so that it does not stay a zombie.
static void s_reap(cluster_node_t *self)
{
    int status = 0;
    if (self->child > 0 && !self->child_is_gone &&
        waitpid(self->child, &status, WNOHANG) == self->child) {
        self->child_is_gone = true;
        self->exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

pid_t cluster_node_pid(cluster_node_t *self)
{
    char text[32];
    char *end = NULL;
    s_reap(self);
    if (s_read_small(self->pid_path, text, sizeof text) == 0) {
        return 0;
    }
    long pid = strtol(text, &end, 10);
    if (pid <= 1 || pid > INT_MAX || (*end != '\n' && *end != '\0')) {
        return 0;
    }
    return s_has_argument((pid_t)pid, self->config_path) ? (pid_t)pid : 0;
}

// The node's address; names are IPv4, as for the node itself. A socket of its family, or -1.
typedef struct {
    struct sockaddr_storage bytes;
    socklen_t length;
} s_address_t;

static int s_socket_to(const char *host, uint16_t port, int flags, s_address_t *address)
{
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo hints = {.ai_family = strchr(host, ':') ? AF_INET6 : AF_INET,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    if (getaddrinfo(host, service, &hints, &list) != 0 || !list) {
        return -1;
    }
    memcpy(&address->bytes, list->ai_addr, list->ai_addrlen);
    address->length = list->ai_addrlen;
    freeaddrinfo(list);
    return socket(hints.ai_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
}

bool cluster_node_is_local(const cluster_node_t *self)
{
    s_address_t address;
    int probe = s_socket_to(self->self->host, 0, 0, &address);
    bool local =
        probe >= 0 && (bind(probe, (struct sockaddr *)&address.bytes, address.length) == 0 ||
                       errno != EADDRNOTAVAIL);
    if (probe >= 0) {
        close(probe);
    }
    return local;
}

static bool s_wait(int descriptor, short events, int timeout_ms)
{
    struct pollfd entry = {.fd = descriptor, .events = events};
    return poll(&entry, 1, timeout_ms) == 1;
}

bool cluster_node_is_ready(const cluster_node_t *self, int timeout_ms)
{
    static const char request[] =
        "GET /readyz HTTP/1.1\r\nHost: busbar\r\nConnection: close\r\n\r\n";
    s_address_t address;
    int link = s_socket_to(self->self->host, self->self->http_port, SOCK_NONBLOCK, &address);
    if (link < 0) {
        return false;
    }
    int failure = 0;
    socklen_t failure_bytes = sizeof failure;
    char answer[64] = "";
    size_t length = 0;
    bool sent =
        (connect(link, (struct sockaddr *)&address.bytes, address.length) == 0 ||
         errno == EINPROGRESS) &&
        s_wait(link, POLLOUT, timeout_ms) &&
        getsockopt(link, SOL_SOCKET, SO_ERROR, &failure, &failure_bytes) == 0 && failure == 0 &&
        send(link, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)sizeof request - 1;
    while (sent && length < sizeof "HTTP/1.1 200" - 1 && s_wait(link, POLLIN, timeout_ms)) {
        ssize_t got = recv(link, answer + length, sizeof answer - 1 - length, 0);
        if (got <= 0) {
            break;
        }
        length += (size_t)got;
    }
    close(link);
    return strncmp(answer, "HTTP/1.", 7) == 0 && strncmp(answer + 8, " 200", 4) == 0;
}

void cluster_node_log_tail(const cluster_node_t *self, char *out, size_t size)
{
    out[0] = '\0';
    int file = open(self->log_path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (file >= 0 && fstat(file, &info) == 0 && info.st_size > self->log_start) {
        off_t from = BB_MAX(self->log_start, info.st_size - (off_t)size + 1);
        ssize_t got = pread(file, out, size - 1, from);
        out[got > 0 ? got : 0] = '\0';
    }
    if (file >= 0) {
        close(file);
    }
}

// ---- starting ----

// In the child: nothing of ours stays but the status pipe, which closes itself at exec.
static void s_become_busbard(const char *busbard, const char *config_path, int log, int status_pipe)
{
    int null = open("/dev/null", O_RDWR);
    if (setsid() < 0 || null < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 ||
        chdir("/") != 0) {
        return;
    }
    for (int signal_number = 1; signal_number < NSIG; signal_number++) {
        (void)signal(signal_number, SIG_DFL); // fails for some; those cannot be changed
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    long limit = sysconf(_SC_OPEN_MAX);
    if (close_range(3, (unsigned)status_pipe - 1, 0) != 0 ||
        close_range((unsigned)status_pipe + 1, ~0u, 0) != 0) {
        for (int descriptor = 3; descriptor < BB_MIN(limit, 65536L); descriptor++) {
            if (descriptor != status_pipe) {
                close(descriptor);
            }
        }
    }
    umask(077);
    char *const arguments[] = {(char *)(uintptr_t)busbard, (char *)(uintptr_t) "--config",
                               (char *)(uintptr_t)config_path, NULL};
    execv(busbard, arguments);
}

static bb_error_t s_write_pid(const cluster_node_t *self, pid_t pid, bb_fault_t *fault)
{
    char text[32];
    int length = snprintf(text, sizeof text, "%ld\n", (long)pid);
    int file = open(self->pid_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool written = file >= 0 && write(file, text, (size_t)length) == length;
    bb_error_t error = written ? BB_OK : s_fault_of_errno("write", self->pid_path, fault);
    if (file >= 0) {
        close(file);
    }
    return error;
}

bb_error_t cluster_node_start(cluster_node_t *self, const char *busbard, bb_fault_t *fault)
{
    struct stat info;
    int status_pipe[2];
    int log = open(self->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0 || fstat(log, &info) != 0) {
        return s_fault_of_errno("open", self->log_path, fault);
    }
    self->log_start = info.st_size;
    if (pipe2(status_pipe, O_CLOEXEC) != 0) {
        close(log);
        return s_fault_of_errno("start", busbard, fault);
    }
    fflush(NULL); // so that the child does not write our buffers again
    pid_t pid = fork();
    if (pid == 0) {
        // Above 3, so that there is always a range on both sides to close.
        int status = fcntl(status_pipe[1], F_DUPFD_CLOEXEC, 10);
        if (status < 0) {
            _exit(127);
        }
        s_become_busbard(busbard, self->config_path, log, status);
        int number = errno;
        bb_ignore(write(status, &number, sizeof number), "the parent sees the end in any case");
        _exit(127);
    }
    close(log);
    close(status_pipe[1]);
    int number = 0;
    bb_error_t error = BB_OK;
    if (pid < 0) {
        error = s_fault_of_errno("start", busbard, fault);
    } else if (read(status_pipe[0], &number, sizeof number) == (ssize_t)sizeof number) {
        errno = number;
        error = s_fault_of_errno("execute", busbard, fault);
        (void)waitpid(pid, NULL, 0);
    }
    close(status_pipe[0]);
    if (error != BB_OK) {
        return error;
    }
    self->child = pid;
    self->child_is_gone = false;
    self->exit_status = 0;
    return s_write_pid(self, pid, fault);
}
