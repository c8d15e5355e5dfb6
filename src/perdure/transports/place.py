"""Where a broker is and how to talk to it: what a URL says, for people without its secrets."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from perdure.model.errors import InvalidOption

_SECRETS: Final = ("password", "token", "secret", "cadata", "seed")

LETTERS_MAX: Final = 10_000
LETTERS_KEEP_S: Final = 30 * 86_400


class Options:
    """The options of a URL's query, taken one by one; `done` refuses what nobody took."""

    def __init__(self, url: str) -> None:
        self.name = without_secrets(url)
        self._found = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))

    def text(self, name: str, default: str) -> str:
        """Give a text as it is."""
        return self._found.pop(name, default)

    def number(self, name: str, default: int, *, least: int = 1) -> int:
        """Give a whole number."""
        found = self._found.pop(name, str(default))
        if not found.isdecimal() or int(found) < least:
            raise self._invalid(name, found, f"a whole number, at least {least}")
        return int(found)

    def seconds(self, name: str, default: float) -> float:
        """Give a span in seconds, more than none."""
        found = self._found.pop(name, str(default))
        try:
            span = float(found)
        except ValueError:
            span = 0.0
        if not 0 < span < float("inf"):
            raise self._invalid(name, found, "seconds, more than 0")
        return span

    def choice(self, name: str, default: str, *choices: str) -> str:
        """Give one of a few words."""
        found = self._found.pop(name, default)
        if found not in choices:
            raise self._invalid(name, found, " or ".join(choices))
        return found

    def prefix(self) -> str:
        """Give the prefix of all names on the broker: installations that share one differ in it."""
        found = self._found.pop("prefix", "perdure")
        if not found or len(found) > 64 or not found.replace("_", "").replace("-", "").isalnum() or not found.isascii():
            raise self._invalid("prefix", found, "up to 64 letters, digits, - and _")
        return found

    def rest(self, *names: str) -> Mapping[str, str]:
        """Give those of these options that are there; they are the product's own."""
        return {name: self._found.pop(name) for name in names if name in self._found}

    def done(self) -> None:
        """Every option was taken; raises `InvalidOption`."""
        for name in self._found:
            raise InvalidOption(option=f"the URL of the transport {self.name}", found=f"the option {name!r}", expected="none of that name")

    def _invalid(self, name: str, found: str, expected: str) -> InvalidOption:
        return InvalidOption(option=f"{name} in the URL of the transport {self.name}", found=repr(found), expected=expected)


def check_scheme(url: str, *schemes: str) -> None:
    """The URL has one of these schemes and a host; raises `InvalidOption`."""
    parts = urlsplit(url)
    try:
        is_right = parts.scheme in schemes and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_right = False
    if not is_right:
        raise InvalidOption(option="the transport's URL", found=repr(without_secrets(url)), expected=f'"{schemes[0]}://user:password@host"')


def without_secrets(url: str) -> str:
    """Give the URL for people: no passwords, tokens or keys, and a user only where there is a password besides."""
    parts = urlsplit(url)
    netloc = ",".join(_without_password(host) for host in parts.netloc.split(","))
    options = [(key, value) for key, value in parse_qsl(parts.query) if not any(secret in key.lower() for secret in _SECRETS)]
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(options), fragment=""))


def _without_password(host: str) -> str:
    credentials, at, place = host.rpartition("@")
    # A lone word before the @ may be a token (NATS has such), so it is not shown.
    user, colon, _ = credentials.partition(":")
    return f"{user}@{place}" if at and colon else place
