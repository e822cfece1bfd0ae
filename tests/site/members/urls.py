from django.urls import path
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer
from rest_framework_simplejwt.views import (
    TokenBlacklistView,
    TokenObtainPairView,
    TokenRefreshView,
)

from . import views

stock = TokenObtainPairView.as_view(serializer_class=TokenObtainPairSerializer)

urlpatterns = [
    path("do/<str:what>/", views.do),
    path("api/token/", TokenObtainPairView.as_view()),
    path("api/token/stock/", stock),
    path("api/token/refresh/", TokenRefreshView.as_view()),
    path("api/token/blacklist/", TokenBlacklistView.as_view()),
]
