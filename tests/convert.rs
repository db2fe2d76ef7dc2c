//! `jielong convert`: the same logits from the other format, refusals where it has no words, nothing half-written.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod program;

use std::path::{Path, PathBuf};

use jielong::convert::{Conversion, convert};
use jielong::sources::{LocalModel, ModelKind};
use program::{Program, floats, list, numbers, oracle};
use serde_json::Value;

/// Logits of a model over some ids.
fn logits(program: &Program, model: &Path, ids: &str) -> Vec<f32> {
    let out = program.path("logits.safetensors");
    program.ok(&["logits", "-m", model.to_str().unwrap(), "--ids", ids, "--all", "-o", out.to_str().unwrap()]);
    floats(&out, "logits").1
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |most, (a, b)| (a - b).abs().max(most))
}

/// Names in the folder of a program that begin with a dot: what a conversion works in.
fn leftovers(program: &Program) -> Vec<String> {
    let names = program.home.path().read_dir().unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with('.')).collect()
}

/// A copy of a Gemma 3 oracle with the attention's scale that GGUF files take for granted.
fn usual_scale(program: &Program, name: &str) -> PathBuf {
    let (from, to) = (oracle(name), program.path(&format!("{name}-usual")));
    std::fs::create_dir(&to).unwrap();
    for file in ["config.json", "model.safetensors", "oracle.safetensors"] {
        std::fs::copy(from.join(file), to.join(file)).unwrap();
    }
    let mut config: Value = serde_json::from_slice(&std::fs::read(to.join("config.json")).unwrap()).unwrap();
    config["query_pre_attn_scalar"] = config["head_dim"].clone();
    std::fs::write(to.join("config.json"), config.to_string()).unwrap();
    to
}

#[test]
fn families_that_gguf_knows_go_there_and_back_with_the_same_logits() {
    let program = Program::new();
    for name in [
        "tiny-llama3-tied",
        "tiny-llama-bf16-shards",
        "tiny-llama-bias-v5",
        "tiny-llama-linear",
        "tiny-llama-dynamic",
        "tiny-qwen2",
        "tiny-qwen3-yarn",
        "tiny-gemma3",
    ] {
        let mut folder = oracle(name);
        if name == "tiny-gemma3" {
            folder = usual_scale(&program, name);
        }
        let ids = list(&numbers(&folder, "ids"));
        let (gguf, back) = (program.path(&format!("{name}.gguf")), program.path(name));
        let text = |m: &Path| m.to_str().unwrap().to_owned();
        program.ok(&["convert", &text(&folder), &text(&gguf)]);
        let expected = logits(&program, &folder, &ids);
        let there = largest_difference(&expected, &logits(&program, &gguf, &ids));
        assert!(there < 2e-5, "{name}: {there} in GGUF");
        program.ok(&["convert", &text(&gguf), &text(&back)]);
        let again = largest_difference(&expected, &logits(&program, &back, &ids));
        assert!(again < 2e-5, "{name}: {again} back in a folder");
    }
    assert_eq!(leftovers(&program), Vec::<String>::new());
}

#[test]
fn what_gguf_cannot_say_is_refused_by_name() {
    let program = Program::new();
    let out = program.path("x.gguf");
    for (name, reason) in [
        ("tiny-phi3", "phi3"),
        ("tiny-gemma2", "gemma2"),
        ("tiny-olmo2", "olmo2"),
        ("tiny-granite", "granite"),
        ("tiny-smollm3", "smollm3"),
        ("tiny-qwen3-moe", "qwen3_moe"),
        ("tiny-mistral-window", "layers"),
        ("tiny-qwen2-window", "layers"),
        ("tiny-gemma3", "attention_scale"),
        ("tiny-gemma3-v5", "layers"),
    ] {
        let message = program.fails(1, &["convert", oracle(name).to_str().unwrap(), out.to_str().unwrap()]);
        assert!(message.contains(reason), "{name}: {message}");
        assert!(!out.exists());
    }
    let folder = oracle("tiny-qwen2");
    let target = program.path("folder");
    let message = program.fails(1, &["convert", folder.to_str().unwrap(), target.to_str().unwrap(), "--dtype", "q8_0"]);
    assert!(message.contains("q8_0") && message.contains(".gguf"), "{message}");
    assert!(!target.exists());
    assert_eq!(leftovers(&program), Vec::<String>::new());
}

#[test]
fn any_family_is_rewritten_as_a_folder_of_another_type() {
    let program = Program::new();
    for name in ["tiny-phi3", "tiny-qwen3-moe", "tiny-gemma2", "tiny-llama-bf16-shards"] {
        let folder = oracle(name);
        let ids = list(&numbers(&folder, "ids"));
        let target = program.path(name);
        program.ok(&["convert", folder.to_str().unwrap(), target.to_str().unwrap(), "--dtype", "bf16"]);
        let config: Value = serde_json::from_slice(&std::fs::read(target.join("config.json")).unwrap()).unwrap();
        assert!([&config["dtype"], &config["torch_dtype"]].contains(&&Value::from("bfloat16")), "{config}");
        let (before, after) = (logits(&program, &folder, &ids), logits(&program, &target, &ids));
        let size = before.iter().fold(0f32, |most, x| x.abs().max(most));
        let difference = largest_difference(&before, &after);
        assert!(difference < 0.05 * size, "{name}: {difference} of {size}");
    }
}

#[test]
fn tokenizer_and_template_come_along() {
    let program = Program::new();
    let folder = oracle("tiny-chat");
    let (gguf, back) = (program.path("chat.gguf"), program.path("chat"));
    program.ok(&["convert", folder.to_str().unwrap(), gguf.to_str().unwrap(), "--quantize", "q4_k_m"]);
    program.ok(&["convert", gguf.to_str().unwrap(), back.to_str().unwrap()]);
    let ask = |model: &Path, args: &[&str]| program.ok(&[args, &["-m", model.to_str().unwrap()]].concat());
    for model in [&gguf, &back] {
        for text in ["hello <|end|> é 接龍", "  1234  \n"] {
            let args = ["tokens", "encode", text, "--json"];
            let ids = |text: String| serde_json::from_str::<Value>(&text).unwrap()["ids"].take();
            assert_eq!(ids(ask(model, &args)), ids(ask(&folder, &args)), "{}", model.display());
        }
        assert_eq!(ask(model, &["show", "--template"]), ask(&folder, &["show", "--template"]));
        assert!(ask(model, &["chat", "hi", "-n", "2"]).len() > 1);
    }
    let report = program.json(&["convert", gguf.to_str().unwrap(), back.to_str().unwrap(), "--force", "--json"]);
    assert!(report["bytes"].as_u64().unwrap() > 0 && report["tensors"]["F32"].as_u64().unwrap() > 0, "{report}");
}

#[test]
fn what_is_there_stays_unless_it_is_a_model_and_force_is_given() {
    let program = Program::new();
    let folder = oracle("tiny-chat");
    let model = folder.to_str().unwrap();
    let gguf = program.path("m.gguf");
    std::fs::write(&gguf, "old").unwrap();
    let message = program.fails(1, &["convert", model, gguf.to_str().unwrap()]);
    assert!(message.contains("--force"), "{message}");
    assert_eq!(std::fs::read(&gguf).unwrap(), b"old");
    program.ok(&["convert", model, gguf.to_str().unwrap(), "--force"]);
    assert_eq!(&std::fs::read(&gguf).unwrap()[..4], b"GGUF");
    let other = program.path("letters");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("letter.txt"), "dear").unwrap();
    let message = program.fails(1, &["convert", model, other.to_str().unwrap(), "--force"]);
    assert!(message.contains("letters") && message.contains("not replaced"), "{message}");
    assert!(other.join("letter.txt").exists());
    let message = program.fails(1, &["convert", model, "/no/such/folder/x.gguf"]);
    assert!(message.contains("/no/such/folder"), "{message}");
    assert_eq!(leftovers(&program), Vec::<String>::new());
}

#[test]
fn a_conversion_that_is_stopped_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let local = LocalModel {
        name: "tiny-chat".into(),
        path: oracle("tiny-chat"),
        kind: ModelKind::Folder,
        origin: "folder".into(),
        license: None,
    };
    for out in ["x.gguf", "folder"] {
        let mut heard = 0;
        let error = convert(&local, &home.path().join(out), &Conversion::default(), &mut |_, _| {
            heard += 1;
            heard < 2
        });
        assert!(error.unwrap_err().to_string().contains("stopped"));
        assert_eq!(home.path().read_dir().unwrap().count(), 0);
    }
}

#[cfg(unix)]
#[test]
fn a_conversion_on_a_full_disk_leaves_nothing() {
    let program = Program::new();
    let model = oracle("tiny-chat");
    for out in ["x.gguf", "folder"] {
        let path = program.path(out);
        let arguments = ["convert", model.to_str().unwrap(), path.to_str().unwrap()];
        let output = program::cramped(&program.command(&arguments), 8 << 10).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains("File too large"), "{message}");
        assert!(message.contains(program.home.path().to_str().unwrap()), "{message}");
        assert!(!path.exists());
        assert_eq!(leftovers(&program), Vec::<String>::new());
    }
}
