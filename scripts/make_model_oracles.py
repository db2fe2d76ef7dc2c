#!/usr/bin/env python3
"""Makes tests/oracle/tiny-*: seeded random checkpoints, one a family, with Transformers' own float32 results.

    pip install torch transformers safetensors gguf
    python scripts/make_model_oracles.py tests/oracle [NAME...]

Each folder holds
  config.json          in the form published folders have; `*-v5` in the form Transformers 5 writes
  model*.safetensors   weights; f32, or two bf16 shards with an index
  oracle.safetensors   ids [T], logits [T, V] (eager attention, no cache), prompt [P], greedy [G] (with the cache)
All one-dimensional weights are randomised too, so that one left out shows.
"""
import copy, json, os, pathlib, sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["HF_HUB_OFFLINE"] = "1"
import torch, transformers
from safetensors.torch import save_file

transformers.logging.set_verbosity_error()
torch.set_grad_enabled(False)
torch.set_num_threads(1)

LENGTH, PROMPT, NEW = 40, 12, 16
BASE = dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA3 = dict(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=16)
LONG = dict(rope_type="longrope", rope_theta=1e4, original_max_position_embeddings=16,
            short_factor=[1.0, 1.1], long_factor=[1.5, 3.0], partial_rotary_factor=0.5)


def rope(theta, **more):
    return dict(rope_type="default", rope_theta=theta, **more)


MODELS = {
    "llama3-tied": ("Llama", dict(rope_parameters=LLAMA3, tie_word_embeddings=True)),
    "llama-bf16-shards": ("Llama", dict(rope_parameters=LLAMA3, tie_word_embeddings=False)),
    "llama-bias-v5": ("Llama", dict(rope_parameters=rope(1e4), attention_bias=True, mlp_bias=True)),
    "llama-linear": ("Llama", dict(rope_parameters=dict(rope_type="linear", factor=4.0, rope_theta=1e4))),
    "llama-dynamic": ("Llama", dict(rope_parameters=dict(rope_type="dynamic", factor=4.0, rope_theta=1e4))),
    "mistral-window": ("Mistral", dict(sliding_window=8, rope_parameters=rope(1e4), head_dim=12)),
    "smollm3": ("SmolLM3", dict(num_hidden_layers=4, rope_parameters=rope(5e6), tie_word_embeddings=True,
                                no_rope_layers=[1, 1, 1, 0], use_sliding_window=False)),
    "qwen2": ("Qwen2", dict(rope_parameters=rope(1e6), tie_word_embeddings=True)),
    "qwen2-window": ("Qwen2", dict(rope_parameters=rope(1e6), use_sliding_window=True, sliding_window=8,
                                   max_window_layers=1)),
    "qwen3-yarn": ("Qwen3", dict(rope_parameters=YARN, tie_word_embeddings=True, head_dim=16)),
    "qwen3-moe": ("Qwen3Moe", dict(rope_parameters=rope(1e6), head_dim=8, num_experts=4, num_experts_per_tok=2,
                                   moe_intermediate_size=24, norm_topk_prob=True, decoder_sparse_step=2,
                                   mlp_only_layers=[])),
    "gemma2": ("Gemma2", dict(head_dim=8, sliding_window=8, query_pre_attn_scalar=16, attn_logit_softcapping=2.0,
                              final_logit_softcapping=8.0, tie_word_embeddings=True, rope_parameters=rope(1e4),
                              layer_types=["sliding_attention", "full_attention"])),
    "gemma3": ("Gemma3", dict(num_hidden_layers=7, hidden_size=24, intermediate_size=32, num_key_value_heads=1,
                              head_dim=8, sliding_window=8, query_pre_attn_scalar=12, tie_word_embeddings=True,
                              rope_parameters={"sliding_attention": rope(1e4), "full_attention":
                                               dict(rope_type="linear", factor=8.0, rope_theta=1e6)},
                              layer_types=["sliding_attention"] * 5 + ["full_attention", "sliding_attention"])),
    "gemma3-v5": ("Gemma3", dict(num_hidden_layers=2, head_dim=8, sliding_window=8, query_pre_attn_scalar=12,
                                 tie_word_embeddings=True, layer_types=["sliding_attention", "full_attention"],
                                 rope_parameters={"sliding_attention": rope(1e4), "full_attention": rope(1e6)})),
    "phi3": ("Phi3", dict(rope_parameters=rope(1e4), sliding_window=None)),
    "phi3-longrope": ("Phi3", dict(rope_parameters=LONG, original_max_position_embeddings=16, sliding_window=None)),
    "olmo2": ("Olmo2", dict(rope_parameters=rope(5e5))),
    "granite": ("Granite", dict(rope_parameters=rope(1e4), tie_word_embeddings=True, embedding_multiplier=12.0,
                                attention_multiplier=0.0625, residual_multiplier=0.8, logits_scaling=2.0)),
    "chat": ("Llama", dict(rope_parameters=rope(1e4), vocab_size=260, hidden_size=16, intermediate_size=32,
                           max_position_embeddings=512, eos_token_id=257, tie_word_embeddings=True)),
}


def classes(family):
    config = {"Gemma3": "Gemma3TextConfig"}.get(family, family + "Config")
    return getattr(transformers, family + "ForCausalLM"), getattr(transformers, config)


def randomise(model, seed):
    """Small embeddings where the family scales them up, or a tied head echoes the last token."""
    generator = torch.Generator().manual_seed(seed)
    scaled = model.config.model_type.startswith(("gemma", "granite"))
    for name, p in sorted(model.named_parameters()):
        noise = torch.randn(p.shape, generator=generator)
        if p.ndim >= 2:
            table = "embed" in name or "lm_head" in name
            p.copy_(noise * ((0.06 if scaled else 0.35) if table else 1.6 / p.shape[-1] ** 0.5))
        elif "bias" in name:
            p.copy_(noise * 0.3)
        else:
            p.add_(noise * 0.25 + (6.0 if scaled and name == "model.norm.weight" else 0.0))
    model.tie_weights()


def published_form(path):
    """Transformers 5 writes `rope_parameters` and `dtype`; published folders have the older keys."""
    config = json.loads(path.read_text())
    parameters = config.pop("rope_parameters", None)
    if parameters and "full_attention" in parameters:
        full = dict(parameters["full_attention"])
        config["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
        config["sliding_window_pattern"] = config.pop("_sliding_window_pattern", 6)
        config.pop("layer_types", None)
        parameters = full
    if parameters:
        parameters = dict(parameters)
        config["rope_theta"] = parameters.pop("rope_theta")
        if "partial_rotary_factor" in parameters:
            config["partial_rotary_factor"] = parameters.pop("partial_rotary_factor")
        config["rope_scaling"] = parameters if parameters.get("rope_type", "default") != "default" else None
    config["torch_dtype"] = config.pop("dtype", "float32")
    path.write_text(json.dumps(config, indent=1) + "\n")


CHAT_TEMPLATE = """{% for message in messages %}<|start|>{{ message.role }}
{{ message.content | trim }}<|end|>
{% endfor %}{% if add_generation_prompt %}<|start|>assistant
{% endif %}"""


def chat_files(folder):
    """A byte-level tokenizer without merges, and a chat template, so that a tiny model can be talked with."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|start|>", "<|end|>", "<|pad|>")])
    tokenizer.add_tokens([AddedToken("</think>", special=False, normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {"eos_token": "<|end|>", "pad_token": "<|pad|>", "chat_template": CHAT_TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def make(out, name, family, options, seed):
    folder = out / f"tiny-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    model_class, config_class = classes(family)
    config = config_class(**{**BASE, **copy.deepcopy(options)})
    model = model_class._from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    randomise(model, seed)
    shards = "shards" in name
    (model.to(torch.bfloat16) if shards else model).save_pretrained(folder, max_shard_size="25KB" if shards else "1GB")
    (folder / "generation_config.json").unlink(missing_ok=True)
    if not name.endswith("v5"):
        published_form(folder / "config.json")
    if name == "chat":
        chat_files(folder)
    model = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed + 1)
    ids = torch.randint(3, 96, (1, LENGTH), generator=generator)
    ids[0, 0] = 1
    logits = model(ids, use_cache=False).logits
    # LongRoPE takes other frequencies beyond the original context: its greedy run stays below.
    prompt = ids[:, : PROMPT if "longrope" not in name else 4]
    new = NEW if "longrope" not in name else 8
    step, past, greedy = prompt, None, []
    for _ in range(new):
        result = model(step, past_key_values=past, use_cache=True)
        past, step = result.past_key_values, result.logits[:, -1].argmax(-1, keepdim=True)
        greedy.append(step.item())
    save_file({"ids": ids[0].clone(), "logits": logits[0].contiguous(), "prompt": prompt[0].clone(),
               "greedy": torch.tensor(greedy)}, folder / "oracle.safetensors")
    print(name, "bytes", sum(f.stat().st_size for f in folder.iterdir()), "distinct greedy", len(set(greedy)),
          "largest logit", round(logits.abs().max().item(), 2))


if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    for index, (name, (family, options)) in enumerate(MODELS.items()):
        if len(sys.argv) < 3 or name in sys.argv[2:]:
            make(out, name, family, options, 7000 + 10 * index)
