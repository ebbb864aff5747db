// SPDX-License-Identifier: Apache-2.0
// Newest values: windows from the newest back until the registry of types is satisfied.
#include <string.h>

#include "storage/scan/bb_scan_state.h"

// The largest day below `limit` for which a window or a frame of the view exists; false: none.
static bool s_day_before(const bb_scan_t *self, uint32_t limit, uint32_t *window_next,
                         uint32_t *day)
{
    const bb_snapshot_t *snapshot = self->snapshot;
    bool found = false;
    *day = 0;
    while (*window_next > 0 && snapshot->windows[*window_next - 1].day >= limit) {
        --*window_next;
    }
    if (*window_next > 0) {
        *day = snapshot->windows[*window_next - 1].day;
        found = true;
    }
    for (uint32_t i = 0; i < self->view.rows_count; i++) {
        const bb_view_rows_t *rows = &self->view.rows[i];
        for (uint32_t r = rows->count; r > 0; r--) {
            uint32_t of_row = (uint32_t)(rows->times[r - 1] / BB_NS_PER_DAY);
            if (of_row < limit) {
                *day = found ? BB_MAX(*day, of_row) : of_row;
                found = true;
                break;
            }
        }
    }
    return found;
}

// The wanted series by the register of types; true if some metric has several.
static bool s_list_registered(bb_scan_t *self, const bb_snapshot_battery_t *battery)
{
    bool has_several = false;
    for (uint32_t i = 0; i < battery->type_count; i++) {
        uint32_t metric = bb_type_entry_metric(battery->types[i]);
        uint32_t bits = battery->types[i] & 0xf;
        if (!bb_snapshot_wants(self->snapshot, metric)) {
            continue;
        }
        has_several |= (bits & (bits - 1)) != 0;
        for (uint32_t type = 1; type <= BB_TYPE_LAST; type++) {
            if (bb_type_entry_has(battery->types[i], type)) {
                bb_battery_view_add_series(&self->view, metric, (bb_type_t)type);
            }
        }
    }
    return has_several;
}

// Gives a value; false: the page is full before it.
static bool s_give(bb_scan_t *self, const bb_snapshot_battery_t *battery,
                   const bb_view_series_t *series, int64_t time_wall_ns, uint64_t bits)
{
    if (bb_scan_continues(self, battery) && bb_scan_compare_to_cursor(self, series) < 0) {
        return true;
    }
    if (bb_scan_bytes_left(self) == 0) {
        self->view.battery = battery;
        bb_scan_cut(self, series, 0);
        return false;
    }
    bb_page_builder_row(self->page, battery->id, bb_scan_kind(self, series), time_wall_ns, bits);
    self->rows++;
    self->result->points_scanned++;
    return true;
}

static void s_give_known(bb_scan_t *self, const bb_snapshot_battery_t *battery)
{
    const bb_snapshot_value_t *values = self->snapshot->values + battery->values_first;
    for (uint32_t i = 0; i < battery->values_count && bb_scan_rows_left(self) > 0; i++) {
        if (!s_give(self, battery, &values[i].series, values[i].time_wall_ns, values[i].bits)) {
            return;
        }
    }
}

void bb_scan_last(bb_scan_t *self, const bb_snapshot_battery_t *battery)
{
    if (battery->is_known) {
        s_give_known(self, battery);
        return;
    }
    self->text_read = NULL;
    // Frames first, to know which series to look for; then again, all of them, if types compete.
    bb_battery_view_begin(&self->view, battery, true);
    if (s_list_registered(self, battery)) {
        bb_battery_view_begin(&self->view, battery, false);
        s_list_registered(self, battery);
    }
    bb_battery_view_sort_series(&self->view);
    uint32_t count = self->view.series_count;
    bb_scan_reserve(self, count);
    if (count > self->found_capacity) {
        self->found_capacity = (size_t)count * 2;
        self->found = bb_realloc(self->found, self->found_capacity * sizeof *self->found);
    }
    bool *found = self->found;
    memset(found, 0, count * sizeof *found);
    uint32_t found_count = 0;
    uint32_t window_next = self->snapshot->window_count;
    uint32_t day = UINT32_MAX;
    while (found_count < count && s_day_before(self, day, &window_next, &day)) {
        bb_battery_view_forget_runs(&self->view);
        bb_scan_make_room(self, day);
        // Windows of one day: one for each retention class.
        for (uint32_t w = window_next; w > 0 && self->snapshot->windows[w - 1].day == day; w--) {
            bb_battery_view_load(&self->view, w - 1);
        }
        for (uint32_t i = 0; i < count; i++) {
            const bb_view_series_t *series = &self->view.series[i];
            if (!found[i]) {
                found[i] =
                    bb_series_sweep_last(self->sweep, &self->view, series->metric, series->type,
                                         day, &self->times[i], &self->values[i]);
                found_count += found[i];
                if (found[i] && series->type == BB_TYPE_STATE) {
                    self->values[i] = bb_scan_keep_text(self, self->values[i]);
                }
            }
        }
    }
    for (uint32_t i = 0; i < count && bb_scan_rows_left(self) > 0; i++) {
        const bb_view_series_t *series = &self->view.series[i];
        if (!found[i] || self->times[i] < self->query->from_wall_ns ||
            !bb_query_compares(self->query, series->type, self->values[i])) {
            continue;
        }
        if (!s_give(self, battery, series, self->times[i], self->values[i])) {
            break;
        }
    }
    bb_scan_note_damage(self);
}
