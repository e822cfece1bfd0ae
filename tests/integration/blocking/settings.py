"""The settings of ``tests.integration.members``, behind a proxy that says where clients come from."""

from tests.integration.members.settings import *  # noqa: F403
from tests.integration.members.settings import CHANNELS_REALTIME

ROOT_URLCONF = "tests.integration.blocking.urls"
CHANNELS_REALTIME = {
    "ALLOW_ANONYMOUS": True,
    "TRUSTED_PROXIES": ["127.0.0.1"],
    "CLIENT_ADDRESS_HEADER": "X-Forwarded-For",
    **CHANNELS_REALTIME,
}
