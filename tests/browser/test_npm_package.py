"""The packed npm package in a fresh Vite project with React and TypeScript, and its hooks in Chromium and on a server.

`tests/npm/vite-app` is the project. Vite builds it for production. esbuild builds it for development, where StrictMode
runs all effects twice, with React 19 and 18, and its twin for Vue. All show the same page.
"""

from __future__ import annotations

import functools
import gzip
import http.server
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.benchmarks.client_size import APART, HOOKS, minified
from tests.support import npm
from tests.support.clients import wait_until
from tests.support.servers import Server
from tests.support.site import new_site, publish, state

if TYPE_CHECKING:
    from playwright.sync_api import Page

WAIT_MS = 15_000
MAX_HOOKS_BYTES = 1536
HTML = '<!doctype html><div id="root"></div><script type="module" src="{}"></script>'
BUNDLES = {
    "react19": ("main.tsx",),
    "react18": ("main.tsx", "--alias:react=react18", "--alias:react-dom=react-dom18"),
    "vue": ("vue.ts",),
}
PAGES = ("index", *BUNDLES)


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm.pack(tmp_path_factory.mktemp("tarball"))


@pytest.fixture(scope="module")
def project(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with the tarball installed; React, Vite and TypeScript are in the directory above."""
    above = tmp_path_factory.mktemp("vite")
    (above / "node_modules").symlink_to(npm.packages())
    shutil.copytree(npm.DIRECTORY / "vite-app", above / "vite-app")
    npm.run(["npm", "install", "--offline", "--no-audit", "--no-fund", tarball], above / "vite-app")
    return above / "vite-app"


@pytest.fixture(scope="module")
def pages(project: Path) -> Iterator[str]:
    """The address of the built pages, on an origin of their own."""
    npm.run([npm.packages() / ".bin/vite", "build", "--logLevel", "warn"], project)
    built = project / "dist"
    for name, (source, *options) in BUNDLES.items():
        (built / f"{name}.js").write_text(npm.bundle(project / "src" / source, *options))
        (built / f"{name}.html").write_text(HTML.format(f"/{name}.js"))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    handler = functools.partial(Handler, directory=str(built))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.fixture(scope="module")
def server(pages: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = new_site(tmp_path_factory.mktemp("site")).having(realtime={"ALLOWED_ORIGINS": [pages]})
    with site.serve() as server:
        yield server


def test_npm_package_has_its_files(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = set(archive.getnames())
        manifest = json.load(archive.extractfile("package/package.json"))  # type: ignore[arg-type]
    for entry in manifest["exports"].values():
        files = entry.values() if isinstance(entry, dict) else [entry]
        assert {f"package/{file.removeprefix('./')}" for file in files} <= names
    assert {"package/LICENSE", "package/README.md"} <= names


def test_npm_package_type_checks_in_a_project(project: Path) -> None:
    """It fails too where something is allowed that `src/types.ts` expects to be an error."""
    assert npm.run([npm.packages() / ".bin/tsc", "--noEmit", "-p", "."], project) == ""


def test_bundler_keeps_apart_what_is_loaded_when_needed(project: Path, pages: str) -> None:
    chunks = {path.name.split("-")[0] for path in (project / "dist/assets").iterdir()}
    assert chunks >= {"index", "delivery", "fallbacks", "msgpack", "presence", "shared", "worker"}


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_are_small(name: str) -> None:
    hooks = minified(npm.CLIENT / f"src/{name}.js", *(f"--external:{each}" for each in APART))
    assert len(gzip.compress(hooks, 9)) <= MAX_HOOKS_BYTES


def test_hooks_render_on_a_server(project: Path) -> None:
    program = project / "server.mjs"
    program.write_text(
        npm.bundle(project / "src/server.tsx", "--platform=node", "--packages=external")
    )
    for line in npm.run(["node", program], project).splitlines():
        assert '<p id="state">idle</p>' in line
        assert '<p id="status">one waiting</p>' in line
        assert '<p id="count">?</p>' in line


@pytest.mark.parametrize("name", PAGES)
def test_hooks_subscribe_and_leave(page: Page, server: Server, pages: str, name: str) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))

    def shows(selector: str, text: str) -> None:
        page.wait_for_function(
            "([selector, text]) => document.querySelector(selector)?.textContent === text",
            arg=[selector, text],
            timeout=WAIT_MS,
        )

    page.goto(f"{pages}/{name}.html?url={server.websocket_url()}")
    shows("#state", "connected")
    shows("#status", "one subscribed")
    shows("#count", "1")
    publish(server, "public/one", {"text": "a"})
    shows("#texts", "a")  # rendered, which the next one builds on
    publish(server, "public/one", {"text": "b"})
    shows("#texts", "ab")  # each once, though StrictMode subscribes twice
    page.click("text=say")
    shows("#texts", "abfrom one")

    page.click("text=the other room")
    shows("#status", "two subscribed")
    publish(server, "public/one", {"text": "c"})
    publish(server, "public/two", {"text": "d"})
    page.wait_for_function("document.querySelector('#texts').textContent.endsWith('d')")
    assert "c" not in page.inner_text("#texts")

    page.evaluate("unmount()")
    page.wait_for_function("document.querySelector('#root').textContent === ''")
    wait_until(lambda: state(server)["channels"] == 0, "it has left the channels")
    assert errors == []
