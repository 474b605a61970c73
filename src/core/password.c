#include "core/password.h"
#include "core/base64url.h"
#include "core/crypto.h"

#include <apr_lib.h>
#include <apr_strings.h>
#include <argon2.h>
#include <crypt.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* What new hashes cost (OWASP's first choice for Argon2id). */
#define OUR_MEMORY 19456        /* KiB */
#define OUR_TIME 2
#define OUR_LANES 1
#define OUR_SALT 16             /* bytes */
#define OUR_HASH 32

/* What a stored hash may cost. */
#define ARGON2_MEMORY_CAP (256 * 1024)
#define ARGON2_TIME_CAP 16
#define ARGON2_LANES_CAP 16
#define ARGON2_WORK_CAP (2 * ARGON2_MEMORY_CAP) /* memory * time */
#define PBKDF2_CAP 10000000
#define SCRYPT_MEMORY_CAP (128u * 1024 * 1024)
#define SCRYPT_BESIDE_CAP (1024u * 1024)        /* its buffers besides 128*N*r */
#define SCRYPT_LANES_CAP 16
#define SCRYPT_WORK_CAP (4ull * SCRYPT_MEMORY_CAP)
#define BCRYPT_MIN 4
#define BCRYPT_CAP 15

#define SALT_MAX 256            /* characters of salt that are looked at */

/* What a format's reader found. */
typedef enum { RIGHT, RIGHT_REHASH, WRONG, MALFORMED, NO_MEMORY } outcome_t;

typedef struct {
    const char *text;
    apr_size_t len;
} slice_t;

/* --- strict reading of stored values --- */

static int take_literal(const char **at, const char *literal)
{
    apr_size_t len = strlen(literal);

    if (strncmp(*at, literal, len)) {
        return 0;
    }
    *at += len;
    return 1;
}

/* A decimal number in 1..max without sign, space or leading zero. */
static int take_number(const char **at, apr_uint64_t max, apr_uint64_t *number)
{
    apr_uint64_t n = 0;

    if (**at < '1' || **at > '9') {
        return 0;
    }
    for (; apr_isdigit(**at); (*at)++) {
        n = n * 10 + (apr_uint64_t)(**at - '0');
        if (n > max) {
            return 0;
        }
    }
    *number = n;
    return 1;
}

/* Everything up to the next '$' or the end; not empty. */
static int take_field(const char **at, slice_t *field)
{
    field->text = *at;
    field->len = strcspn(*at, "$");
    *at += field->len;
    return field->len && field->len <= SALT_MAX;
}

/* Standard base64 in its one spelling, "=" padding as `padded` says. */
static int decode(apr_pool_t *p, slice_t field, int padded, unsigned char **data,
                  apr_size_t *len)
{
    char *text = apr_pstrmemdup(p, field.text, field.len);
    apr_size_t n = strcspn(text, "=");

    if (padded ? field.len != (n + 3) / 4 * 4 : field.len != n) {
        return 0;
    }
    if (strspn(text + n, "=") != field.len - n || strpbrk(text, "-_")) {
        return 0;
    }
    for (char *c = text; *c; c++) {
        *c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
    }
    return sa_base64url_decode(data, len, p, text, n) == APR_SUCCESS;
}

static outcome_t compare(const unsigned char *a, const unsigned char *b, apr_size_t len)
{
    return sa_equal(a, len, b, len) ? RIGHT_REHASH : WRONG;
}

/* --- Argon2 --- */

typedef struct {
    argon2_type type;
    apr_uint64_t memory, time, lanes;
} argon2_cost_t;

static const argon2_cost_t our_cost = { Argon2_id, OUR_MEMORY, OUR_TIME, OUR_LANES };

/* Mapped for each hash and given back at once: malloc would keep the megabytes of
 * every thread that ever hashed. */
static int map_memory(uint8_t **memory, size_t bytes)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    *memory = map == MAP_FAILED ? NULL : map;
    return *memory ? ARGON2_OK : ARGON2_MEMORY_ALLOCATION_ERROR;
}

static void unmap_memory(uint8_t *memory, size_t bytes)
{
    munmap(memory, bytes);
}

/* Lanes are computed one after the other: no threads are made inside a server's. */
static int argon2(const argon2_cost_t *cost, const char *password, apr_size_t len,
                  const unsigned char *salt, apr_size_t salt_len, unsigned char *out,
                  apr_size_t out_len)
{
    argon2_context context = {
        .out = out,
        .outlen = (uint32_t)out_len,
        .pwd = (uint8_t *)(apr_uintptr_t)password,
        .pwdlen = (uint32_t)len,
        .salt = (uint8_t *)(apr_uintptr_t)salt,
        .saltlen = (uint32_t)salt_len,
        .t_cost = (uint32_t)cost->time,
        .m_cost = (uint32_t)cost->memory,
        .lanes = (uint32_t)cost->lanes,
        .threads = 1,
        .version = ARGON2_VERSION_13,
        .allocate_cbk = map_memory,
        .free_cbk = unmap_memory,
        .flags = ARGON2_DEFAULT_FLAGS,
    };

    return argon2_ctx(&context, cost->type) == ARGON2_OK;
}

static int take_argon2_cost(const char **at, argon2_cost_t *cost)
{
    if (take_literal(at, "argon2id$")) {
        cost->type = Argon2_id;
    }
    else if (take_literal(at, "argon2i$")) {
        cost->type = Argon2_i;
    }
    else if (take_literal(at, "argon2d$")) {
        cost->type = Argon2_d;
    }
    else {
        return 0;
    }
    return take_literal(at, "v=19$m=") && take_number(at, ARGON2_MEMORY_CAP, &cost->memory)
        && take_literal(at, ",t=") && take_number(at, ARGON2_TIME_CAP, &cost->time)
        && take_literal(at, ",p=") && take_number(at, ARGON2_LANES_CAP, &cost->lanes)
        && take_literal(at, "$") && cost->memory >= 8 * cost->lanes
        && cost->memory * cost->time <= ARGON2_WORK_CAP;
}

static int costs_ours(const argon2_cost_t *cost)
{
    return cost->type == our_cost.type && cost->memory == our_cost.memory
        && cost->time == our_cost.time && cost->lanes == our_cost.lanes;
}

static outcome_t check_argon2(apr_pool_t *p, const char *at, const char *password,
                              apr_size_t len)
{
    argon2_cost_t cost;
    slice_t salt_field, hash_field;
    unsigned char *salt, *hash, computed[64];
    apr_size_t salt_len, hash_len;
    outcome_t outcome;

    if (!take_argon2_cost(&at, &cost) || !take_field(&at, &salt_field)
        || !take_literal(&at, "$") || !take_field(&at, &hash_field) || *at
        || !decode(p, salt_field, 0, &salt, &salt_len)
        || !decode(p, hash_field, 0, &hash, &hash_len)
        || salt_len < ARGON2_MIN_SALT_LENGTH || hash_len < 16 || hash_len > sizeof(computed)) {
        return MALFORMED;
    }
    if (!argon2(&cost, password, len, salt, salt_len, computed, hash_len)) {
        return NO_MEMORY;       /* nothing else can fail: the parameters were checked */
    }
    outcome = compare(hash, computed, hash_len);
    sa_wipe(computed, sizeof(computed));
    if (outcome == RIGHT_REHASH && costs_ours(&cost) && salt_len >= OUR_SALT
        && hash_len == OUR_HASH) {
        return RIGHT;
    }
    return outcome;
}

/* --- PBKDF2 --- */

apr_status_t sa_pbkdf2_sha256(const char *password, apr_size_t len, const void *salt,
                              apr_size_t salt_len, int iterations, unsigned char *out,
                              apr_size_t out_len)
{
    int ok = PKCS5_PBKDF2_HMAC(password, (int)len, salt, (int)salt_len, iterations, EVP_sha256(),
                               (int)out_len, out);

    ERR_clear_error();
    return ok == 1 ? APR_SUCCESS : APR_EGENERAL;
}

static outcome_t check_pbkdf2(apr_pool_t *p, const char *at, const char *password,
                              apr_size_t len)
{
    apr_uint64_t iterations;
    slice_t salt, hash_field;
    unsigned char *hash, computed[32];
    apr_size_t hash_len;
    outcome_t outcome;

    if (!take_number(&at, PBKDF2_CAP, &iterations) || !take_literal(&at, "$")
        || !take_field(&at, &salt) || !take_literal(&at, "$") || !take_field(&at, &hash_field)
        || *at || !decode(p, hash_field, 1, &hash, &hash_len) || hash_len != sizeof(computed)) {
        return MALFORMED;
    }
    if (sa_pbkdf2_sha256(password, len, salt.text, salt.len, (int)iterations, computed,
                         sizeof(computed)) != APR_SUCCESS) {
        return WRONG;
    }
    outcome = compare(hash, computed, sizeof(computed));
    sa_wipe(computed, sizeof(computed));
    return outcome;
}

/* --- scrypt --- */

typedef struct {
    apr_uint64_t n, r, p;
} scrypt_cost_t;

static int scrypt_affordable(const scrypt_cost_t *cost)
{
    apr_uint64_t memory = 128 * cost->n * cost->r;
    apr_uint64_t beside = 128 * cost->r * (cost->p + 2);

    return cost->n > 1 && !(cost->n & (cost->n - 1)) && memory <= SCRYPT_MEMORY_CAP
        && beside <= SCRYPT_BESIDE_CAP && memory * cost->p <= SCRYPT_WORK_CAP;
}

static int take_scrypt_cost(const char **at, scrypt_cost_t *cost, slice_t *salt)
{
    return take_number(at, SCRYPT_MEMORY_CAP, &cost->n) && take_literal(at, "$")
        && take_field(at, salt) && take_literal(at, "$")
        && take_number(at, SCRYPT_MEMORY_CAP, &cost->r) && take_literal(at, "$")
        && take_number(at, SCRYPT_LANES_CAP, &cost->p) && scrypt_affordable(cost);
}

static outcome_t check_scrypt(apr_pool_t *p, const char *at, const char *password,
                              apr_size_t len)
{
    scrypt_cost_t cost;
    slice_t salt, hash_field;
    unsigned char *hash, computed[64];
    apr_size_t hash_len;
    apr_uint64_t memory;
    outcome_t outcome;
    int ok;

    if (!take_scrypt_cost(&at, &cost, &salt) || !take_literal(&at, "$")
        || !take_field(&at, &hash_field) || *at
        || !decode(p, hash_field, 1, &hash, &hash_len) || hash_len != sizeof(computed)) {
        return MALFORMED;
    }
    memory = 128 * cost.r * (cost.n + cost.p + 2) + 4096;
    ok = EVP_PBE_scrypt(password, len, (const unsigned char *)salt.text, salt.len, cost.n, cost.r,
                        cost.p, memory, computed, sizeof(computed));
    ERR_clear_error();
    outcome = ok == 1 ? compare(hash, computed, sizeof(computed)) : WRONG;
    sa_wipe(computed, sizeof(computed));
    return outcome;
}

/* --- bcrypt over SHA-256 --- */

/* "$2b$12$" + 22 characters of salt + 31 of hash. */
static int is_bcrypt(const char *s)
{
    static const char alphabet[] =
        "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    int cost;

    if (strlen(s) != 60 || strncmp(s, "$2", 2) || !strchr("aby", s[2]) || s[3] != '$'
        || !apr_isdigit(s[4]) || !apr_isdigit(s[5]) || s[6] != '$') {
        return 0;
    }
    cost = (s[4] - '0') * 10 + (s[5] - '0');
    return cost >= BCRYPT_MIN && cost <= BCRYPT_CAP && strspn(s + 7, alphabet) == 53;
}

static outcome_t check_bcrypt(apr_pool_t *p, const char *at, const char *password,
                              apr_size_t len)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char digest[SA_SHA256_LEN];
    char phrase[2 * SA_SHA256_LEN + 1];
    struct crypt_data *data;
    const char *computed;
    outcome_t outcome = WRONG;

    if (!is_bcrypt(at)) {
        return MALFORMED;
    }
    data = calloc(1, sizeof(*data));        /* 32 KiB: neither for the stack nor for a pool */
    if (!data) {
        return NO_MEMORY;
    }
    sa_sha256(password, len, digest);
    for (int i = 0; i < SA_SHA256_LEN; i++) {
        phrase[2 * i] = hex[digest[i] >> 4];
        phrase[2 * i + 1] = hex[digest[i] & 15];
    }
    phrase[2 * SA_SHA256_LEN] = '\0';
    computed = crypt_rn(phrase, at, data, (int)sizeof(*data));
    if (computed && sa_equal(computed, strlen(computed), at, strlen(at))) {
        outcome = RIGHT_REHASH;
    }
    sa_wipe(data, sizeof(*data));
    sa_wipe(phrase, sizeof(phrase));
    sa_wipe(digest, sizeof(digest));
    free(data);
    return outcome;
}

/* --- the questions --- */

static char *encode64(apr_pool_t *p, const unsigned char *data, apr_size_t len)
{
    char *text = sa_base64url_encode(p, data, len);

    for (char *c = text; *c; c++) {
        *c = *c == '-' ? '+' : *c == '_' ? '/' : *c;
    }
    return text;
}

char *sa_password_hash(apr_pool_t *p, const char *password, apr_size_t len)
{
    unsigned char salt[OUR_SALT], hash[OUR_HASH];

    if (len > SA_PASSWORD_MAX || sa_random(salt, sizeof(salt)) != APR_SUCCESS
        || !argon2(&our_cost, password, len, salt, sizeof(salt), hash, sizeof(hash))) {
        return NULL;
    }
    return apr_psprintf(p, "argon2$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", OUR_MEMORY, OUR_TIME,
                        OUR_LANES, encode64(p, salt, sizeof(salt)),
                        encode64(p, hash, sizeof(hash)));
}

static outcome_t check(apr_pool_t *p, const char *encoded, const char *password, apr_size_t len)
{
    const char *at = encoded;

    if (take_literal(&at, "argon2$")) {
        return check_argon2(p, at, password, len);
    }
    if (take_literal(&at, "pbkdf2_sha256$")) {
        return check_pbkdf2(p, at, password, len);
    }
    if (take_literal(&at, "scrypt$")) {
        return check_scrypt(p, at, password, len);
    }
    if (take_literal(&at, "bcrypt_sha256$")) {
        return check_bcrypt(p, at, password, len);
    }
    return MALFORMED;
}

/* Takes as long as checking a wrong password against a hash of ours. */
static void spend_time(const char *password, apr_size_t len)
{
    static const unsigned char salt[OUR_SALT] = "no such password";
    unsigned char hash[OUR_HASH];

    (void)argon2(&our_cost, password, len, salt, sizeof(salt), hash, sizeof(hash));
    sa_wipe(hash, sizeof(hash));
}

sa_password_verdict_t sa_password_verify(apr_pool_t *p, const char *encoded,
                                         const char *password, apr_size_t len)
{
    if (len > SA_PASSWORD_MAX) {
        return SA_PASSWORD_MISMATCH;
    }
    switch (encoded ? check(p, encoded, password, len) : MALFORMED) {
    case RIGHT:
        return SA_PASSWORD_MATCH;
    case RIGHT_REHASH:
        return SA_PASSWORD_MATCH_REHASH;
    case WRONG:
        return SA_PASSWORD_MISMATCH;
    case NO_MEMORY:
        return SA_PASSWORD_UNKNOWN;
    case MALFORMED:
        break;
    }
    spend_time(password, len);
    return SA_PASSWORD_MISMATCH;
}

static int weight_of(apr_uint64_t kib)
{
    return (int)((kib + OUR_MEMORY - 1) / OUR_MEMORY);
}

sa_password_cost_t sa_password_cost(const char *encoded)
{
    const char *at = encoded ? encoded : "";
    argon2_cost_t argon2_cost;
    scrypt_cost_t scrypt_cost;
    slice_t salt;

    if (take_literal(&at, "argon2$")) {
        return take_argon2_cost(&at, &argon2_cost)
            ? (sa_password_cost_t) { weight_of(argon2_cost.memory), costs_ours(&argon2_cost) }
            : (sa_password_cost_t) { 1, 1 };
    }
    if (take_literal(&at, "scrypt$")) {
        return take_scrypt_cost(&at, &scrypt_cost, &salt)
            ? (sa_password_cost_t) { weight_of(128 * scrypt_cost.n * scrypt_cost.r / 1024), 0 }
            : (sa_password_cost_t) { 1, 1 };
    }
    return (sa_password_cost_t) {
        1, !take_literal(&at, "pbkdf2_sha256$") && !take_literal(&at, "bcrypt_sha256$")
    };
}

int sa_password_usable(const char *encoded)
{
    return encoded && encoded[0] && encoded[0] != '!';
}

char *sa_password_unusable(apr_pool_t *p)
{
    char *text = sa_random_text(p, 30);     /* 40 characters */

    return text ? apr_pstrcat(p, "!", text, NULL) : NULL;
}
