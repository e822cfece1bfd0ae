from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path
from rest_framework_simplejwt.views import (
    TokenBlacklistView,
    TokenObtainPairView,
    TokenRefreshView,
)

urlpatterns = [
    path("", include("demo.urls")),
    path("rooms/", include("rooms.urls")),
    path("boards/", include("boards.urls")),
    path("host/", include("host_metrics.urls")),
    path("stocks/", include("stocks.urls")),
    path("guestbook/", include("guestbook.urls")),
    path("break/", include("break_it.urls")),
    path("accounts/login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("api/token/", TokenObtainPairView.as_view(), name="token_obtain_pair"),
    path("api/token/refresh/", TokenRefreshView.as_view(), name="token_refresh"),
    path("api/token/blacklist/", TokenBlacklistView.as_view(), name="token_blacklist"),
    path("realtime/", include("channels_realtime.urls")),
    path("admin/", admin.site.urls),
]
