/* SPDX-License-Identifier: Apache-2.0 */
/*
 * range.c - requests in flight
 *
 * A request works without the lock on the clusters that it looked up. Until it is done nobody may give these clusters to something
 * else, nor may two requests allocate for one guest cluster. So each enters the guest clusters that it works on: together with
 * others to read and to write in place, alone to change what the clusters are. A handful of requests is in flight at any time, so
 * a list does.
 *
 * Nobody holds a range while waiting for another, so there is no deadlock; who was woken looks up anew what he wanted to work on.
 */
#include "disk/image.h"

int bl_range_try(struct bl_qcow2 *image, struct bl_range *range)
{
    for (const struct bl_range *other = image->ranges; other; other = other->next)
        if ((range->alone || other->alone) && range->first < other->end && other->first < range->end)
            return -1;
    range->next = image->ranges;
    image->ranges = range;
    return 0;
}

void bl_range_wait(struct bl_qcow2 *image)
{
    image->waiting++;
    pthread_cond_wait(&image->range_ended, &image->lock);
    image->waiting--;
}

void bl_range_end(struct bl_qcow2 *image, struct bl_range *range)
{
    struct bl_range **at = &image->ranges;

    while (*at != range)
        at = &(*at)->next;
    *at = range->next;
    if (image->waiting)
        pthread_cond_broadcast(&image->range_ended);
}
