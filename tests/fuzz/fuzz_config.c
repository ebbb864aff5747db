// SPDX-License-Identifier: Apache-2.0
// fuzz_config - any bytes as busbard.yaml, then as client.yaml. What is accepted gives a topology
// and prints as a file that is accepted again and prints alike.
#include "cluster-config/bb_config.h"
#include "tests/fuzz/fuzz_bytes.h"

static char *s_print(const bb_config_t *config, size_t *length)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    BB_ASSERT(out);
    bb_config_print(config, out);
    BB_ASSERT(fclose(out) == 0);
    return text;
}

static void s_node_file(const char *text, size_t length)
{
    bb_config_t *config = NULL;
    bb_config_t *again = NULL;
    bb_topology_t *topology = NULL;
    bb_fault_t fault = {0};
    if (bb_config_parse(text, length, "/etc/busbard.yaml", &config, &fault) != BB_OK) {
        BB_ASSERT(fault.text[0] != '\0'); // a refusal says why
        return;
    }
    if (bb_config_topology(config, &topology, &fault) == BB_OK) {
        BB_ASSERT(bb_topology_node_count(topology) == config->node_count);
        BB_ASSERT(bb_topology_partition_count(topology) == config->partition_count);
    }
    size_t first_length;
    size_t second_length;
    char *first = s_print(config, &first_length);
    bb_error_t error = bb_config_parse(first, first_length, "/etc/busbard.yaml", &again, &fault);
    BB_ASSERT(error == BB_OK);
    char *second = s_print(again, &second_length);
    BB_ASSERT(first_length == second_length);
    BB_ASSERT(memcmp(first, second, first_length) == 0);
    free(first);
    free(second);
    bb_topology_destroy(&topology);
    bb_config_destroy(&config);
    bb_config_destroy(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = (char *)fuzz_copy(data, size);
    s_node_file(copy, size);
    free(copy);
    char path[FUZZ_PATH_BYTES];
    int file = fuzz_file(data, size, path);
    bb_client_file_t *client = NULL;
    bb_fault_t fault = {0};
    if (bb_client_file_load(path, &client, &fault) == BB_OK) {
        BB_ASSERT(client->node_count >= 1);
        bb_client_file_destroy(&client);
    } else {
        BB_ASSERT(fault.text[0] != '\0');
    }
    close(file);
    return 0;
}
