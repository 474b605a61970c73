#include "ctl/ctl.h"

#include <apr_dbd.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <stdio.h>
#include <string.h>

#include "core/crypto.h"

const ctl_command_t ctl_commands[] = {
    { "migrate status", 0, ctl_migrate_status, "migrate status", 0 },
    { "migrate", 0, ctl_migrate, "migrate [--dry-run]", 0 },
    { "users create", 0, ctl_users_create,
      "users create --email ADDRESS [--username NAME] [--first-name NAME] [--last-name NAME]\n"
      "               [--staff] [--superuser] [--no-password | --password-stdin]", 0 },
    { "users list", 0, ctl_users_list, "users list [--limit N] [--after ID]", 0 },
    { "users import", 1, ctl_users_import, "users import FILE [--dry-run]", 0 },
    { "users show", 1, ctl_users_show, "users show USER", 0 },
    { "users set-password", 1, ctl_users_set_password,
      "users set-password USER [--password-stdin]", 0 },
    { "users activate", 1, ctl_users_activate, "users activate USER", 0 },
    { "users deactivate", 1, ctl_users_deactivate, "users deactivate USER", 0 },
    { "users staff", 1, ctl_users_staff, "users staff USER [--off]", 0 },
    { "users superuser", 1, ctl_users_superuser, "users superuser USER [--off]", 0 },
    { "users delete", 1, ctl_users_delete, "users delete USER [--purge] [--yes]", 0 },
    { "applications create", 0, ctl_applications_create,
      "applications create --name NAME [--client-id ID] [--public | --secret-stdin]\n"
      "               [--grants GRANTS] [--scopes SCOPES] [--redirect-uris URIS]\n"
      "               [--owner USER] [--trusted]", 0 },
    { "applications list", 0, ctl_applications_list,
      "applications list [--limit N] [--after ID]", 0 },
    { "applications rotate-secret", 1, ctl_applications_rotate_secret,
      "applications rotate-secret CLIENT_ID [--secret-stdin]", 0 },
    { "applications delete", 1, ctl_applications_delete, "applications delete CLIENT_ID", 0 },
    { "links list", 1, ctl_links_list, "links list USER", 0 },
    { "links delete", 2, ctl_links_delete, "links delete USER PROVIDER [--force]", 0 },
    { "tokens list", 1, ctl_tokens_list, "tokens list USER", 0 },
    { "tokens revoke", 1, ctl_tokens_revoke,
      "tokens revoke SID | --user USER | --all [--yes]", CTL_OPTIONAL },
    { "keys generate", 1, ctl_keys_generate,
      "keys generate HS256|RS256|PS256|ES256|ES384|EdDSA [--bits N] [--kid KID] [--output FILE]",
      CTL_NO_DATABASE },
    { "keys rotate", 1, ctl_keys_rotate, "keys rotate FILE [--bits N] [--kid KID]",
      CTL_NO_DATABASE },
    { "keys list", 0, ctl_keys_list, "keys list", CTL_NO_DATABASE },
    { "events list", 0, ctl_events_list, "events list [--dead] [--limit N]", 0 },
    { "events retry", 1, ctl_events_retry, "events retry ID | --all", CTL_OPTIONAL },
    { "import django", 0, ctl_import_django,
      "import django --from-driver DRIVER (--from-params TEXT | --from-params-stdin)\n"
      "               [--from-user-table TABLE] [--dry-run]", 0 },
    { "purge", 0, ctl_purge, "purge", 0 },
    { "doctor", 0, ctl_doctor, "doctor", CTL_NO_DATABASE },
    { NULL, 0, NULL, NULL, 0 }
};

/* The command whose words the operands start with; *used: how many words those are. */
static const ctl_command_t *find_command(const ctl_t *ctl, int *used)
{
    for (const ctl_command_t *command = ctl_commands; command->words; command++) {
        int words = strchr(command->words, ' ') ? 2 : 1;
        if (ctl->argc < words) {
            continue;
        }
        const char *given = words == 2 ? apr_pstrcat(ctl->pool, ctl->argv[0], " ", ctl->argv[1],
                                                     NULL) : ctl->argv[0];
        if (!strcmp(given, command->words)) {
            *used = words;
            return command;
        }
    }
    return NULL;
}

static int run(ctl_t *ctl, const ctl_command_t *command, const char **operands)
{
    const char *why = NULL;

    if (sa_crypto_init() != APR_SUCCESS || apr_dbd_init(ctl->pool) != APR_SUCCESS) {
        why = "OpenSSL or apr_dbd could not be initialised";
    }
    if (!why && !(command->flags & CTL_NO_DATABASE)) {
        why = ctl_locate(ctl);
        why = why ? why : ctl_connect(ctl);
    }
    return why ? ctl_fail("%s", why) : command->run(ctl, operands);
}

/* What is asked for, done. */
static int obey(ctl_t *ctl, int argc, const char *const *argv)
{
    int used = 0;
    int status = ctl_options(ctl, argc, argv);

    if (status != CTL_OK) {
        return status < 0 ? CTL_OK : status;
    }
    const ctl_command_t *command = find_command(ctl, &used);
    if (!command) {
        ctl_usage(stderr);
        return CTL_USAGE;
    }
    status = ctl_options_fit(ctl, command, ctl->argc - used);
    return status == CTL_OK ? run(ctl, command, ctl->argv + used) : status;
}

int main(int argc, const char *const *argv)
{
    ctl_t ctl;

    if (apr_app_initialize(&argc, &argv, NULL) != APR_SUCCESS) {
        return CTL_FAILED;
    }
    memset(&ctl, 0, sizeof(ctl));
    apr_pool_create(&ctl.pool, NULL);
    int status = obey(&ctl, argc, argv);
    apr_terminate();
    return status;
}
