#include "ctl/ctl.h"

#include <apr_strings.h>
#include <stdio.h>
#include <string.h>

#include "accounts/accounts.h"
#include "core/crypto.h"
#include "core/text.h"
#include "core/url.h"

#define DEFAULT_GRANTS "convert_token refresh_token"
#define DEFAULT_SCOPES "read write"     /* oauth toolkit's */
#define SECRET_MIN 16                   /* characters of one that was not made here */

static const char unreserved[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
static const char grants[] =
    "password refresh_token convert_token client_credentials authorization_code";

/* ---- what may be given ---- */

/* Calls check for each word of a space-separated list until one returns a phrase. */
static const char *each_word(apr_pool_t *p, const char *list, const char *(*check)(const char *))
{
    char *last = NULL;
    const char *why = NULL;

    for (char *word = apr_strtok(apr_pstrdup(p, list), " ", &last); word && !why;
         word = apr_strtok(NULL, " ", &last)) {
        why = check(word);
    }
    return why;
}

static const char *grant_problem(const char *grant)
{
    return sa_words_have(grants, grant, strlen(grant))
           ? NULL : "--grants must be of password, refresh_token, convert_token, "
                    "client_credentials, authorization_code";
}

/* RFC 6749 appendix A.4. */
static const char *scope_problem(const char *scope)
{
    for (const char *c = scope; *c; c++) {
        if (*c < 0x21 || *c > 0x7e || *c == '"' || *c == '\\') {
            return "--scopes may hold printable ASCII but no \" and \\";
        }
    }
    return NULL;
}

/* RFC 6749 section 3.1.2; http to this machine, and schemes of native applications (RFC 8252 section
 * 7.1: with a dot), are fine. */
const char *ctl_redirect_uri_problem(const char *uri)
{
    const char *colon = strchr(uri, ':');
    int is_native = colon && memchr(uri, '.', colon - uri) && !strchr(uri, '#');

    return is_native || !sa_endpoint_problem(uri, 0)
           ? NULL : "--redirect-uris must be absolute https:// addresses without a fragment";
}

int ctl_client_id_is_good(const char *id)
{
    return *id && strlen(id) <= 255 && !id[strspn(id, unreserved)];
}

static const char *problem(ctl_t *ctl, const sa_application_t *application)
{
    const char *id = application->client_id;

    if (!application->name || !*application->name) {
        return "--name is needed";
    }
    if (id && !ctl_client_id_is_good(id)) {
        return "--client-id must be 1 to 255 of letters, digits and -._~";
    }
    if (ctl->public_client && ctl->secret_stdin) {
        return "a --public client has no secret";
    }
    const char *why = each_word(ctl->pool, application->grants, grant_problem);
    if (!why) {
        why = each_word(ctl->pool, application->scopes, scope_problem);
    }
    return why ? why : each_word(ctl->pool, application->redirect_uris, ctl_redirect_uri_problem);
}

/* ---- secrets ---- */

/* A new secret, or the one on standard input; NULL after saying why. */
static const char *secret_of(ctl_t *ctl)
{
    char line[1024];

    if (!ctl->secret_stdin) {
        const char *secret = sa_random_text(ctl->pool, 32);
        if (!secret) {
            ctl_fail("OpenSSL gave no random bytes");
        }
        return secret;
    }
    if (!fgets(line, sizeof(line), stdin)) {
        line[0] = '\0';
    }
    line[strcspn(line, "\r\n")] = '\0';
    if (strlen(line) < SECRET_MIN) {
        ctl_fail("the secret needs at least %d characters", SECRET_MIN);
        return NULL;
    }
    return apr_pstrdup(ctl->pool, line);
}

static int say_secret(ctl_t *ctl, const char *client_id, const char *secret, const char *done)
{
    ctl_say(ctl, json_pack("{s:s, s:s?}", "client_id", client_id, "client_secret", secret),
            "%s %s%s%s", done, client_id,
            secret ? "\nclient_secret (shown only now): " : " (public, no secret)",
            secret ? secret : "");
    return CTL_OK;
}

/* ---- commands ---- */

static int store(ctl_t *ctl, const sa_application_t *application, const char *secret)
{
    int done = 0;
    sa_work_t *work;
    sa_error_t *error = ctl_open(ctl, &work);

    if (!error) {
        error = sa_store_create_application(work, application, &done);
    }
    sa_work_close(work);
    if (error) {
        return ctl_fail_error(error);
    }
    return done ? say_secret(ctl, application->client_id, secret, "created application")
                : ctl_fail("the client id %s is in use", application->client_id);
}

int ctl_applications_create(ctl_t *ctl, const char **operands)
{
    sa_application_t application = {
        .client_id = ctl->client_id, .name = ctl->name,
        .grants = ctl->grants ? ctl->grants : DEFAULT_GRANTS,
        .scopes = ctl->scopes ? ctl->scopes : DEFAULT_SCOPES,
        .redirect_uris = ctl->redirect_uris ? ctl->redirect_uris : "",
        .created = apr_time_sec(apr_time_now()), .trusted = ctl->trusted,
    };
    const char *why = problem(ctl, &application), *secret = NULL;
    sa_user_t *owner = NULL;

    if (why) {
        ctl_fail("%s", why);
        return CTL_USAGE;
    }
    if (ctl->owner && ctl_find_user(ctl, ctl->owner, &owner) != CTL_OK) {
        return CTL_FAILED;
    }
    application.owner_id = owner ? owner->id : NULL;
    if (!application.client_id) {
        application.client_id = sa_random_text(ctl->pool, 20);
    }
    if (!ctl->public_client) {
        secret = secret_of(ctl);
        application.secret = secret ? sa_client_secret_hash(ctl->pool, secret) : NULL;
    }
    return application.client_id && (secret || ctl->public_client)
           ? store(ctl, &application, secret) : CTL_FAILED;
}

static json_t *describe(const ctl_t *ctl, const sa_application_t *application)
{
    return json_pack("{s:o, s:o, s:b, s:b, s:o, s:o, s:o, s:o}",
                     "client_id", ctl_json(ctl, application->client_id),
                     "name", ctl_json(ctl, application->name),
                     "public", application->secret == NULL,
                     "trusted", application->trusted,
                     "grants", ctl_json(ctl, application->grants),
                     "scopes", ctl_json(ctl, application->scopes),
                     "redirect_uris", ctl_json(ctl, application->redirect_uris),
                     "owner", ctl_json(ctl, application->owner_id));
}

static void print_application(const ctl_t *ctl, const sa_application_t *application)
{
    printf("%s  %s  %s%s  grants: %s  scopes: %s%s%s%s%s\n",
           ctl_shown(ctl, application->client_id), ctl_shown(ctl, application->name),
           application->secret ? "confidential" : "public",
           application->trusted ? ", trusted" : "", ctl_shown(ctl, application->grants),
           ctl_shown(ctl, application->scopes),
           *application->redirect_uris ? "  redirect: " : "",
           *application->redirect_uris ? ctl_shown(ctl, application->redirect_uris) : "",
           application->owner_id ? "  owner: " : "",
           application->owner_id ? ctl_shown(ctl, application->owner_id) : "");
}

int ctl_applications_list(ctl_t *ctl, const char **operands)
{
    apr_array_header_t *applications;
    sa_work_t *work;
    sa_error_t *error = ctl_open(ctl, &work);

    if (!error) {
        error = sa_store_list_applications(work, ctl->after, ctl->limit, &applications);
    }
    sa_work_close(work);
    if (error) {
        return ctl_fail_error(error);
    }
    json_t *list = json_array();
    for (int i = 0; i < applications->nelts; i++) {
        const sa_application_t *application = &APR_ARRAY_IDX(applications, i, sa_application_t);
        json_array_append_new(list, describe(ctl, application));
        if (!ctl->json) {
            print_application(ctl, application);
        }
    }
    ctl_say_list(ctl, list);
    return CTL_OK;
}

int ctl_applications_rotate_secret(ctl_t *ctl, const char **operands)
{
    const char *secret = secret_of(ctl);
    int done = 0;
    sa_work_t *work;

    if (!secret) {
        return CTL_FAILED;
    }
    sa_error_t *error = ctl_open(ctl, &work);
    if (!error) {
        error = sa_store_set_client_secret(work, operands[0], NULL,
                                           sa_client_secret_hash(ctl->pool, secret), &done);
    }
    sa_work_close(work);
    if (error) {
        return ctl_fail_error(error);
    }
    return done ? say_secret(ctl, operands[0], secret, "new secret for")
                : ctl_fail("there is no confidential application %s", operands[0]);
}

int ctl_applications_delete(ctl_t *ctl, const char **operands)
{
    int done = 0;
    sa_work_t *work;
    sa_error_t *error = ctl_open(ctl, &work);

    if (!error) {
        error = sa_store_delete_application(work, operands[0], apr_time_sec(apr_time_now()), &done);
    }
    sa_work_close(work);
    if (error) {
        return ctl_fail_error(error);
    }
    if (!done) {
        return ctl_fail("there is no application %s", operands[0]);
    }
    ctl_say(ctl, json_pack("{s:s}", "deleted", operands[0]),
            "deleted application %s; its sessions are over", operands[0]);
    return CTL_OK;
}
