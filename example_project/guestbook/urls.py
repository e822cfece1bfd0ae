from django.urls import path

from . import views

urlpatterns = [
    path("", views.guestbook, name="guestbook"),
    path("summary/", views.summary, name="guestbook_summary"),
    path("sign/", views.sign, name="sign_guestbook"),
]
