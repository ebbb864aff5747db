// SPDX-License-Identifier: Apache-2.0
// The parts of cluster_process that need no process: names of signals, order of nodes, folders that
// are no cluster. Starting and stopping is tested with real nodes in tests/integration.
#include "client/cli/cluster_process.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka comes last: it needs the headers above.

#include "cluster-config/bb_cluster_template.h"

static bool s_ports_are_free(void *context, const char *host, uint16_t port_first, uint32_t count,
                             bool *is_local)
{
    (void)context;
    (void)host;
    (void)port_first;
    (void)count;
    *is_local = true;
    return true;
}

static void signal_names(void **state)
{
    (void)state;
    assert_int_equal(cluster_signal_of_name("KILL"), SIGKILL);
    assert_int_equal(cluster_signal_of_name("SIGKILL"), SIGKILL);
    assert_int_equal(cluster_signal_of_name("term"), SIGTERM);
    assert_int_equal(cluster_signal_of_name("sigstop"), SIGSTOP);
    assert_int_equal(cluster_signal_of_name("9"), 9);
    const char *bad[] = {"", "SIG", "KILLED", "0", "-9", "9x", "65", "99999999999999999999", " 9"};
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        assert_int_equal(cluster_signal_of_name(bad[i]), 0);
    }
    assert_string_equal(cluster_signal_name(SIGCONT), "SIGCONT");
    assert_string_equal(cluster_signal_name(SIGWINCH), "signal");
}

// Goal: a folder with 12 nodes is read in the order n1, n2, ... n12; nothing runs, whatever stale
// or foreign numbers the pid files hold.
static void folder_of_twelve_nodes(void **state)
{
    (void)state;
    char directory[] = "/tmp/busbar-process-XXXXXX";
    assert_non_null(mkdtemp(directory));
    bb_cluster_template_t *template = calloc(1, sizeof *template);
    template->ports_are_free = s_ports_are_free;
    bb_fault_t fault = {0};
    assert_int_equal(bb_cluster_template_parse_dcs(template, "dc1:12", &fault), BB_OK);
    assert_int_equal(bb_cluster_template_write(template, directory, &fault), BB_OK);
    free(template);
    cluster_folder_t folder;
    assert_int_equal(cluster_folder_open(directory, &folder, &fault), BB_OK);
    assert_int_equal(folder.node_count, 12);
    for (uint32_t i = 0; i < 12; i++) {
        char id[8];
        snprintf(id, sizeof id, "n%u", i + 1);
        assert_string_equal(folder.nodes[i].self->id, id);
        assert_ptr_equal(cluster_folder_find(&folder, id), &folder.nodes[i]);
        assert_int_equal(cluster_node_pid(&folder.nodes[i]), 0);
    }
    assert_null(cluster_folder_find(&folder, "n13"));
    char own[32];
    snprintf(own, sizeof own, "%ld\n", (long)getpid()); // alive, but not the node
    const char *contents[] = {own, "", "0\n", "1\n", "-1\n", "x\n", "12x\n", "99999999999\n"};
    for (size_t i = 0; i < BB_COUNT_OF(contents); i++) {
        FILE *file = fopen(folder.nodes[0].pid_path, "w");
        assert_non_null(file);
        fputs(contents[i], file);
        fclose(file);
        assert_int_equal(cluster_node_pid(&folder.nodes[0]), 0);
    }
    cluster_folder_close(&folder);
    char path[64];
    snprintf(path, sizeof path, "%s/nodes/n7/busbard.yaml", directory);
    assert_int_equal(truncate(path, 100), 0); // a damaged configuration is named
    assert_int_equal(cluster_folder_open(directory, &folder, &fault), BB_ERR_CONFIG);
    assert_non_null(strstr(fault.text, "n7/busbard.yaml:"));
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
    assert_int_equal(cluster_folder_open(directory, &folder, &fault), BB_ERR_NOT_FOUND);
    assert_int_equal(cluster_folder_open("/", &folder, &fault), BB_ERR_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(signal_names),
        cmocka_unit_test(folder_of_twelve_nodes),
    };
    return cmocka_run_group_tests_name("cluster_process", tests, NULL, NULL);
}
