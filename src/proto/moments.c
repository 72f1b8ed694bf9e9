/* SPDX-License-Identifier: Apache-2.0 */
/* moments.c - when the parts of a start were over; see moments.h */
#include "proto/moments.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/messages.h"

void bl_moments_print(const struct bl_moments *moments, char out[BL_MOMENTS_TEXT_MAX])
{
    size_t length = (size_t)snprintf(out, BL_MOMENTS_TEXT_MAX, " %d", (int)moments->origin);

    for (size_t i = 0; i < BL_MOMENT_COUNT && length < BL_MOMENTS_TEXT_MAX; i++)
        length += (size_t)snprintf(out + length, BL_MOMENTS_TEXT_MAX - length, " %" PRId64, moments->at_us[i]);
}

/* next_number() - The number at *@text, which is moved behind it. Return: it; 0 when there is none, or it is negative */
static int64_t next_number(const char **text)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(*text, &end, 10);
    *text = end;
    return errno || number < 0 ? 0 : number;
}

void bl_moments_parse(const char *text, struct bl_moments *out)
{
    int64_t origin = next_number(&text), last = 0;

    *out = (struct bl_moments){.origin = origin <= BL_ORIGIN_BOOT_KEPT ? (enum bl_origin)origin : BL_ORIGIN_BOOT};
    for (size_t i = 0; i < BL_MOMENT_COUNT; i++) {
        int64_t at = next_number(&text);

        if (at < last)
            continue;
        out->at_us[i] = at;
        last = at;
    }
}

/* within() - A moment of the guest, which can't lie before or after what the host knows of it. */
static int64_t within(int64_t at, int64_t from, int64_t until)
{
    return at < from ? from : at > until ? until : at;
}

/*
 * clock_began() - When the guest's clock showed 0, on ours
 *
 * CONFIG was there after it was sent, and READY came after it was sent: the truth lies between what the two say, and the middle is
 * off by half of what a message takes at most, as long as the two take the same.
 */
static int64_t clock_began(const uint64_t *by_guest, int64_t configured_us, int64_t now_us)
{
    int64_t earliest = configured_us - (int64_t)by_guest[BL_READY_CONFIGURED_US];
    int64_t latest = now_us - (int64_t)by_guest[BL_READY_SENT_US];

    return earliest < latest ? earliest + (latest - earliest) / 2 : latest;
}

void bl_moments_ready(struct bl_moments *moments, const struct bl_frame *ready, int64_t now_us)
{
    struct bl_field_reader reader = BL_FIELD_READER(ready->payload, ready->length);
    struct bl_field field;
    uint64_t by_guest[BL_READY_SENT_US + 1] = {0};
    int64_t *at = moments->at_us;
    int64_t began, stood;

    while (bl_field_next(&reader, &field) > 0)
        if (field.tag <= BL_READY_SENT_US && field.tag != BL_READY_AGENT && bl_field_number(&field, &by_guest[field.tag]) < 0)
            by_guest[field.tag] = 0;
    for (unsigned int tag = BL_READY_INIT_US; tag <= BL_READY_SENT_US; tag++)
        if (tag != BL_READY_AGENT && (!by_guest[tag] || by_guest[tag] > INT64_MAX / 4))
            return;
    began = clock_began(by_guest, at[BL_MOMENT_CONFIGURED], now_us);
    at[BL_MOMENT_MOUNTED] = within(began + (int64_t)by_guest[BL_READY_MOUNTED_US], at[BL_MOMENT_CONFIGURED], now_us);
    if (moments->origin == BL_ORIGIN_TEMPLATE)
        return;
    /* The guest's clock stands still while its machine is kept. */
    stood = moments->origin == BL_ORIGIN_BOOT_KEPT ? at[BL_MOMENT_CONFIGURED] - at[BL_MOMENT_GREETED] : 0;
    at[BL_MOMENT_KERNEL] = within(began - stood, at[BL_MOMENT_RUNNING], at[BL_MOMENT_GREETED]);
    at[BL_MOMENT_INIT] = within(began - stood + (int64_t)by_guest[BL_READY_INIT_US], at[BL_MOMENT_KERNEL], at[BL_MOMENT_GREETED]);
}
