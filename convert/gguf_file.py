"""Writes the BF16 GGUF: metadata, vocabulary, then the tensors, streamed piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import gguf

from convert import CONVERTER_VERSION
from convert.hyperparameters import Hyperparameters
from convert.tensor import as_bf16, as_f32
from convert.tensor_map import PlannedTensor, interleave_rotary_rows
from convert.vocabulary import Vocabulary

__all__ = ["Model", "write_gguf"]

_F32, _BF16 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.BF16


@dataclass(frozen=True)
class Model:
    """A checkpoint that has passed all checks."""

    name: str
    hparams: Hyperparameters
    vocabulary: Vocabulary
    tensors: Sequence[PlannedTensor]
    source_url: str | None = None

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors in the BF16 file."""
        return sum(_stored_bytes(tensor) for tensor in self.tensors)


def write_gguf(path: Path, model: Model, advance: Callable[[int], object]) -> None:
    """Write `model` to `path`; `advance` is called with each number of bytes written.

    Raises:
        ModelFileError: when a weight file cannot be read to its end.
        OSError: when `path` cannot be written.
    """
    writer = gguf.GGUFWriter(path, "minicpm")
    try:
        _add_hyperparameters(writer, model)
        _add_vocabulary(writer, model.vocabulary)
        for tensor in model.tensors:
            source = tensor.source
            writer.add_tensor_info(
                tensor.name, source.shape, None, _stored_bytes(tensor), raw_dtype=_type(tensor)
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
    finally:
        writer.close()
    with path.open("ab") as file:
        _pad(file)
        for tensor in model.tensors:
            _write_tensor(file, tensor, advance)
            _pad(file)


def _add_hyperparameters(writer: gguf.GGUFWriter, model: Model) -> None:
    hparams = model.hparams
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(model.name)
    if hparams.description is not None:
        writer.add_description(hparams.description)
    if model.source_url is not None:
        writer.add_source_url(model.source_url)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_string("duplex_local.converter", f"convert {CONVERTER_VERSION}")
    writer.add_vocab_size(hparams.vocab_size)
    writer.add_context_length(hparams.context_length)
    writer.add_block_count(hparams.n_layers)
    writer.add_embedding_length(hparams.hidden_size)
    writer.add_feed_forward_length(hparams.feed_forward_size)
    writer.add_head_count(hparams.n_heads)
    writer.add_head_count_kv(hparams.n_kv_heads)
    writer.add_layer_norm_rms_eps(hparams.rms_norm_eps)
    writer.add_rope_dimension_count(hparams.head_dim)
    writer.add_rope_freq_base(hparams.rope_theta)
    writer.add_embedding_scale(hparams.scale_emb)
    writer.add_residual_scale(hparams.residual_scale)
    # Must be there: llama.cpp's default is the inverse, so logits would be 81 times too large.
    writer.add_logit_scale(hparams.logit_scale)


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary.texts)
    writer.add_token_scores(vocabulary.scores)
    writer.add_token_types([int(kind) for kind in vocabulary.types])
    writer.add_bos_token_id(vocabulary.find("<s>"))
    writer.add_eos_token_id(vocabulary.find("</s>"))
    writer.add_unk_token_id(vocabulary.find("<unk>"))
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    # llama.cpp's default glues a space to every text, also after every special token.
    writer.add_add_space_prefix(False)
    if vocabulary.chat_template is not None:
        writer.add_chat_template(vocabulary.chat_template)


def _type(tensor: PlannedTensor) -> gguf.GGMLQuantizationType:
    """llama.cpp needs one-dimensional tensors in F32."""
    return _F32 if len(tensor.source.shape) == 1 else _BF16


def _stored_bytes(tensor: PlannedTensor) -> int:
    block_values, block_bytes = gguf.GGML_QUANT_SIZES[_type(tensor)]
    n_values = 1
    for n in tensor.source.shape:
        n_values *= n
    return int(n_values // block_values * block_bytes)


def _write_tensor(file: BinaryIO, tensor: PlannedTensor, advance: Callable[[int], object]) -> None:
    source = tensor.source
    if tensor.n_rotary_heads == 0 and (source.dtype, _type(tensor)) == ("BF16", _BF16):
        for piece in source.raw():
            advance(file.write(piece))
        return
    encode = as_f32 if _type(tensor) == _F32 else as_bf16
    if tensor.n_rotary_heads:
        chunks = iter([interleave_rotary_rows(source.read(), tensor.n_rotary_heads)])
    else:
        chunks = source.chunks()
    for values in chunks:
        advance(file.write(encode(values, source.dtype).data.cast("B")))


def _pad(file: BinaryIO) -> None:
    file.write(bytes(-file.tell() % gguf.GGUF_DEFAULT_ALIGNMENT))
