"""A real mail server on this host: it speaks SMTP, and keeps what it is given."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import Message
from email.policy import default
from typing import Any


class Mailbox:
    """``got``: the mails. ``logins``: what was logged in with, and whether over TLS. ``answers``: those of a verb, in turn, and
    of ``KEPT``, when it has a mail."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.got: list[Message] = []
        self.recipients: list[str] = []
        self.logins: list[tuple[str, bool]] = []
        self.answers: dict[str, list[str]] = {}
        self.port = 0
        self._tls = tls

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client until it leaves."""
        is_safe = False

        def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())

        say("220 mailbox")
        while line := (await reader.readline()).decode().strip():
            verb = line.split()[0].upper()
            if self.answers.get(verb):
                say(self.answers[verb].pop(0))
            elif verb == "EHLO":
                offers = ["mailbox", *(["STARTTLS"] if self._tls and not is_safe else []), "AUTH PLAIN"]
                for at, offer in enumerate(offers):
                    say(f"250{' ' if at == len(offers) - 1 else '-'}{offer}")
            elif verb == "STARTTLS" and self._tls is not None:
                say("220 go on")
                await writer.start_tls(self._tls)
                is_safe = True
            elif verb == "AUTH":
                self.logins.append((line.split()[-1], is_safe))
                say("235 fine")
            elif verb == "DATA":
                say("354 go on")
                self.got.append(message_from_bytes((await reader.readuntil(b"\r\n.\r\n"))[:-5], policy=default))  # type: ignore[arg-type]
                say(self.answers["KEPT"].pop(0) if self.answers.get("KEPT") else "250 kept")
            elif verb == "QUIT":
                say("221 bye")
                break
            else:
                if verb == "RCPT":
                    self.recipients.append(line)
                say("250 fine")
            await writer.drain()
        writer.close()


@asynccontextmanager
async def mailbox(tls: ssl.SSLContext | None = None) -> AsyncIterator[Mailbox]:
    """The server answers inside."""
    box = Mailbox(tls)
    server: Any = await asyncio.start_server(box.serve, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
