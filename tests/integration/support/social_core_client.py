"""Debian's social-auth-core as a client: the library that Django sites sign people in with. It
judges what plays GitHub, Google and Facebook here, so that not only the module does."""
import collections
import urllib.parse

from social_core.backends.facebook import FacebookOAuth2
from social_core.backends.github import GithubOAuth2
from social_core.backends.google import GooglePlusAuth
from social_core.backends.open_id_connect import OpenIdConnectAuth
from social_core.strategy import BaseStrategy


class _Nonces:
    """social_core's association storage, which it keeps nonces in."""

    _Row = collections.namedtuple("_Row", "id server_url handle")

    def __init__(self):
        self._rows = []

    def store(self, server_url, association):
        self._rows.append(self._Row(len(self._rows) + 1, server_url, association.handle))

    def get(self, server_url, handle):
        return [r for r in self._rows if (r.server_url, r.handle) == (server_url, handle)]

    def remove(self, ids):
        self._rows = [r for r in self._rows if r.id not in ids]


class _Storage:
    def __init__(self):
        self.association = _Nonces()


class Strategy(BaseStrategy):
    """One visitor. What authenticate() would hand to a site is returned as it is."""

    def __init__(self, settings):
        super().__init__(_Storage())
        self._settings, self._session, self.data = settings, {}, {}

    def get_setting(self, name):
        return self._settings[name]

    def request_data(self, merge=True):
        return self.data

    def build_absolute_uri(self, path=None):
        return path

    def redirect(self, url):
        return url

    def session_get(self, name, default=None):
        return self._session.get(name, default)

    def session_set(self, name, value):
        self._session[name] = value

    def session_pop(self, name):
        self._session.pop(name, None)

    def authenticate(self, backend, response=None, **more):
        return {"id": backend.get_user_id(None, response),
                "details": backend.get_user_details(response), "response": response}


class Client:
    def __init__(self, backend, settings, redirect_uri):
        self.strategy = Strategy(settings)
        self.backend = backend(self.strategy, redirect_uri=redirect_uri)

    def start(self):
        """-> the parameters of the authorization request"""
        url = urllib.parse.urlsplit(self.backend.start())
        return url._replace(query="").geturl(), dict(urllib.parse.parse_qsl(url.query))

    def complete(self, **callback):
        self.strategy.data = self.backend.data = callback
        return self.backend.complete()


def github(api, token_url, authorize_url, client, secret, redirect_uri):
    class Elsewhere(GithubOAuth2):
        API_URL, ACCESS_TOKEN_URL, AUTHORIZATION_URL = api, token_url, authorize_url

    settings = {"SOCIAL_AUTH_GITHUB_KEY": client, "SOCIAL_AUTH_GITHUB_SECRET": secret,
                "SOCIAL_AUTH_GITHUB_SCOPE": ["read:user", "user:email"]}
    return Client(Elsewhere, settings, redirect_uri)


def facebook(graph, app, secret, redirect_uri, fields):
    class Elsewhere(FacebookOAuth2):
        ACCESS_TOKEN_URL = graph + "/v{version}/oauth/access_token"
        USER_DATA_URL = graph + "/v{version}/me"

    settings = {"SOCIAL_AUTH_FACEBOOK_KEY": app, "SOCIAL_AUTH_FACEBOOK_SECRET": secret,
                "SOCIAL_AUTH_FACEBOOK_SCOPE": ["email"],
                "SOCIAL_AUTH_FACEBOOK_PROFILE_EXTRA_PARAMS": {"fields": fields}}
    return Client(Elsewhere, settings, redirect_uri)


def google_plus(api, client):
    """Signs in by an access token, which it has tokeninfo look at."""
    class Elsewhere(GooglePlusAuth):
        def get_json(self, url, *args, **kwargs):
            return super().get_json(url.replace("https://www.googleapis.com/oauth2/v3", api), *args,
                                    **kwargs)

    return Client(Elsewhere, {"SOCIAL_AUTH_GOOGLE_PLUS_KEY": client,
                              "SOCIAL_AUTH_GOOGLE_PLUS_SECRET": "",
                              "SOCIAL_AUTH_GOOGLE_PLUS_USE_UNIQUE_USER_ID": True}, "unused")


def oidc(endpoint, client, secret, redirect_uri, **settings):
    """settings: JWKS_URI=… and the like, where there is no discovery."""
    class Fresh(OpenIdConnectAuth):     # what it caches, it caches by class
        pass

    names = {"SOCIAL_AUTH_OIDC_KEY": client, "SOCIAL_AUTH_OIDC_SECRET": secret,
             "SOCIAL_AUTH_OIDC_OIDC_ENDPOINT": endpoint}
    names.update(("SOCIAL_AUTH_OIDC_" + name, value) for name, value in settings.items())
    return Client(Fresh, names, redirect_uri)
