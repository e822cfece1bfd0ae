"""Reads the text of a page, without the markup."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Any


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def read(response: Any) -> str:
    """The text of the page, with single spaces."""
    parser = _Text()
    parser.feed(response.content.decode())
    return " ".join(" ".join(parser.parts).split())


def tags(response: Any, name: str) -> list[dict[str, str | None]]:
    """The attributes of each such tag of the page."""
    parser = _Text()
    parser.feed(response.content.decode())
    return [attributes for tag, attributes in parser.tags if tag == name]


def rows(response: Any) -> list[dict[str, str]]:
    """The rows of a list: the text of each cell by its column, without the checkbox."""
    body = re.search(r"<tbody>(.*?)</tbody>", response.content.decode(), re.DOTALL)
    if body is None:
        return []
    found = []
    for row in re.findall(r"<tr>(.*?)</tr>", body[1], re.DOTALL):
        cells = re.findall(r"<t[dh] class=\"field-(\w+).*?>(.*?)</t[dh]>", row, re.DOTALL)
        found.append(
            {
                name.removeprefix("shown_"): html.unescape(re.sub(r"<[^>]*>", "", cell)).strip()
                for name, cell in cells
            }
        )
    return found


def ids(response: Any) -> list[str]:
    """The connections of the list, in its order."""
    return re.findall(r'data-key="([^"]+)"', response.content.decode())


def said(response: Any) -> list[str]:
    """The messages that the page shows."""
    return [str(message) for message in response.context["messages"]]
