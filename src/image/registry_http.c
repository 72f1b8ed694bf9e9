/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_http.c - transfers over libcurl's multi interface; see registry_http.h
 *
 * A transfer moves WAITING -> RUNNING (one request, an easy handle of its own; connections are shared through the multi
 * handle) -> what registry_verdict.c says: DONE, FAILED, or WAITING again, for the next hop, or for a pause's end. A retry begins
 * again at the transfer's own URL: the address that a redirect led to is often signed for a short time.
 *
 * A server that answers a Range request with the whole body is no failure: what the sink has already is skipped.
 */
#include "image/registry_http.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/io.h"
#include "base/os.h"
#include "base/strings.h"
#include "image/limit.h"

#define CONNECT_TIMEOUT_S   30L
#define STALL_S             60
#define FIRST_PAUSE_MS      250
#define PAUSE_MAX_MS        8000
#define RETRY_AFTER_MAX_S   120
#define ATTEMPTS            6
#define ATTEMPTS_TO_REACH   3          /* a mistyped host is not worth a long wait */
#define PROGRESS_BYTES      (1u << 20) /* that much more is progress: attempts are counted anew */
#define COMPLAINT_MAX_BYTES 8192
#define ERROR_BODY_MAX      (1u << 20)

struct bl_http {
    CURLM *multi;
    struct bl_http_settings settings;
    struct bl_transfer *transfers; /* WAITING or RUNNING */
};

static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static CURLcode global_result;

static void init_global(void)
{
    global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

int bl_http_create(const struct bl_http_settings *settings, struct bl_http **out, struct bl_error *err)
{
    struct bl_http *http = calloc(1, sizeof *http);

    pthread_once(&global_once, init_global);
    if (http && !global_result)
        http->multi = curl_multi_init();
    if (!http || !http->multi) {
        free(http);
        return bl_fail_memory(err);
    }
    http->settings = *settings;
    if (!http->settings.stall_s)
        http->settings.stall_s = STALL_S;
    if (!http->settings.first_pause_ms)
        http->settings.first_pause_ms = FIRST_PAUSE_MS;
    *out = http;
    return 0;
}

/* end_request() - Give back what one request needed. */
static void end_request(struct bl_transfer *transfer)
{
    if (transfer->easy) {
        curl_multi_remove_handle(transfer->http->multi, transfer->easy);
        curl_easy_cleanup(transfer->easy);
        transfer->easy = NULL;
    }
    curl_slist_free_all(transfer->lines);
    transfer->lines = NULL;
}

void bl_transfer_abandon(struct bl_transfer *transfer)
{
    if (!transfer->http)
        return;
    end_request(transfer);
    for (struct bl_transfer **at = &transfer->http->transfers; *at; at = &(*at)->next) {
        if (*at == transfer) {
            *at = transfer->next;
            break;
        }
    }
    transfer->http = NULL;
    transfer->next = NULL;
}

static void clear_response(struct bl_response *response)
{
    bl_auth_challenge_free(&response->challenge);
    bl_buffer_free(&response->complaint);
    *response = (struct bl_response){.complaint = BL_BUFFER_INIT(COMPLAINT_MAX_BYTES)};
}

void bl_transfer_finish(struct bl_transfer *transfer)
{
    bl_transfer_abandon(transfer);
    clear_response(&transfer->response);
    free(transfer->url);
    free(transfer->current_url);
    transfer->url = transfer->current_url = NULL;
}

void bl_http_free(struct bl_http *http)
{
    if (!http)
        return;
    while (http->transfers)
        bl_transfer_abandon(http->transfers);
    curl_multi_cleanup(http->multi);
    free(http);
}

void bl_http_start(struct bl_http *http, struct bl_transfer *transfer)
{
    transfer->http = http;
    transfer->next = http->transfers;
    http->transfers = transfer;
    transfer->state = BL_TRANSFER_WAITING;
    transfer->due_ms = bl_now_ms();
    transfer->redirects = transfer->attempts = transfer->challenges = 0;
    transfer->progress_bytes = 0;
}

/* header_value() - The value of a header line when it is the one of this name. Return: allocated, or NULL */
static char *header_value(const char *line, size_t length, const char *name)
{
    size_t start = strlen(name);

    if (length <= start || strncasecmp(line, name, start) != 0 || line[start] != ':')
        return NULL;
    start++;
    while (start < length && (line[start] == ' ' || line[start] == '\t'))
        start++;
    while (length > start && (line[length - 1] == '\r' || line[length - 1] == '\n' || line[length - 1] == ' '))
        length--;
    return strndup(line + start, length - start);
}

static size_t take_header(char *line, size_t size, size_t count, void *data)
{
    struct bl_transfer *transfer = data;
    struct bl_response *response = &transfer->response;
    size_t length = size * count;
    char *value;

    if (length > 5 && !strncasecmp(line, "HTTP/", 5)) {
        clear_response(response);
        return length;
    }
    if ((value = header_value(line, length, "WWW-Authenticate")))
        bl_auth_challenge_parse(value, &response->challenge);
    else if ((value = header_value(line, length, "Docker-Content-Digest")))
        snprintf(response->digest, sizeof response->digest, "%s", value);
    else if ((value = header_value(line, length, "Content-Type")))
        snprintf(response->content_type, sizeof response->content_type, "%.*s", (int)strcspn(value, "; "), value);
    else if ((value = header_value(line, length, "Content-Range")))
        response->has_range = sscanf(value, "bytes %" SCNu64 "-", &response->range_start) == 1;
    free(value);
    return length;
}

/* begin_body() - The first bytes of a good answer: where in the whole do they stand? Return: 0; -1: not where they should */
static int begin_body(struct bl_transfer *transfer)
{
    const struct bl_response *response = &transfer->response;

    if (response->status == 206 && (!response->has_range || response->range_start != transfer->offset_bytes)) {
        transfer->ranges_refused = true;
        return -1;
    }
    transfer->skip_bytes = response->status == 206 ? 0 : transfer->offset_bytes;
    return 0;
}

static int pass_on(struct bl_transfer *transfer, const char *bytes, size_t length)
{
    uint64_t most = transfer->size_bytes < transfer->limit_bytes ? transfer->size_bytes : transfer->limit_bytes;

    if (transfer->skip_bytes) {
        size_t known = transfer->skip_bytes < length ? (size_t)transfer->skip_bytes : length;

        transfer->skip_bytes -= known;
        bytes += known;
        length -= known;
    }
    if (length > most - transfer->offset_bytes)
        return bl_fail(&transfer->error, transfer->size_bytes <= transfer->limit_bytes ? BL_IMAGE : BL_RESOURCE_EXHAUSTED, 0,
                       "%s: it has more than the %" PRIu64 " bytes that it may have", transfer->what, most);
    if (length && transfer->sink(transfer, bytes, length, &transfer->error))
        return -1;
    transfer->offset_bytes += length;
    transfer->progress_bytes += length;
    return 0;
}

static size_t take_body(char *bytes, size_t size, size_t count, void *data)
{
    struct bl_transfer *transfer = data;
    struct bl_response *response = &transfer->response;
    size_t length = size * count;

    if (!response->status) {
        curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &response->status);
        if ((response->status == 200 || response->status == 206) && begin_body(transfer))
            return 0;
    }
    if (response->status == 200 || response->status == 206 || (response->status == 201 && transfer->form)) {
        transfer->sink_failed = pass_on(transfer, bytes, length) != 0;
        return transfer->sink_failed ? 0 : length;
    }

    size_t room = bl_buffer_room(&response->complaint);

    /* Enough of it; what a hostile server goes on to send is not waited for. */
    if (!room)
        return 0;
    return bl_buffer_append(&response->complaint, bytes, length < room ? length : room) ? 0 : length;
}

/* add_line() - One header line. Return: 0; -1 without memory */
static int add_line(struct bl_transfer *transfer, const char *line)
{
    struct curl_slist *grown = curl_slist_append(transfer->lines, line);

    if (!grown)
        return -1;
    transfer->lines = grown;
    return 0;
}

static int add_lines(struct bl_transfer *transfer, const char *url)
{
    const char *authorization = transfer->authorization ? *transfer->authorization : NULL;

    transfer->shown = authorization;
    for (const char *const *line = transfer->headers; line && *line; line++)
        if (add_line(transfer, *line))
            return -1;
    if (authorization && bl_same_origin(url, transfer->url)) {
        char *line = bl_format("Authorization: %s", authorization);
        int result = line ? add_line(transfer, line) : -1;

        if (line)
            explicit_bzero(line, strlen(line));
        free(line);
        return result;
    }
    return 0;
}

/* set_options() - All that a request is. Return: 0; -1 */
static int set_options(struct bl_transfer *transfer, const char *url)
{
    const struct bl_http_settings *settings = &transfer->http->settings;
    CURL *easy = transfer->easy;
    char host[256], range[32];
    int failed = 0;

#define SET(option, value) (failed |= curl_easy_setopt(easy, option, value) != CURLE_OK)
    SET(CURLOPT_URL, url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_USERAGENT, "boxlite/" BL_VERSION);
    SET(CURLOPT_CONNECTTIMEOUT, CONNECT_TIMEOUT_S);
    SET(CURLOPT_LOW_SPEED_LIMIT, 1L);
    SET(CURLOPT_LOW_SPEED_TIME, (long)settings->stall_s);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_BUFFERSIZE, 256L << 10);
    SET(CURLOPT_ERRORBUFFER, transfer->reason);
    SET(CURLOPT_PRIVATE, transfer);
    SET(CURLOPT_HEADERFUNCTION, take_header);
    SET(CURLOPT_HEADERDATA, transfer);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, transfer);
    if (settings->ca_file)
        SET(CURLOPT_CAINFO, settings->ca_file);
    if (settings->skip_verify) {
        SET(CURLOPT_SSL_VERIFYPEER, 0L);
        SET(CURLOPT_SSL_VERIFYHOST, 0L);
    }
    /* A proxy can't reach this machine's own servers, and is told of none. */
    if (bl_is_loopback(bl_url_host(url, host, sizeof host)))
        SET(CURLOPT_PROXY, "");
    if (transfer->form)
        SET(CURLOPT_POSTFIELDS, transfer->form);
    if (transfer->offset_bytes && !transfer->ranges_refused) {
        snprintf(range, sizeof range, "%" PRIu64 "-", transfer->offset_bytes);
        SET(CURLOPT_RANGE, range);
    }
    failed |= add_lines(transfer, url);
    SET(CURLOPT_HTTPHEADER, transfer->lines);
#undef SET
    return failed ? -1 : 0;
}

static void end_transfer(struct bl_transfer *transfer, enum bl_transfer_state state)
{
    bl_transfer_abandon(transfer);
    transfer->state = state;
}

static void begin_request(struct bl_transfer *transfer)
{
    const char *url = transfer->current_url ? transfer->current_url : transfer->url;

    clear_response(&transfer->response);
    transfer->reason[0] = '\0';
    transfer->sink_failed = false;
    transfer->easy = curl_easy_init();
    if (!transfer->easy || set_options(transfer, url) || curl_multi_add_handle(transfer->http->multi, transfer->easy)) {
        bl_fail_memory(&transfer->error);
        end_transfer(transfer, BL_TRANSFER_FAILED);
        return;
    }
    transfer->state = BL_TRANSFER_RUNNING;
}

/* pause_before_retry() - How long to wait: what the server asks for, else doubling, with some noise. Return: ms */
static int64_t pause_before_retry(const struct bl_transfer *transfer, int64_t asked_s)
{
    int64_t pause = transfer->http->settings.first_pause_ms << (transfer->attempts < 12 ? transfer->attempts - 1 : 11);
    uint16_t noise = 0;

    if (asked_s >= 0)
        return asked_s * 1000;
    if (pause > PAUSE_MAX_MS)
        pause = PAUSE_MAX_MS;
    /* Many that failed at one moment shall not come back at one moment. */
    if (bl_random_bytes(&noise, sizeof noise))
        noise = 0;
    return pause + pause * noise / 65535 / 4;
}

/* retry() - Try again later, unless it was tried often enough. @transfer->error says why */
static void retry(struct bl_transfer *transfer, int64_t asked_s)
{
    bool unreachable = transfer->result == CURLE_COULDNT_RESOLVE_HOST || transfer->result == CURLE_COULDNT_CONNECT;
    unsigned int most = transfer->attempts_most ? transfer->attempts_most : unreachable ? ATTEMPTS_TO_REACH : ATTEMPTS;

    if (transfer->progress_bytes >= PROGRESS_BYTES) {
        transfer->attempts = 0;
        transfer->progress_bytes = 0;
    }
    if (++transfer->attempts >= most || asked_s > RETRY_AFTER_MAX_S) {
        end_transfer(transfer, BL_TRANSFER_FAILED);
        return;
    }
    free(transfer->current_url);
    transfer->current_url = NULL;
    transfer->redirects = 0;
    transfer->challenges = 0;
    transfer->state = BL_TRANSFER_WAITING;
    transfer->due_ms = bl_now_ms() + pause_before_retry(transfer, asked_s);
}

/* end_of_request() - Draw the consequence. */
static void end_of_request(struct bl_transfer *transfer, CURLcode result)
{
    enum bl_verdict verdict;
    char *redirect = NULL;
    int64_t pause_s;
    int failed = 0;

    if (!transfer->response.status)
        curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &transfer->response.status);
    transfer->result = result;
    verdict = bl_transfer_judge(transfer, result, &pause_s, &transfer->error);
    if (verdict == BL_VERDICT_REDIRECT) {
        const char *to = NULL;

        curl_easy_getinfo(transfer->easy, CURLINFO_REDIRECT_URL, &to);
        redirect = to ? strdup(to) : NULL;
    }
    end_request(transfer);
    transfer->state = BL_TRANSFER_WAITING;
    transfer->due_ms = bl_now_ms();
    switch (verdict) {
    case BL_VERDICT_DONE:
        end_transfer(transfer, BL_TRANSFER_DONE);
        break;
    case BL_VERDICT_RETRY:
        retry(transfer, pause_s);
        break;
    case BL_VERDICT_REDIRECT:
        failed = bl_transfer_redirect(transfer, redirect, &transfer->error);
        break;
    case BL_VERDICT_AUTHORIZE:
        /* Another transfer may have been told so first, and what it was given is worth a try. */
        if (*transfer->authorization == transfer->shown)
            failed = transfer->unauthorized(transfer, &transfer->response.challenge, &transfer->error);
        break;
    case BL_VERDICT_FAIL:
        failed = -1;
        break;
    }
    free(redirect);
    if (failed)
        end_transfer(transfer, BL_TRANSFER_FAILED);
}

static bool is_over(const struct bl_http *http, struct bl_error *err)
{
    struct pollfd polled = {.fd = http->settings.cancel_fd, .events = POLLIN};

    if (polled.fd >= 0 && bl_os.poll(&polled, 1, 0) > 0) {
        bl_fail(err, BL_STOPPED, 0, "the transfer was cancelled");
        return true;
    }
    if (http->settings.deadline_ms && bl_now_ms() >= http->settings.deadline_ms) {
        bl_fail_limit(err, "time_s", "it took longer than an image may take; what came is kept, and the next pull continues");
        return true;
    }
    return false;
}

/* begin_due() - Begin what is due. Return: milliseconds until the next one is, or a long time */
static int begin_due(struct bl_http *http)
{
    int64_t now = bl_now_ms(), left = 60000;
    struct bl_transfer *next;

    for (struct bl_transfer *at = http->transfers; at; at = next) {
        next = at->next;
        if (at->state != BL_TRANSFER_WAITING)
            continue;
        if (at->due_ms <= now)
            begin_request(at);
        else if (at->due_ms - now < left)
            left = at->due_ms - now;
    }
    return (int)left;
}

/* collect() - Take up what ended. Return: whether something did */
static bool collect(struct bl_http *http)
{
    const CURLMsg *message;
    bool any = false;
    int left;

    while ((message = curl_multi_info_read(http->multi, &left))) {
        struct bl_transfer *transfer = NULL;
        CURLcode result = message->data.result;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        end_of_request(transfer, result);
        any = true;
    }
    return any;
}

int bl_http_step(struct bl_http *http, bool wait, struct bl_error *err)
{
    struct curl_waitfd cancel = {.fd = http->settings.cancel_fd, .events = CURL_WAIT_POLLIN};
    int left = begin_due(http), running;
    CURLMcode result;

    if (is_over(http, err))
        return -1;
    if (http->settings.deadline_ms && bl_deadline_left(http->settings.deadline_ms) < left)
        left = bl_deadline_left(http->settings.deadline_ms);
    result = curl_multi_perform(http->multi, &running);
    if (!result && !collect(http) && wait && http->transfers)
        result = curl_multi_poll(http->multi, cancel.fd >= 0 ? &cancel : NULL, cancel.fd >= 0 ? 1 : 0, left, NULL);
    return result ? bl_fail(err, BL_NETWORK, 0, "transfer: %s", curl_multi_strerror(result)) : 0;
}

int bl_http_get(struct bl_http *http, struct bl_transfer *transfer, struct bl_error *err)
{
    bl_http_start(http, transfer);
    while (transfer->state == BL_TRANSFER_WAITING || transfer->state == BL_TRANSFER_RUNNING) {
        if (bl_http_step(http, true, err)) {
            bl_transfer_abandon(transfer);
            return -1;
        }
    }
    if (transfer->state == BL_TRANSFER_DONE)
        return 0;
    if (err)
        *err = transfer->error;
    return -1;
}
