"""Routes of the HTTP views: ``path("realtime/", include("channels_realtime.urls"))`` includes them."""

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
