"""Opens a written file with llama.cpp and compares it with the checkpoint it came from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from convert.gguf_file import Model
from convert.llama_process import LlamaProcess
from convert.vocabulary import PieceType, Vocabulary
from duplex_local.errors import ModelFileError

__all__ = ["Verifier"]

N_SAMPLED_PIECES = 256
IDLE = "<idle>"
_TEXTS = (
    "<用户>Hello, what's the time?<AI>",
    "<用户>你好，今天天气怎么样？<AI>It is 12:30...\n\n",
    "  two  spaces\tand a tab, 3.14159 © 😀",
)


class Verifier:
    """Checks files made from one checkpoint. Expectations are computed once, for all of them."""

    def __init__(self, directory: Path, model: Model) -> None:
        try:
            self._expect(directory / "tokenizer.model", model)
        except (IndexError, OSError, RuntimeError, UnicodeError, ValueError) as error:
            raise ModelFileError(
                f"sentencepiece cannot use {directory / 'tokenizer.model'}: {str(error)[:200]}. "
                "Download it again."
            ) from None

    def _expect(self, tokenizer: Path, model: Model) -> None:
        import sentencepiece  # here: it need not be loaded to refuse a bad checkpoint

        pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
        self._model = model
        self._piece_ids = _sampled_pieces(model.vocabulary)
        sampled = [pieces.decode([token]) for token in self._piece_ids]
        added = model.vocabulary.added
        # sentencepiece knows nothing of added tokens, so texts that spell one differ rightly.
        self._texts = list(_TEXTS) + [t for t in sampled if t and not any(a in t for a in added)]
        self._ids = [list(pieces.encode(text)) for text in self._texts]
        # An added token alone is its id.
        self._texts += added
        self._ids += [[model.vocabulary.n_pieces + i] for i in range(len(added))]
        self._piece_bytes = [text.encode("utf-8").hex() for text in sampled]

    def check(self, path: Path, llama: LlamaProcess) -> dict[str, Any]:
        """What was checked in the file at `path`.

        Raises:
            ModelFileError: when the file is not what the checkpoint says.
            BackendError: when llama.cpp cannot load it.
        """
        expected = _expected_metadata(self._model)
        found = llama.ask("inspect", str(path), self._texts, self._piece_ids, list(expected))
        wrong = [k for k, value in expected.items() if not _agrees(found["metadata"][k], value)]
        wrong += self._wrong_facts(found)
        if wrong:
            raise ModelFileError(
                f"The file written for {self._model.name} does not agree with the checkpoint in: "
                f"{', '.join(wrong)}. It was removed; please report this."
            )
        idle = self._model.vocabulary.find(IDLE)
        return {
            "ok": True,
            "tensors": len(self._model.tensors),
            "n_params": found["n_params"],
            "special_ids": {"bos": found["bos"], "eos": found["eos"], "idle": idle},
            "texts_compared": len(self._texts),
            "pieces_compared": len(self._piece_ids),
            "mismatches": 0,
            "evaluated": found["finite_logits"] is not None,
        }

    def _wrong_facts(self, found: dict[str, Any]) -> list[str]:
        """Names of what llama.cpp sees differently from the checkpoint."""
        vocabulary = self._model.vocabulary
        special = (vocabulary.find("<s>"), vocabulary.find("</s>"))
        facts = {
            "special ids": (found["bos"], found["eos"]) == special,
            "vocabulary size": found["n_tokens"] == len(vocabulary.texts),
            "parameters": found["n_params"] == _n_params(self._model),
            "tokenization": found["ids"] == self._ids and found["pieces"] == self._piece_bytes,
            "finite logits": found["finite_logits"] is not False,
        }
        return [name for name, good in facts.items() if not good]


def _sampled_pieces(vocabulary: Vocabulary) -> list[int]:
    """Ids spread evenly over the pieces that stand for text."""
    kinds = (PieceType.NORMAL, PieceType.USER_DEFINED)
    n_pieces = vocabulary.n_pieces
    ids = [token for token in range(n_pieces) if vocabulary.types[token] in kinds]
    return ids[:: max(1, len(ids) // N_SAMPLED_PIECES)]


def _expected_metadata(model: Model) -> dict[str, object]:
    hparams = model.hparams
    return {
        "general.architecture": "minicpm",
        "minicpm.embedding_scale": hparams.scale_emb,
        "minicpm.residual_scale": hparams.residual_scale,
        "minicpm.logit_scale": hparams.logit_scale,
        "minicpm.attention.head_count_kv": hparams.n_kv_heads,
        "minicpm.rope.freq_base": hparams.rope_theta,
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.add_space_prefix": "false",
        "tokenizer.ggml.add_bos_token": "true",
        "tokenizer.ggml.add_eos_token": "false",
    }


def _agrees(found: str | None, expected: object) -> bool:
    """Numbers travel as float32 and come back as text."""
    if found is None or isinstance(expected, str):
        return found == expected
    assert isinstance(expected, (int, float))
    return math.isclose(float(found), expected, rel_tol=1e-5)


def _n_params(model: Model) -> int:
    return sum(math.prod(tensor.source.shape) for tensor in model.tensors)
