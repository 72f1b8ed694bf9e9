/* SPDX-License-Identifier: Apache-2.0 */
/* machine_fixture.h - a machine of our own monitor around fake_kvm.h: memory and devices are real, processors never run */
#ifndef BL_TESTS_MACHINE_FIXTURE_H
#define BL_TESTS_MACHINE_FIXTURE_H

#include "vmm/kvm/machine.h"

#define MACHINE_FIXTURE_MEMORY (16u << 20)

struct machine_fixture {
    struct bl_loop loop;
    struct bl_machine machine;
    int console_fd, agent_fd; /* our ends */
};

/* machine_fixture_init() - Ends the program when it can't be made. */
void machine_fixture_init(struct machine_fixture *fixture, unsigned int cpus);
void machine_fixture_finish(struct machine_fixture *fixture);

#endif
