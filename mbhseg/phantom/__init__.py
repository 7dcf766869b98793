"""Synthetic head CT with hemorrhages and raters: the data of the demo, tests and benchmarks."""

from mbhseg.phantom.compose import PhantomCase, make_case
from mbhseg.phantom.spec import PhantomSpec
from mbhseg.phantom.zip_archive import write_archive

__all__ = ["PhantomCase", "PhantomSpec", "make_case", "write_archive"]
