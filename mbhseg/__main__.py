"""`python -m mbhseg`: the command `mbhseg` where it is not installed."""

import sys

from mbhseg.cli.main import main

sys.exit(main())
