/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cleanup.h - resources that end with their scope
 *
 * A variable declared with one of these attributes gives its resource back when it goes out of scope. bl_steal_fd() and
 * bl_steal_ptr() take the resource out of such a variable when it shall live on, so that ownership moves in plain sight.
 */
#ifndef BL_BASE_CLEANUP_H
#define BL_BASE_CLEANUP_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void bl_cleanup_free_p(void *p)
{
    free(*(void **)p);
}

static inline void bl_cleanup_close_p(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void bl_cleanup_file_p(FILE **f)
{
    if (*f)
        fclose(*f);
}

static inline void bl_cleanup_dir_p(DIR **d)
{
    if (*d)
        closedir(*d);
}

#define cleanup_free  __attribute__((cleanup(bl_cleanup_free_p)))
#define cleanup_close __attribute__((cleanup(bl_cleanup_close_p)))
#define cleanup_file  __attribute__((cleanup(bl_cleanup_file_p)))
#define cleanup_dir   __attribute__((cleanup(bl_cleanup_dir_p)))

/* bl_steal_fd() - Take a descriptor out of a cleanup_close variable; the caller owns it now. */
static inline int bl_steal_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

/* bl_close_fd() - Close a descriptor if there is one, and remember that there is none now. */
static inline void bl_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* bl_steal_ptr() - Take a pointer out of a cleanup_free variable; the caller owns it now. */
#define bl_steal_ptr(pp)                                                                                                           \
    __extension__({                                                                                                                \
        __typeof__(*(pp)) taken_ = *(pp);                                                                                          \
        *(pp) = NULL;                                                                                                              \
        taken_;                                                                                                                    \
    })

#endif
