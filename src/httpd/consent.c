/* The page that asks a user whether an application may act for the account. */
#include "httpd/oauth2.h"

#include <apr_strings.h>

#include "core/url.h"

#define PAGE \
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n" \
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n" \
    "<title>%s</title>\n</head>\n<body>\n<main>\n<h1>%s</h1>\n" \
    "<p>wants to use your account <strong>%s</strong>%s</p>\n%s" \
    "<p>Your answer is sent to <strong>%s</strong>.</p>\n" \
    "<form method=\"post\" action=\"%s/authorize\">\n" \
    "<input type=\"hidden\" name=\"request\" value=\"%s\">\n" \
    "<input type=\"hidden\" name=\"token\" value=\"%s\">\n" \
    "<button name=\"decision\" value=\"allow\">Allow</button>\n" \
    "<button name=\"decision\" value=\"deny\">Deny</button>\n" \
    "</form>\n</main>\n</body>\n</html>\n"

static const char *list_of(apr_pool_t *p, const char *scope)
{
    char *last = NULL;
    const char *items = "";

    for (char *word = apr_strtok(apr_pstrdup(p, scope), " ", &last); word;
         word = apr_strtok(NULL, " ", &last)) {
        items = apr_pstrcat(p, items, "<li>", ap_escape_html(p, word), "</li>\n", NULL);
    }
    return *items ? apr_pstrcat(p, "<ul>\n", items, "</ul>\n", NULL) : "";
}

/* What people can judge of a redirect URI: its site, of a program all of it. */
static const char *receiver(apr_pool_t *p, const char *redirect)
{
    const char *origin = sa_url_origin(p, redirect);

    return origin ? origin : redirect;
}

const char *sa_consent_page(sa_request_t *req, const sa_application_t *application,
                            const char *scope, const sa_user_t *user, const char *redirect,
                            const char *question)
{
    apr_pool_t *p = req->r->pool;
    const char *name = ap_escape_html(p, application->name);
    const char *who = *user->username || !user->email ? user->username : user->email;

    return apr_psprintf(p, PAGE, name, name, ap_escape_html(p, who),
                        *scope ? " for:" : ".", list_of(p, scope),
                        ap_escape_html(p, receiver(p, redirect)),
                        ap_escape_html(p, req->mount->path), ap_escape_html(p, question),
                        sa_consent_sign(&req->call, &req->bearer, question));
}
