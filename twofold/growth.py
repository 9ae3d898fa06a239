"""Both stages while items come, change and go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twofold.indexing.errors import ArtefactError
from twofold.indexing.live_log import ItemChange
from twofold.opened import Opened
from twofold.ranking.growing_ranker import GrowingRanker, ReadItems
from twofold.retrieval.growing_stage_one import GrowingStageOne


class Growth:
    """Makes of one state of an engine the next; used by one thread at a time.

    States that were given away stay as they were, so that requests under way are not disturbed.

    Parameters
    ----------
    opened
        The first state.
    """

    def __init__(self, opened: Opened) -> None:
        self.now = opened
        self._stage_one = GrowingStageOne(opened.stage_one)
        ranker = opened.stages.ranker
        self._ranker = None if ranker is None else GrowingRanker(ranker)

    def read(self, changes: Sequence[ItemChange]) -> ReadItems | None:
        """Return what the ranker makes of the texts of changes, ``None`` without a ranker.

        The slow part of :meth:`after`, which any thread may do before.
        """
        if self._ranker is None:
            return None
        puts = [one for one in changes if one.change == "put"]
        known = self.now.catalogue.items.encode([one.item for one in puts], unknown="mark")
        texts = [one.text or "" for one in puts]
        vectors = [one.vector for one in puts if one.vector is not None]
        return self._ranker.read(known, texts, np.array(vectors, dtype=np.float32))

    def after(self, changes: Sequence[ItemChange], read: ReadItems | None = None) -> Opened:
        """Return the state after changes, which is the one to go on from.

        Parameters
        ----------
        changes
            In order.
        read
            What :meth:`read` gave of them, where all are of other items.

        Raises
        ------
        ArtefactError
            If the vectors of the changes are not of the length of the build's.
        """
        catalogue, came = self.now.catalogue.after(changes)
        stage_one, ranker = self._stage_one.now, self.now.stages.ranker
        if len(came.numbers):
            dimension = stage_one.index.dimension
            if came.vectors.shape != (len(came.numbers), dimension):
                raise ArtefactError(
                    f"the log of changes holds vectors of another model than the build's, which "
                    f"have {dimension} numbers; forget them with `twofold update ARTEFACT "
                    "--forget-built`, or remove live.sqlite to do without what came since the build"
                )
            stage_one = self._stage_one.put(
                came.numbers, came.vectors, catalogue.dates(came.numbers)
            )
            if self._ranker is not None:
                ranker = self._ranker.put(came.numbers, came.texts, came.vectors, stage_one, read)
        self.now = self.now.grown(catalogue, stage_one, ranker)
        return self.now
