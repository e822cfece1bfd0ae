"""Custom admin sites with the pages of channels and nodes, and readers of these pages."""

from __future__ import annotations

import datetime
import re
from html.parser import HTMLParser

from django.contrib import admin
from django.contrib.messages import get_messages
from django.db.models.functions import Now
from django.urls import path, reverse

from channels_realtime.admin.channels import ChannelsAdmin
from channels_realtime.admin.nodes import NodesAdmin
from channels_realtime.models import ConnectionRecord, NodeRecord, SubscriptionRecord
from channels_realtime.operations import ChannelReport


def make_site(name, *, with_connections=True):
    """A custom admin site."""
    site = admin.AdminSite(name=name)
    site.register(SubscriptionRecord, ChannelsAdmin)
    site.register(NodeRecord, NodesAdmin)
    if with_connections:
        site.register(ConnectionRecord)
    return site


urlpatterns = [
    path("staff/", make_site("staff").urls),
    path("small/", make_site("small", with_connections=False).urls),
    path("admin/", admin.site.urls),  # the package's own registration
]


def url(name, *args, site="staff"):
    return reverse(f"admin:channels_realtime_{name}", args=args, current_app=site)


CHANNELS = "subscriptionrecord_changelist"
PUBLISH = "subscriptionrecord_publish"
PURGE = "subscriptionrecord_purge"
NODES = "noderecord_changelist"
DRAIN = "noderecord_drain"

NO_NODES = (
    "No nodes. A node appears with the first connection of its server, and disappears when its"
    " lease expires."
)

GRANTS = [
    ("view_subscriptionrecord", CHANNELS, []),
    ("publish_message", PUBLISH, []),
    ("view_noderecord", NODES, []),
    ("drain_node", DRAIN, ["a"]),
]
"""Each page with the permission that it needs, and its arguments."""

HOSTILE = "<script>alert(1)</script>\"'\u202e" + "x" * 10_000


def a_node(node_id, host="web-1", pid=4711, *, lease=20.0, **fields):
    """A row with a lease that expires in so many seconds."""
    return NodeRecord.objects.create(
        id=node_id,
        host=host,
        pid=pid,
        server=fields.pop("server", "daphne"),
        version="1.2.3",
        started_at=datetime.datetime(2026, 3, 1, 9, 30, tzinfo=datetime.UTC),
        lease_until=Now() + datetime.timedelta(seconds=lease),
        **fields,
    )


def channel(name, rate=0.0, **by_node):
    return ChannelReport(name=name, subscribers=sum(by_node.values()), by_node=by_node, rate=rate)


def an_answer(**changed):
    return {
        "connections": 1500,
        "channels": 1200,
        "draining": False,
        "uptime": 60.0,
        "messages_in_rate": 12.34,
        "messages_out_rate": 4321.0,
        "connect_rate": 0.0,
        "loop_lag": 0.0125,
        "memory": 64 * 1024 * 1024,
        "refused": 0,
        "revoked": 0,
        "slow": 0,
        "throttled": 0,
        "dropped": 0,
        "failures": 0,
        "history_failing": False,
        **changed,
    }


class Text(HTMLParser):
    """The words of a page's content, and the cells of its table."""

    def __init__(self, document):
        super().__init__()
        self.words = []
        self.rows = []
        self.cell = None
        self.feed(document)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.cell = []
            self.rows[-1].append(self.cell)

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data):
        self.words.append(data)
        if self.cell is not None:
            self.cell.append(data)


def main_of(response):
    """The content of the page, without the frame of the admin."""
    document = response.content.decode()
    return document[document.index('<div id="content-main">') : document.index("</main>")]


def text_of(response):
    """The words of the content, without those about its refreshing."""
    document = re.sub(
        r'<div class="realtime-live".*?</div>|<p class="realtime-as-of">.*?</p>',
        "",
        main_of(response),
        flags=re.DOTALL,
    )
    return " ".join("".join(Text(document).words).split())


def table_of(response):
    rows = Text(main_of(response)).rows
    return [[" ".join("".join(cell).split()) for cell in row] for row in rows]


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]
