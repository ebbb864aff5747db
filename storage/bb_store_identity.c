// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_identity.h"

#include <string.h>

#include "protocol/bb_crc32c.h"
#include "storage/head/bb_hash.h"

typedef struct {
    char magic[4];
    uint32_t format;
    uint8_t cluster_id[16];
    uint32_t store_index, store_count, partition_count;
    uint32_t node_id_length;
    char node_id[64];
    uint8_t zero[20];
    uint32_t checksum;
} s_identity_t;
static_assert(sizeof(s_identity_t) == BB_STORE_IDENTITY_BYTES, "on-disk layout");
static_assert(BB_NODE_ID_BYTES_MAX <= 64, "the node id fits");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "written as it lies");

void bb_store_identity_encode(const bb_store_identity_t *self, uint8_t out[BB_STORE_IDENTITY_BYTES])
{
    s_identity_t bytes = {.magic = {'B', 'B', 'S', 'T'},
                          .format = self->format,
                          .store_index = self->store_index,
                          .store_count = self->store_count,
                          .partition_count = self->partition_count};
    memcpy(bytes.cluster_id, self->cluster_id, sizeof bytes.cluster_id);
    bytes.node_id_length = (uint32_t)strnlen(self->node_id, BB_NODE_ID_BYTES_MAX);
    memcpy(bytes.node_id, self->node_id, bytes.node_id_length);
    bytes.checksum = bb_crc32c(0, &bytes, offsetof(s_identity_t, checksum));
    memcpy(out, &bytes, sizeof bytes);
}

bb_error_t bb_store_identity_decode(bb_slice_t encoded, bb_store_identity_t *self)
{
    s_identity_t bytes;
    if (encoded.length != sizeof bytes) {
        return BB_ERR_CORRUPT;
    }
    memcpy(&bytes, encoded.data, sizeof bytes);
    if (memcmp(bytes.magic, "BBST", sizeof bytes.magic) != 0 ||
        bytes.checksum != bb_crc32c(0, &bytes, offsetof(s_identity_t, checksum)) ||
        bytes.node_id_length > BB_NODE_ID_BYTES_MAX ||
        memchr(bytes.node_id, '\0', bytes.node_id_length)) {
        return BB_ERR_CORRUPT;
    }
    *self = (bb_store_identity_t){.format = bytes.format,
                                  .store_index = bytes.store_index,
                                  .store_count = bytes.store_count,
                                  .partition_count = bytes.partition_count};
    memcpy(self->cluster_id, bytes.cluster_id, sizeof self->cluster_id);
    memcpy(self->node_id, bytes.node_id, bytes.node_id_length);
    return BB_OK;
}

bb_error_t bb_store_identity_check(const bb_store_identity_t *found,
                                   const bb_store_identity_t *wanted, const char *path,
                                   bb_fault_t *fault)
{
    if (found->format < wanted->format) {
        return bb_fault_set(
            fault, BB_ERR_FORMAT,
            "%s: the data is of format %u, which this version does not read: read it out with the "
            "version that wrote it (busbar query) and write it into an empty folder (busbar write)",
            path, found->format);
    }
    if (found->format > wanted->format) {
        return bb_fault_set(fault, BB_ERR_FORMAT,
                            "%s: format %u is newer than this program, which knows %u", path,
                            found->format, wanted->format);
    }
    if (memcmp(found->cluster_id, wanted->cluster_id, sizeof found->cluster_id) != 0) {
        return bb_fault_set(fault, BB_ERR_FOREIGN, "%s: the folder belongs to another cluster",
                            path);
    }
    if (strcmp(found->node_id, wanted->node_id) != 0) {
        return bb_fault_set(fault, BB_ERR_FOREIGN, "%s: the folder belongs to node '%s', not '%s'",
                            path, found->node_id, wanted->node_id);
    }
    if (found->store_index != wanted->store_index || found->store_count != wanted->store_count ||
        found->partition_count != wanted->partition_count) {
        return bb_fault_set(fault, BB_ERR_FOREIGN,
                            "%s: store %u of %u with %u partitions, expected %u of %u with %u",
                            path, found->store_index, found->store_count, found->partition_count,
                            wanted->store_index, wanted->store_count, wanted->partition_count);
    }
    return BB_OK;
}

uint64_t bb_store_identity_owner(const bb_store_identity_t *self)
{
    uint8_t bytes[BB_STORE_IDENTITY_BYTES];
    bb_store_identity_encode(self, bytes);
    return bb_hash_bytes(0, bytes, sizeof bytes);
}
