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
 * An empty file in a template's place says that this kind can't be restored here: nobody tries again. It is the library that puts
 * it there (core/templates.c), after it had another shim boot the box: the one that found out may be confined by then, and can
 * neither open a path here nor make a VM. For the same reason all that needs a path is done before the VM is started: sweeping,
 * too.
 *
 * No start fails, or waits for another, because of a template. Who finds another one at work on the same directory boots as ever
 * and keeps nothing. What is not whole, or belongs to another user, is not used. The guest's memory is a memfd of each box's own,
 * into which a template's pages are copied while an emulator starts; our own monitor maps the file itself.
 */
#ifndef BL_SHIM_TEMPLATE_H
#define BL_SHIM_TEMPLATE_H

#include <stdbool.h>

#include "base/loop.h"
#include "proto/launch.h"
#include "shim/template_file.h"
#include "vmm/engine.h"

struct bl_template {
    struct bl_loop *loop;
    bool saves, loads; /* at most one of them */
    bool maps;         /* the engine takes the memory from the file: nothing is copied */
    bool kept;         /* what it saves is complete */
    int dir_fd;        /* with a lock on it, when it saves */
    int memory_fd;     /* of the guest */
    char name[BL_LAUNCH_TEMPLATE_NAME_MAX];
    struct bl_buffer identity;
    struct bl_template_file file;
    struct bl_engine_extent *extents; /* of what is mapped; owned */
    struct bl_source turn;            /* an eventfd that is always ready: a piece is copied at each turn of the loop */
    /* The copy is over. @error: NULL, or why it did not work. May close the template. */
    void (*moved)(const char *error, void *data);
    void *data;
};

/* bl_template_init() - Of no use yet; bl_template_close() may be called. */
void bl_template_init(struct bl_template *template);
/*
 * bl_template_prepare() - Look for a template for this start, or get ready to make one; neither can fail
 * @path: the directory of templates, absolute; NULL: none are wanted
 * @config: loads, and memory_fd or saved_fd with the extents, are set when it loads or saves; the extents stay the template's
 */
void bl_template_prepare(struct bl_template *template, struct bl_loop *loop, const char *path,
                         const struct bl_engine_choice *choice, struct bl_engine_config *config);
/* bl_template_move() - See that memory is in place, or in the file; moved() follows. Return: 0; -1 with errno */
int bl_template_move(struct bl_template *template, void (*moved)(const char *error, void *data), void *data);
/* bl_template_publish() - After the copy: from here on others may use it. Return: 0; -1 with errno */
int bl_template_publish(struct bl_template *template, const char *console);
/* bl_template_close() - What was not published is nobody's. */
void bl_template_close(struct bl_template *template);

#endif
