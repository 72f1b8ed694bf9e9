/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry_verdict.c - what the end of a request means: done, again, elsewhere, who are you, or failed
 *
 * What passes by itself is tried again: connections that break or are refused, names that don't resolve, 408, 429 and what is
 * temporary of 5xx. What does not is told at once: a certificate that is not trusted, 404, a body that is not what was asked for.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strings.h"
#include "image/registry_http.h"

#define REDIRECTS_MAX  10
#define CHALLENGES_MAX 2

static void free_url(CURLU **url)
{
    curl_url_cleanup(*url);
}
#define cleanup_url __attribute__((cleanup(free_url)))

static void free_part(char **part)
{
    curl_free(*part);
}
#define cleanup_part __attribute__((cleanup(free_part)))

static CURLU *parse_url(const char *text)
{
    CURLU *url = curl_url();

    if (url && curl_url_set(url, CURLUPART_URL, text, 0)) {
        curl_url_cleanup(url);
        return NULL;
    }
    return url;
}

static bool equal_part(CURLU *a, CURLU *b, CURLUPart part)
{
    cleanup_part char *of_a = NULL;
    cleanup_part char *of_b = NULL;

    return !curl_url_get(a, part, &of_a, CURLU_DEFAULT_PORT) && !curl_url_get(b, part, &of_b, CURLU_DEFAULT_PORT) &&
           !strcasecmp(of_a, of_b);
}

bool bl_same_origin(const char *a, const char *b)
{
    cleanup_url CURLU *url_a = parse_url(a);
    cleanup_url CURLU *url_b = parse_url(b);

    return url_a && url_b && equal_part(url_a, url_b, CURLUPART_SCHEME) && equal_part(url_a, url_b, CURLUPART_HOST) &&
           equal_part(url_a, url_b, CURLUPART_PORT);
}

const char *bl_url_host(const char *url, char *host, size_t size)
{
    cleanup_url CURLU *parsed = parse_url(url);
    cleanup_part char *part = NULL;

    host[0] = '\0';
    if (parsed && !curl_url_get(parsed, CURLUPART_HOST, &part, 0))
        snprintf(host, size, "%s", part);
    return host;
}

bool bl_is_loopback(const char *host)
{
    char name[256];
    struct in_addr four;
    struct in6_addr six;
    size_t length = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");
    const char *start = host[0] == '[' ? host + 1 : host;

    if (host[0] == '[')
        length--;
    if (length >= sizeof name)
        return false;
    memcpy(name, start, length);
    name[length] = '\0';
    if (!strcasecmp(name, "localhost"))
        return true;
    if (inet_pton(AF_INET, name, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, name, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

static const char *url_of(const struct bl_transfer *transfer)
{
    return transfer->current_url ? transfer->current_url : transfer->url;
}

int bl_transfer_redirect(struct bl_transfer *transfer, const char *to, struct bl_error *err)
{
    cleanup_url CURLU *url = to ? parse_url(to) : NULL;
    cleanup_part char *scheme = NULL;
    cleanup_part char *user = NULL;
    char host[256];

    bl_url_host(url_of(transfer), host, sizeof host);
    if (!url || curl_url_get(url, CURLUPART_SCHEME, &scheme, 0))
        return bl_fail(err, BL_NETWORK, 0, "%s: %s redirects to nowhere", transfer->what, host);
    if (++transfer->redirects > REDIRECTS_MAX)
        return bl_fail(err, BL_NETWORK, 0, "%s: %s redirects in circles", transfer->what, host);
    if (strcmp(scheme, "https") != 0 && (strcmp(scheme, "http") != 0 || bl_starts_with(url_of(transfer), "https:")))
        return bl_fail(err, BL_NETWORK, 0, "%s: %s redirects from https to %.16s, which is not safe", transfer->what, host, scheme);
    if (!curl_url_get(url, CURLUPART_USER, &user, 0))
        return bl_fail(err, BL_NETWORK, 0, "%s: %s redirects to an address with a password in it", transfer->what, host);

    char *copy = strdup(to);

    if (!copy)
        return bl_fail_memory(err);
    free(transfer->current_url);
    transfer->current_url = copy;
    return 0;
}

/* complaint_of() - What the server says of its error, from {"errors": [{"code", "message"}]}. @text: "" when nothing */
static void complaint_of(const struct bl_response *response, char *text, size_t size)
{
    cleanup_json json_t *root = response->complaint.length ? json_loadb((const char *)bl_buffer_data(&response->complaint),
                                                                        response->complaint.length, 0, NULL)
                                                           : NULL;
    const json_t *first = json_array_get(json_object_get(root, "errors"), 0);
    const char *message = json_string_value(json_object_get(first, "message"));
    const char *code = json_string_value(json_object_get(first, "code"));

    if (!message)
        message = json_string_value(json_object_get(root, "details"));
    if (!message)
        message = json_string_value(json_object_get(root, "message"));
    if (message || code)
        snprintf(text, size, " (%.60s%s%.200s)", code ? code : "", code && message ? ": " : "", message ? message : "");
    else
        text[0] = '\0';
}

/* judge_status() - An answer that is neither success nor redirect. */
static enum bl_verdict judge_status(struct bl_transfer *transfer, struct bl_error *err)
{
    const struct bl_response *response = &transfer->response;
    char host[256], says[300];

    bl_url_host(url_of(transfer), host, sizeof host);
    complaint_of(response, says, sizeof says);
    switch (response->status) {
    case 401:
        if (transfer->unauthorized && transfer->challenges++ < CHALLENGES_MAX && response->challenge.scheme != BL_AUTH_NONE &&
            bl_same_origin(url_of(transfer), transfer->url))
            return BL_VERDICT_AUTHORIZE;
        bl_fail(err, BL_NETWORK, 0, "%s: unauthorized: %s wants another login, or there is no such image%s", transfer->what, host,
                says);
        return BL_VERDICT_FAIL;
    case 403:
        bl_fail(err, BL_NETWORK, 0, "%s: unauthorized: %s denies access%s", transfer->what, host, says);
        return BL_VERDICT_FAIL;
    case 404:
        bl_fail(err, BL_NOT_FOUND, 0, "%s: not found on %s%s", transfer->what, host, says);
        return BL_VERDICT_FAIL;
    case 408:
    case 425:
    case 500:
    case 502:
    case 503:
    case 504:
        bl_fail(err, BL_NETWORK, 0, "%s: %s answers with %ld%s; try again later", transfer->what, host, response->status, says);
        return BL_VERDICT_RETRY;
    case 429:
        bl_fail(err, BL_NETWORK, 0, "%s: %s says that there were too many requests%s; try again later, or log in", transfer->what,
                host, says);
        return BL_VERDICT_RETRY;
    case 416:
        /* What was to be continued is not there: get it from the start. */
        bl_fail(err, BL_NETWORK, 0, "%s: %s can't continue a transfer", transfer->what, host);
        if (transfer->ranges_refused)
            return BL_VERDICT_FAIL;
        transfer->ranges_refused = true;
        return BL_VERDICT_RETRY;
    default:
        bl_fail(err, BL_NETWORK, 0, "%s: %s answers with %ld%s", transfer->what, host, response->status, says);
        return BL_VERDICT_FAIL;
    }
}

static bool can_pass(CURLcode result)
{
    static const CURLcode passing[] = {
        CURLE_COULDNT_RESOLVE_HOST,
        CURLE_COULDNT_RESOLVE_PROXY,
        CURLE_COULDNT_CONNECT,
        CURLE_OPERATION_TIMEDOUT,
        CURLE_GOT_NOTHING,
        CURLE_SEND_ERROR,
        CURLE_RECV_ERROR,
        CURLE_PARTIAL_FILE,
        CURLE_HTTP2,
        CURLE_HTTP2_STREAM,
        CURLE_AGAIN,
    };

    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (result == passing[i])
            return true;
    return false;
}

/* judge_connection() - A request that ended without a whole answer. */
static enum bl_verdict judge_connection(const struct bl_transfer *transfer, CURLcode result, struct bl_error *err)
{
    const char *reason = transfer->reason[0] ? transfer->reason : curl_easy_strerror(result);
    char host[256];

    bl_url_host(url_of(transfer), host, sizeof host);
    if (result == CURLE_OUT_OF_MEMORY) {
        bl_fail_memory(err);
        return BL_VERDICT_FAIL;
    }
    if (result == CURLE_PEER_FAILED_VERIFICATION)
        bl_fail(err, BL_NETWORK, 0, "%s: the certificate of %s is not trusted: %.300s; 'ca_file' in the configuration adds one",
                transfer->what, host, reason);
    else
        bl_fail(err, BL_NETWORK, 0, "%s: %s: %.300s", transfer->what, host, reason);
    return can_pass(result) ? BL_VERDICT_RETRY : BL_VERDICT_FAIL;
}

enum bl_verdict bl_transfer_judge(struct bl_transfer *transfer, CURLcode result, int64_t *pause_s, struct bl_error *err)
{
    long status = transfer->response.status;
    curl_off_t asked = 0;

    *pause_s = -1;
    if (transfer->sink_failed) {
        if (err)
            *err = transfer->error;
        return BL_VERDICT_FAIL;
    }
    if (result == CURLE_WRITE_ERROR && status == 206 && transfer->ranges_refused) {
        bl_fail(err, BL_NETWORK, 0, "%s: the server sent another part than was asked for", transfer->what);
        return BL_VERDICT_RETRY;
    }
    /* Of an error's body the status is enough. */
    if (result != CURLE_OK && !(status >= 300 && result == CURLE_WRITE_ERROR))
        return judge_connection(transfer, result, err);
    if (status == 200 || status == 206 || (status == 201 && transfer->form)) {
        if (transfer->size_bytes == BL_HTTP_SIZE_UNKNOWN || transfer->offset_bytes == transfer->size_bytes)
            return BL_VERDICT_DONE;
        bl_fail(err, BL_IMAGE, 0, "%s: it has %" PRIu64 " bytes, and should have %" PRIu64, transfer->what, transfer->offset_bytes,
                transfer->size_bytes);
        return BL_VERDICT_FAIL;
    }
    if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308)
        return BL_VERDICT_REDIRECT;
    if (!curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &asked) && asked > 0)
        *pause_s = asked;
    return judge_status(transfer, err);
}
