/* Links: what Django's packages call a provider and its user ids, as issuers and subjects. */
#include "ctl/import.h"

#include <string.h>

#include "core/text.h"

#define GOOGLE "https://accounts.google.com"

static const struct {
    const char *django, *provider, *issuer;
} known[] = {
    { "github", "github", "https://github.com" },
    { "facebook", "facebook", "https://www.facebook.com" },
    { "google", "google", GOOGLE },
    { "google-oauth2", "google", GOOGLE },
    { "google-openidconnect", "google", GOOGLE },
};

static int is_number(const char *text)
{
    return *text && !text[strspn(text, "0123456789")];
}

static void count_unknown(ctl_import_t *import, const char *provider)
{
    int *n = apr_hash_get(import->unknown, provider, APR_HASH_KEY_STRING);

    if (!n) {
        n = apr_pcalloc(import->ctl->pool, sizeof(*n));
        apr_hash_set(import->unknown, provider, APR_HASH_KEY_STRING, n);
    }
    ++*n;
}

/* 1 with *link filled, 0 after counting why not. */
static int understand(ctl_import_t *import, const sa_django_link_t *from, sa_link_t *link)
{
    for (apr_size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (!strcmp(from->provider, known[i].django)) {
            *link = (sa_link_t) {
                .provider = known[i].provider, .issuer = known[i].issuer, .linked_at = ctl_now()
            };
        }
    }
    if (!link->issuer) {
        count_unknown(import, from->provider);
        return 0;
    }
    if (is_number(from->uid)) {
        link->subject = from->uid;
        return 1;
    }
    link->email = strcmp(link->issuer, GOOGLE) ? NULL
                                               : sa_email_canonical(import->ctl->pool, from->uid);
    if (!link->email) {
        import->links.counts[SA_IMPORT_CONFLICT]++;
        ctl_import_note(import, "link of %s: %s is neither an id of it nor an e-mail address",
                        ctl_shown(import->ctl, from->provider), ctl_shown(import->ctl, from->uid));
    }
    return link->email != NULL;
}

static sa_error_t *import_link(ctl_import_t *import, const sa_django_link_t *from,
                               const sa_link_t *link)
{
    ctl_tally_t *tally = link->subject ? &import->links : &import->pending;
    const char *user_id = apr_hash_get(import->ids, from->user_id, APR_HASH_KEY_STRING);
    sa_import_verdict_t verdict = SA_IMPORT_CONFLICT;
    sa_error_t *error = NULL;

    if (user_id) {
        error = link->subject ? sa_import_link(import->work, user_id, link, &verdict)
                              : sa_import_pending(import->work, user_id, link, &verdict);
    }
    tally->counts[verdict]++;
    if (!error && verdict == SA_IMPORT_CONFLICT) {
        ctl_import_note(import, "link of %s %s: left out, %s", link->provider,
                        ctl_shown(import->ctl, from->uid),
                        user_id ? "it is somebody else's, or its user has another one there"
                                : "its user is");
    }
    return error;
}

/* Those with a subject first: they say what the others of the same users need not wait for. */
sa_error_t *ctl_import_links(ctl_import_t *import)
{
    apr_array_header_t *links, *waiting;
    sa_error_t *error = sa_django_links(import->django, &links);

    waiting = apr_array_make(import->ctl->pool, 8, sizeof(sa_django_link_t));
    for (int i = 0; !error && i < links->nelts; i++) {
        const sa_django_link_t *from = &APR_ARRAY_IDX(links, i, sa_django_link_t);
        sa_link_t link = { .issuer = NULL };
        if (!understand(import, from, &link)) {
            continue;
        }
        if (link.subject) {
            error = import_link(import, from, &link);
        }
        else {
            APR_ARRAY_PUSH(waiting, sa_django_link_t) = *from;
        }
    }
    for (int i = 0; !error && i < waiting->nelts; i++) {
        const sa_django_link_t *from = &APR_ARRAY_IDX(waiting, i, sa_django_link_t);
        sa_link_t link = { .issuer = NULL };
        understand(import, from, &link);
        error = import_link(import, from, &link);
    }
    return error;
}
