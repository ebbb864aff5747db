// SPDX-License-Identifier: Apache-2.0
// Tests of storage/vfs/bb_killpoint: names, who is told, and a process that ends where it was told.
#include "storage/vfs/bb_killpoint.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct {
    const bb_killpoint_t *killpoint;
} s_door_t;

static void s_count(void *context, bb_killpoint_point_t point)
{
    ((uint32_t *)context)[point]++;
}

static void s_test_told(void **state)
{
    (void)state;
    uint32_t passes[BB_KILLPOINT_COUNT] = {0};
    bb_killpoint_t killpoint = {passes, s_count};
    s_door_t door = {NULL};
    BB_KILLPOINT(&door, WRITE_SYNCED); // nobody wants to know
    door.killpoint = &killpoint;
    BB_KILLPOINT(&door, WRITE_SYNCED);
    BB_KILLPOINT(&door, JOURNAL_TRIM);
    BB_KILLPOINT(&door, JOURNAL_TRIM);
    assert_int_equal(passes[BB_KILLPOINT_WRITE_SYNCED], 1);
    assert_int_equal(passes[BB_KILLPOINT_JOURNAL_TRIM], 2);
}

// Goal: no name is the beginning of another, so that NAME:N means one point.
static void s_test_names(void **state)
{
    (void)state;
    for (int a = 0; a < BB_KILLPOINT_COUNT; a++) {
        const char *name = bb_killpoint_name((bb_killpoint_point_t)a);
        for (int b = 0; b < BB_KILLPOINT_COUNT; b++) {
            const char *other = bb_killpoint_name((bb_killpoint_point_t)b);
            assert_true(a == b || strncmp(name, other, strlen(name)) != 0);
        }
    }
}

// Passes the point `passes` times in a child with BB_KILLPOINT=write-synced:3; its signal, 0: none.
static int s_signal_after(int passes)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        s_door_t door = {NULL};
        setenv("BB_KILLPOINT", "write-synced:3", 1);
        door.killpoint = bb_killpoint_of_process();
        for (int i = 0; i < passes; i++) {
            BB_KILLPOINT(&door, WRITE_SYNCED);
            BB_KILLPOINT(&door, WRITE_APPLIED);
        }
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void s_test_process(void **state)
{
    (void)state;
    unsetenv("BB_KILLPOINT");
    assert_null(bb_killpoint_of_process());
    assert_int_equal(s_signal_after(2), 0);
#ifdef BB_FAST_BUILD
    assert_int_equal(s_signal_after(3), 0); // a release build never listens
#else
    assert_int_equal(s_signal_after(3), SIGKILL);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s_test_told),
        cmocka_unit_test(s_test_names),
        cmocka_unit_test(s_test_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
