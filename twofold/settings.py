"""All settings of twofold, one section a component, in one TOML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from twofold.indexing.data_settings import DataSettings
from twofold.indexing.errors import SettingsError
from twofold.indexing.text import TextSettings
from twofold.indexing.tuning import IndexSettings
from twofold.presets import preset as values_of
from twofold.ranking.settings import RankerSettings
from twofold.retrieval.settings import StageOneSettings
from twofold.settings_file import load_toml


@dataclass(frozen=True)
class Settings:
    """All settings of a build and of what is built.

    Parameters
    ----------
    seed
        Where chance begins, everywhere.
    threads
        Cores to use; ``None`` takes all that this process may use. Only 1 gives the same bits every
        time.
    window_labels
        The latest labels of each user that stage two is trained on, with all before them as
        history; ``None`` takes 5 where half of the users have 20 or more labels, otherwise 1. With
        `stage_one.repeat` occasions with labels, such as baskets, are counted instead.
    windows
        How many such windows, one before the other, each with a stage one of its own; ``None``
        takes as many as make 8,000 lists, at most 8.
    skip_labels
        So many of each user's latest labels are in no window: stage one learns from them, stage two
        does not. Occasions with `stage_one.repeat`.
    keep
        How many generations of an artefact are kept, the current one included.
    data
        How the tables are read.
    text
        How item texts and queries become vectors.
    index
        How vectors, of texts and of factors, are searched.
    stage_one
        Stage one: the sources and how they are merged.
    ranker
        Stage two: the cross-encoder and its training.

    Raises
    ------
    SettingsError
        If a number is out of range.
    """

    seed: int = 0
    threads: int | None = None
    window_labels: int | None = None
    windows: int | None = None
    skip_labels: int = 0
    keep: int = 2
    data: DataSettings = field(default_factory=DataSettings)
    text: TextSettings = field(default_factory=TextSettings)
    index: IndexSettings = field(default_factory=IndexSettings)
    stage_one: StageOneSettings = field(default_factory=StageOneSettings)
    ranker: RankerSettings = field(default_factory=RankerSettings)

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise SettingsError(f'threads must be at least 1 or "none", not {self.threads}')
        if self.window_labels is not None and self.window_labels < 1:
            raise SettingsError(f"window_labels must be at least 1, not {self.window_labels}")
        if self.windows is not None and self.windows < 1:
            raise SettingsError(f"windows must be at least 1, not {self.windows}")
        if self.skip_labels < 0:
            raise SettingsError(f"skip_labels must not be negative, not {self.skip_labels}")
        if self.keep < 1:
            raise SettingsError(f"keep must be at least 1, not {self.keep}")
        if not 0 <= self.seed < 2**32:
            raise SettingsError(f"seed must be in 0 .. 2**32 - 1, not {self.seed}")


def load_settings(
    file: str | Path | None = None, overrides: Sequence[str] = (), *, preset: str | None = None
) -> Settings:
    """Return the settings of a TOML file, with ``section.key=value`` overrides on top.

    Parameters
    ----------
    file
        TOML file; ``None`` for none.
    overrides
        Win over the file.
    preset
        Name of a preset, over which the file wins, see :mod:`twofold.presets`; ``None`` for none.

    Raises
    ------
    SettingsError
        If a name or value cannot be used; unknown names are answered with the nearest known one.
    FileNotFoundError
        If there is no such file.
    """
    below = None if preset is None else values_of(preset)
    return load_toml(Settings, file, overrides, below=below)
