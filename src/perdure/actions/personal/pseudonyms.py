"""``pseudonymise`` and ``reidentify``: personal data out of a process before it goes anywhere, and back in where it is needed.

What a run is given, and what its actions return, is in its journal. So personal data is replaced before the run starts
(`pseudonymise_input`), or inside the action that fetches it (`hide`), and put back inside the action that needs it: ``reidentify(into=…)``
performs another action with the originals, and what comes back has tokens again before it is written down.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct, field

from perdure.actions.configured import Configurable, Configured, Items, Options, configurable, name_of, pass_on
from perdure.actions.personal.finding import Detector, check_path, replace_at, replace_detected, replace_texts
from perdure.actions.personal.vault import Vault, master_key_of, open_vault
from perdure.actions.secret import Secret, Veil, unveiling
from perdure.deciders.code.authoring import Action, action
from perdure.model.errors import Invalid, InvalidOption, NotFound, Unsupported
from perdure.model.payload import EMPTY
from perdure.model.personal import TOKEN
from perdure.model.retry import GiveUp, Retry
from perdure.ports.facilities import facilities, records_of
from perdure.ports.records import Records

RETRY: Final = Retry(attempts=5, first="200ms", cap="10s", jitter=0.2, never=(Invalid, NotFound, Unsupported))
MASTER: Final = Secret("env:PERDURE_PERSONAL_KEY")
"""Where the master key is, unless it is said: 32 random bytes in base64."""
_HIDDEN_MIN: Final = 3
"""Shorter originals are not looked for in what came back: they would be found everywhere."""


class HasStore(Protocol):
    """An engine."""

    @property
    def store(self) -> Records: ...


class Pseudonymise(Options, frozen=True, kw_only=True):
    """``fields``: paths into items, such as ``customer.email`` or ``contacts.*.phone``. ``detect``: what is replaced wherever a text has
    what looks like it. ``key``: the master key.
    """

    fields: list[str] = field(default_factory=list)
    detect: list[Detector] = field(default_factory=list)
    key: Secret = MASTER

    def check(self) -> None:
        """As `Options.check`."""
        self.default_item("pseudonymise")
        if not self.fields and not self.detect:
            raise InvalidOption(option="pseudonymise.fields", found="neither fields nor detect", expected="what is to be replaced")
        for path in self.fields:
            check_path("pseudonymise.fields", path)


@action(name="pseudonymise", retry=RETRY)
async def perform_pseudonymise(items: Items, *, config: Pseudonymise) -> Items:
    """Pass the items on with tokens in place of personal data; without the master key nothing is passed on.

    What it is given is in the journal already: see `pseudonymise_input`.
    """
    records, run = records_of("pseudonymise"), facilities("pseudonymise").run
    with unveiling() as veil:
        vault = await open_vault(records, run, _master(veil, config.key), creates=True)
        return pass_on(await _hidden(vault, items, config), config)


class Into(Struct, frozen=True, kw_only=True):
    """The action that is given the originals, and its configuration."""

    action: str
    config: msgspec.Raw


class Reidentify(Options, frozen=True, kw_only=True):
    """``into``: the action that is given the originals. ``journals_originals``: they are passed on as they are, into the journal, in place
    of that. ``key``: the master key.
    """

    into: Into | None = None
    journals_originals: bool = False
    key: Secret = MASTER

    def check(self) -> None:
        """As `Options.check`."""
        self.default_item("reidentify")
        if (self.into is None) == (not self.journals_originals):
            raise InvalidOption(
                option="reidentify.into",
                found="neither or both of into and journals_originals",
                expected="the action that needs the originals, or journals_originals=True to have them in the journal",
            )


@action(name="reidentify", retry=RETRY)
async def perform_reidentify(items: Items, *, config: Reidentify) -> Items:
    """Do another action with the originals in place of tokens, and pass on what it gives with tokens again.

    Raises `PersonalDataErased` once the run's key was erased; then, and without the master key, nothing is done at all.
    """
    records, run = records_of("reidentify"), facilities("reidentify").run
    with unveiling() as veil:
        vault = await open_vault(records, run, _master(veil, config.key), creates=False)
        originals = await _originals(vault, items)
        revealed: Items = _revealed(items, originals)
        if config.into is None:
            return pass_on(revealed, config)
        for value in originals.values():
            _cover(veil, value)
        sink = _sink(config.into.action)
        wanted: Any = sink.config
        found: Items = await sink.perform.function(revealed, config=msgspec.json.decode(config.into.config, type=wanted))
        if found is EMPTY:
            return EMPTY
        # However else they are written (quoted in a URL, escaped, in base64), they are not passed on either.
        hidden: Items = veil.hide_echo(_hidden_again(found, originals))
        return hidden


class Reidentifiable(Configurable[..., Items]):
    """Takes a configured action as ``into``."""

    def __call__(self, *args: Any, **kwargs: Any) -> Configured[Items]:
        into = kwargs.get("into")
        if isinstance(into, Configured):
            name = name_of(into.perform)
            _sink(name)
            kwargs["into"] = Into(action=name, config=msgspec.Raw(msgspec.json.encode(into.config)))
        return super().__call__(*args, **kwargs)


def _sink(name: str) -> Configurable[..., Any]:
    """Give the library's action of that name; raises `InvalidOption` for a step of the workflow, which cannot be done inside an action."""
    from perdure.actions import CATALOGUE  # This module is one of those that it names.

    found = next((entry for entry in CATALOGUE if entry.name == name and isinstance(entry.perform, Action)), None)
    if found is None:
        raise InvalidOption(option="reidentify.into", found=repr(name), expected="an action of perdure.actions that a worker performs")
    return found


# At the edges of a process, and inside your own actions.


async def pseudonymise_input(
    engine: HasStore,
    items: Sequence[Mapping[str, Any]],
    *,
    run: str,
    fields: Sequence[str] = (),
    detect: Sequence[Detector] = (),
    key: Secret = MASTER,
) -> Items:
    """Give the items with tokens in place of personal data, before a run of this id is started with them: the store then never has a raw
    value. Safe to call again. Raises `SecretNotFound` (as the cause of `GiveUp`) or `InvalidOption` without the master key.
    """
    config = Pseudonymise(fields=list(fields), detect=list(detect), key=key)
    with unveiling() as veil:
        vault = await open_vault(engine.store, run, _master(veil, key), creates=True)
        return await _hidden(vault, [dict(item) for item in items], config)


async def reidentify_output(engine: HasStore, items: Any, *, run: str, key: Secret = MASTER) -> Any:
    """Give a run's result with the originals in place of tokens. Raises as `pseudonymise_input`, and `PersonalDataErased`."""
    with unveiling() as veil:
        vault = await open_vault(engine.store, run, _master(veil, key), creates=False)
        return _revealed(items, await _originals(vault, items))


async def hide(items: Items, *, fields: Sequence[str] = (), detect: Sequence[Detector] = (), key: Secret = MASTER) -> Items:
    """Inside an action: give the items with tokens in place of personal data, for the action to return."""
    return await pseudonymise_input(_AtHand(), items, run=facilities("hide").run, fields=fields, detect=detect, key=key)


async def reveal(items: Any, *, key: Secret = MASTER) -> Any:
    """Inside an action: give what it was given with the originals. What it returns is journaled: return none of them."""
    return await reidentify_output(_AtHand(), items, run=facilities("reveal").run, key=key)


class _AtHand:
    @property
    def store(self) -> Records:
        return records_of("personal data")


def _master(veil: Veil, key: Secret) -> str:
    text = veil.reveal(key)
    try:
        master_key_of(text)
    except InvalidOption as error:
        raise GiveUp(f"{key.secret}: {error}") from None
    return text


async def _hidden(vault: Vault, items: Items, config: Pseudonymise) -> Items:
    originals: dict[str, Any] = {}

    def token(value: Any) -> Any:
        if isinstance(value, str) and TOKEN.fullmatch(value):
            return value
        made = vault.token_of(value)
        originals[made] = value
        return made

    found: Any = items
    for path in config.fields:
        found = [replace_at(item, path, token) for item in found]
    if config.detect:
        found = replace_texts(found, lambda text: replace_detected(text, config.detect, token))
    await vault.keep(originals)
    return list(found)


async def _originals(vault: Vault, items: Any) -> dict[str, Any]:
    tokens: set[str] = set()

    def collect(text: str) -> str:
        tokens.update(TOKEN.findall(text))
        return text

    replace_texts(items, collect)
    return await vault.originals(sorted(tokens))


def _revealed(value: Any, originals: Mapping[str, Any]) -> Any:
    """A text that is a token becomes the value itself, of whatever type; within a text it becomes text."""

    def put_back(text: str) -> Any:
        if text in originals:
            return originals[text]
        return TOKEN.sub(lambda match: _text(originals[match[0]]) if match[0] in originals else match[0], text)

    return replace_texts(value, put_back)


def _hidden_again(value: Any, originals: Mapping[str, Any]) -> Any:
    texts = {_text(original): token for token, original in originals.items() if len(_text(original)) >= _HIDDEN_MIN}
    longest_first = sorted(texts, key=len, reverse=True)
    values = [(token, original) for token, original in originals.items() if not isinstance(original, str)]

    def hide_text(text: str) -> str:
        for original in longest_first:
            text = text.replace(original, texts[original])
        return text

    def hide_value(entry: Any) -> Any:
        for token, original in values:
            if type(entry) is type(original) and entry == original:
                return token
        match entry:
            case dict():
                return {key: hide_value(inner) for key, inner in entry.items()}
            case list():
                return [hide_value(inner) for inner in entry]
            case _:
                return entry

    return replace_texts(hide_value(msgspec.to_builtins(value)), hide_text)


def _cover(veil: Veil, value: Any) -> None:
    """Originals show in no error and no log of the attempt."""
    if len(text := _text(value)) >= _HIDDEN_MIN:
        veil.cover(text)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


pseudonymise = configurable(perform_pseudonymise, Pseudonymise)
reidentify = Reidentifiable(perform_reidentify, Reidentify)
