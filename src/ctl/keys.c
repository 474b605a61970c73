/* Keys that sign tokens: making them, taking turns, looking at their public parts. */
#include "ctl/ctl.h"

#include <apr_file_info.h>
#include <apr_strings.h>
#include <stdio.h>
#include <string.h>

#include "core/crypto.h"
#include "core/json.h"
#include "core/jwk.h"

#define KID_BYTES 8

typedef struct {
    sa_alg_t alg;
    const char *kid;            /* as tokens will name it */
    const char *text;           /* what the file holds */
    const char *line;           /* SocialAuthJWTKey …, NULL without a file */
} new_key_t;

/* What SocialAuthJWTAlgorithm takes. */
static sa_alg_t signing_alg(const char *name)
{
    static const sa_alg_t algs[] = {
        SA_ALG_HS256, SA_ALG_RS256, SA_ALG_PS256, SA_ALG_ES256, SA_ALG_ES384, SA_ALG_EDDSA
    };
    sa_alg_t alg = sa_alg_from_name(name);

    for (size_t i = 0; i < sizeof(algs) / sizeof(*algs); i++) {
        if (algs[i] == alg) {
            return alg;
        }
    }
    return SA_ALG_NONE;
}

static int is_kid(const char *kid)
{
    size_t len = strlen(kid);

    return len >= 1 && len <= 64
           && strspn(kid, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
                  == len;
}

/* A pair's kid is its thumbprint, a secret's cannot be told from the secret. */
static const char *natural_kid(ctl_t *ctl, const new_key_t *key, const char **why)
{
    if (key->alg == SA_ALG_HS256) {
        return sa_random_hex(ctl->pool, KID_BYTES);
    }
    const sa_key_t *parsed = sa_key_from_pem(ctl->pool, key->text, strlen(key->text), key->alg,
                                             NULL, why);
    return parsed ? sa_key_kid(parsed) : NULL;
}

static const char *directive(ctl_t *ctl, const new_key_t *key, const char *path)
{
    const char *quote = strpbrk(path, " \t") ? "\"" : "";
    int needs_kid = ctl->kid || key->alg == SA_ALG_HS256;

    return apr_pstrcat(ctl->pool, "SocialAuthJWTKey ", needs_kid ? "kid=" : "",
                       needs_kid ? key->kid : "", needs_kid ? " " : "", quote, "file:", path,
                       quote, NULL);
}

static int write_key(ctl_t *ctl, new_key_t *key, const char *file)
{
    char *path;

    if (apr_filepath_merge(&path, NULL, file, 0, ctl->pool) != APR_SUCCESS
        || strpbrk(path, "\"\\\r\n")) {
        return ctl_fail("the file's name cannot stand in a directive");
    }
    const char *line = key->alg == SA_ALG_HS256 ? "\n" : "";
    const char *text = apr_pstrcat(ctl->pool, key->text, line, NULL);
    const char *why = ctl_write_secret(ctl->pool, path, text);
    sa_wipe((char *)text, strlen(text));
    if (why) {
        return ctl_fail("%s", why);
    }
    key->line = directive(ctl, key, path);
    return CTL_OK;
}

/* file NULL = none. */
static int make_key(ctl_t *ctl, new_key_t *key, const char *file)
{
    const char *why = "OpenSSL gave no random bytes";

    if (ctl->kid && !is_kid(ctl->kid)) {
        ctl_fail("--kid is 1 to 64 letters, digits, '-', '_' and '.'");
        return CTL_USAGE;
    }
    key->text = sa_key_generate(ctl->pool, key->alg, ctl->bits, &why);
    if (!key->text) {
        ctl_fail("%s", why);
        return ctl->bits ? CTL_USAGE : CTL_FAILED;
    }
    key->kid = ctl->kid ? ctl->kid : natural_kid(ctl, key, &why);
    if (!key->kid) {
        return ctl_fail("%s", why);
    }
    return file ? write_key(ctl, key, file) : CTL_OK;
}

int ctl_keys_generate(ctl_t *ctl, const char **operands)
{
    new_key_t key = { .alg = signing_alg(operands[0]) };

    if (key.alg == SA_ALG_NONE) {
        ctl_fail("%s is none of HS256, RS256, PS256, ES256, ES384 and EdDSA",
                 ctl_shown(ctl, operands[0]));
        return CTL_USAGE;
    }
    int status = make_key(ctl, &key, ctl->output);
    if (status != CTL_OK) {
        return status;
    }
    json_t *value = json_pack("{s:s, s:s, s:s*, s:s*}", "alg", sa_alg_name(key.alg),
                              "kid", key.kid, "directive", key.line,
                              "key", ctl->output ? NULL : key.text);
    if (ctl->output) {
        ctl_say(ctl, value, "%s", key.line);
    }
    else {
        size_t len = strlen(key.text);
        ctl_say(ctl, value, "%.*s", (int)(key.text[len - 1] == '\n' ? len - 1 : len), key.text);
    }
    return CTL_OK;
}

/* ---- what a configuration has ---- */

static const json_t *settings_of(const json_t *mount)
{
    return json_object_get(mount, "settings");
}

/* The mounts that are meant, with their keys the same; NULL after saying why. */
static const json_t *only_keys(ctl_t *ctl)
{
    const json_t *chosen = NULL;
    size_t i;
    json_t *mount;

    json_array_foreach(json_object_get(ctl->dump, "mounts"), i, mount) {
        if (!ctl_mount_is_wanted(ctl, mount)) {
            continue;
        }
        if (chosen && !json_equal(json_object_get(settings_of(chosen), "keys"),
                                  json_object_get(settings_of(mount), "keys"))) {
            ctl_fail("%s has mounts with different keys: say which one with --mount and --server",
                     ctl->conf);
            return NULL;
        }
        chosen = chosen ? chosen : mount;
    }
    if (!chosen) {
        ctl_fail("%s has no such mount", ctl->conf);
    }
    return chosen;
}

static const json_t *keys_of_configuration(ctl_t *ctl)
{
    const char *why = ctl_read_conf(ctl);

    if (why) {
        ctl_fail("%s", why);
        return NULL;
    }
    return only_keys(ctl);
}

int ctl_keys_list(ctl_t *ctl, const char **operands)
{
    const json_t *mount = keys_of_configuration(ctl);
    json_t *jwks = json_array(), *key;
    size_t i;

    if (!mount) {
        json_decref(jwks);
        return CTL_FAILED;
    }
    json_array_foreach(json_object_get(settings_of(mount), "keys"), i, key) {
        json_t *jwk = json_object_get(key, "jwk");
        if (json_is_object(jwk)) {
            json_array_append(jwks, jwk);
        }
        if (!ctl->json) {
            printf("%s\t%s\t%s\t%s\n", ctl_shown(ctl, sa_json_string(key, "kid")),
                   sa_json_string(key, "alg"),
                   json_is_true(json_object_get(key, "signs")) ? "signs" : "verifies",
                   ctl_shown(ctl, sa_json_string(key, "thumbprint")));
        }
    }
    ctl_say_list(ctl, json_pack("{s:o}", "keys", jwks));
    return CTL_OK;
}

/* ---- taking turns ---- */

static apr_int64_t setting(const json_t *mount, const char *name)
{
    return json_integer_value(json_object_get(settings_of(mount), name));
}

static apr_int64_t longest_token(const json_t *mount)
{
    apr_int64_t access = setting(mount, "access_lifetime");
    apr_int64_t refresh = setting(mount, "refresh_lifetime");

    return (access > refresh ? access : refresh) + setting(mount, "leeway");
}

static const char *new_signer_steps(ctl_t *ctl, const new_key_t *key, const json_t *mount)
{
    const char *until = apr_psprintf(ctl->pool, "%" APR_INT64_T_FMT " seconds, which tokens live",
                                     longest_token(mount));

    if (key->alg == SA_ALG_HS256) {
        return apr_psprintf(ctl->pool,
            "1. Put this line before the other SocialAuthJWTKey lines, and reload httpd:\n"
            "     %s\n"
            "   Where SocialAuthSecret signs so far, name its file in a SocialAuthJWTKey line "
            "below it.\n   Give the new key to all others who verify tokens first.\n"
            "2. After %s, remove the lines below it.", key->line, until);
    }
    return apr_psprintf(ctl->pool,
        "1. Put this line after the other SocialAuthJWTKey lines, and reload httpd: others learn "
        "the key from the JWKS.\n     %s\n"
        "2. When their copies of the JWKS are new (a day is enough for most), move the line before "
        "the others, and\n   reload httpd: it signs.\n"
        "3. After %s, remove the lines below it.", key->line, until);
}

int ctl_keys_rotate(ctl_t *ctl, const char **operands)
{
    const json_t *mount = keys_of_configuration(ctl);

    if (!mount) {
        return CTL_FAILED;
    }
    const json_t *signer = json_array_get(json_object_get(settings_of(mount), "keys"), 0);
    new_key_t key = { .alg = signing_alg(sa_json_string(signer, "alg")) };
    int status = make_key(ctl, &key, operands[0]);
    if (status != CTL_OK) {
        return status;
    }
    ctl_say(ctl, json_pack("{s:s, s:s, s:s, s:I}", "alg", sa_alg_name(key.alg), "kid", key.kid,
                           "directive", key.line, "old_until", (json_int_t)longest_token(mount)),
            "%s", new_signer_steps(ctl, &key, mount));
    return CTL_OK;
}
