// SPDX-License-Identifier: Apache-2.0
// Keys: Z85 against the vector of its RFC, key files there and back, every malformed file refused
// with its line, permissions.
#include "protocol/bb_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

// The CURVE pair of ZeroMQ's own documentation (zmq_curve, "client key"), so that both texts and
// their belonging together come from elsewhere.
#define S_PUBLIC "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
#define S_SECRET "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"

static char s_folder[] = "/tmp/busbar-keys-XXXXXX";

static int s_setup(void **state)
{
    (void)state;
    return mkdtemp(s_folder) ? 0 : -1;
}

static int s_teardown(void **state)
{
    (void)state;
    return rmdir(s_folder); // fails when a test left something
}

static const char *s_path(void)
{
    static char path[sizeof s_folder + 16];
    snprintf(path, sizeof path, "%s/a.key", s_folder);
    return path;
}

static void s_put(const char *text, mode_t mode)
{
    FILE *file = fopen(s_path(), "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(s_path(), mode), 0);
}

// Goal: Z85 as in ZeroMQ RFC 32: 86 4F D2 6F B5 59 F7 5B is "HelloWorld".
static void z85_vector_of_the_rfc(void **state)
{
    (void)state;
    const uint8_t bytes[8] = {0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b};
    char text[11];
    bb_z85_encode(bytes, sizeof bytes, text);
    assert_string_equal(text, "HelloWorld");
    uint8_t back[8];
    assert_true(bb_z85_decode("HelloWorld", 10, back));
    assert_memory_equal(back, bytes, 8);
    const uint8_t ends[8] = {0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
    bb_z85_encode(ends, sizeof ends, text);
    assert_true(bb_z85_decode(text, 10, back));
    assert_memory_equal(back, ends, 8);
    assert_memory_equal(text, "00000", 5);
}

static void z85_decode_refuses(void **state)
{
    (void)state;
    uint8_t back[8];
    const char *bad[] = {"Hell",  "HelloW",   "Hell\"", "Hel o", "Hell\\",
                         "Hell~", "Hell\xc3", "#####"}; // the last is 85^5 - 1 > 2^32 - 1
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        assert_false(bb_z85_decode(bad[i], strlen(bad[i]), back));
    }
    assert_false(bb_z85_decode("Hel\0o", 5, back));
    assert_true(bb_z85_decode("%nSc0", 5, back)); // 2^32 - 1
    assert_memory_equal(back, "\xff\xff\xff\xff", 4);
}

// Goal: the pairs are Curve25519 as ZeroMQ uses it.
static void curve_pair_of_the_manual(void **state)
{
    (void)state;
    bb_curve_pair_t pair;
    assert_true(bb_z85_decode(S_PUBLIC, 40, pair.public_key));
    assert_true(bb_z85_decode(S_SECRET, 40, pair.secret_key));
    assert_true(bb_curve_pair_is_consistent(&pair));
    pair.public_key[7] ^= 1;
    assert_false(bb_curve_pair_is_consistent(&pair));
    bb_curve_pair_t one;
    bb_curve_pair_t two;
    assert_int_equal(bb_curve_pair_generate(&one), BB_OK);
    assert_int_equal(bb_curve_pair_generate(&two), BB_OK);
    assert_true(bb_curve_pair_is_consistent(&one));
    assert_memory_not_equal(&one, &two, sizeof one);
    bb_keys_wipe(&one, sizeof one);
    const bb_curve_pair_t zero = {{0}, {0}};
    assert_memory_equal(&one, &zero, sizeof one);
}

// Goal: a file reads back; it is private; it is never overwritten.
static void key_file_round_trip(void **state)
{
    (void)state;
    bb_curve_pair_t pair;
    bb_curve_pair_t back;
    char name[BB_KEY_NAME_BYTES_MAX + 1];
    bb_fault_t fault;
    assert_int_equal(bb_curve_pair_generate(&pair), BB_OK);
    assert_int_equal(bb_curve_pair_write(s_path(), "node:n1", &pair, &fault), BB_OK);
    struct stat info;
    assert_int_equal(stat(s_path(), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    assert_int_equal(bb_curve_pair_read(s_path(), &back, name, &fault), BB_OK);
    assert_memory_equal(&pair, &back, sizeof pair);
    assert_string_equal(name, "node:n1");
    assert_int_equal(bb_curve_pair_write(s_path(), "node:n1", &pair, &fault), BB_ERR_EXISTS);
    bb_sign_pair_t sign;
    assert_int_equal(bb_sign_pair_read(s_path(), &sign, NULL, &fault), BB_ERR_KEY); // wrong kind
    unlink(s_path());
    assert_int_equal(bb_sign_pair_generate(&sign), BB_OK);
    assert_int_equal(bb_sign_pair_write(s_path(), "cluster:demo", &sign, &fault), BB_OK);
    bb_sign_pair_t sign_back;
    assert_int_equal(bb_sign_pair_read(s_path(), &sign_back, name, &fault), BB_OK);
    assert_memory_equal(&sign, &sign_back, sizeof sign);
    unlink(s_path());
}

// Goal: a key that others can read is no secret.
static void key_file_permissions(void **state)
{
    (void)state;
    const char *good = "kind: \"curve\"\nname: \"x\"\npublic_key: \"" S_PUBLIC
                       "\"\nsecret_key: \"" S_SECRET "\"\n";
    bb_curve_pair_t pair;
    bb_fault_t fault;
    const mode_t open_modes[] = {0640, 0604, 0660, 0644, 0610, 0602};
    for (size_t i = 0; i < BB_COUNT_OF(open_modes); i++) {
        s_put(good, open_modes[i]);
        assert_int_equal(bb_curve_pair_read(s_path(), &pair, NULL, &fault), BB_ERR_PERMISSION);
        assert_non_null(strstr(fault.text, s_path()));
        assert_int_equal(bb_secret_file_check(s_path(), &fault), BB_ERR_PERMISSION);
    }
    s_put(good, 0400);
    assert_int_equal(bb_curve_pair_read(s_path(), &pair, NULL, &fault), BB_OK);
    assert_int_equal(bb_secret_file_check(s_path(), &fault), BB_OK);
    unlink(s_path());
    assert_int_equal(bb_curve_pair_read(s_path(), &pair, NULL, &fault), BB_ERR_NOT_FOUND);
    assert_int_equal(bb_curve_pair_read(s_folder, &pair, NULL, &fault), BB_ERR_PERMISSION);
}

// Goal: every malformed file is refused with file and line, and leaves no half key behind.
static void key_file_malformed(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int line;
    } bad[] = {
        {"", 1},
        {"kind: \"curve\"\n", 1},
        {"kind: \"curve\"\nname: \"x\"\npublic_key: \"" S_PUBLIC "\"\n", 3},
        {"kind: curve\n", 1},
        {"kind:\"curve\"\n", 1},
        {"kind: \"curve\n", 1},
        {"kind: \"curve\" x\n", 1},
        {"# c\nkind: \"curve\"\ncolour: \"red\"\n", 3},
        {"kind: \"curve\"\nkind: \"curve\"\n", 2},
        {"no colon here\n", 1},
        {"kind: \"rsa\"\nname: \"x\"\npublic_key: \"" S_PUBLIC "\"\nsecret_key: \"" S_SECRET "\"",
         1},
        {"kind: \"curve\"\nname: \"x\"\npublic_key: \"short\"\nsecret_key: \"" S_SECRET "\"\n", 3},
        {"kind: \"curve\"\nname: \"x\"\npublic_key: \"" S_PUBLIC "\"\nsecret_key: \"" S_PUBLIC
         "~\"\n",
         4},
        {"kind: \"curve\"\nname: \"x\"\npublic_key: \"" S_PUBLIC
         "\"\nsecret_key: \"~:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs\"\n",
         4},
        {"kind: \"curve\"\nname: \"x\"\npublic_key: \"" S_SECRET "\"\nsecret_key: \"" S_SECRET
         "\"\n",
         1}, // they do not belong together
    };
    const bb_curve_pair_t zero = {{0}, {0}};
    for (size_t i = 0; i < BB_COUNT_OF(bad); i++) {
        s_put(bad[i].text, 0600);
        bb_curve_pair_t pair;
        memset(&pair, 0x55, sizeof pair);
        bb_fault_t fault = {0};
        char where[64];
        snprintf(where, sizeof where, "%s:%d: ", s_path(), bad[i].line);
        bb_error_t error = bb_curve_pair_read(s_path(), &pair, NULL, &fault);
        if (error != BB_ERR_KEY || strncmp(fault.text, where, strlen(where)) != 0) {
            fail_msg("case %zu: %s: %s", i, bb_error_name(error), fault.text);
        }
        assert_memory_equal(&pair, &zero, sizeof pair);
    }
    char large[8192];
    memset(large, '#', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    s_put(large, 0600);
    bb_curve_pair_t pair;
    assert_int_equal(bb_curve_pair_read(s_path(), &pair, NULL, NULL), BB_ERR_KEY);
    unlink(s_path());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(z85_vector_of_the_rfc),    cmocka_unit_test(z85_decode_refuses),
        cmocka_unit_test(curve_pair_of_the_manual), cmocka_unit_test(key_file_round_trip),
        cmocka_unit_test(key_file_permissions),     cmocka_unit_test(key_file_malformed),
    };
    return cmocka_run_group_tests_name("bb_keys", tests, s_setup, s_teardown);
}
