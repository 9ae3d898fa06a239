"""twofold: recommend in two stages, retrieve then rerank.

Two roads through the code, about five files each:

- offline: :mod:`twofold.indexing.dataset` -> :mod:`twofold.indexing.collaborative`,
  :mod:`twofold.indexing.text`, :mod:`twofold.indexing.vectors` -> :mod:`twofold.ranking.training`
  -> one artefact folder (:mod:`twofold.build` walks it);
- online: :class:`twofold.Engine` -> :mod:`twofold.retrieval.retriever` ->
  :class:`twofold.retrieval.candidates.Candidates` -> :mod:`twofold.ranking.ranker` -> names at the
  edge.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twofold.engine import Engine
    from twofold.recommendation import Recommendation, Recommendations
    from twofold.rules import Rules

__version__ = "0.1.0"
__all__ = ["Engine", "Recommendation", "Recommendations", "Rules", "__version__"]


def __getattr__(name: str) -> Any:
    # Lazy, so that `import twofold` costs neither torch nor faiss.
    if name == "Engine":
        from twofold.engine import Engine

        return Engine
    if name in ("Recommendation", "Recommendations"):
        from twofold import recommendation

        return getattr(recommendation, name)
    if name == "Rules":
        from twofold.rules import Rules

        return Rules
    raise AttributeError(f"module 'twofold' has no attribute '{name}'")
