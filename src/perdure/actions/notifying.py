"""``notify``: tells somebody, by a webhook or by mail."""

from typing import Any

import msgspec
from msgspec import UNSET, Struct, field

from perdure.actions.configured import Items, Options, check_span, configurable, pass_on, seconds
from perdure.actions.mailing import Mail, check_mail, send_mail
from perdure.actions.secret import Secret, unveiling
from perdure.actions.templates import check_all, fill_all
from perdure.actions.web.auth import Auth, auth_header, check_headers
from perdure.actions.web.exchange import Asked, Exchange, Manner, Trouble
from perdure.actions.web.http import KEY_HEADER, RETRY, raise_for
from perdure.deciders.code.authoring import action
from perdure.model.errors import InvalidOption
from perdure.ports.facilities import facilities_if_any


class Webhook(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A POST to ``url``, which may be a secret itself. ``json``: the body, whose texts are templates that see ``items`` and the names of
    the first one; left out it is ``{"items": [...]}``.
    """

    url: str | Secret
    headers: dict[str, str | Secret] = field(default_factory=dict)
    auth: Auth | None = None
    json: Any = UNSET


class Notify(Options, frozen=True, kw_only=True):
    """One of ``webhook`` and ``mail``. ``timeout``: for the whole exchange."""

    webhook: Webhook | None = None
    mail: Mail | None = None
    timeout: str = "15s"

    def check(self) -> None:
        """As `Options.check`."""
        self.default_item("notify")
        check_span("notify.timeout", self.timeout)
        if (self.webhook is None) == (self.mail is None):
            raise InvalidOption(option="notify.webhook", found="neither or both of webhook and mail", expected="one of them")
        if self.mail is not None:
            check_mail(self.mail)
        if self.webhook is not None:
            _check_webhook(self.webhook)


def _check_webhook(webhook: Webhook) -> None:
    if isinstance(webhook.url, str) and not webhook.url.startswith(("http://", "https://")):
        raise InvalidOption(option="notify.webhook.url", found=repr(webhook.url), expected="http://… or https://…, or a Secret")
    if isinstance(webhook.url, str) and "@" in webhook.url.split("/")[2]:
        raise InvalidOption(option="notify.webhook.url", found="a user or a password in it", expected="auth=…, with a Secret")
    check_headers("notify.webhook.headers", webhook.headers)
    check_all("notify.webhook.json", webhook.json)


@action(name="notify", retry=RETRY)
async def perform_notify(items: Items, *, config: Notify) -> Items:
    """Tell of the items, in one message, and pass them on. Without items nobody is told.

    At least once: a message that is sent again carries the same ``Idempotency-Key``, or ``Message-ID``. Raises `RequestRefused`, and
    `RequestFailed` or `RetryAfter` for what may do better later.
    """
    if not items:
        return pass_on([], config)
    at_hand = facilities_if_any()
    key = None if at_hand is None else at_hand.key
    with unveiling() as veil:
        if config.mail is not None:
            await send_mail(config.mail, items, veil, key=key, timeout_s=seconds(config.timeout))
            return items
        assert config.webhook is not None
        webhook, values = config.webhook, {**items[0], "items": items}
        body = {"items": items} if webhook.json is UNSET else fill_all(webhook.json, values)
        headers = [(name.lower(), value) for name, value in webhook.headers.items() if isinstance(value, str)]
        secrets = [(name, veil.reveal(value)) for name, value in webhook.headers.items() if isinstance(value, Secret)]
        asked = Asked(
            method="POST",
            url=webhook.url,
            headers=[*headers, ("content-type", "application/json"), *([] if key is None else [(KEY_HEADER.lower(), key)])],
            body=msgspec.json.encode(body),
            secret_headers=secrets if webhook.auth is None else [*secrets, auth_header(webhook.auth, veil)],
        )
        manner = Manner(timeout_s=seconds(config.timeout), redirects_max=0)
        async with Exchange(manner, veil, now_s=0 if at_hand is None else at_hand.now_us() / 1_000_000) as exchange:
            answer = await exchange.ask(asked)
    if isinstance(answer, Trouble):
        raise_for([answer], "1h")
    return items


notify = configurable(perform_notify, Notify)
