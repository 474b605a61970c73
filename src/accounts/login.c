#include "accounts/internal.h"

#include "core/crypto.h"
#include "core/password.h"
#include "core/text.h"
#include <apr_strings.h>
#include <string.h>

#define USERNAME_TRIES 5

typedef struct {
    sa_call_t *call;
    const sa_provider_t *provider;
    const sa_identity_t *identity;
    const sa_session_t *session;
    sa_work_t *work;
    sa_event_t registered;      /* at a user's first sign-in */
    sa_event_t linked;          /* when an account was joined */
    sa_event_t event;           /* login_successful */
    int is_new, is_joined;
    sa_user_t *user;
} login_t;

static sa_error_t *refuse(const login_t *login, sa_error_kind_t kind, const sa_user_t *user)
{
    return sa_error(login->call->pool, kind, login->provider->label, "the account is user %s",
                    user && user->id ? user->id : "-");
}

/* The e-mail a new account would get; NULL with no error only where the provider may give none. */
static sa_error_t *account_email(const login_t *login, const char **email)
{
    const sa_identity_t *identity = login->identity;

    *email = sa_verified_email(identity);
    if (!*email && login->provider->email_required) {
        return sa_provider_email_error(login->provider, login->call->pool, identity);
    }
    return NULL;
}

/* A new account whose address the provider does not vouch for: its owner is asked. */
static sa_error_t *ask_owner(login_t *login, const sa_new_user_t *user, const char *id)
{
    if (user->email_verified || !user->email
        || login->call->settings->email_verification == SA_VERIFICATION_OFF) {
        return NULL;
    }
    return sa_mail_queue(login->call, login->work, SA_MAIL_VERIFY, id, user->email,
                         sa_mail_binding(login->call->pool, user->password, user->email));
}

static sa_error_t *insert_user(login_t *login, const char *email, const char **id)
{
    apr_pool_t *p = login->call->pool;
    sa_new_user_t user = {
        .email = email,
        .username = email ? sa_username_from_email(p, email) : login->provider->name,
        .first_name = login->identity->first_name,
        .last_name = login->identity->last_name,
        .password = sa_password_unusable(p),
        .email_verified = email && login->identity->email_vouched,
        .is_active = 1,
    };

    for (int try = 0; try < USERNAME_TRIES; try++) {
        const char *taken = NULL;
        const char *suffix = try || !email ? sa_random_hex(p, 4) : "";
        if (!suffix || !user.password) {
            return sa_no_random(login->call);
        }
        user.username_suffix = *suffix ? apr_pstrcat(p, "_", suffix, NULL) : NULL;
        sa_error_t *error = sa_store_create_user(login->work, &user, login->call->now, id,
                                                 &taken);
        if (error || !taken) {
            return error ? error : ask_owner(login, &user, *id);
        }
        if (!strcmp(taken, "email")) {
            return sa_error(p, SA_E_CONFLICT, NULL, "the e-mail was taken meanwhile");
        }
    }
    return sa_error(p, SA_E_CONFLICT, NULL, "no free user name found");
}

/* An account that anybody may have made under somebody else's address (pre-hijacking). */
static int may_reclaim(const login_t *login, const sa_user_t *user)
{
    return login->call->settings->email_linking == SA_LINKING_RECLAIM
           && login->identity->email_vouched && !user->email_verified && !user->is_staff
           && !user->is_superuser;
}

/* Whether a local account with the identity's e-mail may be joined to it (CONTRACT, "Login
 * decides", step 2). */
static sa_error_t *may_join(const login_t *login, const sa_email_match_t *match, int *reclaim)
{
    const sa_user_t *user = match->user;
    int vouched = login->identity->email_vouched;

    *reclaim = 0;
    if (match->count > 1) {
        return refuse(login, SA_E_ACCOUNT_EXISTS, user);
    }
    switch (login->call->settings->email_linking) {
    case SA_LINKING_NEVER:
        return refuse(login, SA_E_ACCOUNT_EXISTS, user);
    case SA_LINKING_ALWAYS:
        if (match->has_issuer) {
            return refuse(login, SA_E_IDENTITY_TAKEN, user);
        }
        break;
    case SA_LINKING_RECLAIM:
    case SA_LINKING_VERIFIED:
        if (may_reclaim(login, user)) {
            *reclaim = 1;
            break;
        }
        if (!vouched || !user->email_verified || match->has_issuer) {
            return refuse(login, SA_E_ACCOUNT_EXISTS, user);
        }
        break;
    }
    return user->usable ? NULL : refuse(login, SA_E_ACCOUNT_UNAVAILABLE, user);
}

static sa_error_t *reclaim_user(login_t *login, const char *user_id)
{
    const char *unusable = sa_password_unusable(login->call->pool);

    return unusable ? sa_store_reclaim_user(login->work, user_id, unusable, login->call->now)
                    : sa_no_random(login->call);
}

/* An account that was imported with the address as its only name for the identity: whoever the
 * provider is sure to have given that address to is its owner. */
static sa_error_t *find_pending(login_t *login, const char **user_id)
{
    const sa_identity_t *identity = login->identity;
    const char *email = sa_verified_email(identity);

    if (!email || !identity->email_vouched) {
        return NULL;
    }
    sa_error_t *error = sa_store_take_pending(login->work, identity->issuer, email, user_id);
    login->is_joined = !error && *user_id;
    return error;
}

/* The user who has the identity's e-mail, or a new one. */
static sa_error_t *find_by_email_or_make(login_t *login, const char **user_id)
{
    const char *email;
    sa_email_match_t match = { .count = 0 };
    int reclaim;

    sa_error_t *error = account_email(login, &email);
    if (!error && email) {
        error = sa_store_user_by_email(login->work, email, login->identity->issuer, &match);
    }
    if (error) {
        return error;
    }
    login->is_new = match.count == 0;
    if (login->is_new) {
        return insert_user(login, email, user_id);
    }
    error = may_join(login, &match, &reclaim);
    if (error) {
        return error;
    }
    login->is_joined = 1;
    *user_id = match.user->id;
    return reclaim ? reclaim_user(login, *user_id) : NULL;
}

/* The user of an identity that nothing is linked to yet: joined or new. Inside a transaction. */
static sa_error_t *find_or_make_user(login_t *login, const char **user_id)
{
    sa_error_t *error = find_pending(login, user_id);

    return error || *user_id ? error : find_by_email_or_make(login, user_id);
}

static sa_error_t *first_login(login_t *login)
{
    const sa_identity_t *identity = login->identity;
    const char *user_id = NULL;
    sa_link_t link = {
        .provider = login->provider->name, .issuer = identity->issuer,
        .subject = identity->subject, .email = sa_verified_email(identity),
        .linked_at = login->call->now,
    };

    sa_error_t *error = sa_work_begin(login->work);
    if (!error) {
        error = find_or_make_user(login, &user_id);
    }
    if (!error) {
        error = sa_store_create_link(login->work, user_id, &link);
    }
    if (!error) {
        error = sa_store_start_session(login->work, user_id, login->session, &login->event, 1,
                                       &login->user);
    }
    if (!error && !(login->user && login->user->usable)) {
        error = refuse(login, SA_E_ACCOUNT_UNAVAILABLE, login->user);
    }
    login->is_new = login->is_new || (!error && login->user->was_new);
    if (!error && login->is_new) {
        error = sa_store_event(login->work, user_id, &login->registered);
    }
    if (!error && login->is_joined) {
        error = sa_store_event(login->work, user_id, &login->linked);
    }
    if (!error && login->is_joined) {
        error = sa_mail_queue(login->call, login->work, SA_MAIL_NEW_LINK, user_id,
                              login->user->email, login->provider->label);
    }
    return error ? error : sa_work_commit(login->work);
}

static sa_error_t *returning_login(login_t *login)
{
    const sa_identity_t *identity = login->identity;

    sa_error_t *error = sa_store_login_linked(login->work, identity->issuer, identity->subject,
                                              sa_verified_email(identity),
                                              login->call->settings->linked_email_update,
                                              login->session, &login->event,
                                              &login->registered, &login->user);
    if (!error && login->user && !login->user->usable) {
        error = refuse(login, SA_E_ACCOUNT_UNAVAILABLE, login->user);
    }
    login->is_new = !error && login->user && login->user->was_new;
    return error;
}

static void fill_events(login_t *login)
{
    const char *provider = login->provider->name;

    sa_event_fill(login->call, &login->registered, "new_user_registered", provider);
    sa_event_fill(login->call, &login->linked, "link_account_successful", provider);
    sa_event_fill(login->call, &login->event, "login_successful", provider);
}

static void publish(login_t *login)
{
    sa_event_t events[3];
    int n = 0;

    if (login->is_new) {
        events[n++] = login->registered;
    }
    if (login->is_joined) {
        events[n++] = login->linked;
    }
    events[n++] = login->event;
    sa_events_publish(login->call, login->work, events, n, login->user->id);
}

/* Signs the identity in; SA_E_CONFLICT means a concurrent login of it, or of its e-mail, won. */
static sa_error_t *sign_in(login_t *login)
{
    login->user = NULL;
    login->is_new = login->is_joined = 0;
    fill_events(login);
    sa_error_t *error = sa_open(login->call, &login->work);

    if (!error) {
        error = returning_login(login);
    }
    if (!error && !login->user) {
        error = first_login(login);
    }
    if (!error) {
        publish(login);
    }
    sa_work_close(login->work);
    return error;
}

/* The account that is in the way may be the one a concurrent first login of the same identity has
 * just made: then it is linked by now. */
static int may_be_a_race(const sa_error_t *error)
{
    return error && (error->kind == SA_E_CONFLICT || error->kind == SA_E_ACCOUNT_EXISTS
                     || error->kind == SA_E_IDENTITY_TAKEN);
}

sa_error_t *sa_login_identity(sa_call_t *call, const sa_provider_t *provider,
                              const sa_identity_t *identity, const sa_client_t *client,
                              sa_tokens_t *tokens)
{
    login_t login = {
        .call = call, .provider = provider, .identity = identity,
        .session = sa_session_new(call, provider->name, client)
    };

    if (!login.session) {
        return sa_no_random(call);
    }
    sa_error_t *error = sign_in(&login);
    for (int try = 1; try < SA_TRIES && may_be_a_race(error); try++) {
        error = sign_in(&login);
    }
    return error ? error : sa_tokens_issue(call, login.user, login.session, tokens);
}

sa_error_t *sa_accounts_login(sa_call_t *call, const sa_provider_t *provider,
                              sa_attempt_t *attempt, sa_tokens_t *tokens)
{
    sa_identity_t *identity;
    sa_error_t *error = sa_prove(call, provider, attempt, NULL, &identity);

    return error ? error : sa_login_identity(call, provider, identity, NULL, tokens);
}

sa_error_t *sa_accounts_convert(sa_call_t *call, const sa_provider_t *provider, const char *token,
                                const sa_client_t *client, sa_tokens_t *tokens)
{
    sa_identity_t *identity;
    sa_error_t *error = sa_prove_token(call, provider, token, &identity);

    return error ? error : sa_login_identity(call, provider, identity, client, tokens);
}
