/* SPDX-License-Identifier: Apache-2.0 */
/* checks.h - what has to hold before a VM is started */
#ifndef BL_SHIM_CHECKS_H
#define BL_SHIM_CHECKS_H

#include "base/error.h"
#include "proto/messages.h"

/* bl_check_readable() - Of a file that a build makes. @what: a word for it. Return: 0; -1: BL_ENGINE, and what to do */
int bl_check_readable(const char *what, const char *path, struct bl_error *err);
/* bl_check_workload() - The command and its environment travel in one frame. Return: 0; -1: BL_INVALID_ARGUMENT */
int bl_check_workload(const struct bl_open *workload, struct bl_error *err);

#endif
