"""The page of channels."""

from __future__ import annotations

import pytest
from django.utils import translation

from channels_realtime.errors import Unavailable
from tests.unit.admin.pages.own_site import (
    CHANNELS,
    HOSTILE,
    NO_NODES,
    PUBLISH,
    a_node,
    channel,
    main_of,
    table_of,
    text_of,
    url,
)

pytestmark = pytest.mark.django_db


def test_channels_are_shown_with_subscribers_by_node_and_rate(staff, live):
    a_node("a", "web-1", 11)
    a_node("b", "web-2", 22)
    live.holds(channel("orders/42", 0.25, a=1200, b=34), channel("news", 12.0, b=3))
    response = staff("view_subscriptionrecord").get(url(CHANNELS))
    assert table_of(response) == [
        ["Channel", "Subscribers", "Subscribers by node", "Publications per second"],
        ["orders/42", "1,234", "web-1:11: 1,200web-2:22: 34", "0.3"],
        ["news", "3", "web-2:22: 3", "12"],
    ]
    assert "2 channels, 1,237 subscriptions" in text_of(response)


def test_channels_name_a_new_node_by_its_id(staff, live):
    a_node("a")
    live.holds(channel("news", a=1, c0ffee00c0ffee00=1))
    response = staff("view_subscriptionrecord").get(url(CHANNELS))
    assert table_of(response)[1][2] == "c0ffee00: 1web-1:4711: 1"


def test_channels_link_to_their_connections_with_the_permission(staff, live):
    a_node("a")
    live.holds(channel("orders/4=2", a=7))
    client = staff("view_subscriptionrecord", "view_connectionrecord")
    link = f'href="{url("connectionrecord_changelist")}?channel=orders%2F4%3D2"'
    assert link in main_of(client.get(url(CHANNELS)))


def test_channels_have_no_links_without_the_permission(staff, live):
    a_node("a")
    live.holds(channel("news", a=7))
    document = main_of(staff("view_subscriptionrecord").get(url(CHANNELS)))
    assert "connectionrecord" not in document
    assert "publish" not in document


def test_channels_have_no_links_in_a_site_without_connections(staff, live):
    a_node("a")
    live.holds(channel("news", a=7))
    client = staff("view_subscriptionrecord", "view_connectionrecord")
    response = client.get(url(CHANNELS, site="small"))
    assert table_of(response)[1][1] == "7"


def test_channels_stay_in_their_own_admin_site(staff, live):
    a_node("a")
    live.holds(channel("news", a=7))
    client = staff("view_subscriptionrecord", "publish_message")
    document = client.get(url(CHANNELS, site="small")).content.decode()
    assert "/staff/" not in document
    assert 'href="/small/channels_realtime/subscriptionrecord/publish/?channel=news"' in document


def test_channels_offer_to_publish_with_the_permission(staff, live):
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
        "Showing the 2 channels with the most subscribers, of 1,234. Search to find others." in text
    )


def test_channels_say_that_there_may_be_more_with_several_nodes(staff, live):
    a_node("a")
    a_node("b", pid=2)
    live.holds(channel("news", a=2), channel("orders/1", a=1), total=1234)
    text = text_of(staff("view_subscriptionrecord").get(url(CHANNELS)))
    assert "of at least 1,234. Search to find others." in text


def test_channels_name_the_nodes_that_did_not_respond(staff, live):
    a_node("a", "web-1", 1)
    a_node("b", "web-2", 2)
    a_node("c", "web-3", 3)
    live.holds(channel("news", a=2), silent=("b",))
    text = text_of(staff("view_subscriptionrecord").get(url(CHANNELS)))
    assert "2 of 3 servers responded. No response from: web-2:2" in text


def test_channels_are_unknown_when_no_node_responds(staff, live):
    a_node("a", "web-1", 1)
    live.holds(silent=("a",))
    text = text_of(staff("view_subscriptionrecord").get(url(CHANNELS)))
    assert "0 of 1 server responded. No response from: web-1:1" in text
    assert "The channels are unknown until a server responds." in text


def test_channels_say_so_when_there_is_no_node(staff, live):
    a_node("a", lease=-5.0)
    text = text_of(staff("view_subscriptionrecord").get(url(CHANNELS)))
    assert NO_NODES in text


def test_channels_say_so_when_there_are_no_subscribers(staff, live):
    a_node("a")
    text = text_of(staff("view_subscriptionrecord").get(url(CHANNELS)))
    assert "No channel has subscribers." in text


def test_channels_say_so_when_a_search_finds_nothing(staff, live):
    a_node("a")
    text = text_of(staff("view_subscriptionrecord").get(url(CHANNELS), {"q": "x<y\u202e"}))
    assert "No channel with subscribers has this in its name: x<y⟨U+202E⟩" in text


def test_channels_say_so_when_the_layer_cannot_be_reached(staff, live):
    a_node("a")
    live.error = Unavailable("the channel layer did not take it: ConnectionError")
    response = staff("view_subscriptionrecord").get(url(CHANNELS))
    assert response.status_code == 200
    assert (
        "The channel layer cannot be reached, so the servers cannot be asked:"
        " the channel layer did not take it: ConnectionError"
    ) in text_of(response)


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


def test_numbers_are_localised(staff, live):
    a_node("a")
    live.holds(channel("news", 1234.5, a=1234))
    client = staff("view_subscriptionrecord")
    with translation.override("de"):
        response = client.get(url(CHANNELS), headers={"accept-language": "de"})
    assert table_of(response)[1][1] == "1.234"
    assert table_of(response)[1][3] == "1.234,5"
