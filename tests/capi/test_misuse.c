/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_misuse.c - the library in the hands of programs that are wrong, greedy or in a hurry
 *
 * No call here may crash, hang or leak: things are freed at once from two threads and within callbacks, drained by several threads,
 * used by forked children, and given texts and numbers that make no sense. The sanitizers and valgrind watch. The stand-in shim
 * takes the place of machines.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../unit/core_fixture.h"
#include "base/io.h"
#include "boxlite.h"
#include "capi/capi.h"

#define ABANDONED     8
#define CHILD_SECONDS 60
#define LONG_BYTES    (8u << 20)

static CBoxliteRuntime *runtime;
static CBoxliteError error;

/* has_processes() - Whether boxes can be started here: valgrind does not know pidfd_open(), and judges forked helpers too. */
static bool has_processes(void)
{
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);

    if (self >= 0)
        close(self);
    return self >= 0 || errno != ENOSYS;
}

static enum BoxliteErrorCode code_of(enum BoxliteErrorCode code)
{
    assert_true(code == BOXLITE_OK || error.message);
    boxlite_error_free(&error);
    return code;
}

static CBoxliteRuntime *open_one(void)
{
    CBoxliteRuntime *own = NULL;

    assert_int_equal(boxlite_runtime_new(fixture_home, NULL, 0, &own, &error), BOXLITE_OK);
    return own;
}

static void drain_until(CBoxliteRuntime *own, const atomic_int *counter, int wanted)
{
    while (atomic_load(counter) < wanted)
        assert_true(boxlite_runtime_drain(own, -1, &error) >= 0);
}

static void on_box(CBoxHandle *box, CBoxliteError *failure, void *data)
{
    if (failure)
        print_message("  %d: %.200s\n", (int)failure->code, failure->message);
    *(CBoxHandle **)data = box;
}

static CBoxHandle *make_box(const char *mode)
{
    CBoxliteOptions *options = NULL;
    CBoxHandle *box = NULL;

    assert_int_equal(boxlite_options_new("busybox", &options, &error), BOXLITE_OK);
    boxlite_options_set_auto_remove(options, 0);
    if (mode)
        boxlite_options_set_cmd(options, &mode, 1);
    assert_int_equal(boxlite_create_box(runtime, options, on_box, &box, &error), BOXLITE_OK);
    assert_int_equal(boxlite_runtime_drain(runtime, -1, &error), 1);
    assert_non_null(box);
    return box;
}

static void count(CBoxliteError *failure, void *data)
{
    (void)failure;
    atomic_fetch_add((atomic_int *)data, 1);
}

static void remove_box(CBoxHandle *box)
{
    atomic_int done = 0;
    char *id = boxlite_box_id(box);

    assert_int_equal(boxlite_remove(runtime, id, 1, count, &done, &error), BOXLITE_OK);
    drain_until(runtime, &done, 1);
    boxlite_free_string(id);
    boxlite_box_free(box);
}

static void count_list(CBoxInfoList *list, CBoxliteError *failure, void *data)
{
    boxlite_free_box_info_list(list);
    count(failure, data);
}

/* ---- Freed by two at once ---- */

static pthread_barrier_t both;

static void *free_too(void *own)
{
    pthread_barrier_wait(&both);
    boxlite_runtime_free(own);
    return NULL;
}

static void freed_by_two_threads_at_once(void **state)
{
    (void)state;
    atomic_int done = 0;

    assert_int_equal(pthread_barrier_init(&both, NULL, 2), 0);
    for (int round = 0; round < 20; round++) {
        CBoxliteRuntime *own = open_one();
        pthread_t other;

        for (int i = 0; i < 20; i++)
            assert_int_equal(boxlite_list_info(own, count_list, &done, &error), BOXLITE_OK);
        assert_int_equal(pthread_create(&other, NULL, free_too, own), 0);
        pthread_barrier_wait(&both);
        boxlite_runtime_free(own);
        pthread_join(other, NULL);
        boxlite_runtime_free(own); /* and once more */
    }
    pthread_barrier_destroy(&both);
}

static void free_in_callback(CBoxInfoList *list, CBoxliteError *failure, void *data)
{
    (void)failure;
    boxlite_free_box_info_list(list);
    boxlite_runtime_free(*(CBoxliteRuntime **)data);
    boxlite_runtime_free(*(CBoxliteRuntime **)data);
}

static void freed_in_a_callback_and_after_it(void **state)
{
    (void)state;
    CBoxliteRuntime *own = open_one();

    for (int i = 0; i < 10; i++)
        assert_int_equal(boxlite_list_info(own, free_in_callback, &own, &error), BOXLITE_OK);
    assert_int_equal(boxlite_runtime_drain(own, -1, &error), 1);
    boxlite_runtime_free(own);
}

/* What outlives its runtime can be asked and freed. */
static void handles_outlive_their_runtime(void **state)
{
    (void)state;
    atomic_int done = 0;
    CBoxHandle *box = make_box(NULL), *twin = NULL;
    CBoxliteRuntime *own = open_one();
    CBoxliteImageHandle *images = NULL;
    CExecutionHandle *execution = NULL;
    char *id = boxlite_box_id(box);

    assert_int_equal(boxlite_get(own, id, on_box, &twin, &error), BOXLITE_OK);
    assert_int_equal(boxlite_runtime_drain(own, -1, &error), 1);
    assert_int_equal(boxlite_runtime_images(own, &images, &error), BOXLITE_OK);
    boxlite_runtime_free(own);
    assert_int_equal(code_of(boxlite_box_exec(twin, &(BoxliteCommand){.command = "cat"}, &execution, &error)),
                     BOXLITE_INVALID_STATE);
    assert_null(execution);
    assert_int_equal(code_of(boxlite_start_box(twin, count, &done, &error)), BOXLITE_INVALID_STATE);
    assert_int_equal(code_of(boxlite_image_pull(images, "x", NULL, NULL, &error)), BOXLITE_INVALID_ARGUMENT);
    boxlite_image_free(images);
    boxlite_box_free(twin);
    assert_int_equal(done, 0);
    boxlite_free_string(id);
    remove_box(box);
}

/* Nothing is promised to whom nobody can tell it any more: a freed runtime has no events. */
static void executions_outlive_their_runtime(void **state)
{
    (void)state;
    atomic_int done = 0;
    CBoxHandle *box = make_box(NULL), *twin = NULL;
    CBoxliteRuntime *own = open_one();
    CExecutionHandle *execution = NULL;
    char *id = boxlite_box_id(box);

    assert_int_equal(boxlite_get(own, id, on_box, &twin, &error), BOXLITE_OK);
    assert_int_equal(boxlite_runtime_drain(own, -1, &error), 1);
    assert_int_equal(boxlite_box_exec(twin, &(BoxliteCommand){.command = "cat"}, &execution, &error), BOXLITE_OK);
    boxlite_runtime_free(own);
    assert_int_equal(code_of(boxlite_execution_signal(execution, 15, count, &done, &error)), BOXLITE_INVALID_STATE);
    assert_int_equal(code_of(boxlite_execution_kill(execution, count, &done, &error)), BOXLITE_INVALID_STATE);
    assert_int_equal(code_of(boxlite_execution_stdin_write(execution, (const uint8_t *)"x", 1, &error)), BOXLITE_INVALID_STATE);
    assert_int_equal(code_of(boxlite_execution_stdin_close(execution, &error)), BOXLITE_INVALID_STATE);
    assert_int_equal(code_of(boxlite_execution_tty_resize(execution, 1, 1, count, &done, &error)), BOXLITE_INVALID_STATE);
    assert_int_equal(boxlite_execution_duration_us(execution), 0);
    boxlite_execution_free(execution);
    boxlite_box_free(twin);
    assert_int_equal(done, 0);
    boxlite_free_string(id);
    remove_box(box);
}

/* ---- Many drains, and callbacks that go on ---- */

#define POSTED 2000

static sem_t posted_back;

static void count_back(CBoxInfoList *list, CBoxliteError *failure, void *data)
{
    count_list(list, failure, data);
    sem_post(&posted_back);
}

static void *drain_to_the_end(void *own)
{
    while (boxlite_runtime_drain(own, -1, NULL) >= 0)
        ;
    return NULL;
}

static void drained_by_three_threads(void **state)
{
    (void)state;
    CBoxliteRuntime *own = open_one();
    atomic_int done = 0;
    pthread_t drains[3];

    assert_int_equal(sem_init(&posted_back, 0, 0), 0);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&drains[i], NULL, drain_to_the_end, own), 0);
    for (int i = 0; i < POSTED; i++)
        assert_int_equal(boxlite_list_info(own, count_back, &done, &error), BOXLITE_OK);
    for (int i = 0; i < POSTED; i++)
        while (sem_wait(&posted_back) < 0)
            ;
    boxlite_runtime_free(own); /* wakes all three */
    for (size_t i = 0; i < 3; i++)
        pthread_join(drains[i], NULL);
    assert_int_equal(done, POSTED); /* each once */
    sem_destroy(&posted_back);
}

static void post_again(CBoxInfoList *list, CBoxliteError *failure, void *data)
{
    count_list(list, failure, data);
    if (atomic_load((atomic_int *)data) < POSTED)
        assert_int_equal(boxlite_list_info(runtime, post_again, data, NULL), BOXLITE_OK);
}

static void drain_within(CBoxInfoList *list, CBoxliteError *failure, void *data)
{
    count_list(list, failure, data);
    if (atomic_load((atomic_int *)data) == 1)
        while (atomic_load((atomic_int *)data) < 3)
            assert_true(boxlite_runtime_drain(runtime, -1, NULL) >= 0);
}

static void callbacks_post_and_drain(void **state)
{
    (void)state;
    atomic_int done = 0;

    assert_int_equal(boxlite_list_info(runtime, post_again, &done, &error), BOXLITE_OK);
    drain_until(runtime, &done, POSTED);
    assert_int_equal(done, POSTED);
    atomic_store(&done, 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(boxlite_list_info(runtime, drain_within, &done, &error), BOXLITE_OK);
    drain_until(runtime, &done, 3);
    assert_int_equal(done, 3);
}

/* ---- Output that nobody drains ---- */

static size_t flooded, most_queued;
static bool in_order;

static void on_flood(const uint8_t *data, size_t length, void *user)
{
    (void)user;
    pthread_mutex_lock(&runtime->queue.lock);
    if (runtime->queue.count > most_queued)
        most_queued = runtime->queue.count;
    pthread_mutex_unlock(&runtime->queue.lock);
    for (size_t i = 0; i < length; i++)
        in_order = in_order && data[i] == 'a' + (flooded + i) % 26;
    flooded += length;
}

static void on_exit_code(int code, void *user)
{
    assert_int_equal(code, 0);
    count(NULL, user);
}

static void output_is_held_back_by_a_full_queue(void **state)
{
    (void)state;
    atomic_int done = 0;

    if (!has_processes()) {
        print_message("no pidfd_open() here: nothing can be started\n");
        return;
    }

    CBoxHandle *box = make_box("flood");
    CExecutionHandle *executions[3];

    assert_int_equal(boxlite_start_box(box, count, &done, &error), BOXLITE_OK);
    drain_until(runtime, &done, 1);
    flooded = most_queued = 0;
    in_order = true;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(boxlite_box_exec(box, &(BoxliteCommand){.command = "x"}, &executions[i], &error), BOXLITE_OK);
        if (i == 0)
            assert_int_equal(boxlite_execution_on_stdout(executions[i], on_flood, NULL, &error), BOXLITE_OK);
        assert_int_equal(boxlite_execution_on_exit(executions[i], on_exit_code, &done, &error), BOXLITE_OK);
    }
    /* Input wakes the thread that reads output, which must not take that as room. */
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 100; j++)
            assert_int_equal(boxlite_execution_stdin_write(executions[i], (const uint8_t *)"x", 1, &error), BOXLITE_OK);
    drain_until(runtime, &done, 4);
    assert_int_equal(flooded, 20000);
    assert_true(in_order);
    /* Exits are no output: one an execution may come on top. */
    assert_in_range(most_queued, 1, BOXLITE_QUEUE_CAPACITY + 3);
    for (int i = 0; i < 3; i++)
        boxlite_execution_free(executions[i]);
    remove_box(box);
}

/* ---- Forked children ---- */

struct held {
    CBoxHandle *box;
    CExecutionHandle *execution;
    CBoxliteImageHandle *images;
};

/*
 * in_fork() - Run a function in a forked child
 * The child ends by a signal: it has no say about the memory of threads that it does not have, and leak checkers would ask it.
 *
 * Return: what the function returned; -1: it did not end
 */
static int in_fork(int (*run)(void *), void *data)
{
    int answer[2], said = -1;

    assert_int_equal(pipe2(answer, O_CLOEXEC), 0);

    pid_t child = fork();

    if (child == 0) {
        alarm(CHILD_SECONDS);
        said = run(data);
        if (write(answer[1], &said, sizeof said) > 0)
            raise(SIGKILL);
    }
    assert_true(child > 0);
    close(answer[1]);
    if (read(answer[0], &said, sizeof said) != sizeof said)
        said = -1;
    close(answer[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    return said;
}

/* in_child() - Every way into the library with what the parent opened. Return: 0; the line of what went wrong */
static int in_child(void *data)
{
    const struct held *held = data;

#define REFUSED(call)                                                                                                              \
    if ((call) != BOXLITE_INVALID_STATE)                                                                                           \
    return __LINE__
    atomic_int done = 0;
    CExecutionHandle *execution = NULL;
    CBoxliteImageHandle *images = NULL;
    CBoxliteOptions *options = NULL;

    if (boxlite_options_new("busybox", &options, NULL) != BOXLITE_OK)
        return __LINE__;
    REFUSED(boxlite_create_box(runtime, options, on_box, NULL, &error));
    boxlite_options_free(options);

    CBoxliteRuntime *own = runtime;

    REFUSED(boxlite_runtime_new(NULL, NULL, 0, &own, NULL));
    if (own)
        return __LINE__;
    REFUSED(boxlite_get(runtime, "x", on_box, NULL, NULL));
    REFUSED(boxlite_runtime_images(runtime, &images, NULL));
    REFUSED(boxlite_runtime_shutdown(runtime, 0, count, &done, NULL));
    REFUSED(boxlite_start_box(held->box, count, &done, NULL));
    REFUSED(boxlite_box_exec(held->box, &(BoxliteCommand){.command = "x"}, &execution, NULL));
    REFUSED(boxlite_copy_into(held->box, "/a", "/b", count, &done, NULL));
    REFUSED(boxlite_execution_stdin_write(held->execution, (const uint8_t *)"x", 1, NULL));
    REFUSED(boxlite_execution_stdin_close(held->execution, NULL));
    REFUSED(boxlite_execution_on_exit(held->execution, on_exit_code, &done, NULL));
    REFUSED(boxlite_execution_kill(held->execution, count, &done, NULL));
    if (boxlite_runtime_drain(runtime, 0, NULL) != -1 || boxlite_runtime_fd(runtime) != -1 ||
        boxlite_copy_out_start(held->box, "/a", NULL, NULL) || boxlite_execution_stdin_pending(held->execution) ||
        boxlite_execution_duration_us(held->execution))
        return __LINE__;
    boxlite_execution_free(held->execution);
    boxlite_image_free(held->images);
    boxlite_box_free(held->box);
    boxlite_runtime_free(runtime);
    return 0;
}

/* open_in_child() - A runtime of the child's own. Return: 0; 1 */
static int open_in_child(void *data)
{
    CBoxliteRuntime *own = NULL;

    (void)data;
    if (boxlite_runtime_new(NULL, NULL, 0, &own, NULL) != BOXLITE_OK)
        return 1;
    boxlite_runtime_free(own);
    return 0;
}

/* forked_children_of_idle_programs_may() - A program whose runtimes have all been freed has children like any other's. */
static void forked_children_of_idle_programs_may(void **state)
{
    (void)state;
    assert_int_equal(in_fork(open_in_child, NULL), 1);
    boxlite_runtime_free(runtime);
    assert_int_equal(in_fork(open_in_child, NULL), 0);
    runtime = open_one();
    assert_int_equal(in_fork(open_in_child, NULL), 1);
}

/* busy() - A thread that keeps the locks of the library moving, so that forks meet them in every state. */
static void *busy(void *data)
{
    while (!atomic_load((atomic_bool *)data)) {
        CBoxliteRuntime *own = open_one();

        boxlite_runtime_free(own);
    }
    return NULL;
}

static void forked_children_are_refused_everywhere(void **state)
{
    (void)state;
    struct held held = {.box = make_box(NULL)};
    atomic_bool over = false;
    pthread_t other;

    assert_int_equal(boxlite_box_exec(held.box, &(BoxliteCommand){.command = "cat"}, &held.execution, &error), BOXLITE_OK);
    assert_int_equal(boxlite_runtime_images(runtime, &held.images, &error), BOXLITE_OK);
    assert_int_equal(pthread_create(&other, NULL, busy, &over), 0);
    for (int round = 0; round < 10; round++) {
        int answer = in_fork(in_child, &held);

        if (answer)
            fail_msg("the child failed in line %d", answer);
    }
    atomic_store(&over, true);
    pthread_join(other, NULL);
    boxlite_execution_free(held.execution);
    boxlite_image_free(held.images);
    remove_box(held.box);
}

/* ---- Starts that fail ---- */

static void count_failure(CBoxliteError *failure, void *data)
{
    if (failure && failure->code != BOXLITE_OK)
        atomic_fetch_add((atomic_int *)data, 1);
}

/* reopen() - Leave the runtime with all that is under way. A child that was not reaped by then is nobody's any more. */
static void reopen(void)
{
    siginfo_t info = {0};

    boxlite_runtime_free(runtime);
    assert_int_equal(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT), -1);
    assert_int_equal(errno, ECHILD);
    runtime = open_one();
}

static void starts_that_die_and_are_abandoned_leave_no_child(void **state)
{
    (void)state;
    CBoxHandle *boxes[ABANDONED];
    char *ids[ABANDONED];
    atomic_int failed = 0, done = 0;

    if (!has_processes()) {
        print_message("no pidfd_open() here: nothing can be started\n");
        skip();
    }
    for (int i = 0; i < ABANDONED; i++) {
        boxes[i] = make_box("early");
        ids[i] = boxlite_box_id(boxes[i]);
    }
    /* All of them end, and nobody asks how. */
    for (int i = 0; i < ABANDONED; i++)
        assert_int_equal(boxlite_start_box(boxes[i], count_failure, &failed, &error), BOXLITE_OK);
    drain_until(runtime, &failed, ABANDONED);
    for (int i = 0; i < ABANDONED; i++)
        boxlite_box_free(boxes[i]);
    reopen();

    /* One again and again, and the program goes while some of it is under way. */
    for (int i = 0; i < ABANDONED; i++) {
        CBoxHandle *box = NULL;

        assert_int_equal(boxlite_get(runtime, ids[0], on_box, &box, &error), BOXLITE_OK);
        while (!box)
            assert_true(boxlite_runtime_drain(runtime, -1, &error) >= 0);
        for (int again = 0; again < 2; again++)
            assert_int_equal(boxlite_start_box(box, count_failure, &failed, &error), BOXLITE_OK);
        boxlite_box_free(box);
        if (i % 2)
            drain_until(runtime, &failed, atomic_load(&failed) + 1);
        reopen();
    }
    for (int i = 0; i < ABANDONED; i++) {
        assert_int_equal(boxlite_remove(runtime, ids[i], 0, count, &done, &error), BOXLITE_OK);
        boxlite_free_string(ids[i]);
    }
    drain_until(runtime, &done, ABANDONED);
}

/* ---- Values ---- */

/* long_text() - A path, as it begins with a slash, and a name that is none. */
static char *long_text(void)
{
    char *text = malloc(LONG_BYTES + 1);

    assert_non_null(text);
    memset(text, 'x', LONG_BYTES);
    text[0] = '/';
    text[LONG_BYTES] = '\0';
    return text;
}

/* set_text() - The @which of all texts of a new box. Return: whether there is one */
static bool set_text(CBoxliteOptions *options, int which, const char *text)
{
    const char *const list[] = {"true", text};

    switch (which) {
    case 0:
        boxlite_options_set_name(options, text);
        return true;
    case 1:
        boxlite_options_set_rootfs_path(options, text);
        return true;
    case 2:
        boxlite_options_set_workdir(options, text);
        return true;
    case 3:
        boxlite_options_set_user(options, text);
        return true;
    case 4:
        boxlite_options_set_cmd(options, list, 2);
        return true;
    case 5:
        boxlite_options_set_entrypoint(options, list, 2);
        return true;
    case 6:
        boxlite_options_add_env(options, "KEY", text);
        return true;
    case 7:
        boxlite_options_add_env(options, text, "value");
        return true;
    default:
        return false;
    }
}

static void on_refused(CBoxHandle *box, CBoxliteError *failure, void *data)
{
    assert_null(box);
    assert_non_null(failure);
    assert_true(strlen(failure->message) < 4096); /* a message, not the text */
    *(enum BoxliteErrorCode *)data = failure->code;
}

/* refused_box() - What a box of these options is refused with, at once or by its event. */
static enum BoxliteErrorCode refused_box(CBoxliteOptions *options)
{
    enum BoxliteErrorCode outcome = BOXLITE_OK, code = boxlite_create_box(runtime, options, on_refused, &outcome, &error);

    if (code != BOXLITE_OK) {
        boxlite_options_free(options);
        return code_of(code);
    }
    assert_int_equal(boxlite_runtime_drain(runtime, -1, &error), 1);
    return outcome;
}

static void texts_without_end(void **state)
{
    (void)state;
    char *text = long_text();
    CBoxliteOptions *options = NULL;
    enum BoxliteErrorCode outcome = BOXLITE_OK;

    for (int which = 0; which < 8; which++) {
        assert_int_equal(boxlite_options_new("busybox", &options, &error), BOXLITE_OK);
        assert_true(set_text(options, which, text));

        enum BoxliteErrorCode code = refused_box(options);

        if (code != BOXLITE_INVALID_ARGUMENT && code != BOXLITE_STORAGE)
            fail_msg("text %d gave code %d", which, (int)code);
    }
    assert_int_equal(boxlite_options_new(text, &options, &error), BOXLITE_OK);
    assert_int_equal(refused_box(options), BOXLITE_INVALID_ARGUMENT);
    assert_int_equal(boxlite_get(runtime, text, on_refused, &outcome, &error), BOXLITE_OK);
    assert_int_equal(boxlite_runtime_drain(runtime, -1, &error), 1);
    assert_int_equal(outcome, BOXLITE_NOT_FOUND);

    CBoxliteRuntime *own = NULL;

    assert_int_not_equal(code_of(boxlite_runtime_new(text, NULL, 0, &own, &error)), BOXLITE_OK);
    assert_null(own);
    free(text);
}

static void texts_that_are_no_text(void **state)
{
    (void)state;
    static const char *const bad[] = {"\xff\xfe", "\xc0\x80", "\xed\xa0\x80", "a\nb", "\x1b[31m", "..", "", "/", "a/b", " "};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CBoxliteOptions *options = NULL;
        enum BoxliteErrorCode outcome = BOXLITE_OK;

        assert_int_equal(boxlite_options_new("busybox", &options, &error), BOXLITE_OK);
        boxlite_options_set_name(options, bad[i]);
        assert_int_equal(refused_box(options), BOXLITE_INVALID_ARGUMENT);
        assert_int_equal(boxlite_get(runtime, bad[i], on_refused, &outcome, &error), BOXLITE_OK);
        assert_int_equal(boxlite_runtime_drain(runtime, -1, &error), 1);
        assert_int_equal(outcome, BOXLITE_NOT_FOUND);
    }
}

static void numbers_at_their_ends(void **state)
{
    (void)state;
    static const int ends[] = {INT_MIN, -1, INT_MAX};
    CBoxliteRuntime *own = open_one();
    atomic_int done = 0;

    for (size_t i = 0; i < 3; i++) {
        for (int which = 0; which < 3; which++) {
            CBoxliteOptions *options = NULL;

            assert_int_equal(boxlite_options_new("busybox", &options, &error), BOXLITE_OK);
            (which == 0   ? boxlite_options_set_cpus
             : which == 1 ? boxlite_options_set_memory
                          : boxlite_options_set_disk_size_gb)(options, ends[i]);
            boxlite_options_set_cmd(options, NULL, ends[i]);
            boxlite_options_set_entrypoint(options, NULL, ends[i]);
            assert_int_equal(refused_box(options), BOXLITE_INVALID_ARGUMENT);
        }
        /* The longest and the shortest waits end with the first event. */
        assert_int_equal(boxlite_list_info(own, count_list, &done, &error), BOXLITE_OK);
        assert_int_equal(boxlite_runtime_drain(own, ends[i], &error), 1);
        assert_int_equal(boxlite_runtime_shutdown(own, ends[i], count, &done, &error), BOXLITE_OK);
        assert_int_equal(boxlite_runtime_drain(own, -1, &error), 1);
    }
    assert_int_equal(done, 6);
    boxlite_runtime_free(own);
}

/* A refusal leaves the options to the caller, who may mend and use them, as often as it takes. */
static void options_are_mended_and_used_again(void **state)
{
    (void)state;
    CBoxliteOptions *options = NULL;
    CBoxHandle *box = NULL;

    assert_int_equal(boxlite_options_new("busybox", &options, &error), BOXLITE_OK);
    boxlite_options_set_auto_remove(options, 0);
    for (int i = 0; i < 100; i++) {
        boxlite_options_set_cpus(options, -1);
        boxlite_options_set_name(options, i % 2 ? "mended" : "changed");
        boxlite_options_add_env(options, "KEY", "value");
        assert_int_equal(code_of(boxlite_create_box(runtime, options, on_box, NULL, &error)), BOXLITE_INVALID_ARGUMENT);
    }
    boxlite_options_set_cpus(options, 1);
    assert_int_equal(boxlite_create_box(runtime, options, on_box, &box, &error), BOXLITE_OK);
    assert_int_equal(boxlite_runtime_drain(runtime, -1, &error), 1);
    assert_non_null(box);
    remove_box(box);
}

/* ---- A home that others use ---- */

/* Whoever holds what locks in a home: opening it waits for none of them. */
static void opening_waits_for_nobody(void **state)
{
    (void)state;
    if (!has_processes())
        return;

    CBoxHandle *box = make_box(NULL);
    char *id = boxlite_box_id(box);
    struct holder holders[] = {hold_ofd(id, "lifecycle.lock", F_WRLCK, 0, 0), hold_ofd(id, "../../db/setup.lock", F_WRLCK, 0, 0),
                               hold_ofd(id, "disks/disk.qcow2", F_WRLCK, 100, 200), hold_posix(id)};
    CBoxliteRuntime *own;
    atomic_int done = 0;

    alarm(CHILD_SECONDS); /* one that waits ends all of this */
    own = open_one();
    assert_int_equal(boxlite_list_info(own, count_list, &done, &error), BOXLITE_OK);
    assert_int_equal(boxlite_runtime_drain(own, -1, &error), 1);
    boxlite_runtime_free(own);
    alarm(0);
    /* Backwards: each holder has the descriptors of those before it. */
    for (size_t i = sizeof holders / sizeof *holders; i > 0; i--)
        let_go(&holders[i - 1]);
    boxlite_free_string(id);
    remove_box(box);
}

static int set_up(void **state)
{
    return fixture_setup(state) || boxlite_runtime_new(fixture_home, NULL, 0, &runtime, &error) != BOXLITE_OK;
}

static int tear_down(void **state)
{
    boxlite_runtime_free(runtime);
    return fixture_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(freed_by_two_threads_at_once),
        cmocka_unit_test(freed_in_a_callback_and_after_it),
        cmocka_unit_test(handles_outlive_their_runtime),
        cmocka_unit_test(executions_outlive_their_runtime),
        cmocka_unit_test(drained_by_three_threads),
        cmocka_unit_test(callbacks_post_and_drain),
        cmocka_unit_test(output_is_held_back_by_a_full_queue),
        cmocka_unit_test(starts_that_die_and_are_abandoned_leave_no_child),
        cmocka_unit_test(forked_children_are_refused_everywhere),
        cmocka_unit_test(forked_children_of_idle_programs_may),
        cmocka_unit_test(texts_without_end),
        cmocka_unit_test(texts_that_are_no_text),
        cmocka_unit_test(numbers_at_their_ends),
        cmocka_unit_test(options_are_mended_and_used_again),
        cmocka_unit_test(opening_waits_for_nobody),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
