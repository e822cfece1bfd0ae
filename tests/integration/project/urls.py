from django.urls import include, path

from . import views

urlpatterns = [
    path("realtime/", include("channels_realtime.urls")),
    path("login/", views.login),
    path("publish/sync/", views.publish_sync),
    path("publish/async/", views.publish_async),
    path("publish/transaction/", views.publish_in_transaction),
    path("publish/rollback/", views.publish_and_roll_back),
    path("publish/at-once/", views.publish_at_once),
    path("state/", views.state),
    path("insides/", views.insides),
]
