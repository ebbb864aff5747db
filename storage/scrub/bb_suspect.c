// SPDX-License-Identifier: Apache-2.0
#include "storage/scrub/bb_suspect.h"

#include <signal.h>

const char *bb_suspect_state_name(bb_suspect_state_t state)
{
    static const char *const names[] = {"trusted", "suspect", "checking", "damaged", "condemned"};
    static_assert(BB_COUNT_OF(names) == BB_SUSPECT_STATE_COUNT, "a name for each state");
    BB_ASSERT(state < BB_SUSPECT_STATE_COUNT);
    return names[state];
}

// Allowed moves; [from][to].
static const bool s_moves[BB_SUSPECT_STATE_COUNT][BB_SUSPECT_STATE_COUNT] = {
    [BB_SUSPECT_TRUSTED] = {[BB_SUSPECT_SUSPECT] = true},
    [BB_SUSPECT_SUSPECT] = {[BB_SUSPECT_CHECKING] = true},
    [BB_SUSPECT_CHECKING] = {[BB_SUSPECT_TRUSTED] = true,
                             [BB_SUSPECT_SUSPECT] = true,
                             [BB_SUSPECT_DAMAGED] = true,
                             [BB_SUSPECT_CONDEMNED] = true},
    [BB_SUSPECT_DAMAGED] = {[BB_SUSPECT_SUSPECT] = true},
};

static void s_move(bb_suspect_t *self, bb_suspect_state_t state, bb_suspect_actions_t *actions)
{
    BB_ASSERT(s_moves[self->state][state]);
    self->state = state;
    self->wake_mono_ns = BB_NEVER_NS;
    actions->is_verdict = true;
    if (state == BB_SUSPECT_TRUSTED || state == BB_SUSPECT_DAMAGED) {
        self->tries = 0;
    }
}

static int64_t s_timeout_ns(const bb_suspect_t *self)
{
    return BB_SUSPECT_TIMEOUT_NS << BB_MIN(self->tries, BB_SUSPECT_TRIES_MAX);
}

static void s_ended(bb_suspect_t *self, bb_suspect_event_t event, int64_t now_mono_ns,
                    bb_suspect_actions_t *actions)
{
    switch (event) {
    case BB_SUSPECT_PASSED:
        s_move(self, BB_SUSPECT_TRUSTED, actions);
        return;
    case BB_SUSPECT_FOUND:
        s_move(self, BB_SUSPECT_DAMAGED, actions);
        return;
    case BB_SUSPECT_KILLED:
        if (++self->tries < BB_SUSPECT_TRIES_MAX) {
            s_move(self, BB_SUSPECT_SUSPECT, actions);
            self->wake_mono_ns = now_mono_ns + BB_SUSPECT_RETRY_NS;
            return;
        }
        s_move(self, BB_SUSPECT_CONDEMNED, actions);
        return;
    default:
        s_move(self, BB_SUSPECT_CONDEMNED, actions);
    }
}

void bb_suspect_step(bb_suspect_t *self, bb_suspect_event_t event, int64_t now_mono_ns,
                     bb_suspect_actions_t *actions)
{
    BB_ASSERT(self->state < BB_SUSPECT_STATE_COUNT);
    BB_ASSERT(event < BB_SUSPECT_EVENT_COUNT);
    *actions = (bb_suspect_actions_t){.wake_ns = BB_NEVER_NS};
    if (event == BB_SUSPECT_DOUBT && bb_suspect_may_open(self)) {
        s_move(self, BB_SUSPECT_SUSPECT, actions);
        self->wake_mono_ns = now_mono_ns;
    } else if (self->state == BB_SUSPECT_SUSPECT && event == BB_SUSPECT_STARTED) {
        s_move(self, BB_SUSPECT_CHECKING, actions);
        self->wake_mono_ns = now_mono_ns + s_timeout_ns(self);
    } else if (self->state == BB_SUSPECT_SUSPECT && event == BB_SUSPECT_SPAWN_FAILED) {
        self->wake_mono_ns = now_mono_ns + BB_SUSPECT_RETRY_NS;
    } else if (self->state == BB_SUSPECT_CHECKING && event >= BB_SUSPECT_PASSED &&
               event <= BB_SUSPECT_KILLED) {
        s_ended(self, event, now_mono_ns, actions);
    }
    if (self->state == BB_SUSPECT_SUSPECT && now_mono_ns >= self->wake_mono_ns) {
        actions->is_spawn = true;
        actions->timeout_ns = s_timeout_ns(self);
        return;
    }
    if (self->state == BB_SUSPECT_CHECKING && now_mono_ns >= self->wake_mono_ns) {
        actions->is_kill = true;
        return;
    }
    if (self->state == BB_SUSPECT_SUSPECT || self->state == BB_SUSPECT_CHECKING) {
        actions->wake_ns = self->wake_mono_ns;
    }
}

bb_suspect_event_t bb_suspect_event_of_exit(int exit_status, int signal_number)
{
    switch (signal_number) {
    case 0:
        break;
    case SIGSEGV:
    case SIGBUS:
    case SIGABRT:
    case SIGFPE:
    case SIGILL:
        return BB_SUSPECT_CRASHED;
    default:
        return BB_SUSPECT_KILLED;
    }
    switch (exit_status) {
    case 0:
        return BB_SUSPECT_PASSED;
    case 1:
        return BB_SUSPECT_FOUND;
    case 3:
        return BB_SUSPECT_REFUSED;
    default:
        return BB_SUSPECT_KILLED; // 2: wrong arguments or no memory; nothing about the window
    }
}
