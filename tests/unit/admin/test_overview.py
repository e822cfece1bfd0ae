"""The overview, in a custom admin site."""

from __future__ import annotations

import datetime
import re
from html import unescape

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import RequestFactory
from django.urls import path, reverse
from django.utils import timezone

from channels_realtime import operations
from channels_realtime.admin.overview import DENIALS, ENDS, OverviewAdmin
from channels_realtime.errors import Unavailable
from channels_realtime.models import NodeRecord, SampleRecord
from channels_realtime.protocol.codes import CloseCode

pytestmark = pytest.mark.django_db

NO_SAMPLES = "No samples yet. Each node writes one per minute, from its first connection on."


staff_site = admin.AdminSite(name="staff")
staff_site.register(SampleRecord, OverviewAdmin)
urlpatterns = [path("staff/", staff_site.urls)]


@pytest.fixture(autouse=True)
def _urls(settings):
    settings.ROOT_URLCONF = __name__


@pytest.fixture
def sign_in(client):
    """Signs in staff with just these permissions."""

    def sign_in(*permissions):
        user = User.objects.create_user("maria", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def staff(sign_in):
    return sign_in("view_samplerecord")


def url(**query):
    path = reverse("admin:channels_realtime_samplerecord_changelist", current_app="staff")
    return path + "".join(f"?{key}={value}" for key, value in query.items())


def write(*, minutes_ago=0.5, node="a" * 32, **fields):
    values = {
        **dict.fromkeys(("connections", "connected", "messages_in", "messages_out"), 0),
        "seconds": 60.0,
        **fields,
    }
    at = timezone.now() - datetime.timedelta(minutes=minutes_ago)
    return SampleRecord(node_id=node, at=at, **values)


def save(*samples):
    SampleRecord.objects.bulk_create(samples)


def block(response, key) -> str:
    """The markup of one block."""
    found = re.search(
        rf'<section class="realtime-block" aria-labelledby="realtime-{key}">.*?</section>',
        response.content.decode(),
        re.DOTALL,
    )
    assert found, f"there is no block {key!r}"
    return found[0]


def words(markup) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def reasons(markup) -> list[list[str]]:
    """The rows of a block's table of reasons, without their bars."""
    table = markup.partition("realtime-reasons")[2].partition("<tbody>")[2]
    return [
        [words(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)[:3]]
        for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
    ]


@pytest.fixture(autouse=True)
def nodes(monkeypatch):
    """What ``operations.nodes`` answers, or raises."""
    answers: list = []

    def nodes():
        if answers and isinstance(answers[0], Exception):
            raise answers[0]
        return answers

    monkeypatch.setattr(operations, "nodes", nodes)
    return answers


def report(answer, *, connections=0, pid=1):
    until = timezone.now() + datetime.timedelta(minutes=1)
    record = NodeRecord.objects.create(
        id=f"node{pid}",
        host="web",
        pid=pid,
        connections=connections,
        started_at=timezone.now(),
        lease_until=until,
    )
    return operations.NodeReport(record=record, answer=answer)


ANSWER = {
    "connections": 1_200,
    "messages_in_rate": 1.5,
    "messages_out_rate": 200.25,
    "connect_rate": 0.5,
    "loop_lag": 0.0125,
    "draining": False,
}


# -- now -------------------------------------------------------------------------------------------


def now_of(response) -> dict[str, str]:
    section = response.content.decode().split('<div class="realtime-now"')[1]
    found = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", section.split("</dl>")[0])
    return {name: unescape(value) for name, value in found}


def test_now_is_on_top_before_the_first_sample(staff, nodes):
    nodes += [report(ANSWER), report({**ANSWER, "loop_lag": 0.2, "draining": True}, pid=2)]
    response = staff.get(url())
    assert now_of(response) == {
        "Connections": "2,400",
        "Nodes": "2",
        "Messages received per second": "3",
        "Messages sent per second": "400",
        "Connects per second": "1",
        "Loop lag": "200 ms",
        "Draining": "1",
    }
    text = words(response.content.decode())
    assert text.index(" Now As of ") < text.index("Last hour") < text.index(NO_SAMPLES)
    assert 'data-kind="page"' in response.content.decode()


def test_now_counts_a_silent_node_by_its_record_and_says_so(staff, nodes):
    nodes += [report(ANSWER), report(None, connections=7, pid=2)]
    response = staff.get(url())
    assert now_of(response)["Connections"] == "1,207"
    assert "1 of 2 servers responded. No response from: web:2" in words(response.content.decode())


def test_now_is_from_the_records_where_the_layer_is_away(staff, nodes):
    report(None, connections=7)
    nodes.append(Unavailable("no answer"))
    response = staff.get(url())
    assert now_of(response) == {"Connections": "7", "Nodes": "1"}
    assert "The channel layer cannot be reached" in words(response.content.decode())


# -- who may ---------------------------------------------------------------------------------------


def test_overview_is_forbidden_without_its_permission(sign_in):
    client = sign_in("view_connectionrecord", "view_noderecord", "view_subscriptionrecord")
    assert client.get(url()).status_code == 403
    assert client.get(url(period="day")).status_code == 403


def test_overview_is_shown_with_its_permission(staff):
    response = staff.get(url())
    assert response.status_code == 200
    assert response.context["title"] == "Overview"
    assert response.context["site_header"] == "Django administration"  # each_context


def test_visitor_is_sent_to_the_login(client):
    response = client.get(url())
    assert (response.status_code, response["Location"].split("?")[0]) == (302, "/staff/login/")


def test_nothing_is_posted(staff):
    response = staff.post(url())
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")


def test_view_returns_an_unrendered_template_response():
    request = RequestFactory().get("/")
    request.user = User.objects.create_superuser("root")
    response = OverviewAdmin(SampleRecord, staff_site).changelist_view(request)
    assert response.template_name == "admin/channels_realtime/overview.html"
    assert not response.is_rendered


# -- periods ---------------------------------------------------------------------------------------


def test_page_without_samples_says_why(staff):
    response = staff.get(url())
    assert NO_SAMPLES in response.content.decode()
    assert "<section" not in response.content.decode()


def test_samples_of_two_hours_ago_are_in_the_day_alone(staff):
    save(write(minutes_ago=120, connections=5))
    assert NO_SAMPLES in staff.get(url(period="hour")).content.decode()
    assert NO_SAMPLES not in staff.get(url(period="day")).content.decode()


@pytest.mark.parametrize(
    ("query", "points", "current", "each"),
    [
        ({}, 60, "hour", "each point is the average of 1 minute."),
        ({"period": "hour"}, 60, "hour", "each point is the average of 1 minute."),
        ({"period": "day"}, 144, "day", "each point is the average of 10 minutes."),
        ({"period": "'><script>"}, 60, "hour", "each point is the average of 1 minute."),
    ],
)
def test_period_is_an_hour_or_a_day(staff, query, points, current, each):
    save(write(connections=5))
    response = staff.get(url(**query))
    page = response.content.decode()
    assert f'<a href="?period={current}" aria-current="page">' in page
    assert page.count('aria-current="page">Last') == 1
    assert each in page
    assert block(response, "connections").count('<th scope="row">') == points
    assert "<script>" not in page


def test_series_ends_where_every_live_node_has_written(staff):
    rows = [write(minutes_ago=n + 0.2, node="a", connections=100) for n in range(10)]
    rows += [write(minutes_ago=n + 0.9, node="b", connections=100) for n in range(10)]
    save(*rows)
    facts = words(block(staff.get(url()), "connections"))
    assert facts.startswith("Connections Peak: 200")
    assert "Connections: minimum 0, maximum 200, latest 200." in facts


def test_dead_node_is_not_counted(staff):
    rows = [write(minutes_ago=n + 0.2, node="a", connections=100) for n in range(10)]
    rows += [write(minutes_ago=n + 5.2, node="b", connections=300) for n in range(5)]
    save(*rows)
    facts = words(block(staff.get(url()), "connections"))
    assert facts.startswith("Connections Peak: 400")
    assert "Connections: minimum 0, maximum 400, latest 100." in facts


# -- blocks ----------------------------------------------------------------------------------------


def test_blocks_show_what_was_counted(staff):
    save(
        write(
            connections=42,
            connected=30,
            messages_in=120,
            messages_out=6_000,
            throttled=9,
            recovered=60,
            unrecovered=2,
            healed_gaps=5,
            latency_counts=[0, 0, 0, 98, 0, 0, 0, 0, 0, 0, 0, 0, 2],
            disconnects={"client": 12, "4401": 3, "4503": 1_000, "lost": 12},
            denials={"origin": 4, "credentials": 8},
        )
    )
    response = staff.get(url())
    assert re.findall(r'<h2 id="realtime-(\w+)">(.*?)</h2>', response.content.decode()) == [
        ("connections", "Connections"),
        ("messages", "Messages"),
        ("disconnects", "Connects and disconnects"),
        ("denials", "Denials and throttling"),
        ("recovery", "Recovery"),
        ("latency", "Publish-to-delivery latency"),
    ]
    assert "latest 42." in words(block(response, "connections"))
    assert "from clients: minimum 0, maximum 2, latest 2." in words(block(response, "messages"))
    assert "to clients: minimum 0, maximum 100, latest 100." in words(block(response, "messages"))
    latency = words(block(response, "latency"))
    assert "median: minimum 7.55, maximum 7.55, latest 7.55." in latency
    assert "99th percentile: minimum 5,000 or more, maximum 5,000 or more" in latency
    disconnects = block(response, "disconnects")
    assert "Connected: 30" in words(disconnects)
    assert reasons(disconnects) == [
        ["Server shutting down or full", "4503", "1,000"],
        ["Closed by the client", "client", "12"],
        ["Connection lost", "lost", "12"],
        ["Credentials missing, expired or revoked", "4401", "3"],
    ]
    recovery = words(block(response, "recovery"))
    assert "Recovered: 60 Not recovered: 2 Healed gaps: 5" in recovery
    assert "not recovered: minimum 0, maximum 2, latest 2." in recovery
    denials = block(response, "denials")
    assert "Messages over the rate limit: 9" in words(denials)
    assert reasons(denials) == [
        ["Credentials rejected", "credentials", "8"],
        ["Origin not allowed", "origin", "4"],
    ]


def test_quiet_node_has_nothing_to_show_of_latency_and_reasons(staff):
    save(write(connections=1))
    response = staff.get(url())
    assert "No data in this period." in words(block(response, "latency"))
    assert "<svg" not in block(response, "latency")
    assert "No disconnects" in words(block(response, "disconnects"))
    assert "No denials" in words(block(response, "denials"))


def test_each_plot_has_its_numbers_as_a_table(staff):
    save(write(latency_counts=[1, *[0] * 12]))
    page = staff.get(url()).content.decode()
    assert page.count('role="img"') == page.count("<details") == 6
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for label in re.findall(r'aria-labelledby="([^"]+)"', page):
        assert set(label.split()) <= set(ids)


def test_every_close_code_has_words():
    assert {str(int(code)) for code in CloseCode} | {"client", "lost", "other"} == set(ENDS)


def test_every_reason_of_a_denial_has_words():
    known = {"origin", "credentials", "full", "draining", "address", "blocked", "other"}
    assert known == set(DENIALS)


# -- markup ----------------------------------------------------------------------------------------


def test_codes_of_a_consumer_are_shown_as_text(staff):
    hostile = "<script>alert(1)</script>"
    save(write(disconnects={hostile: 2, "4999": 1}, denials={"\u202eorigin\x00"[:7]: 1}))
    response = staff.get(url())
    assert reasons(block(response, "disconnects")) == [
        ["A site-specific reason", hostile, "2"],
        ["A site-specific reason", "4999", "1"],
    ]
    assert hostile not in response.content.decode()
    assert reasons(block(response, "denials")) == [
        ["A site-specific reason", "⟨U+202E⟩origin", "1"]
    ]


def test_page_needs_no_script_and_no_inline_style(staff):
    save(write(connections=1, latency_counts=[1, *[0] * 12], disconnects={"client": 1}))
    response = staff.get(url())
    for key in ("connections", "messages", "latency", "disconnects", "denials"):
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=", block(response, key))


def test_page_formats_numbers_and_times_for_the_reader(staff, settings):
    settings.TIME_ZONE = "Europe/Berlin"
    save(write(connections=1_234, messages_in=90))
    page = staff.get(url(), headers={"accept-language": "de"}).content.decode()
    assert "1.234" in page
    assert "1,50" in page
    assert "Europe/Berlin" in page
    assert not re.search(r' d="[^"]*,', page)


def test_time_runs_from_left_to_right_on_a_right_to_left_page(staff):
    save(write(connections=1))
    page = staff.get(url(), headers={"accept-language": "ar"}).content.decode()
    assert 'dir="rtl"' in page
    assert page.count('<svg class="realtime-plot"') == page.count('direction="ltr"') == 5


def test_overview_works_without_time_zones(staff, settings):
    settings.USE_TZ = False
    SampleRecord.objects.create(
        node_id="a",
        at=datetime.datetime.now() - datetime.timedelta(seconds=5),
        seconds=60.0,
        connections=42,
        connected=1,
        messages_in=1,
        messages_out=1,
    )
    assert "latest 42." in words(block(staff.get(url()), "connections"))


# -- queries ---------------------------------------------------------------------------------------


def test_number_of_queries_is_constant(staff, django_assert_num_queries):
    def count(most):
        with django_assert_num_queries(most, exact=False) as queries:
            assert staff.get(url(period="day")).status_code == 200
        return len(queries)

    save(write(connections=1))
    few = count(20)
    nodes = ("b", "c", "d")
    save(*[write(minutes_ago=n, node=node, connections=n) for n in range(300) for node in nodes])
    with django_assert_num_queries(few) as queries:
        staff.get(url(period="day"))
    samples = [query["sql"] for query in queries if "samplerecord" in query["sql"].lower()]
    assert len([sql for sql in samples if "latency_counts" in sql]) == 1
