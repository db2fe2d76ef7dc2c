#!/usr/bin/env python3
"""bench_sound.py [--codecs speech,dac] [--rounds 5] [--threads 2] [--seconds 10]

The codecs for sound beside PyTorch, in one run: the same graph, the same weights, the same samples, the same number of threads. Each
round runs both as fresh processes, in turn; each takes the best of seven. `speech` is models/speech, written here in PyTorch; `dac`
is Descript's codec at 16 kHz in its published size with new weights, as Transformers computes it. Prints a Markdown table of
medians, in times of real time, and how far the decoded samples differ.
Needs Python with torch, transformers, safetensors and numpy, and `cargo build --release -p jielong-audio --example codec_speed`.
"""
import argparse, json, pathlib, re, statistics, subprocess, sys, tempfile, time

import numpy as np

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--codecs", default="speech,dac")
ap.add_argument("--rounds", type=int, default=5)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--seconds", type=int, default=10)
ap.add_argument("--jielong", default="target/release/examples/codec_speed")
ap.add_argument("--peer", nargs=2, metavar=("CODEC", "FOLDER"), help=argparse.SUPPRESS)
a = ap.parse_args()
RATE, HOP, WINDOW = 16000, 320, 1280


def samples():
    n = np.arange(RATE * a.seconds, dtype=np.float32)
    return (0.3 * np.sin(n * np.float32(0.05)) * np.sin(n * np.float32(0.0007))).astype(np.float32)


def speech(folder):
    """models/speech in PyTorch: samples -> codes, codes -> samples."""
    import torch
    import torch.nn.functional as F
    from safetensors.torch import load_file

    w = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
    levels = torch.tensor([8, 8, 8, 5, 5, 5])
    steps = torch.cumprod(torch.cat([torch.ones(1, dtype=torch.long), levels[:-1]]), 0)
    bins, bands = WINDOW // 2 + 1, 80
    hz = lambda m: 700 * (10 ** (m / 2595) - 1)
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = hz(top * np.arange(bands + 2) / (bands + 1)) * WINDOW / RATE
    x = np.arange(bins)[:, None]
    mel = np.maximum(np.minimum((x - edges[:-2]) / (edges[1:-1] - edges[:-2]), (edges[2:] - x) / (edges[2:] - edges[1:-1])), 0)
    sums = mel.sum(0)
    for band in np.flatnonzero(sums < 0.5):
        mel[:, band] = 0
        mel[round(edges[band + 1]), band] = 1
        sums[band] = 1
    mel, hann = torch.tensor(mel / sums, dtype=torch.float32), torch.hann_window(WINDOW)
    pad = (WINDOW - HOP) // 2

    def linear(name, x):
        return F.linear(x, w[name + ".weight"], w[name + ".bias"])

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"], 1e-6)

    def convnext(name, x):  # [1, c, t]
        weight = w[name + ".embed.weight"]
        kernel = weight.shape[1] // x.shape[1]
        weight = weight.reshape(weight.shape[0], kernel, -1).transpose(1, 2)
        x = F.conv1d(x, weight, w[name + ".embed.bias"], padding=kernel // 2).transpose(1, 2)
        x, index = norm(name + ".norm", x), 0
        while f"{name}.blocks.{index}.gamma" in w:
            block = f"{name}.blocks.{index}"
            taps = w[block + ".dwconv"].T[:, None]
            y = F.conv1d(x.transpose(1, 2), taps, w[block + ".dwconv_bias"], padding=taps.shape[2] // 2, groups=taps.shape[0])
            y = linear(block + ".pwconv2", F.gelu(linear(block + ".pwconv1", norm(block + ".norm", y.transpose(1, 2)))))
            x, index = x + y * w[block + ".gamma"], index + 1
        return norm(name + ".final_norm", x).transpose(1, 2)

    def conv(name, x):
        return F.conv1d(x, w[name + ".weight"], w[name + ".bias"])

    def encode(x):
        rows = F.pad(x, (pad, WINDOW - HOP - pad)).unfold(0, WINDOW, HOP)
        spectra = torch.sqrt(torch.fft.rfft(rows * hann).abs() ** 2 + 1e-9)
        x = ((torch.log(torch.clamp(spectra @ mel, min=1e-5)) + 4) / 5).T[None]
        z = conv("quantizer.quantizers.0.in_proj", convnext("encoder.block.1", x))[0].T
        even = (levels % 2 == 0).float()
        half = (levels - 1) * (1 - 1e-3) / 2
        bounded = torch.tanh(z + even * torch.tan(0.5 / half)) * half - even / 2
        return ((bounded.round() + levels // 2).long() * steps).sum(1)

    def decode(codes):
        digits = (codes[:, None] // steps) % levels
        z = (digits - levels // 2) / (levels // 2)
        x = convnext("decoder.model.0", conv("quantizer.quantizers.0.out_proj", z.T[None].float()))
        x = linear("decoder.model.1.out", x.transpose(1, 2))[0]
        magnitude, phase = torch.exp(torch.clamp(x[:, :bins], max=4.6)), x[:, bins:]
        rows = torch.fft.irfft(torch.polar(magnitude, phase), n=WINDOW) * hann
        length = (len(codes) - 1) * HOP + WINDOW
        add = lambda rows: F.fold(rows.T[None], (1, length), (1, WINDOW), stride=(1, HOP)).flatten()
        through = add((hann**2).expand(len(codes), -1))
        return (add(rows) / (through + 1e-3))[pad:pad + len(codes) * HOP]

    return encode, decode


def dac(folder):
    from transformers import DacModel

    model = DacModel.from_pretrained(folder).eval()
    encode = lambda x: model.encode(x[None, None]).audio_codes
    decode = lambda codes: model.decode(audio_codes=codes).audio_values.flatten()
    return encode, decode


def peer(codec, folder):
    import torch

    torch.set_num_threads(a.threads)
    x = torch.tensor(samples())
    with torch.inference_mode():
        encode, decode = {"speech": speech, "dac": dac}[codec](folder)
        codes = encode(x)
        decoded = decode(codes)
        times = []
        for run in (lambda: encode(x), lambda: decode(codes)):
            best = float("inf")
            for _ in range(7):
                start = time.perf_counter()
                run()
                best = min(best, time.perf_counter() - start)
            times.append(a.seconds / best)
    decoded.numpy().astype("<f4").tofile(folder / "theirs.f32")
    print(json.dumps(times))


if a.peer:
    peer(a.peer[0], pathlib.Path(a.peer[1]))
    sys.exit()

print("| codec | | encode, × real time | decode, × real time |\n|---|---|---|---|")
with tempfile.TemporaryDirectory() as folder:
    for codec in a.codecs.split(","):
        home = pathlib.Path(folder, codec)
        home.mkdir()
        if codec == "speech":
            for name in ("config.toml", "model.safetensors"):
                (home / name).write_bytes(pathlib.Path("models/speech", name).read_bytes())
        else:
            import torch
            from transformers import DacConfig, DacModel

            torch.manual_seed(1)
            config = DacConfig(sampling_rate=RATE, downsampling_ratios=[2, 4, 5, 8], n_codebooks=12, hidden_size=1024)
            DacModel(config).save_pretrained(home)
        found = {"jielong": [], "PyTorch": []}
        for number in range(a.rounds):
            for who in list(found)[:: 1 if number % 2 else -1]:
                if who == "jielong":
                    command = [a.jielong, str(home), str(a.threads), str(a.seconds), str(home / "ours.f32")]
                    line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                    found[who].append([float(n) for n in re.search(r"encode ([\d.]+), decode ([\d.]+)", line).groups()])
                else:
                    command = [sys.executable, __file__, "--threads", str(a.threads), "--seconds", str(a.seconds), "--peer", codec, str(home)]
                    found[who].append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]))
        medians = {who: [statistics.median(column) for column in zip(*rows)] for who, rows in found.items()}
        for who, (encode, decode) in medians.items():
            print(f"| {codec} | {who} | {encode:.1f} | {decode:.1f} |")
        ratio = [ours / theirs for ours, theirs in zip(*medians.values())]
        print(f"| | **ratio** | {ratio[0]:.2f} | {ratio[1]:.2f} |")
        ours, theirs = (np.fromfile(home / f"{who}.f32", "<f4") for who in ("ours", "theirs"))
        count = min(len(ours), len(theirs))
        print(f"{codec}: decoded samples differ by at most {np.abs(ours[:count] - theirs[:count]).max():.1e}", file=sys.stderr)
