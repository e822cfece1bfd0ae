from django.urls import path

from . import views

urlpatterns = [
    path("", views.break_it, name="break_it"),
    path("end-login/", views.end_login, name="end_login"),
    path("restart/", views.restart_server, name="restart_server"),
]
