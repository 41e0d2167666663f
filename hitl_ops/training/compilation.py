"""Compiling the parts of a model whose shapes are simple."""

from __future__ import annotations

import shutil

import torch

from hitl_ops.contracts.errors import UserError

_PARTS = ("MLP", "RMSNorm")


def compile_layers(model: torch.nn.Module) -> int:
    """Compile norms and feed-forward parts in place; attention, whose blocks change with every row, stays as it is.

    Returns:
        How many modules were compiled.

    Raises:
        UserError: there is no C++ compiler.
    """
    if not torch.cuda.is_available() and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise UserError("compile=true needs a C++ compiler, none was found", "install g++, or set compile=false")
    parts = [module for module in model.modules() if type(module).__name__.endswith(_PARTS)]
    for part in parts:
        part.compile(dynamic=True)
    return len(parts)
