// SPDX-License-Identifier: Apache-2.0
#include "node/ingest/bb_have_teller.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t fingerprint;
    uint64_t version; // first seen so; 0: never looked at
} s_rest_t;

struct bb_have_teller {
    uint32_t partition_count;
    s_rest_t rests[];
};

bb_have_teller_t *bb_have_teller_new(uint32_t partition_count)
{
    bb_have_teller_t *self =
        bb_alloc_zero(1, sizeof *self + partition_count * sizeof self->rests[0]);
    self->partition_count = partition_count;
    return self;
}

void bb_have_teller_destroy(bb_have_teller_t **self)
{
    BB_ASSERT(self);
    free(*self);
    *self = NULL;
}

// The finaliser of MurmurHash3 (Appleby) over the words one by one: 64 bits against chance, not
// against an enemy, who would have to be a node of this cluster.
static uint64_t s_mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) + UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ hash >> 33) * UINT64_C(0xff51afd7ed558ccd);
    hash = (hash ^ hash >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return hash ^ hash >> 33;
}

static uint64_t s_mix_stream(uint64_t hash, const bb_have_stream_t *stream)
{
    uint64_t words[2];
    memcpy(words, stream->stream.bytes, sizeof words);
    hash = s_mix(s_mix(s_mix(hash, words[0]), words[1]), stream->range_count);
    for (uint32_t i = 0; i < stream->range_count; i++) {
        hash = s_mix(s_mix(hash, stream->ranges[i].first_seq), stream->ranges[i].last_seq);
    }
    return hash;
}

static bool s_is_live(const bb_have_telling_t *telling, const bb_stream_t *stream)
{
    for (uint32_t i = 0; i < telling->live_count; i++) {
        if (bb_stream_is_equal(&telling->live[i], stream)) {
            return true;
        }
    }
    return false;
}

uint32_t bb_have_teller_tails(bb_have_teller_t *self, const bb_have_telling_t *telling,
                              bb_have_tail_t *tails)
{
    BB_ASSERT(self && telling && tails);
    BB_ASSERT(telling->partition < self->partition_count && telling->version >= 1);
    uint32_t count = 0;
    uint64_t fingerprint = 0;
    bool is_whole = true; // every live stream is one range from 1
    for (uint32_t i = 0; i < telling->have->stream_count; i++) {
        const bb_have_stream_t *stream = &telling->have->streams[i];
        if (!s_is_live(telling, &stream->stream)) {
            fingerprint = s_mix_stream(fingerprint, stream);
        } else if (stream->range_count == 1 && stream->ranges[0].first_seq == 1) {
            tails[count++] = (bb_have_tail_t){stream->stream, stream->ranges[0].last_seq};
        } else {
            is_whole = false;
        }
    }
    s_rest_t *rest = &self->rests[telling->partition];
    if (rest->version == 0 || rest->fingerprint != fingerprint) {
        *rest = (s_rest_t){fingerprint, telling->version};
    }
    return is_whole && rest->version <= telling->since_version ? count : 0;
}
