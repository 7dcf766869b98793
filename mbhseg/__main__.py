"""`python -m mbhseg`: the parts of the workflow that are of use without it."""

import sys

from mbhseg.cli.main import main

sys.exit(main(sys.argv[1:]))
