from django.urls import path

from . import views

urlpatterns = [path("", views.host_metrics, name="host")]
