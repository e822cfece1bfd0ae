"""Every example in the documentation is at least what it says it is: Python that compiles, JSON that parses."""

import ast
import json
import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

import channels_realtime
from channels_realtime import errors
from channels_realtime.config import FIELDS, Config
from channels_realtime.protocol.codes import CloseCode, ErrorCode

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block of a document."""

    path: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def blocks() -> list[Block]:
    """All fenced blocks of the documentation and the README, in order."""
    paths = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = []
    for path in paths:
        if "_build" in path.parts:
            continue
        document = path.read_text(encoding="utf-8")
        for match in FENCE.finditer(document):
            # The line of the block's first line of text.
            line = document.count("\n", 0, match.start()) + 2
            found.append(Block(path, line, match["language"], match["text"]))
    return found


BLOCKS = blocks()


def of(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python_block_compiles(block: Block) -> None:
    # Line numbers of the document in the traceback; `await` at the top as in Django's own docs.
    source = "\n" * (block.line - 1) + block.text
    compile(source, str(block.path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_json_block_parses(block: Block) -> None:
    """As one value, or as one value a line: what goes over the wire, in order."""
    try:
        json.loads(block.text)
    except ValueError:
        for line in block.text.splitlines():
            json.loads(line)


def test_fences_are_of_known_languages() -> None:
    known = {"console", "html", "javascript", "js", "json", "python", "text", "ts", "tsx", "vue"}
    assert {str(block): block.language for block in BLOCKS if block.language not in known} == {}


def test_pages_have_links_that_the_code_host_shows_too() -> None:
    """Roles of Sphinx and labels of MyST are raw text there: write ``[text](page.md#heading)``."""
    raw = re.compile(r"\{(?:doc|ref|term|mod)\}`|^\([a-z0-9-]+\)=$", re.MULTILINE)
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    found = {}
    for page in pages:
        prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        if raw.search(prose):
            found[str(page.relative_to(ROOT))] = raw.findall(prose)
    assert found == {}


def test_examples_are_found() -> None:
    assert len(of("python")) > 20
    assert len(of("json")) > 5


def test_settings_reference_names_every_setting_with_its_default() -> None:
    text = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    entries = re.findall(r"^`([A-Z_]+)` \(`(.*)`\)$", text, re.MULTILINE)
    documented = {key: ast.literal_eval(default) for key, default in entries}
    assert documented == {key: getattr(Config(), key.lower()) for key in FIELDS}


def settings_to_begin_with() -> set[str]:
    """Those that the reference opens with."""
    text = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    opening = text.partition("\n## Advanced")[0]
    return set(re.findall(r"^`([A-Z_]+)` \(", opening, re.MULTILINE))


def test_settings_reference_opens_with_ten_settings() -> None:
    assert len(settings_to_begin_with()) == 10


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial/first-channel.md"])
def test_first_pages_name_no_advanced_setting(name: str) -> None:
    words = set(re.findall(r"[A-Z_]+", (ROOT / name).read_text(encoding="utf-8")))
    assert words & set(FIELDS) <= settings_to_begin_with()


def test_protocol_reference_names_every_error_code() -> None:
    text = (ROOT / "docs/reference/protocol.md").read_text(encoding="utf-8")
    section = text.partition("\n## Error codes")[2].partition("\n## Close codes")[0]
    first_cells = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    documented = {code for cell in first_cells for code in re.findall(r"`(\w+)`", cell)}
    assert documented == {code.value for code in ErrorCode}


def test_protocol_reference_gives_every_close_code_with_its_rfc_code() -> None:
    text = (ROOT / "docs/reference/protocol.md").read_text(encoding="utf-8")
    section = text.partition("\n## Close codes")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (1000|4\d{3}) \| ([\d, ]+) \|", section, re.MULTILINE)
    documented = {int(code): {int(rfc) for rfc in rfcs.split(",")} for code, rfcs in rows}
    assert set(documented) == set(CloseCode)
    assert {code for code in CloseCode if code.rfc not in documented[code]} == set()


def test_checks_reference_names_every_check() -> None:
    text = (ROOT / "docs/reference/checks.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| ([EWI]\d{3}) \|", text, re.MULTILINE)
    given = set()
    for module in (ROOT / "channels_realtime/checks").glob("*.py"):
        source = module.read_text(encoding="utf-8")
        given |= set(re.findall(r"\b([EWI]\d{3})\b", source))
    assert sorted(documented) == sorted(given)


def test_python_reference_names_every_public_name() -> None:
    text = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    assert [name for name in channels_realtime.__all__ if f"`{name}" not in without_at(text)] == []


def without_at(text: str) -> str:
    """Decorators stand with their sign."""
    return text.replace("`@", "`")


def test_python_reference_names_every_error_with_its_code() -> None:
    text = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    section = text.partition("\n## Errors")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`|none)", section, re.MULTILINE)
    own = (errors.ImproperUse, errors.ConnectionClosed)
    known = {
        name: "" if kind in own else kind.code.value
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.RealtimeError)
    }
    assert dict(documented) == known


def test_python_reference_names_every_authenticator_in_its_order() -> None:
    text = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    section = text.partition("\n## Authenticators")[2]
    rows = re.findall(r"^\| `(channels_realtime\.auth\.[\w.]+)` \|", section, re.MULTILINE)
    assert rows == list(Config().authenticators)


def test_commands_reference_names_every_command() -> None:
    text = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    documented = re.findall(r"^## `(\w+)`$", text, re.MULTILINE)
    commands = (ROOT / "channels_realtime/management/commands").glob("realtime_*.py")
    assert sorted(documented) == sorted(path.stem for path in commands)


def test_drawing_of_the_packages_is_the_contract_of_the_imports() -> None:
    page = (ROOT / "docs/topics/how-it-works.md").read_text(encoding="utf-8")
    drawing = page.partition("## The packages")[2].partition("```text\n")[2].partition("```")[0]
    drawn = [
        set(re.findall(r"[a-z_]+", _names(line))) for line in drawing.split("\n") if _names(line)
    ]
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = contract["tool"]["importlinter"]["contracts"][0]["layers"]
    package = ROOT / "channels_realtime"
    floors = [
        {
            name
            for name in re.findall(r"[a-z_]+", layer)
            if (package / f"{name}.py").exists() or (package / name / "__init__.py").exists()
        }
        - {"migrations"}
        for layer in layers
    ]
    assert drawn == [floor for floor in floors if floor]


def _names(line: str) -> str:
    """What a line of the drawing names, without its rules and remarks."""
    return "" if "─" in line else re.split(r"(?<=\S) {4,}(?=\S)", line.strip())[0]
