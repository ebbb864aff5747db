// SPDX-License-Identifier: Apache-2.0
// The effective configuration as YAML: what a loader would have to read to get exactly this.
#include <string.h>

#include "cluster-config/bb_config.h"

#include "cluster-config/bb_config_private.h"
#include "protocol/bb_time.h"

static void s_print_hex(FILE *out, const char *key, const uint8_t *bytes, size_t length)
{
    fprintf(out, "  %s: \"", key);
    for (size_t i = 0; i < length; i++) {
        fprintf(out, "%02x", bytes[i]);
    }
    fprintf(out, "\"\n");
}

// Double-quoted, so that any path is read back as it is.
static void s_print_text(FILE *out, const char *key, const char *text)
{
    fprintf(out, "  %s: \"", key);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            fputc('\\', out);
        }
        if ((unsigned char)*text < 0x20) {
            fprintf(out, "\\x%02x", (unsigned char)*text);
        } else {
            fputc(*text, out);
        }
    }
    fprintf(out, "\"\n");
}

static void s_print_duration(FILE *out, const char *key, int64_t duration_ns)
{
    char text[BB_DURATION_TEXT_BYTES];
    bb_duration_format(duration_ns, text);
    fprintf(out, "    %s: %s\n", key, text);
}

static void s_print_limits(const bb_config_limits_t *limits, FILE *out)
{
    fprintf(out, "  limits:\n");
    fprintf(out, "    in_flight_bytes: %llu\n", (unsigned long long)limits->in_flight_bytes);
    fprintf(out, "    peer_queue_bytes: %llu\n", (unsigned long long)limits->peer_queue_bytes);
    fprintf(out, "    journal_file_bytes: %llu\n", (unsigned long long)limits->journal_file_bytes);
    fprintf(out, "    map_bytes: %llu\n", (unsigned long long)limits->map_bytes);
    fprintf(out, "    client_connections: %u\n", limits->client_connections);
    fprintf(out, "    scan_threads: %u\n", limits->scan_threads);
    fprintf(out, "    io_threads: %u\n", limits->io_threads);
    s_print_duration(out, "heartbeat", limits->heartbeat_ns);
    s_print_duration(out, "suspect", limits->suspect_ns);
    s_print_duration(out, "have_report", limits->have_report_ns);
    s_print_duration(out, "flush_age", limits->flush_age_ns);
    s_print_duration(out, "drain", limits->drain_ns);
}

void bb_config_print(const bb_config_t *self, FILE *out)
{
    char key[BB_CURVE_TEXT_BYTES];
    fprintf(out, "cluster:\n  name: \"%s\"\n", self->cluster_name);
    s_print_hex(out, "id", self->cluster_id, sizeof self->cluster_id);
    s_print_hex(out, "placement_key", self->placement_key, sizeof self->placement_key);
    fprintf(out, "  partitions: %u\n  epoch: %u\n  replicas:\n", self->partition_count,
            self->epoch);
    for (uint32_t i = 0; i < self->dc_count; i++) {
        fprintf(out, "    \"%s\": %u\n", self->dcs[i].name, self->dcs[i].replica_count);
    }
    fprintf(out, "  dc_link_bytes_per_s: %llu\n", (unsigned long long)self->dc_link_bytes_per_s);
    fprintf(out, "  default_write_level: %s\n  default_read_level: %s\n",
            bb_level_name(self->default_write_level), bb_level_name(self->default_read_level));
    fprintf(out, "node:\n  id: \"%s\"\n", self->node_id);
    s_print_text(out, "data_dir", self->data_dir);
    s_print_text(out, "key_file", self->key_file);
    fprintf(out,
            "  stores: %u\n  memory_bytes: %llu\n  disk_reserve_bytes: %llu\n"
            "  scrub_bytes_per_s: %llu\n  journal_budget_bytes: %llu\n"
            "  repair_bytes_per_s: %llu\n",
            self->store_count, (unsigned long long)self->memory_bytes,
            (unsigned long long)self->disk_reserve_bytes,
            (unsigned long long)self->scrub_bytes_per_s,
            (unsigned long long)self->journal_budget_bytes,
            (unsigned long long)self->repair_bytes_per_s);
    fprintf(out, "  log_level: %s\n", bb_log_level_name(self->log_level));
    s_print_limits(&self->limits, out);
    fprintf(out, "nodes:\n");
    for (uint32_t i = 0; i < self->node_count; i++) {
        const bb_config_node_t *node = &self->nodes[i];
        bb_z85_encode(node->public_key, 32, key);
        fprintf(out,
                "  - id: \"%s\"\n    dc: \"%s\"\n    rack: \"%s\"\n    weight: %u\n"
                "    host: \"%s\"\n    client_port: %u\n    peer_port: %u\n    bulk_port: %u\n"
                "    http_port: %u\n    public_key: \"%s\"\n",
                node->id, node->dc, node->rack, node->weight, node->host, node->client_port,
                node->peer_port, node->bulk_port, node->http_port, key);
    }
    fprintf(out, "users:%s\n", self->user_count ? "" : " []");
    for (uint32_t i = 0; i < self->user_count; i++) {
        bb_z85_encode(self->users[i].public_key, 32, key);
        fprintf(out, "  - name: \"%s\"\n    role: %s\n    public_key: \"%s\"\n",
                self->users[i].name, bb_role_name(self->users[i].role), key);
    }
    bb_config_policy_print(self->policy, out);
    bb_config_watch_print(self->watch, out);
}
