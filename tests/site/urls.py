from django.urls import include, path

from . import node_state, views
from .kept.views import page as page_with_position

urlpatterns = [
    path("", views.page),
    path("position/", page_with_position),
    path("login/", views.login),
    path("logout/", views.logout),
    path("state/", node_state.state),
    path("publish/", include("tests.site.publishing.urls")),
    path("", include("tests.site.members.urls")),
    path("realtime/", include("channels_realtime.urls")),
]
