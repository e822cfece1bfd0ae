"""System checks of the ways in, of tickets, of addresses and of what matters in production alone."""

from __future__ import annotations

from functools import partial

import pytest
from django.core import checks as django_checks
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings
from django.urls import include, path
from django.views.decorators.cache import never_cache

from channels_realtime import checks
from channels_realtime.auth.base import Authenticator
from channels_realtime.auth.login_session import LoginSession
from channels_realtime.auth.revoking import _SHORT_S
from channels_realtime.auth.tickets import Ticket
from channels_realtime.http.tickets import ticket
from channels_realtime.settings import MAX_TICKET_LIFETIME_S

PUBSUB = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
DUMMY = "django.core.cache.backends.dummy.DummyCache"
FILES = "django.core.cache.backends.filebased.FileBasedCache"
REDIS = "django.core.cache.backends.redis.RedisCache"

LOGIN_SESSION = "channels_realtime.auth.login_session.LoginSession"
NOT_CALLABLE = 7


class OwnAuthenticator(Authenticator):
    pass


class OwnLoginSession(LoginSession):
    pass


class OwnTicket(Ticket):
    pass


class OwnCache(LocMemCache):
    pass


def verifier(token):
    raise NotImplementedError


async def async_verifier(token):
    raise NotImplementedError


class UrlsOf:
    """A URLconf of these patterns."""

    def __init__(self, *urlpatterns):
        self.urlpatterns = list(urlpatterns)


def view(request, name):
    raise NotImplementedError


def realtime(**settings) -> override_settings:
    return override_settings(CHANNELS_REALTIME=settings)


def ids(found) -> list[str]:
    return [message.id.removeprefix("channels_realtime.") for message in found]


def test_checks_of_credentials_are_registered():
    registry = django_checks.registry.registry
    always, deployed = set(registry.get_checks()), set(registry.get_checks(True))
    names = {name: getattr(checks, name) for name in checks.__all__}
    assert set(names.values()) <= deployed
    assert {name for name, check in names.items() if check not in always} == {
        "check_deployed_cookies",
        "check_deployed_origins",
        "check_deployed_tokens",
        "check_encryption",
    }


@override_settings(CHANNELS_REALTIME={"TICKET_LIFETIME": "wrong"}, ROOT_URLCONF="nope")
def test_checks_wait_until_the_settings_are_right():
    own = [getattr(checks, name) for name in checks.__all__]
    others = {checks.check_settings, checks.check_server}
    assert [check for check in own if check not in others and check()] == []


# -- authenticators --------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [None, [], [f"{__name__}.OwnAuthenticator"]])
def test_right_authenticators_are_fine(named):
    with realtime(**({} if named is None else {"AUTHENTICATORS": named})):
        assert checks.check_authenticators() == []


@pytest.mark.parametrize("named", ["nope.Nope", f"{__name__}.Nope"])
def test_e009_authenticator_that_cannot_be_imported(named):
    with realtime(AUTHENTICATORS=[LOGIN_SESSION, named]):
        (found,) = checks.check_authenticators()
    assert found.id == "channels_realtime.E009"
    assert found.msg.startswith(
        f"CHANNELS_REALTIME['AUTHENTICATORS'] names {named!r}, which cannot be imported: "
    )
    assert found.hint == "Name a subclass of Authenticator, and install what it imports."


@pytest.mark.parametrize("named", [f"{__name__}.verifier", f"{__name__}.OwnCache"])
def test_e009_authenticator_that_is_none(named):
    with realtime(AUTHENTICATORS=[named]):
        (found,) = checks.check_authenticators()
    assert found.id == "channels_realtime.E009"
    assert found.msg == (
        f"CHANNELS_REALTIME['AUTHENTICATORS'] names {named!r}, which is no subclass of"
        " channels_realtime.auth.base.Authenticator."
    )


# -- tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [None, f"{__name__}.verifier", f"{__name__}.OwnAuthenticator"])
def test_right_verifier_is_fine(named):
    with realtime(TOKEN_VERIFIER=named):
        assert checks.check_tokens() == []


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("nope.verify", "CHANNELS_REALTIME['TOKEN_VERIFIER'] cannot be imported: "),
        (f"{__name__}.nope", "CHANNELS_REALTIME['TOKEN_VERIFIER'] cannot be imported: "),
        (
            f"{__name__}.NOT_CALLABLE",
            f"CHANNELS_REALTIME['TOKEN_VERIFIER'] names '{__name__}.NOT_CALLABLE', which is not"
            " callable.",
        ),
        (
            f"{__name__}.async_verifier",
            f"CHANNELS_REALTIME['TOKEN_VERIFIER'] names '{__name__}.async_verifier', which is"
            " async.",
        ),
    ],
)
def test_e010_verifier_that_is_none(named, message):
    with realtime(TOKEN_VERIFIER=named):
        (found,) = checks.check_tokens()
    assert found.id == "channels_realtime.E010"
    assert found.msg.startswith(message)
    assert found.hint == "Name a plain function of a token's text that returns an Authenticated."


@realtime(QUERY_TOKEN=True)
def test_w005_tokens_in_urls():
    (found,) = checks.check_tokens()
    assert found == django_checks.Warning(
        "CHANNELS_REALTIME['QUERY_TOKEN'] is True: tokens travel in URLs, which servers, proxies and"
        " monitoring write into their logs, where a token can be used by whoever reads it.",
        hint=(
            "Send the token as a subprotocol or as the first message, or put a one-time ticket into"
            " the URL."
        ),
        id="channels_realtime.W005",
    )


@pytest.mark.parametrize(
    "settings", [{"JWT_COOKIE": "jwt"}, {"STATELESS_TOKENS": True}, {"JWT_COOKIE": None}]
)
def test_token_settings_are_fine_where_tokens_are_verified(settings):
    with realtime(**settings):
        assert checks.check_tokens() == []


@realtime(TOKEN_VERIFIER=None, JWT_COOKIE="jwt", STATELESS_TOKENS=True)
def test_w011_token_settings_without_a_verifier():
    (found,) = checks.check_tokens()
    assert found == django_checks.Warning(
        "CHANNELS_REALTIME has JWT_COOKIE and STATELESS_TOKENS, and this site verifies no tokens:"
        " all of their ways in are off.",
        hint="Install 'channels-realtime[jwt]', or set TOKEN_VERIFIER.",
        id="channels_realtime.W011",
    )


@realtime(JWT_COOKIE="jwt")
def test_w011_where_simplejwt_is_not_installed(monkeypatch):
    monkeypatch.setattr("channels_realtime.auth.tokens._has_simplejwt", lambda: False)
    assert ids(checks.check_tokens()) == ["W011"]


@realtime()
def test_site_without_tokens_is_fine_where_simplejwt_is_not_installed(monkeypatch):
    monkeypatch.setattr("channels_realtime.auth.tokens._has_simplejwt", lambda: False)
    assert checks.check_tokens() == []


@pytest.mark.parametrize(
    ("field", "expected"), [("id", []), ("pk", []), ("username", ["W012"]), (None, [])]
)
def test_w012_stateless_tokens_that_name_no_primary_key(field, expected):
    simple_jwt = {} if field is None else {"USER_ID_FIELD": field}
    with realtime(STATELESS_TOKENS=True), override_settings(SIMPLE_JWT=simple_jwt):
        found = checks.check_tokens()
    assert ids(found) == expected
    if found:
        assert found[0].msg == (
            "CHANNELS_REALTIME['STATELESS_TOKENS'] is True and SIMPLE_JWT['USER_ID_FIELD'] is"
            " 'username': the value in the token is taken for the primary key of a user, which it is"
            " not."
        )
        assert found[0].hint == (
            "Set USER_ID_FIELD to 'id', or turn STATELESS_TOKENS off so that the user is looked up."
        )


@override_settings(SIMPLE_JWT={"USER_ID_FIELD": "username"})
def test_any_user_id_field_is_fine_where_users_are_looked_up():
    assert checks.check_tokens() == []


# -- times -----------------------------------------------------------------------------------------


@realtime(TICKET_LIFETIME=900, AUTHENTICATORS=[LOGIN_SESSION])
def test_lifetime_of_tickets_that_nobody_takes_is_fine():
    assert checks.check_times() == []


def test_longest_ticket_ends_before_the_revocation_of_its_session():
    assert MAX_TICKET_LIFETIME_S * 2 <= _SHORT_S


@pytest.mark.parametrize(("leeway", "expected"), [(300, []), (301, ["W014"])])
def test_w014_leeway_that_is_a_second_lifetime(leeway, expected):
    with realtime(AUTH_LEEWAY=leeway):
        found = checks.check_times()
    assert ids(found) == expected
    if found:
        assert found[0].hint == "Use at most 300, or give tokens a longer life."


# -- login sessions --------------------------------------------------------------------------------


def test_login_sessions_of_the_test_project_are_fine():
    assert checks.check_login_sessions() == []


@override_settings(MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware", "nope.Nope"])
def test_w009_no_session_middleware():
    (found,) = checks.check_login_sessions()
    assert found == django_checks.Warning(
        "CHANNELS_REALTIME['AUTHENTICATORS'] holds LoginSession, but SessionMiddleware is not in"
        " MIDDLEWARE: nobody comes in with a login session.",
        hint="Add what is missing, or list AUTHENTICATORS without LoginSession.",
        id="channels_realtime.W009",
    )


@pytest.mark.parametrize(
    ("engine", "expected"), [("db", ["W009"]), ("cached_db", ["W009"]), ("cache", [])]
)
def test_w009_no_sessions_app(monkeypatch, engine, expected):
    monkeypatch.setattr("django.apps.apps.is_installed", lambda name: False)
    with override_settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}"):
        found = checks.check_login_sessions()
    assert ids(found) == expected
    if found:
        assert "but 'django.contrib.sessions' is not in INSTALLED_APPS: nobody" in found[0].msg


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ([f"{__name__}.OwnLoginSession"], ["W009"]),
        ([f"{__name__}.OwnAuthenticator", "nope.Nope", f"{__name__}.verifier"], []),
        ([], []),
    ],
)
@override_settings(MIDDLEWARE=[])
def test_w009_only_where_login_sessions_are_a_way_in(named, expected):
    with realtime(AUTHENTICATORS=named):
        assert ids(checks.check_login_sessions()) == expected


@override_settings(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies")
def test_w015_sessions_that_cannot_be_ended():
    (found,) = checks.check_login_sessions()
    assert found.id == "channels_realtime.W015"
    assert found.hint == "Use 'django.contrib.sessions.backends.db' or 'cached_db'."


# -- tickets ---------------------------------------------------------------------------------------


def caches(backend: str) -> override_settings:
    return override_settings(CACHES={"default": {"BACKEND": backend, "LOCATION": "nowhere"}})


@pytest.mark.parametrize(
    ("backend", "why"),
    [
        (
            LOCMEM,
            "LocMemCache, which is each process's own: a ticket that was used can be used again in"
            " another.",
        ),
        (DUMMY, "DummyCache, which keeps nothing: every ticket is refused."),
        (
            FILES,
            "FileBasedCache, which looks before it writes: a ticket can be used in two processes at"
            " once.",
        ),
        (
            f"{__name__}.OwnCache",
            "OwnCache, which is each process's own: a ticket that was used can be used again in"
            " another.",
        ),
    ],
)
@override_settings(CHANNEL_LAYERS=PUBSUB)
def test_e011_tickets_over_a_cache_that_is_not_shared(backend, why):
    with caches(backend):
        (found,) = checks.check_tickets()
    assert found == django_checks.Error(
        f"CACHES['default'] is {why}",
        hint=(
            "Use a cache that all processes share, such as"
            " 'django.core.cache.backends.redis.RedisCache'; where nobody uses tickets, list"
            " AUTHENTICATORS without Ticket."
        ),
        id="channels_realtime.E011",
    )


@pytest.mark.parametrize(
    "backend", [REDIS, "django.core.cache.backends.db.DatabaseCache", "nope.Nope"]
)
@override_settings(CHANNEL_LAYERS=PUBSUB)
def test_tickets_over_a_shared_cache_are_fine(backend):
    with caches(backend):
        assert checks.check_tickets() == []


@pytest.mark.parametrize(("backend", "expected"), [(LOCMEM, []), (FILES, []), (DUMMY, ["W010"])])
def test_w010_tickets_of_one_process_over_a_cache_that_keeps_nothing(backend, expected):
    with caches(backend):
        assert ids(checks.check_tickets()) == expected


@override_settings(CHANNEL_LAYERS={})
def test_tickets_are_fine_where_the_layer_is_wrong_anyway():
    with caches(LOCMEM):
        assert checks.check_tickets() == []


@pytest.mark.parametrize(
    ("named", "expected"),
    [([f"{__name__}.OwnTicket"], ["E011"]), ([LOGIN_SESSION], [])],
)
@override_settings(CHANNEL_LAYERS=PUBSUB)
def test_e011_only_where_tickets_are_a_way_in(named, expected):
    with realtime(AUTHENTICATORS=named):
        assert ids(checks.check_tickets()) == expected


@pytest.mark.parametrize(
    "urlpatterns",
    [
        [path("ticket/", ticket)],
        [path("ticket/", never_cache(ticket))],
        [path("api/", include([path("realtime/", include("channels_realtime.urls"))]))],
    ],
)
@override_settings(CHANNEL_LAYERS=PUBSUB)
def test_e011_wherever_the_view_of_tickets_is(urlpatterns):
    with override_settings(ROOT_URLCONF=UrlsOf(*urlpatterns)):
        assert ids(checks.check_tickets()) == ["E011"]


@pytest.mark.parametrize(
    "urlconf",
    [
        UrlsOf(path("<str:name>/", view)),
        UrlsOf(path("", partial(view, name="a view without a name"))),
        UrlsOf(),
        None,
    ],
)
@override_settings(CHANNEL_LAYERS=PUBSUB)
def test_site_that_issues_no_tickets_is_fine(urlconf):
    """The default site: a shared layer, no CACHES, ``Ticket`` among the default authenticators."""
    with override_settings(ROOT_URLCONF=urlconf):
        assert checks.check_tickets() == []


# -- addresses -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"TRUSTED_PROXIES": ["10.0.0.0/8", "::1"], "CLIENT_ADDRESS_HEADER": "X-Forwarded-For"},
    ],
)
def test_right_proxies_are_fine(settings):
    with realtime(**settings):
        assert checks.check_trusted_proxies() == []


@realtime(TRUSTED_PROXIES=["10.0.0.1"])
def test_w007_proxies_without_a_header():
    (found,) = checks.check_trusted_proxies()
    assert found == django_checks.Warning(
        "CHANNELS_REALTIME has TRUSTED_PROXIES and no CLIENT_ADDRESS_HEADER: every client has the"
        " proxy's address.",
        hint="Name the header that the proxy writes, such as 'X-Forwarded-For'.",
        id="channels_realtime.W007",
    )


@realtime(CLIENT_ADDRESS_HEADER="X-Real-IP")
def test_w007_header_without_proxies():
    (found,) = checks.check_trusted_proxies()
    assert found == django_checks.Warning(
        "CHANNELS_REALTIME has CLIENT_ADDRESS_HEADER and no TRUSTED_PROXIES: the header of nobody is"
        " believed.",
        hint="List the addresses of the proxies, such as ['10.0.0.0/8'].",
        id="channels_realtime.W007",
    )


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "10.1.2.3/0"])
def test_w008_everybody_is_a_proxy(network):
    with realtime(TRUSTED_PROXIES=["10.0.0.0/8", network], CLIENT_ADDRESS_HEADER="X-Forwarded-For"):
        (found,) = checks.check_trusted_proxies()
    assert found.id == "channels_realtime.W008"
    assert found.msg == (
        f"CHANNELS_REALTIME['TRUSTED_PROXIES'] holds {network!r}, which is everybody: a client can"
        " write its own address."
    )
    assert found.hint == "List the addresses of the proxies alone."


# -- the allowlist ---------------------------------------------------------------------------------


@pytest.mark.parametrize("anonymous", [True, False])
def test_w006_empty_allowlist(anonymous):
    with realtime(ALLOWED_ORIGINS=[], ALLOW_ANONYMOUS=anonymous):
        (found,) = checks.check_allowlist()
    assert found == django_checks.Warning(
        "CHANNELS_REALTIME['ALLOWED_ORIGINS'] is empty: no page in a browser can connect, the site's"
        " own included.",
        hint=(
            "List the origins of your pages, or remove ALLOWED_ORIGINS for the default. Silence"
            " channels_realtime.W006 where only other clients connect."
        ),
        id="channels_realtime.W006",
    )


@realtime(ALLOWED_ORIGINS=(), ALLOW_MISSING_ORIGIN=False)
def test_e012_nobody_can_connect():
    (found,) = checks.check_allowlist()
    assert found == django_checks.Error(
        "CHANNELS_REALTIME['ALLOWED_ORIGINS'] is empty and ALLOW_MISSING_ORIGIN is False: nobody can"
        " connect.",
        hint="List the origins of your pages, or remove ALLOWED_ORIGINS for the default.",
        id="channels_realtime.E012",
    )


@pytest.mark.parametrize("allowed", [None, ["https://example.com"], "nope.rule", verifier])
def test_allowlist_that_is_not_empty_is_fine(allowed):
    with realtime(ALLOWED_ORIGINS=allowed):
        assert checks.check_allowlist() == []


# -- in production alone ---------------------------------------------------------------------------


def deployed() -> list[str]:
    found = [
        *checks.check_encryption(),
        *checks.check_deployed_cookies(),
        *checks.check_deployed_origins(),
        *checks.check_deployed_tokens(),
    ]
    assert all(message.hint for message in found)
    return ids(found)


SAFE = {
    "SECURE_SSL_REDIRECT": True,
    "SESSION_COOKIE_SECURE": True,
    "ALLOWED_HOSTS": ["www.example.com"],
    "CHANNELS_REALTIME": {},
}


@override_settings(**SAFE)
def test_safe_deployment_is_fine():
    assert deployed() == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"SESSION_COOKIE_SECURE": False}, ["W016"]),
        (
            {
                "SESSION_COOKIE_SECURE": False,
                "CHANNELS_REALTIME": {
                    "AUTHENTICATORS": ["channels_realtime.auth.tokens.HeaderToken"]
                },
            },
            [],
        ),
        ({"SECURE_SSL_REDIRECT": False}, ["W017"]),
        ({"CHANNELS_REALTIME": {"JWT_COOKIE": "jwt"}}, ["W018"]),
        ({"CHANNELS_REALTIME": {"JWT_COOKIE": "__Host-jwt"}}, []),
        ({"CHANNELS_REALTIME": {"JWT_COOKIE": "__Secure-jwt"}}, []),
        ({"ALLOWED_HOSTS": ["*"]}, ["W019"]),
        (
            {
                "ALLOWED_HOSTS": ["*"],
                "CHANNELS_REALTIME": {"ALLOWED_ORIGINS": ["https://www.example.com"]},
            },
            [],
        ),
        ({"CHANNELS_REALTIME": {"ALLOWED_ORIGINS": ["https://a.example", "null"]}}, ["W020"]),
        ({"CHANNELS_REALTIME": {"ALLOWED_ORIGINS": "site.origins.null"}}, []),
        ({"CHANNELS_REALTIME": {"ALLOWED_ORIGINS": verifier}}, []),
        ({"CHANNELS_REALTIME": {"STATELESS_TOKENS": True}}, ["I001"]),
    ],
)
def test_deployed_site(settings, expected):
    with override_settings(**{**SAFE, **settings}):
        assert deployed() == expected


@override_settings(
    DEBUG=True,
    ALLOWED_HOSTS=["*"],
    CHANNELS_REALTIME={"JWT_COOKIE": "jwt", "STATELESS_TOKENS": True},
)
def test_nothing_is_said_of_a_deployment_while_debug_is_on():
    assert deployed() == []
