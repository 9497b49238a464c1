"""Hugging Face checkpoint -> GGUF -> quantized GGUF.

cli.py            the command: arguments, steps, what is printed
pipeline.py       checkpoint in, finished files out; nothing half done is ever visible
checkpoint.py     a checkpoint's folder: its config, its weight files, its tensors
download.py       a hub id -> a checked folder in the hub's cache
hub_record.py     what the hub says of a model's files
hub_errors.py     what went wrong with the hub, in one line
space.py          is there room on the disk, and the hidden folder for what is not done
hyperparameters.py  config.json -> checked numbers
vocabulary.py     tokenizer.model and added tokens -> pieces with types and scores
torch_file.py     reads pytorch_model.bin without torch; no code in it can run
safetensors_file.py  reads model.safetensors
tensor.py         one stored tensor, read piece by piece
tensor_map.py     which GGUF tensor comes from which checkpoint tensor, and its shape
gguf_file.py      writes the BF16 GGUF
quants.py         the names of the quantizations; the recipes we measured
recipe_list.py    which recipe fits this machine (--list)
digest.py         the SHA-256 of a file
background.py     work in a thread beside the main one
llama_process.py  llama.cpp in a child process (llama_worker.py is the child)
verify.py         all checks of a written file against its checkpoint; a table of them:
  written_file.py    reads a GGUF back, row by row
  header_checks.py   metadata, vocabulary, table of tensors
  tensor_checks.py   every tensor: finite, and the checkpoint's; what it is instead
  forward.py         the checkpoint's logits in numpy, layer by layer
  duplex_prompt.py   on which ids
  llama_checks.py    what llama.cpp makes of the file
  logit_checks.py    llama.cpp's logits against those of forward.py
  tensor_limits.py   how far each storage type may be off
verify_file.py    what can be checked without the checkpoint
verify_command.py --verify
report.py         the JSON beside a file, the table on the terminal
"""

__all__ = ["CONVERTER_VERSION"]

# Written into every file as `duplex_local.converter`; raise it when the content changes.
CONVERTER_VERSION = "0.1.0"
