#include "accounts/internal.h"

#include "core/password.h"
#include "core/text.h"
#include <string.h>

static const char *address(sa_call_t *call, const char *email, sa_error_t **error)
{
    const char *canonical = sa_email_canonical(call->pool, email);

    if (!canonical) {
        sa_error_field(call->pool, error, "email", SA_E_INVALID, "Enter a valid email address.");
    }
    return canonical;
}

static const char *binding(sa_call_t *call, const sa_user_t *user)
{
    return sa_mail_binding(call->pool, user->password, user->email);
}

/* ---- links that come back ---- */

/* The link's user, while nothing that it depends on has changed. */
static sa_error_t *link_user(sa_call_t *call, sa_work_t *work, const sa_mail_t *token,
                             const sa_mail_t *mail, sa_user_t **user)
{
    if (!mail) {
        return sa_link_invalid(call, "used, expired or unknown");
    }
    if (!mail->user_id || strcmp(mail->user_id, token->user_id)) {
        return sa_link_invalid(call, "it belongs to another user");
    }
    sa_error_t *error = sa_store_user_by_id(work, mail->user_id, user);
    if (error) {
        return error;
    }
    if (!*user || !(*user)->usable) {
        return sa_link_invalid(call, "no active account");
    }
    return mail->data && !strcmp(mail->data, binding(call, *user))
               ? NULL : sa_link_invalid(call, "the password or e-mail has changed since");
}

/* Before an address is verified anybody may have registered it and linked identities of his own (a
 * Trojan identifier). Without a password they are all that the account has. */
static sa_error_t *verify(sa_call_t *call, sa_work_t *work, const sa_user_t *user)
{
    int suspect = !user->email_verified && call->settings->password_login
                  && sa_password_usable(user->password);
    int done;

    sa_error_t *error = sa_store_verify_email(work, user->id, user->email,
                                              suspect ? SA_LINKS_OF_OTHER_EMAILS_GO
                                                      : SA_LINKS_STAY, &done);
    return error || done ? error : sa_link_invalid(call, "the e-mail changed meanwhile");
}

static sa_error_t *change(sa_call_t *call, sa_work_t *work, const sa_user_t *user,
                          const char *email)
{
    int done;

    sa_error_t *error = sa_store_set_email(work, user->id, email, &done);
    if (!error && !done) {
        error = sa_link_invalid(call, "the address is somebody else's by now");
    }
    if (!error) {
        error = sa_mail_queue(call, work, SA_MAIL_EMAIL_CHANGED, user->id, user->email, NULL);
    }
    return error;
}

static sa_error_t *answer_mail(sa_call_t *call, sa_work_t *work, const sa_mail_t *token)
{
    int is_change = sa_mail_kind(token->kind) == SA_MAIL_EMAIL_CHANGE;
    sa_mail_t *mail;
    sa_user_t *user;
    sa_event_t event;

    sa_event_fill(call, &event, is_change ? "email_changed" : "email_verified", NULL);
    sa_error_t *error = sa_work_begin(work);
    if (!error) {
        error = sa_store_use_mail(work, token->id, token->kind, call->now, &mail);
    }
    if (!error) {
        error = link_user(call, work, token, mail, &user);
    }
    if (!error) {
        error = is_change ? change(call, work, user, mail->email) : verify(call, work, user);
    }
    if (!error) {
        error = sa_store_event(work, user->id, &event);
    }
    if (!error) {
        error = sa_work_commit(work);
    }
    if (!error) {
        sa_events_publish(call, work, &event, 1, user->id);
    }
    return error;
}

sa_error_t *sa_accounts_verify_email(sa_call_t *call, const char *text)
{
    sa_mail_t token;
    sa_work_t *work;

    sa_error_t *error = sa_mail_token_check(call, text, SA_MAIL_VERIFY, SA_MAIL_EMAIL_CHANGE,
                                            &token);
    for (int try = 0; !error && try < SA_TRIES; try++) {
        error = sa_open(call, &work);
        if (!error) {
            error = answer_mail(call, work, &token);
        }
        sa_work_close(work);
        if (!error || error->kind != SA_E_CONFLICT) {
            break;
        }
        error = try + 1 < SA_TRIES ? NULL : error;
    }
    return error;
}

static sa_error_t *reset_user(sa_call_t *call, const sa_mail_t *token, sa_user_t **user)
{
    sa_mail_t *mail;
    sa_work_t *work;

    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = sa_store_mail(work, token->id, token->kind, call->now, &mail);
    }
    if (!error) {
        error = link_user(call, work, token, mail, user);
    }
    sa_work_close(work);
    return error;
}

/* Whoever answered the mail owns the address. What others linked before that was known goes; a table
 * that cannot remember it would lose everybody's links at each reset. */
static sa_error_t *finish_reset(sa_call_t *call, sa_work_t *work, const sa_mail_t *token,
                                const sa_user_t *user)
{
    sa_links_fate_t fate = user->email_verified ? SA_LINKS_STAY
                           : sa_store_can_verify(call->store) ? SA_LINKS_GO
                                                              : SA_LINKS_OF_OTHER_EMAILS_GO;
    sa_mail_t *mail;
    int done;

    sa_error_t *error = sa_work_begin(work);
    if (!error) {
        error = sa_store_use_mail(work, token->id, token->kind, call->now, &mail);
    }
    if (!error) {
        error = sa_store_verify_email(work, user->id, user->email, fate, &done);
    }
    return error ? error : sa_work_commit(work);
}

/* The password goes first: setting it is the single use (the link depends on the old one), it ends
 * the sessions that could still link, and a weak one must not cost the link. */
sa_error_t *sa_accounts_confirm_reset(sa_call_t *call, const char *text, const char *new_password)
{
    sa_mail_t token;
    sa_user_t *user;
    sa_work_t *work;

    sa_error_t *error = sa_mail_token_check(call, text, SA_MAIL_RESET, SA_MAIL_RESET, &token);
    if (!error) {
        error = reset_user(call, &token, &user);
    }
    if (!error) {
        error = sa_password_set(call, user, new_password, "new_password", NULL);
    }
    if (error) {
        return error->kind == SA_E_CONFLICT ? sa_link_invalid(call, "used at the same moment")
                                            : error;
    }
    for (int try = 0; try < SA_TRIES; try++) {
        error = sa_open(call, &work);
        if (!error) {
            error = finish_reset(call, work, &token, user);
        }
        sa_work_close(work);
        if (!error || error->kind != SA_E_CONFLICT) {
            break;
        }
    }
    return error;
}

/* ---- mails asked for ---- */

/* Whose address it is is looked up when the mail is sent (sa_mail_find_user): a request that knows
 * nothing of it can tell nothing, by no measurement. */
sa_error_t *sa_accounts_reset_password(sa_call_t *call, const char *email)
{
    sa_error_t *error = NULL;
    sa_work_t *work;
    const char *canonical = address(call, email, &error);

    if (!error) {
        error = sa_mail_throttle(call, canonical);
    }
    if (error) {
        return error;
    }
    error = sa_open(call, &work);
    if (!error) {
        error = sa_mail_queue(call, work, SA_MAIL_RESET, NULL, canonical, NULL);
    }
    sa_work_close(work);
    return error;
}

sa_error_t *sa_accounts_resend_verification(sa_call_t *call, const sa_bearer_t *bearer)
{
    apr_array_header_t *links;
    sa_user_t *user;
    sa_work_t *work;

    sa_error_t *error = sa_bearer_user(call, bearer, &user, &links);
    if (error || !user->email || user->email_verified) {
        return error;
    }
    error = sa_mail_throttle(call, user->email);
    if (error) {
        return error;
    }
    error = sa_open(call, &work);
    if (!error) {
        error = sa_mail_queue(call, work, SA_MAIL_VERIFY, user->id, user->email,
                              binding(call, user));
    }
    sa_work_close(work);
    return error;
}

/* Whoever holds the address owns the account (by a reset), so a stolen access token must not be
 * enough to move it. */
static sa_error_t *prove_again(sa_call_t *call, const sa_user_t *user, const char *password)
{
    sa_error_t *error = NULL;

    if (password) {
        return sa_check_password(call, user, password);
    }
    if (call->settings->password_login && sa_password_usable(user->password)) {
        sa_error_field(call->pool, &error, "password", SA_E_REQUIRED, NULL);
    }
    return error;
}

/* An address that has an account gets a mail as well: the answer tells nothing. */
static sa_error_t *write_to_new(sa_call_t *call, sa_work_t *work, const sa_user_t *user,
                                const char *email)
{
    sa_email_match_t match;

    sa_error_t *error = sa_store_user_by_email(work, email, NULL, &match);
    if (error) {
        return error;
    }
    if (!match.count || (match.user && !strcmp(match.user->id, user->id))) {
        return sa_mail_queue(call, work, SA_MAIL_EMAIL_CHANGE, user->id, email,
                             binding(call, user));
    }
    return match.user && match.user->usable
               ? sa_mail_queue(call, work, SA_MAIL_EXISTS, match.user->id, match.user->email, NULL)
               : sa_mail_queue_nothing(call, work, SA_MAIL_EXISTS);
}

sa_error_t *sa_accounts_change_email(sa_call_t *call, const sa_bearer_t *bearer,
                                     const char *email, const char *password)
{
    apr_array_header_t *links;
    sa_error_t *error = NULL;
    sa_user_t *user;
    sa_work_t *work;
    const char *canonical = address(call, email, &error);

    if (!error) {
        error = sa_bearer_user(call, bearer, &user, &links);
    }
    if (!error) {
        error = prove_again(call, user, password);
    }
    if (!error) {
        error = sa_mail_throttle(call, canonical);
    }
    if (error) {
        return error;
    }
    error = sa_open(call, &work);
    if (!error) {
        error = write_to_new(call, work, user, canonical);
    }
    sa_work_close(work);
    return error;
}
