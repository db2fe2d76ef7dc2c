#!/usr/bin/env python3
"""bench_gpu.py [--shapes llama3.2-1b,llama3.2-3b] [--jielong PATH] [--prompt 2048] [--new 128] [--out FILE]

jielong beside Transformers on one CUDA card, in one run: the same shapes with random bf16 weights made in memory, one stream of
tokens. First the card itself: how fast it copies memory (bytes read and written), and how fast PyTorch multiplies bf16
matrices of 8192×8192. Prints Markdown tables; --out appends every result as a line of JSON. Needs torch and transformers.
"""
import argparse, gc, json, pathlib, statistics, subprocess, sys, time, tomllib

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--shapes", default="llama3.2-1b,llama3.2-3b")
ap.add_argument("--jielong", default="target/cuda-stubs/jielong")
ap.add_argument("--prompt", type=int, default=2048)
ap.add_argument("--new", type=int, default=128)
ap.add_argument("--repeat", type=int, default=3)
ap.add_argument("--timeout", type=int, default=120, help="seconds that one run of jielong may take")
ap.add_argument("--out")
a = ap.parse_args()

import torch
from transformers import AutoConfig, AutoModelForCausalLM


def record(**what):
    if a.out:
        with open(a.out, "a") as file:
            file.write(json.dumps(what) + "\n")


def seconds(run, repeat=3):
    """The median time of a call, after one for warmth."""
    run()
    times = []
    for _ in range(repeat):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def limits():
    """Bytes a second of a copy, read and written; operations a second of a product."""
    x = torch.empty(1 << 30, dtype=torch.float32, device="cuda")
    y = torch.empty_like(x)
    copy = 2 * x.nbytes / seconds(lambda: y.copy_(x), 10)
    del x, y
    m = torch.randn(8192, 8192, device="cuda").bfloat16()
    multiply = 2 * 8192**3 / seconds(lambda: m @ m, 10)
    return copy, multiply


def transformers(name):
    shape = dict(tomllib.loads(pathlib.Path("configs/shapes.toml").read_text())[name])
    config = AutoConfig.for_model(shape.pop("model_type"), **shape)
    config.eos_token_id = config.pad_token_id = config.bos_token_id = None
    torch.set_default_device("cuda")
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    torch.set_default_device("cpu")
    weights = sum(p.numel() for p in model.parameters())
    ids = torch.arange(13, 13 + a.prompt, device="cuda")[None] % config.vocab_size
    with torch.inference_mode():
        prefill = seconds(lambda: model(ids, use_cache=True, logits_to_keep=1), a.repeat)
        answer = lambda: model.generate(ids[:, :1], max_new_tokens=a.new, min_new_tokens=a.new, do_sample=False)
        decode = seconds(answer, a.repeat)
    del model
    gc.collect()
    torch.cuda.empty_cache()
    return {"pp_tps": a.prompt / prefill, "tg_tps": a.new / decode, "weights": weights}


def jielong(name):
    command = [a.jielong, "bench", "--shape", name, "--device", "cuda", "--dtype", "bf16", "--json",
               "--prompt", str(a.prompt), "--new", str(a.new), "--repeat", str(a.repeat)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=a.timeout)
    except subprocess.TimeoutExpired:
        print(f"jielong took over {a.timeout} s for {name}", file=sys.stderr)
        return None
    if done.returncode:
        print(f"jielong on {name}: {done.stderr[-1500:]}", file=sys.stderr)
        return None
    found = json.loads(done.stdout.strip().splitlines()[-1])
    record(**found)
    middle = {key: statistics.median(found[key]) for key in ("pp_tps", "tg_tps")}
    return {**middle, "weights_bytes": found["weights_bytes"], "load_s": found["load_s"]}


copy, multiply = limits()
card = torch.cuda.get_device_name()
print(f"{card}: copies {copy / 1e12:.2f} TB/s (read and written), multiplies {multiply / 1e12:.0f} TFLOP/s in bf16\n")
record(card=card, copy=copy, multiply=multiply)
print("| shape | | prefill, tokens/s | of the products | decode, tokens/s | of the bandwidth |\n|---|---|---|---|---|---|", flush=True)
for name in a.shapes.split(","):
    ours, theirs = jielong(name), transformers(name)
    record(peer="transformers", shape=name, **theirs)
    for who, found in (("jielong", ours), ("Transformers", theirs)):
        if found is None:
            print(f"| {name} | {who} | – | – | – | – |")
            continue
        # A token multiplies with every weight once, and reads it; tied embeddings are the head.
        share = found["pp_tps"] * 2 * theirs["weights"] / multiply
        read = found["tg_tps"] * 2 * theirs["weights"] / copy
        print(f"| {name} | {who} | {found['pp_tps']:.0f} | {share:.0%} | {found['tg_tps']:.1f} | {read:.0%} |")
    if ours:
        pp, tg = (ours[key] / theirs[key] for key in ("pp_tps", "tg_tps"))
        print(f"| | **ratio** | {pp:.2f} | | {tg:.2f} | |", flush=True)
