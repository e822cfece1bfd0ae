from django.urls import path

from . import views

urlpatterns = [
    path("", views.break_it, name="break_it"),
    path("token/", views.get_token, name="get_token"),
    path("expire-token/", views.expire_token, name="expire_token"),
    path("restart/", views.restart_server, name="restart_server"),
]
