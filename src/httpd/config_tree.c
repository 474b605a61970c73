/* The parsed configuration as httpd keeps it: which section a directive stands in, where the mounts
 * are, what mod_dbd was told. Read only while the configuration is checked. */
#include "httpd/dir_conf.h"

#include <apr_fnmatch.h>
#include <apr_strings.h>
#include <util_cfgtree.h>

#define HANDLER "social-auth"

static int is_named(const ap_directive_t *node, const char *name)
{
    return ap_cstr_casecmp(node->directive, name) == 0;
}

/* NULL, or the <VirtualHost>: what "server level" is. */
static int is_server_level(const ap_directive_t *section)
{
    return !section || (is_named(section, "<VirtualHost") && !section->parent);
}

const char *sa_defn(apr_pool_t *p, const ap_directive_t *directive)
{
    return apr_psprintf(p, "%s:%d", directive->filename, directive->line_num);
}

/* The first argument of a section, without its closing '>'. */
static const char *section_argument(apr_pool_t *p, const ap_directive_t *section)
{
    const char *end = ap_strrchr_c(section->args, '>');
    const char *args = end ? apr_pstrmemdup(p, section->args, (apr_size_t)(end - section->args))
                           : section->args;

    return ap_getword_conf(p, &args);
}

/* The path of a literal <Location> at server level, else NULL. */
static const char *literal_path(apr_pool_t *p, const ap_directive_t *section)
{
    if (!section || !is_named(section, "<Location") || !is_server_level(section->parent)) {
        return NULL;
    }
    const char *path = section_argument(p, section);
    return strcmp(path, "~") == 0 || apr_fnmatch_test(path) ? NULL : path;
}

const char *sa_scope_problem(apr_pool_t *p, const ap_directive_t *directive)
{
    const ap_directive_t *section = directive->parent;

    if (is_server_level(section) || literal_path(p, section)) {
        return NULL;
    }
    return apr_psprintf(p, "allowed in the server configuration, in <VirtualHost> and in "
                        "<Location \"/path\"> without wildcards, not in %s %s",
                        section->directive, section->args);
}

static int is_our_handler(apr_pool_t *p, const ap_directive_t *node)
{
    const char *args = node->args;

    return is_named(node, "SetHandler")
        && strcmp(ap_getword_conf(p, &args), HANDLER) == 0;
}

/* Letters, digits, '-', '.', '_', '~' in segments that are neither empty nor dots only. */
static int is_plain_path(const char *path)
{
    if (*path != '/' || strstr(path, "//") || strstr(path, "/./") || strstr(path, "/../")) {
        return 0;
    }
    apr_size_t len = strlen(path);
    if ((len >= 2 && strcmp(path + len - 2, "/.") == 0)
        || (len >= 3 && strcmp(path + len - 3, "/..") == 0)) {
        return 0;
    }
    return strspn(path, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")
        == len;
}

static const char *handler_problem(apr_pool_t *p, const ap_directive_t *node)
{
    const char *path = literal_path(p, node->parent);

    if (!path) {
        return apr_psprintf(p, "%s: SetHandler social-auth must stand in a <Location \"/path\"> "
                            "without wildcards, in the server configuration or a <VirtualHost>, "
                            "not in %s%s%s", sa_defn(p, node),
                            is_server_level(node->parent) ? "the server configuration itself"
                                                          : node->parent->directive,
                            is_server_level(node->parent) ? "" : " ",
                            is_server_level(node->parent) ? "" : node->parent->args);
    }
    if (!is_plain_path(path)) {
        return apr_psprintf(p, "%s: SetHandler social-auth: the path \"%s\" of its <Location> must "
                            "start with / and consist of letters, digits, '-', '.', '_' and '~'",
                            sa_defn(p, node), path);
    }
    return NULL;
}

static void collect(apr_pool_t *p, const ap_directive_t *first, apr_array_header_t *locations,
                    apr_array_header_t *problems)
{
    for (const ap_directive_t *node = first; node; node = node->next) {
        const char *path = literal_path(p, node->parent);
        const char *problem = is_our_handler(p, node) ? handler_problem(p, node) : NULL;

        if (problem) {
            APR_ARRAY_PUSH(problems, const char *) = problem;
        }
        else if (path && is_named(node, "SetHandler")) {
            const char *args = node->args;
            apr_size_t len = strlen(path);
            sa_location_t *location = apr_array_push(locations);
            location->path = apr_pstrmemdup(p, path,
                                            len > 0 && path[len - 1] == '/' ? len - 1 : len);
            location->handler = ap_getword_conf(p, &args);
            location->host = node->parent->parent;
            location->defn = sa_defn(p, node->parent);
        }
        if (node->first_child) {
            collect(p, node->first_child, locations, problems);
        }
    }
}

apr_array_header_t *sa_tree_locations(apr_pool_t *p, apr_array_header_t *problems)
{
    apr_array_header_t *locations = apr_array_make(p, 4, sizeof(sa_location_t));

    collect(p, ap_conftree, locations, problems);
    return locations;
}

const ap_directive_t *sa_tree_host(const server_rec *s, const server_rec *main_server)
{
    if (s == main_server || !s->defn_name) {
        return NULL;
    }
    for (const ap_directive_t *node = ap_conftree; node; node = node->next) {
        if (is_named(node, "<VirtualHost") && node->line_num == (int)s->defn_line_number
            && strcmp(node->filename, s->defn_name) == 0) {
            return node;
        }
    }
    return NULL;
}

static const char *last_args(const ap_directive_t *node, const char *name)
{
    const char *args = NULL;

    for (; node; node = node->next) {
        if (is_named(node, name)) {
            args = node->args;
        }
    }
    return args;
}

const char *sa_tree_args(const ap_directive_t *host, const char *name)
{
    const char *args = host ? last_args(host->first_child, name) : NULL;

    return args ? args : last_args(ap_conftree, name);
}

static void add_once(apr_array_header_t *list, const char *text)
{
    for (int i = 0; i < list->nelts; i++) {
        if (strcmp(SA_AT(list, i, const char *), text) == 0) {
            return;
        }
    }
    APR_ARRAY_PUSH(list, const char *) = text;
}

/* "file:path" and "key=file:path" among a directive's arguments. */
static void collect_files(apr_pool_t *p, const char *args, apr_array_header_t *files)
{
    while (*args) {
        const char *word = ap_getword_conf(p, &args), *equals = strchr(word, '=');
        if (strncmp(word, "file:", 5) != 0 && equals) {
            word = equals + 1;
        }
        const char *path = strncmp(word, "file:", 5) == 0 ? ap_server_root_relative(p, word + 5)
                                                          : NULL;
        if (path) {
            add_once(files, path);
        }
    }
}

static void walk_for_files(apr_pool_t *p, const ap_directive_t *node, apr_array_header_t *files)
{
    for (; node; node = node->next) {
        if (ap_cstr_casecmpn(node->directive, "SocialAuth", 10) == 0) {
            collect_files(p, node->args, files);
        }
        walk_for_files(p, node->first_child, files);
    }
}

apr_array_header_t *sa_tree_secret_files(apr_pool_t *p)
{
    apr_array_header_t *files = apr_array_make(p, 4, sizeof(const char *));

    walk_for_files(p, ap_conftree, files);
    return files;
}
