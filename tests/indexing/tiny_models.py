"""Real models, far too small to be good: random weights, and a tokenizer of letters and words."""

from __future__ import annotations

import string
from pathlib import Path

WORDS = "the a of and space robot opera love war nail polish red blue movie comedy drama query item"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
POSITIONS = 64


def make_bert(folder: Path, *, seed: int = 0, layers: int = 3, width: int = 32) -> Path:
    """Write a BERT encoder with its tokenizer as `save_pretrained` does, and return its folder."""
    import torch
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    size = _write_tokenizer(folder)
    config = BertConfig(
        vocab_size=size,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=POSITIONS,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertModel(config)
    # The usual start is so small that every vector looks alike; wider ones tell texts apart.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0 if parameter.ndim > 1 else 1.0)
    model.save_pretrained(folder)
    return folder


def make_sentence_model(
    folder: Path, *, seed: int = 0, prompts: dict[str, str] | None = None
) -> Path:
    """Write a sentence-transformers model with mean pooling and prompts, and return its folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    bert = make_bert(folder.with_name(f"{folder.name}-bert"), seed=seed)
    transformer = Transformer(str(bert), max_seq_length=32)
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="mean")
    model = SentenceTransformer(
        modules=[transformer, pooling, Normalize()],
        device="cpu",
        prompts=prompts or {"query": "query: ", "document": "item: "},
    )
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def _write_tokenizer(folder: Path) -> int:
    from transformers import BertTokenizer

    letters = string.ascii_lowercase + string.digits + string.punctuation
    vocabulary = [*SPECIAL, *WORDS.split(), *letters, *(f"##{one}" for one in letters)]
    vocabulary = list(dict.fromkeys(vocabulary))
    file = folder / "vocab.txt"
    file.write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    tokenizer = BertTokenizer(vocab=str(file), model_max_length=POSITIONS)
    tokenizer.save_pretrained(folder)
    return len(vocabulary)
