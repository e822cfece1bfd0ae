from django.conf import settings
from django.http import HttpRequest

from .accounts import NAMES, demo_accounts_exist


def demo(request: HttpRequest) -> dict[str, object]:
    """For every page: the warning about the accounts, and the kind of channel layer."""
    return {
        "demo_account_names": NAMES if demo_accounts_exist() else (),
        "has_shared_layer": bool(settings.REDIS_URL),
    }
