"""Every error that a caller may want to tell apart, under one base."""

from __future__ import annotations


class TwofoldError(Exception):
    """Base of all errors raised on purpose.

    The message is one line for a person: what was expected, what came, what to do. The command
    line prints it without a traceback and exits with code 2.
    """


class InputError(TwofoldError, ValueError):
    """An argument, identifier or option that cannot be used."""


class SettingsError(InputError):
    """A settings file or value that cannot be used."""


class DataError(InputError):
    """A row of the user's tables that cannot be used.

    Parameters
    ----------
    problem
        What was expected, what came and what to do, in one sentence.
    file
        Name of the file, or ``None`` for a frame given in Python.
    row
        Number of the row, counted from 1 without the header, or ``None`` for the whole file.
    column
        Name of the column as it stands in the file, or ``None``.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        row: int | None = None,
        column: str | None = None,
    ) -> None:
        self.problem, self.file, self.row, self.column = problem, file, row, column
        place = [file or "table"]
        if row is not None:
            place.append(f"row {row}")
        if column is not None:
            place.append(f"column '{column}'")
        super().__init__(f"{', '.join(place)}: {problem}")


class UnknownIdError(InputError):
    """A user or item that the artefact does not hold."""


class LeakError(InputError):
    """A training list that knows what it is to predict."""


class ArtefactError(TwofoldError):
    """An artefact that is missing, incomplete, damaged or of another format."""


class ArtefactBusyError(ArtefactError):
    """Another process is writing to the artefact."""


class EncoderError(TwofoldError):
    """A text model that cannot be loaded, or of a family that is not supported."""


class MissingDependencyError(TwofoldError, ImportError):
    """An optional package that is not installed; the message carries the exact command."""
