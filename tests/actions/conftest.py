from collections.abc import Iterator

import pytest

from tests.actions.service import Service, serving


@pytest.fixture
def service() -> Iterator[Service]:
    """A service over HTTP on this host."""
    with serving() as found:
        yield found


@pytest.fixture
def other() -> Iterator[Service]:
    """A second service, on another port."""
    with serving() as found:
        yield found
