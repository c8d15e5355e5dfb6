"""Takes up what the store's policy says. Protects from limits and retentions that count only after the next restart."""

import logging
from collections.abc import Callable

import msgspec

from perdure.model.errors import PerdureError
from perdure.model.limits import Limits
from perdure.model.policy import SETTING, Policy, decode_policy
from perdure.model.retention import Retention
from perdure.ports.store import Store

logger = logging.getLogger("perdure.engine")


class Policing:
    """``limits``: the object that all parts of the node ask, and that nobody else has. ``set_retention`` takes each new retention."""

    def __init__(self, store: Store, limits: Limits, retention: Retention, set_retention: Callable[[Retention], None]) -> None:
        self._store = store
        self._limits = limits
        self._own_limits = msgspec.structs.replace(limits)
        self._own_retention = retention
        self._set_retention = set_retention
        self._policy = Policy()

    async def begin(self) -> None:
        """The policy is in force; one that cannot be read is told and left out until it can."""
        try:
            await self.look()
        except PerdureError as error:
            logger.warning("the policy of the store: %s", error)

    async def look(self) -> bool:
        """The policy is in force; tells whether it is another than before. Raises `StoreUnavailable`, `CorruptJournal`, `InvalidOption`."""
        found = decode_policy(await self._store.setting(SETTING))
        if found == self._policy:
            return False
        found.check()
        for name in Limits.__struct_fields__:
            # Frozen for users, who might take a change for a way to set it; the parts of a node share one object.
            msgspec.structs.force_setattr(self._limits, name, found.limits.get(name, getattr(self._own_limits, name)))
        self._set_retention(found.retained(self._own_retention))
        self._policy = found
        logger.info("the policy of the store is %s", found)
        return True
