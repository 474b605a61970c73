/* A module of somebody else's that listens to mod_social_auth: one JSON line per event. It sees
 * the public header only and is not linked with mod_social_auth.
 *
 *     EventSampleFile /path       where to write
 *     EventSampleReturn 500       what the hook returns, 0 unless told */
#include <mod_social_auth.h>

#include <apr_file_io.h>
#include <apr_strings.h>
#include <http_config.h>
#include <stdlib.h>

static const char *path;
static int verdict;

static const char *quoted(apr_pool_t *p, const char *text)
{
    return text ? apr_pstrcat(p, "\"", text, "\"", NULL) : "null";
}

static int on_event(request_rec *r, const social_auth_event_t *event)
{
    apr_file_t *file;

    if (path && apr_file_open(&file, path, APR_WRITE | APR_APPEND, APR_OS_DEFAULT, r->pool)
        == APR_SUCCESS) {
        const char *line = apr_psprintf(
            r->pool, "{\"size\": %u, \"id\": %s, \"type\": %s, \"user_id\": %s, \"provider\": %s, "
            "\"address\": %s, \"request_id\": %s, \"mount\": %s, \"time\": %" APR_TIME_T_FMT ", "
            "\"uri\": %s}\n", event->size, quoted(r->pool, event->id), quoted(r->pool, event->type),
            quoted(r->pool, event->user_id), quoted(r->pool, event->provider),
            quoted(r->pool, event->address), quoted(r->pool, event->request_id),
            quoted(r->pool, event->mount), event->time, quoted(r->pool, r->uri));
        apr_size_t length = strlen(line);
        apr_file_write(file, line, &length);
        apr_file_close(file);
    }
    return verdict;
}

static const char *set_file(cmd_parms *cmd, void *dir, const char *value)
{
    path = value;
    return NULL;
}

static const char *set_return(cmd_parms *cmd, void *dir, const char *value)
{
    verdict = atoi(value);
    return NULL;
}

static const command_rec directives[] = {
    AP_INIT_TAKE1("EventSampleFile", set_file, NULL, RSRC_CONF, "a file"),
    AP_INIT_TAKE1("EventSampleReturn", set_return, NULL, RSRC_CONF, "what the hook returns"),
    { NULL }
};

static void register_hooks(apr_pool_t *p)
{
    APR_OPTIONAL_HOOK(social_auth, event, on_event, NULL, NULL, APR_HOOK_MIDDLE);
}

AP_DECLARE_MODULE(event_sample) = {
    STANDARD20_MODULE_STUFF, NULL, NULL, NULL, NULL, directives, register_hooks, 0
};
