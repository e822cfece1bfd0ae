"""What `realtime_schema` writes, judged by others: the TypeScript compiler and AsyncAPI's own schema."""

from __future__ import annotations

import json

import jsonschema
import pytest

from channels_realtime.schema.asyncapi import asyncapi
from channels_realtime.schema.routes import describe
from channels_realtime.settings import get_config
from tests.support import npm
from tests.support.servers import ROOT
from tests.support.typed_channels import typed_routes

pytestmark = pytest.mark.integration


def test_routes_allow_and_refuse_what_they_should() -> None:
    npm.run([npm.packages() / ".bin/tsc", "-p", ROOT / "tests/js/types"], ROOT)


def test_document_is_asyncapi() -> None:
    file = npm.packages() / "@asyncapi/specs/schemas/3.0.0.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    document = asyncapi(
        describe(typed_routes()), config=get_config(), title="A", server="wss://example.com/ws/"
    )
    jsonschema.Draft7Validator(schema).validate(document)
    wrong = {**document, "operations": {"a": {"action": "emit"}}}
    assert not jsonschema.Draft7Validator(schema).is_valid(wrong)
