/* JSON with the one set of rules used everywhere: duplicate members, NUL in
 * strings, invalid UTF-8 and trailing text are refused; depth is bounded. */
#ifndef SA_CORE_JSON_H
#define SA_CORE_JSON_H

#include <apr_pools.h>
#include <jansson.h>

/* Parses len bytes. The value is freed with p. NULL when it is not JSON (any
 * top-level value is accepted); *why then holds a short reason in p. */
json_t *sa_json_parse(apr_pool_t *p, const char *text, apr_size_t len, const char **why);

/* Registers j to be freed with p and returns it (j may be NULL). */
json_t *sa_json_own(apr_pool_t *p, json_t *j);

/* Compact text in p; NULL when j is NULL or memory ran out. */
char *sa_json_dump(apr_pool_t *p, const json_t *j);

/* The string member `name`, or NULL when it is absent or not a string. */
const char *sa_json_string(const json_t *object, const char *name);

#endif
