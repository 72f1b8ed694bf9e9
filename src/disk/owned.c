/* SPDX-License-Identifier: Apache-2.0 */
/*
 * owned.c - the set of host clusters that hold metadata, and lists of runs
 *
 * An open hash table with linear probing, at most half full. A table of 4 TiB has some ten thousand clusters of metadata, one of 10
 * GiB has 25.
 */
#include <errno.h>
#include <stdlib.h>

#include "disk/image.h"

#define SLOTS_LEAST 64u

static size_t home_of(const struct bl_owned *owned, uint64_t cluster)
{
    return (size_t)(cluster * 0x9e3779b97f4a7c15ull >> 20) & owned->mask;
}

/* find() - The slot of a cluster, or the empty one where it would go. */
static size_t find(const struct bl_owned *owned, uint64_t cluster)
{
    size_t at = home_of(owned, cluster);

    while (owned->slots[at] && owned->slots[at] != cluster + 1)
        at = (at + 1) & owned->mask;
    return at;
}

static int grow(struct bl_owned *owned)
{
    struct bl_owned larger = {.mask = owned->slots ? owned->mask * 2 + 1 : SLOTS_LEAST - 1, .used = owned->used};

    larger.slots = calloc(larger.mask + 1, sizeof *larger.slots);
    if (!larger.slots)
        return -1;
    for (size_t i = 0; owned->slots && i <= owned->mask; i++)
        if (owned->slots[i])
            larger.slots[find(&larger, owned->slots[i] - 1)] = owned->slots[i];
    free(owned->slots);
    *owned = larger;
    return 0;
}

int bl_owned_add(struct bl_owned *owned, uint64_t first, uint64_t count)
{
    for (uint64_t cluster = first; cluster < first + count; cluster++) {
        size_t at;

        if ((!owned->slots || owned->used > owned->mask / 2) && grow(owned) < 0) {
            errno = ENOMEM;
            return -1;
        }
        at = find(owned, cluster);
        if (owned->slots[at]) {
            errno = EEXIST;
            return -1;
        }
        owned->slots[at] = cluster + 1;
        owned->used++;
    }
    return 0;
}

bool bl_owned_has(const struct bl_owned *owned, uint64_t cluster)
{
    return owned->slots && owned->slots[find(owned, cluster)];
}

void bl_owned_remove(struct bl_owned *owned, uint64_t first, uint64_t count)
{
    for (uint64_t cluster = first; cluster < first + count; cluster++) {
        size_t hole = find(owned, cluster);

        if (!owned->slots[hole])
            continue;
        owned->slots[hole] = 0;
        owned->used--;
        /* Those behind it that a probe reaches only over this slot move up. */
        for (size_t at = (hole + 1) & owned->mask; owned->slots[at]; at = (at + 1) & owned->mask) {
            uint64_t moved = owned->slots[at];

            owned->slots[at] = 0;
            owned->slots[find(owned, moved - 1)] = moved;
        }
    }
}

int bl_runs_add(struct bl_runs *runs, uint64_t first, uint64_t count, bool shared)
{
    struct bl_run *last = runs->count ? &runs->runs[runs->count - 1] : NULL;

    if (last && last->first + last->count == first && last->shared == shared) {
        last->count += count;
        return 0;
    }
    if (!runs->runs || runs->count == runs->room) {
        size_t room = runs->room ? runs->room * 2 : 16;
        struct bl_run *more = realloc(runs->runs, room * sizeof *more);

        if (!more) {
            errno = ENOMEM;
            return -1;
        }
        runs->runs = more;
        runs->room = room;
    }
    runs->runs[runs->count++] = (struct bl_run){first, count, shared};
    return 0;
}
