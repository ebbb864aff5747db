// SPDX-License-Identifier: Apache-2.0
// The client's side of bb_config.h: client.yaml and the key it names.
#include <stdlib.h>
#include <string.h>

#include "cluster-config/bb_config.h"
#include "cluster-config/bb_yaml.h"

// tcp://host:port with a valid host and port; an IPv6 host has brackets.
static bool s_endpoint_is_valid(const char *endpoint)
{
    char host[BB_HOST_BYTES_MAX + 1];
    if (strncmp(endpoint, "tcp://", 6) != 0) {
        return false;
    }
    const char *colon = strrchr(endpoint + 6, ':');
    size_t length = colon ? (size_t)(colon - endpoint - 6) : 0;
    if (!colon || length > BB_HOST_BYTES_MAX || colon[1] < '1' || colon[1] > '9' ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) || strlen(colon + 1) > 5 ||
        strtoul(colon + 1, NULL, 10) > 65535) {
        return false;
    }
    memcpy(host, endpoint + 6, length);
    host[length] = '\0';
    return (host[0] == '[' || !strchr(host, ':')) && bb_host_take(host);
}

static void s_load_nodes(bb_client_file_t *self, bb_yaml_map_t *top)
{
    static const char *const keys[] = {"id", "dc", "endpoint", "public_key", NULL};
    self->node_count = bb_yaml_list_count(top, "nodes", true, BB_NODES_MAX);
    self->nodes = bb_alloc_zero(self->node_count, sizeof *self->nodes);
    for (uint32_t i = 0; i < self->node_count && top->yaml->error == BB_OK; i++) {
        bb_client_node_t *node = &self->nodes[i];
        bb_yaml_map_t map = bb_yaml_list_map(top, "nodes", i);
        bb_yaml_allow(&map, keys);
        bb_yaml_name(&map, "id", true, node->id);
        bb_yaml_name(&map, "dc", true, node->dc);
        bb_yaml_text(&map, "endpoint", true, node->endpoint, sizeof node->endpoint);
        if (!s_endpoint_is_valid(node->endpoint)) {
            bb_yaml_refuse(&map, "endpoint", "'%.64s' is not tcp://HOST:PORT", node->endpoint);
        }
        bb_yaml_key(&map, "public_key", node->public_key);
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(self->nodes[j].id, node->id) == 0) {
                bb_yaml_refuse(&map, "id", "'%s' is listed twice", node->id);
            }
            if (strcmp(self->nodes[j].endpoint, node->endpoint) == 0) {
                bb_yaml_refuse(&map, "endpoint", "is also that of node '%s'", self->nodes[j].id);
            }
        }
    }
}

static void s_load_dc(bb_client_file_t *self, bb_yaml_map_t *top)
{
    bb_yaml_name(top, "dc", false, self->dc);
    bool known = self->dc[0] == '\0';
    for (uint32_t i = 0; i < self->node_count; i++) {
        known |= strcmp(self->nodes[i].dc, self->dc) == 0;
    }
    if (!known) {
        bb_yaml_refuse(top, "dc", "no node is in data centre '%s'", self->dc);
    }
}

// Reads the user; a key file's path goes to `key_file`, keys in place go to self->key.
static void s_load_user(bb_client_file_t *self, bb_yaml_map_t *top,
                        char key_file[BB_PATH_BYTES_MAX + 1])
{
    static const char *const keys[] = {"name", "key_file", "secret_key", "public_key", NULL};
    bb_yaml_map_t map = bb_yaml_map(top, "user", true);
    bb_yaml_allow(&map, keys);
    bb_yaml_name(&map, "name", true, self->user_name);
    bool in_place = bb_yaml_has(&map, "secret_key") || bb_yaml_has(&map, "public_key");
    if (in_place == bb_yaml_has(&map, "key_file")) {
        bb_yaml_refuse(&map, NULL, "needs either key_file or secret_key and public_key");
        return;
    }
    if (in_place) {
        bb_yaml_key(&map, "secret_key", self->key.secret_key);
        bb_yaml_key(&map, "public_key", self->key.public_key);
        if (!bb_curve_pair_is_consistent(&self->key)) {
            bb_yaml_refuse(&map, "public_key", "does not belong to the secret key");
        }
        return;
    }
    char given[BB_PATH_BYTES_MAX + 1] = "";
    bb_yaml_text(&map, "key_file", true, given, sizeof given);
    const char *slash = strrchr(self->path, '/');
    int folder = given[0] == '/' || !slash ? 0 : (int)(slash - self->path + 1);
    if (snprintf(key_file, BB_PATH_BYTES_MAX + 1, "%.*s%s", folder, self->path, given) >
        BB_PATH_BYTES_MAX) {
        bb_yaml_refuse(&map, "key_file", "is longer than %d bytes with its folder",
                       BB_PATH_BYTES_MAX);
    }
}

static bb_error_t s_parse(bb_client_file_t *self, const char *text, size_t length,
                          char key_file[BB_PATH_BYTES_MAX + 1], bb_fault_t *fault)
{
    static const char *const keys[] = {"cluster", "user", "dc", "nodes", NULL};
    static const char *const cluster_keys[] = {"name", "id", NULL};
    bb_yaml_t yaml;
    bb_yaml_map_t top = bb_yaml_open(&yaml, text, length, self->path, fault);
    bb_yaml_allow(&top, keys);
    bb_yaml_map_t cluster = bb_yaml_map(&top, "cluster", true);
    bb_yaml_allow(&cluster, cluster_keys);
    bb_yaml_name(&cluster, "name", true, self->cluster_name);
    bb_yaml_hex(&cluster, "id", self->cluster_id, sizeof self->cluster_id);
    s_load_user(self, &top, key_file);
    s_load_nodes(self, &top);
    s_load_dc(self, &top);
    bb_error_t error = yaml.error;
    bb_yaml_close(&yaml);
    return error;
}

bb_error_t bb_client_file_load(const char *path, bb_client_file_t **file, bb_fault_t *fault)
{
    BB_ASSERT(path);
    BB_ASSERT(file);
    if (strlen(path) > BB_PATH_BYTES_MAX) {
        return bb_fault_set(fault, BB_ERR_CONFIG, "the path '%.64s...' is too long", path);
    }
    char *text = NULL;
    size_t length = 0;
    bb_error_t error = bb_yaml_read_file(path, &text, &length, fault);
    if (error != BB_OK) {
        return error;
    }
    bb_client_file_t *self = bb_alloc_zero(1, sizeof *self);
    strcpy(self->path, path);
    char key_file[BB_PATH_BYTES_MAX + 1] = "";
    error = s_parse(self, text, length, key_file, fault);
    if (error == BB_OK) {
        error = key_file[0] ? bb_curve_pair_read(key_file, &self->key, NULL, fault)
                            : bb_secret_file_check(path, fault);
    }
    bb_keys_wipe(text, length);
    free(text);
    if (error != BB_OK) {
        bb_client_file_destroy(&self);
        return error;
    }
    *file = self;
    return BB_OK;
}

void bb_client_file_destroy(bb_client_file_t **self)
{
    BB_ASSERT(self);
    if (*self) {
        bb_keys_wipe(&(*self)->key, sizeof(*self)->key);
        free((*self)->nodes);
        free(*self);
        *self = NULL;
    }
}
