/* New accounts with an e-mail and a password. */
#include "accounts/internal.h"

#include "core/text.h"
#include <string.h>

#define LONGEST_NAME 150            /* characters, as Django's */

/* ---- what people may call themselves ---- */

static void check_length(sa_call_t *call, const char *name, const char *field, sa_error_t **errors)
{
    if (name && name[sa_utf8_prefix(name, LONGEST_NAME)]) {
        sa_error_field(call->pool, errors, field, SA_E_INVALID,
                       "Ensure this field has no more than 150 characters.");
    }
}

static void check_username(sa_call_t *call, const char *username, sa_error_t **errors)
{
    if (!username) {
        return;
    }
    if (!sa_username_valid(username)) {
        sa_error_field(call->pool, errors, "username", SA_E_INVALID,
                       "Enter a valid username. This value may contain only letters, numbers, "
                       "and @/./+/-/_ characters.");
    }
    else if (sa_username_reserved(username)) {
        sa_error_field(call->pool, errors, "username", SA_E_INVALID, "This username is reserved.");
    }
    check_length(call, username, "username", errors);
}

void sa_profile_check(sa_call_t *call, const sa_profile_t *profile, sa_error_t **errors)
{
    check_username(call, profile->username, errors);
    check_length(call, profile->first_name, "first_name", errors);
    check_length(call, profile->last_name, "last_name", errors);
}

void sa_username_taken(sa_call_t *call, sa_error_t **errors)
{
    sa_error_field(call->pool, errors, "username", SA_E_INVALID,
                   "A user with that username already exists.");
}

/* ---- registration ---- */

typedef struct {
    sa_call_t *call;
    const sa_client_t *client;
    sa_new_user_t user;
    sa_event_t events[2];       /* new_user_registered, login_successful */
    sa_session_t *session;      /* NULL = no login */
    int address_is_taken;       /* which nobody is told but its owner, by mail */
    sa_user_t *stored;
} registration_t;

static sa_error_t *check(registration_t *registration, const char *email, const char *password)
{
    sa_call_t *call = registration->call;
    const sa_new_user_t *user = &registration->user;
    const sa_profile_t profile = { user->username, user->first_name, user->last_name };
    const sa_password_owner_t owner = {
        .username = user->username, .first_name = user->first_name,
        .last_name = user->last_name, .email = email
    };
    sa_error_t *errors = NULL;

    if (!user->email) {
        sa_error_field(call->pool, &errors, "email", SA_E_INVALID, "Enter a valid email address.");
    }
    sa_profile_check(call, &profile, &errors);
    sa_password_policy_check(call, password, &owner, "password", &errors);
    return errors;
}

/* SocialAuthEmailVerification required: known and unknown addresses are answered alike. */
static int is_discreet(const sa_call_t *call)
{
    return call->settings->email_verification == SA_VERIFICATION_REQUIRED;
}

/* Everything that is in use, at once. Discreetly, the name is the address's own when one account has both:
 * who sends the same form again must not see that the first one made it. */
static sa_error_t *check_taken(registration_t *registration, sa_work_t *work)
{
    sa_call_t *call = registration->call;
    sa_error_t *errors = NULL;
    sa_taken_t taken;

    sa_error_t *error = sa_store_taken(work, registration->user.email,
                                       registration->user.username, &taken);
    registration->address_is_taken = !error && taken.email && is_discreet(call);
    if (!error && taken.email && !registration->address_is_taken) {
        sa_error_field(call->pool, &errors, "email", SA_E_INVALID,
                       "user with this email already exists.");
    }
    if (!error && taken.username && !(taken.both && is_discreet(call))) {
        sa_username_taken(call, &errors);
    }
    return error ? error : errors;
}

static sa_error_t *is_free(registration_t *registration)
{
    sa_work_t *work;
    sa_error_t *error = sa_open(registration->call, &work);

    if (!error) {
        error = check_taken(registration, work);
    }
    sa_work_close(work);
    return error;
}

/* Inside a transaction: the user, its first session when it signs in at once, the events. */
static sa_error_t *insert(registration_t *registration, sa_work_t *work)
{
    const char *id = NULL, *taken = NULL;

    sa_error_t *error = sa_store_create_user(work, &registration->user, registration->call->now,
                                             &id, &taken);
    if (!error && taken) {
        error = sa_error(registration->call->pool, SA_E_CONFLICT, NULL, "the %s was taken meanwhile",
                         taken);
    }
    if (!error && registration->call->settings->email_verification != SA_VERIFICATION_OFF) {
        error = sa_mail_queue(registration->call, work, SA_MAIL_VERIFY, id,
                              registration->user.email,
                              sa_mail_binding(registration->call->pool, registration->user.password,
                                              registration->user.email));
    }
    if (!error) {
        error = sa_store_event(work, id, &registration->events[0]);
    }
    if (!error && registration->session) {
        error = sa_store_start_session(work, id, registration->session, &registration->events[1], 1,
                                       &registration->stored);
    }
    else if (!error) {
        error = sa_store_user_by_id(work, id, &registration->stored);
    }
    return error;
}

static sa_error_t *store(registration_t *registration)
{
    sa_call_t *call = registration->call;
    sa_work_t *work;

    sa_event_fill(call, &registration->events[0], "new_user_registered", NULL);
    sa_event_fill(call, &registration->events[1], "login_successful", NULL);
    sa_error_t *error = sa_open(call, &work);
    if (!error) {
        error = sa_work_begin(work);
    }
    if (!error) {
        error = insert(registration, work);
    }
    if (!error) {
        error = sa_work_commit(work);
    }
    if (!error) {
        sa_events_publish(call, work, registration->events, registration->session ? 2 : 1,
                          registration->stored->id);
    }
    sa_work_close(work);
    return error;
}

/* Nothing but a mail to the owner of the address. */
static sa_error_t *tell_owner(registration_t *registration)
{
    sa_call_t *call = registration->call;
    sa_work_t *work;
    sa_error_t *error = sa_mail_throttle(call, registration->user.email);

    if (error) {
        return NULL;            /* it was told often enough */
    }
    error = sa_open(call, &work);
    if (!error) {
        error = sa_mail_queue(call, work, SA_MAIL_EXISTS, NULL, registration->user.email, NULL);
    }
    sa_work_close(work);
    return error;
}

/* Somebody else may take the e-mail or the name between the look and the insert: then the look says so. */
static sa_error_t *store_or_say_taken(registration_t *registration)
{
    sa_error_t *error = registration->address_is_taken ? tell_owner(registration)
                                                       : store(registration);

    for (int try = 1; try < SA_TRIES && error && error->kind == SA_E_CONFLICT; try++) {
        error = is_free(registration);
        if (!error) {
            error = registration->address_is_taken ? tell_owner(registration)
                                                   : store(registration);
        }
    }
    return error;
}

sa_error_t *sa_accounts_register(sa_call_t *call, const sa_registration_t *given,
                                 const sa_client_t *client, sa_tokens_t *tokens)
{
    registration_t registration = {
        .call = call, .client = client,
        .user = {
            .email = given->email ? sa_email_canonical(call->pool, given->email) : NULL,
            .username = given->username, .first_name = given->first_name,
            .last_name = given->last_name, .is_active = 1, .last_login = call->now,
        },
    };

    sa_error_t *error = check(&registration, given->email, given->password);
    if (!error) {
        error = is_free(&registration);
    }
    if (!error) {
        error = sa_password_make(call, given->password, &registration.user.password);
    }
    tokens = is_discreet(call) ? NULL : tokens;
    if (!error && tokens) {
        registration.session = sa_session_new(call, "pwd", client);
        error = registration.session ? NULL : sa_no_random(call);
    }
    if (!error) {
        error = store_or_say_taken(&registration);
    }
    if (error || !tokens) {
        return error;
    }
    return sa_tokens_issue(call, registration.stored, registration.session, tokens);
}
