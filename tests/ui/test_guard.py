"""Who may use the page."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

import pytest

from ui.guard import is_loopback, refusal


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "LOCALHOST"])
def test_loopback_names_are_welcome(host):
    assert refusal(host, None, "127.0.0.1") is None
    assert refusal(host, f"http://{host}", "127.0.0.1") is None


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "evil.example:7860", "127.0.0.1.evil.example", "[::1", "a:b"]
)
def test_other_names_are_refused(host):
    assert refusal(host, None, "127.0.0.1")


@pytest.mark.parametrize(
    "origin",
    ["null", "", "http://evil.example", "http://127.0.0.1:1", "https://127.0.0.1:7860", "file://"],
)
def test_foreign_origins_are_refused(origin):
    assert refusal("127.0.0.1:7860", origin, "127.0.0.1")


def test_open_to_a_network_addresses_are_welcome_and_names_are_not():
    assert refusal("192.168.1.5:7860", None, "0.0.0.0") is None
    assert refusal("192.168.1.5:7860", None, "127.0.0.1")
    assert refusal("evil.example:7860", None, "0.0.0.0")
    assert refusal("my-laptop:7860", None, "my-laptop") is None


def test_loopback():
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("0.0.0.0") and not is_loopback("192.168.1.5")


def ask(url: str, path: str, headers: dict[str, str]) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_the_server_refuses_foreign_pages(url):
    assert ask(url, "/", {}) == 200
    assert ask(url, "/", {"Host": "evil.example"}) == 403
    assert ask(url, "/", {"Origin": "http://evil.example"}) == 403
    assert ask(url, "/", {"Origin": url.rstrip("/")}) == 200


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/monitoring"])
def test_no_api_pages(url, path):
    assert ask(url, path, {}) in (403, 404)
