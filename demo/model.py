"""A tiny random model that vLLM can serve: run with the vLLM environment's Python as ``python model.py DIRECTORY``.

Two layers with random weights answer nonsense, and that is enough: tokens, latencies, caching and failures are real. The
tokenizer is trained on the help texts of Python itself, so nothing is fetched from a model hub.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

SEED = 20_240_501
VOCABULARY = 4096
LONGEST = 2048
"""Tokens of prompt and answer together."""

_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_SPECIAL = ["<|start|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]


def write_model(directory: Path) -> None:
    """Write configuration, weights and tokenizer of the model into ``directory``; the same bytes each time."""
    directory.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(directory)
    _write_weights(directory)


def _paragraphs() -> Iterator[str]:
    for name in sorted(topics):
        yield from topics[name].split("\n\n")


def _write_tokenizer(directory: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as ByteLevelDecoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=_SPECIAL, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_paragraphs(), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|start|>",
        eos_token="<|end|>",
        pad_token="<|end|>",
        model_max_length=LONGEST,
    )
    fast.chat_template = _TEMPLATE
    fast.save_pretrained(directory)


def _write_weights(directory: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(SEED)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=LONGEST,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=False,
        dtype="bfloat16",
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)


if __name__ == "__main__":
    write_model(Path(sys.argv[1]))
