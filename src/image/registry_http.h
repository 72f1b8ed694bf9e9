/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_http.h - getting things from servers that fail, redirect and slow down
 *
 * A transfer is one thing to get, however many requests it takes: redirects are followed, failures that can pass are tried
 * again with growing pauses or the pause that the server asks for (Retry-After), and a body that was cut is continued where
 * it ended (Range). Credentials go to the server of the transfer's own URL only, never where it redirects to. From https it never
 * goes to plain http.
 *
 * Many transfers run at once in one thread: they advance inside bl_http_step(), which waits on their sockets, on the next
 * pause's end and on the cancel descriptor, all at once. Nothing here waits by sleeping.
 */
#ifndef BL_IMAGE_REGISTRY_HTTP_H
#define BL_IMAGE_REGISTRY_HTTP_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "image/auth_challenge.h"
#include "image/document.h"

#define BL_HTTP_SIZE_UNKNOWN UINT64_MAX

enum bl_transfer_state {
    BL_TRANSFER_IDLE,
    BL_TRANSFER_WAITING, /* for due_ms, to try (again) */
    BL_TRANSFER_RUNNING,
    BL_TRANSFER_DONE,
    BL_TRANSFER_FAILED, /* see error */
};

/* What a server answered to one request. */
struct bl_response {
    long status;
    char content_type[128];
    char digest[BL_DIGEST_MAX]; /* Docker-Content-Digest, or "" */
    struct bl_auth_challenge challenge;
    uint64_t range_start; /* of a 206 */
    bool has_range;
    struct bl_buffer complaint; /* the start of the body of an error */
};

struct bl_http;

/* One thing to get. Zeroed and filled in by its user, who owns it; touched by http while it is not idle, done or failed. */
struct bl_transfer {
    char *url;                  /* owned: freed by bl_transfer_finish() */
    const char *what;           /* how messages call it: "get the manifest" */
    const char *const *headers; /* further header lines, ends with NULL; may be NULL */
    const char *form;           /* posted, if not NULL */
    char *const *authorization; /* where the value of Authorization stands, NULL there: none; may be NULL */
    uint64_t size_bytes;        /* of the whole, or BL_HTTP_SIZE_UNKNOWN */
    uint64_t limit_bytes;       /* more is refused */
    uint64_t offset_bytes;      /* how much of it the sink has; not 0 at the start: to be continued */
    unsigned int attempts_most; /* in a row without progress; 0: the default */
    /* Take the next bytes. Return: 0; -1 with @err: the transfer fails */
    int (*sink)(struct bl_transfer *transfer, const void *bytes, size_t length, struct bl_error *err);
    /* The server wants to know who asks; NULL: then it fails. Return: 0: try again; -1 with @err */
    int (*unauthorized)(struct bl_transfer *transfer, const struct bl_auth_challenge *challenge, struct bl_error *err);
    void *data;

    enum bl_transfer_state state;
    struct bl_error error;
    struct bl_response response;
    CURLcode result; /* of the last request */

    /* of registry_http.c */
    struct bl_http *http;
    struct bl_transfer *next;
    CURL *easy;
    struct curl_slist *lines;
    char *current_url;       /* where redirects led; NULL: url */
    const char *shown;       /* what stood in *authorization when the request began; compared, never read */
    uint64_t skip_bytes;     /* of the body, which the sink has already */
    uint64_t progress_bytes; /* since the last attempt that counted */
    unsigned int redirects, attempts, challenges;
    bool ranges_refused;
    bool sink_failed;
    int64_t due_ms;
    char reason[CURL_ERROR_SIZE];
};

struct bl_http_settings {
    const char *ca_file; /* NULL: the system's certificates */
    bool skip_verify;
    int cancel_fd;          /* -1: none */
    unsigned int stall_s;   /* a server that sends nothing for this long is given up; 0: the default */
    int64_t first_pause_ms; /* 0: the default */
    int64_t deadline_ms;    /* of the monotonic clock, for everything; 0: none */
};

/* bl_http_create() - Return: 0; -1 with @err. @settings: its strings stay the caller's and outlive the result */
int bl_http_create(const struct bl_http_settings *settings, struct bl_http **out, struct bl_error *err);
/* bl_http_free() - Ends what runs; transfers stay their owners'. */
void bl_http_free(struct bl_http *http);

/* bl_http_start() - Take up a transfer. */
void bl_http_start(struct bl_http *http, struct bl_transfer *transfer);
/*
 * bl_http_step() - Advance all transfers
 * @wait: until something happens; else only what can be done at once
 *
 * Return: 0; -1: BL_STOPPED (cancelled), BL_RESOURCE_EXHAUSTED (the time is over), BL_NETWORK
 */
int bl_http_step(struct bl_http *http, bool wait, struct bl_error *err);
/* bl_http_get() - Start a transfer and wait for its end. Return: 0; -1 with @err */
int bl_http_get(struct bl_http *http, struct bl_transfer *transfer, struct bl_error *err);

/* bl_transfer_finish() - Take it out of http if it runs there, and free what it holds. */
void bl_transfer_finish(struct bl_transfer *transfer);
/* bl_transfer_abandon() - Take it out of http; what it holds stays. */
void bl_transfer_abandon(struct bl_transfer *transfer);

/* What is to be done after a request ended (registry_verdict.c). */
enum bl_verdict { BL_VERDICT_DONE, BL_VERDICT_RETRY, BL_VERDICT_REDIRECT, BL_VERDICT_AUTHORIZE, BL_VERDICT_FAIL };

/*
 * bl_transfer_judge() - What the end of a request means
 * @pause_s: what the server asks for before the next try; -1: nothing
 * @err: filled for BL_VERDICT_RETRY (should it be the last) and BL_VERDICT_FAIL
 */
enum bl_verdict bl_transfer_judge(struct bl_transfer *transfer, CURLcode result, int64_t *pause_s, struct bl_error *err);

/* bl_transfer_redirect() - Take up the URL that the server named. Return: 0; -1 with @err */
int bl_transfer_redirect(struct bl_transfer *transfer, const char *url, struct bl_error *err);

/* bl_same_origin() - Whether two URLs are of one server: scheme, host and port. */
bool bl_same_origin(const char *a, const char *b);
/* bl_url_host() - Host of a URL, without a port; "" when there is none. @host: where to. Return: @host */
const char *bl_url_host(const char *url, char *host, size_t size);
/* bl_is_loopback() - Whether a host (or host:port) can only be this machine. */
bool bl_is_loopback(const char *host);

#endif
