"""Which extra of the package brings a module that is not installed."""

from mbhseg.errors import InputError

# as pyproject.toml has them: the modules that are imported
EXTRAS = {"nn": ("h5py", "keras", "openvino", "tensorflow"), "workflow": ("snakemake",)}


def not_installed(module: str) -> InputError:
    """What to tell a user who lacks a module: the command that installs it.

    A module of no extra is one of the base dependencies.
    """
    name = module.partition(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if name in modules), None)
    wanted = f"mbhseg[{extra}]" if extra else "mbhseg"
    return InputError(name, "is not installed in this Python", f"Run: pip install '{wanted}'")
