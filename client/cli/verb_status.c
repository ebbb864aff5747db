// SPDX-License-Identifier: Apache-2.0
// busbar status and settle: how the cluster is, and waiting until it has nothing left to do.
#include <stdio.h>
#include <string.h>

#include "client/cli/cli_context.h"
#include "client/cli/cli_output.h"

static void s_status_json(const busbar_cluster_t *cluster)
{
    printf("{\"cluster\":");
    cli_json_string(cluster->cluster);
    printf(",\"epoch\":%u,\"partitions\":%u,\"nodes\":[", cluster->epoch, cluster->partitions);
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        const busbar_node_t *node = &cluster->nodes[i];
        printf("%s{\"id\":", i ? "," : "");
        cli_json_string(node->id);
        printf(",\"dc\":");
        cli_json_string(node->dc);
        printf(",\"up\":%s,\"slow\":%s,\"lag_chunks\":%llu,\"points_total\":%llu,\"journal_bytes\":"
               "%llu,"
               "\"segment_bytes\":%llu,\"segment_points\":%llu,\"head_bytes\":%llu,"
               "\"unsealed_chunks\":%llu,\"untrimmed_chunks\":%llu,"
               "\"streams\":%llu,\"streams_dead\":%llu,\"boot\":%u,\"standing\":",
               node->up ? "true" : "false", node->slow ? "true" : "false",
               (unsigned long long)node->lag_chunks, (unsigned long long)node->points_total,
               (unsigned long long)node->journal_bytes, (unsigned long long)node->segment_bytes,
               (unsigned long long)node->segment_points, (unsigned long long)node->head_bytes,
               (unsigned long long)node->unsealed_chunks,
               (unsigned long long)node->untrimmed_chunks, (unsigned long long)node->streams,
               (unsigned long long)node->streams_dead, node->boot);
        if (node->standing) {
            cli_json_string(node->standing);
        } else {
            printf("null");
        }
        printf("}");
    }
    printf("],\"data_centres\":[");
    for (uint32_t i = 0; i < cluster->dc_count; i++) {
        printf("%s{\"name\":", i ? "," : "");
        cli_json_string(cluster->dcs[i].name);
        printf(",\"lag_chunks\":%llu,\"lag_s\":%.3f}",
               (unsigned long long)cluster->dcs[i].lag_chunks,
               (double)cluster->dcs[i].lag_ns / BB_NS_PER_S);
    }
    printf("],\"default_write_level\":\"%s\",\"default_read_level\":\"%s\"",
           cli_level_name(cluster->default_write_level),
           cli_level_name(cluster->default_read_level));
    printf(
        ",\"under_replicated\":%u,\"unequal\":%u,\"quarantined_points\":%llu,\"damaged\":%llu}\n",
        cluster->under_replicated, cluster->unequal,
        (unsigned long long)cluster->quarantined_points, (unsigned long long)cluster->damaged);
}

// What matters most about a node, in a word.
static const char *s_state(const busbar_node_t *node)
{
    if (!node->up) {
        return "down";
    }
    bool is_counting = !node->standing || strcmp(node->standing, "counting") == 0;
    return !is_counting ? node->standing : node->slow ? "slow" : "up";
}

static void s_status_table(const busbar_cluster_t *cluster)
{
    static const char *const columns[] = {
        "node",         "dc",          "state",         "lag chunks",
        "points taken", "head bytes",  "journal bytes", "segment bytes",
        "streams",      "dead streams"};
    printf(
        "cluster %s, epoch %u, %u partitions, %u under-replicated, %llu points in quarantine\n\n",
        cluster->cluster, cluster->epoch, cluster->partitions, cluster->under_replicated,
        (unsigned long long)cluster->quarantined_points);
    if (cluster->damaged > 0) {
        printf("%llu windows or batteries of windows are damaged on disk; `busbar scrub` names "
               "them\n\n",
               (unsigned long long)cluster->damaged);
    }
    printf("writes at %s, reads at %s unless --consistency says otherwise\n\n",
           cli_level_name(cluster->default_write_level),
           cli_level_name(cluster->default_read_level));
    for (uint32_t i = 0; i < cluster->dc_count && cluster->dc_count > 1; i++) {
        printf("data centre %s lacks %llu chunks, the oldest for %.1f s\n", cluster->dcs[i].name,
               (unsigned long long)cluster->dcs[i].lag_chunks,
               (double)cluster->dcs[i].lag_ns / BB_NS_PER_S);
    }
    printf("%s", cluster->dc_count > 1 ? "\n" : "");
    cli_output_t *output = cli_output_open(CLI_TABLE, columns, BB_COUNT_OF(columns));
    for (uint32_t i = 0; i < cluster->node_count; i++) {
        const busbar_node_t *node = &cluster->nodes[i];
        cli_output_text(output, node->id);
        cli_output_text(output, node->dc);
        cli_output_text(output, s_state(node));
        cli_output_uint64(output, node->lag_chunks);
        cli_output_uint64(output, node->points_total);
        cli_output_uint64(output, node->head_bytes);
        cli_output_uint64(output, node->journal_bytes);
        cli_output_uint64(output, node->segment_bytes);
        cli_output_uint64(output, node->streams);
        cli_output_uint64(output, node->streams_dead);
        cli_output_row_end(output);
    }
    cli_output_finish(&output, true, NULL, 0);
}

int cli_verb_status(const cli_context_t *context, int argc, char **argv)
{
    const char *form_name = NULL;
    int64_t timeout_ns = 2 * BB_NS_PER_S;
    const cli_option_t options[] = {
        {"--timeout", CLI_DURATION, &timeout_ns, NULL, "D",
         "how long a node may take (default 2s)"},
        {"-o --output", CLI_TEXT, &form_name, NULL, "FORM", "table (default) or json"},
    };
    const cli_command_t command = {"status",
                                   "[-o table|json]",
                                   "Nodes, data centres, who is up, how far replicas are behind.",
                                   options,
                                   BB_COUNT_OF(options),
                                   NULL};
    cli_texts_t arguments = {0};
    cli_form_t form;
    int exit_status = CLI_EXIT_USAGE;
    busbar_client_t *client = NULL;
    busbar_cluster_t *cluster = NULL;
    busbar_fault_t fault = {0};
    if (!cli_parse(&command, context, argc, argv, &arguments, &exit_status) ||
        !cli_no_arguments(&command, &arguments) || !cli_form(form_name, &form)) {
        goto out;
    }
    if (form == CLI_CSV) {
        cli_complain("status: -o: 'csv' is none of table, json");
        goto out;
    }
    client = cli_client_open(context, NULL, timeout_ns, &exit_status);
    if (!client) {
        goto out;
    }
    if (busbar_cluster_status(client, timeout_ns, &cluster, &fault) != BUSBAR_OK) {
        exit_status = cli_failed("status", &fault);
        goto out;
    }
    if (form == CLI_JSON) {
        s_status_json(cluster);
    } else {
        s_status_table(cluster);
    }
    exit_status = CLI_EXIT_OK;
out:
    busbar_cluster_free(&cluster);
    busbar_close(&client);
    cli_texts_clear(&arguments);
    return exit_status;
}

int cli_verb_settle(const cli_context_t *context, int argc, char **argv)
{
    int64_t timeout_ns = 60 * BB_NS_PER_S;
    const cli_option_t options[] = {
        {"--timeout", CLI_DURATION, &timeout_ns, NULL, "D", "how long to wait (default 60s)"}};
    const cli_command_t command = {
        "settle",
        "[--timeout D]",
        "Returns when every node has sealed, merged and trimmed what it holds.",
        options,
        BB_COUNT_OF(options),
        NULL};
    cli_texts_t arguments = {0};
    int exit_status = CLI_EXIT_USAGE;
    busbar_client_t *client = NULL;
    busbar_fault_t fault = {0};
    if (cli_parse(&command, context, argc, argv, &arguments, &exit_status) &&
        cli_no_arguments(&command, &arguments)) {
        client = cli_client_open(context, NULL, timeout_ns, &exit_status);
    }
    if (client) {
        exit_status = busbar_settle(client, timeout_ns, &fault) == BUSBAR_OK
                          ? CLI_EXIT_OK
                          : cli_failed("settle", &fault);
        busbar_close(&client);
    }
    cli_texts_clear(&arguments);
    return exit_status;
}
