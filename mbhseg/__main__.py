"""`python -m mbhseg`: the commands that need no workflow."""

import sys

from mbhseg.cli.main import main

sys.exit(main(sys.argv[1:]))
