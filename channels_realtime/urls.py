"""The library's HTTP views; include them as ``path("realtime/", include("channels_realtime.urls"))``."""

from __future__ import annotations

from django.urls import path

from .http.health import health, ready
from .http.tickets import ticket

app_name = "channels_realtime"
urlpatterns = [
    path("ticket/", ticket, name="ticket"),
    path("health/", health, name="health"),
    path("ready/", ready, name="ready"),
]
