"""python -m operations: what ./stack runs."""

import sys

from operations.cli import main

if __name__ == "__main__":
    sys.exit(main())
