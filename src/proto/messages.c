/* SPDX-License-Identifier: Apache-2.0 */
/* messages.c - OPEN and EXIT, the two messages that both ends take apart; see messages.h */
#include "proto/messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strings.h"

#define SIGNAL_MAX 64

int bl_open_encode(struct bl_buffer *out, const struct bl_open *open)
{
    struct {
        uint16_t tag;
        uint32_t value;
    } numbers[] = {
        {BL_OPEN_KIND, open->kind},
        {BL_OPEN_TTY, open->tty},
        {BL_OPEN_ROWS, open->rows},
        {BL_OPEN_COLUMNS, open->columns},
        {BL_OPEN_STDIN, open->use_stdin},
        {BL_OPEN_STOP_SIGNAL, open->stop_signal},
        {BL_OPEN_COPY_FLAGS, open->copy_flags},
        {BL_OPEN_DETACH, open->detach},
    };

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (numbers[i].value && bl_field_put_u32(out, numbers[i].tag, numbers[i].value) < 0)
            return -1;
    if (open->timeout_ms && bl_field_put_u64(out, BL_OPEN_TIMEOUT_MS, open->timeout_ms) < 0)
        return -1;
    if (open->has_capabilities && bl_field_put_u64(out, BL_OPEN_CAPABILITIES, open->capabilities) < 0)
        return -1;
    return bl_field_put_strings(out, BL_OPEN_ARG, (const char *const *)open->args) < 0 ||
                   bl_field_put_strings(out, BL_OPEN_ENV, (const char *const *)open->env) < 0 ||
                   bl_field_put_string(out, BL_OPEN_CWD, open->cwd) < 0 || bl_field_put_string(out, BL_OPEN_USER, open->user) < 0 ||
                   bl_field_put_string(out, BL_OPEN_PATH, open->path) < 0
               ? -1
               : 0;
}

/* take_string() - Set a string field, once. Return: 0; -1 */
static int take_string(const struct bl_field *field, size_t max, char **out)
{
    if (*out)
        return -1;
    *out = bl_field_string(field, max);
    return *out ? 0 : -1;
}

/* take_number() - A number of at most @max. Return: 0; -1 */
static int take_number(const struct bl_field *field, uint64_t max, uint64_t *out)
{
    return bl_field_number(field, out) < 0 || *out > max ? -1 : 0;
}

static int take_open_field(const struct bl_field *field, struct bl_open *open)
{
    uint64_t number = 0;

    switch (field->tag) {
    case BL_OPEN_ARG:
        return bl_field_add_string(field, BL_ARG_BYTES_MAX, BL_ARGS_MAX, &open->args);
    case BL_OPEN_ENV:
        return bl_field_add_string(field, BL_ARG_BYTES_MAX, BL_ARGS_MAX, &open->env);
    case BL_OPEN_CWD:
        return take_string(field, BL_PATH_BYTES_MAX, &open->cwd);
    case BL_OPEN_USER:
        return take_string(field, BL_NAME_BYTES_MAX, &open->user);
    case BL_OPEN_PATH:
        return take_string(field, BL_PATH_BYTES_MAX, &open->path);
    case BL_OPEN_KIND:
        if (take_number(field, BL_OPEN_COPY_OUT, &number) < 0 || number < BL_OPEN_WORKLOAD)
            return -1;
        open->kind = (enum bl_open_kind)number;
        return 0;
    case BL_OPEN_TTY:
    case BL_OPEN_STDIN:
    case BL_OPEN_DETACH:
        if (take_number(field, 1, &number) < 0)
            return -1;
        *(field->tag == BL_OPEN_TTY ? &open->tty : field->tag == BL_OPEN_STDIN ? &open->use_stdin : &open->detach) = number;
        return 0;
    case BL_OPEN_ROWS:
    case BL_OPEN_COLUMNS:
        if (take_number(field, UINT16_MAX, &number) < 0)
            return -1;
        *(field->tag == BL_OPEN_ROWS ? &open->rows : &open->columns) = (uint16_t)number;
        return 0;
    case BL_OPEN_TIMEOUT_MS:
        return take_number(field, INT64_MAX, &open->timeout_ms);
    case BL_OPEN_STOP_SIGNAL:
        if (take_number(field, SIGNAL_MAX, &number) < 0)
            return -1;
        open->stop_signal = (uint32_t)number;
        return 0;
    case BL_OPEN_COPY_FLAGS:
        if (take_number(field, BL_COPY_FOLLOW_LINKS | BL_COPY_NO_OVERWRITE, &number) < 0)
            return -1;
        open->copy_flags = (uint32_t)number;
        return 0;
    case BL_OPEN_CAPABILITIES:
        open->has_capabilities = true;
        return bl_field_number(field, &open->capabilities);
    default:
        return 0;
    }
}

int bl_open_decode(const void *payload, size_t length, struct bl_open *out)
{
    struct bl_field_reader reader = BL_FIELD_READER(payload, length);
    struct bl_field field;
    int more;

    *out = (struct bl_open){0};
    while ((more = bl_field_next(&reader, &field)) > 0)
        if (take_open_field(&field, out) < 0)
            break;

    bool is_copy = out->kind == BL_OPEN_COPY_IN || out->kind == BL_OPEN_COPY_OUT;

    if (more != 0 || !out->kind || (is_copy && (!out->path || out->path[0] != '/')) || (out->kind == BL_OPEN_EXEC && !out->args)) {
        bl_open_free(out);
        return -1;
    }
    return 0;
}

void bl_open_free(struct bl_open *open)
{
    bl_strings_free(open->args);
    bl_strings_free(open->env);
    free(open->cwd);
    free(open->user);
    free(open->path);
    *open = (struct bl_open){0};
}

int bl_exit_encode(struct bl_buffer *out, const struct bl_exit *exit)
{
    int failed = exit->signal ? bl_field_put_u32(out, BL_EXIT_SIGNAL, (uint32_t)exit->signal)
                              : bl_field_put_u32(out, BL_EXIT_CODE, (uint32_t)exit->code);

    if (exit->timed_out)
        failed |= bl_field_put_u32(out, BL_EXIT_TIMED_OUT, 1);
    if (exit->oom)
        failed |= bl_field_put_u32(out, BL_EXIT_OOM, 1);
    if (exit->error[0])
        failed |= bl_field_put_string(out, BL_EXIT_ERROR, exit->error);
    if (exit->error_number)
        failed |= bl_field_put_u32(out, BL_EXIT_ERRNO, (uint32_t)exit->error_number);
    failed |= bl_field_put_u64(out, BL_EXIT_DURATION_US, exit->duration_us);
    return failed ? -1 : 0;
}

/* take_error() - The message, cut at the limit and made one printable line: it comes from a guest. */
static void take_error(const struct bl_field *field, struct bl_exit *out)
{
    size_t length = field->length < BL_MESSAGE_BYTES_MAX ? field->length : BL_MESSAGE_BYTES_MAX;

    for (size_t i = 0; i < length; i++)
        out->error[i] = field->bytes[i] < 0x20 || field->bytes[i] == 0x7f ? '?' : (char)field->bytes[i];
    out->error[length] = '\0';
}

int bl_exit_decode(const void *payload, size_t length, struct bl_exit *out)
{
    struct bl_field_reader reader = BL_FIELD_READER(payload, length);
    struct bl_field field;
    bool ended = false;
    int more;

    *out = (struct bl_exit){0};
    while ((more = bl_field_next(&reader, &field)) > 0) {
        uint64_t number = 0;

        if (field.tag == BL_EXIT_ERROR) {
            take_error(&field, out);
            continue;
        }
        if (field.tag < BL_EXIT_CODE || field.tag > BL_EXIT_ERRNO)
            continue;
        if (bl_field_number(&field, &number) < 0)
            return -1;
        if ((field.tag == BL_EXIT_CODE && (ended || number > 255)) ||
            (field.tag == BL_EXIT_SIGNAL && (ended || number < 1 || number > SIGNAL_MAX)) ||
            (field.tag == BL_EXIT_ERRNO && number > 4095))
            return -1;
        if (field.tag == BL_EXIT_CODE || field.tag == BL_EXIT_SIGNAL)
            ended = true;
        if (field.tag == BL_EXIT_CODE)
            out->code = (int)number;
        if (field.tag == BL_EXIT_SIGNAL) {
            out->signal = (int)number;
            out->code = 128 + (int)number;
        }
        if (field.tag == BL_EXIT_TIMED_OUT)
            out->timed_out = number != 0;
        if (field.tag == BL_EXIT_OOM)
            out->oom = number != 0;
        if (field.tag == BL_EXIT_DURATION_US)
            out->duration_us = number;
        if (field.tag == BL_EXIT_ERRNO)
            out->error_number = (int)number;
    }
    return more == 0 && ended ? 0 : -1;
}
