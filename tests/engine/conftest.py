from pathlib import Path

import pytest

from tests.engine.stores import STORES, AnyStore


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> AnyStore:
    """Each store in turn, new and closed."""
    return STORES[request.param](tmp_path)
