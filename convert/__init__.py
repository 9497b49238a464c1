"""Hugging Face checkpoint -> GGUF -> quantized GGUF.

cli.py            the command: arguments, steps, what is printed
pipeline.py       checkpoint in, finished files out; nothing half done is ever visible
checkpoint.py     a checkpoint's folder: its config, its weight files, its tensors
hyperparameters.py  config.json -> checked numbers
vocabulary.py     tokenizer.model and added tokens -> pieces with types and scores
torch_file.py     reads pytorch_model.bin without torch; no code in it can run
safetensors_file.py  reads model.safetensors
tensor.py         one stored tensor, read piece by piece
tensor_map.py     which GGUF tensor comes from which checkpoint tensor, and its shape
gguf_file.py      writes the BF16 GGUF
quants.py         the names of the quantizations; the recipes we measured
recipe_list.py    which recipe fits this machine (--list)
digest.py         the SHA-256 of a file while it is written
llama_process.py  llama.cpp in a child process (llama_worker.py is the child)
verify.py         opens a written file and compares it with the checkpoint
"""

__all__ = ["CONVERTER_VERSION"]

# Written into every file as `duplex_local.converter`; raise it when the content changes.
CONVERTER_VERSION = "0.1.0"
