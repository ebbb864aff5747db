// SPDX-License-Identifier: Apache-2.0
// The contract of bb_file.h, held against the machine's file system and against the simulated
// disk: whatever a store relies on must be the same on both. Then what only real processes show.
#include "storage/vfs/bb_file.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
// cmocka comes last: it needs the headers above.
#include <cmocka.h>

#include "tests/support/bb_sim_disk.h"

typedef struct {
    bb_vfs_t *vfs;
    bb_sim_disk_t *disk; // NULL on the machine's file system
    char root[64];
    char path[256];
} s_place_t;

static int s_setup_posix(void **state)
{
    s_place_t *place = calloc(1, sizeof *place);
    place->vfs = bb_vfs_posix();
    snprintf(place->root, sizeof place->root, "/tmp/test_bb_file.XXXXXX");
    *state = place;
    return mkdtemp(place->root) ? 0 : -1;
}

static int s_setup_sim(void **state)
{
    s_place_t *place = calloc(1, sizeof *place);
    place->disk = bb_sim_disk_new();
    place->vfs = bb_sim_disk_vfs(place->disk);
    snprintf(place->root, sizeof place->root, "/root");
    *state = place;
    return place->vfs->make_directory(place->vfs, place->root) == BB_OK ? 0 : -1;
}

static int s_teardown(void **state)
{
    s_place_t *place = *state;
    bb_error_t error = place->vfs->remove_tree(place->vfs, place->root);
    bb_sim_disk_destroy(&place->disk);
    free(place);
    return error == BB_OK ? 0 : -1;
}

static const char *s_at(s_place_t *place, const char *name)
{
    snprintf(place->path, sizeof place->path, "%s/%s", place->root, name);
    return place->path;
}

static bb_file_t *s_open(s_place_t *place, const char *name, uint32_t mode)
{
    bb_file_t *file = NULL;
    bb_fault_t fault = {0};
    bb_error_t error = place->vfs->open(place->vfs, s_at(place, name), mode, &file, &fault);
    assert_string_equal(error == BB_OK ? "" : fault.text, "");
    return file;
}

static void s_write(s_place_t *place, bb_file_t *file, uint64_t offset, const char *text)
{
    char copy[64];
    snprintf(copy, sizeof copy, "%s", text);
    struct iovec piece = {copy, strlen(copy)};
    assert_int_equal(place->vfs->write_at(place->vfs, file, offset, &piece, 1), BB_OK);
}

static void s_expect(s_place_t *place, bb_file_t *file, const char *bytes, size_t length)
{
    char found[128];
    size_t got = 99;
    assert_int_equal(place->vfs->read_at(place->vfs, file, 0, found, sizeof found, &got), BB_OK);
    assert_int_equal(got, length);
    assert_memory_equal(found, bytes, length);
}

static void s_test_modes(void **state)
{
    s_place_t *place = *state;
    bb_vfs_t *vfs = place->vfs;
    bb_file_t *file = NULL;
    bb_fault_t fault = {0};
    const char *path = s_at(place, "a");
    assert_int_equal(vfs->open(vfs, path, BB_FILE_READ, &file, &fault), BB_ERR_NOT_FOUND);
    assert_non_null(strstr(fault.text, path));
    assert_null(file);
    file = s_open(place, "a", BB_FILE_WRITE | BB_FILE_CREATE);
    s_write(place, file, 0, "x");
    vfs->close(vfs, &file);
    assert_null(file);
    assert_int_equal(vfs->open(vfs, path, BB_FILE_WRITE | BB_FILE_CREATE, &file, &fault),
                     BB_ERR_EXISTS);
    file = s_open(place, "a", BB_FILE_WRITE);
    s_expect(place, file, "x", 1); // opening for writing keeps the bytes
    vfs->close(vfs, &file);
    file = s_open(place, "a", BB_FILE_READ);
    struct iovec piece = {place->root, 1};
    assert_int_not_equal(vfs->write_at(vfs, file, 0, &piece, 1), BB_OK);
    vfs->close(vfs, &file);
    vfs->close(vfs, &file); // NULL is fine
    const char *deep = s_at(place, "no/such/folder");
    assert_int_equal(vfs->open(vfs, deep, BB_FILE_WRITE, &file, &fault), BB_ERR_NOT_FOUND);
}

static void s_test_read_write(void **state)
{
    s_place_t *place = *state;
    bb_vfs_t *vfs = place->vfs;
    bb_file_t *file = s_open(place, "a", BB_FILE_WRITE);
    s_write(place, file, 0, "hello");
    s_write(place, file, 7, "world"); // the gap reads as zeros
    s_write(place, file, 1, "EL");
    s_expect(place, file, "hELlo\0\0world", 12);
    char byte;
    size_t got = 7;
    assert_int_equal(vfs->read_at(vfs, file, 11, &byte, 1, &got), BB_OK);
    assert_int_equal(got, 1);
    assert_int_equal(byte, 'd');
    assert_int_equal(vfs->read_at(vfs, file, 12, &byte, 1, &got), BB_OK);
    assert_int_equal(got, 0);
    assert_int_equal(vfs->read_at(vfs, file, 1000, &byte, 1, &got), BB_OK);
    assert_int_equal(got, 0);
    uint64_t size = 0;
    assert_int_equal(vfs->size(vfs, file, &size), BB_OK);
    assert_int_equal(size, 12);
    assert_int_equal(vfs->truncate(vfs, file, 3), BB_OK);
    s_expect(place, file, "hEL", 3);
    assert_int_equal(vfs->truncate(vfs, file, 5), BB_OK);
    s_expect(place, file, "hEL\0\0", 5);
    assert_int_equal(vfs->reserve(vfs, file, 4096), BB_OK);
    s_expect(place, file, "hEL\0\0", 5);
    assert_int_equal(vfs->sync(vfs, file), BB_OK);
    assert_int_equal(vfs->sync_directory(vfs, place->root), BB_OK);
    vfs->close(vfs, &file);
}

// Goal: a gathered write of more pieces than one system call takes, with empty ones among them,
// arrives whole. Method: 5,000 pieces whose lengths go round 0..16 and whose bytes name them.
static void s_test_many_pieces(void **state)
{
    s_place_t *place = *state;
    bb_vfs_t *vfs = place->vfs;
    enum { COUNT = 5000 };
    static uint8_t expected[COUNT * 17];
    static struct iovec pieces[COUNT];
    size_t total = 0;
    for (int i = 0; i < COUNT; i++) {
        size_t length = (size_t)i % 17;
        memset(expected + total, i % 251, length);
        pieces[i] = (struct iovec){expected + total, length};
        total += length;
    }
    bb_file_t *file = s_open(place, "many", BB_FILE_WRITE);
    assert_int_equal(vfs->write_at(vfs, file, 3, pieces, COUNT), BB_OK);
    uint8_t *found = calloc(1, total + 4);
    size_t got = 0;
    assert_int_equal(vfs->read_at(vfs, file, 3, found, total + 1, &got), BB_OK);
    assert_int_equal(got, total);
    assert_memory_equal(found, expected, total);
    assert_int_equal(vfs->write_at(vfs, file, 0, pieces, 0), BB_OK);
    free(found);
    vfs->close(vfs, &file);
}

static void s_test_lock(void **state)
{
    s_place_t *place = *state;
    bb_vfs_t *vfs = place->vfs;
    bb_file_t *first = s_open(place, "lock", BB_FILE_WRITE);
    bb_file_t *second = s_open(place, "lock", BB_FILE_WRITE);
    assert_int_equal(vfs->lock(vfs, first), BB_OK);
    assert_int_equal(vfs->lock(vfs, first), BB_OK);
    assert_int_equal(vfs->lock(vfs, second), BB_ERR_LOCKED);
    vfs->close(vfs, &first);
    assert_int_equal(vfs->lock(vfs, second), BB_OK);
    vfs->close(vfs, &second);
}

typedef struct {
    int count;
    bool seen_file, seen_folder, seen_other;
} s_seen_t;

static void s_on_name(void *context, const char *name, bool is_directory)
{
    s_seen_t *seen = context;
    seen->count++;
    if (strcmp(name, "file") == 0) {
        seen->seen_file = !is_directory;
    } else if (strcmp(name, "folder") == 0) {
        seen->seen_folder = is_directory;
    } else {
        seen->seen_other = true;
    }
}

static void s_test_folders(void **state)
{
    s_place_t *place = *state;
    bb_vfs_t *vfs = place->vfs;
    assert_int_equal(vfs->make_directory(vfs, s_at(place, "d/folder/deep")), BB_OK);
    assert_int_equal(vfs->make_directory(vfs, s_at(place, "d/folder/deep/")), BB_OK); // again
    bb_file_t *file = s_open(place, "d/file", BB_FILE_WRITE);
    s_write(place, file, 0, "1");
    vfs->close(vfs, &file);
    file = s_open(place, "d/folder/deep/inner", BB_FILE_WRITE);
    s_write(place, file, 0, "2");
    vfs->close(vfs, &file);
    assert_int_equal(vfs->make_directory(vfs, s_at(place, "d/file")), BB_ERR_EXISTS);
    s_seen_t seen = {0};
    assert_int_equal(vfs->list(vfs, s_at(place, "d"), s_on_name, &seen), BB_OK);
    assert_int_equal(seen.count, 2);
    assert_true(seen.seen_file && seen.seen_folder && !seen.seen_other);
    assert_int_equal(vfs->list(vfs, s_at(place, "none"), s_on_name, &seen), BB_ERR_NOT_FOUND);
    assert_int_equal(vfs->sync_directory(vfs, s_at(place, "none")), BB_ERR_NOT_FOUND);
    assert_int_not_equal(vfs->remove(vfs, s_at(place, "d")), BB_OK); // a folder is not a file
    // The whole tree goes along with a rename.
    char from[256];
    snprintf(from, sizeof from, "%s", s_at(place, "d/folder"));
    assert_int_equal(vfs->rename(vfs, from, s_at(place, "moved")), BB_OK);
    file = s_open(place, "moved/deep/inner", BB_FILE_READ);
    s_expect(place, file, "2", 1);
    vfs->close(vfs, &file);
    assert_int_equal(vfs->remove_tree(vfs, s_at(place, "moved")), BB_OK);
    assert_int_equal(vfs->remove_tree(vfs, s_at(place, "moved")), BB_ERR_NOT_FOUND);
    assert_int_equal(vfs->list(vfs, s_at(place, "moved"), s_on_name, &seen), BB_ERR_NOT_FOUND);
}

static void s_test_names(void **state)
{
    s_place_t *place = *state;
    bb_vfs_t *vfs = place->vfs;
    char from[256];
    snprintf(from, sizeof from, "%s", s_at(place, "a"));
    assert_int_equal(vfs->remove(vfs, from), BB_ERR_NOT_FOUND);
    assert_int_equal(vfs->rename(vfs, from, s_at(place, "b")), BB_ERR_NOT_FOUND);
    bb_file_t *a = s_open(place, "a", BB_FILE_WRITE);
    bb_file_t *b = s_open(place, "b", BB_FILE_WRITE);
    s_write(place, a, 0, "new");
    s_write(place, b, 0, "old");
    assert_int_equal(vfs->rename(vfs, from, s_at(place, "b")), BB_OK); // replaces a file
    s_expect(place, b, "old", 3);                                      // still open, without a name
    s_expect(place, a, "new", 3);
    vfs->close(vfs, &a);
    vfs->close(vfs, &b);
    b = s_open(place, "b", BB_FILE_READ);
    s_expect(place, b, "new", 3);
    assert_int_equal(vfs->remove(vfs, s_at(place, "b")), BB_OK);
    s_expect(place, b, "new", 3);
    vfs->close(vfs, &b);
    assert_int_equal(vfs->make_directory(vfs, s_at(place, "full/inside")), BB_OK);
    assert_int_equal(vfs->make_directory(vfs, from), BB_OK);
    assert_int_equal(vfs->rename(vfs, from, s_at(place, "full")), BB_ERR_EXISTS);
}

// ---- real processes --------------------------------------------------------------------------
static void s_test_lock_two_processes(void **state)
{
    s_place_t *place = *state;
    bb_vfs_t *vfs = place->vfs;
    bb_file_t *file = s_open(place, "lock", BB_FILE_WRITE);
    assert_int_equal(vfs->lock(vfs, file), BB_OK);
    const char *path = s_at(place, "lock");
    for (int held = 1; held >= 0; held--) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            bb_file_t *other = NULL;
            bb_error_t error = vfs->open(vfs, path, BB_FILE_WRITE, &other, NULL);
            error = error == BB_OK ? vfs->lock(vfs, other) : error;
            _exit(error);
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), held ? BB_ERR_LOCKED : BB_OK);
        vfs->close(vfs, &file);
    }
}

// Goal: the write that meets the end of the room is finished by pwritev in part; the loop goes on
// and gets the error. Method: a file size limit in a child process (EFBIG counts as IO).
static void s_test_short_write(void **state)
{
    s_place_t *place = *state;
    bb_vfs_t *vfs = place->vfs;
    const char *path = s_at(place, "short");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit limit = {1000, 1000};
        signal(SIGXFSZ, SIG_IGN);
        bb_file_t *file = NULL;
        char bytes[600] = {0};
        struct iovec pieces[2] = {{bytes, sizeof bytes}, {bytes, sizeof bytes}};
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0 ||
            vfs->open(vfs, path, BB_FILE_WRITE, &file, NULL) != BB_OK) {
            _exit(200);
        }
        _exit(vfs->write_at(vfs, file, 0, pieces, 2));
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), BB_ERR_IO);
    struct stat file;
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(file.st_size, 1000);
}

// A full device answers with DISK_FULL, and files are for their owner only.
static void s_test_full_and_modes(void **state)
{
    s_place_t *place = *state;
    bb_vfs_t *vfs = place->vfs;
    bb_file_t *file = NULL;
    if (vfs->open(vfs, "/dev/full", BB_FILE_WRITE, &file, NULL) == BB_OK) {
        struct iovec piece = {place->root, 1};
        assert_int_equal(vfs->write_at(vfs, file, 0, &piece, 1), BB_ERR_DISK_FULL);
        vfs->close(vfs, &file);
    }
    file = s_open(place, "private", BB_FILE_WRITE);
    vfs->close(vfs, &file);
    struct stat status;
    assert_int_equal(stat(s_at(place, "private"), &status), 0);
    assert_int_equal(status.st_mode & 077, 0);
    assert_int_equal(vfs->make_directory(vfs, s_at(place, "folder")), BB_OK);
    assert_int_equal(stat(s_at(place, "folder"), &status), 0);
    assert_int_equal(status.st_mode & 077, 0);
}

// Goal: removing a tree never leaves it through a symbolic link.
static void s_test_remove_tree_links(void **state)
{
    s_place_t *place = *state;
    bb_vfs_t *vfs = place->vfs;
    assert_int_equal(vfs->make_directory(vfs, s_at(place, "precious")), BB_OK);
    bb_file_t *file = s_open(place, "precious/data", BB_FILE_WRITE);
    vfs->close(vfs, &file);
    char target[256];
    snprintf(target, sizeof target, "%s", s_at(place, "precious"));
    assert_int_equal(vfs->make_directory(vfs, s_at(place, "tree/in")), BB_OK);
    assert_int_equal(symlink(target, s_at(place, "tree/in/link")), 0);
    assert_int_equal(vfs->remove_tree(vfs, s_at(place, "tree")), BB_OK);
    file = s_open(place, "precious/data", BB_FILE_READ);
    vfs->close(vfs, &file);
}

#define S_BOTH(test)                                                                               \
    {#test "_posix", test, s_setup_posix, s_teardown, NULL},                                       \
    {                                                                                              \
#test "_sim", test, s_setup_sim, s_teardown, NULL                                          \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        S_BOTH(s_test_modes),
        S_BOTH(s_test_read_write),
        S_BOTH(s_test_many_pieces),
        S_BOTH(s_test_lock),
        S_BOTH(s_test_folders),
        S_BOTH(s_test_names),
        cmocka_unit_test_setup_teardown(s_test_lock_two_processes, s_setup_posix, s_teardown),
        cmocka_unit_test_setup_teardown(s_test_short_write, s_setup_posix, s_teardown),
        cmocka_unit_test_setup_teardown(s_test_full_and_modes, s_setup_posix, s_teardown),
        cmocka_unit_test_setup_teardown(s_test_remove_tree_links, s_setup_posix, s_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
