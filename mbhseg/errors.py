"""Errors that tell the user which file, what is wrong, and what to do."""

from pathlib import Path


class InputError(Exception):
    """Bad input from outside: its text is one line, shown without a traceback.

    `where` names the file or config key, `problem` what is wrong, `remedy` what to do.
    """

    def __init__(self, where: str | Path, problem: str, remedy: str) -> None:
        self.where, self.problem, self.remedy = str(where), problem, remedy
        super().__init__(f"{where}: {problem}. {remedy}".replace("\n", " "))
