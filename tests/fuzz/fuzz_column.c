// SPDX-License-Identifier: Apache-2.0
// fuzz_column - any bytes as a packed column, and any words through the encoder.
//
// Input: u8 choice (bit 0: encode; bit 1: float64), u16 count, u16 first of a range, then the
// column (decode) or the words (encode). Reading ends without an access outside of the column, a
// range holds what the whole does, and what is encoded comes back.
#include "protocol/bb_column.h"
#include "tests/fuzz/fuzz_bytes.h"

static void s_read(const bb_column_t *column, uint32_t first, uint64_t *words)
{
    uint64_t *range = bb_alloc((size_t)column->count * sizeof *range);
    bb_column_unpack(column, 0, column->count, words);
    bb_column_unpack(column, first, column->count - first, range);
    BB_ASSERT(memcmp(range, words + first, (size_t)(column->count - first) * 8) == 0);
    free(range);
}

static void s_decode(bool is_float, uint32_t count, uint32_t first, bb_slice_t bytes)
{
    uint8_t *copy = fuzz_copy(bytes.data, bytes.length);
    uint64_t *words = bb_alloc((size_t)count * sizeof *words);
    bb_column_t column;
    bb_fault_t fault;
    size_t used;
    if (bb_column_open(&column, is_float, bb_slice(copy, bytes.length), count, &used, &fault) ==
        BB_OK) {
        BB_ASSERT(used <= bytes.length && used % 8 == 0);
        s_read(&column, first, words);
    }
    free(words);
    free(copy);
}

static void s_encode(bool is_float, uint32_t first, bb_slice_t bytes)
{
    uint32_t count = (uint32_t)(bytes.length / 8);
    if (count == 0) {
        return;
    }
    uint8_t *words = fuzz_copy(bytes.data, (size_t)count * 8);
    uint8_t *out = bb_alloc(bb_column_bytes_max(count));
    size_t length = bb_column_encode(is_float, (const uint64_t *)(void *)words, count, out);
    BB_ASSERT(length <= bb_column_bytes_max(count) && length <= 8 + (size_t)count * 8);
    uint8_t *exact = fuzz_copy(out, length);
    uint64_t *again = bb_alloc((size_t)count * sizeof *again);
    bb_column_t column;
    size_t used;
    bb_error_t error =
        bb_column_open(&column, is_float, bb_slice(exact, length), count, &used, NULL);
    BB_ASSERT(error == BB_OK && used == length);
    s_read(&column, first % count, again);
    BB_ASSERT(memcmp(again, words, (size_t)count * 8) == 0);
    free(again);
    free(exact);
    free(out);
    free(words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_bytes_t bytes = {data, size};
    uint64_t choice = fuzz_take_word(&bytes, 1);
    uint32_t count = 1 + (uint32_t)fuzz_take_word(&bytes, 2);
    uint32_t first = (uint32_t)fuzz_take_word(&bytes, 2);
    if (choice & 1) {
        s_encode(choice & 2, first, fuzz_take(&bytes, bytes.left));
    } else {
        s_decode(choice & 2, count, first % count, fuzz_take(&bytes, bytes.left));
    }
    return 0;
}
