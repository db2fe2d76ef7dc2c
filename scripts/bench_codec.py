#!/usr/bin/env python3
"""bench_codec.py [--config configs/codec/vq16.toml] [--size 256] [--rounds 3] [--threads 2]

The picture codec beside PyTorch, in one run: the same graph with the same new weights, the same picture, the same number of
threads. Each round runs both as fresh processes, in turn. Prints a Markdown table of medians, and how far the results differ.
Needs Python with torch, safetensors and numpy, and `cargo build --release -p jielong-image --example vq_speed`.
"""
import argparse, json, os, pathlib, statistics, subprocess, sys, tempfile, time, tomllib

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--config", default="configs/codec/vq16.toml")
ap.add_argument("--size", type=int, default=256)
ap.add_argument("--rounds", type=int, default=3)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--jielong", default="target/release/examples/vq_speed")
ap.add_argument("--peer", metavar="FOLDER", help=argparse.SUPPRESS)
a = ap.parse_args()


def peer(folder):
    """The codec in PyTorch, with the weights and the picture that the other program left in the folder."""
    import numpy, torch
    import torch.nn.functional as F
    from safetensors.torch import load_file

    torch.set_num_threads(a.threads)
    config = tomllib.loads(pathlib.Path(a.config).read_text())
    w = load_file(folder / "model.safetensors")
    groups, eps = config["norm_groups"], config["norm_eps"]

    def conv(name, x, **how):
        how.setdefault("padding", w[name + ".weight"].shape[-1] // 2)
        return F.conv2d(x, w[name + ".weight"], w[name + ".bias"], **how)

    def norm(name, x):
        return F.group_norm(x, groups, w[name + ".weight"], w[name + ".bias"], eps)

    def res(name, x):
        y = conv(name + ".conv1", F.silu(norm(name + ".norm1", x)))
        y = conv(name + ".conv2", F.silu(norm(name + ".norm2", y)))
        return y + (conv(name + ".nin_shortcut", x) if name + ".nin_shortcut.weight" in w else x)

    def attention(name, x):
        b, c, height, width = x.shape
        y = norm(name + ".norm", x)
        q, k, v = (conv(f"{name}.{part}", y).reshape(b, c, -1) for part in "qkv")
        seen = torch.softmax(q.transpose(1, 2) @ k * c**-0.5, dim=2)
        return x + conv(name + ".proj_out", (v @ seen.transpose(1, 2)).reshape(x.shape))

    def level(name, x):
        index = 0
        while f"{name}.res.{index}.conv1.weight" in w:
            x = res(f"{name}.res.{index}", x)
            if f"{name}.attn.{index}.q.weight" in w:
                x = attention(f"{name}.attn.{index}", x)
            index += 1
        if name + ".downsample.conv.weight" in w:
            x = conv(name + ".downsample.conv", F.pad(x, (0, 1, 0, 1)), stride=2, padding=0)
        if name + ".upsample.conv.weight" in w:
            x = conv(name + ".upsample.conv", F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return x

    def middle(name, x):
        return res(name + ".2", attention(name + ".1", res(name + ".0", x)))

    def last(name, x):
        return conv(name + ".conv_out", F.silu(norm(name + ".norm_out", x)))

    levels = range(len(config["encoder_ch_mult"]))

    def encode(x):
        x = conv("encoder.conv_in", x)
        for index in levels:
            x = level(f"encoder.conv_blocks.{index}", x)
        z = conv("quant_conv", last("encoder", middle("encoder.mid", x)))
        z = F.normalize(z.permute(0, 2, 3, 1).flatten(0, 2), dim=1)
        book = F.normalize(w["quantize.embedding.weight"], dim=1)
        return (z @ book.T).argmax(1)

    def decode(codes, rows):
        z = F.normalize(w["quantize.embedding.weight"], dim=1)[codes].reshape(1, rows, -1, w["quantize.embedding.weight"].shape[1])
        x = middle("decoder.mid", conv("decoder.conv_in", conv("post_quant_conv", z.permute(0, 3, 1, 2))))
        for index in levels:
            x = level(f"decoder.conv_blocks.{index}", x)
        return last("decoder", x)

    def best(act):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            act()
            times.append(time.perf_counter() - start)
        return min(times)

    rgb = numpy.fromfile(folder / "picture.rgb", numpy.uint8).reshape(a.size, a.size, 3)
    with torch.inference_mode():
        x = torch.from_numpy(rgb).permute(2, 0, 1)[None].contiguous() / 127.5 - 1
        codes = encode(x)
        rows = a.size >> (len(levels) - 1)
        y = decode(torch.tensor(json.loads((folder / "codes.json").read_text())), rows)
        made = numpy.fromfile(folder / "decoded.rgb", numpy.uint8).reshape(rgb.shape).astype(float)
        pixels = ((y[0].permute(1, 2, 0).numpy() + 1) * 127.5).clip(0, 255)
        print(json.dumps({
            "encode": best(lambda: encode(x)), "decode": best(lambda: decode(codes, rows)),
            "same_codes": (codes == torch.tensor(json.loads((folder / "codes.json").read_text()))).float().mean().item(),
            "pixel_difference": abs(pixels - made).max(),
        }))


if a.peer:
    sys.exit(peer(pathlib.Path(a.peer)))
runs = {"jielong": [], "PyTorch": []}
with tempfile.TemporaryDirectory() as folder:
    env = os.environ | {"RAYON_NUM_THREADS": str(a.threads), "OMP_NUM_THREADS": str(a.threads)}
    commands = {
        "jielong": [a.jielong, a.config, str(a.size), folder],
        "PyTorch": [sys.executable, __file__, "--config", a.config, "--size", str(a.size), "--threads", str(a.threads), "--peer", folder],
    }
    for _ in range(a.rounds):
        for name, command in commands.items():
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{name}: {done.stderr[-600:]}")
            runs[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(name, runs[name][-1], file=sys.stderr, flush=True)
median = {name: {what: statistics.median(r[what] for r in rs) for what in ("encode", "decode")} for name, rs in runs.items()}
print(f"| {pathlib.Path(a.config).stem}, {a.size}×{a.size} | jielong, s | PyTorch, s | ratio |\n|---|---|---|---|")
for what in ("encode", "decode"):
    ours, theirs = median["jielong"][what], median["PyTorch"][what]
    print(f"| {what} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.2f} |")
same, difference = (runs["PyTorch"][0][key] for key in ("same_codes", "pixel_difference"))
print(f"\nThe same codes: {same:.1%}; largest difference of a pixel: {difference:.2f} of 255 (rounding is 0.5).")
