"""The deployment guide's files agree with the settings' defaults and with the views that they name."""

import re
from pathlib import Path

import pytest
from django.urls import Resolver404, resolve

from channels_realtime.config import Config

FILES = Path(__file__).resolve().parents[2] / "docs" / "howto" / "deploy"


def number(name: str, pattern: str) -> float:
    """The one number that a file gives for something."""
    (found,) = re.findall(pattern, (FILES / name).read_text(encoding="utf-8"))
    return float(found)


def test_systemd_waits_longer_than_a_drain() -> None:
    assert number("site@.service", r"\nTimeoutStopSec=(\d+)") > Config().drain_grace


def test_kubernetes_waits_longer_than_a_drain() -> None:
    grace = number("kubernetes.yaml", r"terminationGracePeriodSeconds: (\d+)")
    pause = number("kubernetes.yaml", r'\["sleep", "(\d+)"\]')
    assert grace > pause + Config().drain_grace


@pytest.mark.parametrize("name", ["site@.service", "kubernetes.yaml", "haproxy.cfg"])
def test_probes_ask_for_views_that_exist(name: str) -> None:
    paths = set(re.findall(r"/realtime/\w+/", (FILES / name).read_text(encoding="utf-8")))
    assert "/realtime/ready/" in paths
    for path in paths:
        resolve(path)
    with pytest.raises(Resolver404):
        resolve("/realtime/else/")


@pytest.mark.parametrize("name", ["site@.service", "kubernetes.yaml", "haproxy.cfg"])
def test_probes_say_that_they_came_by_https(name: str) -> None:
    """Or SECURE_SSL_REDIRECT redirects them."""
    text = (FILES / name).read_text(encoding="utf-8")
    asked = re.findall(r"^.*(?:curl|httpHeaders|http-check send).*$", text, re.MULTILINE)
    assert asked
    for line in asked:
        assert "X-Forwarded-Proto" in line
        assert "example.com" in line
