"""The admin's pages of channels and nodes, in an admin site of a site's own."""

from __future__ import annotations

import datetime
import json
import re
from html.parser import HTMLParser

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.db.models.functions import Now
from django.test import Client
from django.urls import path, reverse
from django.utils import timezone, translation

from channels_realtime import operations
from channels_realtime.admin import pages
from channels_realtime.errors import (
    BadChannel,
    BadPayload,
    ImproperUse,
    TooLarge,
    Unavailable,
    UnknownChannel,
)
from channels_realtime.models import ConnectionRecord, NodeRecord, SubscriptionRecord
from channels_realtime.operations import ChannelReport, ChannelsReport, NodeReport
from channels_realtime.testing import capture_publications

pytestmark = pytest.mark.django_db


class Channels(admin.ModelAdmin):
    """Wired as the package's own."""

    def changelist_view(self, request, extra_context=None):
        return pages.channels_view(request, self.admin_site)

    def publish_view(self, request):
        return pages.publish_view(request, self.admin_site)

    def get_urls(self):
        view = self.admin_site.admin_view(self.publish_view)
        name = "channels_realtime_subscriptionrecord_publish"
        return [path("publish/", view, name=name), *super().get_urls()]


class Nodes(admin.ModelAdmin):
    """Wired as the package's own."""

    def changelist_view(self, request, extra_context=None):
        return pages.nodes_view(request, self.admin_site)

    def drain_view(self, request, node_id):
        return pages.drain_view(request, self.admin_site, node_id)

    def get_urls(self):
        view = self.admin_site.admin_view(self.drain_view)
        name = "channels_realtime_noderecord_drain"
        return [path("<path:node_id>/drain/", view, name=name), *super().get_urls()]


def a_site(name, *, with_connections=True):
    """An admin site of a site's own."""
    site = admin.AdminSite(name=name)
    site.register(SubscriptionRecord, Channels)
    site.register(NodeRecord, Nodes)
    if with_connections:
        site.register(ConnectionRecord)
    return site


staff_site = a_site("staff")
small_site = a_site("small", with_connections=False)
urlpatterns = [
    path("staff/", staff_site.urls),
    path("small/", small_site.urls),
    path("admin/", admin.site.urls),  # the package's own wiring
]


@pytest.fixture(autouse=True)
def urls(settings):
    settings.ROOT_URLCONF = __name__


def url(name, *args, site="staff"):
    return reverse(f"admin:channels_realtime_{name}", args=args, current_app=site)


CHANNELS = "subscriptionrecord_changelist"
PUBLISH = "subscriptionrecord_publish"
NODES = "noderecord_changelist"
DRAIN = "noderecord_drain"


@pytest.fixture
def staff(client):
    """Signs a member of the staff in, with just these permissions."""

    def sign_in(*permissions):
        user = User.objects.create_user("maria", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        assert user.user_permissions.count() == len(permissions)
        client.force_login(user)
        return client

    return sign_in


def a_node(node_id, host="web-1", pid=4711, *, lease=20.0, **fields):
    """A row whose lease holds for so many seconds."""
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


@pytest.fixture
def live(monkeypatch):
    """What ``operations.live_channels`` answers, and what it was asked."""

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


def channel(name, rate=0.0, **by_node):
    return ChannelReport(name=name, subscribers=sum(by_node.values()), by_node=by_node, rate=rate)


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
    """The part of the page that is ours."""
    document = response.content.decode()
    return document[document.index('<div id="content-main">') : document.index("</main>")]


def text_of(response):
    return " ".join("".join(Text(main_of(response)).words).split())


def table_of(response):
    rows = Text(main_of(response)).rows
    return [[" ".join("".join(cell).split()) for cell in row] for row in rows]


def said(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


# -- who may ---------------------------------------------------------------------------------------

GRANTS = [
    ("view_subscriptionrecord", CHANNELS, []),
    ("publish_message", PUBLISH, []),
    ("view_noderecord", NODES, []),
    ("drain_node", DRAIN, ["a"]),
]
OTHERS = [
    "view_connectionrecord",
    "act_on_connection",
    "trace_connection",
    "view_samplerecord",
    "view_blockrecord",
]


@pytest.mark.parametrize(("permission", "name", "arguments"), GRANTS)
def test_page_opens_with_its_one_permission(staff, live, nodes, permission, name, arguments):
    nodes((a_node("a"), an_answer()))
    assert staff(permission).get(url(name, *arguments)).status_code == 200


@pytest.mark.parametrize(("permission", "name", "arguments"), GRANTS)
def test_package_wires_the_page(staff, live, nodes, permission, name, arguments):
    nodes((a_node("a"), an_answer()))
    response = staff(permission).get(url(name, *arguments, site="admin"))
    assert response.status_code == 200
    assert "/staff/" not in response.content.decode()


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(("permission", "name", "arguments"), GRANTS)
def test_page_is_forbidden_with_every_other_permission(
    staff, live, monkeypatch, method, permission, name, arguments
):
    monkeypatch.setattr(operations, "drain", lambda node_id: pytest.fail("drained"))
    monkeypatch.setattr(operations, "publish_test", lambda *a, **k: pytest.fail("published"))
    a_node("a")
    others = [other for other, _, _ in GRANTS if other != permission] + OTHERS
    response = getattr(staff(*others), method)(url(name, *arguments))
    assert response.status_code == 403
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize(("permission", "name", "arguments"), GRANTS)
def test_page_asks_strangers_to_sign_in(client, permission, name, arguments):
    response = client.get(url(name, *arguments))
    assert response.status_code == 302
    assert response.url.startswith("/staff/login/")


@pytest.mark.parametrize("name", [CHANNELS, NODES])
def test_page_that_only_shows_takes_no_post(staff, live, name):
    client = staff("view_subscriptionrecord", "view_noderecord")
    assert client.post(url(name)).status_code == 405


@pytest.mark.parametrize(("name", "arguments"), [(PUBLISH, []), (DRAIN, ["a"])])
def test_post_without_its_csrf_token_is_refused(staff, name, arguments, monkeypatch):
    monkeypatch.setattr(operations, "drain", lambda node_id: pytest.fail("drained"))
    a_node("a")
    staff("publish_message", "drain_node")
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.get(username="maria"))
    assert client.post(url(name, *arguments)).status_code == 403


# -- channels --------------------------------------------------------------------------------------


def test_channels_are_shown_with_subscribers_by_node_and_rate(staff, live):
    a_node("a", "web-1", 11)
    a_node("b", "web-2", 22)
    live.holds(channel("orders/42", 0.25, a=1200, b=34), channel("news", 12.0, b=3))
    response = staff("view_subscriptionrecord").get(url(CHANNELS))
    assert table_of(response) == [
        ["Channel", "Subscribers", "By node", "Publications per second"],
        ["orders/42", "1,234", "web-1:11: 1,200web-2:22: 34", "0.3"],
        ["news", "3", "web-2:22: 3", "12"],
    ]
    assert "2 channels, 1,237 subscriptions" in text_of(response)


def test_channels_name_a_node_by_its_id_when_it_came_just_now(staff, live):
    a_node("a")
    live.holds(channel("news", a=1, c0ffee00c0ffee00=1))
    response = staff("view_subscriptionrecord").get(url(CHANNELS))
    assert table_of(response)[1][2] == "c0ffee00: 1web-1:4711: 1"


def test_channels_lead_to_their_connections_where_these_may_be_seen(staff, live):
    a_node("a")
    live.holds(channel("orders/4=2", a=7))
    client = staff("view_subscriptionrecord", "view_connectionrecord")
    link = f'href="{url("connectionrecord_changelist")}?channel=orders%2F4%3D2"'
    assert link in main_of(client.get(url(CHANNELS)))


def test_channels_lead_nowhere_where_connections_may_not_be_seen(staff, live):
    a_node("a")
    live.holds(channel("news", a=7))
    document = main_of(staff("view_subscriptionrecord").get(url(CHANNELS)))
    assert "connectionrecord" not in document
    assert "publish" not in document


def test_channels_lead_nowhere_in_a_site_without_connections(staff, live):
    a_node("a")
    live.holds(channel("news", a=7))
    client = staff("view_subscriptionrecord", "view_connectionrecord")
    response = client.get(url(CHANNELS, site="small"))
    assert table_of(response)[1][1] == "7"


def test_nodes_lead_to_their_connections_where_these_may_be_seen(staff, nodes):
    nodes((a_node("c0ffee"), an_answer()))
    client = staff("view_noderecord", "view_connectionrecord")
    link = f'href="{url("connectionrecord_changelist")}?process=c0ffee"'
    assert link in main_of(client.get(url(NODES)))


def test_channels_stay_in_their_own_admin_site(staff, live):
    a_node("a")
    live.holds(channel("news", a=7))
    client = staff("view_subscriptionrecord", "publish_message")
    document = client.get(url(CHANNELS, site="small")).content.decode()
    assert "/staff/" not in document
    assert 'href="/small/channels_realtime/subscriptionrecord/publish/?channel=news"' in document


def test_channels_offer_to_publish_where_that_is_permitted(staff, live):
    a_node("a")
    live.holds(channel("news", a=7))
    response = staff("view_subscriptionrecord", "publish_message").get(url(CHANNELS))
    assert table_of(response)[0][-1] == "Actions"
    assert table_of(response)[1][-1] == "Publish news"
    assert f'href="{url(PUBLISH)}"' in main_of(response)


def test_channels_are_searched_by_name(staff, live):
    a_node("a")
    live.holds(channel("orders/42", a=7))
    response = staff("view_subscriptionrecord").get(url(CHANNELS), {"q": " Orders "})
    assert live.asked == {"search": "Orders", "limit": 200}
    assert 'value="Orders"' in main_of(response)
    assert "Show all" in text_of(response)


def test_channels_say_how_many_are_shown_of_how_many(staff, live):
    a_node("a")
    live.holds(channel("news", a=2), channel("orders/1", a=1), total=1234)
    text = text_of(staff("view_subscriptionrecord").get(url(CHANNELS)))
    assert (
        "The 2 channels with the most subscribers are shown, of 1,234. Search for others." in text
    )


def test_channels_say_that_there_may_be_more_with_several_nodes(staff, live):
    a_node("a")
    a_node("b", pid=2)
    live.holds(channel("news", a=2), channel("orders/1", a=1), total=1234)
    text = text_of(staff("view_subscriptionrecord").get(url(CHANNELS)))
    assert "are shown, of 1,234 or more. Search for others." in text


def test_channels_name_the_nodes_that_did_not_answer(staff, live):
    a_node("a", "web-1", 1)
    a_node("b", "web-2", 2)
    a_node("c", "web-3", 3)
    live.holds(channel("news", a=2), silent=("b",))
    text = text_of(staff("view_subscriptionrecord").get(url(CHANNELS)))
    assert "2 of 3 servers answered. No answer came from: web-2:2" in text


def test_channels_are_unknown_when_no_node_answers(staff, live):
    a_node("a", "web-1", 1)
    live.holds(silent=("a",))
    text = text_of(staff("view_subscriptionrecord").get(url(CHANNELS)))
    assert "0 of 1 server answered. No answer came from: web-1:1" in text
    assert "Nothing is known of channels until a server answers." in text


def test_channels_say_so_when_there_is_no_node(staff, live):
    a_node("a", lease=-5.0)
    text = text_of(staff("view_subscriptionrecord").get(url(CHANNELS)))
    assert "No server has had a connection yet, or their leases have run out." in text


def test_channels_say_so_when_nobody_is_subscribed(staff, live):
    a_node("a")
    text = text_of(staff("view_subscriptionrecord").get(url(CHANNELS)))
    assert "No channel has a subscriber now." in text


def test_channels_say_so_when_a_search_finds_nothing(staff, live):
    a_node("a")
    text = text_of(staff("view_subscriptionrecord").get(url(CHANNELS), {"q": "x<y\u202e"}))
    assert "No channel with a subscriber has this in its name: x<y⟨U+202E⟩" in text


def test_channels_say_so_when_the_layer_is_away(staff, live):
    a_node("a")
    live.error = Unavailable("the channel layer did not take it: ConnectionError")
    response = staff("view_subscriptionrecord").get(url(CHANNELS))
    assert response.status_code == 200
    assert (
        "The channel layer cannot be reached, so that no server can be asked:"
        " the channel layer did not take it: ConnectionError"
    ) in text_of(response)


HOSTILE = "<script>alert(1)</script>\"'\u202e" + "x" * 10_000


def test_channels_show_hostile_text_as_text(staff, live):
    a_node("a", host=HOSTILE[:200])
    live.holds(channel(HOSTILE, a=1))
    client = staff("view_subscriptionrecord", "view_connectionrecord", "publish_message")
    document = main_of(client.get(url(CHANNELS), {"q": HOSTILE}))
    assert "<script>" not in document
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;⟨U+202E⟩" in document
    assert len(live.asked["search"]) <= 201


def test_channels_need_a_constant_number_of_queries(staff, live, django_assert_max_num_queries):
    client = staff("view_subscriptionrecord", "view_connectionrecord", "publish_message")
    for number in range(20):
        a_node(f"n{number}", pid=number)
    live.holds(*(channel(f"c{number}", n1=1, n2=2) for number in range(200)))
    with django_assert_max_num_queries(5):  # session, user, two of permissions, nodes
        assert client.get(url(CHANNELS)).status_code == 200


# -- publishing ------------------------------------------------------------------------------------


@pytest.fixture
def refusing(monkeypatch):
    """Has publishing raise."""

    def refuse(error):
        def publish_test(*arguments, **options):
            raise error

        monkeypatch.setattr(operations, "publish_test", publish_test)

    return refuse


def test_publish_form_begins_with_the_channel_of_its_link(staff):
    response = staff("publish_message").get(url(PUBLISH), {"channel": 'orders/"42'})
    assert 'value="orders/&quot;42"' in main_of(response)


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ('{"status": "paid"}', {"status": "paid"}),
        (" [1, 2.5]\n", [1, 2.5]),
        ('"hello"', "hello"),
        ("null", None),
        ("{}", {}),
        ("0", 0),
        ("false", False),
    ],
)
def test_publish_sends_the_payload(staff, text, payload):
    client = staff("publish_message")
    with capture_publications() as captured:
        client.post(url(PUBLISH), {"channel": "public/news", "payload": text})
    assert [(p.channel, p.payload, p.event) for p in captured] == [("public/news", payload, None)]


def test_publish_sends_the_event(staff):
    client = staff("publish_message")
    with capture_publications() as captured:
        client.post(url(PUBLISH), {"channel": "public/news", "event": "paid", "payload": "1"})
    assert [p.event for p in captured] == ["paid"]


def test_publish_says_so_and_leads_back_to_the_channels(staff, live):
    client = staff("publish_message", "view_subscriptionrecord")
    with capture_publications():
        response = client.post(url(PUBLISH), {"channel": "public/news", "payload": "1"})
    assert (response.status_code, response.url) == (302, url(CHANNELS))
    assert said(response) == ["Published to public/news."]


def test_publish_stays_where_the_channels_may_not_be_seen(staff):
    client = staff("publish_message")
    there = url(PUBLISH) + "?channel=public/news"
    with capture_publications():
        response = client.post(there, {"channel": "public/news", "payload": "1"})
    assert (response.status_code, response.url) == (302, there)
    assert "Published to public/news." in client.get(there).content.decode()


def test_publish_is_logged_without_its_payload(staff):
    client = staff("publish_message")
    with capture_publications():
        client.post(
            url(PUBLISH), {"channel": "public/news", "event": "paid", "payload": '"secret"'}
        )
    entry = LogEntry.objects.get()
    assert entry.user.username == "maria"
    assert entry.content_type.model_class() is SubscriptionRecord
    assert entry.object_repr == "public/news"
    assert entry.change_message == "Published a test message with the event paid."
    assert entry.get_admin_url() is None


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "This field is required."),
        ("hello", "This is not JSON: Expecting value in line 1, column 1."),
        ('{"a": 1\n "b"}', "Expecting ',' delimiter in line 2, column 2."),
        (
            "[" * 100_000,
            "This JSON cannot be read: a number is too long, or it is nested too deeply.",
        ),
        (
            "1" * 5_000,
            "This JSON cannot be read: a number is too long, or it is nested too deeply.",
        ),
    ],
    ids=["empty", "word", "second line", "deep", "long number"],
)
def test_publish_refuses_what_is_not_json(staff, text, error):
    client = staff("publish_message")
    with capture_publications() as captured:
        response = client.post(url(PUBLISH), {"channel": "public/news", "payload": text})
    assert len(captured) == 0
    assert response.status_code == 200
    [shown] = response.context["form"].errors["payload"]
    assert shown.endswith(error)
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize(
    ("channel_name", "payload", "field", "reason"),
    [
        ("nowhere/1", "1", "channel", "channel 'nowhere/1' matches no registered route"),
        ("no good", "1", "channel", "channel 'no good' is not a name"),
        ("<script>", "1", "channel", "channel '<script>' is not a name"),
        ("public/news", "NaN", "payload", "payload"),
        ("public/news", '"\\ud800"', "payload", "payload"),
        ("public/news", "[" * 40 + "]" * 40, "payload", "payload"),
        (
            "public/news",
            json.dumps("x" * 1_100_000),
            "payload",
            "a payload of 1100002 bytes for 'public/news'",
        ),
    ],
    ids=["route", "name", "script", "nan", "surrogate", "deep", "large"],
)
def test_publish_shows_a_refusal_at_the_field(staff, channel_name, payload, field, reason):
    client = staff("publish_message")
    with capture_publications() as captured:
        response = client.post(url(PUBLISH), {"channel": channel_name, "payload": payload})
    assert len(captured) == 0
    errors = response.context["form"].errors
    assert list(errors) == [field]
    assert errors[field][0].startswith(reason)
    assert "<script>" not in main_of(response)
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize(
    ("error", "field"),
    [
        (BadChannel("why"), "channel"),
        (UnknownChannel("why"), "channel"),
        (BadPayload("why"), "payload"),
        (TooLarge("why"), "payload"),
        (Unavailable("why"), "__all__"),
        (ImproperUse("why"), "__all__"),
    ],
)
def test_publish_shows_every_kind_of_refusal(staff, refusing, error, field):
    refusing(error)
    response = staff("publish_message").post(
        url(PUBLISH), {"channel": "public/news", "payload": "1"}
    )
    assert response.context["form"].errors == {field: ["why"]}
    assert "why" in text_of(response)
    assert said(response) == []


def test_publish_points_each_field_to_its_error(staff):
    response = staff("publish_message").post(url(PUBLISH), {"channel": "", "payload": "x"})
    document = main_of(response)
    for field in ("channel", "payload"):
        [widget] = re.findall(rf'<(?:input|textarea)[^>]* id="id_{field}"[^>]*>', document)
        assert 'aria-invalid="true"' in widget
        described = re.search('aria-describedby="([^"]*)"', widget)[1].split()
        assert f"id_{field}_helptext" in described
        assert [i for i in described if f'id="{i}"' not in document] == []


# -- nodes -----------------------------------------------------------------------------------------


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
        **changed,
    }


LEASES = [f"{seconds} s" for seconds in range(1, 21)]
"""What may be left of one of twenty seconds, on a busy machine."""


@pytest.fixture
def nodes(monkeypatch):
    """Has nodes answer so."""

    def answer(*answers):
        reports = [
            NodeReport(record=NodeRecord.objects.get(pk=record.pk), answer=answer)
            for record, answer in answers
        ]
        monkeypatch.setattr(operations, "nodes", lambda: reports)

    return answer


def test_nodes_are_shown_with_what_they_say(staff, nodes):
    nodes((a_node("a", "web-1", 11), an_answer()))
    with timezone.override("UTC"):
        response = staff("view_noderecord").get(url(NODES))
    heads, row = table_of(response)
    lease = row.pop()
    assert heads == [
        "Host and process",
        "State",
        "Server and version",
        "Started",
        "Connections",
        "Channels",
        "Messages in per second",
        "Messages out per second",
        "Connects per second",
        "Loop lag",
        "Memory",
        "Lease",
    ]
    assert row == [
        "web-1 process 11",
        "answers",
        "daphne 1.2.3",
        "03/01/2026 9:30 a.m.",
        "1,500",
        "1,200",
        "12.3",
        "4,321",
        "0",
        "12.5 ms",
        "64.0 MB",
    ]
    assert lease in LEASES


def test_node_that_does_not_answer_is_shown_from_its_row(staff, nodes):
    nodes(
        (a_node("a", "web-1", 1), an_answer()),
        (a_node("b", "web-2", 2, connections=70, server="", draining=True), None),
    )
    response = staff("view_noderecord").get(url(NODES))
    row = table_of(response)[2]
    assert row[:3] == ["web-2 process 2", "does not answer, draining", "unknown 1.2.3"]
    assert row[4:11] == ["70", *["–unknown"] * 6]
    assert "1 of 2 servers answered. No answer came from: web-2:2" in text_of(response)


def test_nodes_are_shown_from_their_rows_when_the_layer_is_away(staff, monkeypatch):
    def away():
        raise Unavailable("the event loop did not answer")

    monkeypatch.setattr(operations, "nodes", away)
    a_node("a")
    a_node("dead", "web-9", lease=-1.0)
    response = staff("view_noderecord").get(url(NODES))
    assert [row[:2] for row in table_of(response)[1:]] == [
        ["web-1 process 4711", "does not answer"]
    ]
    assert (
        "The channel layer cannot be reached, so that no server can be asked:"
        " the event loop did not answer"
    ) in text_of(response)


def test_node_without_a_measure_of_memory_shows_none(staff, nodes):
    nodes((a_node("a"), an_answer(memory=None)))
    response = staff("view_noderecord").get(url(NODES))
    assert table_of(response)[1][10] == "–unknown"


def test_nodes_say_so_when_there_are_none(staff, nodes):
    nodes()
    text = text_of(staff("view_noderecord").get(url(NODES)))
    assert text == "No server has had a connection yet, or their leases have run out."


def test_nodes_offer_to_drain_those_that_do_not_yet(staff, nodes):
    nodes(
        (a_node("a", "web-1", 1), an_answer()),
        (a_node("b", "web-2", 2), an_answer(draining=True)),
        (a_node("c", "web-3", 3), None),
    )
    response = staff("view_noderecord", "drain_node").get(url(NODES))
    assert [row[1] for row in table_of(response)] == [
        "State",
        "answers Drain web-1:1",
        "draining",
        "does not answer Drain web-3:3",
    ]
    assert f'href="{url(DRAIN, "a")}"' in main_of(response)


def test_nodes_offer_nothing_without_the_permission(staff, nodes):
    nodes((a_node("a"), an_answer()))
    assert "rain" not in main_of(staff("view_noderecord").get(url(NODES)))


def test_node_shows_hostile_text_as_text(staff, nodes):
    nodes((a_node("a", host=HOSTILE[:255]), an_answer()))
    document = main_of(staff("view_noderecord", "drain_node").get(url(NODES)))
    assert "<script>" not in document
    assert "&lt;script&gt;" in document


def test_nodes_need_a_constant_number_of_queries(staff, nodes, django_assert_max_num_queries):
    nodes(*((a_node(f"n{number}", pid=number), an_answer()) for number in range(30)))
    client = staff("view_noderecord", "drain_node")
    with django_assert_max_num_queries(5):  # session, user, two of permissions, the clock
        assert client.get(url(NODES)).status_code == 200


# -- draining --------------------------------------------------------------------------------------


@pytest.fixture
def drained(monkeypatch):
    """Which nodes were told to drain; ``answer`` is what came of it."""

    class Drained(list):
        answer = True

    drained = Drained()

    def drain(node_id):
        drained.append(node_id)
        if isinstance(drained.answer, Exception):
            raise drained.answer
        return drained.answer

    monkeypatch.setattr(operations, "drain", drain)
    return drained


def test_drain_asks_first(staff, drained):
    a_node("a", "web-1", 11, connections=1234)
    a_node("b", "web-2", 22)
    response = staff("drain_node").get(url(DRAIN, "a"))
    assert drained == []
    assert "Drain web-1:11?" in response.content.decode()
    assert text_of(response) == (
        "Its connections (it had 1,234 when it last counted) are told to come back elsewhere,"
        " each after a moment of its own. Nobody is let in any more until its process is"
        " restarted. This cannot be taken back. No, take me back"
    )


@pytest.mark.parametrize("other", [None, {"draining": True}, {"lease": -1.0}])
def test_drain_warns_when_no_other_node_takes_connections(staff, other):
    a_node("a")
    if other is not None:
        a_node("b", pid=2, **other)
    text = text_of(staff("drain_node").get(url(DRAIN, "a")))
    assert (
        "No other server takes connections: nobody will be able to connect until this one is"
        " restarted."
    ) in text


def test_drain_tells_the_node_says_so_and_is_logged(staff, drained):
    a_node("a", "web-1", 11)
    response = staff("drain_node", "view_noderecord").post(url(DRAIN, "a"))
    assert drained == ["a"]
    assert (response.status_code, response.url) == (302, url(NODES))
    assert said(response) == [
        "Draining web-1:11: its connections are sent elsewhere, and it accepts no new ones until it is restarted."
    ]
    entry = LogEntry.objects.get()
    assert (entry.user.username, entry.object_repr) == ("maria", "web-1:11")
    assert (entry.object_id, entry.change_message) == ("a", "Drained.")
    assert entry.content_type.model_class() is NodeRecord


def test_drain_leads_to_the_index_where_the_nodes_may_not_be_seen(staff, drained):
    a_node("a")
    response = staff("drain_node").post(url(DRAIN, "a"))
    assert (response.status_code, response.url) == (302, "/staff/")


def test_drain_says_so_when_the_node_does_not_answer(staff, drained):
    a_node("a", "web-1", 11)
    drained.answer = False
    response = staff("drain_node").post(url(DRAIN, "a"))
    assert said(response) == ["web-1:11 does not respond: it may be draining or gone."]
    assert LogEntry.objects.get().change_message == "Drained. Its server did not respond."


def test_drain_says_so_when_the_node_could_not_be_told(staff, drained):
    a_node("a", "web-1", 11)
    drained.answer = Unavailable("away")
    response = staff("drain_node").post(url(DRAIN, "a"))
    assert said(response) == [
        "The channel layer does not respond, so the request did not reach web-1:11. Try again."
    ]
    assert LogEntry.objects.count() == 0


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize("node_id", ["gone", "dead", "a\x00", "x" * 3000, "<script>"])
def test_drain_says_so_when_the_node_is_gone(staff, drained, method, node_id):
    a_node("dead", lease=-1.0)
    client = staff("drain_node", "view_noderecord")
    response = getattr(client, method)(url(DRAIN, node_id))
    assert (response.status_code, response.url) == (302, url(NODES))
    assert said(response) == ["That node is no longer there."]
    assert drained == []


# -- manners ---------------------------------------------------------------------------------------

VIEWS = [(CHANNELS, []), (PUBLISH, []), (NODES, []), (DRAIN, ["a"])]
ALL = [permission for permission, _, _ in GRANTS]


@pytest.mark.parametrize(("name", "arguments"), VIEWS)
def test_page_has_no_inline_script_or_style(staff, live, nodes, name, arguments):
    nodes((a_node("a"), an_answer()))
    live.holds(channel("news", a=1))
    document = main_of(staff(*ALL).get(url(name, *arguments)))
    assert re.findall(r"<script|<style| style=| on\w+=|javascript:", document) == []


@pytest.mark.parametrize(("name", "arguments"), VIEWS)
def test_page_has_a_title_and_a_way_back(staff, live, nodes, name, arguments):
    nodes((a_node("a"), an_answer()))
    response = staff(*ALL).get(url(name, *arguments))
    document = response.content.decode()
    title = response.context["title"]
    assert f"<title>{title} | Django site admin</title>" in document
    assert f"<h1>{title}</h1>" in document
    assert '<a href="/staff/channels_realtime/">Realtime</a>' in document
    assert document.count('aria-current="page"') >= 1


@pytest.mark.parametrize("name", [CHANNELS, NODES])
def test_table_tells_screen_readers_what_it_is(staff, live, nodes, name):
    nodes((a_node("a"), an_answer()))
    live.holds(channel("news", a=1))
    document = main_of(staff(*ALL).get(url(name)))
    assert "<caption" in document
    assert [head for head in re.findall(r"<th[ >][^>]*", document) if "scope=" not in head] == []


def test_numbers_are_written_as_the_language_does(staff, live):
    a_node("a")
    live.holds(channel("news", 1234.5, a=1234))
    client = staff("view_subscriptionrecord")
    with translation.override("de"):
        response = client.get(url(CHANNELS), headers={"accept-language": "de"})
    assert table_of(response)[1][1] == "1.234"
    assert table_of(response)[1][3] == "1.234,5"


def test_time_of_the_lease_is_the_databases(staff, nodes, monkeypatch):
    """The web server's clock is half an hour ahead."""
    ahead = timezone.now() + datetime.timedelta(minutes=30)
    nodes((a_node("a"), an_answer()))
    client = staff("view_noderecord")
    monkeypatch.setattr(timezone, "now", lambda: ahead)
    assert table_of(client.get(url(NODES)))[1][11] in LEASES
