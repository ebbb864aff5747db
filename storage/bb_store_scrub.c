// SPDX-License-Identifier: Apache-2.0
#include "storage/bb_store_scrub_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/bb_time.h"
#include "storage/bb_store_markers.h"
#include "storage/bb_store_merge.h"
#include "storage/scrub/bb_suspect.h"

// A window that has not always been trusted.
typedef struct {
    uint64_t id;
    bb_suspect_t suspect;
    int64_t child;         // handle of the checker; -1 = none
    int64_t child_mono_ns; // when it began
} s_doubted_t;

// When a segment was last read to its end.
typedef struct {
    uint64_t id;
    int64_t wall_ns;
} s_verified_t;

struct bb_store_scrub {
    bb_scrub_t *core;
    bb_damage_t damage;
    bb_store_checker_t checker;
    s_verified_t *verified; // as meta has them; ascending by id
    uint32_t verified_count, verified_capacity;
    uint64_t *fresh; // put last before a crash; until the store is open
    uint32_t fresh_count, fresh_capacity;
    s_doubted_t *doubted;
    uint32_t doubted_count, doubted_capacity;
    uint64_t doubts_seen; // of those that the pool counts
    bool windows_changed;
    // The step that the core asked for, and how far the window under way is.
    // Meta is looked at with the first step, with each pass that somebody asks for, and each week.
    bool is_meta_due;
    int64_t meta_wall_ns;
    bb_meta_check_t meta_found; // the last time
    bool is_step_due;
    bb_scrub_actions_t step;
    int64_t step_wall_ns;
    bb_window_check_at_t at;
    bb_window_check_totals_t totals;
    bb_meta_fingerprint_t *sums; // of what was read of it so far
    uint32_t sum_count;
    bool is_hashed;
    uint64_t markers_version; // of the store when the segment was begun
    // What the last job gave, until the next tick tells the core.
    bool has_outcome;
    uint64_t outcome_bytes, outcome_findings;
    bool outcome_is_end;
};

// What the core calls a window is a segment: it never changes, so a pass over it is a pass over all
// of it. Its id is where it stands in the list of all.
#define S_NUMBER_BITS  30u
#define S_POLL_NS_MIN  (INT64_C(5) * 1000000)
#define S_CHILDREN_MAX 2u

static uint64_t s_id_of(bb_window_id_t window, uint64_t number)
{
    BB_ASSERT(number >> S_NUMBER_BITS == 0);
    return (uint64_t)window.kind << 63 | (uint64_t)window.class_id << 47 |
           (uint64_t)window.day << S_NUMBER_BITS | number;
}

static bb_window_id_t s_window_id(uint64_t id)
{
    return (bb_window_id_t){.kind = (bb_window_kind_t)(id >> 63),
                            .class_id = (uint16_t)(id >> 47),
                            .day = (uint32_t)(id >> S_NUMBER_BITS) & 0x1ffff};
}

bb_store_scrub_t *bb_store_scrub_new(const bb_store_options_t *options)
{
    bb_store_scrub_t *self = bb_alloc_zero(1, sizeof *self);
    self->core = bb_scrub_new(options->scrub_bytes_per_s, options->scrub_interval_ns > 0
                                                              ? options->scrub_interval_ns
                                                              : BB_SCRUB_INTERVAL_NS);
    self->checker = options->checker;
    self->windows_changed = true;
    self->is_meta_due = true;
    return self;
}

void bb_store_scrub_destroy(bb_store_scrub_t **self)
{
    bb_store_scrub_t *scrub = *self;
    if (!scrub) {
        return;
    }
    for (uint32_t i = 0; i < scrub->doubted_count; i++) {
        if (scrub->doubted[i].child >= 0) {
            scrub->checker.kill(scrub->checker.context, scrub->doubted[i].child);
        }
    }
    bb_scrub_destroy(&scrub->core);
    bb_damage_clear(&scrub->damage);
    free(scrub->sums);
    free(scrub->verified);
    free(scrub->fresh);
    free(scrub->doubted);
    free(scrub);
    *self = NULL;
}

// ---- from the meta map -----------------------------------------------------------------------
void bb_store_scrub_load_damage(bb_store_scrub_t *self, const bb_damage_entry_t *entry)
{
    bb_ignore(bb_damage_add(&self->damage, entry), "covered by one of the whole window");
}

// Where the id is in the list, or would be put.
static uint32_t s_verified_find(const bb_store_scrub_t *self, uint64_t id, bool *found)
{
    uint32_t first = 0;
    uint32_t limit = self->verified_count;
    while (first < limit) {
        uint32_t middle = first + (limit - first) / 2;
        if (self->verified[middle].id < id) {
            first = middle + 1;
        } else {
            limit = middle;
        }
    }
    *found = first < self->verified_count && self->verified[first].id == id;
    return first;
}

static void s_verified_set(bb_store_scrub_t *self, uint64_t id, int64_t wall_ns)
{
    bool found;
    uint32_t at = s_verified_find(self, id, &found);
    if (found) {
        self->verified[at].wall_ns = wall_ns;
        return;
    }
    if (self->verified_count == self->verified_capacity) {
        self->verified_capacity = BB_MAX(16u, self->verified_capacity * 2);
        self->verified =
            bb_realloc(self->verified, self->verified_capacity * sizeof *self->verified);
    }
    memmove(&self->verified[at + 1], &self->verified[at],
            (self->verified_count++ - at) * sizeof *self->verified);
    self->verified[at] = (s_verified_t){id, wall_ns};
}

void bb_store_scrub_load_verified(bb_store_scrub_t *self, bb_window_id_t window,
                                  const bb_meta_verified_t *verified)
{
    if (verified->number >> S_NUMBER_BITS == 0) { // a record that says otherwise is damage
        s_verified_set(self, s_id_of(window, verified->number), verified->wall_ns);
    }
}

void bb_store_scrub_load_fresh(bb_store_scrub_t *self, bb_window_id_t window, uint64_t number)
{
    if (number >> S_NUMBER_BITS != 0) {
        return;
    }
    if (self->fresh_count == self->fresh_capacity) {
        self->fresh_capacity = BB_MAX(16u, self->fresh_capacity * 2);
        self->fresh = bb_realloc(self->fresh, self->fresh_capacity * sizeof *self->fresh);
    }
    self->fresh[self->fresh_count++] = s_id_of(window, number);
}

bool bb_store_scrub_is_any_suspect(const bb_store_scrub_t *self)
{
    for (uint32_t i = 0; i < self->doubted_count; i++) {
        bb_suspect_state_t state = self->doubted[i].suspect.state;
        if (state == BB_SUSPECT_SUSPECT || state == BB_SUSPECT_CHECKING) {
            return true;
        }
    }
    return false;
}

void bb_store_scrub_windows_changed(bb_store_scrub_t *self)
{
    self->windows_changed = true;
}

void bb_store_scrub_forget_window(bb_store_t *store, bb_window_id_t window)
{
    bb_store_scrub_t *self = store->scrub;
    (void)bb_damage_forget(&self->damage, (uint8_t)window.kind, window.class_id, window.day, 0);
    self->windows_changed = true;
}

// That of a segment which is gone for longer goes with the last segment that may have inherited it.
bool bb_store_scrub_forgets(const bb_store_window_t *window, const bb_damage_entry_t *entry,
                            uint64_t number)
{
    bool is_there = false;
    bool is_last = true;
    for (uint32_t i = 0; i < window->part_count; i++) {
        uint64_t other = bb_segment_number(window->parts[i].segment);
        is_there |= other != number && other == entry->number;
        is_last &= other >= number;
    }
    return entry->number == number || (!is_there && is_last);
}

void bb_store_scrub_forget(bb_store_t *store, bb_window_id_t window, uint64_t number)
{
    bb_store_scrub_t *self = store->scrub;
    bool found;
    uint32_t at = bb_store_windows_find(&store->windows, window, &found);
    uint32_t count = 0;
    const bb_damage_entry_t *entries =
        bb_damage_window(&self->damage, (uint8_t)window.kind, window.class_id, window.day, &count);
    uint32_t *batteries = bb_alloc((count + 1) * sizeof *batteries);
    uint32_t drop_count = 0;
    for (uint32_t i = 0; found && i < count; i++) {
        if (bb_store_scrub_forgets(&store->windows.items[at], &entries[i], number)) {
            batteries[drop_count++] = entries[i].battery;
        }
    }
    for (uint32_t i = 0; i < drop_count; i++) {
        bb_damage_drop(&self->damage, (uint8_t)window.kind, window.class_id, window.day,
                       batteries[i]);
    }
    free(batteries);
    // An entry names one segment of its window: others may be as bad and are not named any more.
    const bb_store_window_t *item = found ? &store->windows.items[at] : NULL;
    for (uint32_t i = 0; item && i < item->part_count; i++) {
        uint64_t other = bb_segment_number(item->parts[i].segment);
        if (other < number) {
            bb_scrub_hurry(self->core, s_id_of(window, other));
        }
    }
    self->windows_changed = true;
}

const bb_damage_t *bb_store_scrub_damage(const bb_store_scrub_t *self)
{
    return &self->damage;
}

// ---- windows ---------------------------------------------------------------------------------
static const bb_window_part_t *s_part_of(const bb_store_t *store, uint64_t id)
{
    bool found;
    uint32_t at = bb_store_windows_find(&store->windows, s_window_id(id), &found);
    for (uint32_t i = 0; found && i < store->windows.items[at].part_count; i++) {
        const bb_window_part_t *part = &store->windows.items[at].parts[i];
        if (s_id_of(bb_segment_window(part->segment), bb_segment_number(part->segment)) == id) {
            return part;
        }
    }
    return NULL;
}

static int64_t s_verified_wall_ns(const bb_store_scrub_t *self, uint64_t id)
{
    bool found;
    uint32_t at = s_verified_find(self, id, &found);
    return found ? self->verified[at].wall_ns : BB_SCRUB_NEVER_WALL_NS;
}

// Forgets segments that are gone. `windows` ascend by id, as the list does.
static void s_verified_keep(bb_store_scrub_t *self, const bb_scrub_window_t *windows,
                            uint32_t count)
{
    uint32_t kept = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < self->verified_count; i++) {
        while (at < count && windows[at].id < self->verified[i].id) {
            at++;
        }
        if (at < count && windows[at].id == self->verified[i].id) {
            self->verified[kept++] = self->verified[i];
        }
    }
    self->verified_count = kept;
}

static void s_windows_set(bb_store_t *store, int64_t now_wall_ns)
{
    bb_store_scrub_t *self = store->scrub;
    uint32_t count = 0;
    for (uint32_t i = 0; i < store->windows.count; i++) {
        count += store->windows.items[i].part_count;
    }
    bb_scrub_window_t *windows = bb_alloc((count + 1) * sizeof *windows);
    count = 0;
    for (uint32_t i = 0; i < store->windows.count; i++) {
        const bb_store_window_t *item = &store->windows.items[i];
        for (uint32_t part = 0; part < item->part_count; part++) { // numbers ascend
            uint64_t number = bb_segment_number(item->parts[part].segment);
            uint64_t id = s_id_of(item->id, number);
            windows[count++] = (bb_scrub_window_t){id, number, item->parts[part].info.bytes,
                                                   s_verified_wall_ns(self, id)};
        }
    }
    s_verified_keep(self, windows, count);
    bb_scrub_windows_set(self->core, windows, count, now_wall_ns);
    free(windows);
    self->windows_changed = false;
}

// ---- windows that are not trusted ------------------------------------------------------------
static bool s_is_fresh(const bb_store_scrub_t *self, uint64_t id)
{
    bool was_read;
    (void)s_verified_find(self, id, &was_read);
    for (uint32_t i = 0; i < self->fresh_count && !was_read; i++) {
        if (self->fresh[i] == id) {
            return true;
        }
    }
    return false;
}

// Named at once; the next step finds the same and writes it down.
static void s_condemn(bb_store_scrub_t *self, const bb_segment_t *segment, int64_t now_wall_ns)
{
    bb_window_id_t window = bb_segment_window(segment);
    bb_damage_entry_t entry = {.kind = (uint8_t)window.kind,
                               .class_id = window.class_id,
                               .day = window.day,
                               .number = bb_segment_number(segment),
                               .battery = BB_DAMAGE_BATTERY_ALL,
                               .reason = BB_DAMAGE_UNREADABLE,
                               .found_wall_ns = now_wall_ns,
                               .text = BB_SEGMENT_CONDEMNED_TEXT};
    bb_ignore(bb_damage_add(&self->damage, &entry), "known already");
}

// A quarter of the child's age: a verdict is late by a fifth of what it took, at most.
static int64_t s_poll_ns(const s_doubted_t *doubted, int64_t now_mono_ns)
{
    int64_t age_ns = (now_mono_ns - doubted->child_mono_ns) / 4;
    int64_t least_ns = BB_MAX(age_ns, S_POLL_NS_MIN);
    return BB_MIN(least_ns, BB_STORE_CHECK_POLL_NS);
}

static void s_doubt_apply(bb_store_t *store, s_doubted_t *doubted, bb_suspect_event_t event,
                          int64_t now_mono_ns, int64_t now_wall_ns, int64_t *wake_mono_ns)
{
    bb_store_scrub_t *self = store->scrub;
    const bb_window_part_t *item = s_part_of(store, doubted->id);
    bb_suspect_actions_t actions;
    bb_suspect_state_t before = doubted->suspect.state;
    bb_suspect_step(&doubted->suspect, event, now_mono_ns, &actions);
    if (actions.is_spawn) {
        char path[BB_WINDOW_PATH_BYTES];
        bb_segment_path(item->segment, path);
        doubted->child = self->checker.spawn(self->checker.context, path, actions.timeout_ns);
        doubted->child_mono_ns = now_mono_ns;
        // Nothing but a crash speaks against a fresh one: if nobody can look, it is read as always.
        bool is_let_pass = doubted->child < 0 && s_is_fresh(self, doubted->id);
        event = doubted->child >= 0 || is_let_pass ? BB_SUSPECT_STARTED : BB_SUSPECT_SPAWN_FAILED;
        bb_suspect_step(&doubted->suspect, event, now_mono_ns, &actions);
        if (is_let_pass) {
            bb_suspect_step(&doubted->suspect, BB_SUSPECT_PASSED, now_mono_ns, &actions);
        }
    }
    if (actions.is_kill && doubted->child >= 0) {
        self->checker.kill(self->checker.context, doubted->child);
        doubted->child = -1;
        bb_suspect_step(&doubted->suspect, BB_SUSPECT_KILLED, now_mono_ns, &actions);
    }
    bb_suspect_state_t state = doubted->suspect.state;
    bb_segment_trust_set(item->segment, bb_suspect_may_open(&doubted->suspect) ? BB_SEGMENT_TRUSTED
                                        : state == BB_SUSPECT_CONDEMNED ? BB_SEGMENT_CONDEMNED
                                                                        : BB_SEGMENT_SUSPECT);
    if (state != before && !store->is_job_alive) {
        store->is_merge_wanted = bb_merge_is_wanted(store);
    }
    if (state != before && state == BB_SUSPECT_CONDEMNED) {
        s_condemn(self, item->segment, now_wall_ns);
    }
    if (state != before && (state == BB_SUSPECT_DAMAGED || state == BB_SUSPECT_CONDEMNED)) {
        bb_scrub_hurry(self->core, doubted->id); // so that what is damaged is named
    }
    int64_t wake_ns =
        doubted->child >= 0 ? now_mono_ns + s_poll_ns(doubted, now_mono_ns) : actions.wake_ns;
    *wake_mono_ns = BB_MIN(*wake_mono_ns, wake_ns);
}

static void s_doubted_add(bb_store_scrub_t *self, uint64_t id)
{
    for (uint32_t i = 0; i < self->doubted_count; i++) {
        if (self->doubted[i].id == id) {
            return;
        }
    }
    if (self->doubted_count == self->doubted_capacity) {
        self->doubted_capacity = BB_MAX(4u, self->doubted_capacity * 2);
        self->doubted = bb_realloc(self->doubted, self->doubted_capacity * sizeof *self->doubted);
    }
    self->doubted[self->doubted_count++] = (s_doubted_t){.id = id, .child = -1};
    bb_suspect_t *suspect = &self->doubted[self->doubted_count - 1].suspect;
    bb_suspect_actions_t actions;
    bb_suspect_step(suspect, BB_SUSPECT_DOUBT, 0, &actions); // spawned when it is ticked
}

// Segments that were doubted since the last time, in whatever thread.
static void s_doubted_collect(bb_store_t *store)
{
    bb_store_scrub_t *self = store->scrub;
    uint64_t doubt_count = bb_segment_pool_doubt_count(store->pool);
    if (doubt_count == self->doubts_seen) {
        return;
    }
    self->doubts_seen = doubt_count;
    for (uint32_t i = 0; i < store->windows.count; i++) {
        const bb_store_window_t *window = &store->windows.items[i];
        for (uint32_t part = 0; part < window->part_count; part++) {
            const bb_segment_t *segment = window->parts[part].segment;
            if (bb_segment_is_doubted(segment)) {
                s_doubted_add(self, s_id_of(window->id, bb_segment_number(segment)));
            }
        }
    }
}

// What was damaged before this process began, or was being written when the one before ended, is
// not looked at by it first.
void bb_store_scrub_opened(bb_store_t *store)
{
    bb_store_scrub_t *self = store->scrub;
    if (!self->checker.spawn) {
        return; // nobody looks at segments: they stay on the list, and are opened as before
    }
    bb_segment_pool_watch(store->pool, self->checker.wait_ns);
    for (uint32_t i = 0; i < store->windows.count; i++) {
        const bb_store_window_t *window = &store->windows.items[i];
        const bb_damage_entry_t *damage =
            bb_damage_find(&self->damage, (uint8_t)window->id.kind, window->id.class_id,
                           window->id.day, BB_DAMAGE_BATTERY_ALL);
        for (uint32_t part = 0; part < window->part_count; part++) {
            bb_segment_t *segment = window->parts[part].segment;
            bool is_named = damage && damage->number == bb_segment_number(segment) &&
                            bb_damage_is_of_environment(damage->reason);
            bool is_fresh = s_is_fresh(self, s_id_of(window->id, bb_segment_number(segment)));
            if (is_named || is_fresh || window->parts[part].is_damaged) {
                bb_segment_doubt(segment);
            }
        }
    }
}

static void s_doubted_tick(bb_store_t *store, int64_t now_mono_ns, int64_t now_wall_ns,
                           int64_t *wake_mono_ns)
{
    bb_store_scrub_t *self = store->scrub;
    uint32_t kept = 0;
    uint32_t child_count = 0;
    s_doubted_collect(store);
    for (uint32_t i = 0; i < self->doubted_count; i++) {
        child_count += self->doubted[i].child >= 0;
    }
    for (uint32_t i = 0; i < self->doubted_count; i++) {
        s_doubted_t *doubted = &self->doubted[i];
        if (!s_part_of(store, doubted->id)) {
            if (doubted->child >= 0) {
                self->checker.kill(self->checker.context, doubted->child);
            }
            continue; // written anew, or gone
        }
        bb_suspect_event_t event = BB_SUSPECT_TICK;
        bb_suspect_event_t verdict;
        if (doubted->child >= 0 &&
            self->checker.poll(self->checker.context, doubted->child, &verdict)) {
            doubted->child = -1;
            event = verdict;
        }
        bool is_waiting = doubted->suspect.state == BB_SUSPECT_SUSPECT;
        if (!is_waiting || child_count < S_CHILDREN_MAX) { // else an end of a child wakes us
            s_doubt_apply(store, doubted, event, now_mono_ns, now_wall_ns, wake_mono_ns);
            child_count += is_waiting && doubted->child >= 0;
        }
        self->doubted[kept++] = *doubted;
    }
    self->doubted_count = kept;
    if (self->checker.spawn) { // readers in other threads wake nobody
        *wake_mono_ns = BB_MIN(*wake_mono_ns, now_mono_ns + BB_STORE_DOUBT_POLL_NS);
    }
}

// ---- pace ------------------------------------------------------------------------------------
static bool s_core(bb_store_t *store, bb_scrub_event_t event, int64_t *wake_mono_ns)
{
    bb_store_scrub_t *self = store->scrub;
    bb_scrub_actions_t actions;
    bb_scrub_step(self->core, &event, &actions);
    *wake_mono_ns = BB_MIN(*wake_mono_ns, actions.wake_ns);
    if (!actions.is_step) {
        return false;
    }
    self->is_step_due = true;
    self->step = actions;
    self->step_wall_ns = event.now_wall_ns;
    return true;
}

int64_t bb_store_suspect_tick(bb_store_t *store, int64_t now_mono_ns, int64_t now_wall_ns)
{
    int64_t wake_mono_ns = BB_NEVER_NS;
    s_doubted_tick(store, now_mono_ns, now_wall_ns, &wake_mono_ns);
    return wake_mono_ns;
}

bool bb_store_scrub_tick(bb_store_t *store, int64_t now_mono_ns, int64_t now_wall_ns,
                         int64_t *wake_mono_ns)
{
    bb_store_scrub_t *self = store->scrub;
    *wake_mono_ns = BB_NEVER_NS;
    if (store->is_job_alive) {
        return false;
    }
    if (self->windows_changed) {
        s_windows_set(store, now_wall_ns);
    }
    s_doubted_tick(store, now_mono_ns, now_wall_ns, wake_mono_ns);
    if (self->is_step_due) {
        return true;
    }
    bb_scrub_event_t event = {
        .kind = BB_SCRUB_TICK, .now_mono_ns = now_mono_ns, .now_wall_ns = now_wall_ns};
    if (self->has_outcome) {
        event.kind = BB_SCRUB_DONE;
        event.bytes = self->outcome_bytes;
        event.finding_count = self->outcome_findings;
        event.is_window_end = self->outcome_is_end;
        self->has_outcome = false;
    }
    return s_core(store, event, wake_mono_ns);
}

void bb_store_scrub_start(bb_store_t *store, int64_t now_mono_ns, int64_t now_wall_ns,
                          uint64_t rate_bytes_per_s)
{
    bb_store_scrub_t *self = store->scrub;
    int64_t wake_mono_ns = BB_NEVER_NS;
    self->is_meta_due = true;
    if (self->windows_changed) {
        s_windows_set(store, now_wall_ns);
    }
    bb_ignore(s_core(store,
                     (bb_scrub_event_t){.kind = BB_SCRUB_START,
                                        .now_mono_ns = now_mono_ns,
                                        .now_wall_ns = now_wall_ns,
                                        .rate_bytes_per_s = rate_bytes_per_s},
                     &wake_mono_ns),
              "the next tick finds the step");
}

bb_store_scrub_stats_t bb_store_scrub_stats(const bb_store_t *store, int64_t now_wall_ns)
{
    const bb_store_scrub_t *self = store->scrub;
    bb_store_scrub_stats_t stats = {.scrub = bb_scrub_stats(self->core, now_wall_ns),
                                    .damage_count =
                                        self->damage.count + (self->meta_found.damaged_count > 0),
                                    .meta_damage_count = self->meta_found.damaged_count,
                                    .damage = self->damage.entries};
    for (uint32_t i = 0; i < self->doubted_count; i++) {
        bb_suspect_state_t state = self->doubted[i].suspect.state;
        stats.barred_count += !bb_suspect_may_open(&self->doubted[i].suspect);
        stats.suspect_count += state == BB_SUSPECT_SUSPECT || state == BB_SUSPECT_CHECKING;
    }
    return stats;
}

size_t bb_store_damage_text(const bb_store_t *store, uint32_t index,
                            char out[BB_STORE_DAMAGE_TEXT_BYTES])
{
    const bb_damage_t *list = &store->scrub->damage;
    if (index == list->count) {
        const bb_meta_check_t *meta = &store->scrub->meta_found;
        BB_ASSERT(meta->damaged_count > 0);
        int text = snprintf(out, BB_STORE_DAMAGE_TEXT_BYTES, "meta: %u record%s: %s",
                            meta->damaged_count, meta->damaged_count == 1 ? "" : "s", meta->what);
        return (size_t)BB_MIN(text, (int)BB_STORE_DAMAGE_TEXT_BYTES - 1);
    }
    BB_ASSERT(index < list->count);
    const bb_damage_entry_t *entry = &list->entries[index];
    bb_civil_t day = bb_civil_of_wall_ns((int64_t)entry->day * BB_NS_PER_DAY);
    char who[BB_BATTERY_ID_BYTES_MAX + 16] = "";
    if (entry->battery != BB_DAMAGE_BATTERY_ALL &&
        entry->battery < bb_dictionary_battery_count(store->dictionary)) {
        bb_slice_t id = bb_dictionary_battery_id(store->dictionary, entry->battery);
        snprintf(who, sizeof who, ", battery %.*s", (int)id.length, (const char *)id.data);
    }
    int length = snprintf(out, BB_STORE_DAMAGE_TEXT_BYTES, "%s%04d-%02u-%02u.%06llu%s: %s: %s",
                          entry->kind == BB_WINDOW_QUARANTINE ? "quarantine/" : "", day.year,
                          day.month, day.day, (unsigned long long)entry->number, who,
                          bb_damage_reason_name(entry->reason), entry->text);
    return (size_t)BB_MIN(length, (int)BB_STORE_DAMAGE_TEXT_BYTES - 1);
}

// ---- one step --------------------------------------------------------------------------------
// Entries that this pass may prove healed: of segments that were merged into this one, or another;
// and of this one, when the disk gave an error: bytes that do not verify stay so, errors may end.
static void s_take_known(const bb_store_scrub_t *self, const bb_store_t *store,
                         bb_window_id_t window, bb_scrub_job_t *job)
{
    uint32_t count;
    const bb_damage_entry_t *known =
        bb_damage_window(&self->damage, (uint8_t)window.kind, window.class_id, window.day, &count);
    job->known = bb_alloc((count + 1) * sizeof *job->known);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t number = bb_segment_number(job->segment);
        bool is_gone =
            known[i].number < number && !s_part_of(store, s_id_of(window, known[i].number));
        if (is_gone || (known[i].number == number && known[i].reason == BB_DAMAGE_IO)) {
            job->known[job->known_count++] = known[i];
        }
    }
}

// What the record of the window will be when this segment has been read to its end.
static void s_take_verified(const bb_store_scrub_t *self, const bb_store_t *store,
                            bb_window_id_t window_id, bb_scrub_job_t *job)
{
    bool found;
    uint32_t at = bb_store_windows_find(&store->windows, window_id, &found);
    BB_ASSERT(found);
    const bb_store_window_t *window = &store->windows.items[at];
    job->is_alone = window->part_count == 1 && bb_segment_info_is_merged(&job->info);
    job->verified = bb_alloc(window->part_count * sizeof *job->verified);
    for (uint32_t i = 0; i < window->part_count; i++) { // numbers ascend
        uint64_t number = bb_segment_number(window->parts[i].segment);
        int64_t wall_ns = s_verified_wall_ns(self, s_id_of(window_id, number));
        wall_ns = window->parts[i].segment == job->segment ? job->wall_ns : wall_ns;
        if (wall_ns != BB_SCRUB_NEVER_WALL_NS) {
            job->verified[job->verified_count++] = (bb_meta_verified_t){number, wall_ns};
        }
    }
}

bb_scrub_job_t *bb_scrub_job_new(bb_store_t *store)
{
    bb_store_scrub_t *self = store->scrub;
    BB_ASSERT(self->is_step_due);
    self->is_step_due = false;
    const bb_window_part_t *item = s_part_of(store, self->step.window_id);
    if (!item || bb_segment_trust(item->segment) == BB_SEGMENT_SUSPECT) {
        // Gone, or another process reads all of it: its verdict says whether there is more to do.
        self->has_outcome = true;
        self->outcome_bytes = self->outcome_findings = 0;
        self->outcome_is_end = true;
        return NULL;
    }
    if (self->step.is_window_begin) {
        free(self->sums);
        self->sums = NULL;
        self->sum_count = 0;
        self->at = (bb_window_check_at_t){0};
        self->totals = (bb_window_check_totals_t){0};
        self->markers_version = store->markers_version;
    }
    bb_scrub_job_t *job = bb_alloc_zero(1, sizeof *job);
    *job = (bb_scrub_job_t){.kv = store->kv,
                            .meta = store->meta,
                            .segment = item->segment,
                            .info = item->info,
                            .id = self->step.window_id,
                            .at = self->at,
                            .totals = self->totals,
                            .budget_bytes = self->step.budget_bytes,
                            .wall_ns = self->step_wall_ns,
                            .fingerprint_key = store->fingerprint_key,
                            .sums = self->sums,
                            .sum_count = self->sum_count,
                            .is_begin = self->step.is_window_begin,
                            .is_settled = self->markers_version == store->markers_version &&
                                          !bb_store_has_unsaved_markers(store),
                            .markers = bb_markers_retain(store->markers),
                            .is_hashed = self->is_hashed};
    int64_t age_ns = self->step_wall_ns - self->meta_wall_ns;
    job->is_meta_due = self->is_meta_due || age_ns >= BB_SCRUB_INTERVAL_NS || age_ns < 0;
    self->sums = NULL;
    self->sum_count = 0;
    bb_segment_retain(job->segment);
    bb_window_id_t window = bb_segment_window(job->segment);
    s_take_known(self, store, window, job);
    s_take_verified(self, store, window, job);
    return job;
}

void bb_scrub_job_publish(bb_scrub_job_t *self, bb_store_t *store)
{
    bb_store_scrub_t *scrub = store->scrub;
    scrub->at = self->at;
    scrub->totals = self->totals;
    scrub->sums = self->sums;
    scrub->sum_count = self->sum_count;
    scrub->is_hashed = self->is_hashed;
    self->sums = NULL;
    if (self->is_meta_due) {
        scrub->is_meta_due = false;
        scrub->meta_wall_ns = self->wall_ns;
        scrub->meta_found = self->meta_found;
    }
    scrub->has_outcome = true;
    scrub->outcome_bytes = self->bytes;
    scrub->outcome_findings = self->finding_count;
    scrub->outcome_is_end = self->is_end;
    if (self->is_end) {
        s_verified_set(scrub, self->id, self->wall_ns);
    }
    for (uint32_t i = 0; i < self->found.count; i++) {
        bb_ignore(bb_damage_add(&scrub->damage, &self->found.entries[i]), "known already");
    }
    for (uint32_t i = 0; i < self->known_count; i++) {
        const bb_damage_entry_t *known = &self->known[i];
        if (bb_scrub_job_is_healed(self, known)) {
            bb_damage_drop(&scrub->damage, known->kind, known->class_id, known->day,
                           known->battery);
        }
    }
    if (self->is_doubtful) {
        bb_segment_doubt(self->segment);
    }
}
