"""Somebody is told, by a webhook or by mail (F4)."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from perdure import EMPTY, Retry, actions, errors
from tests.actions.certificates import certificate
from tests.actions.mailbox import Mailbox, mailbox
from tests.actions.running import run
from tests.actions.service import Said, Service

QUICK = Retry(attempts=3, first="1ms")
ITEMS = [{"title": "One"}, {"title": "Two"}]


def mail(box: Mailbox, **options: Any) -> actions.Configured[Any]:
    defaults: dict[str, Any] = {
        "host": "localhost",
        "port": box.port,
        "sender": "robot@shop.test",
        "to": ["ann@shop.test", "bob@shop.test"],
        "subject": "News: {{ title }}",
        "text": "{% for item in items %}- {{ item.title }}\n{% endfor %}",
        "security": "none",
    }
    return actions.notify(mail=actions.Mail(**(defaults | options))).options(retry=QUICK)


@pytest.mark.covers("F4")
async def test_a_webhook_is_told_once_of_all_items_and_they_are_passed_on(service: Service) -> None:
    service.route("/", Said(200))
    step = actions.notify(webhook=actions.Webhook(url=service.url, headers={"X-From": "us"}))
    assert await run(step, ITEMS) == ITEMS
    (got,) = service.got
    assert (got.method, json.loads(got.body), got.headers["x-from"]) == ("POST", {"items": ITEMS}, "us")
    assert await run(step, []) is EMPTY
    assert len(service.got) == 1


@pytest.mark.covers("F4")
async def test_a_webhook_that_is_busy_is_told_again_under_the_same_key_and_one_that_refuses_is_not(service: Service) -> None:
    service.route("/", Said(503), Said(200))
    step = actions.notify(webhook=actions.Webhook(url=service.url)).options(retry=QUICK)
    await run(step, ITEMS)
    assert len({got.headers["idempotency-key"] for got in service.got}) == 1
    assert len(service.got) == 2
    service.route("/", Said(410))
    with pytest.raises(errors.RequestRefused, match="410"):
        await run(step, ITEMS)
    assert len(service.got) == 3
    service.route("/", Said(302, "", {"Location": "/elsewhere"}))
    with pytest.raises(errors.RequestRefused, match="redirects"):
        await run(step, ITEMS)


@pytest.mark.covers("F4")
async def test_a_mail_is_sent_with_what_was_found() -> None:
    async with mailbox() as box:
        assert await run(mail(box), ITEMS) == ITEMS
    (got,) = box.got
    assert (got["Subject"], got["To"], got.get_payload().replace("\r\n", "\n")) == (  # type: ignore[union-attr]
        "News: One",
        "ann@shop.test, bob@shop.test",
        "- One\n- Two",
    )
    assert len(box.recipients) == 2


async def test_a_mail_that_is_sent_again_has_the_same_message_id() -> None:
    async with mailbox() as box:
        box.answers["KEPT"] = ["451 it is kept, but this says otherwise"]
        await run(mail(box), ITEMS)
        await run(mail(box), ITEMS)
    first, again, other = (str(got["Message-ID"]) for got in box.got)
    assert first == again != other
    assert first.endswith("@shop.test>")


@pytest.mark.parametrize(
    ("verb", "answer", "kind", "tries"),
    [
        ("MAIL", "550 never", errors.RequestRefused, 1),
        ("RCPT", "550 nobody", errors.RequestRefused, 1),
        ("RCPT", "450 later", errors.RequestFailed, 3),
        ("DATA", "451 later", errors.RequestFailed, 3),
    ],
)
async def test_what_the_mail_server_refuses_for_good_is_not_sent_again(verb: str, answer: str, kind: Any, tries: int) -> None:
    async with mailbox() as box:
        box.answers[verb] = [answer] * 20
        with pytest.raises(kind, match=answer.split()[0]):
            await run(mail(box), ITEMS)
        used = 20 - len(box.answers[verb])
    assert used == tries * (2 if verb == "RCPT" else 1)


async def test_a_mail_server_that_is_not_there_is_tried_again() -> None:
    step = actions.notify(
        mail=actions.Mail(host="127.0.0.1", port=1, sender="a@b.test", to=["c@d.test"], subject="s", text="t", security="none")
    )
    with pytest.raises(errors.RequestFailed, match="mail over 127"):
        await run(step.options(retry=QUICK), ITEMS)


async def test_a_password_goes_over_tls_alone_and_the_certificate_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_MAIL", "hunter2-hunter2")
    trusted, context = certificate(tmp_path)
    options = {"security": "starttls", "user": "ann", "password": actions.Secret("env:TEST_MAIL")}
    async with mailbox(context) as box:
        await run(mail(box, ca_file=str(trusted), **options), ITEMS)
        ((login, is_safe),) = box.logins
        assert (b64decode(login), is_safe) == (b"\0ann\0hunter2-hunter2", True)
        with pytest.raises(errors.RequestRefused, match="CERTIFICATE_VERIFY_FAILED"):
            await run(mail(box, **options), ITEMS)
        box.answers["AUTH"] = ["535 hunter2-hunter2 is wrong"]
        with pytest.raises(errors.RequestRefused, match="535") as refused:
            await run(mail(box, ca_file=str(trusted), **options), ITEMS)
        assert "hunter2" not in str(refused.value)
    async with mailbox() as plain:
        with pytest.raises(errors.RequestRefused, match="STARTTLS"):
            await run(mail(plain, ca_file=str(trusted), **options), ITEMS)
    with pytest.raises(errors.InvalidOption, match="security"):
        mail(plain, security="none", user="ann", password=actions.Secret("env:TEST_MAIL"))


async def test_what_was_found_somewhere_begins_no_header() -> None:
    async with mailbox() as box:
        await run(mail(box), [{"title": "x\r\nBcc: eve@evil.test"}])
    assert box.got[0]["Subject"] == "News: x Bcc: eve@evil.test"
    assert box.got[0]["Bcc"] is None


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"to": []}, "notify.mail.to"),
        ({"to": ["ann"]}, "notify.mail.to"),
        ({"sender": "a@b\nBcc: c@d"}, "notify.mail.sender"),
        ({"user": "ann"}, "notify.mail.password"),
        ({"subject": "{{"}, "notify.mail.subject"),
        ({"text": "{% if %}"}, "notify.mail.text"),
    ],
)
def test_a_mail_that_could_not_be_sent_is_refused_when_it_is_configured(options: Any, field: str) -> None:
    with pytest.raises(errors.InvalidOption) as refused:
        mail(Mailbox(None), **options)
    assert refused.value.option == field
