"""``python -m perdure.demo``: the demo without the command line."""

import sys

from perdure.demo import main

sys.exit(main())
