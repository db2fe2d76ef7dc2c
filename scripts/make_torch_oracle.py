#!/usr/bin/env python3
"""Makes tests/oracle/torch: small files of torch.save, and the same tensors as safetensors.

    pip install torch safetensors
    python scripts/make_torch_oracle.py tests/oracle/torch

  model.safetensors  the tensors, all types that weights and counters come in
  plain.pt           the dict itself
  nested.pt          {"epoch": …, "model": dict, "ema": dict, "optimizer": …}
  protocol5.pt       the dict, in the newest pickle protocol
  module.pt          the state dict of a module, with the versions it carries
  strided.pt         refused: a transposed and an expanded tensor
  code.pt            refused: a pickle that names something else than tensors
"""
import pathlib, sys

import torch
from safetensors.torch import save_file

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(3)
base = torch.randn(6, 4)
tensors = {
    "f32": torch.randn(3, 2, 1, 2),
    "part": base[2:5],  # a view into a larger storage
    "whole": base,
    "f16": torch.randn(5).half(),
    "bf16": torch.randn(2, 3).bfloat16(),
    "f64": torch.randn(2).double(),
    "i64": torch.tensor([1, -2, 1 << 40]),
    "i32": torch.tensor([7], dtype=torch.int32),
    "u8": torch.tensor([0, 255], dtype=torch.uint8),
    "flag": torch.tensor([True, False, True]),
    "scalar": torch.tensor(2.5),
    "none": torch.zeros(0, 3),
    "parameter": torch.nn.Parameter(torch.randn(2, 2)),
}
torch.save(tensors, folder / "plain.pt")
torch.save(tensors, folder / "protocol5.pt", pickle_protocol=5)
other = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
optimizer = {"state": {0: {"step": 3, "average": torch.zeros(2)}}, "groups": [{"lr": 1e-3, "big": 1 << 90}]}
torch.save({"epoch": 3, "ema": other, "model": tensors, "optimizer": optimizer}, folder / "nested.pt")
save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
torch.save(module.state_dict(), folder / "module.pt")
torch.save({"good": base, "turned": base.t(), "same": torch.zeros(1).expand(9)}, folder / "strided.pt")
torch.save({"model": tensors, "path": pathlib.PurePosixPath("a")}, folder / "code.pt")
