"""Which pages may open a connection."""

from __future__ import annotations

import logging

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.access import origins
from channels_realtime.access.origins import (
    DenialLog,
    Origin,
    OriginPolicy,
    check_origin,
    parse_origin,
    same_origin,
)
from channels_realtime.config import Config


def scope(origin: str | bytes | None = None, host: str | None = "testserver", **fields) -> dict:
    """The scope of a handshake."""
    headers = list(fields.pop("headers", []))
    if host is not None:
        headers.insert(0, (b"host", host.encode("latin-1")))
    if origin is not None:
        raw = origin if isinstance(origin, bytes) else origin.encode("latin-1")
        headers.append((b"origin", raw))
    return {"type": "websocket", "scheme": "ws", "headers": headers, **fields}


def allows(allowed, origin, **options) -> bool:
    return OriginPolicy(allowed, **options).allows(scope(origin))


# -- parsing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://example.com", Origin("https", "example.com", 0)),
        ("HTTPS://EXAMPLE.com:443", Origin("https", "example.com", 0)),
        ("http://example.com:80", Origin("http", "example.com", 0)),
        ("http://example.com:8000", Origin("http", "example.com", 8000)),
        ("https://example.com:80", Origin("https", "example.com", 80)),
        ("http://127.0.0.1:8000", Origin("http", "127.0.0.1", 8000)),
        ("http://[::1]:8000", Origin("http", "[::1]", 8000)),
        ("http://[::1]", Origin("http", "[::1]", 0)),
        ("chrome-extension://abcdef", Origin("chrome-extension", "abcdef", 0)),
        ("https://xn--bcher-kva.example", Origin("https", "xn--bcher-kva.example", 0)),
        ("wss://shop.example", Origin("https", "shop.example", 0)),
        ("WSS://shop.example:443", Origin("https", "shop.example", 0)),
        ("wss://shop.example:8443", Origin("https", "shop.example", 8443)),
        ("ws://shop.example:80", Origin("http", "shop.example", 0)),
    ],
)
def test_origin_is_taken_apart(text, origin):
    assert parse_origin(text) == origin


MALFORMED = [
    "",
    " ",
    "null ",
    "example.com",
    "https://",
    "https://host:",
    "https://host:99999",
    "https://host:65536",
    "https://host:0",
    "https://host:-1",
    "https://host:٣",
    "https://host:123456789",
    "https://host/",
    "https://host/path",
    "https://host?x",
    "https://user@host",
    "https://user:pw@host",
    "https://a b",
    "https://host\n",
    "https://host\x00",
    "https://host, https://host",
    "https://[::1",
    "https://[::g]",
    "https://[1:2]",
    "https://[::1]x",
    "https://hö.example",
    "://host",
    "1https://host",
    "https:/host",
    "https://*.example.com",
    "https://" + "a" * 300,
]


@pytest.mark.parametrize("text", MALFORMED)
def test_origin_is_none_when_it_is_malformed(text):
    assert parse_origin(text) is None


@pytest.mark.parametrize("text", MALFORMED)
@pytest.mark.parametrize("allowed", [None, ["https://host"], ["https://*.example.com", "null"]])
def test_malformed_origin_is_refused_and_raises_nothing(allowed, text):
    with override_settings(CSRF_TRUSTED_ORIGINS=["https://host"]):
        found = OriginPolicy(allowed).allows(scope(text.encode("utf-8")))
    assert found is False


@given(st.binary(max_size=40))
def test_any_bytes_are_judged_and_raise_nothing(raw):
    assert OriginPolicy(["https://a.example"]).allows(scope(raw)) in (
        False,
        raw == b"https://a.example",
    )
    OriginPolicy(None).allows(scope(raw))


@given(st.text(max_size=20))
def test_any_host_is_judged_and_raises_nothing(host):
    OriginPolicy(None).allows(
        {
            "type": "websocket",
            "headers": [(b"host", host.encode()), (b"origin", b"http://testserver")],
        }
    )


# -- lists -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "origin", "expected"),
    [
        ("https://a.example", "https://a.example", True),
        ("https://a.example", "https://A.EXAMPLE", True),
        ("https://A.example", "https://a.example", True),
        ("https://a.example", "https://a.example:443", True),
        ("https://a.example:443", "https://a.example", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example:8443", False),
        ("https://a.example:8443", "https://a.example:8443", True),
        ("https://a.example:8443", "https://a.example", False),
        ("https://a.example", "https://b.example", False),
        ("https://a.example", "https://a.example.evil.test", False),
        ("https://a.example", "https://evila.example", False),
        ("https://a.example", "https://sub.a.example", False),
        ("http://[::1]:8000", "http://[::1]:8000", True),
        ("https://*.example.com", "https://a.example.com", True),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://A.EXAMPLE.COM", True),
        ("https://*.example.com", "https://example.com", False),
        ("https://*.example.com", "https://evilexample.com", False),
        ("https://*.example.com", "https://a.example.com.evil.test", False),
        ("https://*.example.com", "http://a.example.com", False),
        ("https://*.example.com", "https://a.example.com:8443", False),
        ("https://*.example.com:8443", "https://a.example.com:8443", True),
        ("https://*.example.com:8443", "https://a.example.com", False),
        ("null", "null", True),
        ("https://a.example", "null", False),
        ("file://", "file://", True),
        ("https://a.example", "file://", False),
        ("chrome-extension://abc", "chrome-extension://abc", True),
        ("chrome-extension://abc", "chrome-extension://abd", False),
        ("https://testserver", "chrome-extension://testserver", False),
        ("capacitor://localhost", "capacitor://localhost", True),
        ("*", "https://anything.example", True),
        ("*", "null", True),
        ("https://a.example", "wss://a.example", True),
        ("https://a.example", "wss://a.example:443", True),
        ("https://*.example.com", "wss://a.example.com", True),
        ("https://a.example:8443", "wss://a.example:8443", True),
        ("https://a.example", "ws://a.example", False),
        ("https://a.example", "//a.example", False),
        ("https://a.example", "a.example", False),
        ("https://a.example", "wss://b.example", False),
        ("wss://a.example", "https://a.example", True),
    ],
)
def test_listed_origin_is_allowed_and_others_are_not(listed, origin, expected):
    assert allows([listed], origin) is expected


def test_list_replaces_the_default():
    with override_settings(CSRF_TRUSTED_ORIGINS=["https://trusted.example"]):
        assert not allows(["https://a.example"], "http://testserver")
        assert not allows(["https://a.example"], "https://trusted.example")


def test_empty_list_allows_no_origin():
    assert not allows([], "http://testserver")
    assert allows([], None)


# -- headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "allowed", [None, ["*"], ["http://testserver"], lambda origin, scope: True]
)
def test_doubled_origin_is_refused(allowed):
    doubled = scope("http://testserver", headers=[(b"origin", b"http://testserver")])
    assert OriginPolicy(allowed).allows(doubled) is False


def test_doubled_origin_is_refused_whatever_its_case():
    doubled = scope("http://testserver", headers=[(b"Origin", b"http://testserver")])
    assert OriginPolicy(None).allows(doubled) is False


@pytest.mark.parametrize("allowed", [None, [], ["https://a.example"], lambda origin, scope: False])
def test_missing_origin_passes_unless_the_setting_says_no(allowed):
    assert OriginPolicy(allowed).allows(scope(None)) is True
    assert OriginPolicy(allowed, allow_missing=False).allows(scope(None)) is False


@pytest.mark.parametrize("allowed", [["*"], lambda origin, scope: True])
def test_endless_origin_is_refused(allowed):
    assert OriginPolicy(allowed).allows(scope("https://" + "a" * 300)) is False


# -- the default -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "host", "scheme", "expected"),
    [
        ("http://testserver", "testserver", "ws", True),
        ("http://testserver:80", "testserver", "ws", True),
        ("http://testserver", "testserver:80", "ws", True),
        ("http://TESTSERVER", "TestServer", "ws", True),
        ("https://testserver", "testserver", "wss", True),
        ("https://testserver", "testserver:443", "wss", True),
        ("http://testserver:8000", "testserver:8000", "ws", True),
        ("http://localhost:8000", "localhost:8000", "ws", True),
        ("https://testserver", "testserver", "ws", False),
        ("http://testserver", "testserver", "wss", False),
        ("http://testserver:9999", "testserver", "ws", False),
        ("http://testserver", "testserver:9999", "ws", False),
        ("http://testserver:443", "testserver:443", "wss", False),
        ("http://localhost", "testserver", "ws", False),
        ("http://evil.test", "testserver", "ws", False),
        ("http://evil.test", "evil.test", "ws", False),
        ("chrome-extension://testserver", "testserver", "ws", False),
        ("null", "testserver", "ws", False),
        ("file://", "testserver", "ws", False),
        ("http://testserver", "", "ws", False),
        ("http://testserver", "testserver/x", "ws", False),
        ("http://testserver", "user@testserver", "ws", False),
        ("http://testserver", "testserver:99999", "ws", False),
        ("wss://testserver", "testserver", "wss", True),
        ("ws://testserver", "testserver", "ws", True),
        ("ws://testserver:8000", "testserver:8000", "ws", True),
        ("wss://testserver", "testserver", "ws", False),
        ("ws://testserver", "testserver", "wss", False),
        ("wss://evil.test", "testserver", "wss", False),
        ("testserver", "testserver", "ws", False),
    ],
)
def test_default_allows_the_sites_own_origin(origin, host, scheme, expected):
    assert OriginPolicy(None).allows(scope(origin, host, scheme=scheme)) is expected


def test_default_refuses_a_request_without_or_with_two_hosts():
    assert not OriginPolicy(None).allows(scope("http://testserver", None))
    two = scope("http://testserver", headers=[(b"host", b"testserver")])
    assert not OriginPolicy(None).allows(two)


@override_settings(ALLOWED_HOSTS=["*"])
def test_default_takes_any_host_where_allowed_hosts_does():
    assert OriginPolicy(None).allows(scope("http://evil.test", "evil.test"))
    assert not OriginPolicy(None).allows(scope("http://evil.test", "testserver"))


@override_settings(ALLOWED_HOSTS=[".example.com"])
def test_default_takes_subdomains_where_allowed_hosts_does():
    assert OriginPolicy(None).allows(scope("http://a.example.com", "a.example.com"))
    assert not OriginPolicy(None).allows(scope("http://b.example.com", "a.example.com"))


@override_settings(ALLOWED_HOSTS=["testserver"])
def test_default_takes_a_host_with_a_trailing_dot_as_django_does():
    assert OriginPolicy(None).allows(scope("http://testserver.", "testserver."))


@pytest.mark.parametrize(
    ("host", "expected"), [("localhost", True), ("[::1]:8000", True), ("evil.test", False)]
)
def test_default_takes_local_hosts_while_debugging_without_allowed_hosts(host, expected):
    with override_settings(ALLOWED_HOSTS=[], DEBUG=True):
        assert OriginPolicy(None).allows(scope(f"http://{host}", host)) is expected
    with override_settings(ALLOWED_HOSTS=[], DEBUG=False):
        assert not OriginPolicy(None).allows(scope(f"http://{host}", host))


@pytest.mark.parametrize(
    ("value", "origin", "expected"),
    [
        (b"https", "https://testserver", True),
        (b"https", "http://testserver", False),
        (b"http", "https://testserver", False),
        (b"http", "http://testserver", True),
        (b"https, http", "https://testserver", True),
        (b"HTTPS", "https://testserver", False),
        (b"wss", "https://testserver", True),
        (b"wss", "wss://testserver", True),
        (b"wss", "http://testserver", False),
        (b"ws", "http://testserver", True),
        (b"ws", "https://testserver", False),
        (b" wss , http", "https://testserver", True),
        (b"http, wss", "https://testserver", False),
        (b"WSS", "https://testserver", False),
        (None, "http://testserver", True),
        (None, "https://testserver", False),
    ],
)
@override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"))
def test_default_takes_the_scheme_from_the_proxys_header(value, origin, expected):
    headers = [] if value is None else [(b"x-forwarded-proto", value)]
    assert OriginPolicy(None).allows(scope(origin, headers=headers)) is expected


def test_default_ignores_the_proxys_header_unless_the_setting_names_it():
    headers = [(b"x-forwarded-proto", b"https"), (b"x-forwarded-host", b"testserver")]
    assert not OriginPolicy(None).allows(scope("https://testserver", headers=headers))
    assert not OriginPolicy(None).allows(scope("http://testserver", "evil.test", headers=headers))


@override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"))
def test_default_takes_the_first_of_two_proxy_headers_as_django_does():
    headers = [(b"x-forwarded-proto", b"http"), (b"x-forwarded-proto", b"https")]
    assert OriginPolicy(None).allows(scope("http://testserver", headers=headers))
    assert not OriginPolicy(None).allows(scope("https://testserver", headers=headers))


@override_settings(USE_X_FORWARDED_HOST=True, ALLOWED_HOSTS=["public.example"])
def test_default_takes_the_host_from_the_proxys_header_where_the_setting_says_so():
    headers = [(b"x-forwarded-host", b"public.example")]
    assert OriginPolicy(None).allows(scope("http://public.example", "inner", headers=headers))
    assert not OriginPolicy(None).allows(scope("http://inner", "inner", headers=headers))
    assert not OriginPolicy(None).allows(
        scope("http://public.example", headers=[*headers, (b"x-forwarded-host", b"other.example")])
    )


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://trusted.example", True),
        ("http://trusted.example", False),
        ("https://a.wild.example", True),
        ("http://testserver", True),
        ("https://other.example", False),
    ],
)
@override_settings(CSRF_TRUSTED_ORIGINS=["https://trusted.example", "https://*.wild.example"])
def test_default_adds_what_csrf_trusts(origin, expected):
    assert allows(None, origin) is expected


# -- callables -------------------------------------------------------------------------------------


def test_callable_decides_with_the_text_and_the_scope():
    seen = []

    def rule(origin, scope):
        seen.append((origin, scope["scheme"]))
        return origin == "https://a.example"

    assert allows(rule, "https://a.example")
    assert not allows(rule, "https://b.example")
    assert seen == [("https://a.example", "ws"), ("https://b.example", "ws")]


def allow_tenant(origin, scope):
    return origin == "https://tenant.example"


def test_callable_may_be_named_by_its_path():
    policy = OriginPolicy.from_config(Config(allowed_origins=f"{__name__}.allow_tenant"))
    assert policy.allows(scope("https://tenant.example"))
    assert not policy.allows(scope("http://testserver"))


def test_callable_that_raises_refuses_and_is_logged(caplog):
    def rule(origin, scope):
        raise ZeroDivisionError

    assert check_origin(scope("https://a.example"), OriginPolicy(rule)) is False
    assert caplog.records[0].getMessage() == (
        "The rule for origins failed; the connection is refused"
    )
    assert caplog.records[0].exc_info[0] is ZeroDivisionError


def test_callable_that_is_async_refuses_because_its_coroutine_says_nothing(caplog):
    async def rule(origin, scope):
        return False

    assert check_origin(scope("https://a.example"), OriginPolicy(rule)) is False
    assert "The rule for origins failed" in caplog.records[0].getMessage()


def test_callable_is_given_an_apps_origin_as_a_page_has_it():
    rule = "https://a.example".__eq__
    assert allows(lambda origin, scope: rule(origin), "wss://a.example")
    assert not allows(lambda origin, scope: rule(origin), "ws://a.example")
    assert allows(lambda origin, scope: origin == "null", "null")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("https://a.example", "https://a.example", True),
        ("https://a.example", "wss://a.example", True),
        ("https://a.example:443", "https://A.example", True),
        ("null", "null", True),
        (None, None, True),
        (None, "wss://a.example", True),
        ("ws://a.example", None, True),
        (None, "https://a.example", False),
        ("https://a.example", None, False),
        ("https://a.example", "ws://a.example", False),
        ("https://a.example", "https://b.example", False),
        ("null", "file://", False),
    ],
)
def test_origins_are_the_same_by_another_name(one, other, expected):
    assert same_origin(one, other) is expected


# -- settings --------------------------------------------------------------------------------------


def test_settings_are_read_at_each_handshake():
    assert not check_origin(scope("https://a.example"))
    with override_settings(CHANNELS_REALTIME={"ALLOWED_ORIGINS": ["https://a.example"]}):
        assert check_origin(scope("https://a.example"))
        assert not check_origin(scope("http://testserver"))
    assert not check_origin(scope("https://a.example"))
    assert check_origin(scope("http://testserver"))


def test_trusted_origins_are_read_at_each_handshake():
    with override_settings(CSRF_TRUSTED_ORIGINS=["https://a.example"]):
        assert check_origin(scope("https://a.example"))
    assert not check_origin(scope("https://a.example"))


def test_missing_origin_is_refused_where_the_setting_says_so():
    assert check_origin(scope(None))
    with override_settings(CHANNELS_REALTIME={"ALLOW_MISSING_ORIGIN": False}):
        assert not check_origin(scope(None))


# -- denials ---------------------------------------------------------------------------------------


class FakeClock:
    now = 0.0

    def monotonic(self):
        return self.now

    def time(self):
        return self.now


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.WARNING, "channels_realtime.access.origins")
    return DenialLog(FakeClock())


def messages(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_denial_is_logged_with_its_origin_and_the_remedy(log, caplog):
    log.deny(scope("https://evil.test"))
    assert messages(caplog) == [
        "Refused a connection from origin 'https://evil.test' (1 refused so far). It is another site's"
        " page: the request is for 'testserver'. If it is yours, add 'https://evil.test' to"
        " CSRF_TRUSTED_ORIGINS."
    ]
    assert caplog.records[0].levelname == "WARNING"


FORWARDED = {"SECURE_PROXY_SSL_HEADER": ("HTTP_X_FORWARDED_PROTO", "https")}
OTHERWISE = "If the page is on another server, add {0!r} to CSRF_TRUSTED_ORIGINS."


@pytest.mark.parametrize(
    ("origin", "fields", "settings", "expected"),
    [
        pytest.param(
            "https://testserver",
            {},
            {},
            "The page is on https and the request arrived as http: behind a proxy that ends TLS, set"
            " SECURE_PROXY_SSL_HEADER, such as ('HTTP_X_FORWARDED_PROTO', 'https'). " + OTHERWISE,
            id="a proxy hid the scheme",
        ),
        pytest.param(
            "wss://testserver",
            {"host": "testserver:443"},
            {},
            "The page is on https and the request arrived as http: behind a proxy that ends TLS, set"
            " SECURE_PROXY_SSL_HEADER, such as ('HTTP_X_FORWARDED_PROTO', 'https'). " + OTHERWISE,
            id="a proxy hid the scheme, and wrote the port that goes without saying",
        ),
        pytest.param(
            "https://testserver",
            {},
            FORWARDED,
            "The page is on https and the request arrived as http: SECURE_PROXY_SSL_HEADER expects"
            " X-Forwarded-Proto: https, so have the proxy send that with the handshake. "
            + OTHERWISE,
            id="the proxy does not send what the setting expects",
        ),
        pytest.param(
            "http://testserver",
            {"scheme": "wss"},
            {},
            "The page is on http and the request arrived as https: send visitors to https"
            " (SECURE_SSL_REDIRECT = True). " + OTHERWISE,
            id="the page is not on https",
        ),
        pytest.param(
            "http://testserver:8080",
            {},
            {},
            "The page's address has port 8080, the Host header none: a proxy has to pass Host on with"
            " its port (nginx: $http_host). " + OTHERWISE,
            id="a proxy hid the port",
        ),
        pytest.param(
            "https://testserver:8443",
            {"host": "testserver:8000"},
            {},
            "The page's address has port 8443, the Host header 8000: a proxy has to pass Host on with"
            " its port (nginx: $http_host). The page is on https and the request arrived as http:"
            " behind a proxy that ends TLS, set SECURE_PROXY_SSL_HEADER, such as"
            " ('HTTP_X_FORWARDED_PROTO', 'https'). " + OTHERWISE,
            id="a proxy hid both",
        ),
        pytest.param(
            "http://localhost",
            {"host": "127.0.0.1:8000"},
            {},
            "Its host is in ALLOWED_HOSTS, but the request is for '127.0.0.1'. If a proxy replaced the"
            " Host header, have it pass Host on; if the page is on another host, add {0!r} to"
            " CSRF_TRUSTED_ORIGINS.",
            id="a proxy hid the host",
        ),
        pytest.param(
            "http://shop.example",
            {"headers": [(b"x-forwarded-host", b"shop.example")]},
            {},
            "A proxy replaced the Host header and names the page's host in X-Forwarded-Host: have it"
            " pass Host on, or set USE_X_FORWARDED_HOST = True.",
            id="a proxy hid the host, and says so",
        ),
        pytest.param(
            "http://shop.example",
            {"host": "shop.example"},
            {},
            "Its host is the request's, but is not in ALLOWED_HOSTS: add 'shop.example' there.",
            id="the host is not the site's",
        ),
        pytest.param(
            "http://shop.example",
            {"host": None},
            {},
            "It is another site's page: the request has no usable Host header. If it is yours, add"
            " {0!r} to CSRF_TRUSTED_ORIGINS.",
            id="no host",
        ),
        pytest.param(
            "capacitor://localhost",
            {},
            {},
            "It is not a web page's. If it is yours, list it in CHANNELS_REALTIME['ALLOWED_ORIGINS']"
            " together with the site's own origins, which that list replaces.",
            id="an app",
        ),
        pytest.param(
            "shop.example",
            {},
            {},
            "It is malformed: an origin is a scheme, a host and, where it is not the default, a port,"
            " such as https://shop.example.",
            id="malformed",
        ),
        pytest.param(
            "https://shop.example",
            {},
            {"CHANNELS_REALTIME": {"ALLOWED_ORIGINS": ["https://a.example"]}},
            "Add it to CHANNELS_REALTIME['ALLOWED_ORIGINS'] if it is yours.",
            id="not in the site's list",
        ),
        pytest.param(
            "https://shop.example",
            {},
            {"CHANNELS_REALTIME": {"ALLOWED_ORIGINS": lambda origin, scope: False}},
            "The rule in CHANNELS_REALTIME['ALLOWED_ORIGINS'] did not allow it.",
            id="the site's rule",
        ),
        pytest.param(
            None,
            {},
            {"CHANNELS_REALTIME": {"ALLOW_MISSING_ORIGIN": False}},
            "ALLOW_MISSING_ORIGIN is False, which refuses clients without an Origin header.",
            id="no origin",
        ),
    ],
)
def test_denial_names_the_remedy_of_its_cause(
    origin, fields, settings, expected, caplog, monkeypatch
):
    monkeypatch.setattr(origins, "denials", DenialLog(FakeClock()))
    with override_settings(ALLOWED_HOSTS=["testserver", "localhost"], **settings):
        assert not check_origin(scope(origin, **fields))
    (message,) = messages(caplog)
    assert message.split(" (1 refused so far). ")[1] == expected.format(origin)


def test_denial_names_no_setting_where_a_middleware_has_the_list(caplog, monkeypatch):
    monkeypatch.setattr(origins, "denials", DenialLog(FakeClock()))
    assert not check_origin(scope("https://shop.example"), OriginPolicy(["https://a.example"]))
    assert messages(caplog)[0].endswith(
        "Add it to the origins that this middleware or consumer allows if it is yours."
    )


def test_rule_that_cannot_be_loaded_refuses_and_raises_nothing(caplog, monkeypatch):
    monkeypatch.setattr(origins, "denials", DenialLog(FakeClock()))
    with override_settings(CHANNELS_REALTIME={"ALLOWED_ORIGINS": "nope.rule"}):
        assert not check_origin(scope("https://shop.example"))
    assert messages(caplog)[0] == "The rule for origins failed; the connection is refused"
    assert messages(caplog)[1].endswith(
        "The rule in CHANNELS_REALTIME['ALLOWED_ORIGINS'] did not allow it."
    )


def test_denial_is_logged_once_a_minute_and_counted_each_time(log, caplog):
    for _ in range(50):
        log.deny(scope("https://evil.test"))
    log._clock.now = 59.9
    log.deny(scope("https://evil.test"))
    assert (len(caplog.records), log.denied) == (1, 51)
    log._clock.now = 60.0
    log.deny(scope("https://evil.test"))
    assert (len(caplog.records), log.denied) == (2, 52)


def test_denials_of_different_origins_are_logged_each(log, caplog):
    log.deny(scope("https://one.test"))
    log.deny(scope("https://two.test"))
    assert len(caplog.records) == 2


def test_denial_without_or_with_two_origins_is_logged(log, caplog):
    log.deny(scope(None))
    log.deny(scope("https://a.test", headers=[(b"origin", b"https://b.test")]))
    assert "from origin none (1" in messages(caplog)[0]
    assert "from origin 'https://b.test', 'https://a.test' (2" in messages(caplog)[1]


def test_denial_is_written_on_one_line_and_not_without_end(log, caplog):
    log.deny(scope(b"https://evil\r\n2026 INFO forged" + b"x" * 5_000))
    message = messages(caplog)[0]
    assert "\n" not in message
    assert len(message) < 300


def test_denials_are_remembered_for_a_bounded_number_of_origins(log, caplog):
    for n in range(3_000):
        log.deny(scope(f"https://{n}.test"))
    assert len(log._logged_at) <= 1_000
    assert log.denied == 3_000


def test_check_counts_the_denials_of_the_process():
    before = origins.denials.denied
    check_origin(scope("https://evil.test"))
    check_origin(scope("http://testserver"))
    assert origins.denials.denied == before + 1
