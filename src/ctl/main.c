#include "ctl/ctl.h"

#include <apr_dbd.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <stdio.h>
#include <string.h>

#include "core/crypto.h"

const ctl_command_t ctl_commands[] = {
    { "migrate status", 0, ctl_migrate_status, "migrate status" },
    { "migrate", 0, ctl_migrate, "migrate [--dry-run]" },
    { "users create", 0, ctl_users_create,
      "users create --email ADDRESS [--username NAME] [--first-name NAME] [--last-name NAME]\n"
      "               [--staff] [--superuser] [--no-password | --password-stdin]" },
    { "users set-password", 1, ctl_users_set_password,
      "users set-password USER [--password-stdin]" },
    { "users activate", 1, ctl_users_activate, "users activate USER" },
    { "users deactivate", 1, ctl_users_deactivate, "users deactivate USER" },
    { "users list", 0, ctl_users_list, "users list [--limit N] [--after ID]" },
    { "purge", 0, ctl_purge, "purge" },
    { NULL, 0, NULL, NULL }
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
    const char *why = ctl_locate(ctl);

    if (!why) {
        why = ctl_connect(ctl);
    }
    if (!why) {
        ctl->store = sa_store_make(ctl->pool, ctl->driver, &ctl->map, &why);
    }
    return ctl->store ? command->run(ctl, operands) : ctl_fail("%s", why);
}

int main(int argc, const char *const *argv)
{
    ctl_t ctl;
    int used = 0;

    if (apr_app_initialize(&argc, &argv, NULL) != APR_SUCCESS) {
        return CTL_FAILED;
    }
    memset(&ctl, 0, sizeof(ctl));
    apr_pool_create(&ctl.pool, NULL);
    int status = ctl_options(&ctl, argc, argv);
    if (status < 0) {
        apr_terminate();
        return CTL_OK;
    }
    const ctl_command_t *command = status == CTL_OK ? find_command(&ctl, &used) : NULL;
    if (!command || ctl.argc - used != command->operands) {
        if (status == CTL_OK) {
            ctl_usage(stderr);
        }
        apr_terminate();
        return CTL_USAGE;
    }
    if (sa_crypto_init() != APR_SUCCESS || apr_dbd_init(ctl.pool) != APR_SUCCESS) {
        status = ctl_fail("OpenSSL or apr_dbd could not be initialised");
    }
    else {
        status = run(&ctl, command, ctl.argv + used);
    }
    apr_terminate();
    return status;
}
