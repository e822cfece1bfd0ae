"""The core of the Python client, without I/O and with a clock that the test moves."""

import json
from typing import Any

import pytest

from channels_realtime.client.core import Core, Limits, State
from channels_realtime.client.credentials import TokenReason
from channels_realtime.client.errors import (
    Blocked,
    Closed,
    ConnectionLost,
    QueueFull,
    SignedOut,
    VersionRefused,
)
from channels_realtime.client.values import Message
from channels_realtime.errors import Forbidden, RealtimeError, RequestTimeout, TooLarge
from channels_realtime.protocol.codecs import JSON
from tests.support.fake_timers import FakeTimers
from tests.support.scripted_server import WELCOME


class FakeShell:
    """Records what the core asks for."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.sent: list[dict[str, Any]] = []
        self.warnings: list[str] = []

    def open(self, token: str | None) -> None:
        self.calls.append(("open", token))

    def send(self, frame: str | bytes) -> None:
        self.sent.append(json.loads(frame))

    def drop(self, code: int) -> None:
        self.calls.append(("drop", code))

    def fetch_token(self, reason: TokenReason) -> None:
        self.calls.append(("fetch", reason))

    def changed(self) -> None:
        pass

    def notice(self, message: Message) -> None:
        self.calls.append(("notice", message.payload))

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class Bench:
    """A core with its shell and its clock; ``chance`` is what the jitter is made of."""

    def __init__(self, *, has_token: bool = False, in_header: bool = True, **limits: Any) -> None:
        self.now = 100.0
        self.chance = 0.5
        self.shell = FakeShell()
        self.timers = FakeTimers(lambda: self.now)
        self.core = Core(
            self.shell,
            JSON,
            Limits(**limits),
            has_token=has_token,
            in_header=in_header,
            later=self.timers.later,
            clock=lambda: self.now,
            chance=lambda: self.chance,
        )

    def say(self, kind: str, payload: Any = None, **fields: Any) -> None:
        self.core.received(json.dumps({"type": kind, "payload": payload, **fields}))

    def welcome(self, **changes: Any) -> None:
        self.say("welcome", {**WELCOME, **changes})

    def connected(self, **changes: Any) -> None:
        self.core.start()
        self.welcome(**changes)

    def next_delay(self) -> float:
        """How long until the core has something to do."""
        at = self.timers.next_at
        assert at is not None
        return at - self.now

    def wait(self, seconds: float) -> None:
        """Time passes, and what is due meanwhile is done on its time."""
        until = self.now + seconds
        while (at := self.timers.next_at) is not None and at <= until:
            self.now = at
            self.timers.run()
        self.now = until

    def request(self, **options: Any) -> list[Any]:
        """Send a call; what it is answered with is put into the list."""
        outcome: list[Any] = []
        message = options.pop("message", {"type": "call", "channel": "a", "method": "m"})
        self.core.requests.begin(message, lambda *reply: outcome.extend(reply), **options)
        return outcome

    @property
    def opened(self) -> int:
        return sum(call[0] == "open" for call in self.shell.calls)


def test_delays_grow_to_the_cap_with_full_jitter() -> None:
    bench = Bench(backoff_base_s=1.0, backoff_cap_s=30.0)
    bench.core.start()
    delays = []
    for chance in (0.5, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0, 0.0):
        bench.chance = chance
        bench.core.lost(1006, "")
        delays.append(bench.core.next_delay_s)
        bench.wait(delays[-1] or 0.0)
    assert delays == [0.5, 1.0, 2.0, 8.0, 16.0, 30.0, 30.0, 0.0]
    assert bench.opened == 9


def test_backoff_begins_anew_after_welcome_and_not_after_the_open() -> None:
    bench = Bench()
    bench.core.start()
    for _ in range(3):
        bench.core.lost(1006, "")
        bench.wait(bench.core.next_delay_s or 0.0)
    bench.core.lost(1006, "")
    assert (bench.core.attempt, bench.core.next_delay_s) == (5, 4.0)
    bench.wait(4.0)
    bench.welcome()
    bench.core.lost(1006, "")
    assert (bench.core.attempt, bench.core.next_delay_s) == (2, 0.5)


@pytest.mark.parametrize(("chance", "delay"), [(0.0, 20.0), (0.5, 30.0), (1.0, 40.0)])
def test_retry_after_is_waited_for_once_to_twice(chance: float, delay: float) -> None:
    bench = Bench()
    bench.connected()
    bench.chance = chance
    bench.say("closing", {"code": 4503, "reason": "restart", "reconnect": True, "retry_after": 20})
    bench.core.lost(4503, "")
    assert bench.core.next_delay_s == delay


@pytest.mark.parametrize(
    ("code", "expected"),
    [(4400, Closed), (4403, Blocked), (4406, VersionRefused), (4409, Closed), (1009, Closed)],
)
def test_terminal_code_ends_the_client_with_an_error_of_its_own(
    code: int, expected: type[Closed]
) -> None:
    bench = Bench()
    bench.connected()
    outcome = bench.request()
    bench.core.lost(code, "go away")
    assert bench.core.state is State.CLOSED
    assert isinstance(bench.core.ended, expected)
    assert str(bench.core.ended) == f"go away ({code})"
    assert isinstance(outcome[1], ConnectionLost)
    with pytest.raises(expected):
        bench.request()


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1011, 1012, 4408, 4430, 4500, 4503])
def test_other_codes_reconnect(code: int) -> None:
    bench = Bench()
    bench.connected()
    bench.core.lost(code, "")
    assert bench.core.state is State.WAITING


def test_closing_overrides_the_table_of_codes() -> None:
    bench = Bench()
    bench.connected()
    bench.say("closing", {"code": 4403, "reason": "later", "reconnect": True})
    bench.core.lost(1008, "")
    assert bench.core.state is State.WAITING
    bench.wait(1.0)
    bench.welcome()
    bench.say("closing", {"code": 1000, "reason": "bye", "reconnect": False})
    bench.core.lost(1000, "")
    assert str(bench.core.ended) == "bye (1000)"


def test_silent_server_is_probed_and_then_left() -> None:
    bench = Bench()
    bench.connected()
    bench.wait(34.9)
    assert bench.shell.sent == []
    bench.wait(0.1)
    assert bench.shell.sent == [{"type": "ping"}]
    bench.wait(10.0)
    assert bench.shell.calls[-1] == ("drop", 4408)
    assert bench.core.state is State.WAITING
    assert str(bench.core.loss) == "nothing heard for 10 s after a ping (4408)"


def test_any_frame_is_life() -> None:
    bench = Bench()
    bench.connected()
    for _ in range(10):
        bench.wait(30.0)
        bench.say("message", 1, channel="nobody/listens")
    assert bench.shell.sent == []


def test_ping_is_answered() -> None:
    bench = Bench()
    bench.connected()
    bench.say("ping")
    assert bench.shell.sent == [{"type": "pong"}]


def test_attempt_without_welcome_is_given_up() -> None:
    bench = Bench(connect_timeout_s=5.0)
    bench.core.start()
    bench.wait(5.0)
    assert bench.shell.calls == [("open", None), ("drop", 4408)]
    assert str(bench.core.loss) == "no welcome within 5 s (4408)"


def test_frame_that_cannot_be_read_is_told_and_ends_nothing() -> None:
    bench = Bench()
    bench.connected()
    bench.core.received("{")
    bench.core.received('[{"type": "ping"}, 5, {"type": "from the future"}]')
    assert bench.shell.warnings[0].startswith(
        "the server sent a frame that cannot be read: not JSON"
    )
    assert bench.shell.sent == [{"type": "pong"}]


def test_notice_reaches_the_program() -> None:
    bench = Bench()
    bench.connected()
    bench.say("message", "restart at noon", event="notice")
    assert bench.shell.calls[-1] == ("notice", "restart at noon")


# -- credentials -----------------------------------------------------------------------------------


def test_token_goes_into_the_header() -> None:
    bench = Bench(has_token=True)
    bench.core.start()
    assert bench.shell.calls == [("fetch", "required")]
    bench.core.credentials.fetched("t1")
    assert bench.shell.calls[-1] == ("open", "t1")
    bench.welcome(user="7")
    assert (bench.core.state, bench.core.user) == (State.CONNECTED, "7")
    assert bench.shell.sent == []


def test_token_goes_into_the_first_message() -> None:
    bench = Bench(has_token=True, in_header=False)
    bench.core.start()
    assert bench.shell.calls == [("open", None)]
    bench.say("auth_required", {"timeout": 5})
    assert bench.shell.calls[-1] == ("fetch", "required")
    bench.core.credentials.fetched("t1")
    assert bench.shell.sent == [{"type": "auth", "token": "t1", "id": 1}]
    bench.say("auth_ok", {"user": "7"}, id=1)
    bench.welcome(user="7")
    assert bench.core.state is State.CONNECTED


def test_anonymous_welcome_is_followed_by_the_token() -> None:
    bench = Bench(has_token=True, in_header=False)
    bench.connected()
    assert bench.core.state is State.CONNECTING
    bench.core.credentials.fetched("t1")
    bench.say("auth_ok", {"user": "7"}, id=1)
    assert (bench.core.state, bench.core.user) == (State.CONNECTED, "7")


def test_header_that_the_site_does_not_read_is_followed_by_the_message() -> None:
    bench = Bench(has_token=True)
    bench.core.start()
    bench.core.credentials.fetched("t1")
    bench.say("auth_required", {"timeout": 5})
    assert bench.shell.sent == [{"type": "auth", "token": "t1", "id": 1}]


def test_no_credentials_where_they_are_required_is_the_end() -> None:
    bench = Bench()
    bench.core.start()
    bench.say("auth_required", {"timeout": 5})
    assert isinstance(bench.core.ended, SignedOut)
    assert str(bench.core.ended) == (
        "the server requires credentials, and the client has none (4401)"
    )


def test_refused_token_is_replaced_once() -> None:
    bench = Bench(has_token=True)
    bench.core.start()
    bench.core.credentials.fetched("t1")
    bench.core.lost(4401, "expired")
    assert bench.shell.calls[-1] == ("fetch", "refused")
    bench.core.credentials.fetched("t2")
    bench.wait(1.0)
    assert bench.shell.calls[-1] == ("open", "t2")
    bench.core.lost(4401, "expired")
    assert isinstance(bench.core.ended, SignedOut)
    assert str(bench.core.ended) == "expired (4401)"


def test_same_token_again_is_the_end() -> None:
    bench = Bench(has_token=True)
    bench.core.start()
    bench.core.credentials.fetched("t1")
    bench.core.lost(4401, "revoked")
    bench.core.credentials.fetched("t1")
    assert isinstance(bench.core.ended, SignedOut)


def test_token_refused_a_moment_after_each_welcome_is_not_fetched_for_ever() -> None:
    bench = Bench(has_token=True)
    bench.core.start()
    bench.core.credentials.fetched("t0")
    for number in range(1, 10):
        bench.welcome(user="7")
        bench.wait(1.0)
        bench.core.lost(4401, "revoked")
        if bench.core.ended:
            break
        bench.core.credentials.fetched(f"t{number}")
        bench.wait(1.0)
    assert number == 6
    assert isinstance(bench.core.ended, SignedOut)


def test_token_refused_after_a_connection_that_stood_is_renewed_each_time() -> None:
    bench = Bench(has_token=True)
    bench.core.start()
    bench.core.credentials.fetched("t0")
    for number in range(1, 5):
        bench.welcome(user="7")
        bench.wait(20.0)
        bench.core.lost(4401, "expired")
        bench.core.credentials.fetched(f"t{number}")
        bench.wait(1.0)
    assert bench.core.ended is None


def test_token_source_that_fails_is_asked_again_with_backoff() -> None:
    bench = Bench(has_token=True)
    bench.core.start()
    bench.core.credentials.fetched(None, OSError("secret"))
    assert bench.core.state is State.WAITING
    assert bench.shell.warnings == ["the token could not be fetched: OSError"]
    bench.wait(0.5)
    assert bench.shell.calls[-1] == ("fetch", "required")


def test_token_is_renewed_before_its_end() -> None:
    bench = Bench(has_token=True)
    bench.core.start()
    bench.core.credentials.fetched("t1")
    bench.welcome(user="7")
    bench.say("auth_expiring", {"expires_at": 1.0})
    assert bench.shell.calls[-1] == ("fetch", "expiring")
    bench.core.credentials.fetched("t2")
    assert bench.shell.sent == [{"type": "auth", "token": "t2", "id": 1}]


def test_token_that_is_about_to_end_when_it_comes_is_not_fetched_for_ever() -> None:
    bench = Bench(has_token=True)
    bench.core.start()
    bench.core.credentials.fetched("t0")
    bench.welcome(user="7")
    for number in range(1, 10):
        bench.say("auth_expiring", {"expires_at": 1.0})
        bench.core.credentials.fetched(f"t{number}")
    assert bench.shell.calls.count(("fetch", "expiring")) == 5
    bench.now += 61.0
    bench.say("auth_expiring", {"expires_at": 1.0})
    assert bench.shell.calls.count(("fetch", "expiring")) == 6


def test_source_without_a_token_leaves_the_cookie_its_new_attempt() -> None:
    bench = Bench(has_token=True)
    bench.core.start()
    bench.core.credentials.fetched(None)
    bench.welcome(user="7")
    bench.core.lost(4401, "password changed")
    bench.core.credentials.fetched(None)
    assert bench.core.next_delay_s == 1.5
    bench.wait(1.5)
    bench.core.credentials.fetched(None)
    bench.core.lost(4401, "password changed")
    assert isinstance(bench.core.ended, SignedOut)


def test_cookie_gets_one_new_attempt_and_a_second_refusal_is_the_end() -> None:
    bench = Bench()
    bench.connected(user="7")
    bench.core.lost(4401, "password changed")
    assert bench.core.next_delay_s == 1.5  # from the base on
    bench.wait(1.5)
    bench.core.lost(4401, "password changed")
    assert isinstance(bench.core.ended, SignedOut)


def test_login_that_has_ended_does_not_go_on_as_a_visitor() -> None:
    bench = Bench()
    bench.connected(user="7")
    bench.core.lost(4401, "logged out")
    bench.wait(2.0)
    bench.welcome(user=None)
    assert str(bench.core.ended) == "the client's login has ended (4401)"


# -- requests --------------------------------------------------------------------------------------


def test_request_waits_for_the_connection_and_gets_its_reply() -> None:
    bench = Bench()
    bench.core.start()
    outcome = bench.request()
    assert bench.shell.sent == []
    bench.welcome()
    assert bench.shell.sent == [{"type": "call", "channel": "a", "method": "m", "id": 1}]
    bench.say("result", {"x": 1}, id=1)
    assert outcome == [{"x": 1}, None]


def test_refused_request_has_the_class_of_its_code() -> None:
    bench = Bench()
    bench.connected()
    outcome = bench.request()
    bench.say("error", {"code": "forbidden", "reason": "not you", "retry_after": 2.5}, id=1)
    assert isinstance(outcome[1], Forbidden)
    assert (outcome[1].reason, outcome[1].retry_after) == ("not you", 2.5)


def test_code_of_a_newer_server_is_an_error_all_the_same() -> None:
    bench = Bench()
    bench.connected()
    outcome = bench.request()
    bench.say("error", {"code": "lunar", "reason": "full moon"}, id=1)
    assert type(outcome[1]) is RealtimeError
    assert str(outcome[1]) == "lunar: full moon"


def test_request_times_out_and_says_for_what() -> None:
    bench = Bench(request_timeout_s=35.0)
    bench.connected()
    outcome = bench.request()
    bench.wait(34.0)
    bench.say("ping")
    bench.wait(1.0)
    assert isinstance(outcome[1], RequestTimeout)
    assert str(outcome[1]) == "'call' was not answered within 35 s"


def test_frame_over_the_servers_limit_is_refused_here() -> None:
    bench = Bench()
    bench.connected()
    outcome = bench.request(message={"type": "publish", "channel": "a", "payload": "x" * 1_000})
    assert isinstance(outcome[1], TooLarge)
    assert str(outcome[1]) == "'publish' is 1052 bytes long; the server takes at most 1000"
    assert bench.shell.sent == []


def test_number_of_requests_is_bounded() -> None:
    bench = Bench(max_requests=2)
    bench.connected()
    bench.request(), bench.request()
    with pytest.raises(QueueFull, match=r"^2 requests are unanswered$"):
        bench.request()


PUBLISH = {"type": "publish", "channel": "a", "payload": "x" * 100, "key": "k"}


def test_publications_that_wait_are_bounded_in_bytes() -> None:
    bench = Bench(queue_bytes=400)
    bench.core.start()
    bench.request(message=PUBLISH, resend=True)
    bench.request(message=PUBLISH, resend=True)
    with pytest.raises(QueueFull) as raised:
        bench.request(message=PUBLISH, resend=True)
    assert str(raised.value) == (
        "324 bytes wait for a connection; with 162 more they are over the 400 of queue_bytes"
    )


def test_publication_that_waits_is_bounded_in_age() -> None:
    bench = Bench(queue_seconds=60.0)
    bench.core.start()
    outcome = bench.request(message=PUBLISH, resend=True)
    for _ in range(10):
        bench.core.lost(1006, "")
        bench.wait(6.0)
    assert str(outcome[1]) == "'publish' found no connection within 60 s"


def test_time_that_the_caller_gave_holds_whatever_happens() -> None:
    bench = Bench()
    bench.core.start()
    outcome = bench.request(message=PUBLISH, resend=True, timeout_s=10.0)
    bench.wait(4.0)
    bench.welcome()
    bench.wait(4.0)
    bench.core.lost(1006, "")
    bench.wait(1.9)
    assert outcome == []
    bench.wait(0.1)
    assert isinstance(outcome[1], RequestTimeout)


def test_request_that_waited_for_the_connection_has_less_time_for_its_reply() -> None:
    bench = Bench(request_timeout_s=15.0)
    bench.core.start()
    outcome = bench.request()
    bench.wait(10.0)
    bench.welcome()
    bench.wait(5.0)
    assert str(outcome[1]) == "'call' was not answered within 15 s"


def test_unanswered_publication_is_sent_again_with_its_key_and_in_order() -> None:
    bench = Bench()
    bench.connected()
    first = bench.request(message=PUBLISH, resend=True)
    bench.core.lost(1006, "")
    second = bench.request(message={**PUBLISH, "key": "k2"}, resend=True)
    bench.wait(1.0)
    bench.shell.sent.clear()
    bench.welcome()
    bench.say("error", {"code": "unknown_session", "reason": ""}, id=bench.shell.sent[0]["id"])
    assert [message.get("key") for message in bench.shell.sent] == [None, "k", "k2"]
    bench.say("published", {"duplicate": True}, id=1)
    assert (first, second) == ([{"duplicate": True}, None], [])


def test_publications_time_is_not_begun_again_by_each_loss() -> None:
    bench = Bench(queue_seconds=10.0, backoff_cap_s=1.0)
    bench.connected()
    outcome = bench.request(message=PUBLISH, resend=True)
    for _ in range(4):
        bench.core.lost(1006, "")
        bench.wait(3.0)
        bench.welcome()
        bench.say("error", {"code": "unknown_session"}, id=bench.shell.sent[-1]["id"])
    assert isinstance(outcome[1], RequestTimeout)
    assert str(outcome[1]) == "'publish' found no connection within 10 s"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"user": "7"}, {"user": "8"}),
        ({"user": "7"}, {"user": None}),
        ({"connection_id": "c1"}, {"connection_id": "c2"}),
    ],
)
def test_publication_is_not_sent_again_as_another_user_or_visitor(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    bench = Bench()
    bench.connected(**before)
    outcome = bench.request(message=PUBLISH, resend=True)
    waiting = bench.core.lost(1006, "") or bench.request(message=PUBLISH, resend=True)
    bench.wait(1.0)
    bench.shell.sent.clear()
    bench.welcome(**after)
    bench.say("error", {"code": "unknown_session", "reason": ""}, id=bench.shell.sent[0]["id"])
    assert [message["type"] for message in bench.shell.sent] == ["resume", "publish"]
    assert isinstance(outcome[1], ConnectionLost)
    assert (
        str(outcome[1])
        == "'publish' was not sent again: the client now connects as another user or visitor"
    )
    assert waiting == []


def test_other_requests_are_not_sent_again() -> None:
    bench = Bench()
    bench.connected()
    outcome = bench.request()
    bench.core.lost(1006, "the cable")
    assert isinstance(outcome[1], ConnectionLost)
    assert str(outcome[1]) == ("the connection ended before 'call' was answered (1006 the cable)")


def test_close_answers_what_waits_and_says_goodbye() -> None:
    bench = Bench()
    bench.connected()
    outcome = bench.request()
    bench.core.close()
    assert str(outcome[1]) == "closed by the program (1000)"
    assert bench.shell.calls[-1] == ("drop", 1000)
    assert bench.timers.next_at is None
