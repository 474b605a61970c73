/* libFuzzer target: stored password hashes. The costly functions are replaced, so that
 * their readers run at full speed; what they would cost is checked against the caps. */
#include "core/crypto.h"
#include "core/password.h"

#include <apr_general.h>
#include <argon2.h>
#include <crypt.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

int argon2_ctx(argon2_context *c, argon2_type type)
{
    must(c->m_cost <= 262144 && c->t_cost <= 16 && c->lanes <= 16 && c->threads == 1
         && (uint64_t)c->m_cost * c->t_cost <= 524288 && c->outlen <= 64 && c->saltlen >= 8);
    memset(c->out, 0, c->outlen);
    return ARGON2_OK;
}

int PKCS5_PBKDF2_HMAC(const char *pass, int passlen, const unsigned char *salt, int saltlen,
                      int iter, const EVP_MD *digest, int keylen, unsigned char *out)
{
    must(iter >= 1 && iter <= 10000000 && saltlen > 0 && keylen == 32);
    memset(out, 0, (size_t)keylen);
    return 1;
}

int EVP_PBE_scrypt(const char *pass, size_t passlen, const unsigned char *salt, size_t saltlen,
                   uint64_t N, uint64_t r, uint64_t p, uint64_t maxmem, unsigned char *out,
                   size_t keylen)
{
    must(N > 1 && r && p && p <= 16 && 128 * N * r <= 128u << 20 && maxmem <= 160u << 20
         && saltlen > 0 && keylen == 64);
    memset(out, 0, keylen);
    return 1;
}

char *crypt_rn(const char *phrase, const char *setting, void *data, int size)
{
    must(strlen(phrase) == 64 && strlen(setting) == 60 && !strncmp(setting, "$2", 2)
         && setting[4] <= '1');
    return NULL;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    apr_initialize();
    return sa_crypto_init() != APR_SUCCESS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 1);
    apr_pool_t *p;

    must(text != NULL);
    memcpy(text, data, size);
    apr_pool_create(&p, NULL);
    /* No algorithm here computes anything but zeros. */
    if (sa_password_verify(p, text, "password", 8) != SA_PASSWORD_MISMATCH) {
        must(sa_password_usable(text) && strstr(text, "AAAAAAAAAAAAAAAAAAAAA"));
    }
    free(text);
    apr_pool_destroy(p);
    return 0;
}
