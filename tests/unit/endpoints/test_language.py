"""The language in which a connection's hooks run."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.utils import translation
from django.utils.translation import gettext, gettext_lazy

from channels_realtime import Channel, action
from channels_realtime.channels import registry as routes
from tests.support.asgi_socket import AsgiSocket

REQUIRED = "This field is required."  # Django's own, translated to every language
GERMAN = "Dieses Feld ist zwingend erforderlich."
FRENCH = "Ce champ est obligatoire."


class Form(Channel):
    def can_subscribe(self, connection):
        raise PermissionDenied(gettext(REQUIRED))

    def can_publish(self, connection):
        return True

    def can_call(self, connection, method):
        return True

    async def on_publish(self, connection, payload, event):
        raise ValidationError(gettext_lazy(REQUIRED))

    @action
    def send(self, connection, payload):
        raise ValidationError(gettext_lazy(REQUIRED))

    @action
    async def language(self, connection, payload):
        return translation.get_language()


@pytest.fixture(autouse=True)
def _routes(realtime):
    realtime(ALLOW_ANONYMOUS=True)
    routes.register("language/form", Form)
    yield
    routes.unregister("language/form")


def accepts(languages: str) -> tuple[bytes, bytes]:
    return (b"accept-language", languages.encode())


def cookie(language: str) -> tuple[bytes, bytes]:
    return (b"cookie", f"other=x; django_language={language}".encode())


async def answers(application, *headers) -> dict[str, str]:
    """The reason of each kind of request that a hook refuses."""
    requests = {
        "subscribe": {},
        "publish": {"payload": 1},
        "call": {"method": "send"},
    }
    async with AsgiSocket(application, headers=[*headers]) as socket:
        await socket.expect("welcome")
        found = {}
        for kind, fields in requests.items():
            request = {"type": kind, "channel": "language/form", "id": kind, **fields}
            found[kind] = (await socket.ask(request))["payload"]["reason"]
    return found


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ((), REQUIRED),
        ((accepts("de"),), GERMAN),
        ((accepts("de-AT, en;q=0.5"),), GERMAN),
        ((accepts("xx, fr;q=0.9, de;q=0.8"),), FRENCH),
        ((accepts("*"),), REQUIRED),
        ((accepts(",;q=\u00e9"),), REQUIRED),
        ((cookie("fr"), accepts("de")), FRENCH),
        ((cookie("nope"), accepts("de")), GERMAN),
    ],
)
async def test_errors_of_hooks_are_in_the_language_of_the_connection(application, headers, reason):
    assert set((await answers(application, *headers)).values()) == {reason}


@pytest.mark.parametrize("threads", [0, 2])
async def test_connections_do_not_share_their_language(application, realtime, threads):
    realtime(HOOK_THREADS=threads)
    german = AsgiSocket(application, headers=[accepts("de")])
    french = AsgiSocket(application, headers=[accepts("fr")])
    request = {"type": "call", "channel": "language/form", "id": 1}
    async with german, french:
        for socket in (german, french):
            await socket.expect("welcome")
        for socket, reason, language in ((french, FRENCH, "fr"), (german, GERMAN, "de")) * 2:
            reply = await socket.ask({**request, "method": "send"})
            assert reply["payload"]["reason"] == reason
            reply = await socket.ask({**request, "method": "language"})
            assert reply["payload"] == language
    assert translation.get_language() == "en-us"


async def test_site_of_one_language_keeps_it(application, settings):
    settings.MIDDLEWARE = [each for each in settings.MIDDLEWARE if "LocaleMiddleware" not in each]
    assert set((await answers(application, accepts("de"))).values()) == {REQUIRED}


async def test_only_languages_of_the_site_are_spoken(application, settings):
    settings.LANGUAGES = [("en", "English"), ("fr", "French")]
    assert set((await answers(application, accepts("de, fr;q=0.5"))).values()) == {FRENCH}
