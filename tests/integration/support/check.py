"""What answers look like (CONTRACT section 1), said once."""

BODIES = {
    "state_invalid": (400, {"message": ["Invalid or expired authentication state."]}),
    "account_unavailable": (400, {"message": ["This account is no longer available."]}),
    "not_authenticated": (401, {"detail": "Authentication credentials were not provided."}),
    "token_blacklisted": (401, {"detail": "Token is blacklisted", "code": "token_not_valid"}),
    "bad_credentials": (401, {"detail": "No active account found with the given credentials"}),
    "wrong_password": (400, {"non_field_errors": ["Incorrect password."]}),
    "last_login_method": (400, {"non_field_errors":
                                ["This is the only way to sign in to this account."]}),
    "unavailable": (503, {"detail": "Service temporarily unavailable, try again later."}),
}
PROVIDER_BODIES = {
    "provider_rejected": (400, "%s authentication could not be completed."),
    "id_token_invalid": (400, "%s authentication could not be completed."),
    "provider_unavailable": (502, "Unable to contact %s. Please try again later."),
    "provider_timeout": (504, "%s took too long to respond. Please try again."),
    "email_unverified": (400, "Your %s account email address is not verified."),
    "email_missing": (400, "Your %s account does not have a primary verified email address."),
    "account_exists": (400, "An account with this email already exists. "
                            "Sign in and link %s from your account."),
    "identity_taken": (400, "This %s account is already linked to another user."),
}
ACCESS_REFUSED = {
    "detail": "Given token not valid for any token type", "code": "token_not_valid",
    "messages": [{"token_class": "AccessToken", "token_type": "access",
                  "message": "Token is invalid or expired"}]}
REFRESH_REFUSED = {"detail": "Token is invalid or expired", "code": "token_not_valid"}


def json_headers(answer):
    assert (answer.header("Content-Type") or "").split(";")[0] == "application/json", answer
    assert answer.header("Cache-Control") == "no-store", answer


def refusal(answer, status, word, body):
    """Exactly this body besides "error"."""
    assert answer.status == status, answer
    json_headers(answer)
    got = answer.json()
    assert got.pop("error") == word, answer
    assert got == body, answer


def refused(answer, word, label=None):
    """A refusal by its word; label where the text names the provider."""
    if word in BODIES:
        status, body = BODIES[word]
    else:
        status, text = PROVIDER_BODIES[word]
        body = {"message": [text % label]}
    refusal(answer, status, word, body)
    if status == 503:
        assert int(answer.header("Retry-After")) > 0, answer


def field_refused(answer, word, **fields):
    refusal(answer, 400, word, {name: [text] for name, text in fields.items()})


REQUIRED = "This field is required."
BLANK = "This field may not be blank."
NULL = "This field may not be null."
NOT_STRING = "Not a valid string."


def access_refused(answer):
    """S401: a Bearer that is not accepted."""
    refusal(answer, 401, "token_not_valid", ACCESS_REFUSED)
    challenge = answer.header("WWW-Authenticate")
    assert challenge.startswith("Bearer ") and 'error="invalid_token"' in challenge, answer


def not_signed_in(answer):
    refused(answer, "not_authenticated")
    assert answer.header("WWW-Authenticate") == 'Bearer realm="api"', answer


def refresh_refused(answer):
    refusal(answer, 401, "token_not_valid", REFRESH_REFUSED)


def signed_in(answer):
    assert answer.status == 200, answer
    json_headers(answer)
    body = answer.json()
    assert set(body) == {"access", "refresh"}, body
    return body
