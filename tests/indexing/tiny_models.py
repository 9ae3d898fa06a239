"""Real models, far too small to be good: random weights, and a tokenizer of letters and words."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

WORDS = "the a of and space robot opera love war nail polish red blue movie comedy drama query item"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
POSITIONS = 64
END = "<|endoftext|>"


def make_bert(folder: Path, *, seed: int = 0, layers: int = 3, width: int = 32) -> Path:
    """Write a BERT encoder with its tokenizer as `save_pretrained` does, and return its folder."""
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
    return _save(BertModel, config, folder, seed)


def make_roberta(folder: Path, *, seed: int = 0) -> Path:
    """Write a RoBERTa encoder without a tokenizer, and return its folder."""
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=20,
        type_vocab_size=1,
        pad_token_id=1,
        hidden_act="gelu_new",
    )
    return _save(RobertaModel, config, folder, seed, uneven=0.2)


def make_modernbert(folder: Path, *, seed: int = 0) -> Path:
    """Write a ModernBERT encoder with its tokenizer, and return its folder."""
    from transformers import ModernBertConfig, ModernBertModel

    folder.mkdir(parents=True, exist_ok=True)
    size = _write_tokenizer(folder)
    config = ModernBertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=POSITIONS,
        local_attention=6,
        pad_token_id=0,
        eos_token_id=None,
        bos_token_id=None,
        cls_token_id=2,
        sep_token_id=3,
    )
    return _save(ModernBertModel, config, folder, seed, uneven=0.2)


def make_qwen3(folder: Path, *, seed: int = 0) -> Path:
    """Write a Qwen3 decoder with a byte-level tokenizer, and return its folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    folder.mkdir(parents=True, exist_ok=True)
    bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = Tokenizer(models.BPE())
    words.pre_tokenizer, words.decoder = bytes_alone, decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator([WORDS], trainer)
    make: Any = PreTrainedTokenizerFast
    make(tokenizer_object=words, eos_token=END, pad_token=END).save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=words.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        intermediate_size=40,
        max_position_embeddings=POSITIONS,
        eos_token_id=0,
    )
    return _save(Qwen3Model, config, folder, seed, uneven=0.2)


def _save(kind: Any, config: Any, folder: Path, seed: int, *, uneven: float = 0.0) -> Path:
    import torch

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        model = kind(config)
        # The usual start is so small that every vector looks alike; wider ones tell texts apart.
        # Norms and biases start alike too, and would hide that one was taken for another.
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
            elif uneven:
                parameter.add_(uneven * torch.randn(parameter.shape))
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
