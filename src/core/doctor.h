/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.h - what bl_doctor() asks of the host itself */
#ifndef BL_CORE_DOCTOR_H
#define BL_CORE_DOCTOR_H

#include <stdbool.h>

/* How far an unprivileged process comes with a user namespace of its own. */
enum bl_userns_step {
    BL_USERNS_TRY,  /* the trial itself could not be made */
    BL_USERNS_MAKE, /* making one */
    BL_USERNS_USE,  /* doing in it what nobody may without: mounts, ids */
    BL_USERNS_OK,
};
/*
 * bl_userns_try() - Make a user namespace in a child, and use it
 * @error: set to the errno of the step that failed
 */
enum bl_userns_step bl_userns_try(int *error);
/* bl_userns_hint() - What to do about a step that failed so. Return: a text; NULL: nothing is known */
const char *bl_userns_hint(enum bl_userns_step step, int error);

/* bl_kernel_lacks() - A system call that is needed and that this kernel, or a filter, does not have. Return: its name; NULL: none
 */
const char *bl_kernel_lacks(void);

/* bl_seccomp_works() - Whether this kernel filters system calls. */
bool bl_seccomp_works(void);
/* bl_landlock_version() - Of Landlock's interface; 0: this kernel has none, or it is switched off */
long bl_landlock_version(void);

#endif
