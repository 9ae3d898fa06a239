"""Stage two: candidates in, reranked candidates out; the classifier and its training."""
