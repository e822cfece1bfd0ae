"""``POST …/ticket/``: who is given a ticket, and which pages may read the answer."""

from __future__ import annotations

import json

import pytest
from django.test import Client, RequestFactory

from channels_realtime.auth.tickets import redeem_ticket
from channels_realtime.errors import TokenInvalid
from channels_realtime.http import tickets
from tests.unit.auth.credentials import make_session, make_token, make_user

pytestmark = pytest.mark.django_db

PATH = "/realtime/ticket/"
OWN = "http://testserver"
APP = "https://app.example.com"
FOREIGN = "https://evil.example.com"


@pytest.fixture
def alice():
    return make_user()


@pytest.fixture
def browser():
    """A browser without credentials, whose CSRF tokens are checked."""
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def logged_in(browser, alice):
    """The same, with alice's login session and her CSRF token."""
    from django.middleware.csrf import get_token

    browser.force_login(alice)
    request = RequestFactory().get("/")
    token = get_token(request)
    browser.cookies["csrftoken"] = request.META["CSRF_COOKIE"]
    browser.csrf = {"X-CSRFToken": token}
    return browser


@pytest.fixture
def app_allowed(settings):
    settings.CHANNELS_REALTIME = {"ALLOWED_ORIGINS": [OWN, APP]}
    settings.CSRF_TRUSTED_ORIGINS = [APP]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def assert_ticket(response, user, origin):
    """The answer holds a good ticket for this user and origin."""
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    body = json.loads(response.content)
    assert set(body) == {"ticket", "expires_in"}
    assert body["expires_in"] == 30.0
    assert redeem_ticket(body["ticket"], origin).user == user


def assert_refused(response, status, code, reason=None):
    assert response.status_code == status
    assert "ticket" not in json.loads(response.content)
    assert json.loads(response.content)["code"] == code
    if reason is not None:
        assert json.loads(response.content)["reason"] == reason


# -- login session ---------------------------------------------------------------------------------


def test_login_session_gets_a_ticket_with_its_csrf_token(logged_in, alice):
    response = logged_in.post(PATH, headers={"Origin": OWN, **logged_in.csrf})
    assert_ticket(response, alice, OWN)


def test_ticket_ends_with_the_login_session(logged_in):
    response = logged_in.post(PATH, headers={"Origin": OWN, **logged_in.csrf})
    identity = redeem_ticket(response.json()["ticket"], OWN).identity
    assert identity.source == "session"
    assert [key.partition(":")[0] for key in identity.keys] == ["session"]


def test_client_without_an_origin_gets_a_ticket_for_none(logged_in, alice):
    assert_ticket(logged_in.post(PATH, headers=logged_in.csrf), alice, None)


@pytest.mark.parametrize("token", [None, "", "x" * 32, "x" * 64])
def test_login_session_without_a_good_csrf_token_gets_none(logged_in, token):
    headers = {"Origin": OWN} | ({} if token is None else {"X-CSRFToken": token})
    response = logged_in.post(PATH, headers=headers)
    assert response.status_code == 403
    assert b"ticket" not in response.content
    assert response["Cache-Control"] == "no-store"


def test_nobody_gets_no_ticket(browser, logged_in):
    client = Client()
    assert_refused(
        client.post(PATH, headers={"Origin": OWN}),
        401,
        "unauthenticated",
        "log in, or send a bearer token",
    )


@pytest.mark.parametrize("what", ["logged out", "deactivated", "password"])
def test_login_session_that_is_over_gets_no_ticket(logged_in, alice, what):
    if what == "logged out":
        logged_in.session.flush()
    elif what == "deactivated":
        type(alice).objects.update(is_active=False)
    else:
        alice.set_password("another")
        alice.save()
    response = logged_in.post(PATH, headers={"Origin": OWN, **logged_in.csrf})
    assert_refused(response, 401, "unauthenticated")


# -- bearer ----------------------------------------------------------------------------------------


def test_bearer_gets_a_ticket_without_a_csrf_token(browser, alice):
    headers = {"Origin": OWN, **bearer(make_token(alice.pk))}
    assert_ticket(browser.post(PATH, headers=headers), alice, OWN)


def test_ticket_ends_with_the_token(browser, alice):
    headers = {"Origin": OWN, **bearer(make_token(alice.pk, jti="planted", sid="login"))}
    identity = redeem_ticket(browser.post(PATH, headers=headers).json()["ticket"], OWN).identity
    assert identity.keys == {"token:planted", "family:login"}
    assert identity.expires_at is not None


@pytest.mark.parametrize(
    ("token", "code"),
    [("bad", "token_invalid"), ("", "token_invalid"), ("expired", "token_expired"),
     ("refresh", "token_invalid"), ("é", "token_invalid"), ("a b", "token_invalid")],
)  # fmt: skip
def test_bad_bearer_gets_none_even_with_a_good_login_session(logged_in, alice, token, code):
    if token == "expired":
        token = make_token(alice.pk, exp=1)
    elif token == "refresh":
        token = make_token(alice.pk, token_type="refresh")
    response = logged_in.post(PATH, headers={"Origin": OWN, **bearer(token), **logged_in.csrf})
    assert_refused(response, 401, code)


def test_bearer_counts_as_absent_on_a_site_without_tokens(logged_in, alice, settings):
    settings.CHANNELS_REALTIME = {"TOKEN_VERIFIER": None}
    headers = {"Origin": OWN, **bearer("bad")}
    assert logged_in.post(PATH, headers=headers).status_code == 403  # the session's CSRF token
    response = logged_in.post(PATH, headers={**headers, **logged_in.csrf})
    assert_ticket(response, alice, OWN)


def test_bearer_of_a_token_that_carries_all_gets_a_ticket(browser, settings):
    settings.CHANNELS_REALTIME = {"STATELESS_TOKENS": True}
    response = browser.post(PATH, headers={"Origin": OWN, **bearer(make_token(7, name="x"))})
    assert redeem_ticket(response.json()["ticket"], OWN).user.token["name"] == "x"


@pytest.mark.parametrize("where", ["?token={}", "?ticket={}", "?access={}"])
def test_token_in_the_address_gets_none(browser, alice, where):
    response = browser.post(PATH + where.format(make_token(alice.pk)), headers={"Origin": OWN})
    assert response.status_code in (401, 403)
    assert b'"ticket"' not in response.content


# -- origins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [FOREIGN, "null", "", "http://testserver:81", "https://testserver", "http://testserver.evil",
     f"{OWN}, {FOREIGN}", f"{OWN} ", "x" * 400],
)  # fmt: skip
def test_foreign_page_gets_none_and_cannot_read_the_answer(logged_in, alice, origin):
    headers = {"Origin": origin, **logged_in.csrf, **bearer(make_token(alice.pk))}
    response = logged_in.post(PATH, headers=headers)
    assert_refused(response, 403, "forbidden", "this origin may not request tickets")
    assert not [name for name in response.headers if name.startswith("Access-Control")]


def test_foreign_page_cannot_ask_first_either(browser):
    headers = {"Origin": FOREIGN, "Access-Control-Request-Method": "POST"}
    response = browser.options(PATH, headers=headers)
    assert response.status_code == 403
    assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("origin", [OWN, APP])
def test_allowed_page_may_read_the_answer(browser, alice, app_allowed, origin):
    headers = {"Origin": origin, **bearer(make_token(alice.pk))}
    response = browser.post(PATH, headers=headers)
    assert_ticket(response, alice, origin)
    assert response["Access-Control-Allow-Origin"] == origin
    assert response["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in response["Vary"]


def test_allowed_page_may_read_a_refusal(browser, app_allowed):
    response = browser.post(PATH, headers={"Origin": APP, **bearer("bad")})
    assert_refused(response, 401, "token_invalid")
    assert response["Access-Control-Allow-Origin"] == APP


def test_allowed_page_of_another_site_needs_a_csrf_token_for_a_session(logged_in, app_allowed):
    assert logged_in.post(PATH, headers={"Origin": APP}).status_code == 403
    assert logged_in.post(PATH, headers={"Origin": APP, **logged_in.csrf}).status_code == 200


def test_preflight_is_answered_for_allowed_pages(browser, app_allowed):
    headers = {
        "Origin": APP,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    response = browser.options(PATH, headers=headers)
    assert response.status_code == 204
    assert response.content == b""
    assert response["Access-Control-Allow-Origin"] == APP
    assert response["Access-Control-Allow-Methods"] == "POST"
    assert response["Access-Control-Allow-Credentials"] == "true"
    assert "authorization" in response["Access-Control-Allow-Headers"]
    assert "Origin" in response["Vary"]


def test_request_without_an_origin_is_refused_where_the_setting_says_so(logged_in, settings):
    settings.CHANNELS_REALTIME = {"ALLOW_MISSING_ORIGIN": False}
    assert_refused(logged_in.post(PATH, headers=logged_in.csrf), 403, "forbidden")


def test_ticket_of_one_page_opens_nothing_for_another(browser, alice, app_allowed):
    response = browser.post(PATH, headers={"Origin": APP, **bearer(make_token(alice.pk))})
    with pytest.raises(TokenInvalid, match="another origin"):
        redeem_ticket(response.json()["ticket"], OWN)


@pytest.mark.parametrize("proto", ["https", "wss"])
def test_page_on_https_gets_a_ticket_through_a_proxy_that_names_the_scheme(
    browser, alice, settings, proto
):
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    headers = {"Host": "testserver", "Origin": "https://testserver", "X-Forwarded-Proto": proto}
    response = browser.post(PATH, headers={**headers, **bearer(make_token(alice.pk))})
    assert_ticket(response, alice, "wss://testserver")


# -- methods ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_not_allowed(logged_in, alice, method):
    headers = {"Origin": OWN, **logged_in.csrf, **bearer(make_token(alice.pk))}
    response = logged_in.generic(method, PATH, headers=headers)
    assert response.status_code == 405
    assert response["Allow"] == "POST, OPTIONS"
    assert response["Cache-Control"] == "no-store"


def test_body_is_not_looked_at(browser, alice):
    headers = {"Origin": OWN, **bearer(make_token(alice.pk))}
    response = browser.post(PATH, b"\xff{", content_type="application/json", headers=headers)
    assert_ticket(response, alice, OWN)


def test_view_without_the_session_middleware_takes_bearers_alone(alice, settings, browser):
    settings.MIDDLEWARE = []
    assert browser.post(PATH, headers=bearer(make_token(alice.pk))).status_code == 200
    assert browser.post(PATH).status_code == 403
    response = Client().post(PATH)  # its CSRF check is off
    assert_refused(response, 401, "unauthenticated")


def test_session_engine_may_be_a_signed_cookie(settings, alice, logged_in):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    logged_in.cookies["sessionid"] = make_session(alice).session_key
    response = logged_in.post(PATH, headers={"Origin": OWN, **logged_in.csrf})
    assert_ticket(response, alice, OWN)


# -- the cache that remembers which were used ------------------------------------------------------

CACHES = "django.core.cache.backends"


@pytest.fixture
def shared_layer(settings):
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}
    }


@pytest.fixture
def cache_of(settings, tmp_path):
    def choose(backend: str) -> None:
        location = str(tmp_path)
        settings.CACHES = {"default": {"BACKEND": f"{CACHES}.{backend}", "LOCATION": location}}

    return choose


@pytest.mark.parametrize("backend", ["locmem.LocMemCache", "filebased.FileBasedCache"])
def test_view_issues_no_ticket_that_could_be_used_twice(
    browser, alice, shared_layer, cache_of, caplog, backend
):
    cache_of(backend)
    tickets._log_unfit_cache.cache_clear()
    for _ in range(2):
        response = browser.post(PATH, headers=bearer(make_token(alice.pk)))
        assert response.status_code == 503
        assert response.json() == {
            "code": "unavailable",
            "reason": "this site's cache cannot keep tickets",
        }
    [line] = [record.message for record in caplog.records if record.name.endswith("tickets")]
    assert line.startswith("No ticket is issued: CACHES['default'] is separate in each process")


@pytest.mark.parametrize(
    ("backend", "silenced"),
    [("db.DatabaseCache", []), ("locmem.LocMemCache", ["channels_realtime.E011"])],
)
def test_view_issues_tickets_with_a_shared_cache_or_where_the_check_is_silenced(
    browser, alice, shared_layer, cache_of, settings, backend, silenced
):
    cache_of(backend)
    settings.SILENCED_SYSTEM_CHECKS = silenced
    response = browser.post(PATH, headers=bearer(make_token(alice.pk)))
    assert (response.status_code, "ticket" in response.json()) == (200, True)
