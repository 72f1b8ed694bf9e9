/* SPDX-License-Identifier: Apache-2.0 */
/* version.c - which boxlite this is */
#include "boxlite.h"

const char *boxlite_version(void)
{
    return BL_VERSION;
}
