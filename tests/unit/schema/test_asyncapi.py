"""The AsyncAPI document; `tests/browser/test_typed_client.py` validates it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from channels_realtime.config import Config
from channels_realtime.errors import ImproperUse
from channels_realtime.schema.asyncapi import asyncapi
from channels_realtime.schema.routes import describe
from tests.support.typed_channels import typed_routes


def document(config: Config | None = None, **options: Any) -> dict[str, Any]:
    return asyncapi(describe(typed_routes()), config=config or Config(), title="A", **options)


def test_channels_have_addresses_and_parameters():
    found = document()["channels"]["orders_order_id"]
    assert (found["address"], found["title"]) == ("orders/{order_id}", "OrderChannel")
    assert found["parameters"] == {"order_id": {"description": "Matches [0-9]+ (int)."}}
    assert sorted(found["messages"]) == [
        "call.anything",
        "call.double",
        "call.rename",
        "message",
        "message.cleared",
        "message.note",
        "message.paid",
        "message.said",
        "message.status",
        "message.typing",
        "publish",
        "publish.note",
        "publish.paid",
        "publish.typing",
        "result.anything",
        "result.double",
        "result.rename",
        "subscribe",
    ]


def test_operations_are_those_of_the_site():
    operations = document()["operations"]
    of_prices = {name: found["action"] for name, found in operations.items() if "prices" in name}
    assert of_prices == {
        "prices.messages": "send",
        "prices.subscribe": "receive",
        "prices.publish": "receive",
        "prices.call.rename": "receive",
        "prices.call.anything": "receive",
        "prices.call.double": "receive",
    }
    assert operations["prices.call.rename"]["reply"] == {
        "channel": {"$ref": "#/channels/prices"},
        "messages": [{"$ref": "#/channels/prices/messages/result.rename"}],
    }
    assert "boards_board_cards.publish" not in operations


def test_payloads_are_the_frames_of_the_wire():
    found = document()
    frame = found["channels"]["orders_order_id"]["messages"]["publish.note"]["payload"]
    schema = {**frame, "components": found["components"]}
    sent = {"type": "publish", "channel": "orders/1", "event": "note", "payload": {"text": "a"}}
    assert jsonschema.Draft7Validator(schema).is_valid(sent)
    assert not jsonschema.Draft7Validator(schema).is_valid({**sent, "payload": {}})
    assert not jsonschema.Draft7Validator(schema).is_valid({**sent, "event": "status"})


def test_server_has_the_credentials_that_the_site_takes():
    config = Config(query_token=True, jwt_cookie="jwt")
    found = document(config, server="wss://example.com/ws/")
    assert list(found["components"]["securitySchemes"]) == [
        "bearer",
        "ticket",
        "queryToken",
        "tokenCookie",
        "loginSession",
    ]
    server = found["servers"]["default"]
    assert server["security"][0] == {"$ref": "#/components/securitySchemes/bearer"}
    assert (server["host"], server["protocol"], server["pathname"]) == (
        "example.com",
        "wss",
        "/ws/",
    )
    tokens = document(Config(token_verifier=None))["components"]["securitySchemes"]
    assert list(tokens) == ["ticket", "loginSession"]


def test_server_that_is_no_address_is_refused():
    with pytest.raises(ImproperUse) as refused:
        document(server="example.com")
    assert refused.value.reason == (
        "server is 'example.com'; expected an address such as 'wss://example.com/ws/'"
    )
