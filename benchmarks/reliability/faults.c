/* Counts what a process does to files below a folder; at a given operation it is killed,
   or the operation fails. Loaded with LD_PRELOAD by faults.py; all processes that are
   started share one counter.

   FAULT_FOLDER   operations elsewhere do not count
   FAULT_COUNTER  file of 8 bytes, mapped
   FAULT_AT       the operation, from 1; 0 for none
   FAULT_ERRNO    0 for SIGKILL, else what the operation fails with
   FAULT_STICKY   1 if all that follow fail, too, but those that only remove */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { GROWS, NAMES, REMOVES };

static char folder[PATH_MAX];
static long *counter, at;
static int error, sticky;

void fault_arm(void)
{
    const char *name = getenv("FAULT_FOLDER"), *file = getenv("FAULT_COUNTER");
    counter = NULL;
    if (!name || !file)
        return;
    snprintf(folder, sizeof folder, "%s", name);
    at = atol(getenv("FAULT_AT") ? getenv("FAULT_AT") : "0");
    error = atoi(getenv("FAULT_ERRNO") ? getenv("FAULT_ERRNO") : "0");
    sticky = atoi(getenv("FAULT_STICKY") ? getenv("FAULT_STICKY") : "0");
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int fd = real(file, O_RDWR);
    if (fd < 0)
        return;
    void *found = mmap(NULL, sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (found != MAP_FAILED)
        counter = found;
}

__attribute__((constructor)) static void begin(void) { fault_arm(); }

static int inside(const char *path)
{
    char whole[PATH_MAX];
    if (!counter || !path)
        return 0;
    if (path[0] != '/') {
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here))
            return 0;
        snprintf(whole, sizeof whole, "%s/%s", here, path);
        path = whole;
    }
    return strncmp(path, folder, strlen(folder)) == 0;
}

static int inside_at(int fd, const char *path)
{
    char link[64], base[PATH_MAX], whole[2 * PATH_MAX];
    if (!counter || !path)
        return 0;
    if (path[0] == '/' || fd == AT_FDCWD)
        return inside(path);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, base, sizeof base - 1);
    if (size < 0)
        return 0;
    base[size] = 0;
    snprintf(whole, sizeof whole, "%s/%s", base, path);
    return inside(whole);
}

static int inside_fd(int fd)
{
    char link[64], path[PATH_MAX];
    if (!counter)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    return inside(path);
}

/* Whether the operation is to fail; errno is set. */
static int fails(int ours, int kind)
{
    if (!ours)
        return 0;
    if (error == ENOSPC && kind == REMOVES)
        return 0;
    if (error == EACCES && kind == GROWS)
        return 0;
    long now = __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
    if (!at || now < at || (now > at && !sticky))
        return 0;
    if (!error) {
        if (now == at)
            kill(getpid(), SIGKILL);
        return 0;
    }
    errno = error;
    return 1;
}

#define REAL(result, name, ...)                                                            \
    static result (*real)(__VA_ARGS__);                                                    \
    if (!real)                                                                             \
        real = dlsym(RTLD_NEXT, name);

#define OPENS(name, INSIDE, PARAMETERS, ...)                                               \
    int name PARAMETERS                                                                    \
    {                                                                                      \
        va_list rest;                                                                      \
        va_start(rest, flags);                                                             \
        mode_t mode = va_arg(rest, mode_t);                                                \
        va_end(rest);                                                                      \
        static int(*real) PARAMETERS;                                                      \
        if (!real)                                                                         \
            real = dlsym(RTLD_NEXT, #name);                                                \
        if (fails((flags & (O_CREAT | O_TRUNC)) && INSIDE, NAMES))                          \
            return -1;                                                                     \
        return real(__VA_ARGS__, flags, mode);                                             \
    }

OPENS(open, inside(path), (const char *path, int flags, ...), path)
OPENS(open64, inside(path), (const char *path, int flags, ...), path)
OPENS(openat, inside_at(fd, path), (int fd, const char *path, int flags, ...), fd, path)
OPENS(openat64, inside_at(fd, path), (int fd, const char *path, int flags, ...), fd, path)

FILE *fopen(const char *path, const char *mode)
{
    REAL(FILE *, "fopen", const char *, const char *)
    return fails(mode[0] != 'r' && inside(path), NAMES) ? NULL : real(path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
    REAL(FILE *, "fopen64", const char *, const char *)
    return fails(mode[0] != 'r' && inside(path), NAMES) ? NULL : real(path, mode);
}

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(ssize_t, "write", int, const void *, size_t)
    return fails(inside_fd(fd), GROWS) ? -1 : real(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t place)
{
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t)
    return fails(inside_fd(fd), GROWS) ? -1 : real(fd, data, size, place);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t place)
{
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t)
    return fails(inside_fd(fd), GROWS) ? -1 : real(fd, data, size, place);
}

int fsync(int fd)
{
    REAL(int, "fsync", int)
    return fails(inside_fd(fd), GROWS) ? -1 : real(fd);
}

int ftruncate(int fd, off_t size)
{
    REAL(int, "ftruncate", int, off_t)
    return fails(inside_fd(fd), GROWS) ? -1 : real(fd, size);
}

int ftruncate64(int fd, off64_t size)
{
    REAL(int, "ftruncate64", int, off64_t)
    return fails(inside_fd(fd), GROWS) ? -1 : real(fd, size);
}

int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *)
    return fails(inside(to), NAMES) ? -1 : real(from, to);
}

int renameat(int a, const char *from, int b, const char *to)
{
    REAL(int, "renameat", int, const char *, int, const char *)
    return fails(inside_at(b, to), NAMES) ? -1 : real(a, from, b, to);
}

int renameat2(int a, const char *from, int b, const char *to, unsigned flags)
{
    REAL(int, "renameat2", int, const char *, int, const char *, unsigned)
    /* As on a system that cannot exchange names. */
    if (getenv("FAULT_NO_EXCHANGE")) {
        errno = EINVAL;
        return -1;
    }
    return fails(inside_at(b, to), NAMES) ? -1 : real(a, from, b, to, flags);
}

int mkdir(const char *path, mode_t mode)
{
    REAL(int, "mkdir", const char *, mode_t)
    return fails(inside(path), NAMES) ? -1 : real(path, mode);
}

int unlink(const char *path)
{
    REAL(int, "unlink", const char *)
    return fails(inside(path), REMOVES) ? -1 : real(path);
}

int unlinkat(int fd, const char *path, int flags)
{
    REAL(int, "unlinkat", int, const char *, int)
    return fails(inside_at(fd, path), REMOVES) ? -1 : real(fd, path, flags);
}

int rmdir(const char *path)
{
    REAL(int, "rmdir", const char *)
    return fails(inside(path), REMOVES) ? -1 : real(path);
}
