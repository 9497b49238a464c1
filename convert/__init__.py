"""Hugging Face checkpoint -> GGUF -> quantized GGUF."""
