/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machines.h - what the scenarios share: one runtime, and results that callbacks fill
 *
 * A check that does not hold ends the program with 1 and a line that says where.
 */
#ifndef BL_TESTS_MACHINES_H
#define BL_TESTS_MACHINES_H

#include <boxlite.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                                           \
    do {                                                                                                                           \
        if (!(condition)) {                                                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                                         \
            exit(1);                                                                                                               \
        }                                                                                                                          \
    } while (0)

#define OK(call) ok(call, #call)

extern CBoxliteRuntime *runtime;
extern CBoxliteError error;

/* What one operation or execution brought; the callbacks below fill it. */
struct result {
    int done;
    enum BoxliteErrorCode code;
    char message[512];
    CBoxHandle *box;
    bool created;
    CBoxInfo *info;
    CBoxInfoList *list;
    CBoxMetrics metrics;
    CRuntimeMetrics runtime_metrics;
    CImageInfoList *images;
    CImageDetail *detail;
    char *out, *err;
    size_t out_length, err_length, out_seen, out_stop;
    int exit_code;
};

void ok(enum BoxliteErrorCode code, const char *what);
void finish(struct result *result, const CBoxliteError *failure);
void on_box(CBoxHandle *box, CBoxliteError *failure, void *data);
void on_made(CBoxHandle *box, bool created, CBoxliteError *failure, void *data);
void on_done(CBoxliteError *failure, void *data);
void on_info(CBoxInfo *info, CBoxliteError *failure, void *data);
void on_list(CBoxInfoList *list, CBoxliteError *failure, void *data);
void on_metrics(CBoxMetrics *metrics, CBoxliteError *failure, void *data);
void on_runtime_metrics(CRuntimeMetrics *metrics, CBoxliteError *failure, void *data);
void on_images(CImageInfoList *list, CBoxliteError *failure, void *data);
void on_detail(CImageDetail *detail, CBoxliteError *failure, void *data);
void append(char **text, size_t *length, const uint8_t *data, size_t more);
void on_out(const uint8_t *data, size_t length, void *user);
void on_err(const uint8_t *data, size_t length, void *user);
void on_exit_code(int code, void *user);
void on_wait(int code, CBoxliteError *failure, void *user);
void drain_until(const int *counter, int wanted);
void clear(struct result *result);
CBoxliteOptions *options_for(const char *name);
CBoxHandle *make_box(const char *name);
void remove_box(CBoxHandle *box);
CExecutionHandle *begin(CBoxHandle *box, const BoxliteCommand *command, struct result *result);
void run(CBoxHandle *box, BoxliteCommand command, struct result *result);
BoxliteCommand shell(const char *const *args);
CBoxInfo *info_of(const char *name);

#define SHELL(text) shell((const char *const[]){"-c", text})

/* scenarios_use.c */
void scenario_lifecycle(void);
void scenario_lookups(void);
void scenario_streams(void);
void scenario_hundred_megabytes(void);
void scenario_input(void);
void scenario_terminal(void);
void scenario_how_commands_run(void);
void scenario_signals(void);
void scenario_copies(void);
void scenario_copy_streams(void);
void scenario_numbers(void);
void scenario_images(void);
void scenario_capabilities(void);
void scenario_deadlines(void);
/* scenarios_crowds.c: many at once, and how things end */
void race_once(void);
extern atomic_int races_won;
void scenario_three_boxes(void);
void scenario_sixty_four_execs(void);
void scenario_eight_boxes_from_eight_threads(void);
void scenario_waiting_costs_no_thread(void);
void scenario_raced_creation(void);
void scenario_shutdown_stops_attached_boxes(void);
void scenario_free_with_everything_under_way(void);
void scenario_freed_in_a_callback(void);
void scenario_freed_from_another_thread(void);
void scenario_shim_dies(void);
void scenario_removed_by_another(void);
void scenario_simple(void);

#endif
