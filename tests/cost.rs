//! `jielong cost` from outside.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod program;

use program::{Program, oracle};
use serde_json::{Value, json};

fn tiny() -> String {
    oracle("tiny-llama3-tied").to_str().unwrap().to_owned()
}

fn steps(models: &Value) -> Vec<u64> {
    models["works"].as_array().unwrap().iter().map(|work| work["steps"].as_u64().unwrap()).collect()
}

#[test]
fn the_classic_figures_come_out() {
    let program = Program::new();
    let model = tiny();
    let report = program.json(&["cost", "-m", &model, "--json"]);
    let priced = &report["models"][0];
    assert_eq!(steps(priced), [1_048_576, 4096, 1_323_000, 3000]);
    assert_eq!(priced["ratios"][0]["steps"], 256.0);
    assert_eq!(priced["ratios"][1]["steps"], 441.0);
    for (work, medium) in priced["works"].as_array().unwrap().iter().zip(["image", "image", "audio", "audio"]) {
        assert_eq!(work["medium"], medium);
        let part = |of: &str, name: &str| work[of][name].as_u64().unwrap();
        let sum: u64 = ["linear", "head", "attention"].iter().map(|name| part("flops", name)).sum();
        assert_eq!(part("flops", "total"), sum);
        assert_eq!(part("bytes_moved", "total"), part("bytes_moved", "weights") + part("bytes_moved", "cache"));
        assert_eq!(work["exceeds_context"], json!(work["steps"].as_u64() > priced["context"].as_u64()));
        assert!(work["predicted_seconds"].as_f64().unwrap() > 0.0);
        assert_eq!(work["extrapolated_seconds"], Value::Null);
    }
    let table = program.ok(&["cost", "-m", &model]);
    for figure in ["1 048 576", "4 096", "1 323 000", "3 000", "256×", "441×", "exceeded"] {
        assert!(table.contains(figure), "{figure}: {table}");
    }
}

#[test]
fn media_units_and_heads_are_chosen() {
    let program = Program::new();
    let model = tiny();
    let priced = |args: &[&str]| program.json(&[&["cost", "-m", &model, "--json"], args].concat())["models"][0].clone();
    assert_eq!(steps(&priced(&["--image", "17x16", "--patch", "8"])), [272, 6]);
    assert_eq!(steps(&priced(&["--audio", "2s@16000", "--books", "4"])), [32_000, 400]);
    let (whole, legal) = (priced(&["--image", "16x16"]), priced(&["--image", "16x16", "--legal-head"]));
    let head = |priced: &Value, row: usize| priced["works"][row]["flops"]["head"].as_u64().unwrap();
    let rows = |priced: &Value, row: usize| priced["works"][row]["legal_tokens"].as_u64().unwrap();
    assert_eq!(head(&legal, 0) * rows(&legal, 1), 256 * head(&legal, 1) * rows(&legal, 0));
    assert_eq!(head(&whole, 0), 256 * head(&whole, 1));
}

#[test]
fn steps_are_measured_and_drawn() {
    let program = Program::new();
    let plot = program.path("cost.png");
    let args =
        ["cost", "-m", &tiny(), "--image", "32x32", "--measure", "0.2", "--json", "--plot", plot.to_str().unwrap()];
    let report = program.json(&args);
    let priced = &report["models"][0];
    let depths = priced["measured"]["depths"].as_array().unwrap();
    let counted: u64 = depths.iter().map(|depth| depth["steps"].as_u64().unwrap()).sum();
    assert!(counted > 0);
    assert_eq!(priced["measured"]["steps"], counted);
    assert!(priced["works"][0]["extrapolated_seconds"].as_f64() > priced["works"][1]["extrapolated_seconds"].as_f64());
    assert!(std::fs::read(&plot).unwrap().starts_with(b"\x89PNG"));
    let table = program.ok(&["cost", "-m", &tiny(), "--image", "32x32", "--measure", "0.2"]);
    assert!(table.contains("extrapolated, not measured"), "{table}");
}

#[test]
fn what_codecs_lose_is_measured_on_files() {
    let program = Program::new();
    let (picture, sound) = (oracle("metrics/a.png"), oracle("sound-metrics/high.wav"));
    let files = [picture.to_str().unwrap(), sound.to_str().unwrap()];
    let model = tiny();
    let args = [&["cost", "-m", &model, "--json", "--quality"][..], &files].concat();
    let quality = &program.json(&args)["quality"];
    let tokens = |media: &str| -> Vec<f64> {
        quality[media].as_array().unwrap().iter().map(|score| score["tokens"].as_f64().unwrap()).collect()
    };
    assert_eq!(tokens("images"), [24.0 * 19.0, 4.0]);
    assert_eq!(tokens("sounds"), [23_998.0, 75.0]);
    assert!(quality["images"][0]["psnr"].as_f64() > quality["images"][1]["psnr"].as_f64());
}

#[test]
fn what_cannot_be_is_said() {
    let program = Program::new();
    let model = tiny();
    let cases: [(i32, &[&str], &str); 9] = [
        (1, &["--shape", "nope"], "llama3.2-1b"),
        (2, &["--image", "0x5"], "1024x1024"),
        (2, &["--audio", "60@22050"], "60s@22050"),
        (2, &["--patch", "0"], "--patch"),
        (2, &["--hop-ms", "0"], "milliseconds"),
        (2, &["--measure", "nan"], "seconds"),
        (2, &["-m", &model, "--shape", "llama3.2-1b"], "--shape"),
        (1, &["-m", &model, "--plot", "/no/such/folder/cost.png"], "/no/such/folder"),
        (1, &["-m", &model, "--quality", "/no/such/picture.png"], "/no/such/picture.png"),
    ];
    for (code, args, expected) in cases {
        let message = program.fails(code, &[&["cost"], args].concat());
        assert!(message.contains(expected), "{args:?}: {message}");
    }
    let message = program.fails(1, &["cost", "-m", &model, "--quality"]);
    assert!(message.contains("jielong data fetch"), "{message}");
}
