"""python -m convert --list: the recipes, what fits this machine, and which one to take."""

from __future__ import annotations

from dataclasses import dataclass

from convert.hyperparameters import Hyperparameters
from convert.quants import DEFAULT_QUANT, RECIPES, Recipe
from convert.tensor_map import n_params, required_tensors

__all__ = ["MINICPM_DUPLEX", "Choice", "choices", "recipe_table", "recommend"]

N_CTX = 4096  # tokens
KV_VALUE_BYTES = 2  # F16
BATCH = 64  # tokens: the engine's
USABLE_SHARE = 0.7  # of a machine's memory; the rest is for the system and a browser

MINICPM_DUPLEX = Hyperparameters(
    n_layers=40,
    n_heads=36,
    n_kv_heads=36,
    hidden_size=2304,
    feed_forward_size=5760,
    context_length=4096,
    vocab_size=122_760,
    rms_norm_eps=1e-5,
    rope_theta=10000.0,
    scale_emb=12.0,
    scale_depth=1.4,
    dim_model_base=256.0,
    tied=True,
    description=None,
)


@dataclass(frozen=True)
class Choice:
    """A recipe applied to one model on one machine. `fits` None: the machine does not say."""

    recipe: Recipe
    size_bytes: int
    memory_bytes: int
    fits: bool | None


def kv_bytes(hparams: Hyperparameters, n_ctx: int) -> int:
    """The KV cache of a conversation: layers × (K and V) × heads × head size × 2 bytes × tokens."""
    row = hparams.n_kv_heads * hparams.head_dim
    return hparams.n_layers * 2 * row * KV_VALUE_BYTES * n_ctx


def work_bytes(hparams: Hyperparameters, n_ctx: int) -> int:
    """llama.cpp's buffer for one batch, in F32: the logits, and the attention scores of a layer."""
    return BATCH * 4 * (hparams.vocab_size + 2 * hparams.n_heads * n_ctx)


def choices(hparams: Hyperparameters, total_memory_bytes: int | None) -> list[Choice]:
    """Every recipe for the model, best first.

    memory_bytes = size of the file + kv_bytes + work_bytes, for one conversation of N_CTX tokens.
    """
    found = []
    n_weights = n_params(shape for _, _, shape, _ in required_tensors(hparams))
    for recipe in RECIPES:
        size = round(n_weights * recipe.bits_per_weight / 8)
        n_ctx = min(N_CTX, hparams.context_length)
        memory = size + kv_bytes(hparams, n_ctx) + work_bytes(hparams, n_ctx)
        fits = total_memory_bytes and memory <= USABLE_SHARE * total_memory_bytes
        found.append(Choice(recipe, size, memory, None if fits is None else bool(fits)))
    return found


def recommend(found: list[Choice]) -> tuple[Choice | None, str]:
    """The choice to take, None when none fits, and the reason."""
    usual = next(choice for choice in found if choice.recipe.name == DEFAULT_QUANT)
    if usual.fits is None:
        return usual, "the default; this system does not say how much memory it has"
    if usual.fits:
        return usual, (
            f"it fits, at {usual.size_bytes / found[0].size_bytes:.0%} of the size of "
            f"{found[0].recipe.name}; larger ones are closer to the original but slower"
        )
    fitting = [choice for choice in found if choice.fits]
    if fitting:
        return fitting[0], f"the best that fits; {DEFAULT_QUANT} does not"
    return None, f"even {found[-1].recipe.name} does not fit; a shorter --n-ctx needs less"


def recipe_table(hparams: Hyperparameters, total_memory_bytes: int | None) -> list[str]:
    """The lines that `--list` prints."""
    found = choices(hparams, total_memory_bytes)
    n_ctx = min(N_CTX, hparams.context_length)
    lines = [
        "recipe   bits/weight   size GB   memory GB   fits   tokens/s   KL from BF16   for whom"
    ]
    for choice in found:
        recipe = choice.recipe
        fits = {True: "yes", False: "no", None: "?"}[choice.fits]
        lines.append(
            f"{recipe.name:8} {recipe.bits_per_weight:11.2f} {choice.size_bytes / 1e9:9.2f} "
            f"{choice.memory_bytes / 1e9:11.2f}   {fits:4} {recipe.tokens_per_s:10.1f} "
            f"{recipe.kl:14.5f}   {recipe.suits}"
        )
    best, reason = recommend(found)
    here = "unknown" if total_memory_bytes is None else f"{total_memory_bytes / 1e9:.1f} GB"
    return [
        *lines,
        f"memory: weights and one conversation of {n_ctx:,} tokens; this machine's: {here}, of "
        f"which {USABLE_SHARE:.0%} are counted on.",
        "tokens/s: MiniCPM-duplex's shape on 2 cores of a shared x86-64 server. KL: the demo "
        "model. Both as measured in docs/convert.md, not here.",
        f"Recommended: {best.recipe.name if best else 'none'} ({reason}).",
    ]
