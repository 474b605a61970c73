#include "accounts/internal.h"

const char *sa_verified_email(const sa_identity_t *identity)
{
    return identity->email_verified ? identity->email : NULL;
}

/* An ID token is good once, for as long as it would be accepted without a state. */
static sa_error_t *spend_id_token(sa_call_t *call, const sa_provider_t *provider,
                                  const sa_proof_t *proof)
{
    apr_int64_t until = proof->id_token_iat + call->settings->max_token_age;
    int first = 1;
    sa_error_t *error = NULL;

    if (until > proof->id_token_exp + SA_PROVIDER_LEEWAY) {
        until = proof->id_token_exp + SA_PROVIDER_LEEWAY;
    }
    if (until >= call->now) {
        error = sa_spend_once(call, proof->id_token_hash, until, &first);
    }
    if (error || first) {
        return error;
    }
    return sa_error(call->pool, SA_E_ID_TOKEN_INVALID, provider->label,
                    "%s: this ID token was used before", provider->name);
}

sa_error_t *sa_prove(sa_call_t *call, const sa_provider_t *provider, sa_attempt_t *attempt,
                     const char *bearer_user, sa_identity_t **identity)
{
    sa_credential_t credential = {
        .flow = attempt->token ? SA_FLOW_ID_TOKEN : SA_FLOW_CODE,
        .code = attempt->code,
        .redirect_uri = attempt->redirect_uri,
        .id_token = attempt->token,
        .now = call->now,
        .max_token_age = call->settings->max_token_age,
    };
    sa_proof_t proof = { .id_token_exp = 0 };
    sa_provider_env_t env = *call->env;
    sa_error_t *error;

    env.deadline = sa_http_clock() + provider->limits.total_ms;

    if (attempt->state || attempt->redirect) {
        error = sa_state_use(call, provider, attempt, bearer_user, &credential.nonce);
        if (!error && attempt->redirect) {
            error = sa_provider_came_back(provider, &env, call->pool, attempt->error,
                                          attempt->issuer);
        }
        if (error) {
            return error;
        }
        credential.code_verifier = attempt->code_verifier;
        credential.max_token_age = 0;
        credential.nonce_sent = attempt->redirect;
    }
    error = provider->type->identify(provider, &env, call->pool, &credential, identity, &proof);
    if (!error && attempt->token) {
        error = spend_id_token(call, provider, &proof);
    }
    return error;
}

sa_error_t *sa_prove_token(sa_call_t *call, const sa_provider_t *provider, const char *token,
                           sa_identity_t **identity)
{
    const sa_credential_t credential = {
        .token = token, .now = call->now, .max_token_age = call->settings->max_token_age,
    };
    sa_proof_t proof = { .id_token_exp = 0 };
    sa_provider_env_t env = *call->env;

    env.deadline = sa_http_clock() + provider->limits.total_ms;
    sa_error_t *error = provider->type->identify_token(provider, &env, call->pool, &credential,
                                                       identity, &proof);
    return !error && proof.id_token_exp ? spend_id_token(call, provider, &proof) : error;
}
