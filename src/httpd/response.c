#include "httpd/request.h"

#include <http_log.h>
#include <http_protocol.h>

#include "core/form.h"
#include "core/json.h"
#include "core/url.h"
#include <apr_strings.h>

APLOG_USE_MODULE(social_auth);

static void common_headers(sa_request_t *req, const char *cache_control)
{
    apr_table_t *headers = req->r->headers_out;

    apr_table_setn(headers, "Cache-Control", cache_control);
    apr_table_setn(headers, "X-Content-Type-Options", "nosniff");
    if (req->browser) {
        apr_table_setn(headers, "Referrer-Policy", "no-referrer");
    }
    sa_cors_headers(req);
}

static int write_json(request_rec *r, const char *text, apr_size_t len)
{
    ap_set_content_type(r, "application/json");
    ap_set_content_length(r, (apr_off_t) len);
    if (!r->header_only) {
        ap_rwrite(text, (int) len, r);
    }
    return OK;
}

int sa_answer_json(sa_request_t *req, int status, const json_t *body)
{
    request_rec *r = req->r;
    const char *text = body ? sa_json_dump(r->pool, body) : NULL;

    if (!text) {                /* out of memory */
        status = HTTP_SERVICE_UNAVAILABLE;
        apr_table_setn(r->headers_out, "Retry-After", "5");
        text = "{\"detail\":\"Service temporarily unavailable, try again later.\","
               "\"error\":\"unavailable\"}";
    }
    common_headers(req, "no-store");
    r->status = status;
    return write_json(r, text, strlen(text));
}

int sa_answer_document(sa_request_t *req, const sa_static_document_t *document)
{
    request_rec *r = req->r;

    common_headers(req, "no-cache");
    apr_table_setn(r->headers_out, "ETag", document->etag);
    int status = ap_meets_conditions(r);
    return status == OK ? write_json(r, document->text, document->len) : status;
}

int sa_answer_redirect(sa_request_t *req, const char *url)
{
    apr_table_setn(req->r->headers_out, "Location", url);
    apr_table_setn(req->r->headers_out, "Referrer-Policy", "no-referrer");
    return sa_answer_empty(req, req->r->method_number == M_GET ? HTTP_MOVED_TEMPORARILY
                                                               : HTTP_SEE_OTHER);
}

int sa_answer_page(sa_request_t *req, const char *html)
{
    request_rec *r = req->r;
    apr_table_t *headers = r->headers_out;

    common_headers(req, "no-store");
    /* No form-action: browsers apply it to where the answer of the form leads, too. */
    apr_table_setn(headers, "Content-Security-Policy",
                   "default-src 'none'; base-uri 'none'; frame-ancestors 'none'");
    apr_table_setn(headers, "X-Frame-Options", "DENY");
    apr_table_setn(headers, "Referrer-Policy", "same-origin");  /* none would make Origin null */
    ap_set_content_type(r, "text/html; charset=utf-8");
    ap_set_content_length(r, (apr_off_t) strlen(html));
    if (!r->header_only) {
        ap_rputs(html, r);
    }
    return OK;
}

int sa_answer_empty(sa_request_t *req, int status)
{
    common_headers(req, "no-store");
    req->r->status = status;
    if (status != HTTP_NO_CONTENT) {
        ap_set_content_length(req->r, 0);
    }
    return OK;
}

/* A body nobody will read is not worth keeping the connection for when it may be large. */
static void give_up_body(sa_request_t *req)
{
    const char *length = apr_table_get(req->r->headers_in, "Content-Length");

    if (!req->body && sa_body_unread(req->r)
        && (!length || apr_atoi64(length) > (apr_int64_t) req->mount->max_body)) {
        req->r->connection->keepalive = AP_CONN_CLOSE;
    }
}

static json_t *field_errors(const sa_error_t *error)
{
    json_t *body = json_object();

    for (int i = 0; i < error->fields->nelts; i++) {
        const sa_field_error_t *field = &APR_ARRAY_IDX(error->fields, i, sa_field_error_t);
        json_t *texts = json_object_get(body, field->name);
        if (!texts) {
            texts = json_array();
            json_object_set_new(body, field->name, texts);
        }
        json_array_append_new(texts, json_string(field->text));
    }
    return body;
}

/* What SimpleJWT calls token_not_valid. */
static int is_bad_token(const sa_error_t *error)
{
    switch (error->kind) {
    case SA_E_TOKEN_NOT_VALID: case SA_E_REFRESH_NOT_VALID: case SA_E_REFRESH_OF_ANOTHER:
    case SA_E_TOKEN_BLACKLISTED:
        return 1;
    default:
        return 0;
    }
}

/* CONTRACT section 1: the shapes a Django REST Framework front end parses. */
static json_t *error_body(const sa_error_t *error)
{
    json_t *body;

    if (error->fields) {
        body = field_errors(error);
    }
    else if (!strcmp(error->member, "detail")) {
        body = json_pack("{s:s}", "detail", error->text);
    }
    else {
        body = json_pack("{s:[s]}", error->member, error->text);
    }
    if (error->kind == SA_E_TOKEN_NOT_VALID) {
        json_object_set_new(body, "messages",
                            json_pack("[{s:s, s:s, s:s}]", "token_class", "AccessToken",
                                      "token_type", "access",
                                      "message", "Token is invalid or expired"));
    }
    if (is_bad_token(error)) {
        json_object_set_new(body, "code", json_string("token_not_valid"));
    }
    json_object_set_new(body, "error", json_string(error->word));
    return body;
}

/* RFC 6749 section 5.2: the word for a failure, NULL where that RFC has none. */
static const char *oauth_word(const sa_error_t *error)
{
    if (error->fields) {
        return "invalid_request";
    }
    switch (error->kind) {
    case SA_E_PARSE_ERROR: case SA_E_UNSUPPORTED_MEDIA_TYPE:
        return "invalid_request";
    case SA_E_BAD_CREDENTIALS: case SA_E_REFRESH_NOT_VALID: case SA_E_TOKEN_BLACKLISTED:
    case SA_E_REFRESH_OF_ANOTHER:
    case SA_E_PROVIDER_REJECTED: case SA_E_ID_TOKEN_INVALID: case SA_E_EMAIL_MISSING:
    case SA_E_EMAIL_UNVERIFIED: case SA_E_ACCOUNT_EXISTS: case SA_E_IDENTITY_TAKEN:
    case SA_E_ACCOUNT_UNAVAILABLE: case SA_E_EMAIL_NOT_CONFIRMED:
        return "invalid_grant";
    case SA_E_INVALID_REQUEST: case SA_E_INVALID_CLIENT: case SA_E_INVALID_GRANT:
    case SA_E_UNAUTHORIZED_CLIENT: case SA_E_UNSUPPORTED_GRANT_TYPE: case SA_E_INVALID_SCOPE:
    case SA_E_ACCESS_DENIED: case SA_E_UNSUPPORTED_RESPONSE_TYPE: case SA_E_LOGIN_REQUIRED:
        return error->word;
    default:
        return NULL;
    }
}

/* The characters that RFC 6749 section 5.2 allows in error_description. */
static const char *oauth_description(apr_pool_t *p, const sa_error_t *error)
{
    const sa_field_error_t *field = error->fields
        ? &APR_ARRAY_IDX(error->fields, 0, sa_field_error_t) : NULL;
    char *text = field ? apr_pstrcat(p, field->name, ": ", field->text, NULL)
                       : apr_pstrdup(p, error->text);

    for (char *c = text; *c; c++) {
        *c = *c == '"' ? '\'' : *c < 0x20 || *c > 0x7e || *c == '\\' ? '?' : *c;
    }
    return text;
}

static int answer_oauth_error(sa_request_t *req, const sa_error_t *error, const char *word)
{
    apr_pool_t *p = req->r->pool;

    return sa_answer_json(req, error->kind == SA_E_INVALID_CLIENT ? HTTP_UNAUTHORIZED
                                                                  : HTTP_BAD_REQUEST,
                          sa_json_own(p, json_pack("{s:s, s:s}", "error", word,
                                                   "error_description",
                                                   oauth_description(p, error))));
}

static int log_level(const sa_error_t *error)
{
    switch (error->status) {
    case 502: case 503: case 504:
        return error->kind == SA_E_UNAVAILABLE ? APLOG_ERR : APLOG_WARNING;
    default:
        return error->operator_acts ? APLOG_WARNING : APLOG_INFO;
    }
}

static void challenge(sa_request_t *req, const sa_error_t *error)
{
    if (error->kind == SA_E_INVALID_CLIENT) {
        apr_table_setn(req->r->err_headers_out, "WWW-Authenticate", "Basic realm=\"api\"");
        return;
    }
    apr_table_setn(req->r->err_headers_out, "WWW-Authenticate",
                   is_bad_token(error) ? "Bearer realm=\"api\", error=\"invalid_token\""
                                       : "Bearer realm=\"api\"");
}

/* One line for each refusal; httpd adds time and client. What is wrong with a field is the client's
 * own affair. */
static void log_refusal(const sa_request_t *req, const sa_error_t *error)
{
    const char *user = req->bearer.user_id;

    if (error->fields) {
        return;
    }
    ap_log_rerror(APLOG_MARK, log_level(error), 0, req->r, "SA0100: %s: %s%suser=%s provider=%s",
                  error->word, error->log ? error->log : "", error->log ? "; " : "",
                  user ? user : "-", req->provider ? req->provider->name : "-");
}

const char *sa_refusal(sa_request_t *req, const sa_error_t *error, const char **description)
{
    const char *word = oauth_word(error);

    log_refusal(req, error);
    *description = oauth_description(req->r->pool, error);
    word = word ? word : error->status == 503 ? "temporarily_unavailable" : "server_error";
    apr_table_setn(req->r->notes, "social-auth-error", word);
    return word;
}

int sa_answer_error(sa_request_t *req, const sa_error_t *error)
{
    request_rec *r = req->r;
    const char *word = req->oauth ? oauth_word(error) : NULL;

    log_refusal(req, error);
    if (error->status == HTTP_UNAUTHORIZED && (!word || error->kind == SA_E_INVALID_CLIENT)) {
        challenge(req, error);
    }
    if (error->retry_after) {
        apr_table_setn(r->headers_out, "Retry-After", apr_itoa(r->pool, error->retry_after));
    }
    apr_table_setn(r->notes, "social-auth-error", word ? word : error->word);
    give_up_body(req);
    if (word) {
        return answer_oauth_error(req, error, word);
    }
    if (req->browser && req->mount->login_error_url) {
        return sa_answer_redirect(req, sa_url_with_query(
            r->pool, req->mount->login_error_url, sa_form_encode(r->pool, "error", error->word, NULL)));
    }
    return sa_answer_json(req, error->status, sa_json_own(r->pool, error_body(error)));
}
