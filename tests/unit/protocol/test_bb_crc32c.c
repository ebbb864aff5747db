// SPDX-License-Identifier: Apache-2.0
// CRC-32C against the published vectors and against the definition, bit by bit: every length around
// the lane and word boundaries, every alignment, any split. Both implementations.
#include "protocol/bb_crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#define S_BYTES (4 * 3072 + 64)

// The definition: reflected polynomial 0x82F63B78, initial value and final inversion all ones.
static uint32_t s_bitwise(uint32_t crc, const uint8_t *data, size_t length)
{
    crc = ~crc;
    for (size_t i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
        }
    }
    return ~crc;
}

static uint8_t *s_random_bytes(void)
{
    uint8_t *bytes = malloc(S_BYTES);
    uint64_t state = 7;
    for (size_t i = 0; i < S_BYTES; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        bytes[i] = (uint8_t)(state >> 56);
    }
    return bytes;
}

static void s_expect(const void *data, size_t length, uint32_t expected)
{
    assert_int_equal(bb_crc32c(0, data, length), expected);
    assert_int_equal(bb_crc32c_portable(0, data, length), expected);
    assert_int_equal(s_bitwise(0, data, length), expected);
}

// Goal: the vectors of RFC 3720 appendix B.4 and of the CRC catalogue.
static void test_published_vectors(void **state)
{
    (void)state;
    uint8_t bytes[32];
    s_expect("", 0, 0);
    s_expect("123456789", 9, 0xe3069283);
    memset(bytes, 0, sizeof bytes);
    s_expect(bytes, sizeof bytes, 0x8a9136aa);
    memset(bytes, 0xff, sizeof bytes);
    s_expect(bytes, sizeof bytes, 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++) {
        bytes[i] = i;
    }
    s_expect(bytes, sizeof bytes, 0x46dd794e);
    for (uint8_t i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)(31 - i);
    }
    s_expect(bytes, sizeof bytes, 0x113fdb5c);
    // An iSCSI SCSI Read (10) command PDU.
    static const uint8_t pdu[48] = {0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0,    0, 0, 0, 0,
                                    0x14, 0,    0, 0, 0, 0, 4, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
                                    0x28, 0,    0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0,    0, 0, 0, 0};
    s_expect(pdu, sizeof pdu, 0xd9963a56);
}

// Goal: each length from nothing past two rounds of three lanes, at changing alignment, equals the
// definition. Method: the definition is computed once, a byte at a time, and compared on the way.
static void test_every_length_and_alignment(void **state)
{
    (void)state;
    uint8_t *bytes = s_random_bytes();
    for (size_t start = 0; start < 9; start++) {
        uint32_t expected = 0;
        for (size_t length = 0; length < 2 * 1536 + 200; length++) {
            assert_int_equal(bb_crc32c(0, bytes + start, length), expected);
            assert_int_equal(bb_crc32c_portable(0, bytes + start, length), expected);
            expected = s_bitwise(expected, bytes + start + length, 1);
        }
    }
    free(bytes);
}

// Goal: pieces fed in order give the CRC of the whole, wherever the cut is.
static void test_pieces_join(void **state)
{
    (void)state;
    uint8_t *bytes = s_random_bytes();
    uint32_t whole = s_bitwise(0, bytes, S_BYTES);
    for (size_t cut = 0; cut <= S_BYTES; cut += 97) {
        assert_int_equal(bb_crc32c(bb_crc32c(0, bytes, cut), bytes + cut, S_BYTES - cut), whole);
        assert_int_equal(bb_crc32c_portable(bb_crc32c(0, bytes, cut), bytes + cut, S_BYTES - cut),
                         whole);
    }
    free(bytes);
}

// Goal: one flipped bit is always seen (a CRC detects every burst up to 32 bits).
static void test_a_flipped_bit_is_seen(void **state)
{
    (void)state;
    uint8_t *bytes = s_random_bytes();
    uint32_t whole = bb_crc32c(0, bytes, S_BYTES);
    for (size_t bit = 0; bit < 8 * S_BYTES; bit += 101) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(bb_crc32c(0, bytes, S_BYTES), whole);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_vectors),
        cmocka_unit_test(test_every_length_and_alignment),
        cmocka_unit_test(test_pieces_join),
        cmocka_unit_test(test_a_flipped_bit_is_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
