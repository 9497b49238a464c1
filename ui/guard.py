"""Who may use the page: only pages that this server itself has delivered.

A web site the user visits can send requests to 127.0.0.1, and can point a name of its own at
127.0.0.1 (DNS rebinding). The first names itself in `Origin`, the second in `Host`. Gradio checks
origins only where it answers with CORS headers, so every request is checked here instead.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Guard", "is_loopback", "refusal"]


def is_loopback(host: str) -> bool:
    """True for a name or address that only this machine can reach."""
    address = _address(host)
    return address.is_loopback if address else host.lower() == "localhost"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _may_be_host(name: str, bound_to: str) -> bool:
    if is_loopback(name):
        return True
    # An address is no name that could be rebound; it matters only where others may connect.
    return not is_loopback(bound_to) and (_address(name) is not None or name == bound_to.lower())


def refusal(host: str | None, origin: str | None, bound_to: str) -> str | None:
    """Why a request with these headers is refused; None when it is welcome."""
    try:
        asked = urlsplit(f"//{host or ''}")
        name, _ = asked.hostname or "", asked.port
    except ValueError:
        name = ""
    if not _may_be_host(name, bound_to):
        return "This address is not served here. Open the page as http://127.0.0.1:PORT."
    if origin is not None and origin.lower() != f"http://{host}".lower():
        return "Requests from other web pages are refused."
    return None


class Guard:
    """ASGI middleware that refuses foreign hosts and origins with status 403."""

    def __init__(self, app: ASGIApp, bound_to: str) -> None:
        self._app = app
        self._bound_to = bound_to

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        why = refusal(headers.get("host"), headers.get("origin"), self._bound_to)
        if why is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await PlainTextResponse(why, status_code=403)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})
