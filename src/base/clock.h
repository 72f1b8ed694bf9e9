/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h - one monotonic clock, and deadlines on it */
#ifndef BL_BASE_CLOCK_H
#define BL_BASE_CLOCK_H

#include <limits.h>
#include <stdint.h>
#include <time.h>

/* No deadline: wait as long as it takes. */
#define BL_NEVER INT64_MAX

/* bl_now_us() - Microseconds of CLOCK_MONOTONIC, which all processes of a host share. */
static inline int64_t bl_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static inline int64_t bl_now_ms(void)
{
    return bl_now_us() / 1000;
}

/* bl_process_time_us() - Microseconds that this process has had of processors, the kernel's work for it included. */
static inline int64_t bl_process_time_us(void)
{
    struct timespec spent;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return (int64_t)spent.tv_sec * 1000000 + spent.tv_nsec / 1000;
}

/* bl_deadline_in() - The moment @ms from now, in ms of the monotonic clock; BL_NEVER for a negative @ms. */
static inline int64_t bl_deadline_in(int64_t ms)
{
    return ms < 0 ? BL_NEVER : bl_now_ms() + ms;
}

/* bl_deadline_left() - Milliseconds until a deadline as poll() wants them: 0 when it has passed, -1 for BL_NEVER. */
static inline int bl_deadline_left(int64_t deadline)
{
    if (deadline == BL_NEVER)
        return -1;

    int64_t left = deadline - bl_now_ms();

    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

#endif
