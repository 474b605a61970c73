#include "ctl/ctl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/text.h"

int ctl_fail(const char *fmt, ...)
{
    va_list args;

    fputs("socialauthctl: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return CTL_FAILED;
}

int ctl_fail_error(const sa_error_t *error)
{
    return ctl_fail("%s", error->log ? error->log : error->text);
}

void ctl_say(const ctl_t *ctl, json_t *value, const char *fmt, ...)
{
    va_list args;

    if (ctl->json) {
        json_dumpf(value, stdout, JSON_COMPACT);
        fputc('\n', stdout);
    }
    else {
        va_start(args, fmt);
        vprintf(fmt, args);
        va_end(args);
        fputc('\n', stdout);
    }
    json_decref(value);
}

void ctl_say_list(const ctl_t *ctl, json_t *list)
{
    if (ctl->json) {
        json_dumpf(list, stdout, JSON_COMPACT);
        fputc('\n', stdout);
    }
    json_decref(list);
}

/* Without C0, DEL and C1, which a terminal may obey. */
static int is_plain(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;

    if (!sa_utf8_valid(text, strlen(text))) {
        return 0;
    }
    for (; *s; s++) {
        if (*s < 0x20 || *s == 0x7F || (*s == 0xC2 && s[1] < 0xA0)) {
            return 0;
        }
    }
    return 1;
}

const char *ctl_shown(const ctl_t *ctl, const char *text)
{
    if (!text || !*text) {
        return "-";
    }
    return is_plain(text) ? text : sa_log_safe(ctl->pool, text, 4 * strlen(text));
}

json_t *ctl_json(const ctl_t *ctl, const char *text)
{
    json_t *value = text ? json_string(text) : json_null();

    return value ? value : json_string(sa_log_safe(ctl->pool, text, 4 * strlen(text)));
}

json_t *ctl_json_time(const ctl_t *ctl, apr_int64_t seconds)
{
    return json_string(sa_iso_time(ctl->pool, seconds));
}
