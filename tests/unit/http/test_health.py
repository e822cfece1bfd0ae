"""The views that load balancers and Kubernetes ask."""

from __future__ import annotations

import asyncio
import json

import pytest
from channels.layers import get_channel_layer
from django.http import HttpRequest
from django.test import Client, RequestFactory, override_settings
from django.urls import include, path, reverse

from channels_realtime.http.health import health, ready
from channels_realtime.nodes.breaker import breaker_of
from channels_realtime.nodes.store_requests import HISTORY
from channels_realtime.nodes.stores import stores_of
from channels_realtime.services import current_node
from channels_realtime.settings import get_config

urlpatterns = [path("realtime/", include("channels_realtime.urls"))]


@pytest.fixture
async def node():
    yield current_node()
    await current_node().stop()


def request(method: str = "GET") -> HttpRequest:
    return RequestFactory().generic(method, "/")


def body(response) -> dict:
    return json.loads(response.content)


def test_process_without_a_node_is_healthy_and_ready():
    assert body(health(request())) == {"status": "ok", "node": None}
    answer = ready(request())
    assert (answer.status_code, body(answer)) == (200, {"status": "ready"})


def test_health_names_a_channel_layer_that_fails():
    breaker = breaker_of(get_channel_layer())
    breaker.failed(1.0, 5.0, 5.0)
    try:
        answer = health(request())
        assert answer.status_code == 200  # a restart would not mend it
        assert body(answer) == {"status": "ok", "node": None, "channel_layer": "failing"}
    finally:
        breaker.sent()
    assert body(health(request())) == {"status": "ok", "node": None}


@pytest.mark.parametrize("kind", ["history", "inboxes", "presence", "sessions"])
def test_health_names_a_store_that_fails(kind):
    stores = stores_of(get_channel_layer(), get_config())
    breaker = breaker_of(getattr(stores, kind), HISTORY)
    breaker.failed(1.0, 0.0, 5.0)
    try:
        answer = health(request())
        assert answer.status_code == 200
        assert body(answer) == {"status": "ok", "node": None, kind: "failing"}
    finally:
        breaker.sent()
    assert body(health(request())) == {"status": "ok", "node": None}


async def test_health_names_the_node(node):
    assert body(health(request())) == {"status": "ok", "node": node.id}


async def test_views_find_the_node_from_the_thread_of_a_request(node):
    answer = await asyncio.to_thread(health, request())
    assert body(answer)["node"] == node.id


async def test_readiness_is_503_from_the_moment_the_drain_begins(node):
    assert ready(request()).status_code == 200
    task = node.drain.begin()
    answer = ready(request())
    assert (answer.status_code, body(answer)) == (503, {"status": "draining"})
    assert health(request()).status_code == 200  # it lives: nobody should kill it for leaving
    await task
    assert ready(request()).status_code == 503


@pytest.mark.parametrize("view", [health, ready])
def test_answers_are_never_cached_and_nothing_is_posted(view):
    assert "no-store" in view(request())["Cache-Control"]
    assert view(request("HEAD")).status_code == 200
    assert view(request("POST")).status_code == 405


@override_settings(ROOT_URLCONF=__name__)
def test_views_have_urls():
    assert reverse("channels_realtime:health") == "/realtime/health/"
    assert reverse("channels_realtime:ready") == "/realtime/ready/"


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/realtime/health/", 200, {"status": "ok", "node": None}),
        ("GET", "/realtime/ready/", 200, {"status": "ready"}),
        ("HEAD", "/realtime/ready/", 200, None),
        ("POST", "/realtime/ready/", 405, None),
        ("OPTIONS", "/realtime/ticket/", 204, None),
        (
            "POST",
            "/realtime/ticket/",
            401,
            {"code": "unauthenticated", "reason": "log in, or send a bearer token"},
        ),
    ],
)
def test_views_answer_themselves_behind_the_login_required_middleware(
    settings, method, path, status, said
):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    answer = Client().generic(method, path)
    assert answer.status_code == status
    if said is not None:
        assert body(answer) == said
