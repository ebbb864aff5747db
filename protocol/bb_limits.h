// SPDX-License-Identifier: Apache-2.0
// bb_limits - every bound of the system in one place, and what happens at it.
//
// Pure constants. Wire-visible limits are the same on every node of a cluster.
#ifndef BB_LIMITS_H
#define BB_LIMITS_H

#include <stdint.h>

// Names. Longer or empty: the point is refused by name (BB_ERR_BATTERY_ID, BB_ERR_METRIC_NAME).
#define BB_BATTERY_ID_BYTES_MAX      128
#define BB_METRIC_NAME_BYTES_MAX     64
#define BB_STATE_BYTES_MAX           256 // a state string; longer: BB_ERR_STATE_TEXT
#define BB_ATTRIBUTES_MAX            32  // attributes of a battery; more: BB_ERR_ATTRIBUTES
#define BB_ATTRIBUTE_KEY_BYTES_MAX   64
#define BB_ATTRIBUTE_VALUE_BYTES_MAX 256
#define BB_NODE_ID_BYTES_MAX         32 // node, data centre, rack and cluster names

// Frames and batches.
#define BB_FRAME_METRICS_MAX   256        // metrics of one frame; more: BB_ERR_FRAME_METRICS
#define BB_BATCH_BYTES_MAX     (8u << 20) // encoded batch; larger: BB_ERR_BATCH_BYTES, nothing taken
#define BB_MESSAGE_BYTES_MAX   (16u << 20) // any message; larger: the socket drops the sender
#define BB_BATCH_VALUES_MAX    (1u << 20)  // points of a batch, and so frames; more: BB_ERR_LIMIT
#define BB_BATCH_SHAPES_MAX    4096
#define BB_BATCH_STATES_MAX    65536
#define BB_BATCH_BATTERIES_MAX (1u << 18)

// Times: nanoseconds since the Unix epoch, half open [first, limit). Outside: BB_ERR_TIME_RANGE.
#define BB_TIME_WALL_NS_FIRST INT64_C(0)                   // 1970-01-01T00:00:00Z
#define BB_TIME_WALL_NS_LIMIT INT64_C(9214646400000000000) // 2262-01-01T00:00:00Z
// A point further ahead of the coordinator's clock than this is quarantined.
#define BB_FUTURE_NS_MAX (INT64_C(600) * 1000000000)
// A coordinator whose clock is further from its peers' median than this stops coordinating.
#define BB_CLOCK_SKEW_NS_MAX (INT64_C(60) * 1000000000)

// Generations. Points may be written with one below this, so that a battery can always be deleted
// once more; a marker or point further ahead of what a coordinator knows of the battery is refused,
// so that nobody uses them up. Both: BB_ERR_GENERATION.
#define BB_GENERATION_POINT_LIMIT (UINT32_C(1) << 31)
#define BB_GENERATION_AHEAD_MAX   65536u
// Markers of one battery that no other contains; more: BB_ERR_LIMIT at the coordinator.
#define BB_MARKERS_MAX 4096u

// Topology.
#define BB_PARTITIONS_MAX     16384 // power of two; fixed at creation
#define BB_PARTITIONS_DEFAULT 1024
#define BB_NODES_MAX          256
#define BB_REPLICAS_MAX       16 // replicas of one partition over all data centres
#define BB_DCS_MAX            16
#define BB_STORES_MAX         64   // stores (journal + head + windows) of one node
#define BB_LANES_MAX          4032 // largest common multiple of two numbers of stores (64 x 63)

// Replication.
#define BB_HAVE_RANGES_MAX 32   // ranges of one stream in a have-set; past it: pull again
#define BB_STREAMS_MAX     4096 // streams of one partition
// An encoded session token. Past it, it holds nothing and reads with it are made at local_quorum.
#define BB_SESSION_TOKEN_BYTES_MAX (64u << 10)

// Storage.
#define BB_BLOCK_ROWS_MAX 1024 // rows of one column block
#define BB_WINDOWS_MAX    4096 // day windows one store may hold; more: BB_ERR_WINDOWS

// Retention and rollups, all in the configuration; more there: BB_ERR_CONFIG.
#define BB_RETENTION_CLASSES_MAX 63 // classes with a name of their own, beside `default`
#define BB_ROLLUPS_MAX           64
#define BB_WATCH_RULES_MAX       64
#define BB_SELECTOR_BYTES_MAX    256 // a pattern, or a value to be equal to
#define BB_ZONE_NAME_BYTES_MAX   64
#define BB_ZONE_FILE_BYTES_MAX   (64u << 10) // a compiled time zone

// Waiting. Every request carries a deadline; these bound it.
#define BB_DEADLINE_NS_DEFAULT (INT64_C(10) * 1000000000)
#define BB_DEADLINE_NS_MAX     (INT64_C(3600) * 1000000000)
// How long a read at `one` waits at one replica for what its session has seen; then the partitions
// are missing there (BB_ERR_BEHIND), and the client asks another replica.
#define BB_SESSION_WAIT_NS_MAX (INT64_C(500) * 1000000)

// Credits of clients (node/ingest/bb_credit.h): with how many bytes of batches on their way a new
// connection may begin; how long what was told holds after the request whose answer told it, a
// HELLO or a WRITE. Most who say HELLO only ask.
#define BB_CREDIT_BYTES_FIRST (256u << 10)
#define BB_CREDIT_NS_FIRST    (INT64_C(1) * 1000000000)
#define BB_CREDIT_NS          (INT64_C(10) * 1000000000)

// The registry (bb_registry.h). More entries: BB_ERR_LIMIT, nothing taken.
#define BB_REGISTRY_KEY_BYTES_MAX     128
#define BB_REGISTRY_PAYLOAD_BYTES_MAX 64
#define BB_REGISTRY_ENTRIES_MAX       (1u << 24)
#define BB_REGISTRY_MESSAGE_MAX       256 // entries of one message
#define BB_REGISTRY_BUCKETS           256 // sums by which two registries are compared

#endif
