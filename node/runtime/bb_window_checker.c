// SPDX-License-Identifier: Apache-2.0
#include "node/runtime/bb_window_checker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define S_PROGRAM      "busbar-inspect"
#define S_PATH_BYTES   4096u
#define S_WAIT_NS      (INT64_C(2) * BB_NS_PER_S)
#define S_MEMORY_BYTES "1073741824" // of the child; the window itself is mapped, not counted

static bool s_program(char path[S_PATH_BYTES])
{
    ssize_t length = readlink("/proc/self/exe", path, S_PATH_BYTES - sizeof S_PROGRAM - 1);
    if (length <= 0) {
        return false;
    }
    path[length] = '\0';
    char *slash = strrchr(path, '/');
    strcpy(slash ? slash + 1 : path, S_PROGRAM);
    return access(path, X_OK) == 0;
}

// The child has no signals blocked, whatever this thread has, and inherits no files.
static int s_start(const char *program, char *const *words, pid_t *child)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int result = posix_spawn(child, program, &files, &attributes, words, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return result;
}

static int64_t s_spawn(void *context, const char *window_path, int64_t timeout_ns)
{
    (void)context;
    char program[S_PATH_BYTES];
    char window[S_PATH_BYTES];
    char seconds[24];
    char words[][16] = {S_PROGRAM, "verify", "--window", "--cpu-seconds", "--memory-bytes"};
    char memory[] = S_MEMORY_BYTES;
    if (!s_program(program)) {
        return -1;
    }
    snprintf(window, sizeof window, "%s", window_path);
    snprintf(seconds, sizeof seconds, "%lld", (long long)(timeout_ns / BB_NS_PER_S + 1));
    char *argv[] = {words[0], words[1], words[2], window, words[3],
                    seconds,  words[4], memory,   NULL};
    pid_t child;
    return s_start(program, argv, &child) == 0 ? child : -1;
}

static bool s_poll(void *context, int64_t handle, bb_suspect_event_t *event)
{
    (void)context;
    int status;
    pid_t ended = waitpid((pid_t)handle, &status, WNOHANG);
    if (ended == 0 || (ended < 0 && errno == EINTR)) {
        return false;
    }
    *event = ended < 0             ? BB_SUSPECT_KILLED
             : WIFEXITED(status)   ? bb_suspect_event_of_exit(WEXITSTATUS(status), 0)
             : WIFSIGNALED(status) ? bb_suspect_event_of_exit(0, WTERMSIG(status))
                                   : BB_SUSPECT_KILLED;
    return true;
}

static void s_kill(void *context, int64_t handle)
{
    (void)context;
    kill((pid_t)handle, SIGKILL);
    while (waitpid((pid_t)handle, NULL, 0) < 0 && errno == EINTR) {
    }
}

bb_store_checker_t bb_window_checker(void)
{
    return (bb_store_checker_t){NULL, s_spawn, s_poll, s_kill, S_WAIT_NS};
}
