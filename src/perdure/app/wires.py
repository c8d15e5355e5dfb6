"""In which encoding nodes and workers say what they say. They read both."""

from collections.abc import Mapping
from typing import Literal

from perdure.model.errors import InvalidOption, Unsupported
from perdure.wire.encoding import AVRO, JSON

Wire = Literal["json", "avro"]
WIRES: Mapping[str, str] = {"json": JSON, "avro": AVRO}


def content_type_of(wire: str) -> str:
    """Give the content type of that name. Raises `InvalidOption`, and `Unsupported` where the extra that it needs is not installed."""
    if wire not in WIRES:
        raise InvalidOption(option="wire", found=repr(wire), expected=" or ".join(WIRES))
    if wire == "avro":
        try:
            import perdure.wire.avro  # noqa: F401 — only whether it can be imported matters here.
        except ModuleNotFoundError as error:
            raise Unsupported(what="wire='avro'", why=f"{error.name} is missing: pip install 'perdure[avro]'") from error
    return WIRES[wire]
