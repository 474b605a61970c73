/* RFC 6749 section 2.3.1: a client's id and secret, by HTTP Basic or in the body. */
#include "httpd/oauth2.h"

#include <http_protocol.h>
#include <apr_strings.h>

#include "core/form.h"
#include "core/text.h"

typedef struct {
    const char *id, *secret;    /* NULL = not given */
} credentials_t;

static const char *basic_header(const sa_request_t *req)
{
    const char *header = apr_table_get(req->r->headers_in, "Authorization");

    return header && !ap_cstr_casecmpn(header, "Basic ", 6) ? header + 6 : NULL;
}

int sa_oauth2_names_client(const sa_request_t *req)
{
    return json_object_get(req->body, "client_id") || json_object_get(req->body, "client_secret")
           || basic_header(req);
}

static sa_error_t *invalid_request(sa_request_t *req, const char *text)
{
    sa_error_t *error = sa_error(req->r->pool, SA_E_INVALID_REQUEST, NULL, NULL);

    error->text = text;
    return error;
}

/* A field of the body; "" counts as not sent: front ends send client_secret= for public clients. */
static const char *field(sa_request_t *req, const char *name, sa_error_t **error)
{
    const json_t *value = json_object_get(req->body, name);

    if (value && !json_is_string(value)) {
        sa_error_field(req->r->pool, error, name, json_is_null(value) ? SA_E_NULL : SA_E_INVALID,
                       NULL);
    }
    const char *text = json_string_value(value);
    return text && *text ? text : NULL;
}

static sa_error_t *read_credentials(sa_request_t *req, credentials_t *given)
{
    sa_error_t *error = NULL;
    const char *id = field(req, "client_id", &error);
    const char *secret = field(req, "client_secret", &error);
    const char *header = basic_header(req);

    if (error) {
        return error;
    }
    if (!header) {
        *given = (credentials_t) { id, secret };
        return NULL;
    }
    if (secret) {
        return invalid_request(req, "Authenticate the client by one method only.");
    }
    error = sa_basic_parse(req->r->pool, header, &given->id, &given->secret) ? NULL
        : sa_error(req->r->pool, SA_E_INVALID_CLIENT, NULL, "malformed Authorization header");
    if (!error && id && strcmp(id, given->id)) {
        error = invalid_request(req, "client_id differs from the Authorization header.");
    }
    return error;
}

sa_error_t *sa_oauth2_client(sa_request_t *req, sa_application_t **application)
{
    credentials_t given = { NULL, NULL };
    sa_error_t *error = read_credentials(req, &given);

    if (!error && !given.id) {
        error = sa_error(req->r->pool, SA_E_INVALID_CLIENT, NULL, "no client_id");
    }
    if (!error) {
        error = sa_client_authenticate(&req->call, given.id, given.secret, application);
    }
    /* One that gets codes may be another site's, or a program: its tokens are no cookies here. */
    req->no_cookies = !error && !req->refresh_cookie
                      && sa_words_have((*application)->grants, SA_GRANT_CODE, strlen(SA_GRANT_CODE));
    return error;
}
