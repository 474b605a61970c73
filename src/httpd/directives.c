/* The command table and the directives that hold no secret. A handler only writes into the scope's
 * sa_dir_conf_t, or returns one sentence; httpd puts file and line before it. */
#include "httpd/dir_conf.h"
#include "core/url.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>

const char *sa_directive_error(cmd_parms *cmd, const char *value, const char *phrase)
{
    if (!value) {
        return apr_pstrcat(cmd->pool, cmd->cmd->name, ": ", phrase, NULL);
    }
    return apr_psprintf(cmd->pool, "%s \"%s\": %s", cmd->cmd->name, value, phrase);
}

int sa_config_is_only_shown(void)
{
    return ap_state_query(AP_SQ_RUN_MODE) == AP_SQ_RM_CONFIG_DUMP;
}

const char *sa_directive_begin(cmd_parms *cmd, sa_dir_conf_t *conf)
{
    const char *problem = sa_scope_problem(cmd->pool, cmd->directive);

    if (problem) {
        return sa_directive_error(cmd, NULL, problem);
    }
    if (!conf->defn) {
        conf->defn = sa_defn(cmd->pool, cmd->directive);
    }
    return NULL;
}

void sa_directive_show_instead(cmd_parms *cmd, const char *args)
{
    ((ap_directive_t *)cmd->directive)->args = args;
}

static void *member(void *conf, apr_size_t offset)
{
    return (char *)conf + offset;
}

typedef struct {
    apr_size_t offset;          /* of an int */
    int unit, min, max;
} sa_number_spec_t;

static const char *set_number(cmd_parms *cmd, void *conf, const char *value)
{
    const sa_number_spec_t *spec = cmd->info;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    problem = sa_parse_number(cmd->pool, value, spec->unit, spec->min, spec->max,
                              member(conf, spec->offset));
    return problem ? sa_directive_error(cmd, value, problem) : NULL;
}

/* The pool is the server's, or the virtual host's: a <Location> cannot have its own. */
static const char *set_server_number(cmd_parms *cmd, void *conf, const char *value)
{
    const char *problem = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT);

    return problem ? problem : set_number(cmd, conf, value);
}

static const char *set_global_number(cmd_parms *cmd, void *conf, const char *value)
{
    const char *problem = ap_check_cmd_context(cmd, GLOBAL_ONLY);

    return problem ? problem : set_number(cmd, conf, value);
}

static const char *set_flag(cmd_parms *cmd, void *conf, int value)
{
    const char *problem = sa_directive_begin(cmd, conf);

    if (!problem) {
        *(int *)member(conf, (apr_size_t)cmd->info) = value;
    }
    return problem;
}

/* About what others serve: it may stand in any section, and makes none a mount's. */
static const char *set_others_flag(cmd_parms *cmd, void *conf, int value)
{
    *(int *)member(conf, (apr_size_t)cmd->info) = value;
    return NULL;
}

static const char *set_rate(cmd_parms *cmd, void *conf, const char *value)
{
    sa_rate_t *rate = apr_pcalloc(cmd->pool, sizeof(*rate));
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    problem = sa_rate_parse(value, rate);
    if (problem) {
        return sa_directive_error(cmd, value, problem);
    }
    *(const sa_rate_t **)member(conf, (apr_size_t)cmd->info) = rate;
    return NULL;
}

typedef struct {
    apr_size_t offset;          /* of an int */
    const char *words;          /* "a b c" */
    int values[8];
} sa_choice_spec_t;

static const char *set_choice(cmd_parms *cmd, void *conf, const char *value)
{
    const sa_choice_spec_t *spec = cmd->info;
    const char *problem = sa_directive_begin(cmd, conf);
    char *last, *words = apr_pstrdup(cmd->temp_pool, spec->words);
    int i = 0;

    if (problem) {
        return problem;
    }
    for (char *word = apr_strtok(words, " ", &last); word; word = apr_strtok(NULL, " ", &last)) {
        if (ap_cstr_casecmp(word, value) == 0) {
            *(int *)member(conf, spec->offset) = spec->values[i];
            return NULL;
        }
        i++;
    }
    return sa_directive_error(cmd, value, apr_pstrcat(cmd->pool, "must be one of ", spec->words,
                                                      NULL));
}

static const char *set_base_url(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    problem = sa_parse_base_url(cmd->pool, value, &conf->base_url);
    return problem ? sa_directive_error(cmd, value, problem) : NULL;
}

static const char *set_name(cmd_parms *cmd, void *conf, const char *value)
{
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    problem = sa_parse_string_or_uri(value);
    if (problem) {
        return sa_directive_error(cmd, value, problem);
    }
    *(const char **)member(conf, (apr_size_t)cmd->info) = value;
    return NULL;
}

static const char *set_state_salt(cmd_parms *cmd, void *data, const char *value)
{
    sa_dir_conf_t *conf = data;
    const char *problem = sa_directive_begin(cmd, conf);

    if (problem) {
        return problem;
    }
    if (!*value || strlen(value) > 255) {
        return sa_directive_error(cmd, value, "must be 1 to 255 characters long");
    }
    conf->state_salt = value;
    return NULL;
}

#define CONTEXT (RSRC_CONF | ACCESS_CONF)
#define AT(name) ((void *)offsetof(sa_dir_conf_t, name))
#define NUMBER(name, unit, min, max) \
    ((void *)&(const sa_number_spec_t){ offsetof(sa_dir_conf_t, name), unit, min, max })
#define CHOICE(name, words, ...) \
    ((void *)&(const sa_choice_spec_t){ offsetof(sa_dir_conf_t, name), words, { __VA_ARGS__ } })

#define DAY 86400
#define YEAR (365 * DAY)

const command_rec sa_directives[] = {
    AP_INIT_TAKE1("SocialAuthBaseURL", set_base_url, NULL, CONTEXT,
        "the site's address as browsers see it, like https://www.example.org"),
    AP_INIT_TAKE1("SocialAuthSecret", sa_set_secret, NULL, CONTEXT,
        "the server's secret, 32 bytes or more: \"text\", file:path or \"exec:program args\""),
    AP_INIT_TAKE_ARGV("SocialAuthProvider", sa_set_provider, NULL, CONTEXT,
        "a provider's name and its options as key=value"),

    AP_INIT_TAKE1("SocialAuthStateSalt", set_state_salt, NULL, CONTEXT,
        "salt of the key that signs login states"),
    AP_INIT_TAKE1("SocialAuthStateMaxAge", set_number,
        NUMBER(state_max_age, SA_UNIT_SECONDS, 1, 3600), CONTEXT,
        "how long a login state is valid, 1 to 3600 seconds"),
    AP_INIT_TAKE1("SocialAuthStateBinding", set_choice,
        CHOICE(state_binding, "auto required off",
               SA_BINDING_AUTO, SA_BINDING_REQUIRED, SA_BINDING_OFF), CONTEXT,
        "whether a login must come from the browser that asked for its state: auto, required, off"),
    AP_INIT_TAKE1("SocialAuthSharedState", set_choice,
        CHOICE(shared_state, "memory database", 0, 1), CONTEXT,
        "where used states are remembered: memory, database"),
    AP_INIT_TAKE1("SocialAuthMaxTokenAge", set_number,
        NUMBER(max_token_age, SA_UNIT_SECONDS, 1, DAY), CONTEXT,
        "how old an ID token without a state may be, 1 to 86400 seconds"),

    AP_INIT_TAKE1("SocialAuthThrottleRate", set_rate, AT(throttle), CONTEXT,
        "logins of a client: n/second, n/minute, n/hour, n/day, off"),
    AP_INIT_TAKE1("SocialAuthPasswordThrottleRate", set_rate, AT(password_throttle), CONTEXT,
        "password logins of a client: n/second, n/minute, n/hour, n/day, off"),
    AP_INIT_TAKE1("SocialAuthAccountThrottleRate", set_rate, AT(account_throttle), CONTEXT,
        "password logins to an account: n/second, n/minute, n/hour, n/day, off"),

    AP_INIT_TAKE1("SocialAuthUserTable", sa_set_user_table, NULL, CONTEXT,
        "the site's own user table: name or schema.name"),
    AP_INIT_ITERATE("SocialAuthUserColumn", sa_add_user_column, NULL, CONTEXT,
        "columns of the user table as role=column"),
    AP_INIT_TAKE1("SocialAuthUserDeletedField", sa_set_deleted_field, NULL, CONTEXT,
        "column of the user table that marks deleted users"),
    AP_INIT_FLAG("SocialAuthLinkedEmailUpdate", set_flag, AT(linked_email_update), CONTEXT,
        "On to keep a link's e-mail as the provider says it at each login"),
    AP_INIT_TAKE1("SocialAuthEmailLinking", set_choice,
        CHOICE(email_linking, "verified reclaim always never", SA_LINKING_VERIFIED,
               SA_LINKING_RECLAIM, SA_LINKING_ALWAYS, SA_LINKING_NEVER), CONTEXT,
        "when a first login joins the account of its e-mail: verified, reclaim, always, never"),

    AP_INIT_TAKE1("SocialAuthAccessTokenLifetime", set_number,
        NUMBER(access_lifetime, SA_UNIT_SECONDS, 1, YEAR), CONTEXT,
        "lifetime of access tokens"),
    AP_INIT_TAKE1("SocialAuthRefreshTokenLifetime", set_number,
        NUMBER(refresh_lifetime, SA_UNIT_SECONDS, 1, 10 * YEAR), CONTEXT,
        "lifetime of refresh tokens"),
    AP_INIT_TAKE1("SocialAuthSessionLifetime", set_number,
        NUMBER(session_lifetime, SA_UNIT_SECONDS, 1, 10 * YEAR), CONTEXT,
        "when a session ends however often it is refreshed"),
    AP_INIT_FLAG("SocialAuthRotateRefreshTokens", set_flag, AT(rotate), CONTEXT,
        "On to hand out a new refresh token at each refresh"),
    AP_INIT_FLAG("SocialAuthBlacklistAfterRotation", set_flag, AT(blacklist_after_rotation),
        CONTEXT, "On to refuse a refresh token that was replaced"),
    AP_INIT_TAKE1("SocialAuthRefreshReuseInterval", set_number,
        NUMBER(reuse_interval, SA_UNIT_SECONDS, 0, 300), CONTEXT,
        "how long a replaced refresh token yields the same successor, 0 to 300 seconds"),
    AP_INIT_ITERATE("SocialAuthAuthHeaderTypes", sa_add_header_type, NULL, CONTEXT,
        "accepted schemes of the Authorization header"),
    AP_INIT_TAKE1("SocialAuthJWTAlgorithm", set_choice,
        CHOICE(algorithm, "HS256 RS256 PS256 ES256 ES384 EdDSA", SA_ALG_HS256, SA_ALG_RS256,
               SA_ALG_PS256, SA_ALG_ES256, SA_ALG_ES384, SA_ALG_EDDSA), CONTEXT,
        "how tokens are signed: HS256, RS256, PS256, ES256, ES384, EdDSA"),
    AP_INIT_TAKE12("SocialAuthJWTKey", sa_set_jwt_key, NULL, CONTEXT,
        "[kid=name] and a key as file:path or \"exec:program args\"; the first one signs"),
    AP_INIT_TAKE1("SocialAuthIssuer", set_name, AT(issuer), CONTEXT,
        "iss of tokens"),
    AP_INIT_TAKE1("SocialAuthAudience", set_name, AT(audience), CONTEXT,
        "aud of tokens"),
    AP_INIT_TAKE1("SocialAuthLeeway", set_number, NUMBER(leeway, SA_UNIT_SECONDS, 0, 300), CONTEXT,
        "how far clocks may differ, 0 to 300 seconds"),
    AP_INIT_FLAG("SocialAuthAcceptSimpleJWT", set_flag, AT(accept_simplejwt), CONTEXT,
        "On to accept access tokens that SimpleJWT signed with the same key"),
    AP_INIT_TAKE1("SocialAuthRevocationCheck", set_choice,
        CHOICE(revocation_check, "shared database off", SA_REVOCATION_SHARED,
               SA_REVOCATION_DATABASE, SA_REVOCATION_OFF), CONTEXT,
        "how access tokens of ended sessions are found: shared, database, off"),

    AP_INIT_TAKE1("SocialAuthTokenDelivery", set_choice,
        CHOICE(token_delivery, "json cookie both",
               SA_DELIVER_JSON, SA_DELIVER_COOKIE, SA_DELIVER_JSON | SA_DELIVER_COOKIE), CONTEXT,
        "how browsers get their tokens: json, cookie, both"),
    AP_INIT_FLAG("SocialAuthStripCookies", set_others_flag, AT(strip_cookies), CONTEXT,
        "Off to let back ends and programs see the module's cookies"),
    AP_INIT_TAKE1("SocialAuthLoginErrorURL", sa_set_login_error_url, NULL, CONTEXT,
        "the page for those whose login by redirect failed"),
    AP_INIT_TAKE1("SocialAuthLoginURL", sa_set_login_url, NULL, CONTEXT,
        "the site's page for signing in, which is given where to go then as next="),
    AP_INIT_ITERATE("SocialAuthAllowOrigin", sa_add_allow_origin, NULL, CONTEXT,
        "origins whose pages may call the API"),
    AP_INIT_FLAG("SocialAuthAllowCredentials", set_flag, AT(allow_credentials), CONTEXT,
        "On to let these pages send cookies"),
    AP_INIT_ITERATE("SocialAuthAllowHeaders", sa_add_allow_header, NULL, CONTEXT,
        "request headers these pages may send"),

    AP_INIT_ITERATE("SocialAuthTimeout", sa_set_timeout, NULL, CONTEXT,
        "time limits for providers: connect=time total=time"),
    AP_INIT_TAKE1("SocialAuthMaxResponse", set_number,
        NUMBER(max_response, SA_UNIT_BYTES, 1024, 16777216), CONTEXT,
        "longest answer of a provider, in bytes"),
    AP_INIT_TAKE1("SocialAuthCABundle", sa_set_ca_bundle, NULL, CONTEXT,
        "file of certificates to trust instead of the system's"),
    AP_INIT_TAKE1("SocialAuthOutgoingProxy", sa_set_outgoing_proxy, NULL, CONTEXT,
        "proxy for requests to providers: http://host:port or none"),
    AP_INIT_TAKE1("SocialAuthMaxBody", set_number,
        NUMBER(max_body, SA_UNIT_BYTES, 256, 16777216), CONTEXT,
        "longest request body, in bytes"),
    AP_INIT_TAKE1("SocialAuthDBConnections", set_server_number,
        NUMBER(db_connections, SA_UNIT_COUNT, 1, 1000), RSRC_CONF,
        "database connections used by a child process, at most DBDMax"),
    AP_INIT_TAKE1("SocialAuthDBTimeout", set_number,
        NUMBER(db_timeout_ms, SA_UNIT_MILLIS, 100, 60000), CONTEXT,
        "how long a request waits for the database"),

    AP_INIT_FLAG("SocialAuthPasswordLogin", set_flag, AT(password_login), CONTEXT,
        "Off to allow social logins only"),
    AP_INIT_FLAG("SocialAuthRegistration", set_flag, AT(registration), CONTEXT,
        "Off to let nobody make an account with a password"),
    AP_INIT_FLAG("SocialAuthRegistrationLogin", set_flag, AT(registration_login), CONTEXT,
        "On to sign people in when they have made an account"),
    AP_INIT_TAKE1("SocialAuthUserList", set_choice,
        CHOICE(user_list, "off staff authenticated public", SA_USER_LIST_OFF, SA_USER_LIST_STAFF,
               SA_USER_LIST_AUTHENTICATED, SA_USER_LIST_PUBLIC), CONTEXT,
        "who sees the list of users: off, staff, authenticated, public"),
    AP_INIT_FLAG("SocialAuthUnlinkRequiresPassword", set_flag, AT(unlink_requires_password),
        CONTEXT, "On to demand the password for unlink"),
    AP_INIT_ITERATE("SocialAuthPasswordPolicy", sa_set_password_policy, NULL, CONTEXT,
        "what new passwords must be like: min-length=number common=on|off similarity=on|off "
        "numeric=on|off"),
    AP_INIT_TAKE1("SocialAuthCommonPasswords", sa_set_common_passwords, NULL, CONTEXT,
        "file of passwords that are too common, one a line"),
    AP_INIT_TAKE1("SocialAuthHashConcurrency", set_global_number,
        NUMBER(hash_concurrency, SA_UNIT_COUNT, 1, 64), RSRC_CONF,
        "how many passwords all child processes hash at once"),
    AP_INIT_TAKE2("SocialAuthWebhook", sa_set_webhook, NULL, CONTEXT,
        "URL that is told of events, and its secret: whsec_base64 or file:path"),
    AP_INIT_FLAG("SocialAuthNotify", set_flag, AT(notify), CONTEXT,
        "On to NOTIFY social_auth on PostgreSQL at each event"),
    AP_INIT_TAKE_ARGV("SocialAuthSMTP", sa_set_smtp, NULL, CONTEXT,
        "who takes mails: smtp://host, smtps://host, sendmail:/path of a program, or off"),
    AP_INIT_TAKE1("SocialAuthMailFrom", sa_set_mail_from, NULL, CONTEXT,
        "sender of mails: \"Name <address>\""),
    AP_INIT_ITERATE("SocialAuthMailLink", sa_add_mail_link, NULL, CONTEXT,
        "pages that links in mails lead to: verify=URL reset=URL email-change=URL"),
    AP_INIT_TAKE1("SocialAuthMailTemplates", sa_set_mail_templates, NULL, CONTEXT,
        "directory of texts that replace the module's own"),
    AP_INIT_TAKE1("SocialAuthMailThrottleRate", set_rate, AT(mail_throttle), CONTEXT,
        "mails to an address: n/second, n/minute, n/hour, n/day, off"),
    AP_INIT_TAKE1("SocialAuthEmailVerification", set_choice,
        CHOICE(email_verification, "off optional required", SA_VERIFICATION_OFF,
               SA_VERIFICATION_OPTIONAL, SA_VERIFICATION_REQUIRED), CONTEXT,
        "whether addresses are verified by mail: off, optional, required"),
    AP_INIT_TAKE1("SocialAuthVerificationLifetime", set_number,
        NUMBER(verify_lifetime, SA_UNIT_SECONDS, 60, 7 * DAY), CONTEXT,
        "lifetime of links that verify an address"),
    AP_INIT_TAKE1("SocialAuthPasswordResetLifetime", set_number,
        NUMBER(reset_lifetime, SA_UNIT_SECONDS, 60, 3600), CONTEXT,
        "lifetime of links that reset a password or change an address"),
    AP_INIT_FLAG("SocialAuthSecurityMails", set_flag, AT(security_mails), CONTEXT,
        "Off to not tell users by mail what changed on their accounts"),
    AP_INIT_TAKE1("SocialAuthSharedMemory", set_global_number,
        NUMBER(shared_bytes, SA_UNIT_BYTES, 1048576, 1073741824), RSRC_CONF,
        "shared memory for throttling, used states and cached keys, in bytes"),
    { NULL, { NULL }, NULL, 0, RAW_ARGS, NULL }
};
