"""Proves that a written file is the checkpoint: every check, one after the other.

The file is read twice: by our own reader, tensor by tensor against the checkpoint, and by
llama.cpp, whose logits are compared with a forward pass over the checkpoint that shares no code
with it. The first finds the culprit, the second what the first does not think of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.background import in_background
from convert.checks import Check, listed
from convert.duplex_prompt import DuplexPrompt, duplex_prompt
from convert.forward import checkpoint_logits
from convert.gguf_file import Model
from convert.header_checks import (
    check_metadata,
    check_tensor_table,
    check_vocabulary,
    expected_metadata,
    vocabulary_of,
)
from convert.llama_checks import (
    TEXTS,
    check_special_ids,
    check_tokenization,
    evaluation,
    sampled_pieces,
)
from convert.llama_process import LlamaProcess
from convert.logit_checks import check_logits, limits_for, softened
from convert.tensor import Array
from convert.tensor_checks import check_values
from convert.tensor_limits import UNQUANTIZED
from convert.tensor_map import n_params
from convert.vocabulary import Vocabulary
from convert.written_file import WrittenFile, read_gguf
from duplex_local.errors import BackendError, ModelFileError

__all__ = ["Verification", "Verifier", "ignore"]


def ignore(_n: int) -> None:
    """For progress that nobody looks at."""


@dataclass(frozen=True)
class Verification:
    """All checks of one file, good and bad."""

    checks: Sequence[Check]
    facts: dict[str, Any]

    @property
    def why(self) -> str:
        """What is wrong, empty when nothing is. The first checks name a culprit best."""
        return listed(f"{check.name}: {check.why}" for check in self.checks if not check.ok)

    def as_json(self) -> dict[str, Any]:
        return {
            "ok": not self.why,
            **self.facts,
            "checks": [check.as_json() for check in self.checks],
        }


class Verifier:
    """Checks files made from one checkpoint. Expectations are computed once, for all of them, from
    when it is made."""

    def __init__(self, directory: Path, model: Model) -> None:
        self._model = model
        self._n_params = n_params(tensor.source.shape for tensor in model.tensors)
        try:
            self._expect(directory / "tokenizer.model", model)
        except (IndexError, OSError, RuntimeError, UnicodeError, ValueError) as error:
            raise ModelFileError(
                f"sentencepiece cannot use {directory / 'tokenizer.model'}: {str(error)[:200]}. "
                "Download it again."
            ) from None
        # Begun at once: writing the file leaves most of a second core idle.
        self._logits = in_background(self._checkpoint_logits)

    def _expect(self, tokenizer: Path, model: Model) -> None:
        import sentencepiece  # here: it need not be loaded to refuse a bad checkpoint

        pieces = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer))
        self._piece_ids = sampled_pieces(model.vocabulary)
        sampled = [pieces.decode([token]) for token in self._piece_ids]
        added = model.vocabulary.added
        # sentencepiece knows nothing of added tokens, so texts that spell one differ rightly.
        self._texts = list(TEXTS) + [t for t in sampled if t and not any(a in t for a in added)]
        self._ids = [list(pieces.encode(text)) for text in self._texts]
        # An added token alone is its id.
        self._texts += added
        self._ids += [[model.vocabulary.n_pieces + i] for i in range(len(added))]
        self._piece_bytes = [text.encode("utf-8").hex() for text in sampled]
        self._prompt: DuplexPrompt = duplex_prompt(
            model.vocabulary, pieces.encode, model.hparams.context_length
        )

    def _checkpoint_logits(self) -> Array:
        sources = {tensor.source.name: tensor.source for tensor in self._model.tensors}
        return checkpoint_logits(self._model.hparams, sources, self._prompt.ids)

    def check(
        self, path: Path, llama: LlamaProcess, advance: Callable[[int], object] = ignore
    ) -> dict[str, Any]:
        """What was checked in the file at `path`.

        Raises:
            ModelFileError: when the file is not what the checkpoint says.
        """
        done = self.run(path, llama, advance)
        if done.why:
            raise ModelFileError(
                f"{self._model.name} as {path.stem} failed verification. {done.why}. "
                "The file was removed; please report this."
            )
        return done.as_json()

    def run(
        self, path: Path, llama: LlamaProcess, advance: Callable[[int], object] = ignore
    ) -> Verification:
        """All checks of the file at `path`; `advance` is called with 1 for each tensor.

        Raises:
            ModelFileError: when the file is no GGUF or is truncated.
        """
        model = self._model
        file = read_gguf(path)
        shapes = {tensor.name: tensor.source.shape for tensor in model.tensors}
        table = check_tensor_table(file, shapes)
        checks = [
            check_metadata(file.metadata, expected_metadata(model.hparams, model.vocabulary)),
            self._check_vocabulary(file),
            table,
        ]
        if table.ok:
            checks += self._check_weights(file, llama, advance)
        return Verification(checks, self._facts())

    def _check_weights(
        self, file: WrittenFile, llama: LlamaProcess, advance: Callable[[int], object]
    ) -> list[Check]:
        """llama.cpp evaluates the file while its tensors are compared here."""
        n_vocab = len(self._model.vocabulary.texts)
        inspected = llama.start("inspect", str(file.path), self._texts, self._piece_ids)
        with evaluation(file.path, self._prompt.ids, n_vocab, llama) as evaluated:
            values = check_values(file, self._model.tensors, advance)
            expected = self._logits.result()
            seen: list[Check] = []
            try:
                seen += self._check_inspected(inspected())
                seen += self._check_logits(file, values, evaluated(), expected)
            except BackendError as error:
                seen.append(Check("llama.cpp", "-", str(error).rstrip(".")))
        is_quantized = any(t.type not in UNQUANTIZED for t in file.tensors.values())
        return [values, *(softened(seen) if values.ok and is_quantized else seen)]

    def _facts(self) -> dict[str, Any]:
        find = self._model.vocabulary.find
        return {
            "tensors": len(self._model.tensors),
            "n_params": self._n_params,
            "special_ids": {"bos": find("<s>"), "eos": find("</s>"), "idle": find("<idle>")},
            "texts_compared": len(self._texts),
            "pieces_compared": len(self._piece_ids),
        }

    def _check_vocabulary(self, file: WrittenFile) -> Check:
        try:
            found: Vocabulary = vocabulary_of(file.metadata)
        except ModelFileError as error:
            return Check("vocabulary", "-", str(error))
        return check_vocabulary(found, self._model.vocabulary)

    def _check_inspected(self, found: dict[str, Any]) -> list[Check]:
        pieces = (found["pieces"], self._piece_bytes)
        return [
            check_special_ids(found, self._model.vocabulary, self._n_params),
            check_tokenization("tokenization", self._texts, found["ids"], self._ids, *pieces),
        ]

    def _check_logits(
        self, file: WrittenFile, values: Check, found: Array, expected: Array
    ) -> list[Check]:
        types = {tensor.type for tensor in file.tensors.values()}
        dtypes = {tensor.source.dtype for tensor in self._model.tensors}
        equal = values.ok and not values.values["worst_tensor_error"]
        limits = limits_for(types, dtypes, equal)
        return check_logits(found, expected, self._prompt.decisions, self._prompt.idle, limits)
