"""The example's channels, as a page of plain `new WebSocket(...)` code sees them."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.example.site import Socket, Visitor, run_demo
from tests.support.promptness import PROMPTLY_S
from tests.support.servers import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with run_demo(Path(tmp_path_factory.mktemp("demo"))) as server:
        yield server


@pytest.fixture(scope="module")
def alice(server: Server) -> Visitor:
    return Visitor(server).sign_in("alice")


@pytest.fixture(scope="module")
def admin(server: Server) -> Visitor:
    return Visitor(server).sign_in("admin")


@pytest.fixture
def page(alice: Visitor) -> Iterator[Socket]:
    with alice.socket() as socket:
        yield socket


@pytest.fixture
def staff_page(admin: Visitor) -> Iterator[Socket]:
    with admin.socket() as socket:
        yield socket


def error_code(reply: dict[str, object]) -> object:
    assert reply["type"] == "error", reply
    payload = reply["payload"]
    assert isinstance(payload, dict)
    return payload["code"]


def test_an_anonymous_visitor_is_asked_for_credentials(server: Server) -> None:
    with Visitor(server).socket() as page:
        assert json.loads(page.connection.recv(timeout=5))["type"] == "auth_required"


def test_a_page_that_chooses_a_token_is_asked_for_one_in_spite_of_its_cookie(
    alice: Visitor,
) -> None:
    with alice.socket("/ws/?credentials=token") as page:
        assert json.loads(page.connection.recv(timeout=5))["type"] == "auth_required"


def test_staff_publish_a_price_that_a_subscriber_of_its_symbol_receives(
    page: Socket, staff_page: Socket
) -> None:
    page.subscribe("stocks", {"symbol": "AAPL"})
    for price, symbol in ((415.0, "MSFT"), (178.4, "AAPL")):
        payload = {"symbol": symbol, "price": price}
        staff_page.send(type="publish", channel="stocks", payload=payload)
    received = page.message("stocks")
    assert received["payload"] == {"symbol": "AAPL", "price": 178.4}
    assert "event" not in received


def test_a_price_is_refused_when_its_publisher_is_not_staff(page: Socket) -> None:
    payload = {"symbol": "AAPL", "price": 1}
    reply = page.ask(type="publish", channel="stocks", payload=payload)
    assert error_code(reply) == "forbidden"


@pytest.mark.parametrize("payload", [None, 7, {}, {"symbol": 3}, {"symbol": "AAPL", "price": "x"}])
def test_a_malformed_price_is_refused(payload: object, staff_page: Socket) -> None:
    reply = staff_page.ask(type="publish", channel="stocks", payload=payload)
    assert error_code(reply) == "bad_payload"


def test_the_feed_moves_only_the_invented_symbols(page: Socket) -> None:
    page.subscribe("stocks")
    symbols = {page.message("stocks")["payload"]["symbol"] for _ in range(6)}
    assert symbols <= {"ACME", "GLOBEX", "INITECH", "HOOLI"}


def test_a_message_reaches_the_room_and_is_stored(page: Socket, staff_page: Socket) -> None:
    page.subscribe("rooms/lobby")
    staff_page.ask(type="publish", channel="rooms/lobby", payload={"text": "ahoy", "key": "k1"})
    received = page.message("rooms/lobby", key="k1")
    assert received["payload"] == {"text": "ahoy", "key": "k1"}
    assert received["sender"]["name"] == "admin"
    stored = page.ask(type="call", channel="rooms/lobby", method="recent")["payload"]["messages"]
    assert {"text": "ahoy", "key": "k1", "name": "admin"}.items() <= stored[-1].items()


def test_an_empty_message_is_refused(page: Socket) -> None:
    reply = page.ask(type="publish", channel="rooms/lobby", payload={"text": " "})
    assert error_code(reply) == "bad_payload"


def test_a_message_too_long_to_be_stored_still_reaches_the_room(page: Socket) -> None:
    page.subscribe("rooms/engineering")
    text = "x" * 5000
    page.send(type="publish", channel="rooms/engineering", payload={"text": text})
    assert page.message("rooms/engineering")["payload"] == {"text": text}
    reply = page.ask(type="call", channel="rooms/engineering", method="recent")
    assert reply["payload"]["messages"] == []
    assert reply["payload"]["position"]["offset"] == 1


def test_a_room_without_a_database_row_carries_messages_too(page: Socket) -> None:
    page.subscribe("rooms/unheard-of")
    page.send(type="publish", channel="rooms/unheard-of", payload={"text": "hello?"})
    assert page.message("rooms/unheard-of")["payload"] == {"text": "hello?"}


def test_plain_text_of_a_bare_connection_reaches_the_room(alice: Visitor, page: Socket) -> None:
    page.subscribe("rooms/coffee")
    with alice.socket("/ws/bare/rooms/coffee") as bare:
        bare.connection.send("hello")
        assert page.message("rooms/coffee")["payload"] == "hello"
        assert bare.connection.recv(timeout=5) == "hello"


def test_a_typing_event_reaches_the_room_and_is_not_kept(page: Socket, staff_page: Socket) -> None:
    page.subscribe("rooms/lobby")
    notice: dict[str, object] = {"channel": "rooms/lobby", "payload": None, "event": "typing"}
    staff_page.send(type="publish", transient=True, **notice)
    received = page.message("rooms/lobby")
    assert (received["event"], "offset" in received) == ("typing", False)
    assert error_code(staff_page.ask(type="publish", **notice)) == "forbidden"


def test_typing_events_are_limited_in_rate(page: Socket) -> None:
    notice = {"type": "publish", "channel": "rooms/lobby", "payload": None, "event": "typing"}
    replies = [page.ask(transient=True, **notice) for _ in range(6)]
    assert error_code(replies[-1]) == "rate_limited"


def test_a_room_tells_who_is_here(page: Socket, staff_page: Socket) -> None:
    staff_page.subscribe("rooms/coffee")
    reply = page.ask(type="subscribe", channel="rooms/coffee", presence=True)
    names = [member["info"]["name"] for member in reply["payload"]["members"]]
    assert sorted(names) == ["admin", "alice"]


def test_a_page_of_earlier_messages_of_a_room(page: Socket) -> None:
    for number in range(3):
        page.ask(type="publish", channel="rooms/engineering", payload={"text": f"early {number}"})
    recent = page.ask(type="call", channel="rooms/engineering", method="recent")["payload"]
    before = recent["messages"][-1]["id"]
    earlier = page.ask(
        type="call", channel="rooms/engineering", method="recent", payload={"before": before}
    )["payload"]
    assert [one["text"] for one in earlier["messages"]][-2:] == ["early 0", "early 1"]
    assert "position" not in earlier


def test_an_event_that_clients_may_not_send_is_refused(page: Socket) -> None:
    reply = page.ask(type="publish", channel="rooms/lobby", payload=None, event="kicked")
    assert reply["type"] == "error"


def test_a_missing_board_looks_like_a_missing_route(page: Socket) -> None:
    missing = page.ask(type="subscribe", channel="boards/999999")
    routeless = page.ask(type="subscribe", channel="nothing/here")
    assert error_code(missing) == "unknown_channel"
    assert missing["payload"] == routeless["payload"]


def test_a_board_refuses_publications_of_clients(staff_page: Socket) -> None:
    reply = staff_page.ask(type="publish", channel="boards/1", payload={"id": 1})
    assert error_code(reply) == "forbidden"


def test_a_card_is_published_when_added_by_a_form_moved_by_a_call_and_deleted(
    alice: Visitor, page: Socket
) -> None:
    page.subscribe("boards/1")
    fields = {"title": "Paint the boat", "status": "todo"}
    alice.submit("/boards/1/cards/", fields, form="/boards/1/")
    added = page.message("boards/1", title="Paint the boat")
    assert (added["event"], added["payload"]["status"]) == ("card.saved", "todo")

    card = added["payload"]["id"]
    move = {"card": card, "status": "done", "before": None}
    page.send(type="call", channel="boards/1", method="move", payload=move)
    assert page.message("boards/1", id=card)["payload"]["status"] == "done"

    page.send(type="call", channel="boards/1", method="delete", payload={"id": card})
    assert page.message("boards/1", id=card)["event"] == "card.deleted"


def test_a_card_moved_to_another_board_in_the_admin_is_published_to_both(
    admin: Visitor, page: Socket
) -> None:
    admin.submit(
        "/admin/boards/board/add/",
        {
            "name": "Second board",
            "cards-TOTAL_FORMS": "0",
            "cards-INITIAL_FORMS": "0",
        },
    )
    page.subscribe("boards/1")
    page.subscribe("boards/2")
    card = page.ask(type="call", channel="boards/1", method="cards")["payload"]["cards"][0]
    fields = {**card, "board": "2", "title": "Moved over"}
    admin.submit(f"/admin/boards/card/{card['id']}/change/", fields)
    assert page.message("boards/1", id=card["id"])["event"] == "card.deleted"
    assert page.message("boards/2", id=card["id"])["payload"]["title"] == "Moved over"


@pytest.mark.parametrize(
    "payload",
    [None, {}, {"card": 1, "status": "gone"}, {"card": "1", "status": "done"}, {"card": 10**30}],
)
def test_a_malformed_move_is_refused(payload: object, page: Socket) -> None:
    reply = page.ask(type="call", channel="boards/1", method="move", payload=payload)
    assert error_code(reply) == "bad_payload"


def test_metrics_arrive_each_second(page: Socket) -> None:
    page.subscribe("host/metrics")
    first, second = (page.message("host/metrics")["payload"] for _ in range(2))
    assert 0.5 < second["at"] - first["at"] < 1 + PROMPTLY_S
    assert 0 <= second["cpu_percent"] <= 100
    assert 0 < second["memory_percent"] <= 100
    recent = page.ask(type="call", channel="host/metrics", method="recent")["payload"]["samples"]
    assert second in recent


def test_tokens_are_issued_refreshed_and_blacklisted(server: Server) -> None:
    def post(path: str, **fields: str) -> dict[str, str]:
        request = urllib.request.Request(
            server.url(path), json.dumps(fields).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            reply: dict[str, str] = json.load(response)
        return reply

    pair = post("/api/token/", username="alice", password="alice")
    assert set(pair) == {"access", "refresh"}
    assert set(post("/api/token/refresh/", refresh=pair["refresh"])) == {"access"}
    assert post("/api/token/blacklist/", refresh=pair["refresh"]) == {}
    with pytest.raises(urllib.error.HTTPError, match="401"):
        post("/api/token/refresh/", refresh=pair["refresh"])
