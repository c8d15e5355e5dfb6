"""A JSON Schema as a small page with a form, which needs no script, and what the form sends as data again."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

import msgspec
from msgspec import Struct

from perdure.model.duration import instant
from perdure.model.errors import FormRefused
from perdure.model.ticket import Ticket

WHOLE: Final = "json"
"""The only field of a form whose schema is no object with named members: a text that is JSON."""
_STYLE: Final = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:2rem auto;padding:0 1rem}"
    "label{display:block;margin:1rem 0 .25rem}input,select,textarea{font:inherit;width:100%;box-sizing:border-box}"
    "input[type=checkbox]{width:auto}button{font:inherit;margin-top:1.5rem;padding:.5rem 1.5rem}pre{white-space:pre-wrap}"
)


class Field(Struct, frozen=True):
    """One member of the answer."""

    name: str
    schema: Mapping[str, Any]
    is_required: bool

    @property
    def label(self) -> str:
        """What people read."""
        return str(self.schema.get("title") or self.name.replace("_", " ").capitalize())

    @property
    def choices(self) -> Sequence[Any] | None:
        """The only values there are, ``None`` where there are others."""
        found = self.schema.get("enum")
        return found if isinstance(found, list) and found else None

    def read(self, text: str) -> Any:
        """Give the value that a text stands for; one that is none stays a text, which the schema refuses."""
        if self.choices is not None:
            return next((choice for choice in self.choices if _written(choice) == text), text)
        match self.schema.get("type"):
            case "string":
                return text
            case "boolean":
                return text == "true"
            case _:
                return _plain(text)


class FormFields:
    """The fields of a schema; none if it is no object with members."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = schema
        whole = self._resolved(schema)
        members, required = whole.get("properties"), whole.get("required")
        found: Mapping[str, Any] = members if isinstance(members, dict) else {}
        needed: Sequence[str] = required if isinstance(required, list) else []
        self.fields = [Field(name, self._resolved(entry), name in needed) for name, entry in found.items()]

    def _resolved(self, schema: Any) -> Mapping[str, Any]:
        """Follow references within the schema itself, and the one way to say "or nothing"."""
        for _ in range(8):
            if not isinstance(schema, dict):
                return {}
            ways = schema.get("anyOf")
            if isinstance(ways, list):
                left = [way for way in ways if way != {"type": "null"}]
                if len(left) != 1:
                    return schema
                schema = left[0]
            elif isinstance(schema.get("$ref"), str):
                schema = self._referred(schema["$ref"])
            else:
                return schema
        return {}

    def _referred(self, reference: str) -> Any:
        found: Any = self._root
        for part in reference.removeprefix("#/").split("/"):
            found = found.get(part) if isinstance(found, dict) else None
        return found

    def read(self, sent: Mapping[str, Sequence[str]]) -> Any:
        """Give the data that a form has sent. Fields that are not required and were left empty are left out. Raises `FormRefused`."""
        if not self.fields:
            return _whole(sent.get(WHOLE, [""])[0])
        data: dict[str, Any] = {}
        for entry in self.fields:
            text = sent.get(entry.name, [""])[0]
            if entry.schema.get("type") == "boolean" and entry.choices is None:
                data[entry.name] = text == "true"
            elif text or entry.is_required:
                data[entry.name] = entry.read(text)
        return data


def question_page(ticket: Ticket, person: str) -> str:
    """Give the page that asks the question."""
    until = "" if ticket.deadline_us is None else f"<p>Please answer by {instant(ticket.deadline_us):%Y-%m-%d %H:%M} UTC.</p>"
    details = f"<pre>{escape(ticket.details)}</pre>" if ticket.details else ""
    fields = "".join(_drawn(FormFields(ticket.form).fields))
    form = f'<form method="post">{fields}<button type="submit">Send</button></form>'
    return _page(ticket.title, f"<p>For {escape(person)}</p>{details}{until}{form}")


def message_page(title: str, text: str) -> str:
    """Give a page that says something."""
    return _page(title, f"<p>{escape(text)}</p>")


def _page(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{escape(title)}</h1>{body}</body></html>\n'


def _drawn(fields: Sequence[Field]) -> Iterator[str]:
    if not fields:
        yield f'<label for="{WHOLE}">Answer, as JSON</label><textarea id="{WHOLE}" name="{WHOLE}" rows="8" required></textarea>'
    for entry in fields:
        name = escape(entry.name)
        yield f'<label for="{name}">{escape(entry.label)}</label>{_input(entry, name)}'
        if isinstance(about := entry.schema.get("description"), str):
            yield f"<small>{escape(about)}</small>"


def _input(entry: Field, name: str) -> str:
    required = " required" if entry.is_required else ""
    if entry.choices is not None:
        blank = "" if entry.is_required else "<option></option>"
        options = "".join(f"<option>{escape(_written(choice))}</option>" for choice in entry.choices)
        return f'<select id="{name}" name="{name}"{required}>{blank}{options}</select>'
    match entry.schema.get("type"):
        case "boolean":
            return f'<input type="checkbox" id="{name}" name="{name}" value="true">'
        case "integer":
            return f'<input type="number" step="1" id="{name}" name="{name}"{required}>'
        case "number":
            return f'<input type="number" step="any" id="{name}" name="{name}"{required}>'
        case "string":
            return f'<input type="text" id="{name}" name="{name}"{required}>'
        case _:
            return f'<textarea id="{name}" name="{name}" rows="4" placeholder="JSON"{required}></textarea>'


def _written(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _plain(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _whole(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise FormRefused(what="the answer", problem=f"it is no JSON: {error}") from error
