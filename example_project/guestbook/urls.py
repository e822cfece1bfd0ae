from django.urls import path

from . import views

urlpatterns = [
    path("", views.guestbook, name="guestbook"),
    path("sign/", views.sign, name="sign_guestbook"),
]
