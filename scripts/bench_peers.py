#!/usr/bin/env python3
"""bench_peers.py MODEL.gguf... --llama-bench PATH [--peer NAME=COMMAND]... [--rounds 3] [--threads 2] [--pp 512] [--tg 128]

jielong beside other runtimes, in one run: every round runs each of them once on each model, as a fresh process, in rotated
order. Before each run the model's file is read once, so that it is cached, and the read bandwidth is what `jielong bench`
measures before and after its own run, on the weights themselves. Prints a Markdown table of medians; --out appends every run as a line of JSON.

--peer COMMAND gets the model's path for {model} and prints a last line of JSON with the lists `pp_tps` and `tg_tps`. A peer that
cannot run a model is left out of its table, and that is said.
"""
import argparse, json, pathlib, shlex, statistics, subprocess, sys

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("models", nargs="+")
ap.add_argument("--jielong", default="target/release/jielong")
ap.add_argument("--llama-bench")
ap.add_argument("--peer", action="append", default=[])
ap.add_argument("--rounds", type=int, default=3)
ap.add_argument("--threads", type=int, default=2)
ap.add_argument("--pp", type=int, default=512)
ap.add_argument("--tg", type=int, default=128)
ap.add_argument("--out")
a = ap.parse_args()

pp, tg, threads = str(a.pp), str(a.tg), str(a.threads)
commands = {"jielong": f"{a.jielong} bench -m {{model}} --prompt {pp} --new {tg} --threads {threads} --repeat 1 --json"}
if a.llama_bench:
    commands["llama.cpp"] = f"{a.llama_bench} -m {{model}} -p {pp} -n {tg} -t {threads} -r 1 -o json"
commands |= dict(peer.split("=", 1) for peer in a.peer)


def run(name, model):
    with open(model, "rb", buffering=0) as file:
        while file.read(1 << 24):
            pass
    done = subprocess.run(shlex.split(commands[name].format(model=model)), capture_output=True, text=True)
    if done.returncode:
        if name == "jielong":
            sys.exit(f"{name} on {model}: {done.stderr[-400:]}")
        print(f"{name} cannot run {model}: {done.stderr[-200:]}", file=sys.stderr, flush=True)
        return None
    if name == "llama.cpp":
        result = {"tg_tps" if e["n_gen"] else "pp_tps": [e["avg_ts"]] for e in json.loads(done.stdout)}
    else:
        result = json.loads(done.stdout.strip().splitlines()[-1])
    return {**result, "name": name, "model": pathlib.Path(model).name}


runs, names = [], list(commands)
for number in range(a.rounds):
    for model in a.models:
        for name in names[number % len(names):] + names[:number % len(names)]:
            r = run(name, model)
            if r is None:
                continue
            runs.append(r)
            if a.out:
                with open(a.out, "a") as file:
                    file.write(json.dumps(r) + "\n")
            print(f"{number} {r['model']} {name}: pp {r['pp_tps'][0]:.1f} tg {r['tg_tps'][0]:.1f}", file=sys.stderr, flush=True)
print(f"| model | runtime | pp {pp}, tokens/s | jielong : it | tg {tg}, tokens/s | jielong : it | of the read bandwidth |")
print("|---|---|---|---|---|---|---|")
for model in a.models:
    of = {n: [r for r in runs if r["name"] == n and r["model"] == pathlib.Path(model).name] for n in names}
    of = {n: rs for n, rs in of.items() if rs}
    median = {n: [statistics.median(r[key][0] for r in of[n]) for key in ("pp_tps", "tg_tps")] for n in of}
    for name in of:
        share = [d["bandwidth_share"] for r in of[name] for d in r.get("depths", [])[:1]]
        cells = [f"{median[name][0]:.1f}", f"{median['jielong'][0] / median[name][0]:.2f}",
                 f"{median[name][1]:.1f}", f"{median['jielong'][1] / median[name][1]:.2f}",
                 f"{statistics.median(share):.0%}" if share else ""]
        print(f"| {pathlib.Path(model).name} | {name} | " + " | ".join(cells) + " |")
