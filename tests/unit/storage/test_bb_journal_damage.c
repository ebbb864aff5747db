// SPDX-License-Identifier: Apache-2.0
// The journal after bad days: tails torn at every byte, bits flipped in every byte, records that
// are sound outside and not inside, crashes and failures at every operation. The rules: never a
// wrong record, every acknowledged record that the disk still has, and nothing lost in silence.
#include "tests/unit/storage/journal_bench.h"

#include "storage/journal/bb_journal_format.h"

// A disk whose journal holds samples [0, 9): file 1 with groups {0}, {1, 2}, {3, 4, 5}; file 2
// with {6}, {7, 8}. Recovery would put new records into file 3.
static bb_sim_disk_t *s_small_journal(s_bench_t *bench)
{
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_journal_t *journal = s_open(bench, disk, 0, NULL);
    uint64_t sealed;
    s_write(bench, journal, 0, 1);
    s_write(bench, journal, 1, 3);
    s_write(bench, journal, 3, 6);
    assert_int_equal(bb_journal_rotate(journal, &sealed), BB_OK);
    s_write(bench, journal, 6, 7);
    s_write(bench, journal, 7, 9);
    bb_journal_close(&journal);
    return disk;
}

static size_t s_record_bytes(const s_bench_t *bench, uint32_t index)
{
    const bb_sample_t *sample = &bench->samples[index];
    return BB_JOURNAL_RECORD_HEADER_BYTES + bb_journal_padded(sample->chunks_encoded.length) +
           bb_journal_padded(sample->batch.encoded.length);
}

// A malloc'd copy of a file's bytes.
static uint8_t *s_copy(bb_sim_disk_t *disk, uint64_t file_seq, size_t *length)
{
    bb_slice_t content = bb_sim_disk_get(disk, s_file_name(file_seq));
    uint8_t *copy = malloc(content.length + 1);
    memcpy(copy, content.data, content.length);
    *length = content.length;
    return copy;
}

// A disk with file 1 as given, or files 1 and 2.
static bb_sim_disk_t *s_disk(const uint8_t *first, size_t first_length, const uint8_t *second,
                             size_t second_length)
{
    bb_sim_disk_t *disk = bb_sim_disk_new();
    bb_sim_disk_put(disk, s_file_name(1), bb_slice(first, first_length));
    if (second) {
        bb_sim_disk_put(disk, s_file_name(2), bb_slice(second, second_length));
    }
    return disk;
}

// Goal: whatever is left of the last record, it is cut, said so, and the rest is whole; the next
// opening finds nothing wrong. Method: the newest file ends at each byte of its last record, once
// with nothing behind and once with zeros up to where it ended.
static void s_test_torn_tails(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = s_small_journal(bench);
    size_t length;
    uint8_t *bytes = s_copy(disk, 2, &length);
    size_t one_length;
    uint8_t *one = s_copy(disk, 1, &one_length);
    bb_sim_disk_destroy(&disk);
    size_t first = length - s_record_bytes(bench, 8);
    uint8_t *torn = malloc(length);
    for (size_t end = first; end < length; end++) {
        for (int zeros = 0; zeros < 2; zeros++) {
            memset(torn, 0, length);
            memcpy(torn, bytes, end);
            if (memcmp(torn, bytes, length) == 0 && zeros) {
                continue; // the padding is zero anyway: nothing is missing
            }
            disk = s_disk(one, one_length, torn, zeros ? length : end);
            bb_journal_report_t report;
            bb_journal_t *journal = s_open(bench, disk, 0, &report);
            s_expect_found(bench, 0, 8);
            assert_int_equal(report.torn_bytes, (zeros ? length : end) - first);
            assert_int_equal(report.damaged_count, 0);
            s_write(bench, journal, 8, 10);
            bb_journal_close(&journal);
            assert_int_equal(bb_sim_disk_get(disk, s_file_name(2)).length, first);
            journal = s_open(bench, disk, 0, &report);
            s_expect_found(bench, 0, 10);
            assert_int_equal(report.torn_bytes + report.damaged_count, 0);
            bb_journal_close(&journal);
            bb_sim_disk_destroy(&disk);
        }
    }
    free(torn);
    free(bytes);
    free(one);
}

// Goal: the same loss at the end of an older file is damage, because that was synced once.
static void s_test_short_older_file(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = s_small_journal(bench);
    size_t lengths[2];
    uint8_t *files[2] = {s_copy(disk, 1, &lengths[0]), s_copy(disk, 2, &lengths[1])};
    bb_sim_disk_destroy(&disk);
    size_t last = s_record_bytes(bench, 5);
    for (size_t cut = 1; cut <= last; cut++) {
        disk = s_disk(files[0], lengths[0] - cut, files[1], lengths[1]);
        bb_journal_report_t report;
        bb_journal_t *journal = s_open(bench, disk, 0, &report);
        assert_int_equal(bench->found_count, 8);
        assert_false(s_was_found(bench, 5));
        assert_true(report.damaged_count >= 1);
        assert_int_equal(report.damaged_bytes, last - cut);
        assert_int_equal(report.torn_bytes, 0);
        assert_non_null(strstr(report.first_damage, "000000000001.journal"));
        bb_journal_close(&journal);
        assert_int_equal(bb_sim_disk_get(disk, s_file_name(1)).length, lengths[0] - cut);
        bb_sim_disk_destroy(&disk);
    }
    free(files[0]);
    free(files[1]);
}

// The record whose bytes cover `offset` of file 1 or 2; 99 for the file header.
static uint32_t s_hit(const s_bench_t *bench, uint64_t file_seq, size_t offset)
{
    size_t end = BB_JOURNAL_FILE_HEADER_BYTES;
    if (offset < end) {
        return 99;
    }
    for (uint32_t i = file_seq == 1 ? 0 : 6;; i++) {
        end += s_record_bytes(bench, i);
        if (offset < end) {
            return i;
        }
    }
}

// Goal: no flipped bit goes unnoticed, delivers a wrong record or costs another record. Method:
// every byte of both files, one bit each time (which one goes round), then a second opening.
static void s_test_flips(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = s_small_journal(bench);
    size_t lengths[2];
    uint8_t *files[2] = {s_copy(disk, 1, &lengths[0]), s_copy(disk, 2, &lengths[1])};
    bb_sim_disk_destroy(&disk);
    for (uint64_t file_seq = 1; file_seq <= 2; file_seq++) {
        for (size_t offset = 0; offset < lengths[file_seq - 1]; offset++) {
            disk = s_disk(files[0], lengths[0], files[1], lengths[1]);
            assert_true(
                bb_sim_disk_flip(disk, s_file_name(file_seq), offset, (uint8_t)(1 << offset % 8)));
            uint32_t hit = s_hit(bench, file_seq, offset);
            for (int opening = 0; opening < 2; opening++) {
                bb_journal_report_t report;
                bb_journal_t *journal = s_open(bench, disk, 0, &report);
                assert_int_equal(bench->found_count, hit == 99 ? 9 : 8);
                assert_true(hit == 99 || !s_was_found(bench, hit));
                bool is_tail = hit == 8;
                if (opening == 0) {
                    assert_int_equal(report.damaged_count > 0, !is_tail);
                    assert_int_equal(report.torn_bytes > 0, is_tail);
                    // Only record 7 lies in the last group with something sound behind it.
                    assert_int_equal(report.unsynced_count, hit == 7);
                } else if (is_tail || hit == 99) {
                    assert_int_equal(report.damaged_count, 0); // cut, or mended
                } else {
                    assert_int_equal(report.damaged_count, 1); // still there, still said
                }
                // Reading skips what recovery reported.
                uint64_t at = 0;
                uint32_t recovered = bench->found_count;
                bench->found_count = 0;
                for (uint64_t seq = 1; seq <= 2; seq++, at = 0) {
                    assert_int_equal(bb_journal_read(journal, seq, &at, s_on_record, bench),
                                     BB_ERR_NOT_FOUND);
                }
                assert_int_equal(bench->found_count, recovered);
                bb_journal_close(&journal);
            }
            bb_sim_disk_destroy(&disk);
        }
    }
    free(files[0]);
    free(files[1]);
}

// Goal: two damaged places are two stretches; their bytes add up; the first is named with offset.
static void s_test_two_stretches(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = s_small_journal(bench);
    size_t second = BB_JOURNAL_FILE_HEADER_BYTES + s_record_bytes(bench, 0);
    size_t fourth = second + s_record_bytes(bench, 1) + s_record_bytes(bench, 2);
    assert_true(bb_sim_disk_flip(disk, s_file_name(1), second + 8, 1));
    assert_true(bb_sim_disk_flip(disk, s_file_name(1), fourth + 50, 1));
    assert_true(bb_sim_disk_flip(disk, s_file_name(1), fourth + s_record_bytes(bench, 3), 1));
    bb_journal_report_t report;
    bb_journal_t *journal = s_open(bench, disk, 0, &report);
    assert_int_equal(report.damaged_count, 2);
    assert_int_equal(report.damaged_bytes, s_record_bytes(bench, 1) + s_record_bytes(bench, 3) +
                                               s_record_bytes(bench, 4));
    assert_int_equal(bench->found_count, 6);
    char expected[64];
    snprintf(expected, sizeof expected, "000000000001.journal, offset %zu: %zu bytes", second,
             s_record_bytes(bench, 1));
    assert_non_null(strstr(report.first_damage, expected));
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

// Goal: a file of which nothing verifies is kept under another name, and its number is not used
// again; what other files hold is used.
static void s_test_set_aside(void **state)
{
    s_bench_t *bench = *state;
    for (uint64_t file_seq = 1; file_seq <= 2; file_seq++) {
        bb_sim_disk_t *disk = s_small_journal(bench);
        size_t length = bb_sim_disk_get(disk, s_file_name(file_seq)).length;
        for (size_t offset = 0; offset < length; offset += 8) {
            assert_true(bb_sim_disk_flip(disk, s_file_name(file_seq), offset, 0xff));
        }
        bb_journal_report_t report;
        bb_journal_t *journal = s_open(bench, disk, 0, &report);
        assert_int_equal(report.damaged_count, 1);
        assert_int_equal(report.damaged_bytes, length);
        s_expect_found(bench, file_seq == 1 ? 6 : 0, file_seq == 1 ? 9 : 6);
        assert_int_equal(bb_journal_file_last(journal), 3);
        bb_journal_close(&journal);
        char aside[96];
        snprintf(aside, sizeof aside, "%s.damaged", s_file_name(file_seq));
        assert_int_equal(bb_sim_disk_get(disk, aside).length, length);
        assert_false(bb_sim_disk_exists(disk, s_file_name(file_seq)));
        // Even when it is all that is left.
        if (file_seq == 2) {
            bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
            assert_int_equal(vfs->remove(vfs, s_file_name(1)), BB_OK);
            assert_int_equal(vfs->remove(vfs, s_file_name(3)), BB_OK);
            journal = s_open(bench, disk, 0, &report);
            assert_int_equal(bb_journal_file_last(journal), 3);
            bb_journal_close(&journal);
        }
        bb_sim_disk_destroy(&disk);
    }
}

// Goal: sectors that come back as zeros, in a new file, the newest or an older one, never give a
// wrong record, and are reported unless nothing was in them but the end of the newest. Method: each
// run of one to four sectors of each file, once.
static void s_test_zeroed_sectors(void **state)
{
    s_bench_t *bench = *state;
    for (uint64_t file_seq = 1; file_seq <= 2; file_seq++) {
        for (size_t sectors = 1; sectors <= 4; sectors++) {
            for (size_t first = 0;; first += 512) {
                bb_sim_disk_t *disk = s_small_journal(bench);
                size_t length;
                uint8_t *bytes = s_copy(disk, file_seq, &length);
                if (first >= length) {
                    free(bytes);
                    bb_sim_disk_destroy(&disk);
                    break;
                }
                memset(bytes + first, 0, BB_MIN(sectors * 512, length - first));
                bb_sim_disk_put(disk, s_file_name(file_seq), bb_slice(bytes, length));
                bb_journal_report_t report;
                bb_journal_t *journal = s_open(bench, disk, 0, &report);
                assert_true(report.damaged_count > 0 || (file_seq == 2 && report.torn_bytes > 0));
                for (uint32_t i = 0; i < 9; i++) { // the other file has lost nothing
                    assert_true(s_was_found(bench, i) || (i < 6) == (file_seq == 1));
                }
                s_write(bench, journal, 9, 12);
                bb_journal_close(&journal);
                journal = s_open(bench, disk, 0, &report);
                for (uint32_t i = 9; i < 12; i++) {
                    assert_true(s_was_found(bench, i));
                }
                bb_journal_close(&journal);
                bb_sim_disk_destroy(&disk);
                free(bytes);
            }
        }
    }
}

// Goal: a file whose making was interrupted is made anew and nothing is called damaged.
static void s_test_unborn_file(void **state)
{
    s_bench_t *bench = *state;
    for (size_t length = 0; length <= BB_JOURNAL_FILE_HEADER_BYTES; length++) {
        bb_sim_disk_t *disk = s_small_journal(bench);
        uint8_t zeros[BB_JOURNAL_FILE_HEADER_BYTES] = {0};
        bb_sim_disk_put(disk, s_file_name(3), bb_slice(zeros, length));
        bb_journal_report_t report;
        bb_journal_t *journal = s_open(bench, disk, 0, &report);
        s_expect_found(bench, 0, 9);
        assert_int_equal(report.damaged_count, 0);
        assert_int_equal(report.torn_bytes, length);
        assert_int_equal(bb_journal_file_last(journal), 4);
        s_write(bench, journal, 9, 12);
        bb_journal_close(&journal);
        journal = s_open(bench, disk, 0, &report);
        s_expect_found(bench, 0, 12);
        assert_int_equal(report.torn_bytes + report.damaged_count, 0);
        bb_journal_close(&journal);
        bb_sim_disk_destroy(&disk);
    }
}

// Goal: when a new file could not be begun (the disk was full), the old one may have been written
// on and torn: its tail is a tail. Method: file 3 with half a header, file 2 without its last byte.
static void s_test_unborn_file_and_torn_tail(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = s_small_journal(bench);
    size_t length;
    uint8_t *bytes = s_copy(disk, 2, &length);
    uint8_t zeros[BB_JOURNAL_FILE_HEADER_BYTES] = {0};
    bb_sim_disk_put(disk, s_file_name(2), bb_slice(bytes, length - 1));
    bb_sim_disk_put(disk, s_file_name(3), bb_slice(zeros, sizeof zeros / 2));
    bb_journal_report_t report;
    bb_journal_t *journal = s_open(bench, disk, 0, &report);
    s_expect_found(bench, 0, 8);
    assert_int_equal(report.damaged_count, 0);
    assert_int_equal(report.torn_bytes, s_record_bytes(bench, 8) - 1 + sizeof zeros / 2);
    s_write(bench, journal, 8, 10);
    bb_journal_close(&journal);
    journal = s_open(bench, disk, 0, &report);
    s_expect_found(bench, 0, 10);
    assert_int_equal(report.torn_bytes + report.damaged_count, 0);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
    free(bytes);
}

// ---- files made by hand ----------------------------------------------------------------------
typedef struct {
    uint8_t bytes[16384];
    size_t length;
} s_hand_t;

static void s_hand_header(s_hand_t *hand, uint64_t base_seq)
{
    memset(hand, 0, sizeof *hand);
    bb_journal_file_header_encode(
        &(bb_journal_file_header_t){.owner = S_OWNER, .file_seq = 1, .base_seq = base_seq},
        hand->bytes);
    hand->length = BB_JOURNAL_FILE_HEADER_BYTES;
}

static void s_hand_record(s_hand_t *hand, uint64_t seq, uint64_t group_seq, bb_slice_t chunks,
                          bb_slice_t batch)
{
    bb_journal_record_header_t header = {.seq = seq,
                                         .group_seq = group_seq,
                                         .chunks_bytes = (uint32_t)chunks.length,
                                         .batch_bytes = (uint32_t)batch.length};
    assert_true(hand->length + bb_journal_record_bytes(&header) <= sizeof hand->bytes);
    uint8_t *at = hand->bytes + hand->length;
    bb_journal_record_header_encode(&header, (bb_journal_place_t){S_OWNER, 1},
                                    bb_journal_payload_checksum(chunks, batch), at);
    memcpy(at + BB_JOURNAL_RECORD_HEADER_BYTES, chunks.data, chunks.length);
    memcpy(at + BB_JOURNAL_RECORD_HEADER_BYTES + bb_journal_padded(chunks.length), batch.data,
           batch.length);
    hand->length += bb_journal_record_bytes(&header);
}

static void s_hand_sample(s_hand_t *hand, const s_bench_t *bench, uint64_t seq, uint32_t index)
{
    s_hand_record(hand, seq, seq, bench->samples[index].chunks_encoded,
                  bench->samples[index].batch.encoded);
}

static bb_journal_report_t s_hand_open(s_bench_t *bench, const s_hand_t *hand)
{
    bb_sim_disk_t *disk = s_disk(hand->bytes, hand->length, NULL, 0);
    bb_journal_report_t report;
    bb_journal_t *journal = s_open(bench, disk, 0, &report);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
    return report;
}

static void s_test_hand_made_is_fine(void **state)
{
    s_bench_t *bench = *state;
    static s_hand_t hand;
    s_hand_header(&hand, 41);
    s_hand_sample(&hand, bench, 41, 0);
    s_hand_sample(&hand, bench, 42, 1);
    bb_journal_report_t report = s_hand_open(bench, &hand);
    s_expect_found(bench, 0, 2);
    assert_int_equal(report.damaged_count + report.torn_bytes, 0);
}

// Goal: a good checksum is not enough; what is inside must verify too.
static void s_test_bad_inside(void **state)
{
    s_bench_t *bench = *state;
    const bb_sample_t *a = &bench->samples[0];
    const bb_sample_t *b = &bench->samples[2]; // three parts where a has one
    bb_slice_t pairs[][2] = {
        {bb_slice("rubbish!", 8), a->batch.encoded},
        {a->chunks_encoded, bb_slice("rubbish!", 8)},
        {a->chunks_encoded, b->batch.encoded}, // each sound, but they do not match
        {b->chunks_encoded, a->batch.encoded},
        {a->chunks_encoded, bb_slice(a->batch.encoded.data, a->batch.encoded.length - 8)},
    };
    for (size_t i = 0; i < BB_COUNT_OF(pairs); i++) {
        static s_hand_t hand;
        s_hand_header(&hand, 1);
        s_hand_sample(&hand, bench, 1, 0);
        size_t before = hand.length;
        s_hand_record(&hand, 2, 2, pairs[i][0], pairs[i][1]);
        size_t bad_bytes = hand.length - before;
        s_hand_sample(&hand, bench, 3, 1);
        bb_journal_report_t report = s_hand_open(bench, &hand);
        s_expect_found(bench, 0, 2);
        assert_int_equal(report.damaged_count, 1);
        assert_int_equal(report.damaged_bytes, bad_bytes);
    }
}

static void s_test_seq_gaps(void **state)
{
    s_bench_t *bench = *state;
    static s_hand_t hand;
    s_hand_header(&hand, 1); // a hole between records
    s_hand_sample(&hand, bench, 1, 0);
    s_hand_sample(&hand, bench, 3, 1);
    bb_journal_report_t report = s_hand_open(bench, &hand);
    s_expect_found(bench, 0, 2);
    assert_int_equal(report.damaged_count, 1);
    assert_int_equal(report.damaged_bytes, 0);
    s_hand_header(&hand, 1); // a hole before the first
    s_hand_sample(&hand, bench, 2, 0);
    report = s_hand_open(bench, &hand);
    s_expect_found(bench, 0, 1);
    assert_int_equal(report.damaged_count, 1);
    s_hand_header(&hand, 1); // a record that was there before
    s_hand_sample(&hand, bench, 1, 0);
    s_hand_sample(&hand, bench, 2, 1);
    size_t old = hand.length;
    s_hand_sample(&hand, bench, 1, 0);
    old = hand.length - old;
    s_hand_sample(&hand, bench, 3, 2);
    report = s_hand_open(bench, &hand);
    s_expect_found(bench, 0, 3);
    assert_int_equal(report.damaged_count, 1);
    assert_int_equal(report.damaged_bytes, old);
}

// Goal: lengths and reserved bytes that no writer makes are refused, each with a good checksum
// where one is possible.
static void s_test_bad_headers(void **state)
{
    (void)state;
    uint8_t bytes[BB_JOURNAL_RECORD_HEADER_BYTES];
    bb_journal_record_header_t good = {
        .seq = 5, .group_seq = 4, .chunks_bytes = 8, .batch_bytes = 16};
    bb_journal_record_header_t read;
    bb_journal_place_t place = {S_OWNER, 1};
    bb_journal_record_header_encode(&good, place, 0, bytes);
    assert_true(bb_journal_record_header_decode(&read, bytes));
    assert_int_equal(read.seq, 5);
    assert_int_equal(read.group_seq, 4);
    assert_int_equal(read.chunks_bytes, 8);
    assert_int_equal(read.batch_bytes, 16);
    bb_journal_record_header_t bad[] = {good, good, good, good, good, good};
    bad[0].group_seq = 6; // after the record itself
    bad[1].group_seq = 0;
    bad[2].chunks_bytes = 0;
    bad[3].batch_bytes = 0;
    bad[4].batch_bytes = UINT32_MAX;
    bad[5].chunks_bytes = BB_JOURNAL_PAYLOAD_BYTES_MAX;
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        bb_journal_record_header_encode(&bad[i], place, 0, bytes);
        assert_false(bb_journal_record_header_decode(&read, bytes));
    }
    bb_journal_record_header_encode(&good, place, 0, bytes);
    bytes[39] = 1; // reserved
    assert_false(bb_journal_record_header_decode(&read, bytes));
    bytes[39] = 0;
    bytes[3] = '2'; // another magic
    assert_false(bb_journal_record_header_decode(&read, bytes));
    // Padding that is not zero, under a checksum that covers it.
    s_hand_t hand = {.length = 0};
    s_hand_record(&hand, 1, 1, bb_slice("abc", 3), bb_slice("12345678", 8));
    bb_journal_record_header_t header;
    assert_true(bb_journal_record_header_decode(&header, hand.bytes));
    assert_true(bb_journal_record_is_valid(&header, place, hand.bytes));
    assert_false(bb_journal_record_is_valid(&header, (bb_journal_place_t){S_OWNER, 2}, hand.bytes));
    assert_false(bb_journal_record_is_valid(&header, (bb_journal_place_t){1, 1}, hand.bytes));
    uint8_t *payload = hand.bytes + BB_JOURNAL_RECORD_HEADER_BYTES;
    payload[7] = 1;
    uint32_t checksum = bb_journal_payload_checksum(bb_slice(payload, 8), bb_slice(payload + 8, 8));
    bb_journal_record_header_encode(&header, place, checksum, hand.bytes);
    assert_true(bb_journal_record_header_decode(&header, hand.bytes));
    assert_false(bb_journal_record_is_valid(&header, place, hand.bytes));
}

// Goal: what rots after recovery is not handed out, said once, and the rest can still be read.
static void s_test_rot_while_open(void **state)
{
    s_bench_t *bench = *state;
    bb_sim_disk_t *disk = s_small_journal(bench);
    bb_journal_t *journal = s_open(bench, disk, 0, NULL);
    size_t second = BB_JOURNAL_FILE_HEADER_BYTES + s_record_bytes(bench, 0);
    assert_true(bb_sim_disk_flip(disk, s_file_name(1), second + 77, 4));
    uint64_t offset = 0;
    bench->found_count = 0;
    assert_int_equal(bb_journal_read(journal, 1, &offset, s_on_record, bench), BB_ERR_CORRUPT);
    s_expect_found(bench, 0, 1);
    bench->found_count = 0;
    assert_int_equal(bb_journal_read(journal, 1, &offset, s_on_record, bench), BB_ERR_NOT_FOUND);
    s_expect_found(bench, 2, 6);
    // The whole file vanished.
    bb_journal_close(&journal);
    journal = s_open(bench, disk, 0, NULL);
    bb_vfs_t *vfs = bb_sim_disk_vfs(disk);
    assert_int_equal(vfs->remove(vfs, s_file_name(2)), BB_OK);
    offset = 0;
    assert_int_equal(bb_journal_read(journal, 2, &offset, s_on_record, bench), BB_ERR_CORRUPT);
    assert_int_equal(bb_journal_read(journal, 1, &(uint64_t){0}, s_on_record, bench),
                     BB_ERR_NOT_FOUND);
    bb_journal_close(&journal);
    bb_sim_disk_destroy(&disk);
}

// ---- every failure ---------------------------------------------------------------------------
// Writes samples in groups with rotations until something fails or all are in; returns how many
// were acknowledged. Files are small, so that new ones begin all the time.
static uint32_t s_work(s_bench_t *bench, bb_journal_t *journal, uint32_t *staged)
{
    uint32_t acked = 0;
    *staged = 0;
    while (acked < 24) {
        uint32_t size = 1 + acked % 3;
        for (uint32_t i = 0; i < size; i++) {
            if (s_append(bench, journal, acked + i) != BB_OK) {
                return acked;
            }
            *staged = acked + i + 1;
        }
        if (bb_journal_sync(journal) != BB_OK) {
            return acked;
        }
        acked += size;
        uint64_t sealed;
        if (acked % 5 == 0 && bb_journal_rotate(journal, &sealed) != BB_OK) {
            return acked;
        }
    }
    return acked;
}

static void s_check_recovered(s_bench_t *bench, bb_sim_disk_t *disk, uint32_t acked,
                              uint32_t staged)
{
    for (int opening = 0; opening < 2; opening++) {
        bb_journal_report_t report;
        bb_journal_t *journal = s_open(bench, disk, 3000, &report);
        for (uint32_t i = 0; i < acked; i++) {
            assert_true(s_was_found(bench, i));
        }
        for (uint32_t i = 0; i < bench->found_count; i++) {
            assert_in_range(bench->found[i], 0, staged - 1);
            assert_true(i == 0 || bench->found[i] > bench->found[i - 1]); // in order, none twice
        }
        // A crash damages nothing that was synced.
        assert_int_equal(report.damaged_count, report.unsynced_count);
        bb_journal_close(&journal);
    }
}

// Goal: power loss at any operation, with any part of the unsynced bytes kept, loses no
// acknowledged record and damages none. Method: halt at the nth operation for every n, three seeds.
static void s_test_crash_everywhere(void **state)
{
    s_bench_t *bench = *state;
    bool finished = false;
    for (uint64_t n = 1; !finished; n++) {
        for (uint64_t seed = 0; seed < 8; seed++) {
            bb_random_t random = bb_random_seed(n * 1000 + seed);
            bb_sim_disk_t *disk = bb_sim_disk_new();
            bb_sim_disk_halt_at(disk, n);
            bb_journal_t *journal = NULL;
            bb_journal_report_t report;
            uint32_t acked = 0;
            uint32_t staged = 0;
            if (s_try_open(bench, disk, 3000, &report, &journal, NULL) == BB_OK) {
                acked = s_work(bench, journal, &staged);
            }
            finished = !bb_sim_disk_is_halted(disk);
            bb_journal_close(&journal);
            bb_sim_disk_crash(disk, &random);
            s_check_recovered(bench, disk, acked, staged);
            bb_sim_disk_destroy(&disk);
        }
        assert_in_range(n, 1, 1000);
    }
}

// Goal: a crash during recovery changes nothing about that. Method: a torn journal, then recovery
// halted at every operation and crashed.
static void s_test_crash_in_recovery(void **state)
{
    s_bench_t *bench = *state;
    bool finished = false;
    for (uint64_t n = 1; !finished; n++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            bb_random_t random = bb_random_seed(n * 1000 + seed);
            bb_sim_disk_t *disk = bb_sim_disk_new();
            bb_journal_t *journal = s_open(bench, disk, 3000, NULL);
            s_write(bench, journal, 0, 7);
            s_write(bench, journal, 7, 11);
            assert_int_equal(s_append(bench, journal, 11), BB_OK);
            assert_int_equal(s_append(bench, journal, 12), BB_OK);
            bb_sim_disk_fail(disk, BB_SIM_SYNC, 1, BB_ERR_IO);
            assert_int_not_equal(bb_journal_sync(journal), BB_OK);
            bb_journal_close(&journal);
            bb_sim_disk_crash(disk, &random);
            bb_sim_disk_halt_at(disk, n);
            bb_journal_report_t report;
            bb_error_t error = s_try_open(bench, disk, 3000, &report, &journal, NULL);
            finished = error == BB_OK;
            bb_journal_close(&journal);
            bb_sim_disk_crash(disk, &random);
            s_check_recovered(bench, disk, 11, 13);
            bb_sim_disk_destroy(&disk);
        }
        assert_in_range(n, 1, 1000);
    }
}

// Goal: any single operation may fail with EIO or a full disk; nothing acknowledged is lost, then
// or after a crash. Method: the nth operation for every n, both errors.
static void s_test_failure_everywhere(void **state)
{
    s_bench_t *bench = *state;
    const bb_error_t errors[] = {BB_ERR_IO, BB_ERR_DISK_FULL};
    for (size_t i = 0; i < BB_COUNT_OF(errors); i++) {
        uint64_t total = 0; // n = 0: nothing fails, which says how many operations there are
        for (uint64_t n = 0; n <= total; n++) {
            bb_random_t random = bb_random_seed(n);
            bb_sim_disk_t *disk = bb_sim_disk_new();
            bb_sim_disk_fail(disk, BB_SIM_ANY, n, errors[i]);
            bb_journal_t *journal = NULL;
            bb_journal_report_t report;
            uint32_t acked = 0;
            uint32_t staged = 0;
            bb_fault_t fault = {0};
            bb_error_t error = s_try_open(bench, disk, 3000, &report, &journal, &fault);
            if (error == BB_OK) {
                acked = s_work(bench, journal, &staged);
            } else {
                assert_int_equal(error, errors[i]);
                assert_true(strlen(fault.text) > 0);
            }
            total = BB_MAX(total, bb_sim_disk_op_count(disk, BB_SIM_ANY));
            bb_journal_close(&journal);
            bb_sim_disk_fail(disk, BB_SIM_ANY, 0, BB_OK); // it may not have come to it
            if (n % 2 == 0) {
                bb_sim_disk_crash(disk, &random);
            }
            s_check_recovered(bench, disk, acked, staged);
            bb_sim_disk_destroy(&disk);
        }
        assert_true(total > 30);
    }
}

#define S_TEST(test) cmocka_unit_test_setup_teardown(test, s_bench_setup, s_bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        S_TEST(s_test_torn_tails),
        S_TEST(s_test_short_older_file),
        S_TEST(s_test_flips),
        S_TEST(s_test_two_stretches),
        S_TEST(s_test_set_aside),
        S_TEST(s_test_zeroed_sectors),
        S_TEST(s_test_unborn_file),
        S_TEST(s_test_unborn_file_and_torn_tail),
        S_TEST(s_test_hand_made_is_fine),
        S_TEST(s_test_bad_inside),
        S_TEST(s_test_seq_gaps),
        S_TEST(s_test_bad_headers),
        S_TEST(s_test_rot_while_open),
        S_TEST(s_test_crash_everywhere),
        S_TEST(s_test_crash_in_recovery),
        S_TEST(s_test_failure_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
