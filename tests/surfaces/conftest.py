"""The command as users have it: real processes, a real file, and a service beside them."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.surfaces.processes import Shell

SHOP = Path(__file__).with_name("shop.py")


def shell_in(folder: Path) -> Shell:
    shutil.copy(SHOP, folder / "shop.py")
    return Shell(folder)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A folder with the shop's file and no store yet; what was served there is ended."""
    with shell_in(tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A folder where the shop is served, for all tests of a module: each uses run ids of its own."""
    with shell_in(tmp_path_factory.mktemp("served")) as found:
        found.serve("shop.py").line("serving")
        yield found
