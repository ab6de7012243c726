"""`python -m manifold_capacity` is the command `manifold-capacity`."""

import sys

from manifold_capacity.command_line import main

if __name__ == "__main__":
    sys.exit(main())
