"""Callbacks over HTTP: an outside service answers at the URL that a run has given it. The token in the path is all that it needs."""

import msgspec
from msgspec import Raw

from perdure import Engine
from perdure.api.endpoint import Answer, Asked, Nothing
from perdure.api.problems import Refusal
from perdure.client.callbacks import answer_callback


class Callbacks:
    """The endpoint for outside services."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, asked: Asked[Raw, Nothing]) -> Answer:
        """The run has the answer."""
        value = msgspec.json.decode(asked.body)
        if not await answer_callback(self._engine.store, self._engine.get, asked.path["token"], value):
            raise Refusal(404, "callback-not-found", "Nobody waits, or ever waited, for an answer at this address.")
        return Answer(body={})
