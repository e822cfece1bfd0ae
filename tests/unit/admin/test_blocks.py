"""Blocks in the admin: adding, changing and deleting them, and the notification of the nodes."""

from __future__ import annotations

import datetime

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import path, reverse
from django.utils import timezone

from channels_realtime import operations
from channels_realtime.admin.blocks import BlockRecordAdmin
from channels_realtime.models import BlockRecord

pytestmark = pytest.mark.django_db

staff_site = admin.AdminSite(name="staff")
staff_site.register(BlockRecord, BlockRecordAdmin)
urlpatterns = [path("staff/", staff_site.urls)]

HOUR = datetime.timedelta(hours=1)
HOSTILE = "<script>alert('x')</script>\u202e"


@pytest.fixture(autouse=True)
def urls(settings):
    settings.ROOT_URLCONF = __name__


@pytest.fixture(autouse=True)
def notified(monkeypatch):
    """The notifications of the nodes."""
    notifications: list[tuple[str, dict]] = []

    def notify(kind, arguments, *, wait):
        assert wait == 1.0
        notifications.append((kind, arguments))

    monkeypatch.setattr(operations, "notify", notify)
    return notifications


@pytest.fixture
def staff():
    """Signs in staff with just these permissions on blocks."""

    def sign_in(*verbs: str) -> Client:
        client = Client()
        user, _ = User.objects.get_or_create(username="maria", is_staff=True)
        user.user_permissions.set(
            Permission.objects.filter(codename__in=[f"{verb}_blockrecord" for verb in verbs])
        )
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def everything(staff):
    return staff("add", "change", "delete", "view")


def url(name: str, *args) -> str:
    return reverse(f"admin:channels_realtime_blockrecord_{name}", args=args, current_app="staff")


def row(end: datetime.timedelta = HOUR, **fields) -> BlockRecord:
    return BlockRecord.objects.create(until=timezone.now() + end, **fields)


def entered(**fields) -> dict:
    return {
        "user_pk": "",
        "address": "",
        "lasts": "3600",
        "until_0": "",
        "until_1": "",
        "reason": "",
        **fields,
    }


def errors(response) -> dict:
    assert response.status_code == 200
    assert not BlockRecord.objects.exists()
    return dict(response.context["adminform"].form.errors)


# -- adding ----------------------------------------------------------------------------------------


def test_block_takes_a_user_name(everything):
    alice = User.objects.create_user("alice")
    everything.post(url("add"), entered(user_pk="alice"))
    assert BlockRecord.objects.get().user_pk == str(alice.pk)


def test_block_asks_which_user_is_meant_where_a_name_is_also_an_id(everything):
    alice = User.objects.create_user("alice")
    digits = User.objects.create_user(str(alice.pk))
    assert errors(everything.post(url("add"), entered(user_pk=str(alice.pk)))) == {
        "user_pk": [
            f"'{alice.pk}' is the name of one user and the id of another. Enter id:{alice.pk} for"
            f" the user with this id, or id:{digits.pk} for the user with this name."
        ]
    }
    everything.post(url("add"), entered(user_pk=f"id:{alice.pk}"))
    assert BlockRecord.objects.get().user_label == "alice"


@pytest.mark.parametrize(
    ("lasts", "seconds"), [("600", 600), ("3600", 3_600), ("86400", 86_400), ("604800", 604_800)]
)
def test_block_of_a_user_is_added(
    everything, notified, lasts, seconds, django_capture_on_commit_callbacks
):
    user = User.objects.create_user("alice")
    before = timezone.now()
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        response = everything.post(
            url("add"), entered(user_pk=f" {user.pk} ", lasts=lasts, reason="spam")
        )
        assert response.status_code == 302
        assert notified == []  # not before the commit
    assert len(callbacks) == 1
    assert notified == [("blocks", {})]
    record = BlockRecord.objects.get()
    assert (record.user_pk, record.user_label, record.address) == (str(user.pk), "alice", "")
    assert (record.reason, record.created_by) == ("spam", "maria")
    length = datetime.timedelta(seconds=seconds)
    assert before + length <= record.until <= timezone.now() + length
    assert LogEntry.objects.get().object_repr == "alice"


def test_block_of_a_network_is_normalised(everything):
    everything.post(url("add"), entered(address="::ffff:192.0.2.7/120"))
    record = BlockRecord.objects.get()
    assert (record.user_pk, record.user_label, record.address) == ("", "", "192.0.2.0/24")


def test_block_until_a_time_is_added(everything):
    moment = {"until_0": "2199-12-31", "until_1": "23:59:00"}
    everything.post(url("add"), entered(address="192.0.2.7", lasts="until", **moment))
    until = BlockRecord.objects.get().until
    assert until == timezone.make_aware(datetime.datetime(2199, 12, 31, 23, 59))


def test_form_is_filled_in_from_the_url(everything):
    content = everything.get(url("add") + "?user_pk=42&address=192.0.2.7").content.decode()
    assert 'value="42"' in content
    assert 'value="192.0.2.7"' in content
    assert '<option value="3600" selected>1 hour</option>' in content


PAST = {"until_0": "2001-01-01", "until_1": "00:00:00"}
FUTURE = {"until_0": "2199-01-01", "until_1": "00:00:00"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"__all__": ["Enter a user id or an address."]}),
        (
            {"user_pk": "KNOWN", "address": "192.0.2.7"},
            {"__all__": ["Enter either a user id or an address. For both, add two blocks."]},
        ),
        ({"user_pk": "987654"}, {"user_pk": ["No user has the name or id '987654'."]}),
        ({"user_pk": "9" * 40}, {"user_pk": [f"No user has the name or id '{'9' * 40}'."]}),
        (
            {"user_pk": "alic"},
            {"user_pk": ["No user has the name or id 'alic'."]},
        ),
        (
            {"user_pk": "id:alice"},
            {"user_pk": ["No user has the name or id 'id:alice'."]},
        ),
        (
            {"address": "example.org"},
            {
                "address": [
                    "'example.org' is neither an address nor a network;"
                    " write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/64."
                ]
            },
        ),
        ({"address": "0.0.0.0/0"}, {"address": ["This network contains every address."]}),
        (
            {"address": "192.0.2.7", "lasts": "5"},
            {"lasts": ["Select a valid choice. 5 is not one of the available choices."]},
        ),
        (
            {"address": "192.0.2.7", "lasts": "until"},
            {"until": ["Enter the time when the block ends."]},
        ),
        (
            {"address": "192.0.2.7", "lasts": "until", **PAST},
            {"until": ["This time is in the past."]},
        ),
        (
            {"address": "192.0.2.7", "lasts": "until", "until_0": "tomorrow", "until_1": "noon"},
            {"until": ["Enter a valid date.", "Enter a valid time."]},
        ),
        (
            {"address": "192.0.2.7", **FUTURE},
            {"until": ["Choose “until the time below”, or leave this field empty."]},
        ),
        (
            {"address": "192.0.2.7", "reason": "x" * 256},
            {"reason": ["Ensure this value has at most 255 characters (it has 256)."]},
        ),
    ],
)
def test_form_says_what_is_wrong(everything, notified, fields, expected):
    if fields.get("user_pk") == "KNOWN":
        fields = {**fields, "user_pk": str(User.objects.create_user("alice").pk)}
    assert errors(everything.post(url("add"), entered(**fields))) == expected
    assert notified == []


# -- changing and taking back ----------------------------------------------------------------------


def test_only_end_and_reason_can_be_changed(
    everything, notified, django_capture_on_commit_callbacks
):
    record = row(user_pk="42", user_label="alice", reason="spam", created_by="staff")
    response = everything.get(url("change", record.pk))
    assert list(response.context["adminform"].form.fields) == ["until", "reason"]
    changed = {"user_pk": "1", "address": "192.0.2.7", "created_by": "me", "user_label": "bob"}
    with django_capture_on_commit_callbacks(execute=True):
        everything.post(
            url("change", record.pk),
            {"until_0": "2199-01-01", "until_1": "00:00:00", "reason": "more spam", **changed},
        )
    record.refresh_from_db()
    assert (record.until.year, record.reason) == (2199, "more spam")
    assert (record.user_pk, record.user_label, record.address) == ("42", "alice", "")
    assert record.created_by == "staff"
    assert notified == [("blocks", {})]


def test_reason_of_an_expired_block_can_be_changed(everything):
    record = row(-HOUR, address="192.0.2.7")
    response = everything.post(url("change", record.pk), {**PAST, "reason": "seen again"})
    assert response.status_code == 302
    record.refresh_from_db()
    assert record.reason == "seen again"


def test_deleting_one_notifies_the_nodes(everything, notified, django_capture_on_commit_callbacks):
    record = row(address="192.0.2.7")
    with django_capture_on_commit_callbacks(execute=True):
        everything.post(url("delete", record.pk), {"post": "yes"})
    assert not BlockRecord.objects.exists()
    assert notified == [("blocks", {})]


def test_deleting_many_notifies_the_nodes_once(
    everything, notified, django_capture_on_commit_callbacks
):
    records = [row(address=f"192.0.2.{n}") for n in range(3)]
    with django_capture_on_commit_callbacks(execute=True):
        everything.post(
            url("changelist"),
            {
                "action": "delete_selected",
                "_selected_action": [record.pk for record in records],
                "post": "yes",
            },
        )
    assert not BlockRecord.objects.exists()
    assert notified == [("blocks", {})]


# -- the list --------------------------------------------------------------------------------------


def listed(client: Client, query: str = "") -> list[str]:
    response = client.get(url("changelist") + query)
    assert response.status_code == 200
    return [str(record) for record in response.context["cl"].result_list]


@pytest.fixture
def some():
    row(2 * HOUR, user_pk="42", user_label="alice", reason="spam")
    row(HOUR, address="192.0.2.0/24", created_by="maria")
    row(-HOUR, user_pk="4", user_label="", reason="flood")


def test_list_shows_active_blocks_first(everything, some):
    assert listed(everything) == ["alice", "192.0.2.0/24", "4"]
    content = everything.get(url("changelist")).content.decode()
    assert "<bdi>alice</bdi> (<bdi>42</bdi>)" in content
    assert "<bdi>192.0.2.0/24</bdi>" in content
    assert content.count('alt="True"') == 2
    assert content.count('alt="False"') == 1


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?in_force=yes", ["alice", "192.0.2.0/24"]),
        ("?in_force=no", ["4"]),
        ("?q=42", ["alice"]),
        ("?q=4", ["4", "192.0.2.0/24"]),  # an id as a whole, the others in part
        ("?q=ALI", ["alice"]),
        ("?q=192.0.2", ["192.0.2.0/24"]),
        ("?q=flood", ["4"]),
        ("?q=maria", ["192.0.2.0/24"]),
        ("?q=nothing", []),
        ("?o=1", ["4", "192.0.2.0/24", "alice"]),
    ],
)
def test_list_is_filtered_and_searched(everything, some, query, expected):
    found = listed(everything, query)
    assert sorted(found) == sorted(expected)


def test_list_takes_a_constant_number_of_queries(everything, django_assert_max_num_queries):
    for n in range(60):
        row(address=f"192.0.2.{n}")
    with django_assert_max_num_queries(7):  # login session, user, permissions (2), counts (2), rows
        assert len(listed(everything)) == 60


def test_entered_values_are_shown_as_text(everything):
    record = row(user_pk=HOSTILE, user_label=HOSTILE, reason=HOSTILE, created_by=HOSTILE)
    for page in (url("changelist"), url("change", record.pk), url("delete", record.pk)):
        content = everything.get(page).content.decode()
        assert "<script>alert" not in content
        assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in content


# -- permissions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["none", "view", "add", "change", "delete"])
def test_each_page_needs_its_own_permission(staff, notified, verb):
    client = staff(verb)
    record = row(address="192.0.2.7", reason="before")
    pages = {
        "view": client.get(url("changelist")).status_code == 200,
        "add": client.get(url("add")).status_code == 200,
        "delete": client.get(url("delete", record.pk)).status_code == 200,
    }
    assert pages == {
        "view": verb in ("view", "change"),
        "add": verb == "add",
        "delete": verb == "delete",
    }
    client.post(url("add"), entered(address="198.51.100.1"))
    assert BlockRecord.objects.filter(address="198.51.100.1").exists() is (verb == "add")
    client.post(url("change", record.pk), {**FUTURE, "reason": "after"})
    record.refresh_from_db()
    assert (record.reason == "after") is (verb == "change")
    client.post(url("delete", record.pk), {"post": "yes"})
    assert BlockRecord.objects.filter(pk=record.pk).exists() is (verb != "delete")


def test_form_has_no_fields_with_the_view_permission_alone(staff):
    record = row(address="192.0.2.7", reason="spam")
    response = staff("view").get(url("change", record.pk))
    assert list(response.context["adminform"].form.fields) == []
    assert "192.0.2.7" in response.content.decode()
