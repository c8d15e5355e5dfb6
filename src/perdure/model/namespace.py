"""Names of namespaces."""

import re
from typing import Final

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")
"""What a namespace can be called on every product."""
