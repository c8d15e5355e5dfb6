"""``python -m perdure.bench``."""

import sys

from perdure.bench import main

if __name__ == "__main__":
    sys.exit(main())
