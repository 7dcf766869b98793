"""The command line without a network: what is told, what is suggested, what is imported."""

import os
import subprocess
import sys

import pytest

import mbhseg
from mbhseg.cli.main import REFUSED, UNREAD, main, parser
from mbhseg.config.defaults import defaults

HEAVY = ("tensorflow", "keras", "openvino", "numpy", "pandas", "matplotlib", "SimpleITK")


def fresh(repo, *words: str, block: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """`mbhseg` in a new process, in which the modules of `block` cannot be imported.

    Its last line on standard error names the heavy modules that it imported.
    """
    code = (
        "import sys; sys.argv = ['mbhseg', *sys.argv[1:]]\n"
        f"for name in {block!r}: sys.modules[name] = None\n"
        "from mbhseg.cli.main import main\n"
        "try: status = main()\n"
        "except SystemExit as end: status = end.code\n"
        f"print(*[m for m in {HEAVY!r} if sys.modules.get(m)], file=sys.stderr)\n"
        "sys.exit(status)"
    )
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["infer", "--help"], ["completion", "bash"]]
)
def test_what_needs_no_arrays_imports_none(repo, words):
    done = fresh(repo, *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.split("\n")[-2].split() == []


def test_doctor_needs_the_standard_library_alone(repo):
    done = fresh(repo, "doctor", block=(*HEAVY, "yaml", "nibabel", "shtab"))
    assert "CPUs" in done.stdout
    assert done.stderr.split("\n")[-2].split() == []


def test_compare_needs_no_network(repo, tmp_path):
    done = fresh(repo, "compare", str(tmp_path), str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert not {"tensorflow", "keras", "openvino"} & set(done.stderr.split("\n")[-2].split())


def test_without_tensorflow_a_line_names_the_extra(repo, tmp_path):
    (tmp_path / "model").mkdir()
    words = ("infer", str(tmp_path), "-m", str(tmp_path / "model"), "-o", str(tmp_path / "out"))
    done = fresh(repo, *words, block=("tensorflow",))
    assert done.returncode == REFUSED
    assert "Traceback" not in done.stderr
    assert "tensorflow: is not installed" in done.stderr
    assert "pip install 'mbhseg[nn]'" in done.stderr


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"mbhseg {mbhseg.__version__}\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["infre", "scan.nii"], "'infre'. Did you mean infer?"),
        (["infer", "s", "-m", "m", "-o", "o", "--mirorr"], "--mirorr. Did you mean --mirror?"),
        (["infer", "s", "-m", "m", "-o", "o", "--presicion=int8"], "Did you mean --precision?"),
        (["compare", "a", "b", "c"], "unrecognized arguments: c"),
        ([], "COMMAND"),
    ],
)
def test_a_misspelt_word_is_told_with_a_suggestion(capsys, words, told):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == REFUSED
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_commands_options_and_choices(capsys, shell):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("infer", "compare", "doctor", "probabilities", "bfloat16"):
        assert word in script


def test_a_reader_that_leaves_is_no_error(repo):
    command = [sys.executable, "-m", "mbhseg", "completion", "zsh"]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            command, cwd=repo, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == UNREAD
    assert done.stderr == ""


def refused(capsys, *words: object) -> str:
    """The one line that a refused command prints."""
    assert main([str(word) for word in words]) == REFUSED
    told = capsys.readouterr().err
    assert told.startswith("mbhseg: ")
    assert told.count("\n") == 1
    return told


@pytest.mark.parametrize(
    ("words", "where", "what"),
    [
        (["infer", "", "-m", "model", "-o", "o"], "SCAN", "scan"),
        (["infer", "a.nii", "", "-m", "model", "-o", "o"], "SCAN", "scan"),
        (["infer", "a.nii", "-m", "", "-o", "o"], "--model", "model"),
        (["infer", "a.nii", "-m", "model", "-o", ""], "--out", "folder"),
        (["submit", "", "-p", "labels", "-o", "a.zip"], "SCAN", "scan"),
        (["submit", "a.nii", "-p", "", "-o", "a.zip"], "--predictions", "folder"),
        (["submit", "a.nii", "-p", "labels", "-o", ""], "--out", "file"),
        (["publish", "", "lab/model"], "DIR", "folder"),
        (["compare", "results", ""], "RESULTS", "folder"),
    ],
)
def test_an_empty_word_is_not_the_current_folder(tmp_path, monkeypatch, capsys, words, where, what):
    monkeypatch.chdir(tmp_path)
    assert f"{where}: names no {what}" in refused(capsys, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--threads", "-3"),
        ("--batch-size", "0"),
        ("--low-confidence", "7"),
        ("--low-confidence", "nan"),
    ],
)
def test_a_wrong_value_names_its_option(tmp_path, capsys, option, value):
    words = ("infer", tmp_path, "-m", tmp_path, "-o", tmp_path / "out", f"{option}={value}")
    assert f"{option}: is {value}" in refused(capsys, *words)


def test_a_list_without_lines_names_no_scan(tmp_path, capsys):
    (tmp_path / "e.txt").write_text("\n")
    words = ("infer", tmp_path / "e.txt", "-m", tmp_path, "-o", tmp_path / "out")
    assert "e.txt: names no scan" in refused(capsys, *words)
    assert not (tmp_path / "out").exists()


REQUIRED = ("infer", "scan.nii", "-m", "model", "-o", "out")


def inference(*words: str) -> dict[str, object]:
    """What the options set of the config's section `inference`."""
    options = vars(parser("infer").parse_args([*REQUIRED, *words]))
    return {key: options[key] for key in defaults()["inference"]}


def test_the_defaults_of_infer_are_those_of_the_config():
    assert inference() == defaults()["inference"]


def test_every_key_has_an_option_that_changes_it():
    given = defaults()["inference"]
    other = {"fit": "tile", "precision": "int8", "batch_size": 3, "threads": 3}
    for key, value in given.items():
        name = key.replace("_", "-")
        if key == "ensemble":
            continue  # several models on the command line
        if isinstance(value, bool):
            assert inference(f"--{name}") == given | {key: True}
            assert inference(f"--no-{name}") == given | {key: False}
        else:
            changed = other.get(key, 0.25)
            assert inference(f"--{name}", str(changed)) == given | {key: changed}


@pytest.mark.parametrize(
    ("old", "key", "value"),
    [
        (["--no-pictures"], "overlays", False),
        (["--no-calibration"], "temperature", False),
        (["--no-postprocessing"], "postprocess", False),
        (["--batch", "5"], "batch_size", 5),
    ],
)
def test_options_have_their_old_names_too(old, key, value):
    assert inference(*old) == defaults()["inference"] | {key: value}
