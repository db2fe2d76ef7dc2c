#!/usr/bin/env python3
"""Makes tests/oracle/codec-vq and codec-fsq: seeded tiny picture codecs and PyTorch's own float32 results.

    pip install torch safetensors
    python scripts/make_codec_oracle.py tests/oracle

The network is that of Esser et al. 2021 with the sizes, order and names of LlamaGen's VQ-16 (Sun et al. 2024), written here
anew; the quantisers are van den Oord et al. 2017 at length one, and Mentzer et al. 2023. Each folder holds
  config.toml          the sizes, as in configs/codec
  model.safetensors    weights
  oracle.safetensors   `sq.*` for 32x32 pixels, `ns.*` for 32x48 (h, w), batches of two: input, z (what is quantised),
                       codes, decoded, losses [codebook, commitment]; `grad.*` of some weights for
                       `sum(decoded * input) + 300 codebook + 100 commitment` of `sq`, straight through the codes
"""
import math, pathlib, sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

torch.set_num_threads(1)
CH, MULT, BLOCKS, Z, GROUPS = 4, (1, 1, 2, 2, 4), 2, 12, 2


def conv(inputs, outputs, kernel=3, stride=1, padding=None):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2 if padding is None else padding)


def norm(channels):
    return nn.GroupNorm(GROUPS, channels, eps=1e-6)


class Residual(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.norm1, self.conv1 = norm(inputs), conv(inputs, outputs)
        self.norm2, self.conv2 = norm(outputs), conv(outputs, outputs)
        if inputs != outputs:
            self.nin_shortcut = conv(inputs, outputs, 1)

    def forward(self, x):
        y = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return y + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class Attention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (conv(channels, channels, 1) for _ in range(4))

    def forward(self, x):
        y = self.norm(x)
        q, k, v = (part(y).flatten(2).mT for part in (self.q, self.k, self.v))
        y = torch.softmax(q @ k.mT / math.sqrt(x.shape[1]), -1) @ v
        return x + self.proj_out(y.mT.reshape(x.shape))


class Resample(nn.Module):
    def __init__(self, channels, stride):
        super().__init__()
        self.conv = conv(channels, channels, 3, stride, 0 if stride == 2 else 1)

    def forward(self, x):
        half = self.conv.stride[0] == 2
        return self.conv(F.pad(x, (0, 1, 0, 1)) if half else x.repeat_interleave(2, 2).repeat_interleave(2, 3))


class Level(nn.Module):
    def __init__(self, inputs, outputs, blocks, attend, down, up):
        super().__init__()
        self.res = nn.ModuleList(Residual(inputs if i == 0 else outputs, outputs) for i in range(blocks))
        self.attn = nn.ModuleList(Attention(outputs) for _ in range(blocks if attend else 0))
        if down:
            self.downsample = Resample(outputs, 2)
        if up:
            self.upsample = Resample(outputs, 1)

    def forward(self, x):
        for i, block in enumerate(self.res):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        for name in ("downsample", "upsample"):
            if hasattr(self, name):
                x = getattr(self, name)(x)
        return x


class Half(nn.Module):
    """Encoder or decoder."""

    def __init__(self, encode):
        super().__init__()
        self.encode = encode
        widths = [CH * m for m in (MULT if encode else reversed(MULT))]
        first, last = widths[0], widths[-1]
        deep = CH * MULT[-1]
        self.conv_in = conv(3, CH) if encode else conv(Z, deep)
        ends = range(len(widths))
        levels = zip(ends, [CH if encode else deep] + widths[:-1], widths)
        attend = ends[-1] if encode else 0
        self.conv_blocks = nn.ModuleList(
            Level(a, b, BLOCKS + (not encode), i == attend, encode and i < ends[-1], not encode and i < ends[-1]) for i, a, b in levels
        )
        self.mid = nn.ModuleList([Residual(deep, deep), Attention(deep), Residual(deep, deep)])
        self.norm_out, self.conv_out = norm(last), conv(last, Z if encode else 3)

    def forward(self, x):
        x = self.conv_in(x)
        for part in (self.conv_blocks, self.mid) if self.encode else (self.mid, self.conv_blocks):
            for block in part:
                x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Book(nn.Module):
    def __init__(self, codes, width):
        super().__init__()
        self.width, self.embedding = width, nn.Embedding(codes, width)

    def forward(self, z):
        z, book = F.normalize(z, dim=-1), F.normalize(self.embedding.weight, dim=-1)
        nearest, codes = torch.cdist(z, book).topk(2, largest=False)
        self.margin = (nearest[..., 1] - nearest[..., 0]).min().item()
        return z, book[codes[..., 0]], codes[..., 0]


class Levels(nn.Module):
    def __init__(self, levels):
        super().__init__()
        self.width, self.levels = len(levels), torch.tensor(levels)

    def forward(self, z):
        eps, n = 1e-3, self.levels
        half, offset = (n - 1) * (1 - eps) / 2, torch.where(n % 2 == 1, 0.0, 0.5)
        z = torch.tanh(z + torch.tan(offset / half)) * half - offset
        middle, steps = n // 2, torch.cumprod(torch.cat([torch.ones(1, dtype=torch.long), n[:-1]]), 0)
        rounded = z.round()
        self.margin = (0.5 - (z - rounded).abs()).min().item()
        return z / middle, rounded / middle, ((rounded + middle).long() * steps).sum(-1)


class Codec(nn.Module):
    def __init__(self, quantize):
        super().__init__()
        self.encoder, self.decoder, self.quantize = Half(True), Half(False), quantize
        self.quant_conv, self.post_quant_conv = conv(Z, quantize.width, 1), conv(quantize.width, Z, 1)

    def forward(self, x):
        z = self.quant_conv(self.encoder(x))
        before, after, codes = self.quantize(z.permute(0, 2, 3, 1))
        through = before + (after - before).detach()
        losses = [F.mse_loss(after, before.detach()), F.mse_loss(before, after.detach())]
        losses = torch.stack(losses) * isinstance(self.quantize, Book)
        return z, codes, self.decoder(self.post_quant_conv(through.permute(0, 3, 1, 2))), losses


def randomise(model):
    """Weights that let everything through, and no norm that is left at its beginning."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".norm" in name:
                weight += torch.randn_like(weight) * 0.2
            elif name.endswith("quant_conv.weight"):
                weight *= 8


def pictures(h, w):
    y, x = torch.meshgrid(torch.linspace(0, 1, h), torch.linspace(0, 1, w), indexing="ij")
    waves = torch.rand(2, 3, 1, 1) * 12, torch.rand(2, 3, 1, 1) * 12
    return (torch.sin(waves[0] * x + waves[1] * y) * 0.7 + torch.randn(2, 3, h, w) * 0.2).clamp(-1, 1)


CONFIG = f"""ch = {CH}
encoder_ch_mult = {list(MULT)}
decoder_ch_mult = {list(MULT)}
num_res_blocks = {BLOCKS}
z_channels = {Z}
norm_groups = {GROUPS}
norm_eps = 1e-6

[quantizer]
"""
QUANTIZERS = {
    "codec-vq": (lambda: Book(64, 4), 'kind = "vq"\ncodebook_size = 64\ncodebook_embed_dim = 4\ncodebook_l2_norm = true\n'),
    "codec-fsq": (lambda: Levels([5, 4, 3]), 'kind = "fsq"\nlevels = [5, 4, 3]\n'),
}
GRADS = ["quantize.embedding.weight", "encoder.conv_in.weight", "encoder.conv_blocks.0.downsample.conv.weight", "encoder.mid.1.q.weight",
         "quant_conv.weight", "post_quant_conv.bias", "decoder.conv_blocks.0.upsample.conv.weight", "decoder.conv_blocks.4.res.2.norm2.weight"]

for name, (quantizer, lines) in QUANTIZERS.items():
    torch.manual_seed(11)
    folder = pathlib.Path(sys.argv[1]) / name
    folder.mkdir(parents=True, exist_ok=True)
    model = Codec(quantizer())
    randomise(model)
    results = {}
    for key, size in (("sq", (32, 32)), ("ns", (32, 48))):
        x = pictures(*size)
        z, codes, decoded, losses = model(x)
        results |= {f"{key}.input": x, f"{key}.z": z, f"{key}.codes": codes, f"{key}.decoded": decoded, f"{key}.losses": losses}
        print(name, key, codes.unique().numel(), "codes of", codes.numel(), "margin", model.quantize.margin, "decoded", decoded.std().item())
    ((results["sq.decoded"] * results["sq.input"]).sum() + (results["sq.losses"] * torch.tensor([300, 100])).sum()).backward()
    results |= {f"grad.{key}": weight.grad for key, weight in model.named_parameters() if key in GRADS}
    save_file({key: value.detach().contiguous() for key, value in results.items()}, folder / "oracle.safetensors")
    save_file(dict(model.state_dict()), folder / "model.safetensors")
    (folder / "config.toml").write_text(CONFIG + lines)
    for file in folder.iterdir():
        file.chmod(0o644)
