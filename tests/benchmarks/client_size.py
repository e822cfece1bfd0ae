"""The browser client's size, minified and gzipped, beside that of other clients.

    python -m tests.benchmarks.client_size

The others are installed from npm into a temporary directory, and bundled by the same esbuild.
"""

import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support import npm
from tests.support.servers import ROOT

STATIC = ROOT / "channels_realtime/static/channels_realtime"
OTHERS = {
    "reconnecting-websocket": "4.4.0",
    "phoenix": "1.8.16",
    "socket.io-client": "4.8.4",
    "pusher-js": "8.6.0",
    "centrifuge": "5.8.0",
}
HOOKS = ("react", "vue")
APART = ("react", "vue", "./index.js")
"""What the hooks import, and is there anyhow."""


def minified(source: Path, *options: str) -> bytes:
    """A module with all that it imports, for browsers."""
    production = '--define:process.env.NODE_ENV="production"'
    return npm.bundle(source, "--minify", "--target=es2022", production, *options).encode()


def ours() -> Iterator[tuple[str, bytes]]:
    """What a page loads of the static files, and the entries of the npm package without the core."""
    yield "core (realtime.min.js)", (STATIC / "realtime.min.js").read_bytes()
    yield "core, classic script", (STATIC / "realtime.global.min.js").read_bytes()
    yield "core with elements", (STATIC / "realtime-elements.min.js").read_bytes()
    for extra in sorted((STATIC / "realtime").glob("*.js")):
        yield f"when needed: {extra.name}", extra.read_bytes()
    alone = [f"--external:{name}" for name in APART]
    for name in HOOKS:
        yield f"hooks: channels-realtime/{name}", minified(npm.CLIENT / f"src/{name}.js", *alone)


def theirs() -> Iterator[tuple[str, bytes]]:
    """Each package's main entry."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        packages = {"name": "sizes", "private": True, "dependencies": OTHERS}
        (directory / "package.json").write_text(json.dumps(packages))
        npm.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"], directory)
        for package, version in OTHERS.items():
            source = directory / f"{package}.js"
            source.write_text(f'import * as all from "{package}"; export {{ all }};')
            yield f"{package} {version}", minified(source)


def main() -> None:
    print(f"{'':40}{'minified':>10}{'gzipped':>10}")
    for rows in (ours(), theirs()):
        for name, code in rows:
            gzipped = len(gzip.compress(code, 9, mtime=0))
            print(f"{name:40}{len(code) / 1000:>8.1f}kB{gzipped / 1000:>8.1f}kB")
        print()


if __name__ == "__main__":
    main()
