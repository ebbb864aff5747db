// SPDX-License-Identifier: Apache-2.0
// fuzz_client_request - any request that decodes, with any bytes as its batch, given to a real
// shard: it is answered, once, by its deadline at the latest, and what leaves can be read.
//
// Input: repeated [length of the envelope, 2 bytes][length of the batch, 2 bytes][both].
#include "tests/fuzz/fuzz_shard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_shard_t *self = fuzz_shard_new();
    fuzz_bytes_t bytes = {data, size};
    uint64_t ticket = 0;
    while (bytes.left > 4 && ticket < 8) {
        size_t envelope_bytes = (size_t)fuzz_take_word(&bytes, 2);
        size_t batch_bytes = (size_t)fuzz_take_word(&bytes, 2);
        bb_slice_t envelope = fuzz_take(&bytes, envelope_bytes);
        bb_slice_t batch = fuzz_take(&bytes, batch_bytes);
        bb_buffer_t *envelope_buffer = bb_buffer_copy_of(envelope.data, envelope.length);
        bb_buffer_t *batch_buffer =
            batch.length > 0 ? bb_buffer_copy_of(batch.data, batch.length) : NULL;
        bb_message_t message;
        if (bb_message_decode(&message, bb_buffer_slice(envelope_buffer), NULL) == BB_OK) {
            bb_shard_client(self->shard, fuzz_time(self), ticket++, &message, envelope_buffer,
                            batch_buffer);
            bb_message_close(&message);
        }
        bb_buffer_drop(&envelope_buffer);
        bb_buffer_drop(&batch_buffer);
        fuzz_shard_commit(self, 10 * BB_NS_PER_MS);
    }
    // The longest that a request may wait, in steps that let pulls, flushes and merges come round.
    for (uint32_t i = 0; i < 50; i++) {
        fuzz_shard_commit(self, BB_NS_PER_S);
    }
    self->now_ns += BB_DEADLINE_NS_MAX;
    fuzz_shard_commit(self, 0);
    fuzz_shard_commit(self, 0);
    for (uint64_t i = 0; i < ticket; i++) {
        BB_ASSERT(self->answers[i] == 1);
    }
    fuzz_shard_destroy(&self);
    return 0;
}
