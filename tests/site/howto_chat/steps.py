"""The code of the how-to, taken out of it and run."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).resolve().parents[3] / "docs" / "howto" / "add-to-your-own-consumer.md"

_BLOCK = re.compile(r"^```python\n# (?P<file>\S+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(file: str) -> list[str]:
    """The page's versions of a file, in order."""
    text = PAGE.read_text(encoding="utf-8")
    return [match["code"] for match in _BLOCK.finditer(text) if match["file"] == file]


def run(code: str, name: str) -> ModuleType:
    """The module of this code."""
    module = ModuleType(name)
    exec(compile(code, f"{PAGE.name}:{name}", "exec"), module.__dict__)
    return module


def step(number: int) -> Any:
    """The consumer of a step."""
    module = run(blocks("chat/consumers.py")[number], f"step_{number}")
    return module.ChatConsumer


COUNT = len(blocks("chat/consumers.py"))
