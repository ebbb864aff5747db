// SPDX-License-Identifier: Apache-2.0
// bb_checker - knows every point that was ever written and says whether an answer is right.
//
// Pure; one thread. Simpler than what it checks, and shares no code with it: keys are small
// numbers, versions of a point are a plain list, and the order of versions is written down here
// again from the design (section 4): revision, then type, then value with NaN lowest.
//
//   key (battery, metric, time) ──▶ versions ever written ──▶ which were acknowledged, where, when
//
// What an answer may hold for a key, given the acknowledgements that count for it:
//   nothing            only if none was acknowledged          else: lost
//   a version          that was written (else: phantom) and is not smaller than any acknowledged
//                      one (else: lost), once (else: duplicate)
#ifndef BB_CHECKER_H
#define BB_CHECKER_H

#include "protocol/bb_base.h"

typedef struct bb_checker bb_checker_t;

typedef struct {
    uint32_t battery;
    uint32_t metric;
    int64_t time_wall_ns;
    bool is_future; // so far ahead that every coordinator puts it into quarantine
} bb_checker_key_t;

typedef struct {
    uint64_t revision; // not part of an answer; see bb_checker_point
    uint32_t type;     // bb_type_t
    uint64_t bits;     // STATE: index into a list of texts that is sorted by bytes
} bb_checker_version_t;

bb_checker_t *bb_checker_new(void);
void bb_checker_destroy(bb_checker_t **self);

// Notes that a client sent this point; returns its number. The same key and version again is the
// same number.
uint32_t bb_checker_written(bb_checker_t *self, const bb_checker_key_t *key,
                            const bb_checker_version_t *version);
// Notes a promise made at `moment` (only grows, >= 1): durable, and visible to quorum reads in the
// data centres of the mask.
void bb_checker_acknowledged(bb_checker_t *self, uint32_t point, uint64_t moment, uint32_t dc_mask);
// Notes that reads with a bit of the mask must see the point from now on, or a larger version,
// though nobody promised that it lasts: a session has written or seen it. Bits 0 to 19; those of
// data centres and of sessions are the caller's to tell apart.
void bb_checker_told(bb_checker_t *self, uint32_t point, uint64_t moment, uint32_t mask);
// The same for a point of an answer, which tells no revision: the smallest version with this value.
void bb_checker_seen(bb_checker_t *self, const bb_checker_key_t *key, uint32_t type, uint64_t bits,
                     uint64_t moment, uint32_t mask);

// Deletes. What a marker covers (points of a smaller generation, which is the upper half of a
// revision) may be gone from the moment it was sent on, and must be gone where it was promised:
// then a point of it in an answer is "resurrected".
typedef struct {
    uint32_t battery, metric; // metric UINT32_MAX: all
    uint32_t generation;
    int64_t from_wall_ns, to_wall_ns; // half open
} bb_checker_marker_t;
uint32_t bb_checker_deleting(bb_checker_t *self, const bb_checker_marker_t *marker); // was sent
// As bb_checker_acknowledged and bb_checker_told.
void bb_checker_deleted(bb_checker_t *self, uint32_t marker, uint64_t moment, uint32_t dc_mask);
void bb_checker_told_deleted(bb_checker_t *self, uint32_t marker, uint64_t moment, uint32_t mask);

// What is read must hold the promises made before `moment` that count in `dc_mask` (0 = every
// promise counts), for the keys that `is_owed` accepts, and nothing that `is_asked` does not
// accept. The two differ where an answer says itself what it misses. NULL accepts every key.
typedef bool (*bb_checker_asked_fn)(void *context, const bb_checker_key_t *key);
typedef struct {
    uint64_t moment;
    uint32_t dc_mask;
    bool is_bound_to_promises; // false: only phantoms and duplicates are looked for
    bb_checker_asked_fn is_asked, is_owed;
    void *context;
} bb_checker_read_t;

// One answer: begin, each point of it, end. Only one answer at a time. A finding is one sentence
// in `text`; false: there is one, and later ones of this answer are not told.
void bb_checker_begin(bb_checker_t *self, const bb_checker_read_t *read);
bool bb_checker_point(bb_checker_t *self, const bb_checker_key_t *key, uint32_t type, uint64_t bits,
                      char *text, size_t text_bytes);
bool bb_checker_end(bb_checker_t *self, char *text, size_t text_bytes);
// Order-independent hash of what the present answer holds, so that replicas can be compared.
uint64_t bb_checker_fingerprint(const bb_checker_t *self);

// Every version that was acknowledged, in the order in which they were first written.
typedef void (*bb_checker_visit_fn)(void *context, const bb_checker_key_t *key,
                                    const bb_checker_version_t *version);
void bb_checker_each_acknowledged(const bb_checker_t *self, bb_checker_visit_fn visit,
                                  void *context);

// A marker was sent that covers it.
bool bb_checker_is_covered(const bb_checker_t *self, const bb_checker_key_t *key,
                           const bb_checker_version_t *version);
// No larger version of the point was ever written.
bool bb_checker_is_largest(const bb_checker_t *self, const bb_checker_key_t *key,
                           const bb_checker_version_t *version);
// A version with this value was sent.
bool bb_checker_is_written(const bb_checker_t *self, const bb_checker_key_t *key, uint32_t type,
                           uint64_t bits);

typedef struct {
    uint64_t keys, points, acknowledged;
    uint64_t never_read; // keys with a promise that no answer has held
} bb_checker_stats_t;
void bb_checker_stats(const bb_checker_t *self, bb_checker_stats_t *stats);

// <0, 0, >0; for tests.
int bb_checker_compare(const bb_checker_version_t *a, const bb_checker_version_t *b);

#endif
