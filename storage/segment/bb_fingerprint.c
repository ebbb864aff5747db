// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_fingerprint.h"

#include <sodium.h>
#include <string.h>

#include "storage/segment/bb_shared_run.h"

static_assert(crypto_shorthash_siphashx24_KEYBYTES == BB_FINGERPRINT_KEY_BYTES, "the key's size");

typedef struct {
    uint64_t a, b;
} s_keys_t;

bb_fingerprint_name_t bb_fingerprint_name(const uint8_t *key, bb_fingerprint_kind_t kind,
                                          bb_slice_t name)
{
    uint8_t key_of_kind[BB_FINGERPRINT_KEY_BYTES];
    uint8_t hash[crypto_shorthash_siphashx24_BYTES];
    bb_fingerprint_name_t out;
    memcpy(key_of_kind, key, sizeof key_of_kind);
    key_of_kind[0] ^= (uint8_t)kind;
    crypto_shorthash_siphashx24(hash, name.length > 0 ? name.data : key_of_kind, name.length,
                                key_of_kind);
    memcpy(&out, hash, sizeof out);
    return out;
}
static_assert(sizeof(bb_fingerprint_name_t) == crypto_shorthash_siphashx24_BYTES, "two words");

static inline uint64_t s_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

// Of what the words of name, battery, type and revision come to, which no two columns are likely to
// have alike.
static bool s_column_keys(const bb_fingerprint_names_t *names, bb_run_column_info_t column,
                          uint64_t revision, s_keys_t *keys)
{
    if (column.metric >= names->metric_count) {
        return false;
    }
    const bb_fingerprint_name_t *battery = &names->battery;
    const bb_fingerprint_name_t *metric = &names->metrics[column.metric];
    uint64_t left = battery->a ^ metric->a ^ revision;
    uint64_t right = battery->b ^ metric->b ^ (uint64_t)column.type;
    keys->a = s_fold(left, right);
    keys->b = s_fold(left ^ metric->b, right ^ battery->a);
    return true;
}

static inline void s_add(bb_fingerprint_t *sum, const s_keys_t *keys, int64_t time_wall_ns,
                         uint64_t word)
{
    unsigned __int128 first =
        (unsigned __int128)((uint64_t)time_wall_ns ^ keys->a) * (word ^ keys->b);
    uint64_t low = (uint64_t)first;
    uint64_t high = (uint64_t)(first >> 64);
    sum->low += low ^ high;
    sum->high += s_fold(low ^ keys->b, high ^ keys->a);
}

// A state stands for its text, not for an address.
static uint64_t s_text_word(const bb_fingerprint_names_t *names, uint64_t bits)
{
    const bb_text_t *text = bb_text_of_bits(bits);
    uint8_t hash[crypto_shorthash_siphashx24_BYTES];
    uint64_t word;
    crypto_shorthash_siphashx24(hash, (const uint8_t *)text->bytes, text->length, names->key);
    memcpy(&word, hash, sizeof word);
    return word;
}

// One column of a block.
typedef struct {
    bb_type_t type;
    const int64_t *times_wall_ns;
    const uint64_t *values, *presence; // NULL: all rows have a value
} s_cells_t;

static void s_add_rows(bb_fingerprint_t *sum, const bb_fingerprint_names_t *names,
                       const s_keys_t *keys, const s_cells_t *cells, uint32_t first, uint32_t count)
{
    bool is_state = cells->type == BB_TYPE_STATE;
    uint64_t state = 0; // its bits, and the word that it stands for: most rows repeat
    uint64_t word = 0;
    for (uint32_t row = first; row < first + count; row++) {
        if (cells->presence && !(cells->presence[row / 64] >> (row % 64) & 1)) {
            continue;
        }
        uint64_t bits = cells->values[row];
        if (!is_state) {
            word = bits;
        } else if (bits != state) {
            state = bits;
            word = s_text_word(names, bits);
        }
        s_add(sum, keys, cells->times_wall_ns[row], word);
    }
}

bb_error_t bb_fingerprint_add_input(bb_fingerprint_t *self, const bb_fingerprint_names_t *names,
                                    const bb_run_input_t *input)
{
    for (uint32_t i = 0; i < input->column_count; i++) {
        const bb_run_column_t *column = &input->columns[i];
        s_keys_t keys;
        if (!s_column_keys(names, (bb_run_column_info_t){column->metric, column->type},
                           input->revision, &keys)) {
            return BB_ERR_CORRUPT;
        }
        s_cells_t cells = {column->type, input->times_wall_ns, column->values, column->presence};
        s_add_rows(self, names, &keys, &cells, 0, input->row_count);
    }
    return BB_OK;
}

bb_error_t bb_fingerprint_add_run(bb_fingerprint_t *self, const bb_fingerprint_names_t *names,
                                  const bb_run_t *run)
{
    bb_fingerprint_t sum = {0};
    for (uint32_t block = 0; block < run->block_count; block++) {
        int64_t times[BB_BLOCK_ROWS_MAX];
        bb_error_t error = bb_run_block_times(run, block, times);
        for (uint32_t i = 0; error == BB_OK && i < run->column_count; i++) {
            uint64_t values[BB_BLOCK_ROWS_MAX];
            uint64_t presence[BB_PRESENCE_WORDS];
            bool all_present;
            s_keys_t keys;
            bb_run_column_info_t column = bb_run_column(run, i);
            if (!s_column_keys(names, column, run->revision, &keys)) {
                return BB_ERR_CORRUPT;
            }
            error = bb_run_block_values(run, i, block, values, presence, &all_present);
            if (error == BB_OK) {
                s_cells_t cells = {column.type, times, values, all_present ? NULL : presence};
                s_add_rows(&sum, names, &keys, &cells, 0, bb_run_block_rows(run, block));
            }
        }
        if (error != BB_OK) {
            return error;
        }
    }
    self->low += sum.low;
    self->high += sum.high;
    return BB_OK;
}

bb_error_t bb_fingerprint_add_shared(bb_fingerprint_t *self, const bb_fingerprint_names_t *names,
                                     const bb_fingerprint_name_t *batteries,
                                     bb_shared_run_t *shared)
{
    const bb_run_t *run = bb_shared_run_whole(shared);
    const uint32_t *members;
    size_t listed_count;
    const bb_shared_stretch_t *listed = bb_shared_run_listed(shared, &members, &listed_count);
    bb_fingerprint_names_t of_member = *names;
    bb_fingerprint_t sum = {0};
    for (size_t at = 0, end; at < listed_count; at = end) {
        uint32_t block = listed[at].block;
        for (end = at; end < listed_count && listed[end].block == block;) {
            end++;
        }
        for (uint32_t c = 0; c < run->column_count; c++) {
            bb_run_column_info_t column = bb_run_column(run, c);
            s_cells_t cells = {.type = column.type,
                               .times_wall_ns = bb_shared_run_block_times(shared, block)};
            bb_error_t error =
                bb_shared_run_block_values(shared, c, block, &cells.values, &cells.presence);
            for (size_t i = at; error == BB_OK && i < end; i++) {
                s_keys_t keys;
                of_member.battery = batteries[members[i]];
                if (!s_column_keys(&of_member, column, run->revision, &keys)) {
                    return BB_ERR_CORRUPT;
                }
                s_add_rows(&sum, names, &keys, &cells, listed[i].first, listed[i].rows);
            }
            if (error != BB_OK) {
                return error;
            }
        }
    }
    self->low += sum.low;
    self->high += sum.high;
    return BB_OK;
}
