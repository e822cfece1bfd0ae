"""Fragments as htmx swaps them."""

from __future__ import annotations

import pytest

from channels_realtime.protocol.fragments import ACTIONS, htmx_text


def text(action: str, html: str | None, target: str | None = "#a") -> str:
    payload = {"action": action}
    if html is not None:
        payload["html"] = html
    if target is not None:
        payload["target"] = target
    return htmx_text(payload)


@pytest.mark.parametrize(
    ("action", "expected"),
    {
        "append": '<div hx-swap-oob="beforeend:#a"><p>x</p></div>',
        "prepend": '<div hx-swap-oob="afterbegin:#a"><p>x</p></div>',
        "update": '<div hx-swap-oob="innerHTML:#a"><p>x</p></div>',
        "replace": '<p hx-swap-oob="outerHTML:#a">x</p>',
        "morph": '<p hx-swap-oob="outerMorph:#a">x</p>',
    }.items(),
)
def test_action_is_an_out_of_band_swap(action, expected):
    assert text(action, "<p>x</p>") == expected


def test_removal_has_no_content():
    assert text("remove", None) == '<div hx-swap-oob="delete:#a"></div>'


@pytest.mark.parametrize(
    ("html", "wrapper"),
    [
        ("<tr><td>", "tbody"),
        ("<TD>", "tr"),
        ("<th scope=row>", "tr"),
        ("<tbody>", "table"),
        ("<col>", "colgroup"),
        (" <!-- a\n > --> <tr>", "tbody"),
        ("<li>", "div"),
        ("text", "div"),
        ("", "div"),
    ],
)
def test_wrapper_is_an_element_that_may_contain_the_html(html, wrapper):
    assert text("append", html) == f'<{wrapper} hx-swap-oob="beforeend:#a">{html}</{wrapper}>'


def test_replacing_by_text_wraps_it():
    assert text("replace", "x") == '<div hx-swap-oob="outerHTML:#a">x</div>'


def test_attribute_stands_in_the_first_element_after_a_comment():
    assert text("replace", "<!-- <b> --><br/><i>") == (
        '<!-- <b> --><br hx-swap-oob="outerHTML:#a"/><i>'
    )


def test_selector_is_escaped():
    assert text("append", "x", '[data-a="1"] > b') == (
        '<div hx-swap-oob="beforeend:[data-a=&quot;1&quot;] &gt; b">x</div>'
    )


@pytest.mark.parametrize("action", sorted(set(ACTIONS) - {"remove", "replace", "morph"}))
def test_html_without_a_target_is_as_it_is(action):
    assert text(action, "<p>x</p>", None) == "<p>x</p>"
