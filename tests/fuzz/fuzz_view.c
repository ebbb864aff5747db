// SPDX-License-Identifier: Apache-2.0
// fuzz_view - the topology as it travels: any nodes, ids and replicas table as a HELLO_REPLY. A
// client's view of it either is refused with a sentence, or answers for every partition.
#include "client/bb_view.h"
#include "protocol/bb_placement.h"
#include "tests/fuzz/fuzz_bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = fuzz_copy(data, size);
    bb_message_t message;
    bb_view_t *view = NULL;
    bb_fault_t fault = {0};
    if (bb_message_decode(&message, bb_slice(copy, size), &fault) == BB_OK) {
        if (message.kind == BB_KIND_HELLO_REPLY) {
            if (bb_view_new(&message.hello_reply, message.epoch, &view, &fault) != BB_OK) {
                BB_ASSERT(fault.text[0] != '\0');
                BB_ASSERT(!view);
            }
        }
        bb_message_close(&message);
    }
    free(copy); // the view has copied everything
    if (view) {
        BB_ASSERT(view->node_count >= 1);
        for (uint32_t i = 0; i < view->partition_count * view->replica_stride; i++) {
            BB_ASSERT(view->replicas[i] < view->node_count || view->replicas[i] == BB_REPLICA_NONE);
        }
        bb_view_drop(&view);
    }
    return 0;
}
