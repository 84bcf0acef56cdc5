"""What the page's server lets through: uploads alone are read, nothing is fetched.

Gradio serves its whole folder for temporary files, fetches addresses that a request
names, and has routes that this page does not need. The guard stands before it.
"""

import json
import os
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from ssr_plugin.demo.uploads import is_inside

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

#: Routes below Gradio's own prefix that the page needs; all others are refused.
ROUTES = (
    "app_id",
    "call/",
    "cancel",
    "file=",
    "heartbeat/",
    "info",
    "login_check",
    "queue/",
    "reset",
    "run/",
    "startup-events",
    "theme.css",
    "upload",
)
_PREFIX = "/gradio_api/"
# Beside the page itself: /, and the files that it is made of.
_OTHER_ROUTES = (
    *("assets/", "config", "favicon.ico", "manifest.json", "pwa_icon", "robots.txt"),
    *("static/", "svelte/", "theme.css"),
)
# Of a request that is no upload, bytes: what is typed, and answers so far.
_MOST_BYTES = 4_000_000

# The browser loads nothing that does not come from this server.
_HEADERS = {
    "content-security-policy": "default-src 'self'; "
    "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Guard:
    """Stands before Gradio's server, as ASGI middleware.

    Arguments
    ---------
    app : callable
        Of ASGI.
    uploads : path-like
        The folder whose files may be read; no others.

    Example
    -------
    >>> import asyncio
    >>> async def app(scope, receive, send):
    ...     await send({"type": "http.response.start", "status": 200, "headers": []})
    >>> def ask(path):
    ...     sent = []
    ...     async def send(message):
    ...         sent.append(message)
    ...     scope = {"type": "http", "method": "GET", "path": path}
    ...     asyncio.run(Guard(app, "/tmp/up")(scope, None, send))
    ...     return sent[0]["status"]
    >>> ask("/"), ask("/gradio_api/file=/tmp/up/a.wav")
    (200, 200)
    >>> ask("/gradio_api/file=/etc/passwd"), ask("/gradio_api/file=http://a.org/b")
    (403, 403)
    """

    def __init__(self, app: _App, uploads: str | os.PathLike[str]) -> None:
        self.app = app
        self.uploads = uploads

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Passes a request on, or refuses it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            # The page needs no web sockets.
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: _Message) -> None:
            if message["type"] == "http.response.start":
                added = [(k.encode(), x.encode()) for k, x in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        status = self.why_not(scope["path"])
        if status is None and scope["method"] == "POST" and not _is_upload(scope):
            body = await _read_body(receive)
            status = 413 if body is None else self._why_not_said(body)
            receive = _again(body or b"", receive)
        if status is None:
            await self.app(scope, receive, send_with_headers)
            return
        headers = [(b"content-type", b"text/plain")]
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await send_with_headers(start)
        await send({"type": "http.response.body", "body": b"not allowed"})

    def why_not(self, path: str) -> int | None:
        """The status with which a path is refused; None if it is not.

        Arguments
        ---------
        path : str
            Of a request, decoded.

        Returns
        -------
        int or None

        Example
        -------
        >>> Guard(None, "/tmp/up").why_not("/gradio_api/proxy=https://a.org")
        404
        """
        if not path.startswith(_PREFIX):
            rest = path.lstrip("/")
            return None if rest == "" or rest.startswith(_OTHER_ROUTES) else 404
        route = path.removeprefix(_PREFIX)
        if not route.startswith(ROUTES):
            return 404
        if route.startswith("file="):
            name = route.removeprefix("file=")
            # Whatever decodes it once more must not leave the folder either.
            for text in (name, urllib.parse.unquote(name)):
                if not is_inside(text, self.uploads):
                    return 403
        return None

    def _why_not_said(self, body: bytes) -> int | None:
        """The status with which what a request sends is refused."""
        try:
            named = named_files(json.loads(body)) if body else ()
        except (ValueError, RecursionError):
            return 400
        return None if all(is_inside(x, self.uploads) for x in named) else 403


def _is_upload(scope: _Message) -> bool:
    route = scope["path"].removeprefix(_PREFIX).rstrip("/")
    return bool(route == "upload")


async def _read_body(receive: _Receive) -> bytes | None:
    """What a request sends; None if it is too much."""
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if len(body) > _MOST_BYTES:
            return None
        if not message.get("more_body"):
            return body


def _again(body: bytes, receive: _Receive) -> _Receive:
    """A request that is read once more, then whatever comes behind it."""
    waiting: list[_Message] = [{"type": "http.request", "body": body}]

    async def receive_again() -> _Message:
        return waiting.pop() if waiting else await receive()

    return receive_again


def named_files(value: Any) -> Iterator[str]:
    """The files that a request names: what Gradio would open, or fetch.

    Arguments
    ---------
    value : object
        JSON, parsed.

    Yields
    ------
    str

    Example
    -------
    >>> list(named_files({"data": [{"path": "/a.wav", "meta": {}}, "/b.wav"]}))
    ['/a.wav']
    """
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("path"), str):
                yield value["path"]
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
