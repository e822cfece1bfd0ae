"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class RealtimeConfig(AppConfig):
    """Registers the system checks and imports each app's ``realtime.py``."""

    name = "channels_realtime"
    verbose_name = _("Realtime")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Called by Django when all models are loaded."""
        from . import checks  # noqa: F401  # registers itself; needs loaded apps
        from .auth import receivers  # models again
        from .channels import autodiscover, registry  # a site's realtime.py imports models
        from .http import lost_handshakes  # with them
        from .monitoring import feed  # with them

        registry.register(feed.CHANNEL, feed.ConnectionsChanged)
        autodiscover()
        receivers.connect()
        lost_handshakes.connect()
