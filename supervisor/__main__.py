"""`python -m supervisor` is the command `trio-supervisor`."""

from __future__ import annotations

import sys

from supervisor._guard import main

if __name__ == "__main__":
    sys.exit(main())
