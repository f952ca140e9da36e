/*
 * Preloaded into the program: counts the calls that change or sync files below one directory, and
 * lets one of them, or all from one on, end the process, fail, or do nothing.
 *
 *   FAULT_ROOT   the directory
 *   FAULT_CALLS  which calls count, a letter each: o open that makes a file, w write, t truncate or
 *                allocate, s sync, l link or rename, u unlink, d make a directory
 *   FAULT_AT     the first of them that suffers, counted from 1; 0 spares all
 *   FAULT_TIMES  how many suffer
 *   FAULT_DOES   "kill", "skip" (nothing happens, and success is told), or an error number
 *   FAULT_LOG    a file that gets the letter of every call that counts
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *root, *calls, *does;
static long first, times;
static int log_fd = -1;
static atomic_long count;

__attribute__((constructor)) static void begin(void)
{
    const char *at = getenv("FAULT_AT"), *many = getenv("FAULT_TIMES"), *log = getenv("FAULT_LOG");
    root = getenv("FAULT_ROOT");
    calls = getenv("FAULT_CALLS");
    does = getenv("FAULT_DOES");
    first = at ? atol(at) : 0;
    times = many ? atol(many) : 1;
    if (log)
        log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int is_below(const char *path)
{
    size_t len = root ? strlen(root) : 0;
    return len && !strncmp(path, root, len) && (path[len] == '/' || !path[len]);
}

/* Whether the call does not happen; then errno is what it fails with, or 0 for success. */
static int suffers(char letter, const char *path)
{
    if (!root || !calls || !strchr(calls, letter) || !is_below(path))
        return 0;
    long number = atomic_fetch_add(&count, 1) + 1;
    if (log_fd >= 0)
        syscall(SYS_write, log_fd, &letter, 1);
    if (!first || !does || number < first || number - first >= times)
        return 0;
    if (!strcmp(does, "kill")) {
        syscall(SYS_kill, getpid(), SIGKILL);
        for (;;)
            pause();
    }
    errno = strcmp(does, "skip") ? atoi(does) : 0;
    return 1;
}

static int fd_suffers(char letter, int fd)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    path[len > 0 ? len : 0] = 0;
    return suffers(letter, path);
}

static int failed(void)
{
    return errno ? -1 : 0;
}

static ssize_t failed_write(size_t len)
{
    return errno ? -1 : (ssize_t)len;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    return fd_suffers('w', fd) ? failed_write(len) : syscall(SYS_write, fd, bytes, len);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    return fd_suffers('w', fd) ? failed_write(len) : syscall(SYS_pwrite64, fd, bytes, len, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at)
{
    return pwrite(fd, bytes, len, at);
}

ssize_t writev(int fd, const struct iovec *parts, int n)
{
    size_t len = 0;
    for (int i = 0; i < n; i++)
        len += parts[i].iov_len;
    return fd_suffers('w', fd) ? failed_write(len) : syscall(SYS_writev, fd, parts, n);
}

int ftruncate(int fd, off_t len)
{
    return fd_suffers('t', fd) ? failed() : syscall(SYS_ftruncate, fd, len);
}

int ftruncate64(int fd, off64_t len)
{
    return ftruncate(fd, len);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
    return fd_suffers('t', fd) ? failed() : syscall(SYS_fallocate, fd, mode, at, len);
}

int fallocate64(int fd, int mode, off64_t at, off64_t len)
{
    return fallocate(fd, mode, at, len);
}

int fsync(int fd)
{
    return fd_suffers('s', fd) ? failed() : syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return fd_suffers('s', fd) ? failed() : syscall(SYS_fdatasync, fd);
}

int syncfs(int fd)
{
    return fd_suffers('s', fd) ? failed() : syscall(SYS_syncfs, fd);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    return suffers('l', to) ? failed() : syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int rename(const char *from, const char *to)
{
    return suffers('l', to) ? failed() : syscall(SYS_rename, from, to);
}

int unlink(const char *path)
{
    return suffers('u', path) ? failed() : syscall(SYS_unlink, path);
}

int mkdir(const char *path, mode_t mode)
{
    return suffers('d', path) ? failed() : syscall(SYS_mkdir, path, mode);
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    int makes = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
    if (makes) {
        va_list more;
        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
    }
    /* A descriptor cannot be made up, so an open that is to be skipped happens. */
    if (makes && suffers('o', path) && errno)
        return -1;
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {
        va_list more;
        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
    }
    return open(path, flags, mode);
}
