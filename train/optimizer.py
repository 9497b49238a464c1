"""Muon for the matrices, AdamW for embeddings and gains.

Muon (Keller Jordan, 2024) replaces a matrix's momentum by the nearest orthogonal matrix. On this
model it needs clearly fewer tokens than AdamW alone, which decides what a CPU can train.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

__all__ = ["Muon", "build"]

# Coefficients of the quintic Newton-Schulz iteration.
A, B, C = 3.4445, -4.7750, 2.0315
N_ITERATIONS = 5


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest matrices whose singular values are about one. matrices: (N, rows, columns)."""
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    tall = x.size(1) > x.size(2)
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(N_ITERATIONS):
        square = x @ x.mT
        x = A * x + (B * square + C * (square @ square)) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Matrices of one shape are updated together: a GPU would wait for the launches otherwise."""

    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[parameter.shape].append(parameter)
            for shape, parameters in alike.items():
                averages = [self._average(parameter) for parameter in parameters]
                gradients = [parameter.grad for parameter in parameters]
                torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
                torch._foreach_lerp_(gradients, averages, group["momentum"])
                updates = orthogonal(torch.stack(gradients)).to(parameters[0].dtype)
                # The size of an AdamW update, so that both share one rate (Moonlight, 2025).
                scale = 0.2 * max(shape) ** 0.5
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, updates.unbind(), alpha=-group["lr"] * scale)

    def _average(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        return state["momentum"]


def build(model: nn.Module, rate: float, weight_decay: float) -> list[torch.optim.Optimizer]:
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.dim() == 2 and "embed" not in name
        (matrices if is_matrix else others).append(parameter)
    fused = others[0].device.type in ("cuda", "cpu")
    return [
        Muon(matrices, rate, weight_decay=weight_decay),
        torch.optim.AdamW(others, rate, betas=(0.9, 0.95), weight_decay=0.0, fused=fused),
    ]
