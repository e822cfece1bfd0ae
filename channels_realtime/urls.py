"""Routes of the HTTP views: ``path("realtime/", include("channels_realtime.urls"))`` includes them."""

from __future__ import annotations

from django.urls import path

from .http.event_stream import sse
from .http.health import health, ready
from .http.polling import poll
from .http.tickets import ticket
from .http.upstream import send

app_name = "channels_realtime"
urlpatterns = [
    path("ticket/", ticket, name="ticket"),
    path("sse/", sse, name="sse"),
    path("send/", send, name="send"),
    path("poll/", poll, name="poll"),
    path("health/", health, name="health"),
    path("ready/", ready, name="ready"),
]
