/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_report.c - exit reports, which speak for a guest: numbers within their ranges, texts that can't write to a terminal */
#include <string.h>

#include "core/report.h"
#include "fuzz.h"

/* printable() - No control character, but the newline where @lines allows it. */
static int printable(const char *text, int lines)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            if (!lines || *text != '\n')
                return 0;
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bl_report report;

    if (bl_report_parse((const char *)data, size, &report) < 0)
        return 0;
    must(report.exit_code >= 0 && report.exit_code <= 255 && report.signal >= 0 && report.signal <= 64);
    must(report.ended_at_ms >= 0);
    must(memchr(report.message, '\0', sizeof report.message) && printable(report.message, 0));
    must(!report.console || (strlen(report.console) <= BL_REPORT_CONSOLE_MAX && printable(report.console, 1)));
    bl_report_free(&report);
    return 0;
}
