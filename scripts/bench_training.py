#!/usr/bin/env python3
"""bench_training.py [--rounds 3] [--threads 2] [--size HIDDEN LAYERS HEADS KV_HEADS INTERMEDIATE VOCAB LENGTH ROWS]

A training step of a small Llama beside Transformers with PyTorch, in one run, on the CPU: the same sizes, the same number of tokens in
examples of half a row, cross-entropy over all of them, gradients clipped, AdamW, a moving mean of the weights; in f32, and with products
in bf16 (PyTorch's autocast). Each round runs all as fresh processes, in turn, the best of ten steps each. Prints a Markdown table
of medians. Needs Python with torch and transformers, and `cargo build --release -p jielong-llama --example llama_train_speed`.
"""
import argparse, re, statistics, subprocess, sys, time

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--size", type=int, nargs=8, default=[192, 6, 6, 3, 512, 6060, 256, 5], help="default: those of mini")
ap.add_argument("--rounds", type=int, default=3)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--jielong", default="target/release/examples/llama_train_speed")
ap.add_argument("--peer", choices=["f32", "bf16"], help=argparse.SUPPRESS)
a = ap.parse_args()


def peer():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(a.threads)
    hidden, layers, heads, kv_heads, intermediate, vocab, length, rows = a.size
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, max_position_embeddings=length, tie_word_embeddings=True, use_cache=False))
    parameters = list(model.parameters())
    mean = [p.detach().clone() for p in parameters]
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.99), fused=True)
    tokens = torch.randint(vocab, (2 * rows, length // 2), generator=torch.Generator().manual_seed(1))
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=a.peer == "bf16"):
            loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            torch._foreach_lerp_(mean, parameters, 0.01)
        best = min(best, time.perf_counter() - start)
    print(f"step {best * 1e3:.1f} ms")


def step(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(re.search(r"step +([\d.]+) ms", out)[1])


if a.peer:
    peer()
    sys.exit()
size = [str(number) for number in a.size]
times = {}
for _ in range(a.rounds):
    for factors in ["f32", "bf16"]:
        ours = [a.jielong, *size, *(["bf16"] if factors == "bf16" else [])]
        theirs = [sys.executable, __file__, "--size", *size, "--threads", str(a.threads), "--peer", factors]
        environment = ["env", f"RAYON_NUM_THREADS={a.threads}"]
        times.setdefault((factors, "jielong"), []).append(step(environment + ours))
        times.setdefault((factors, "torch"), []).append(step(theirs))
tokens = a.size[-2] * a.size[-1]
print("| products | jielong, tokens/s | Transformers, tokens/s | ratio |\n|---|---|---|---|")
for factors in ["f32", "bf16"]:
    ours, theirs = (tokens / statistics.median(times[factors, who]) * 1e3 for who in ["jielong", "torch"])
    print(f"| {factors} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} |")
