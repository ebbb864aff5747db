// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_room.h"

#define S_STEP_BYTES    (UINT64_C(16) << 20)
#define S_RESERVE_BYTES (UINT64_C(1) << 30)
#define S_RESERVE_PART  20

bool bb_store_room_take(bb_store_room_t *self, uint64_t bytes)
{
    if (self->reserve_bytes == 0) {
        return true;
    }
    if (bytes >= self->left_bytes) {
        uint64_t total_bytes = 0;
        self->left_bytes = 0;
        if (self->vfs->space(self->vfs, self->directory, &self->free_bytes, &total_bytes) !=
            BB_OK) {
            return true;
        }
        if (self->free_bytes < self->reserve_bytes ||
            self->free_bytes - self->reserve_bytes < bytes) {
            return false;
        }
        self->left_bytes = BB_MIN(self->free_bytes - self->reserve_bytes, bytes + S_STEP_BYTES);
    }
    self->left_bytes -= BB_MIN(bytes, self->left_bytes);
    return true;
}

uint64_t bb_store_room_reserve_default(bb_vfs_t *vfs, const char *directory)
{
    uint64_t free_bytes = 0;
    uint64_t total_bytes = 0;
    if (vfs->space(vfs, directory, &free_bytes, &total_bytes) != BB_OK) {
        return 0;
    }
    return BB_MIN(S_RESERVE_BYTES, total_bytes / S_RESERVE_PART);
}
