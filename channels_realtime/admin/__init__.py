"""The package in Django's admin: pages of connections, channels, nodes and blocks, and an overview.

``django.contrib.admin`` imports it where it is installed. A site with an admin site of its own calls
``register``.
"""

from __future__ import annotations

from django.contrib import admin

from ..models import (
    BlockRecord,
    ConnectionRecord,
    EndedConnectionRecord,
    NodeRecord,
    SampleRecord,
    SubscriptionRecord,
)
from .blocks import BlockRecordAdmin
from .channels import ChannelsAdmin
from .connections import ConnectionAdmin
from .ended import EndedConnectionAdmin
from .nodes import NodesAdmin
from .overview import OverviewAdmin


def register(site: admin.AdminSite) -> None:
    """Add the pages to an admin site."""
    site.register(ConnectionRecord, ConnectionAdmin)
    site.register(EndedConnectionRecord, EndedConnectionAdmin)
    site.register(SubscriptionRecord, ChannelsAdmin)
    site.register(NodeRecord, NodesAdmin)
    site.register(SampleRecord, OverviewAdmin)
    site.register(BlockRecord, BlockRecordAdmin)


register(admin.site)
