// SPDX-License-Identifier: Apache-2.0
// busbar inspect and verify: the files of a node, looked at without one.
//
// Clients know no storage, so both verbs become the program busbar-inspect, which is installed
// beside this one and has all the options. Exit statuses are its: 0 clean, 1 damage found, 2 usage.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/cli_context.h"

#define S_PROGRAM    "busbar-inspect"
#define S_PATH_BYTES 4096u

// The program beside the one that runs; else wherever PATH has it.
static void s_program(char path[S_PATH_BYTES])
{
    ssize_t length = readlink("/proc/self/exe", path, S_PATH_BYTES - sizeof S_PROGRAM - 1);
    if (length > 0) {
        path[length] = '\0';
        char *slash = strrchr(path, '/');
        strcpy(slash ? slash + 1 : path, S_PROGRAM);
        if (access(path, X_OK) == 0) {
            return;
        }
    }
    strcpy(path, S_PROGRAM);
}

// Becomes busbar-inspect with `words`; comes back only if that fails.
static int s_become(const char *verb, char **words)
{
    char path[S_PATH_BYTES];
    s_program(path);
    fflush(NULL);
    execvp(path, words);
    cli_complain("%s: cannot run %s: %s", verb, path, strerror(errno));
    return CLI_EXIT_USAGE;
}

// busbar inspect journal FILE ... becomes busbar-inspect journal FILE ...
int cli_verb_inspect(const cli_context_t *context, int argc, char **argv)
{
    (void)context;
    (void)argc;
    char name[] = S_PROGRAM;
    argv[0] = name;
    return s_become("inspect", argv);
}

// busbar verify DIR ... becomes busbar-inspect verify DIR ...
int cli_verb_verify(const cli_context_t *context, int argc, char **argv)
{
    (void)context;
    char name[] = S_PROGRAM;
    char **words = bb_alloc(((size_t)argc + 2) * sizeof *words);
    words[0] = name;
    memcpy(words + 1, argv, (size_t)argc * sizeof *words);
    words[argc + 1] = NULL;
    int status = s_become("verify", words);
    free(words);
    return status;
}
