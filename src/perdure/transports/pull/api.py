"""Requests to the API, and what their answers mean: come again, mend the token, or no."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import Struct

from perdure.model.errors import InvalidOption, TransportUnavailable
from perdure.transports.place import check_scheme

ANSWER_S: Final = 30.0
CONNECT_S: Final = 5.0
CONNECTIONS_MAX: Final = 32
JSON: Final = "application/json"
_LATER: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_SHOWN_MAX: Final = 300


class Refused(Exception):
    """The server has understood, and the answer is no. ``name``: of the problem, such as ``call-closed``; empty if it gave none."""

    def __init__(self, status: int, name: str, detail: str) -> None:
        super().__init__(f"{status} {name}: {detail}" if name else f"{status}: {detail}")
        self.status = status
        self.name = name


class _Problem(Struct):
    type: str = ""
    detail: str = ""


class Api:
    """The API at a URL. It works in the event loop that opened it. ``token`` is shown to the server and to nobody else."""

    def __init__(self, url: str, token: str = "") -> None:
        check_scheme(url, "http", "https")
        parts = urlsplit(url)
        if "@" in parts.netloc or parts.query or parts.fragment:
            expected = "http://HOST:PORT alone; the token goes into PERDURE_API_TOKEN, or is named by --token"
            raise InvalidOption(option="the URL of the API", found="one with credentials or options", expected=expected)
        if not token.isascii() or not token.isprintable():
            raise InvalidOption(
                option="the API token", found="text that no header can carry", expected="what 'perdure token create' printed"
            )
        self.name: str = url.rstrip("/")
        self._token = token
        self._client: httpx.AsyncClient | None = None

    async def open(self) -> None:
        """It can be asked; safe to call twice."""
        if self._client is None:
            self._client = httpx.AsyncClient(
                trust_env=False,
                headers={"authorization": f"Bearer {self._token}"} if self._token else {},
                limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
            )

    async def close(self) -> None:
        """No connection is open; safe to call twice."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def ask(
        self, method: str, path: str, body: bytes | None = None, *, wait_s: float = 0.0, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Give the answer's body. ``wait_s``: how long the server may wait before it answers. ``headers``: besides its own.

        Raises `TransportUnavailable`, `InvalidOption` for a token that does not count, and `Refused`.
        """
        if self._client is None:
            raise TransportUnavailable(transport=self.name, problem="it is not open")
        told = {**(headers or {}), **({} if body is None else {"content-type": JSON})}
        timeout = httpx.Timeout(ANSWER_S + wait_s, connect=CONNECT_S)
        try:
            answer = await self._client.request(method, f"{self.name}/v1/{path}", content=body, headers=told, timeout=timeout)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TransportUnavailable(transport=self.name, problem=str(error) or type(error).__name__) from error
        except RuntimeError as error:  # The client was closed meanwhile.
            raise TransportUnavailable(transport=self.name, problem=str(error)) from error
        if not 200 <= answer.status_code < 300:
            self._refuse(answer)
        return answer.content

    def _refuse(self, answer: httpx.Response) -> None:
        name, detail = _told(answer)
        if answer.status_code in _LATER:
            raise TransportUnavailable(transport=self.name, problem=f"{answer.status_code}: {detail}")
        if answer.status_code == 401 or (answer.status_code == 403 and name != "receipt-wrong"):
            found = f"{'one' if self._token else 'none'}; the server says: {detail}"
            expected = "a token with the scope calls, in PERDURE_API_TOKEN or named by --token"
            raise InvalidOption(option=f"the API token for {self.name}", found=found, expected=expected)
        raise Refused(answer.status_code, name, detail)


def _told(answer: httpx.Response) -> tuple[str, str]:
    """Give the problem's name and what it says; the beginning of the text where it is none of ours."""
    try:
        found = msgspec.json.decode(answer.content, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "", answer.text[:_SHOWN_MAX] or answer.reason_phrase
    return found.type.removeprefix("urn:perdure:"), found.detail
