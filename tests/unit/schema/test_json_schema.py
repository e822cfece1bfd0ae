"""JSON Schema of what subscribers get."""

from __future__ import annotations

import jsonschema
import pytest

from channels_realtime.schema.json_schema import json_schema
from channels_realtime.schema.routes import describe
from tests.support.typed_channels import typed_routes


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema(describe(typed_routes()), title="A site")
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(
    ("channel", "event", "payload", "valid"),
    [
        ("orders/42", "status", {"status": "paid", "total": "1.50", "at": None}, True),
        ("orders/42", "status", {"status": "lost", "total": "1.50", "at": None}, False),
        ("orders/42", "stauts", {"status": "paid", "total": "1.50", "at": None}, False),
        ("orders/x", "status", {"status": "paid", "total": "1.50", "at": None}, False),
        ("orders/42", None, {"productName": "a", "pieces": 1}, True),
        ("orders/42", None, {"productName": "a", "pieces": 0}, False),
        ("orders/42", "paid", {"type": "card", "last4": "1234"}, True),
        ("orders/42", "paid", {"type": "card"}, False),
        ("orders/42", "cleared", None, True),
        ("boards/a", "any", [], True),  # undeclared_events
        ("files.d/a/b", None, 5, True),  # declares nothing
        ("filesxd/a/b", None, 5, False),
        ("users/7", "any", {}, True),
    ],
)
def test_messages_are_valid_where_their_types_are(validator, channel, event, payload, valid):
    message = {"type": "message", "channel": channel, "payload": payload}
    assert validator.is_valid(message | ({} if event is None else {"event": event})) is valid
