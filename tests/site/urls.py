from pathlib import Path

from django.urls import include, path
from django.views.static import serve

import channels_realtime

from . import node_state, views
from .kept.views import page as page_with_position

STATIC = Path(channels_realtime.__file__).parent / "static"

urlpatterns = [
    path("static/<path:path>", serve, {"document_root": STATIC}),
    path("", views.page),
    path("position/", page_with_position),
    path("login/", views.login),
    path("logout/", views.logout),
    path("state/", node_state.state),
    path("publish/", include("tests.site.publishing.urls")),
    path("", include("tests.site.members.urls")),
    path("realtime/", include("channels_realtime.urls")),
]
