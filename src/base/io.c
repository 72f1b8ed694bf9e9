/* SPDX-License-Identifier: Apache-2.0 */
/* io.c - whole reads and writes, whole files, Unix sockets; see io.h */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/os.h"

#define READ_CHUNK 65536

int bl_write_all(int fd, const void *bytes, size_t length)
{
    const uint8_t *at = bytes;

    while (length) {
        /* A vanished reader is an error to tell, not a signal: sockets get MSG_NOSIGNAL, the rest is the caller's choice. */
        ssize_t n = bl_os.send(fd, at, length, MSG_NOSIGNAL);

        if (n < 0 && errno == ENOTSOCK)
            n = bl_os.write(fd, at, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

ssize_t bl_read_all(int fd, void *bytes, size_t length)
{
    uint8_t *at = bytes;
    size_t done = 0;

    while (done < length) {
        ssize_t n = bl_os.read(fd, at + done, length - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int bl_read_file(int dir_fd, const char *path, struct bl_buffer *out)
{
    cleanup_close int fd = bl_os.openat(dir_fd, path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return -1;
    for (;;) {
        size_t room = bl_buffer_room(out);

        if (!room) {
            /* Exactly full is fine; one byte more is not. */
            char more;
            ssize_t n = bl_read_all(fd, &more, 1);

            if (n > 0)
                errno = EFBIG;
            return n == 0 ? 0 : -1;
        }

        size_t want = room < READ_CHUNK ? room : READ_CHUNK;
        uint8_t *at = bl_buffer_reserve(out, want);

        if (!at) {
            errno = ENOMEM;
            return -1;
        }

        ssize_t n = bl_read_all(fd, at, want);

        if (n < 0)
            return -1;
        bl_buffer_commit(out, (size_t)n);
        if ((size_t)n < want)
            return 0;
    }
}

int bl_write_file(int dir_fd, const char *name, const void *bytes, size_t length, mode_t mode)
{
    char temporary[NAME_MAX + 1];
    uint32_t salt = 0;

    if (bl_random_bytes(&salt, sizeof salt) < 0)
        return -1;
    if (snprintf(temporary, sizeof temporary, ".%s.%08x", name, salt) >= (int)sizeof temporary) {
        errno = ENAMETOOLONG;
        return -1;
    }

    cleanup_close int fd = bl_os.openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);

    if (fd < 0)
        return -1;
    if (bl_write_all(fd, bytes, length) < 0 || bl_os.fsync(fd) < 0 || bl_os.renameat(dir_fd, temporary, dir_fd, name) < 0) {
        int saved = errno;

        bl_os.unlinkat(dir_fd, temporary, 0);
        errno = saved;
        return -1;
    }
    return 0;
}

int bl_make_dirs(const char *path)
{
    char part[PATH_MAX];
    size_t length = strlen(path);

    if (!length || length >= sizeof part) {
        errno = length ? ENAMETOOLONG : ENOENT;
        return -1;
    }
    memcpy(part, path, length + 1);
    for (char *slash = part + 1;; slash++) {
        slash = strchr(slash, '/');
        if (slash)
            *slash = '\0';
        if (bl_os.mkdir(part, 0700) < 0 && errno != EEXIST && errno != EISDIR) {
            struct stat there;
            int saved = errno;

            /* A read-only or foreign parent that exists already is fine. */
            if (bl_os.stat(part, &there) < 0) {
                errno = saved;
                return -1;
            }
        }
        if (!slash)
            break;
        *slash = '/';
    }

    struct stat made;

    if (bl_os.stat(path, &made) < 0)
        return -1;
    if (!S_ISDIR(made.st_mode)) {
        errno = ENOTDIR;
        return -1;
    }
    return 0;
}

int bl_remove_tree(int dir_fd, const char *name)
{
    if (bl_os.unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -1;

    int fd = bl_os.openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0)
        return -1;

    cleanup_dir DIR *dir = bl_os.fdopendir(fd);

    if (!dir) {
        close(fd);
        return -1;
    }
    for (struct dirent *entry; (entry = bl_next_entry(dir));)
        if (bl_remove_tree(dirfd(dir), entry->d_name) < 0)
            return -1;
    if (errno)
        return -1;
    return bl_os.unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -1 : 0;
}

int bl_flock(int fd, int operation)
{
    int failed;

    do
        failed = bl_os.flock(fd, operation);
    while (failed && errno == EINTR);
    return failed;
}

struct dirent *bl_next_entry(DIR *dir)
{
    struct dirent *entry;

    do {
        errno = 0;
        entry = bl_os.readdir(dir);
    } while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    return entry;
}

int bl_set_nonblocking(int fd)
{
    int flags = bl_os.fcntl(fd, F_GETFL);

    return flags < 0 ? -1 : bl_os.fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

int bl_random_bytes(void *bytes, size_t length)
{
    uint8_t *at = bytes;

    while (length) {
        ssize_t n = bl_os.getrandom(at, length, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        at += n;
        length -= (size_t)n;
    }
    return 0;
}

/* unix_address() - The address of @name in @dir_fd by way of /proc. Return: 0; -1 with errno ENAMETOOLONG */
static int unix_address(int dir_fd, const char *name, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};

    int n = snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", dir_fd, name);

    if (n < 0 || (size_t)n >= sizeof address->sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return 0;
}

int bl_unix_connect(int dir_fd, const char *name)
{
    struct sockaddr_un address;
    cleanup_close int fd = bl_os.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || unix_address(dir_fd, name, &address) < 0)
        return -1;
    while (bl_os.connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        if (errno != EINTR)
            return -1;
    return bl_steal_fd(&fd);
}

int bl_unix_listen(int dir_fd, const char *name)
{
    struct sockaddr_un address;
    cleanup_close int fd = bl_os.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || unix_address(dir_fd, name, &address) < 0)
        return -1;
    if (bl_os.unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
        return -1;
    /* The mode of the bound file is the socket's own mode: set before bind(), there is no moment when others can connect. */
    if (bl_os.fchmod(fd, 0600) < 0 || bl_os.bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        bl_os.listen(fd, SOMAXCONN) < 0)
        return -1;
    return bl_steal_fd(&fd);
}

int bl_read_text(const char *path, char *text, size_t size)
{
    cleanup_close int fd = bl_os.open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : bl_read_all(fd, text, size - 1);

    if (n < 0)
        return -1;
    text[n] = '\0';
    return 0;
}
