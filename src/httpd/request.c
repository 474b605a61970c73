#include "httpd/request.h"

#include <http_core.h>
#include <http_log.h>
#include <http_protocol.h>
#include <apr_lib.h>
#include <apr_strings.h>
#include <scoreboard.h>
#include <util_filter.h>

#include "core/form.h"
#include "core/json.h"
#include "core/text.h"
#include "httpd/events.h"
#include "httpd/routes.h"
#include "httpd/runtime.h"

APLOG_USE_MODULE(social_auth);

/* So many bytes over SocialAuthMaxBody are read and dropped: a client that still sends would find
 * its connection, or its HTTP/2 stream, gone before it has the answer. */
#define DROPPED_MAX 65536

static void log_line(sa_call_t *call, int level, const char *text)
{
    ap_log_rerror(APLOG_MARK, level, 0, (request_rec *) call->who, "%s", text);
}

static int origin_listed(const sa_mount_t *mount, const char *origin)
{
    for (int i = 0; origin && i < mount->allow_origins->nelts; i++) {
        if (!strcmp(origin, APR_ARRAY_IDX(mount->allow_origins, i, const char *))) {
            return 1;
        }
    }
    return 0;
}

void sa_request_init(sa_request_t *req, request_rec *r, const sa_mount_t *mount)
{
    memset(req, 0, sizeof(*req));
    req->r = r;
    req->mount = mount;
    req->args = r->args;
    req->origin = apr_table_get(r->headers_in, "Origin");
    req->origin_listed = origin_listed(mount, req->origin);
    req->call = (sa_call_t) {
        .pool = r->pool,
        .now = apr_time_sec(apr_time_now()),
        .settings = &mount->settings,
        .store = mount->store,
        .db = sa_dbd_source(mount),
        .env = sa_runtime_env(),
        .shared = sa_runtime_shared(),
        .gate = sa_runtime_hash_gate(),
        .address = r->useragent_ip,
        .client = sa_client_network(r),
        .request_id = r->log_id,
        .who = r,
        .on_event = sa_event_dispatch,
        .log = log_line,
    };
}

/* ---- query ---- */

json_t *sa_query_parse(sa_request_t *req, sa_error_t **error)
{
    apr_pool_t *p = req->r->pool;
    const char *args = req->args ? req->args : "", *why;
    json_t *query = sa_form_parse(p, args, strlen(args), &why);

    if (!query) {
        *error = sa_error(p, SA_E_PARSE_ERROR, why, NULL);
        (*error)->text = apr_pstrcat(p, "Query string parse error - ", why, NULL);
    }
    return query;
}

void sa_query_hide(sa_request_t *req)
{
    request_rec *r = req->r;

    for (request_rec *each = r; each; each = each->prev) {  /* the log shows the first one */
        each->args = each->parsed_uri.query = NULL;
        each->unparsed_uri = each->uri;
        each->the_request = apr_pstrcat(r->pool, each->method, " ", each->uri, " ", each->protocol,
                                        NULL);
    }
    apr_table_unset(r->headers_in, "Referer");  /* the provider's own page, and its query */
    ap_update_child_status(r->connection->sbh, SERVER_BUSY_WRITE, r);
}

/* ---- body ---- */

int sa_body_unread(const request_rec *r)
{
    const char *length = apr_table_get(r->headers_in, "Content-Length");

    return apr_table_get(r->headers_in, "Transfer-Encoding") || (length && strcmp(length, "0"));
}

static sa_error_t *too_large(sa_request_t *req)
{
    req->r->connection->keepalive = AP_CONN_CLOSE;
    return sa_error(req->r->pool, SA_E_BODY_TOO_LARGE, NULL, "the body is over SocialAuthMaxBody");
}

/* Moves what is in bb to sum. 1 = end of the body, 0 = more to come, -1 = unreadable or not worth
 * reading. *error is set when it is too large. */
static int collect(sa_request_t *req, apr_bucket_brigade *bb, apr_bucket_brigade *sum,
                   apr_size_t *total, sa_error_t **error)
{
    while (!APR_BRIGADE_EMPTY(bb)) {
        apr_bucket *b = APR_BRIGADE_FIRST(bb);
        const char *data;
        apr_size_t len;

        if (APR_BUCKET_IS_EOS(b)) {
            apr_brigade_cleanup(bb);
            return 1;
        }
        if (!APR_BUCKET_IS_METADATA(b)) {
            if (apr_bucket_read(b, &data, &len, APR_BLOCK_READ) != APR_SUCCESS) {
                *error = sa_error(req->r->pool, SA_E_PARSE_ERROR, "the body could not be read",
                                  NULL);
                return -1;
            }
            *total += len;
            if (*total <= req->mount->max_body) {
                apr_brigade_write(sum, NULL, NULL, data, len);
            }
            else if (!*error) {
                *error = too_large(req);
            }
            if (*total > req->mount->max_body + DROPPED_MAX) {
                return -1;
            }
        }
        apr_bucket_delete(b);
    }
    return 0;
}

static int read_all(sa_request_t *req, char **text, apr_size_t *len, sa_error_t **error)
{
    request_rec *r = req->r;
    apr_bucket_brigade *bb = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    apr_bucket_brigade *sum = apr_brigade_create(r->pool, r->connection->bucket_alloc);
    apr_size_t total = 0;
    int end = 0, status = OK;

    while (!end) {
        apr_status_t rv = ap_get_brigade(r->input_filters, bb, AP_MODE_READBYTES, APR_BLOCK_READ,
                                         HUGE_STRING_LEN);
        if (rv != APR_SUCCESS) {
            status = ap_map_http_request_error(rv, HTTP_BAD_REQUEST);
            break;
        }
        end = collect(req, bb, sum, &total, error);
    }
    if (status == OK && !*error) {
        apr_brigade_pflatten(sum, text, len, r->pool);
    }
    apr_brigade_destroy(bb);
    apr_brigade_destroy(sum);
    return status;
}

int sa_is_media_type(const char *header, const char *type)
{
    size_t n = strlen(type);

    return header && !ap_cstr_casecmpn(header, type, n)
           && (!header[n] || header[n] == ';' || apr_isspace(header[n]))
           && !strchr(header, ',');
}

/* A charset other than UTF-8, or a body still compressed, is not a type we take. */
static int is_plain_utf8(const request_rec *r, const char *content_type)
{
    const char *encoding = apr_table_get(r->headers_in, "Content-Encoding");
    const char *charset = ap_strcasestr(content_type, "charset=");

    if (encoding && ap_cstr_casecmp(encoding, "identity")) {
        return 0;
    }
    if (!charset) {
        return 1;
    }
    charset += strlen("charset=");
    charset += *charset == '"';
    return !ap_cstr_casecmpn(charset, "utf-8", 5) || !ap_cstr_casecmpn(charset, "utf8", 4);
}

static sa_error_t *unsupported(const request_rec *r, const char *type)
{
    return sa_error(r->pool, SA_E_UNSUPPORTED_MEDIA_TYPE,
                    type && sa_utf8_valid(type, strlen(type)) ? type : "", NULL);
}

static int is_known_type(const char *type)
{
    return sa_is_media_type(type, "application/json")
           || sa_is_media_type(type, "application/x-www-form-urlencoded");
}

static sa_error_t *parse(sa_request_t *req, const char *text, apr_size_t len)
{
    request_rec *r = req->r;
    const char *type = apr_table_get(r->headers_in, "Content-Type");
    const char *why = "";
    int json = sa_is_media_type(type, "application/json");

    if (!len) {
        req->body = sa_json_own(r->pool, json_object());
        return NULL;
    }
    if (!is_known_type(type) || !is_plain_utf8(r, type)) {
        return unsupported(r, type);
    }
    req->body = json ? sa_json_parse(r->pool, text, len, &why)
                     : sa_form_parse(r->pool, text, len, &why);
    if (!req->body) {
        sa_error_t *error = sa_error(r->pool, SA_E_PARSE_ERROR, why, NULL);
        if (!json) {
            error->text = apr_pstrcat(r->pool, "Form parse error - ", why, NULL);
        }
        return error;
    }
    if (!json_is_object(req->body)) {
        sa_error_t *error = NULL;
        sa_error_field(r->pool, &error, "non_field_errors", SA_E_INVALID,
                       "Invalid data. Expected a dictionary.");
        return error;
    }
    return NULL;
}

int sa_body_read(sa_request_t *req, sa_error_t **error)
{
    const char *length = apr_table_get(req->r->headers_in, "Content-Length");
    const char *type = apr_table_get(req->r->headers_in, "Content-Type");
    char *text = NULL;
    apr_size_t len = 0;

    *error = NULL;
    if (sa_body_unread(req->r) && !is_known_type(type)) {       /* before any 100 Continue */
        *error = unsupported(req->r, type);
        return OK;
    }
    if (length && apr_atoi64(length) > (apr_int64_t) req->mount->max_body + DROPPED_MAX) {
        *error = too_large(req);
        return OK;
    }
    int status = read_all(req, &text, &len, error);
    if (status == HTTP_REQUEST_ENTITY_TOO_LARGE) {      /* LimitRequestBody */
        *error = too_large(req);
        return OK;
    }
    if (status == OK && !*error) {
        *error = parse(req, text, len);
    }
    return status;
}

/* ---- Authorization ---- */

/* The scheme's length when the header starts with one of the mount's types and a space. */
static size_t scheme_length(const sa_request_t *req, const char *header)
{
    const apr_array_header_t *types = req->mount->settings.auth_header_types;

    for (int i = 0; i < types->nelts; i++) {
        const char *type = APR_ARRAY_IDX(types, i, const char *);
        size_t n = strlen(type);
        if (!ap_cstr_casecmpn(header, type, n) && (!header[n] || apr_isspace(header[n]))) {
            return n;
        }
    }
    return 0;
}

/* The header's value when it is of our kind, else NULL. */
static const char *bearer_header(const sa_request_t *req)
{
    const char *header = apr_table_get(req->r->headers_in, "Authorization");

    return header && scheme_length(req, header) ? header : NULL;
}

static sa_error_t *cookie_token(sa_request_t *req, const char **token)
{
    *token = NULL;
    return req->r->method_number == M_GET
           && !(req->route->flags & (SA_ROUTE_BEARER | SA_ROUTE_OWN))
           ? NULL : sa_token_cookie(req, SA_COOKIE_ACCESS, SA_E_TOKEN_NOT_VALID, token);
}

sa_error_t *sa_bearer_token(sa_request_t *req, const char **token)
{
    const char *header = bearer_header(req);

    if (!header) {
        return cookie_token(req, token);
    }
    *token = NULL;
    header += scheme_length(req, header);
    if (*header != ' ' || !header[1] || strpbrk(header + 1, " \t,\"")) {
        return sa_error(req->r->pool, SA_E_TOKEN_NOT_VALID, NULL,
                        "malformed Authorization header");
    }
    *token = header + 1;
    return NULL;
}

sa_error_t *sa_bearer_load(sa_request_t *req, int required)
{
    const char *token;
    sa_error_t *error = sa_bearer_token(req, &token);

    if (error) {
        return error;
    }
    if (!token) {
        return required ? sa_error(req->r->pool, SA_E_NOT_AUTHENTICATED, NULL, NULL) : NULL;
    }
    error = sa_accounts_bearer(&req->call, token, &req->bearer);
    if (!error && req->bearer.third_party && (req->route->flags & SA_ROUTE_OWN)) {
        error = sa_error(req->r->pool, SA_E_FORBIDDEN, NULL, "a third party's token");
    }
    if (error) {
        req->bearer.user_id = NULL;
    }
    return required || bearer_header(req) ? error : NULL;
}

/* ---- fields ---- */

const char *sa_field(sa_request_t *req, const char *name, int flags, sa_error_t **errors)
{
    const json_t *value = json_object_get(req->body, name);
    apr_pool_t *p = req->r->pool;

    if (!value) {
        if (flags & SA_FIELD_REQUIRED) {
            sa_error_field(p, errors, name, SA_E_REQUIRED, NULL);
        }
        return NULL;
    }
    if (!json_is_string(value)) {
        sa_error_field(p, errors, name, json_is_null(value) ? SA_E_NULL : SA_E_INVALID, NULL);
        return NULL;
    }
    const char *text = json_string_value(value);
    if (!(flags & SA_FIELD_MAY_BE_BLANK) && !text[strspn(text, " \t\r\n")]) {
        sa_error_field(p, errors, name, SA_E_BLANK, NULL);
        return NULL;
    }
    return text;
}
