// SPDX-License-Identifier: Apache-2.0
#include "storage/segment/bb_fingerprint.h"

#include <sodium.h>
#include <string.h>

static_assert(crypto_shorthash_siphashx24_KEYBYTES == BB_FINGERPRINT_KEY_BYTES, "the key's size");
static_assert(crypto_shorthash_siphashx24_BYTES == 16, "two words for each column");

// Keys of so many columns are kept from the first block of a run to the next.
#define S_KEYS_KEPT 64u

typedef struct {
    uint64_t a, b;
} s_keys_t;

// length of the id, id, type, revision, name: no two columns have the same message.
static bool s_column_keys(const bb_fingerprint_names_t *names, bb_run_column_info_t column,
                          uint64_t revision, s_keys_t *keys)
{
    uint8_t message[1 + BB_BATTERY_ID_BYTES_MAX + 1 + 8 + BB_METRIC_NAME_BYTES_MAX];
    size_t length = 0;
    if (column.metric >= names->metric_count || names->battery.length > BB_BATTERY_ID_BYTES_MAX ||
        names->metrics[column.metric].length > BB_METRIC_NAME_BYTES_MAX) {
        return false;
    }
    message[length++] = (uint8_t)names->battery.length;
    memcpy(message + length, names->battery.data, names->battery.length);
    length += names->battery.length;
    message[length++] = (uint8_t)column.type;
    memcpy(message + length, &revision, sizeof revision);
    length += sizeof revision;
    bb_slice_t name = names->metrics[column.metric];
    if (name.length > 0) {
        memcpy(message + length, name.data, name.length);
        length += name.length;
    }
    uint8_t hash[crypto_shorthash_siphashx24_BYTES];
    crypto_shorthash_siphashx24(hash, message, length, names->key);
    memcpy(&keys->a, hash, sizeof keys->a);
    memcpy(&keys->b, hash + sizeof keys->a, sizeof keys->b);
    return true;
}

static inline void s_add(bb_fingerprint_t *sum, const s_keys_t *keys, int64_t time_wall_ns,
                         uint64_t word)
{
    unsigned __int128 first =
        (unsigned __int128)((uint64_t)time_wall_ns ^ keys->a) * (word ^ keys->b);
    uint64_t low = (uint64_t)first;
    uint64_t high = (uint64_t)(first >> 64);
    unsigned __int128 second = (unsigned __int128)(low ^ keys->b) * (high ^ keys->a);
    sum->low += low ^ high;
    sum->high += (uint64_t)second ^ (uint64_t)(second >> 64);
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

// presence NULL: all rows have a value.
static void s_add_rows(bb_fingerprint_t *sum, const bb_fingerprint_names_t *names,
                       const s_keys_t *keys, bb_type_t type, const int64_t *times_wall_ns,
                       const uint64_t *values, const uint64_t *presence, uint32_t row_count)
{
    for (uint32_t row = 0; row < row_count; row++) {
        if (!presence || (presence[row / 64] >> (row % 64) & 1)) {
            s_add(sum, keys, times_wall_ns[row],
                  type == BB_TYPE_STATE ? s_text_word(names, values[row]) : values[row]);
        }
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
        s_add_rows(self, names, &keys, column->type, input->times_wall_ns, column->values,
                   column->presence, input->row_count);
    }
    return BB_OK;
}

bb_error_t bb_fingerprint_add_run(bb_fingerprint_t *self, const bb_fingerprint_names_t *names,
                                  const bb_run_t *run)
{
    bb_fingerprint_t sum = {0};
    s_keys_t kept[S_KEYS_KEPT]; // hashing names costs more than a handful of rows does
    for (uint32_t block = 0; block < run->block_count; block++) {
        int64_t times[BB_BLOCK_ROWS_MAX];
        uint32_t rows = bb_run_block_rows(run, block);
        bb_error_t error = bb_run_block_times(run, block, times);
        for (uint32_t i = 0; error == BB_OK && i < run->column_count; i++) {
            uint64_t values[BB_BLOCK_ROWS_MAX];
            uint64_t presence[BB_PRESENCE_WORDS];
            bool all_present;
            s_keys_t spare = {0};
            s_keys_t *keys = i < S_KEYS_KEPT ? &kept[i] : &spare;
            bb_run_column_info_t column = bb_run_column(run, i);
            if ((block == 0 || keys == &spare) &&
                !s_column_keys(names, column, run->revision, keys)) {
                return BB_ERR_CORRUPT;
            }
            error = bb_run_block_values(run, i, block, values, presence, &all_present);
            if (error == BB_OK) {
                s_add_rows(&sum, names, keys, column.type, times, values,
                           all_present ? NULL : presence, rows);
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
