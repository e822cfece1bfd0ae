"""Pages that are live without JavaScript of their own, on a real server: the elements, and htmx."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.support import npm
from tests.support.browser import until
from tests.support.event_streams import EventStream
from tests.support.servers import Server
from tests.support.site import Site, get, new_site, publish

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WAIT_MS = 15_000

Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    npm.packages()  # not while a page waits for them
    site: Site = new_site(
        tmp_path_factory.mktemp("site"),
        DJANGO_SETTINGS_MODULE="tests.browser.live_settings",
        LIVE_STATIC_ROOT=str(tmp_path_factory.mktemp("static")),
    )
    site.manage("collectstatic", "--no-input", "--verbosity", "0")
    with site.serve("uvicorn") as server:
        yield server


@pytest.fixture
def problems() -> list[str]:
    """What the consoles of the pages said."""
    return []


@pytest.fixture
def visit(chromium: Browser, server: Server, problems: list[str]) -> Iterator[Open]:
    """Opens a page with a body, in a browser context of its own."""
    contexts = []

    def visit(body: str, **query: str) -> Page:
        context = chromium.new_context()
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: (
                problems.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        page.goto(server.url("/live/?" + urlencode({"body": body, **query})))
        return page

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture
def channel() -> str:
    """One with a history that everybody may publish to."""
    return f"kept/{uuid.uuid4().hex[:8]}"


def element(channel: str, content: str = "", attributes: str = "swap") -> str:
    since = f'{{% realtime_position "{channel}" %}}'
    return f'<realtime-channel name="{channel}" since="{since}" {attributes}>{content}</realtime-channel>'


def subscribed(page: Page) -> Page:
    page.evaluate("document.querySelector('realtime-channel').subscription.ready")
    return page


def send(server: Server, channel: str, html: str | None, **query: str) -> None:
    if html is not None:
        query["html"] = html
    get(server, "/publish/html/", channel=channel, **query)


def text(page: Page, selector: str, expected: str) -> None:
    """Wait until an element has this text."""
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.textContent === text",
        arg=[selector, expected],
    )


# -- the elements ----------------------------------------------------------------------------------


def test_page_shows_what_the_server_renders_under_a_strict_policy(
    server: Server, visit: Open, channel: str, problems: list[str]
) -> None:
    body = element(channel, '<ul id="list"><li id="a">a</li></ul><p id="p">p</p><input id="i">')
    page = subscribed(visit(body, strict=""))
    scripts = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    (script,) = [one for one in scripts if "realtime-elements" in one]
    assert len(script.rsplit("/", 1)[1].split(".")) == 4  # its name has a hash
    send(server, channel, '<li id="b">b</li>', target="#list")
    send(server, channel, '<li id="c">c</li>', target="#list", action="prepend")
    text(page, "#list", "cab")
    send(server, channel, "<b>x</b>", target="#a", action="update")
    send(server, channel, '<li id="d">d</li>', target="#b", action="replace")
    send(server, channel, None, target="#c", action="remove")
    text(page, "#list", "xd")
    page.fill("#i", "typed")
    morphed = '<realtime-channel name="{}" swap><p id="p">new</p><input id="i" class="x">'
    send(server, channel, morphed.format(channel), target="realtime-channel", action="morph")
    text(page, "realtime-channel", "new")
    assert page.input_value("#i.x") == "typed"
    assert page.evaluate("document.activeElement.id") == "i"
    assert problems == []


def test_page_gets_what_was_published_while_it_was_on_its_way(
    server: Server, visit: Open, channel: str
) -> None:
    send(server, channel, "<li>known</li>", target="#list")
    since = json.loads(get(server, "/position/", channel=channel))
    send(server, channel, "<li>missed</li>", target="#list")
    body = f"<realtime-channel name={channel} swap since='{json.dumps(since)}'></realtime-channel>"
    page = visit(body + '<ul id="list"></ul>')
    text(page, "#list", "missed")


def test_client_cannot_put_html_into_anothers_page(
    server: Server, visit: Open, channel: str, problems: list[str]
) -> None:
    page = subscribed(visit(element(channel, '<p id="p"></p>')))
    outcomes = page.evaluate(
        """async (channel) => {
            const client = document.querySelector("realtime-channel").subscription;
            const { pageClient } = await import(document.querySelector("script[type=module]").src);
            const payload = { action: "append", html: "<img src=x onerror=alert(1)>", target: "#p" };
            const tried = [];
            for (const event of ["realtime.html", "realtime.", "html", "typing", undefined]) {
                const published = pageClient().publish(channel, payload, { event });
                tried.push(await published.then(() => "taken", ({ code }) => code));
            }
            return tried;
        }""",
        channel,
    )
    assert outcomes == ["forbidden", "forbidden", "forbidden", "taken", "taken"]
    send(server, channel, "end", target="#p")
    text(page, "#p", "end")
    assert page.query_selector("img") is None
    assert problems == []


def test_form_in_a_fragment_has_the_token_of_the_page(
    server: Server, visit: Open, channel: str
) -> None:
    page = subscribed(visit(element(channel)))
    field = '<input type="hidden" name="csrfmiddlewaretoken" value="of-the-page">'
    form = f'<form method="post" action="/live/?body=posted">{field}<button>post</button></form>'
    send(server, channel, form)
    page.click("button")
    text(page, "body", "posted")


def test_page_is_fetched_again_where_messages_are_missing(
    server: Server, visit: Open, channel: str, problems: list[str]
) -> None:
    """The position that it was rendered with is of a history that is gone."""
    body = f"""{{% now "U.u" as time %}}<i>{{{{ time }}}}</i>
        <realtime-channel name="{channel}" since='{{"epoch": "gone", "offset": 1}}' swap src>
        <p id="p">{{{{ time }}}}</p></realtime-channel>"""
    page = visit(body, strict="")
    page.wait_for_function(  # A function: an expression would be evaluated, which the policy forbids.
        "() => document.querySelector('#p').textContent > document.querySelector('i').textContent"
    )
    send(server, channel, "after", target="#p", action="update")
    text(page, "#p", "after")
    assert problems == []


def test_members_are_shown(server: Server, visit: Open) -> None:
    body = f"""<realtime-presence name="devices/{uuid.uuid4().hex[:8]}"><b data-count>0</b>
        <ul><template><li data-value="id"></li></template></ul></realtime-presence>"""
    first = visit(body)
    text(first, "[data-count]", "1")
    second = visit(body)
    text(second, "[data-count]", "2")
    text(first, "[data-count]", "2")
    assert first.eval_on_selector_all("li", "(all) => all.length") == 2
    second.context.close()
    text(first, "[data-count]", "1")
    assert first.eval_on_selector_all("li", "(all) => all.length") == 1


# -- htmx ------------------------------------------------------------------------------------------

HTMX = {
    2: ["htmx2/dist/htmx.min.js", "htmx-ext-sse/dist/sse.min.js", "htmx-ext-ws/dist/ws.min.js"],
    4: ["htmx4/dist/htmx.min.js", "htmx4/dist/ext/hx-sse.min.js", "htmx4/dist/ext/hx-ws.min.js"],
}

CLOSEST = {2: "closest realtime-channel", 4: "'closest realtime-channel'"}


def head(version: int, tag: str = "") -> str:
    return "".join(f'<script src="/npm/{name}"></script>' for name in HTMX[version]) + tag


@pytest.mark.parametrize("version", HTMX)
def test_htmx_hears_the_elements_and_its_requests_name_the_connection(
    server: Server, visit: Open, channel: str, version: int, problems: list[str]
) -> None:
    others = subscribed(visit(element(channel, '<p id="p"></p>')))
    query = urlencode({"channel": channel, "html": "said", "target": "#p"})
    body = element(
        channel,
        f"""<p id="p"></p><button hx-get="/publish/html/?{query}" hx-target="#answer">say</button>
        <i id="answer"></i>
        <b hx-get="/publish/async/?channel=public/none&payload=1"
            hx-trigger="realtime:typing from:{CLOSEST[version]}"></b>""",
    )
    page = subscribed(visit(body, head=head(version, "{% realtime %}")))
    page.click("button")
    text(others, "#p", "said")
    text(page, "#answer", "ok\n")
    assert page.text_content("#p") == ""  # it was excluded
    others.evaluate(
        """async (channel) => {
            const { pageClient } = await import(document.querySelector("script[type=module]").src);
            await pageClient().publish(channel, null, { event: "typing" });
        }""",
        channel,
    )
    text(page, "b", "ok\n")
    # What arrives later is htmx' too.
    send(
        server,
        channel,
        f'<button id="new" hx-get="/publish/html/?{query}">',
        target="realtime-channel",
    )
    page.click("#new")
    text(page, "#new", "ok\n")
    assert problems == []


STREAM = {
    2: """<div hx-ext="sse" sse-connect="{url}">
        <ul id="own" sse-swap="message" hx-swap="beforeend"></ul>
        <b hx-get="/publish/async/?channel=public/none&payload=1" hx-trigger="sse:realtime:message"></b>
        </div>""",
    4: """<ul id="own" hx-sse:connect="{url}" hx-swap="beforeend"></ul>
        <b hx-get="/publish/async/?channel=public/none&payload=1" hx-trigger="realtime:message from:#own"></b>""",
}
SOCKET = {
    2: '<div hx-ext="ws" ws-connect="{url}"></div>',
    4: '<div hx-ws:connect="{url}" hx-swap="none"></div>',
}
PLACES = '<ul id="list"><li id="a">a</li></ul><table><tbody id="rows"></tbody></table>'


def all_actions(page: Page, server: Server, channel: str) -> None:
    """Each action, with a target."""
    send(server, channel, '<li id="b">b</li>', target="#list")
    send(server, channel, '<li id="c">c</li>', target="#list", action="prepend")
    text(page, "#list", "cab")
    send(server, channel, "<b>x</b>", target="#a", action="update")
    send(server, channel, '<li id="d">d</li>', target="#b", action="replace")
    send(server, channel, None, target="#c", action="remove")
    text(page, "#list", "xd")
    send(server, channel, '<ul id="list"><li id="d">e</li></ul>', target="#list", action="morph")
    text(page, "#list", "e")
    send(server, channel, "<tr><td>1</td></tr>", target="#rows")
    text(page, "#rows tr td", "1")


@pytest.mark.parametrize("version", HTMX)
def test_htmx_swaps_what_comes_by_an_event_stream_and_misses_nothing(
    server: Server, visit: Open, channel: str, version: int, problems: list[str]
) -> None:
    url = f"/realtime/sse/?channel={channel}&format=html"
    page = visit(STREAM[version].format(url=url) + PLACES, head=head(version))
    until_subscribed(page, server, channel)
    all_actions(page, server, channel)
    send(server, channel, "<li>own</li>")
    text(page, "#own", "own")
    publish(server, channel, "<li>of a client</li>")
    text(page, "b", "ok\n")
    hide(page, hidden=True)
    until_subscribed(page, server, channel, count=0 if version == 4 else 1)
    send(server, channel, "<li>1</li>")
    send(server, channel, "<li>2</li>")
    hide(page, hidden=False)
    text(page, "#own", "own12")
    assert problems == []


def test_htmx_4_stops_at_the_close_only_where_it_is_told_to(
    server: Server, visit: Open, channel: str
) -> None:
    """Without ``hx-sse:close`` it goes on asking, though it is answered 401."""
    url = f"/realtime/sse/?channel={channel}&format=html&user"
    stream = '<p hx-sse:connect="{}={}" {} hx-swap="beforeend"></p>'
    body = stream.format(url, "stops", 'hx-sse:close="close"') + stream.format(url, "goes", "")
    config = """<meta name="htmx-config" content='{"sse": {"reconnectMaxDelay": 500}}'>"""
    page = visit("")
    page.goto(server.url("/do/make-users/"))
    name = page.evaluate("JSON.parse(document.body.textContent).found[0].name")
    page.goto(server.url(f"/login/?user={name}"))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rpartition("=")[2]))
    page.goto(server.url("/live/?" + urlencode({"body": body, "head": config + head(4)})))
    until_subscribed(page, server, channel, count=2)
    page.request.get(server.url("/logout/"))
    for _ in range(2):
        page.wait_for_event("response", lambda response: response.status == 401)
    assert asked.count("goes") >= 3
    assert asked.count("stops") == 1


def test_stream_for_htmx_tells_its_cursor_before_there_is_a_fragment(
    server: Server, channel: str
) -> None:
    with EventStream(server, channel, format="html") as stream:
        first, second = stream.event(), stream.event()
    assert first is not None
    assert (first.name, list(first.data["payload"])) == (
        "realtime:welcome",
        ["connection_id", "user"],
    )
    assert second is not None
    assert (second.name, second.data["channel"]) == ("realtime:subscribed", channel)
    assert second.id


def test_stream_of_another_format_is_refused(server: Server) -> None:
    with EventStream(server, format="xml") as stream:
        assert stream.status == 400
        reason = "format is 'xml'; expected json or html"
        assert stream.json() == {"code": "bad_message", "reason": reason}


@pytest.mark.parametrize("version", HTMX)
def test_htmx_swaps_what_comes_by_the_plain_endpoint(
    server: Server, visit: Open, channel: str, version: int, problems: list[str]
) -> None:
    url = f"/ws/bare/{channel}?format=html"
    page = visit(SOCKET[version].format(url=url) + PLACES, head=head(version))
    until_subscribed(page, server, channel)
    publish(server, channel, '<p id="list" hx-swap-oob="true">of a client</p>')
    all_actions(page, server, channel)
    assert problems == []


def hide(page: Page, *, hidden: bool) -> None:
    """What a page hears when another tab is chosen, or this one again."""
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def until_subscribed(page: Page, server: Server, channel: str, count: int = 1) -> None:
    """Wait until the channel has so many subscribers."""
    until(
        page,
        """async ([channel, count]) => {
            const { subscribers } = await (await fetch(`/state/?channel=${channel}`)).json();
            return subscribers === count;
        }""",
        [channel, count],
    )
