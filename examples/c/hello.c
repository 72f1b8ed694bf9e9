/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello.c - one command in a virtual machine of its own, the short way
 *
 *     cc hello.c $(pkg-config --cflags --libs boxlite) -o hello && ./hello
 */
#include <boxlite.h>
#include <stdio.h>

int main(void)
{
    CBoxliteSimple *box = NULL;
    CBoxliteExecResult *result = NULL;
    CBoxliteError error = {BOXLITE_OK, NULL};
    const char *const args[] = {"Hello from", "BoxLite"};

    if (boxlite_simple_new("busybox", 1, 256, &box, &error) != BOXLITE_OK ||
        boxlite_simple_run(box, "echo", args, 2, &result, &error) != BOXLITE_OK) {
        fprintf(stderr, "hello: %s\n", error.message);
        boxlite_error_free(&error);
        boxlite_simple_free(box);
        return 1;
    }
    printf("%s", result->stdout_text);

    int code = result->exit_code;

    boxlite_result_free(result);
    boxlite_simple_free(box); /* stops and removes the box */
    return code;
}
