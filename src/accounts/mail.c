#include "accounts/internal.h"

#include "core/crypto.h"
#include "core/json.h"
#include "core/text.h"
#include <apr_strings.h>
#include <string.h>

#define MAIL_TYP "mail+jwt"
#define MAIL_TYPE "mail"        /* token_type: no other token has it */
#define NOTICE_LIFETIME (3 * 86400)     /* seconds: older news are none */

static const char *const names[SA_MAIL_KINDS] = {
    [SA_MAIL_VERIFY] = "verify", [SA_MAIL_RESET] = "reset",
    [SA_MAIL_EMAIL_CHANGE] = "email-change", [SA_MAIL_EXISTS] = "exists",
    [SA_MAIL_NEW_LINK] = "new-link", [SA_MAIL_PASSWORD_CHANGED] = "password-changed",
    [SA_MAIL_EMAIL_CHANGED] = "email-changed",
};

const char *sa_mail_kind_name(sa_mail_kind_t kind)
{
    return names[kind];
}

sa_mail_kind_t sa_mail_kind(const char *name)
{
    int kind = 0;

    while (kind < SA_MAIL_KINDS && strcmp(names[kind], name)) {
        kind++;
    }
    return (sa_mail_kind_t)kind;
}

int sa_mail_has_link(sa_mail_kind_t kind)
{
    return kind <= SA_MAIL_EMAIL_CHANGE;
}

/* ---- writing ---- */

static int is_wanted(const sa_settings_t *settings, sa_mail_kind_t kind)
{
    return settings->mails && (kind < SA_MAIL_NEW_LINK || settings->security_mails);
}

static int lifetime(const sa_settings_t *settings, sa_mail_kind_t kind)
{
    return !sa_mail_has_link(kind) ? NOTICE_LIFETIME
           : kind == SA_MAIL_VERIFY ? settings->verify_lifetime : settings->reset_lifetime;
}

static sa_error_t *queue(sa_call_t *call, sa_work_t *work, sa_mail_kind_t kind, sa_mail_t *mail,
                         int is_decoy)
{
    mail->id = sa_random_text(call->pool, 16);
    mail->kind = names[kind];
    mail->mount = call->settings->url;
    mail->created = call->now;
    mail->expires = call->now + lifetime(call->settings, kind);
    return mail->id ? sa_store_queue_mail(work, mail, is_decoy) : sa_no_random(call);
}

sa_error_t *sa_mail_queue(sa_call_t *call, sa_work_t *work, sa_mail_kind_t kind,
                          const char *user_id, const char *email, const char *data)
{
    sa_mail_t mail = { .user_id = user_id, .email = email, .data = data };

    if (!is_wanted(call->settings, kind) || !email) {
        return NULL;
    }
    if (!sa_email_canonical(call->pool, email)) {       /* the site's own table may hold anything */
        if (call->log) {
            call->log(call, 4, apr_psprintf(call->pool, "user %s has an e-mail that is no address",
                                            user_id ? user_id : "-"));
        }
        return NULL;
    }
    return queue(call, work, kind, &mail, 0);
}

sa_error_t *sa_mail_queue_nothing(sa_call_t *call, sa_work_t *work, sa_mail_kind_t kind)
{
    const char *random = sa_random_text(call->pool, 16);
    sa_mail_t mail = { .email = "-", .data = sa_mail_binding(call->pool, random, NULL) };

    return queue(call, work, kind, &mail, 1);
}

sa_error_t *sa_mail_find_user(sa_work_t *work, apr_pool_t *p, sa_mail_t *mail)
{
    sa_user_t *user;

    if (sa_mail_kind(mail->kind) != SA_MAIL_RESET || mail->user_id) {
        return NULL;
    }
    sa_error_t *error = sa_store_user_by_login(work, mail->email, NULL, &user);
    if (error) {
        return error;
    }
    if (!user || !user->usable || !sa_email_canonical(p, user->email)) {
        mail->email = NULL;
        return sa_store_drop_mail(work, mail->id);
    }
    mail->user_id = user->id;
    mail->email = user->email;
    mail->data = sa_mail_binding(p, user->password, user->email);
    return sa_store_address_mail(work, mail);
}

static apr_int64_t throttle(sa_call_t *call, const char *email)
{
    const char *key = apr_pstrcat(call->pool, call->settings->database, "|mail:", email, NULL);

    return sa_throttle_hit(call->shared,
                           sa_keyed_hash(sa_shared_key(call->shared), key, strlen(key)),
                           &call->settings->mail_throttle);
}

sa_error_t *sa_mail_throttle(sa_call_t *call, const char *email)
{
    apr_int64_t wait = throttle(call, email);

    return wait ? sa_error_retry(call->pool, SA_E_THROTTLED, (int) ((wait + 999) / 1000),
                                 "too many mails to one address")
                : NULL;
}

const char *sa_mail_binding(apr_pool_t *p, const char *stored_password, const char *stored_email)
{
    unsigned char hash[SA_SHA256_LEN];
    const char *text = apr_pstrcat(p, stored_email ? stored_email : "", "\n",
                                   stored_password ? stored_password : "", NULL);
    char *out = apr_palloc(p, 2 * SA_SHA256_LEN + 1);

    sa_sha256(text, strlen(text), hash);
    for (int i = 0; i < SA_SHA256_LEN; i++) {
        apr_snprintf(out + 2 * i, 3, "%02x", hash[i]);
    }
    return out;
}

/* ---- tokens ---- */

/* Not the audience of access tokens: a resource server that looks at nothing else refuses these. */
static const char *audience(apr_pool_t *p, const sa_settings_t *settings)
{
    return apr_pstrcat(p, settings->url, "/email", NULL);
}

const char *sa_mail_token(apr_pool_t *p, const sa_settings_t *settings, const sa_mail_t *mail,
                          apr_int64_t now)
{
    const sa_key_t *key = sa_keyset_signer(settings->keys);
    json_t *claims = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I}", "token_type", MAIL_TYPE,
        "purpose", mail->kind, "jti", mail->id, "sub", mail->user_id ? mail->user_id : "",
        "email", mail->email, "iss", settings->issuer, "aud", audience(p, settings),
        "iat", (json_int_t)now, "exp", (json_int_t)mail->expires);

    sa_json_own(p, claims);
    return key && json_object_size(claims) == 9 ? sa_jwt_sign(p, key, MAIL_TYP, claims) : NULL;
}

sa_error_t *sa_link_invalid(sa_call_t *call, const char *why)
{
    return sa_error(call->pool, SA_E_LINK_INVALID, NULL, "mail token refused: %s", why);
}

sa_error_t *sa_mail_token_check(sa_call_t *call, const char *token, sa_mail_kind_t kind,
                                sa_mail_kind_t or_kind, sa_mail_t *mail)
{
    const sa_settings_t *settings = call->settings;
    const char *why = NULL;
    sa_jwt_t jwt;

    if (sa_jwt_verify(call->pool, token, strlen(token), settings->keys, &jwt, &why)
        != SA_JWT_OK) {
        return sa_link_invalid(call, why);
    }
    why = sa_jwt_check_access(&jwt, settings->issuer, audience(call->pool, settings), MAIL_TYPE,
                              MAIL_TYP, 1, call->now, settings->leeway);
    if (why) {
        return sa_link_invalid(call, why);
    }
    *mail = (sa_mail_t) {
        .id = sa_json_string(jwt.claims, "jti"), .kind = sa_json_string(jwt.claims, "purpose"),
        .user_id = sa_json_string(jwt.claims, "sub"),
    };
    sa_mail_kind_t purpose = mail->kind ? sa_mail_kind(mail->kind) : SA_MAIL_KINDS;
    return purpose == kind || purpose == or_kind ? NULL
                                                 : sa_link_invalid(call, "it is for something else");
}

/* ---- SocialAuthEmailVerification required ---- */

sa_error_t *sa_require_verified_email(sa_call_t *call, const sa_user_t *user)
{
    sa_work_t *work;

    if (call->settings->email_verification != SA_VERIFICATION_REQUIRED || user->email_verified
        || !user->email) {
        return NULL;
    }
    if (!throttle(call, user->email)) {
        sa_error_t *error = sa_open(call, &work);
        if (!error) {
            error = sa_mail_queue(call, work, SA_MAIL_VERIFY, user->id, user->email,
                                  sa_mail_binding(call->pool, user->password, user->email));
        }
        sa_work_close(work);
        if (error) {
            return error;
        }
    }
    return sa_error(call->pool, SA_E_EMAIL_NOT_CONFIRMED, NULL, "user %s", user->id);
}
