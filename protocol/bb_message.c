// SPDX-License-Identifier: Apache-2.0
#include "protocol/bb_message.h"

const char *bb_kind_name(bb_kind_t kind)
{
    switch (kind) {
    case BB_KIND_HELLO:
        return "hello";
    case BB_KIND_HELLO_REPLY:
        return "hello_reply";
    case BB_KIND_WRITE:
        return "write";
    case BB_KIND_WRITE_REPLY:
        return "write_reply";
    case BB_KIND_QUERY:
        return "query";
    case BB_KIND_RESULT:
        return "result";
    case BB_KIND_STATUS:
        return "status";
    case BB_KIND_STATUS_REPLY:
        return "status_reply";
    case BB_KIND_SETTLE:
        return "settle";
    case BB_KIND_SETTLE_REPLY:
        return "settle_reply";
    case BB_KIND_RELEASE:
        return "release";
    case BB_KIND_RELEASE_REPLY:
        return "release_reply";
    case BB_KIND_SCRUB:
        return "scrub";
    case BB_KIND_SCRUB_REPLY:
        return "scrub_reply";
    case BB_KIND_ERROR:
        return "error";
    case BB_KIND_ROUTES:
        return "routes";
    case BB_KIND_HEARTBEAT:
        return "heartbeat";
    case BB_KIND_REPLICATE:
        return "replicate";
    case BB_KIND_REPLICATE_ACK:
        return "replicate_ack";
    case BB_KIND_HAVE_REQUEST:
        return "have_request";
    case BB_KIND_HAVE:
        return "have";
    case BB_KIND_PULL:
        return "pull";
    case BB_KIND_PULL_DONE:
        return "pull_done";
    case BB_KIND_REGISTRY:
        return "registry";
    case BB_KIND_SYNC_ASK:
        return "sync_ask";
    case BB_KIND_SYNC_ANSWER:
        return "sync_answer";
    case BB_KIND_WATCHED:
        return "watched";
    }
    return "unknown";
}
