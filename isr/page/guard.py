"""Who may ask: this machine's user, by a token, from this page. In front of everything else."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_HEADER = "x-isr-token"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)


class Guard:
    """Lets a request through to an application, or answers 403.

    Args:
        app: what is guarded.
        token: the secret that the browser was opened with.
        port: a part of the cookie's name, since cookies do not know ports.
        anywhere: whether the server listens beyond this machine, and may be called by any address.
        proxy: a host that hands on, from HTTPS, what it was asked; empty: none.
    """

    def __init__(self, app: App, token: str, port: int, anywhere: bool = False, proxy: str = "") -> None:
        self.app, self.token, self.port, self.anywhere, self.proxy = app, token, port, anywhere, proxy
        self.cookie = f"isr-page-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            headers = [
                (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]
            ]
            if refusal := self._refusal(scope, headers):
                await _answer(_guarded(send), refusal)
            elif _asked_token(scope):
                await self._welcome(_guarded(send))
            else:
                await self.app(scope, receive, _guarded(send))

    def _refusal(self, scope: Scope, headers: list[tuple[str, str]]) -> str:
        """Why a request is not answered; empty where it is."""
        by_name = dict(headers)
        if any(sum(name == wanted for name, _ in headers) > 1 for wanted in ("host", "origin", TOKEN_HEADER)):
            return "the request says twice where it goes"
        host, origin = by_name.get("host", ""), by_name.get("origin")
        if not self._is_ours(host):
            return "this address is not the page's own"
        navigates = by_name.get("sec-fetch-mode") == "navigate"
        elsewhere = by_name.get("sec-fetch-site", "none") not in ("none", "same-origin")
        ours = [None, f"http://{host}", *([f"https://{self.proxy}"] if self.proxy else [])]
        if origin not in ours or (elsewhere and not navigates):
            return "another page asked for this"
        if asked := _asked_token(scope):
            return "" if self._is_token(asked) else "the token is wrong; start `isr page` again"
        if TOKEN_HEADER in by_name:
            known = self._is_token(by_name[TOKEN_HEADER])
        else:
            # A cookie alone does not say which page asks; a browser adds the origin to what changes something.
            changes = scope["method"] not in ("GET", "HEAD")
            known = self._is_token(_cookies(by_name.get("cookie", "")).get(self.cookie, ""))
            known = known and (origin is not None or not changes)
        return "" if known else "open the page by the address that `isr page` printed, with its token"

    def _is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def _is_ours(self, host: str) -> bool:
        if self.proxy and host == self.proxy:
            return True
        try:
            parts = urlsplit(f"http://{host}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if parts.netloc != host or "@" in host or port != self.port:
            return False
        if name == "localhost":
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            # A name may be bound to this machine by whoever owns it.
            return False
        return address.is_loopback or self.anywhere

    async def _welcome(self, send: Send) -> None:
        """Keep the token in a cookie, and take it out of the address."""
        cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=31536000"
        head = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 303, "headers": head})
        await send({"type": "http.response.body", "body": b""})


def _asked_token(scope: Scope) -> str:
    """The token in the address of the page itself; empty where there is none."""
    if scope["method"] != "GET" or scope["path"] != "/":
        return ""
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]


def _guarded(send: Send) -> Send:
    """Send with the headers that keep the page to itself."""

    async def guarded(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", []))
            if not any(name.lower() == b"cache-control" for name, _ in own):
                own.append((b"cache-control", b"no-store"))
            message["headers"] = [*own, *HEADERS]
        await send(message)

    return guarded


async def _answer(send: Send, text: str) -> None:
    body = f"{text}\n".encode()
    head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": head})
    await send({"type": "http.response.body", "body": body})


def _cookies(header: str) -> dict[str, str]:
    # Other programs of this machine set theirs for all ports, in forms that Python's own parser drops all for.
    pairs = (part.partition("=") for part in header.split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}
