"""What the staff do, beside what the members do."""

from channels_realtime import operations
from tests.integration.members.urls import urlpatterns  # noqa: F401
from tests.integration.members.views import action


@action
def block(request, seconds, **who):
    return operations.block(seconds=float(seconds), **who).pk


@action
def unblock(request, pk):
    return operations.unblock([pk])
