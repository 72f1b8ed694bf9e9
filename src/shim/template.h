/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.h - a machine that was saved before it became a box, and can become any
 *
 * Booting a kernel is most of what a start costs. The agent touches nothing that belongs to one box before CONFIG, so a machine
 * that has answered HELLO is the same for every box of its kind: the first start of a kind keeps it (`saves`), the next ones go on
 * from there (`loads`).
 *
 *     <home>/templates/<boot id>-<hash of the identity>.template       see template_file.h
 *
 * An empty file in a template's place says that this kind can't be restored here: nobody tries again.
 *
 * No start fails, or waits for another, because of a template. Who finds another one at work on the same directory boots as ever
 * and keeps nothing. What is not whole, or belongs to another user, is not used. The guest's memory is a memfd of each box's own,
 * into which a template's pages are copied while the emulator starts.
 */
#ifndef BL_SHIM_TEMPLATE_H
#define BL_SHIM_TEMPLATE_H

#include <stdbool.h>

#include "base/loop.h"
#include "shim/template_file.h"
#include "vmm/engine.h"

#define BL_TEMPLATE_NAME_MAX 80

struct bl_template {
    struct bl_loop *loop;
    bool saves, loads; /* at most one of them */
    bool moving;       /* memory is being copied */
    int dir_fd;        /* with a lock on it, when it saves */
    int memory_fd;     /* of the guest */
    char name[BL_TEMPLATE_NAME_MAX];
    struct bl_buffer identity;
    struct bl_template_file file;
    struct bl_source turn; /* an eventfd that is always ready: a piece is copied at each turn of the loop */
    /* The copy is over. @error: NULL, or why it did not work. May close the template. */
    void (*moved)(const char *error, void *data);
    void *data;
};

/* bl_template_init() - Of no use yet; bl_template_close() may be called. */
void bl_template_init(struct bl_template *template);
/*
 * bl_template_prepare() - Look for a template for this start, or get ready to make one; neither can fail
 * @path: the directory of templates, absolute; NULL: none are wanted
 * @config: memory_fd and loads are set when it loads or saves
 */
void bl_template_prepare(struct bl_template *template, struct bl_loop *loop, const char *path,
                         const struct bl_engine_choice *choice, struct bl_engine_config *config);
/* bl_template_move() - Copy memory, out of the template or into it; moved() follows. Return: 0; -1 with errno */
int bl_template_move(struct bl_template *template, void (*moved)(const char *error, void *data), void *data);
/* bl_template_publish() - After the copy: give it its name, and remove others that are too many. Return: 0; -1 with errno */
int bl_template_publish(struct bl_template *template, const char *console);
/* bl_template_reject() - It could not be restored: put an empty file in its place. */
void bl_template_reject(struct bl_template *template);
void bl_template_close(struct bl_template *template);

#endif
