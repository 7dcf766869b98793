"""What pyproject.toml declares is what the package imports, with bounds."""

import ast
import importlib.metadata
import re
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mbhseg.runtime.extras import EXTRAS

# declared without an import of the package: plugins that others load, and what runs beside it
UNIMPORTED = {
    "python-gdcm",  # pydicom decodes compressed pixels with it
    "snakemake",
    "snakemake-executor-plugin-cluster-generic",
    "snakemake-executor-plugin-slurm",
}


def declared(repo) -> dict[str, list[Requirement]]:
    """The requirements of the base (`""`) and of each extra."""
    project = tomllib.loads((repo / "pyproject.toml").read_text())["project"]
    lists = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: [Requirement(line) for line in lines] for extra, lines in lists.items()}


def imported(folder) -> dict[str, set[str]]:
    """The modules from outside that a folder's code imports, each with the files that do."""
    modules: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                modules.setdefault(name.partition(".")[0], set()).add(str(path))
    own = {"mbhseg", *sys.stdlib_module_names}
    return {name: files for name, files in modules.items() if name not in own}


def distribution_of(module: str) -> str:
    names = importlib.metadata.packages_distributions().get(module)
    assert names, f"{module} is not installed here"
    return canonicalize_name(names[0])


def test_every_import_is_declared_and_every_requirement_imported(repo):
    wanted = declared(repo)
    base = {canonicalize_name(each.name) for each in wanted[""]}
    extras = {canonicalize_name(each.name) for name in EXTRAS for each in wanted[name]}
    modules = imported(repo / "mbhseg")
    used = {distribution_of(module): files for module, files in modules.items()}
    assert {name: files for name, files in used.items() if name not in base | extras} == {}
    assert base | extras == set(used) | UNIMPORTED
    assert not base & extras


def test_what_an_extra_brings_is_told_by_its_modules(repo):
    wanted = declared(repo)
    for extra, modules in EXTRAS.items():
        names = {canonicalize_name(each.name) for each in wanted[extra]}
        assert {distribution_of(module) for module in modules} <= names
    assert set(EXTRAS["nn"]) == {
        module
        for module in imported(repo / "mbhseg")
        if distribution_of(module) in {canonicalize_name(each.name) for each in wanted["nn"]}
    }


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_requirements_have_lower_bounds_that_the_lock_meets(repo, extra):
    lock = (repo / "requirements.lock").read_text()
    for each in declared(repo)[extra]:
        assert ">=" in {part.operator for part in each.specifier}, each
        name = canonicalize_name(each.name)
        (first, *others) = re.findall(rf"^{re.escape(name)}==([^\s;]+)", lock, re.MULTILINE)
        for version in (first, *others):
            assert version in each.specifier, each


def test_libraries_whose_private_parts_are_used_have_upper_bounds(repo):
    bounds = {
        canonicalize_name(each.name): {part.operator for part in each.specifier}
        for requirements in declared(repo).values()
        for each in requirements
    }
    for name in ("keras", "tensorflow", "openvino", "httpx2", "huggingface-hub"):
        assert "<" in bounds[name], name


def test_the_snakefile_s_minimum_is_the_declared_one(repo):
    (minimum,) = re.findall(r'min_version\("([\d.]+)"\)', (repo / "Snakefile").read_text())
    (wanted,) = (r for r in declared(repo)["workflow"] if r.name == "snakemake")
    assert f">={minimum}" == str(wanted.specifier)
