"""Muon for the matrices, AdamW for embeddings and gains.

Muon (Keller Jordan, 2024) replaces a matrix's momentum by the nearest orthogonal matrix. On this
model it needs clearly fewer tokens than AdamW alone, which decides what a CPU can train.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Muon", "build"]

# Coefficients of the quintic Newton-Schulz iteration.
A, B, C = 3.4445, -4.7750, 2.0315
N_ITERATIONS = 5


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are about one."""
    x = matrix.bfloat16() if matrix.is_cuda else matrix
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(N_ITERATIONS):
        square = x @ x.T
        x = A * x + (B * square + C * (square @ square)) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                average = state["momentum"]
                average.lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonal(parameter.grad.lerp(average, group["momentum"]))
                # The size of an AdamW update, so that both share one rate (Moonlight, 2025).
                scale = 0.2 * max(parameter.shape) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update.to(parameter.dtype), alpha=-group["lr"] * scale)


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
