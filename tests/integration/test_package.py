"""The built wheel, installed alone into an empty environment, serves a ten-line project."""

import importlib.util
import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.support.servers import ROOT, daphne, free_port, run_server

TIMEOUT_S = 10.0

CLIENT = {
    f"realtime{form}" for form in (".js", ".min.js", ".global.min.js", "-elements.min.js", ".d.ts")
}

PROJECT = {
    "settings.py": """\
SECRET_KEY = "ten-lines"
DEBUG = True
INSTALLED_APPS = ["daphne", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
                  "channels_realtime", "news"]
MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
ASGI_APPLICATION = "asgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
CHANNELS_REALTIME = {"ALLOW_ANONYMOUS": True}
""",
    "asgi.py": """\
from django.core.asgi import get_asgi_application
from channels_realtime.asgi import get_realtime_application
application = get_realtime_application(get_asgi_application())
""",
    "news/__init__.py": "",
    "news/realtime.py": """\
from channels_realtime import Channel, register

@register("news/<slug:topic>")
class NewsChannel(Channel):
    public = True

    def can_publish(self, connection):
        return True
""",
}


def clean_environment() -> dict[str, str]:
    """Nothing of the surrounding environment that could lend the project a package or a setting."""
    hidden = ("PYTHON", "DJANGO_", "VIRTUAL_ENV", "COV_")
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    # With the backend at hand no second environment is made.
    isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        *isolation,
        "--outdir",
        str(directory),
        str(ROOT),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (path,) = directory.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(directory, with_pip=True, symlinks=True)
    python = directory / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, f"{wheel}[daphne]"], check=True, env=clean_environment())
    return python


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("project")
    for name, text in PROJECT.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return directory


def test_wheel_holds_the_package_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"channels_realtime"}
    assert "channels_realtime/py.typed" in names
    assert {f"channels_realtime/static/channels_realtime/{name}" for name in CLIENT} <= set(names)
    assert not [name for name in names if name.startswith("channels_realtime/js/")]
    assert not [name for name in names if name.endswith(".pyc")]


def test_npm_package_has_the_version_of_the_wheel(wheel: Path) -> None:
    package = json.loads((ROOT / "channels_realtime/js/package.json").read_text())
    # PEP 440 and Semantic Versioning write a development release differently.
    assert package["version"].replace("-dev.", ".dev") == wheel.name.split("-")[1]


def test_npm_package_leaves_out_for_react_native_the_modules_with_import_meta() -> None:
    client = ROOT / "channels_realtime/js"
    replaced = json.loads((client / "package.json").read_text())["react-native"]
    modules = [file for file in client.glob("src/**/*.js") if "import.meta" in file.read_text()]
    assert replaced == {f"./{file.relative_to(client)}": False for file in modules}


def test_wheel_passes_the_checks_in_an_empty_environment(
    installed_python: Path, project: Path
) -> None:
    command = [
        str(installed_python),
        "-m",
        "django",
        "check",
        "--settings=settings",
        "--pythonpath=.",
    ]
    result = subprocess.run(
        command, cwd=project, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout.strip()) == (
        0,
        "System check identified no issues (0 silenced).",
    ), result.stderr


def test_wheel_serves_a_ten_line_project_in_an_empty_environment(
    installed_python: Path, project: Path
) -> None:
    port = free_port()
    environment = {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": str(project)}
    command = daphne("asgi:application", port, python=installed_python)
    with (
        run_server(
            command, port, cwd=project, environment=environment, inherit_environment=False
        ) as server,
        connect(server.websocket_url(), open_timeout=TIMEOUT_S) as subscriber,
        connect(server.websocket_url(), open_timeout=TIMEOUT_S) as publisher,
    ):

        def receive(connection: object) -> dict[str, object]:
            answer: dict[str, object] = json.loads(connection.recv(timeout=TIMEOUT_S))  # type: ignore[attr-defined]
            return answer

        assert receive(subscriber)["type"] == "welcome"
        assert receive(publisher)["type"] == "welcome"

        subscriber.send(json.dumps({"type": "subscribe", "id": 1, "channel": "news/space"}))
        reply = receive(subscriber)
        assert (reply["type"], reply["id"]) == ("subscribed", 1)

        publisher.send(
            json.dumps(
                {"type": "publish", "id": 2, "channel": "news/space", "payload": {"moon": "full"}}
            )
        )
        reply = receive(publisher)
        assert (reply["type"], reply["id"]) == ("published", 2)

        message = receive(subscriber)
        assert (message["type"], message["channel"], message["payload"]) == (
            "message",
            "news/space",
            {"moon": "full"},
        )
