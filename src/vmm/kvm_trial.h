/* SPDX-License-Identifier: Apache-2.0 */
/* kvm_trial.h - whether /dev/kvm really runs guests */
#ifndef BL_VMM_KVM_TRIAL_H
#define BL_VMM_KVM_TRIAL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * bl_kvm_trial() - Run a page of 64-bit code in a VM
 * @why: on failure, what failed and what to do about it, one line
 * @lasting: whether another trial of the same device would say the same
 * Return: 0 when guests can run; -1
 */
int bl_kvm_trial(char *why, size_t size, bool *lasting);

#endif
