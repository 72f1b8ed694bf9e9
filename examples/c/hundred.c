/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hundred.c - a hundred boxes from one thread and one event loop
 *
 * Boxes are made all at once, then listed, then removed; the loop is epoll on boxlite_runtime_fd(), as yours may be. Nothing here
 * waits for a box but the loop itself.
 *
 *     cc hundred.c $(pkg-config --cflags --libs boxlite) -o hundred && ./hundred
 */
#include <boxlite.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BOXES 100

static int made, removed;

static void die_on(CBoxliteError *error, const char *what)
{
    if (!error)
        return;
    fprintf(stderr, "hundred: %s: %s\n", what, error->message);
    exit(1);
}

static void on_removed(CBoxliteError *error, void *user_data)
{
    (void)user_data;
    die_on(error, "remove");
    removed++;
}

static void on_made(CBoxHandle *box, CBoxliteError *error, void *user_data)
{
    CBoxliteRuntime *runtime = user_data;
    char *id;

    die_on(error, "create");
    made++;
    id = boxlite_box_id(box);
    boxlite_box_free(box);
    if (boxlite_remove(runtime, id, 0, on_removed, NULL, error) != BOXLITE_OK)
        exit(1);
    boxlite_free_string(id);
}

int main(void)
{
    CBoxliteRuntime *runtime = NULL;
    CBoxliteError error = {BOXLITE_OK, NULL};
    struct epoll_event event = {.events = EPOLLIN};
    int loop = epoll_create1(EPOLL_CLOEXEC);

    if (boxlite_runtime_new(NULL, NULL, 0, &runtime, &error) != BOXLITE_OK)
        die_on(&error, "open");
    if (loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, boxlite_runtime_fd(runtime), &event) < 0)
        return 1;
    for (int i = 0; i < BOXES; i++) {
        CBoxliteOptions *options = NULL;

        if (boxlite_options_new("busybox", &options, &error) != BOXLITE_OK ||
            boxlite_create_box(runtime, options, on_made, runtime, &error) != BOXLITE_OK)
            die_on(&error, "create");
    }
    while (removed < BOXES) {
        if (epoll_wait(loop, &event, 1, -1) < 0)
            return 1;
        if (boxlite_runtime_drain(runtime, 0, &error) < 0)
            die_on(&error, "drain");
    }
    printf("%d made, %d removed\n", made, removed);
    close(loop);
    boxlite_runtime_free(runtime);
    return 0;
}
