//! A model of several kinds of tokens from outside: trained for a moment on a few pictures and sequences, then asked.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod program;

use std::fs;
use std::path::Path;

use program::Program;
use serde_json::Value;

const RECIPE: &str = r#"
kind = "transformer"
vocab = "vocab.toml"
out = "RUN"
device = "cpu"
length = 200
average = 0.5
scored = 4

[model]
hidden = 32
layers = 1
heads = 2
intermediate = 32
context = 256

[plan]
steps = 3
batch = 1
rate = 1e-3
last_rate = 1.0
evaluate_every = 3
save_every = 2

[[task]]
name = "restyle"
data = "PICTURES"
drop = 0.5
variants = 1
changes = { flip = 1.0, shift = 0.1 }
prompt = [{ text = "{style}" }, { image = "other" }]
answer = { image = "this" }

[[task]]
name = "draw"
data = "PICTURES"
drop = 0.5
prompt = [{ text = "{name}, {style}" }]
answer = { image = "this" }

[[task]]
name = "describe"
data = "PICTURES"
prompt = [{ image = "this" }]
answer = { text = "{name}" }

[[task]]
name = "finish"
data = "PICTURES"
answer = { image = "this" }

[[task]]
name = "fold"
data = "FASTA"
prompt = [{ text = "{id}" }]
answer = { protein = "{sequence}" }
"#;

const VOCAB: &str = r#"
sizes = 8

[[kind]]
name = "text"
text = 260

[[kind]]
name = "image"
books = [4375]
grid = true
codec = "emoji"
"#;

/// Two styles of some shapes, and sequences.
fn data(program: &Program) {
    for (style, colour) in [("red", [220, 30, 30]), ("blue", [30, 30, 220])] {
        let folder = program.path("pictures").join(style);
        fs::create_dir_all(&folder).unwrap();
        for shape in 0..12usize {
            let inside = |x: usize, y: usize| x / 8 % (shape + 2) < 2 && y / 8 % (shape + 1) < 2;
            let pixels = (0..128 * 128).flat_map(|at| if inside(at % 128, at / 128) { colour } else { [255; 3] });
            let picture = jielong_image::picture::Picture::new(128, 128, pixels.collect()).unwrap();
            fs::write(folder.join(format!("shape-{shape}.png")), picture.to_png().unwrap()).unwrap();
        }
    }
    let sequence = |at: usize| "ACDEFGHIKLMNPQRSTVWY".chars().cycle().skip(at).take(30).collect::<String>();
    let fasta: String = (0..16).map(|at| format!(">shape {at} of many\n{}\n", sequence(at))).collect();
    fs::write(program.path("proteins.fasta"), fasta).unwrap();
}

fn configs(program: &Program) {
    let path = |name: &str| program.path(name).display().to_string();
    let recipe = RECIPE.replace("RUN", &path("run")).replace("PICTURES", &path("pictures"));
    fs::write(program.path("train.toml"), recipe.replace("FASTA", &path("proteins.fasta"))).unwrap();
    let proteins = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/vocab/amino-acids.toml"));
    fs::write(program.path("vocab.toml"), VOCAB.to_owned() + &proteins.unwrap()).unwrap();
}

fn ask(program: &Program, args: &[&str]) -> Value {
    let model = program.path("run/model");
    program.json(&[args, &["-m", model.to_str().unwrap(), "--json", "--seed", "1"]].concat())
}

#[test]
fn a_model_learns_tasks_goes_on_after_an_interruption_and_answers() {
    let program = Program::new();
    data(&program);
    configs(&program);
    let (recipe, out) = (program.path("train.toml"), program.path("out.png"));
    let (recipe, out) = (recipe.to_str().unwrap(), out.to_str().unwrap());
    let shape = program.path("pictures/red/shape-3.png");
    let shape = shape.to_str().unwrap();

    // In two parts and in one: the same weights.
    program.ok(&["train", recipe, "--steps", "2"]);
    program.ok(&["train", recipe]);
    let sample = |name: &str| fs::read(program.path("run/samples").join(name)).unwrap();
    for (task, pictures) in [("restyle", 3), ("draw", 2), ("finish", 2)] {
        let png = sample(&format!("{task}-step-000000003.png"));
        let sheet = jielong_image::picture::Picture::decode("sheet", &png, &Default::default()).unwrap();
        assert_eq!(sheet.height, pictures * 132 + 8, "{task}");
    }
    let described = String::from_utf8(sample("describe-step-000000003.txt")).unwrap();
    assert!(described.lines().all(|line| line.split('\t').nth(1).unwrap().starts_with("shape")), "{described}");
    let whole = program.path("whole");
    program.ok(&["train", recipe, "--out", whole.to_str().unwrap()]);
    let weights = |folder: &Path| fs::read(folder.join("model/model.safetensors")).unwrap();
    assert!(weights(&program.path("run")) == weights(&whole));

    // Every answer can be decoded, whatever the weights say.
    for args in [
        &["image", "restyle", shape, "--style", "blue", "-o", out][..],
        &["image", "restyle", shape, "--style", "blue", "-o", out, "--guidance", "2.5"],
        &["image", "draw", "shape 3", "--style", "red", "-o", out],
        &["image", "finish", shape, "--keep", "0.5", "-o", out],
    ] {
        let answers = ask(&program, args);
        assert_eq!(answers["answers"][0]["grid"], serde_json::json!([8, 8]), "{args:?}");
        assert_eq!(answers["answers"][0]["codes"].as_array().unwrap().len(), 64);
        let png = fs::read(out).unwrap();
        let picture = jielong_image::picture::Picture::decode("out", &png, &Default::default()).unwrap();
        assert_eq!([picture.width, picture.height], [128, 128]);
    }
    let first = ask(&program, &["image", "draw", "shape 3", "-o", out]);
    assert_eq!(first, ask(&program, &["image", "draw", "shape 3", "-o", out]));
    let drawn =
        |more: &[&str]| ask(&program, &[&["image", "draw", "shape 3", "-o", out], more].concat())["answers"].clone();
    let (candidates, taken) = (drawn(&["-n", "3"]), drawn(&["--consensus", "3"]));
    assert_eq!(taken.as_array().unwrap().len(), 1);
    assert!(candidates.as_array().unwrap().contains(&taken[0]), "{taken}");
    let finished = ask(&program, &["image", "finish", shape, "-o", out]);
    assert_eq!(finished["answers"][0]["generated"], 33); // half of the codes, and the end
    let half = |answer: &serde_json::Value| answer["answers"][0]["codes"].as_array().unwrap()[..32].to_vec();
    let mean = ask(&program, &["image", "finish", shape, "-o", out, "--consensus", "3", "--take", "mean"]);
    assert_eq!(half(&mean), half(&finished), "what was given stays");
    assert!(ask(&program, &["image", "describe", shape])["answers"][0]["text"].is_string());

    let message =
        program.fails(1, &["audio", "say", "x", "-o", out, "-m", program.path("run/model").to_str().unwrap()]);
    assert!(message.contains("has not learned to say"), "{message}");

    // For others it is a plain Llama.
    let logits = program.path("logits.safetensors");
    let model = program.path("run/model");
    program.ok(&["logits", "-m", model.to_str().unwrap(), "--ids", "260,4,5", "-o", logits.to_str().unwrap()]);
    let scored = program.json(&["eval", "describe", "-m", model.to_str().unwrap(), "--limit", "2", "--json"]);
    assert_eq!(scored["examples"], 2);
    let sheet = program.path("sheet.png");
    let eval = [
        "eval",
        "restyle",
        "-m",
        model.to_str().unwrap(),
        "--limit",
        "2",
        "--json",
        "--sheet",
        sheet.to_str().unwrap(),
    ];
    assert_eq!(program.json(&eval)["ways"].as_array().unwrap().len(), 4);
    assert!(sheet.is_file());
}

/// A text model learns to draw; what it knew stays, and its tokens keep their ids.
#[test]
fn a_checkpoint_of_text_is_enlarged_by_pictures() {
    let program = Program::new();
    data(&program);
    configs(&program);
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/tiny-chat");
    let base = base.to_str().unwrap();
    fs::write(program.path("vocab.toml"), VOCAB).unwrap();
    let path = program.path("train.toml");
    let recipe = fs::read_to_string(&path).unwrap();
    let (start, end) = (recipe.find("[model]").unwrap(), recipe.find("[plan]").unwrap());
    let tasks = recipe.find("[[task]]\nname = \"fold\"").unwrap();
    let recipe = format!("{}[model]\nbase = {base:?}\n\n{}", &recipe[..start], &recipe[end..tasks]);
    fs::write(&path, recipe.replace("steps = 3", "steps = 1").replace("rate = 1e-3", "rate = 1e-12")).unwrap();
    program.ok(&["train", path.to_str().unwrap(), "--device", "cpu, cpu"]);
    let model = program.path("run/model");
    let model = model.to_str().unwrap();
    let out = program.path("out.png");
    let answers = ask(&program, &["image", "draw", "shape 3", "--style", "red", "-o", out.to_str().unwrap()]);
    assert_eq!(answers["answers"][0]["codes"].as_array().unwrap().len(), 64);
    // Nearly nothing was learned at this rate: the same text has the same logits, up to the rounding of bf16.
    let logits = |model: &str| {
        let file = program.path("logits.safetensors");
        program.ok(&["logits", "-m", model, "--ids", "256,72,101", "-o", file.to_str().unwrap()]);
        let bytes = fs::read(&file).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = tensors.tensors().remove(0).1;
        let width = *tensor.shape().last().unwrap();
        let all: Vec<f32> = tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        all[all.len() - width..][..260].to_vec()
    };
    let encoded = |model: &str| program.ok(&["tokens", "encode", "-m", model, "hello"]);
    assert_eq!(encoded(base), encoded(model));
    for (before, after) in logits(base).into_iter().zip(logits(model)) {
        assert!((before - after).abs() < 0.05, "{before} {after}");
    }
}

/// The baselines: pixels and samples as tokens, through the same trainer.
#[test]
fn pixels_and_samples_are_learned_as_codes_are() {
    let program = Program::new();
    data(&program);
    let sounds = program.path("sounds");
    fs::create_dir_all(&sounds).unwrap();
    for pitch in 0..12 {
        let samples = (0..1600).map(|at| 0.5 * (at as f32 * 0.02 * (pitch + 1) as f32).sin()).collect();
        let sound = jielong_audio::sound::Sound { rate: 16_000, samples };
        fs::write(sounds.join(format!("{pitch}.wav")), sound.to_wav().unwrap()).unwrap();
    }
    let colours = program.path("colours");
    let (pictures, folder) = (program.path("pictures"), colours.to_str().unwrap());
    program.ok(&["image", "palette", pictures.to_str().unwrap(), "-o", folder, "--colours", "3"]);
    let shape = program.path("pictures/red/shape-3.png");
    let shape = shape.to_str().unwrap();
    let kept = program.json(&["image", "roundtrip", shape, "-c", folder, "--json"]);
    assert!(kept["psnr"].as_f64().unwrap() > 60.0 && kept["codes"] == 128 * 128, "{kept}"); // red, blue, white

    let vocab = format!(
        "sizes = 24\n[[kind]]\nname = \"image\"\nbooks = [3]\ngrid = true\ncodec = {folder:?}\n\
         [[kind]]\nname = \"audio\"\nbooks = [256]\ncodec = \"mulaw\"\n"
    );
    fs::write(program.path("vocab.toml"), vocab).unwrap();
    let tasks = RECIPE.find("[[task]]").unwrap();
    let recipe = RECIPE[..tasks].replace("RUN", program.path("run").to_str().unwrap());
    let recipe = recipe.replacen("length = 200", "side = 24\nseconds = 0.002\nlength = 700", 1);
    let recipe = recipe.replacen("context = 256", "context = 1024", 1);
    let task = |name: &str, data: &Path, kind: &str| {
        format!("[[task]]\nname = {name:?}\ndata = {:?}\nanswer = {{ {kind} = \"this\" }}\n", data.to_str().unwrap())
    };
    let changes = "variants = 1\nchanges = { shift = 0.01, speed = 0.5, gain = 6.0 }\n";
    let tasks = task("finish", &pictures, "image") + &task("go-on", &sounds, "audio") + changes;
    let path = program.path("train.toml");
    fs::write(&path, recipe + &tasks).unwrap();
    let output = program.run(&["train", path.to_str().unwrap(), "--steps", "40"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let counted = told.split("go-on ").nth(1).and_then(|rest| rest.split([',', ';', ' ', '\n']).next()).unwrap();
    let [learned, held_out] = counted.split('+').map(|n| n.parse::<usize>().unwrap()).collect::<Vec<_>>()[..] else {
        panic!("{told}")
    };
    assert_eq!(learned, 2 * (12 - held_out), "each sound that is learned from as it is, and changed");

    let model = program.path("run/model");
    let model = model.to_str().unwrap();
    let scored = program.json(&["eval", "finish", "-m", model, "--limit", "2", "--json"]);
    let bits = scored["bits_per_dimension"].as_f64().unwrap();
    assert!(bits > 0.0 && bits < 3f64.log2() / 3.0, "{scored}: less than what is known of three colours");
    let scored = program.json(&["eval", "go-on", "-m", model, "--limit", "2", "--json"]);
    let bits = scored["bits_per_sample"].as_f64().unwrap();
    assert!(bits > 0.0 && bits < 12.0, "{scored}");
    let out = program.path("out.png");
    program.ok(&["image", "finish", shape, "-o", out.to_str().unwrap(), "-m", model]);
    let picture = jielong_image::picture::Picture::open(&out, &Default::default()).unwrap();
    assert_eq!([picture.width, picture.height], [24, 24]);
    let (wav, out) = (program.path("short.wav"), program.path("out.wav"));
    let sound = jielong_audio::sound::Sound { rate: 16_000, samples: vec![0.1; 160] };
    fs::write(&wav, sound.to_wav().unwrap()).unwrap();
    program.ok(&[
        "audio",
        "go-on",
        wav.to_str().unwrap(),
        "--seconds",
        "0.01",
        "-o",
        out.to_str().unwrap(),
        "-m",
        model,
    ]);
    assert!(fs::read(&out).unwrap().starts_with(b"RIFF"));
}

/// What comes with the program, from a fresh clone: no network, no data.
#[test]
fn the_model_that_comes_with_the_program_draws_and_goes_on_with_sound() {
    let program = Program::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (example, sound) = (root.join("docs/example.png"), root.join("tests/oracle/sound-metrics/high.wav"));
    let (example, sound) = (example.to_str().unwrap(), sound.to_str().unwrap());
    let [png, wav] = ["out.png", "out.wav"].map(|name| program.path(name));
    let restyle = ["image", "restyle", example, "--style", "twemoji", "-o", png.to_str().unwrap(), "--json"];
    let answer = &program.json(&restyle)["answers"][0];
    assert_eq!(answer["stop"], "end_token");
    // Not a blank: several codes, drawn one after another.
    let codes: std::collections::HashSet<u64> =
        answer["codes"].as_array().unwrap().iter().map(|code| code.as_u64().unwrap()).collect();
    assert!(codes.len() > 3, "{answer}");
    let go_on = ["audio", "go-on", sound, "--seconds", "1", "-o", wav.to_str().unwrap(), "--json", "--seed", "3"];
    let longer = program.json(&go_on);
    assert!(longer["seconds"].as_f64().unwrap() >= 1.5, "{longer}");
    assert!(fs::read(&wav).unwrap().starts_with(b"RIFF"));
    let described = program.json(&["image", "describe", example, "--json"]);
    assert!(!described["answers"][0]["text"].as_str().unwrap().is_empty());
    let shown = program.ok(&["show", "mini", "--json"]);
    assert!(shown.contains("llama"), "{shown}");
}

/// The worked examples, as they are in the repository.
#[test]
fn fine_tuning_and_preferences_move_what_they_should() {
    let program = Program::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = program.home.path();
    for folder in ["configs/train", "configs/vocab", "datasets/examples"] {
        fs::create_dir_all(home.join(folder)).unwrap();
    }
    let files = ["train/greet-base.toml", "train/greet-sft.toml", "train/greet-dpo.toml", "vocab/text.toml"];
    for file in
        files.map(|file| format!("configs/{file}")).iter().chain(&["datasets/examples/greetings.jsonl".to_owned()])
    {
        fs::copy(root.join(file), home.join(file)).unwrap();
    }
    let run = |args: &[&str]| {
        let output = program.command(args).current_dir(home).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let right = |model: &str| {
        let json = run(&["eval", "greet", "-m", model, "--limit", "16", "--json", "-t", "0"]);
        serde_json::from_slice::<Value>(&json).unwrap()["first"].as_f64().unwrap()
    };
    run(&["train", "configs/train/greet-base.toml"]);
    run(&["train", "configs/train/greet-sft.toml"]);
    let replied = right("runs/greet-sft/model");
    assert!(replied > 0.7, "{replied}: the reply to held-out names");
    run(&["train", "configs/train/greet-dpo.toml"]);
    let scores = fs::read_to_string(home.join("runs/greet-dpo/scores.csv")).unwrap();
    let rows: Vec<Vec<&str>> = scores.lines().map(|line| line.split(',').collect()).collect();
    let preferred = rows[0].iter().position(|name| *name == "preferred").unwrap();
    let last: f64 = rows[rows.len() - 1][preferred].parse().unwrap();
    // Before, each way is the reply to half of the names.
    assert!(last > 0.9, "{scores}");
    let tuned = right("runs/greet-dpo/model");
    assert!(tuned > 0.6, "{tuned}: the short greeting of held-out names");
}

#[test]
fn what_does_not_fit_is_named() {
    let program = Program::new();
    data(&program);
    let cases = [
        ("answer = { text = \"{name}\" }", "answer = { text = \"{title}\" }", "title"),
        ("answer = { protein", "answer = { image = \"this\" }\nweight = -1.0\n#", "weight"),
        ("length = 200", "length = 20", "fits"),
        ("variants = 1", "variants = 100", "variants"),
        ("kind = \"transformer\"", "kind = \"transformer\"\nnonsense = 1", "nonsense"),
        ("vocab = \"vocab.toml\"", "vocab = \"none.toml\"", "none.toml"),
    ];
    for (good, bad, expected) in cases {
        configs(&program);
        let path = program.path("train.toml");
        let recipe = fs::read_to_string(&path).unwrap();
        fs::write(&path, recipe.replacen(good, bad, 1)).unwrap();
        let message = program.fails(1, &["train", path.to_str().unwrap()]);
        assert!(message.contains(expected), "{bad}: {message}");
    }
}
