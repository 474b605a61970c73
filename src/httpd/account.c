#include "httpd/account.h"

#include <http_protocol.h>
#include <apr_strings.h>

#include "core/form.h"
#include "core/json.h"
#include "core/password.h"
#include "httpd/oauth2.h"
#include "httpd/rest.h"

#define PAGE 100
#define PAGE_MAX 1000

/* ---- registration ---- */

static int is_open(const sa_settings_t *settings)
{
    return settings->registration && settings->password_login;
}

static sa_error_t *read_registration(sa_request_t *req, sa_registration_t *given)
{
    sa_error_t *errors = NULL;

    given->email = sa_field(req, "email", SA_FIELD_REQUIRED, &errors);
    given->username = sa_field(req, "username", SA_FIELD_REQUIRED, &errors);
    given->first_name = sa_field(req, "first_name", SA_FIELD_REQUIRED, &errors);
    given->last_name = sa_field(req, "last_name", SA_FIELD_MAY_BE_BLANK, &errors);
    given->password = sa_field(req, "password", SA_FIELD_REQUIRED, &errors);
    return errors;
}

/* The application that asks, when one is named; *client's id stays NULL otherwise. */
static sa_error_t *read_client(sa_request_t *req, sa_client_t *client)
{
    sa_application_t *application;

    if (!sa_oauth2_names_client(req)) {
        return NULL;
    }
    sa_error_t *error = sa_oauth2_client(req, &application);
    return error ? error : sa_client_grant(&req->call, application, "password", NULL, client);
}

static int create_and_login(sa_request_t *req, const sa_registration_t *given)
{
    sa_client_t client = { .id = NULL };
    sa_tokens_t tokens;

    sa_error_t *error = read_client(req, &client);
    if (!error) {
        error = sa_token_cookies_problem(req);
    }
    if (!error) {
        error = sa_accounts_register(&req->call, given, client.id ? &client : NULL, &tokens);
    }
    if (error) {
        return sa_answer_error(req, error);
    }
    return client.id ? sa_oauth2_answer_tokens(req, HTTP_CREATED, &tokens)
                     : sa_rest_answer_tokens(req, HTTP_CREATED, &tokens);
}

int sa_account_create(sa_request_t *req)
{
    const sa_settings_t *settings = &req->mount->settings;
    sa_registration_t given;

    if (!is_open(settings)) {
        return sa_answer_error(req, sa_error(req->r->pool, SA_E_NOT_FOUND, NULL, NULL));
    }
    sa_error_t *error = sa_throttle(req, "create", &settings->password_throttle);
    if (!error) {
        error = read_registration(req, &given);
    }
    if (!error && settings->registration_login
        && settings->email_verification != SA_VERIFICATION_REQUIRED) {
        return create_and_login(req, &given);
    }
    if (!error) {
        error = sa_accounts_register(&req->call, &given, NULL, NULL);
    }
    return error ? sa_answer_error(req, error) : sa_answer_empty(req, HTTP_CREATED);
}

/* ---- one's own ---- */

static int answer_user(sa_request_t *req, const sa_error_t *error, const sa_user_t *user)
{
    return error ? sa_answer_error(req, error)
                 : sa_answer_json(req, HTTP_OK, sa_json_own(req->r->pool, sa_user_describe(user)));
}

int sa_account_show(sa_request_t *req)
{
    sa_user_t *user = NULL;
    sa_error_t *error = sa_accounts_profile(&req->call, &req->bearer, &user);

    return answer_user(req, error, user);
}

int sa_account_change(sa_request_t *req)
{
    sa_error_t *error = NULL;
    sa_user_t *user = NULL;
    const sa_profile_t changes = {
        .username = sa_field(req, "username", SA_FIELD_OPTIONAL, &error),
        .first_name = sa_field(req, "first_name", SA_FIELD_MAY_BE_BLANK, &error),
        .last_name = sa_field(req, "last_name", SA_FIELD_MAY_BE_BLANK, &error),
    };

    if (!error) {
        error = sa_accounts_change_profile(&req->call, &req->bearer, &changes, &user);
    }
    return answer_user(req, error, user);
}

int sa_account_delete(sa_request_t *req)
{
    sa_error_t *error = NULL;
    const char *password = sa_field(req, "password", SA_FIELD_OPTIONAL, &error);

    if (!error && password && strlen(password) > SA_PASSWORD_MAX) {
        error = sa_error(req->r->pool, SA_E_WRONG_PASSWORD, NULL, NULL);
    }
    if (!error) {
        error = sa_accounts_delete_own(&req->call, &req->bearer, password);
    }
    return error ? sa_answer_error(req, error) : sa_answer_empty(req, HTTP_NO_CONTENT);
}

/* ---- the list ---- */

typedef struct {
    const char *after;
    int limit;
} page_t;

/* 0 when it is none of at most 9 digits. */
static int whole_number(const char *text)
{
    size_t len = strspn(text, "0123456789");

    return text[len] || len > 9 ? 0 : atoi(text);
}

static sa_error_t *read_page(sa_request_t *req, page_t *page)
{
    sa_error_t *error = NULL;
    const json_t *query = sa_query_parse(req, &error);

    if (!query) {
        return error;
    }
    const char *limit = sa_json_string(query, "limit");
    page->after = sa_json_string(query, "after");
    page->limit = limit ? whole_number(limit) : PAGE;
    if (page->limit < 1 || page->limit > PAGE_MAX) {
        sa_error_field(req->r->pool, &error, "limit", SA_E_INVALID,
                       "A valid integer from 1 to 1000 is required.");
    }
    return error;
}

/* RFC 8288: where the next page is, when this one is full. */
static void link_next(sa_request_t *req, const page_t *page, const apr_array_header_t *users)
{
    apr_pool_t *p = req->r->pool;

    if (users->nelts < page->limit) {
        return;
    }
    const char *last = APR_ARRAY_IDX(users, users->nelts - 1, sa_user_t).id;
    apr_table_setn(req->r->headers_out, "Link",
                   apr_psprintf(p, "<%s%s/all/?limit=%d&after=%s>; rel=\"next\"",
                                req->mount->base_url, req->mount->path, page->limit,
                                sa_percent_encode(p, last)));
}

int sa_account_list(sa_request_t *req)
{
    apr_array_header_t *users;
    page_t page = { NULL, PAGE };
    sa_error_t *error = read_page(req, &page);

    if (!error) {
        error = sa_accounts_list(&req->call, &req->bearer, page.after, page.limit, &users);
    }
    if (error) {
        return sa_answer_error(req, error);
    }
    json_t *list = sa_json_own(req->r->pool, json_array());
    for (int i = 0; i < users->nelts; i++) {
        if (json_array_append_new(list, sa_user_describe(&APR_ARRAY_IDX(users, i, sa_user_t)))) {
            return sa_answer_json(req, HTTP_OK, NULL);
        }
    }
    link_next(req, &page, users);
    return sa_answer_json(req, HTTP_OK, list);
}

/* ---- sessions ---- */

int sa_account_sessions(sa_request_t *req)
{
    json_t *list;
    sa_error_t *error = sa_accounts_sessions(&req->call, &req->bearer, &list);

    return error ? sa_answer_error(req, error) : sa_answer_json(req, HTTP_OK, list);
}

int sa_account_end_session(sa_request_t *req)
{
    sa_error_t *error = sa_accounts_end_session(&req->call, &req->bearer, req->id);

    return error ? sa_answer_error(req, error) : sa_answer_empty(req, HTTP_NO_CONTENT);
}
