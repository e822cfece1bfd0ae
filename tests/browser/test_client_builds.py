"""The minified builds of the client in Chromium: what is loaded when needed finds its way to the core.

The builds shorten internal names, so a part that was built with other names than its core would fail here alone.
"""

import mimetypes
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route

STATIC = Path(__file__).resolve().parents[2] / "channels_realtime/static/channels_realtime"
ORIGIN = "http://builds.localhost"

# A WebSocket whose server welcomes, and answers each request from `answers`.
SERVER = """
window.requests = [];
window.FakeSocket = class {
    protocol = "realtime.v1.json";
    constructor() {
        queueMicrotask(() => this.say({type: "auth_required", payload: {timeout: 9}}));
        window.server = this;
    }
    say(message) { this.onmessage?.({data: JSON.stringify(message)}); }
    send(text) {
        for (const message of [JSON.parse(text)].flat()) {
            window.requests.push(message.type);
            const {type, id, channel} = message;
            const reply = (type, payload) => this.say({type, id, channel, payload});
            if (type === "auth") {
                reply("auth_ok", {user: "7"});
                this.say({type: "welcome", payload: {session_id: "s", connection_id: "c", user: "7",
                          heartbeat: {interval: 25, timeout: 10}, limits: {max_batch: 8}, channels: {}}});
            }
            if (type === "subscribe") {
                const members = [{id: "7", user: "7", info: null}];
                reply("subscribed", {epoch: "e", offset: 1, members, count: 1});
            }
            if (type === "presence") reply("presence", {members: [{id: "7"}], count: 1});
        }
    }
    close() {}
};
"""

PAGE = """async (client) => {
    const heard = [];
    const told = (name) => new Promise((resolve) => client.on("state", (state) => state === name && resolve()));
    await told("connected");
    const here = new Promise((resolve) => {
        client.subscribe("a", {
            presence: true,
            load: async () => "state",
            ack: true,
            onLoaded: (state) => heard.push(state),
            onMessage: ({payload}) => heard.push(payload),
            onMembers: (members, count) => resolve([...members.keys(), count]),
        });
    });
    const members = await here;
    const loop = client.subscribe("a", {iterate: true});
    await loop.ready;
    const say = (offset) => window.server.say(
        {type: "message", channel: "a", payload: offset, epoch: "e", offset, event: "status"});
    say(2);
    const {value} = await loop.next();
    while (!window.requests.includes("ack")) await new Promise((resolve) => setTimeout(resolve, 20));
    return {members, heard, looped: value.payload, requests: [...new Set(window.requests)]};
}"""


def serve(route: Route) -> None:
    path = urlsplit(route.request.url).path
    if path == "/":
        route.fulfill(content_type="text/html", body="<!doctype html><meta charset='utf-8'>")
        return
    file = STATIC / path.lstrip("/")
    if not file.is_file():
        route.fulfill(status=404)
        return
    kind = mimetypes.guess_type(file)[0] or "text/javascript"
    route.fulfill(content_type=kind, body=file.read_bytes())


@pytest.mark.parametrize("build", ["realtime.js", "realtime.min.js", "realtime.global.min.js"])
def test_client_loads_its_parts_when_it_needs_them(page: Page, build: str) -> None:
    page.route(f"{ORIGIN}/**", serve)
    page.goto(f"{ORIGIN}/")
    page.evaluate(f"() => {{ {SERVER} }}")
    if build == "realtime.global.min.js":
        page.add_script_tag(url=f"{ORIGIN}/{build}")
        library = "window.Realtime"
    else:
        library = f"await import('{ORIGIN}/{build}')"
    result = page.evaluate(
        f"""async () => {{
            const {{connect}} = {library};
            const client = connect("wss://builds.localhost/ws/", {{
                WebSocket: window.FakeSocket, getToken: async () => "token",
            }});
            return await ({PAGE})(client);
        }}"""
    )
    assert result["members"] == ["7", 1]
    assert result["heard"] == ["state", 2]
    assert result["looped"] == 2
    assert result["requests"] == ["auth", "subscribe", "ack"] or result["requests"] == [
        "auth",
        "subscribe",
        "presence",
        "ack",
    ]
