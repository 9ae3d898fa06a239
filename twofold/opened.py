"""An artefact's generation, opened: all that an engine answers with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from twofold.asking import Asking
from twofold.catalogue import Catalogue
from twofold.indexing.dataset import Dataset
from twofold.indexing.generation import Generation
from twofold.indexing.live_log import REMOVED
from twofold.indexing.tracing import UNTRACED, Tracer
from twofold.indexing.vectors import Device, VectorIndex
from twofold.query_encoder import QueryEncoder
from twofold.ranking.ranker import Ranker
from twofold.recommendation import Names, Recommendations
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.queries import Queries
from twofold.retrieval.retriever import Retriever
from twofold.retrieval.stage_one import StageOne
from twofold.rules import RuleBook
from twofold.runtimes import open_ranker
from twofold.serving import Answers, Asked, Stages
from twofold.settings import Settings


@dataclass(frozen=True, eq=False)
class Opened:
    """The parts of a generation at one moment; a request is answered by those of one.

    Parameters
    ----------
    dataset
        Users, items and what they did, as built.
    catalogue
        The items as they are now.
    encoder
        Makes vectors of texts.
    stage_one
        What was learned, and the vectors.
    stages
        Both stages.
    names
        Turns what they find into what callers know.
    rules
        Reads the rules of requests.
    asking
        Makes queries of what callers know.
    """

    dataset: Dataset
    catalogue: Catalogue
    encoder: QueryEncoder
    stage_one: StageOne
    stages: Stages
    names: Names
    rules: RuleBook
    asking: Asking

    @classmethod
    def of(
        cls,
        generation: Generation,
        settings: Settings,
        runtime: str,
        device: Device,
        tracer: Tracer = UNTRACED,
    ) -> Opened:
        """Open a generation.

        Parameters
        ----------
        generation
            The generation.
        settings
            What it was built with.
        runtime
            Name of a runtime of the ranker, or ``"auto"``.
        device
            Where vectors are searched.
        tracer
            Told of every part of requests.
        """
        dataset = Dataset.open(generation)
        removed = generation.json(REMOVED) if generation.has(REMOVED) else ()
        catalogue = Catalogue.of(dataset, removed)
        index = VectorIndex.open(generation, device=device)
        stage_one = StageOne.open(generation, index, settings.stage_one)
        fusion = Fusion.from_dict(generation.json("fusion"))
        encoder = QueryEncoder(generation, settings.text)
        retriever = stage_one.retriever(fusion, encoder)
        asking = Asking(dataset, settings, catalogue.items)
        _ask_once(retriever, stage_one, asking.everyone)
        ranker = open_ranker(
            generation, settings.ranker, stage_one, retriever, asking.everyone, runtime, device
        )
        return cls(
            dataset=dataset,
            catalogue=catalogue,
            encoder=encoder,
            stage_one=stage_one,
            stages=Stages(retriever, ranker, settings.ranker.rerank, tracer=tracer),
            names=Names(catalogue.items, stage_one, retriever.source_names),
            rules=RuleBook(catalogue, index.vectors),
            asking=asking,
        )

    def vectors(self, ids: list[str], texts: list[str]) -> npt.NDArray[np.float32]:
        """Return the vectors of items' texts; those of texts that they have already are at hand.

        Parameters
        ----------
        ids
            Ids of the items, known or not.
        texts
            Their texts.
        """
        catalogue, index = self.catalogue, self.stage_one.index
        out = np.zeros((len(ids), index.dimension), dtype=np.float32)
        new = []
        for place, (one, text) in enumerate(zip(ids, texts, strict=True)):
            if catalogue.offers(one) and catalogue.text(one) == text:
                out[place] = index.vectors[catalogue.items.number(one)]
            elif text.strip():
                new.append(place)
        if new:
            out[new] = self.encoder.documents([texts[place] for place in new])
        return out

    def grown(self, catalogue: Catalogue, stage_one: StageOne, ranker: Ranker | None) -> Opened:
        """Return the same over other items.

        Parameters
        ----------
        catalogue, stage_one, ranker
            What is known of the items, all at one moment.
        """
        before = self.stages.retriever
        retriever = stage_one.retriever(before.fusion, self.encoder)
        return replace(
            self,
            catalogue=catalogue,
            stage_one=stage_one,
            # What is known of the time that reranking takes stays known.
            stages=replace(self.stages, retriever=retriever, ranker=ranker),
            names=replace(self.names, items=catalogue.items, stage_one=stage_one),
            rules=RuleBook(catalogue, stage_one.index.vectors),
            asking=self.asking.over(catalogue.items),
        )


def answers_of(asked: Sequence[tuple[Opened, Asked]]) -> list[Recommendations]:
    """Return the answers to requests that began with the same items, computed together."""
    now = asked[0][0]
    return Answers(now.stages, now.names).find([one for _, one in asked])


def _ask_once(retriever: Retriever, stage_one: StageOne, everyone: Queries) -> None:
    """Let stage one answer whoever has the longest history.

    Its machine code is read from where it is kept, or made: most of a second that the first request
    would wait for.
    """
    if not everyone.lengths().any():
        return
    query = everyone.take(np.array([everyone.lengths().argmax()]))
    found = retriever.retrieve(query, 1).items[0]
    stage_one.spoke_most(query, found[found >= 0], 1)
