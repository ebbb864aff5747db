// SPDX-License-Identifier: Apache-2.0
// A slow disk for one process: put before libc with LD_PRELOAD, it makes each fdatasync take as
// many milliseconds more as the file $BB_SLOW_SYNC/<process id> says. Without that file nothing
// changes.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int fdatasync(int descriptor)
{
    static int (*real)(int);
    if (!real) {
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    }
    const char *folder = getenv("BB_SLOW_SYNC");
    char path[512];
    snprintf(path, sizeof path, "%s/%d", folder ? folder : "", (int)getpid());
    FILE *file = folder ? fopen(path, "r") : NULL;
    long delay_ms = 0;
    if (file) {
        if (fscanf(file, "%ld", &delay_ms) != 1) {
            delay_ms = 0;
        }
        fclose(file);
    }
    struct timespec pause = {delay_ms / 1000, delay_ms % 1000 * 1000000};
    nanosleep(&pause, NULL);
    return real(descriptor);
}
