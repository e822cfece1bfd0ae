"""Sphinx configuration; `make docs` builds with warnings as errors."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

project = "channels_realtime"
author = "channels_realtime contributors"
copyright = "2026, channels_realtime contributors"
# From the source, not the installed metadata: the docs describe the tree that they are built from.
release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
version = ".".join(release.split(".")[:2])

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"channels_realtime {release}"
html_static_path = ["_static"]
html_copy_source = False
