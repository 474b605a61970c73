#include "core/shared.h"

#include <apr_lib.h>
#include <strings.h>

/* As Django REST Framework the first letter decides, but "month" is no minute. */
static apr_int64_t period_of(const char *word)
{
    for (const char *c = word; *c; c++) {
        if (!apr_isalpha(*c)) {
            return 0;
        }
    }
    switch (strncasecmp(word, "mo", 2) ? apr_tolower(word[0]) : 0) {
    case 's':
        return 1000;
    case 'm':
        return 60 * 1000;
    case 'h':
        return 3600 * 1000;
    case 'd':
        return 24 * 3600 * 1000;
    default:
        return 0;
    }
}

const char *sa_rate_parse(const char *text, sa_rate_t *rate)
{
    apr_int64_t count = 0;
    const char *at = text;

    if (!strcasecmp(text, "off")) {
        rate->count = 0;
        rate->period_ms = 0;
        return NULL;
    }
    while (apr_isdigit(*at) && count <= SA_RATE_MAX) {
        count = count * 10 + (*at++ - '0');
    }
    if (count < 1 || count > SA_RATE_MAX || *at != '/' || !period_of(at + 1)) {
        return "must be n/second, n/minute, n/hour or n/day with n from 1 to 100000, or off";
    }
    rate->count = (int)count;
    rate->period_ms = period_of(at + 1);
    return NULL;
}
