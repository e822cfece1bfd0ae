from django.urls import path

from . import views

urlpatterns = [
    path("sync/", views.publish_sync),
    path("async/", views.publish_async),
    path("html/", views.publish_fragment),
    path("transaction/", views.publish_in_transaction),
    path("rollback/", views.publish_and_roll_back),
    path("at-once/", views.publish_at_once),
]
