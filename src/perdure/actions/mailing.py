"""A mail over SMTP, by the standard library, in a thread."""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from functools import partial
from hashlib import sha256
from typing import Final, Literal

from msgspec import Struct

from perdure.actions.configured import Items
from perdure.actions.secret import Secret, Veil
from perdure.actions.templates import check_template, filler
from perdure.model.errors import InvalidOption, RequestFailed, RequestRefused

SUBJECT_MAX: Final = 500


class Mail(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """``security``: ``starttls`` and ``tls`` check the server's certificate; ``none`` is for a server on the same host. ``subject`` and
    ``text`` are templates that see ``items`` and the names of the first one.
    """

    host: str
    sender: str
    to: list[str]
    subject: str
    text: str
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | Secret | None = None
    password: Secret | None = None
    ca_file: str | None = None


def check_mail(mail: Mail) -> None:
    """Raise `InvalidOption`, which names the field."""
    for option, address in (("sender", mail.sender), *(("to", entry) for entry in mail.to)):
        if "@" not in address or any(character.isspace() for character in address):
            raise InvalidOption(option=f"notify.mail.{option}", found=repr(address), expected="an address such as ann@example.org")
    if not mail.to:
        raise InvalidOption(option="notify.mail.to", found="nobody", expected="at least one address")
    if (mail.user is None) != (mail.password is None):
        raise InvalidOption(option="notify.mail.password", found="one of user and password", expected="both or neither")
    if mail.password is not None and mail.security == "none":
        raise InvalidOption(option="notify.mail.security", found="'none' with a password", expected="'starttls' or 'tls'")
    check_template("notify.mail.subject", mail.subject)
    check_template("notify.mail.text", mail.text)


async def send_mail(mail: Mail, items: Items, veil: Veil, *, key: str | None, timeout_s: float) -> None:
    """The server has taken the message. ``key`` makes its Message-ID, which stays when it is sent again.

    Raises `RequestRefused`, or `RequestFailed` for what may do better later.
    """
    asked = f"mail over {mail.host}:{mail.port}"
    message = _message(mail, items, key)
    user = None if mail.user is None else veil.reveal(mail.user)
    password = None if mail.password is None else veil.reveal(mail.password)
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.to_thread(partial(_send, mail, message, user=user, password=password, timeout_s=timeout_s))
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        raise _failed(asked, veil.hide(f"recipients: {error.recipients}"), is_passing=all(400 <= code < 500 for code in codes)) from None
    except smtplib.SMTPResponseException as error:
        raise _failed(asked, veil.hide(f"{error.smtp_code} {error.smtp_error!r}"), is_passing=400 <= error.smtp_code < 500) from None
    except ssl.SSLCertVerificationError as error:
        raise _failed(asked, str(error), is_passing=False) from None
    except smtplib.SMTPNotSupportedError as error:
        raise _failed(asked, str(error), is_passing=False) from None
    except (smtplib.SMTPException, OSError) as error:
        raise _failed(asked, veil.hide(f"{type(error).__name__}: {error}"), is_passing=True) from None


def _failed(asked: str, found: str, *, is_passing: bool) -> RequestFailed | RequestRefused:
    return RequestFailed(asked=asked, found=found) if is_passing else RequestRefused(asked=asked, found=found)


def _message(mail: Mail, items: Items, key: str | None) -> EmailMessage:
    values = {**items[0], "items": items}
    message = EmailMessage()
    message["From"] = mail.sender
    message["To"] = ", ".join(mail.to)
    # A line break in what was found somewhere must not begin a header of its own.
    message["Subject"] = " ".join(filler(mail.subject).fill(values).split())[:SUBJECT_MAX]
    message["Date"] = formatdate(localtime=False)
    if key is not None:
        message["Message-ID"] = f"<{sha256(key.encode()).hexdigest()[:32]}@{mail.sender.rpartition('@')[2]}>"
    message.set_content(filler(mail.text).fill(values))
    return message


def _send(mail: Mail, message: EmailMessage, *, user: str | None, password: str | None, timeout_s: float) -> None:
    trusted = None if mail.security == "none" else ssl.create_default_context(cafile=mail.ca_file)
    if mail.security == "tls":
        assert trusted is not None
        server: smtplib.SMTP = smtplib.SMTP_SSL(mail.host, mail.port, timeout=timeout_s, context=trusted)
    else:
        server = smtplib.SMTP(mail.host, mail.port, timeout=timeout_s)
    with server:
        if mail.security == "starttls":
            server.starttls(context=trusted)
        if user is not None and password is not None:
            server.login(user, password)
        server.send_message(message)
