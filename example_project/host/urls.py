from django.urls import path

from . import views

urlpatterns = [path("", views.host_detail, name="host")]
