"""Probes over HTTP: the same answers as ``--health-port``, without a token."""

from perdure import Engine
from perdure.api.endpoint import Answer, Asked, Nothing


class Probes:
    """``/live``: the process answers. ``/ready``: runs can be started and asked here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def live(self, asked: Asked[None, Nothing]) -> Answer:
        """Say that the process runs."""
        return Answer(body={})

    async def ready(self, asked: Asked[None, Nothing]) -> Answer:
        """Say how the engine is: 200 if it is ready, else 503."""
        health = await self._engine.health()
        return Answer(status=200 if health.is_ready else 503, body=health)
