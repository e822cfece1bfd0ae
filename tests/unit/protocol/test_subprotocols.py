"""Which subprotocol is answered, and the token among the names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.protocol.codecs import CODECS, JSON, MSGPACK
from channels_realtime.protocol.subprotocols import negotiate, shape_of

V1_JSON, V1_MSGPACK = "realtime.v1.json", "realtime.v1.msgpack"


def test_nothing_offered_is_a_bare_connection():
    found = negotiate([])
    assert found.answer is None
    assert found.codec is JSON
    assert found.served
    assert not found.negotiated
    assert not found.heartbeat
    assert found.token is None


@pytest.mark.parametrize(("name", "codec"), [(V1_JSON, JSON), (V1_MSGPACK, MSGPACK)])
def test_our_subprotocol_is_answered_and_batches_and_beats(name, codec):
    found = negotiate([name])
    assert found.answer == name
    assert found.codec is codec
    assert found.negotiated
    assert found.heartbeat


def test_first_of_ours_is_chosen_when_the_client_prefers_it():
    assert negotiate([V1_MSGPACK, V1_JSON]).answer == V1_MSGPACK
    assert negotiate([V1_JSON, V1_MSGPACK]).answer == V1_JSON


def test_ours_is_chosen_when_others_stand_before_it():
    found = negotiate(["chat", "nope", "realtime.v9.json", V1_JSON], {"chat": "json"})
    assert found.answer == V1_JSON
    assert found.served


def test_alias_is_answered_in_the_clients_order_and_does_not_beat():
    aliases = {"json": "json", "chat": "msgpack"}
    found = negotiate(["nope", "chat", "json"], aliases)
    assert found.answer == "chat"
    assert found.codec is MSGPACK
    assert found.negotiated
    assert not found.heartbeat
    assert negotiate(["json", "chat"], aliases).answer == "json"


def test_alias_is_chosen_when_only_other_versions_of_ours_are_offered_besides():
    found = negotiate(["realtime.v9.json", "chat"], {"chat": "json"})
    assert found.answer == "chat"
    assert found.served


@pytest.mark.parametrize(
    ("offered", "answer", "codec"),
    [
        (["realtime.v9.json"], "realtime.v9.json", JSON),
        (["realtime.v9.msgpack", "realtime.v8.json"], "realtime.v9.msgpack", MSGPACK),
        (["realtime.v2.cbor"], "realtime.v2.cbor", JSON),
        (["x", "realtime.v0.json"], "realtime.v0.json", JSON),
    ],
)
def test_unknown_version_is_answered_and_not_served(offered, answer, codec):
    found = negotiate(offered)
    assert found.answer == answer
    assert found.codec is codec
    assert not found.served


@pytest.mark.parametrize(
    "offered",
    [["chat"], ["chat", "json"], ["REALTIME.V1.JSON"], ["realtime.v1"], ["realtime.v٣.json"]],
)
def test_names_nobody_knows_get_no_answer(offered):
    found = negotiate(offered)
    assert found.answer is None
    assert found.served
    assert not found.negotiated


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        ([V1_JSON, "access_token_abc"], V1_JSON),
        (["access_token_abc", V1_JSON], V1_JSON),
        (["jwt", "abc"], "jwt"),
        ([V1_JSON, "jwt", "abc"], V1_JSON),
        (["jwt", "abc", V1_MSGPACK], V1_MSGPACK),
        (["access_token_abc"], "access_token_abc"),
        (["access_token_abc", "chat"], "chat"),
        (["chat", "access_token_abc"], "chat"),
        (["chat", "jwt", "abc"], "jwt"),
        (["realtime.v9.json", "access_token_abc"], "realtime.v9.json"),
    ],
)
def test_token_is_found_and_the_answer_carries_none_where_another_name_was_offered(offered, answer):
    found = negotiate(offered)
    assert found.token == "abc"
    assert found.answer == answer


def test_first_token_decides_when_there_are_two():
    assert negotiate(["access_token_a", "jwt", "b"]).token == "a"
    assert negotiate(["jwt", "b", "access_token_a"]).token == "b"


def test_jwt_is_a_name_like_any_other_when_nothing_follows_it():
    found = negotiate(["jwt"])
    assert found.token is None
    assert found.answer is None
    assert negotiate([V1_JSON, "jwt"]).answer == V1_JSON


def test_name_after_jwt_is_the_token_whatever_it_looks_like():
    found = negotiate(["jwt", V1_JSON])
    assert found.token == V1_JSON
    assert found.answer == "jwt"


def test_token_that_looks_like_an_alias_is_not_taken_for_one():
    assert negotiate(["jwt", "chat"], {"chat": "msgpack"}).codec is JSON


def test_empty_token_is_one():
    found = negotiate(["access_token_"])
    assert found.token == ""
    assert found.answer == "access_token_"


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoiMSJ9.c2lnbmF0dXJl-_"
HEX = "9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b"
UUID = "550e8400-e29b-41d4-a716-446655440000"
URLSAFE = "Drmhze6EPcv0fN_81Bj-nA" * 2


@pytest.mark.parametrize("token", [JWT, HEX, HEX.upper(), UUID, URLSAFE])
@pytest.mark.parametrize(
    ("before", "after", "answer"),
    [
        (["Bearer"], [], "Bearer"),
        (["bearer"], [], "bearer"),
        (["access_token"], [], "access_token"),
        (["token"], [], "token"),
        (["Token"], [], "Token"),
        (["Authorization"], [], "Authorization"),
        (["anything"], [], "anything"),
        (["chat", "Bearer"], [], "Bearer"),
        (["Bearer"], ["chat"], "Bearer"),
        ([], ["Bearer"], "Bearer"),
        ([V1_JSON, "Bearer"], [], V1_JSON),
        ([V1_JSON], [], V1_JSON),
        ([], [V1_MSGPACK], V1_MSGPACK),
        (["token", "json"], [], "json"),
        (["realtime.v9.json"], [], "realtime.v9.json"),
    ],
)
def test_token_is_found_in_other_peoples_forms(before, token, after, answer):
    found = negotiate([*before, token, *after], {"json": "json"})
    assert found.token == token
    assert found.answer == answer


@pytest.mark.parametrize("token", [JWT, HEX, UUID, URLSAFE])
def test_token_alone_is_found_and_repeated(token):
    found = negotiate([token])
    assert found.token == token
    assert found.answer == token


@pytest.mark.parametrize("prefix", ["Bearer.", "token-", "bearer_", "authorization.bearer."])
def test_jwt_is_found_behind_a_prefix(prefix):
    found = negotiate([prefix + JWT])
    assert found.token == JWT
    assert found.answer == prefix + JWT


@pytest.mark.parametrize("marker", ["Bearer", "access_token", "TOKEN"])
def test_name_after_a_marker_is_the_token_where_nothing_looks_more_like_one(marker):
    assert negotiate([marker, "s3cret"]).token == "s3cret"
    assert negotiate([marker, V1_JSON]).token is None
    assert negotiate([marker, "chat"], {"chat": "json"}).token is None
    assert negotiate([marker, "chat", JWT]).token == JWT
    assert negotiate(["chat", marker, JWT], {marker: "json"}).answer == marker


@pytest.mark.parametrize(
    ("offered", "answer"),
    [
        (["Bearer"], "Bearer"),
        (["token"], "token"),
        (["chat", "access_token"], "access_token"),
        ([JWT, HEX], JWT),
        (["Bearer", JWT, "token", HEX], "Bearer"),
        (["Bearer", "token"], "Bearer"),
        ([V1_JSON, JWT, UUID], V1_JSON),
    ],
)
def test_token_is_empty_where_there_is_none_or_more_than_one(offered, answer):
    found = negotiate(offered)
    assert found.token == ""
    assert found.answer == answer


@pytest.mark.parametrize(
    "offered",
    [
        ["graphql-transport-ws"],
        ["actioncable-v1-json", "actioncable-unsupported"],
        ["v4.base64.channel.k8s.io"],
        ["com.example.a-protocol-with-a-very-long-name.v12"],
        ["a-protocol-with-a-very-long-name-of-version-12"],
        ["wamp.2.msgpack.batched"],
        ["chat"],
        ["eyJub3RhdG9rZW4"],
        ["eyJhbGciOiJub25lIn0.eyJ1c2VyX2lkIjoiMSJ9."],
        ["a1" * 300],
        [V1_JSON, "token"],
    ],
)
def test_protocols_name_is_no_token(offered):
    assert negotiate(offered).token is None


def test_shape_of_an_offer_shows_what_can_be_no_token():
    offered = [V1_JSON, "realtime.v9.json", "chat", "Bearer", "jwt", "secret", JWT]
    assert shape_of(offered, {"chat": "json"}) == (
        "'realtime.v1.json', 'realtime.v9.json', 'chat', 'Bearer', 'jwt', <6 characters>,"
        f" <{len(JWT)} characters>"
    )
    assert shape_of(["x"] * 11, {}) == "<1 characters>, " * 10 + "…"


def test_repr_shows_no_token():
    assert "abc" not in repr(negotiate(["access_token_abc"]))


NAMES = st.sampled_from(
    [
        V1_JSON,
        V1_MSGPACK,
        "realtime.v9.json",
        "jwt",
        "chat",
        "access_token_x",
        "eyJ",
        "nope",
        "Bearer",
        JWT,
        "",
    ]
)


@given(st.lists(NAMES | st.text(max_size=10), max_size=6))
def test_answer_is_always_one_of_the_offered_names(offered):
    found = negotiate(offered, {"chat": "msgpack"})
    assert found.answer is None or found.answer in offered
    assert found.codec in CODECS.values()
    if found.token is not None and found.answer is None:
        raise AssertionError("a browser fails a connection whose offer is not answered")
