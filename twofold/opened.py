"""An artefact's generation, opened: all that an engine answers with."""

from __future__ import annotations

from dataclasses import dataclass

from twofold.asking import Asking
from twofold.indexing.dataset import Dataset
from twofold.indexing.generation import Generation
from twofold.indexing.live_log import Position
from twofold.indexing.vectors import Device, VectorIndex
from twofold.live import Live
from twofold.query_encoder import QueryEncoder
from twofold.recommendation import Names
from twofold.retrieval.fusion import Fusion
from twofold.retrieval.stage_one import StageOne
from twofold.rules import RuleBook
from twofold.runtimes import open_ranker
from twofold.serving import Stages
from twofold.settings import Settings


@dataclass(frozen=True)
class Opened:
    """The parts of a generation.

    Parameters
    ----------
    dataset
        Users, items and what they did.
    stage_one
        What was learned from that, and the vectors.
    stages
        Both stages.
    names
        Turns what they find into what callers know.
    rules
        Reads the rules of requests.
    live
        What users did since the build.
    asking
        Makes queries of what callers know.
    """

    dataset: Dataset
    stage_one: StageOne
    stages: Stages
    names: Names
    rules: RuleBook
    live: Live
    asking: Asking

    @classmethod
    def of(cls, generation: Generation, settings: Settings, runtime: str, device: Device) -> Opened:
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
        """
        dataset = Dataset.open(generation)
        index = VectorIndex.open(generation, device=device)
        stage_one = StageOne.open(generation, index, settings.stage_one)
        fusion = Fusion.from_dict(generation.json("fusion"))
        retriever = stage_one.retriever(fusion, QueryEncoder(generation, settings.text))
        live = Live(generation.root, dataset, settings, Position.of(generation.manifest))
        asking = Asking(dataset, settings, live)
        ranker = open_ranker(
            generation, settings.ranker, stage_one, retriever, asking.everyone, runtime
        )
        return cls(
            dataset=dataset,
            stage_one=stage_one,
            stages=Stages(retriever, ranker, settings.ranker.rerank),
            names=Names(dataset, stage_one, retriever.source_names),
            rules=RuleBook(dataset, index.vectors),
            live=live,
            asking=asking,
        )
