// SPDX-License-Identifier: Apache-2.0
// Small files are there completely or not at all, with the right mode, and faults name them.
#include "protocol/bb_whole_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

typedef struct {
    char folder[64], path[128], fresh[160];
} s_place_t;

static void s_begin(s_place_t *self)
{
    snprintf(self->folder, sizeof self->folder, "/tmp/busbar-file-XXXXXX");
    assert_non_null(mkdtemp(self->folder));
    snprintf(self->path, sizeof self->path, "%s/a", self->folder);
    snprintf(self->fresh, sizeof self->fresh, "%s/a.new", self->folder);
}

static void s_end(const s_place_t *self)
{
    (void)unlink(self->path);
    (void)unlink(self->fresh);
    assert_int_equal(rmdir(self->folder), 0); // nothing else was left
}

static void s_expect(const s_place_t *self, const char *content, unsigned mode)
{
    char text[64] = "";
    FILE *file = fopen(self->path, "r");
    assert_non_null(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    assert_int_equal(length, strlen(content));
    assert_string_equal(text, content);
    struct stat info;
    assert_int_equal(stat(self->path, &info), 0);
    assert_int_equal(info.st_mode & 07777, mode);
}

// Goal: a new file has its content and mode 0600 whatever the umask; one that is there is not
// touched, not even through a link.
static void create_makes_new_files_only(void **state)
{
    (void)state;
    s_place_t place = {.folder = ""};
    bb_fault_t fault = {0};
    s_begin(&place);
    mode_t before = umask(0);
    assert_int_equal(bb_whole_file_create("key file", place.path, "one", 3, &fault), BB_OK);
    umask(before);
    s_expect(&place, "one", 0600);
    assert_int_equal(bb_whole_file_create("key file", place.path, "two", 3, &fault), BB_ERR_EXISTS);
    assert_non_null(strstr(fault.text, "key file"));
    assert_non_null(strstr(fault.text, place.path));
    s_expect(&place, "one", 0600);
    assert_int_equal(symlink(place.path, place.fresh), 0);
    assert_int_equal(bb_whole_file_create("key file", place.fresh, "two", 3, NULL), BB_ERR_EXISTS);
    s_expect(&place, "one", 0600);
    s_end(&place);
}

// Goal: another content keeps the mode; a remainder of an attempt before does no harm.
static void replace_keeps_the_mode(void **state)
{
    (void)state;
    s_place_t place = {.folder = ""};
    bb_fault_t fault = {0};
    s_begin(&place);
    assert_int_equal(bb_whole_file_replace("file", place.path, "x", 1, &fault), BB_ERR_NOT_FOUND);
    assert_int_equal(bb_whole_file_create("file", place.path, "a long one", 10, NULL), BB_OK);
    assert_int_equal(chmod(place.path, 0640), 0);
    assert_int_equal(bb_whole_file_create("file", place.fresh, "half of somethi", 15, NULL), BB_OK);
    assert_int_equal(bb_whole_file_replace("file", place.path, "short", 5, &fault), BB_OK);
    s_expect(&place, "short", 0640);
    assert_int_equal(bb_whole_file_replace("file", place.path, "", 0, &fault), BB_OK);
    s_expect(&place, "", 0640);
    s_end(&place);
}

// Goal: what cannot be written leaves the old file and no other. Method: a folder where the new
// file would be, and the device that is always full.
static void failures_leave_what_was_there(void **state)
{
    (void)state;
    s_place_t place = {.folder = ""};
    bb_fault_t fault = {0};
    s_begin(&place);
    assert_int_equal(bb_whole_file_create("file", place.path, "old", 3, NULL), BB_OK);
    assert_int_equal(mkdir(place.fresh, 0700), 0);
    assert_int_equal(bb_whole_file_replace("file", place.path, "new", 3, &fault), BB_ERR_IO);
    assert_non_null(strstr(fault.text, place.fresh));
    s_expect(&place, "old", 0600);
    assert_int_equal(rmdir(place.fresh), 0);
    char *long_path = malloc(BB_WHOLE_FILE_PATH_BYTES_MAX + 2);
    memset(long_path, 'a', BB_WHOLE_FILE_PATH_BYTES_MAX + 1);
    long_path[BB_WHOLE_FILE_PATH_BYTES_MAX + 1] = 0;
    assert_int_equal(bb_whole_file_replace("file", long_path, "new", 3, &fault), BB_ERR_IO);
    free(long_path);
    s_end(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_makes_new_files_only),
        cmocka_unit_test(replace_keeps_the_mode),
        cmocka_unit_test(failures_leave_what_was_there),
    };
    return cmocka_run_group_tests_name("bb_whole_file", tests, NULL, NULL);
}
