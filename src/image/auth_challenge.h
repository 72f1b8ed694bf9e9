/* SPDX-License-Identifier: Apache-2.0 */
/* auth_challenge.h - what a server that answers 401 asks for (RFC 9110, 11.6.1; RFC 6750, 3) */
#ifndef BL_IMAGE_AUTH_CHALLENGE_H
#define BL_IMAGE_AUTH_CHALLENGE_H

#define BL_CHALLENGE_MAX 4096 /* bytes of a header that is looked at */

enum bl_auth_scheme { BL_AUTH_NONE, BL_AUTH_BASIC, BL_AUTH_BEARER };

/* The best challenge of a server: Bearer before Basic. Owned strings; NULL: not said. */
struct bl_auth_challenge {
    enum bl_auth_scheme scheme; /* BL_AUTH_NONE: none that is understood */
    char *realm;
    char *service;
    char *scope;
};

/*
 * bl_auth_challenge_parse() - Take in the value of one WWW-Authenticate header
 * @value: may hold several challenges, in any order
 * @best: what earlier headers of the response gave, or all zero; replaced by something better
 *
 * Return: 0; -1 when the value breaks the grammar or is too long, or memory ran out (@best is as before)
 */
int bl_auth_challenge_parse(const char *value, struct bl_auth_challenge *best);
void bl_auth_challenge_free(struct bl_auth_challenge *challenge);

#endif
