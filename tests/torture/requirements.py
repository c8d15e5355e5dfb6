"""What the tests here need of the machine. At home they skip loudly without it; in CI they fail."""

import shutil

from tests.missing import missing
from tests.torture.binaries import NoServer, find_binaries, find_owner


def skip_without_server() -> None:
    """A private PostgreSQL can be made."""
    try:
        find_binaries()
        find_owner()
    except NoServer as error:
        missing(str(error))


def skip_without_compiler() -> None:
    """A clock can be moved."""
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        missing("no C compiler, so no clock can be moved")
