"""Staff of a custom admin site, and nodes that answer what a test says."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User

from channels_realtime import operations
from channels_realtime.models import NodeRecord
from channels_realtime.operations import ChannelsReport, NodeReport
from tests.unit.admin.pages import own_site


@pytest.fixture(autouse=True)
def urls(settings):
    settings.ROOT_URLCONF = own_site.__name__


@pytest.fixture
def staff(client):
    """Signs in staff with just these permissions."""

    def sign_in(*permissions):
        user = User.objects.create_user("maria", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        assert user.user_permissions.count() == len(permissions)
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def live(monkeypatch):
    """Answers ``operations.live_channels``, and records its arguments."""

    class Live:
        report = ChannelsReport(channels=[], total=0, silent=())
        error = None
        asked = None

        def __call__(self, **arguments):
            self.asked = arguments
            if self.error is not None:
                raise self.error
            return self.report

        def holds(self, *channels, total=None, silent=()):
            self.report = ChannelsReport(
                channels=list(channels),
                total=len(channels) if total is None else total,
                silent=silent,
            )

    live = Live()
    monkeypatch.setattr(operations, "live_channels", live)
    return live


@pytest.fixture
def nodes(monkeypatch):
    """Answers ``operations.nodes`` with these nodes."""

    def answer(*answers):
        reports = [
            NodeReport(record=NodeRecord.objects.get(pk=record.pk), answer=answer)
            for record, answer in answers
        ]
        monkeypatch.setattr(operations, "nodes", lambda: reports)

    return answer
