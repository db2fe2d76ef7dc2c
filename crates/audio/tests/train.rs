//! Training of a small codec, and the codec that comes of it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use burn::tensor::{Device, Tensor, TensorData};
use jielong_audio::codec::{FrameCodec, FrameConfig, LayerConfig};
use jielong_audio::sound::Sound;
use jielong_audio::train::{CodecTask, CodecTaskError, Critic, CriticConfig, Files, TrainingConfig};
use jielong_core::{Codec, Codes};
use jielong_nn::module::made;
use jielong_nn::quantizer::QuantizerConfig;
use jielong_nn::train::{AdamW, AdamWConfig, End, Gradients, read_table, run, scalar};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A voice of few harmonics that slides and pauses.
fn voice(seed: u32, seconds: f64) -> Sound {
    let rate = 16_000;
    let wave = |n: usize| {
        let t = n as f64 / f64::from(rate);
        let pitch = 120.0 + 20.0 * f64::from(seed) + 30.0 * (t * 3.0).sin();
        let loud = (t * 9.0 + f64::from(seed)).sin().max(0.0);
        let sum: f64 = (1..6).map(|k| (std::f64::consts::TAU * pitch * f64::from(k) * t).sin() / f64::from(k)).sum();
        (0.2 * loud * sum) as f32
    };
    Sound { rate, samples: (0..(seconds * f64::from(rate)) as usize).map(wave).collect() }
}

fn recordings(folder: &Path) -> Files {
    let write = |seed: u32| {
        let path = folder.join(format!("{seed}.wav"));
        fs::write(&path, voice(seed, 1.0 + 0.3 * f64::from(seed % 3)).to_wav().unwrap()).unwrap();
        path
    };
    Files { train: (0..6).map(write).collect(), held_out: (6..8).map(write).collect() }
}

fn shape(books: usize, quantizer: QuantizerConfig) -> FrameConfig {
    let convnext = LayerConfig::Convnext { channels: 24, hidden: 48, kernel: 3, blocks: 1 };
    FrameConfig {
        sample_rate: 16_000,
        hop: 320,
        encoder: vec![LayerConfig::Mel { window: 640, bands: 20 }, convnext.clone()],
        decoder: vec![convnext, LayerConfig::Spectrum { window: 640 }],
        books,
        quantizer,
    }
}

fn config(steps: u64) -> TrainingConfig {
    let mut config = TrainingConfig::open(&root().join("configs/train/audio-codec.toml")).unwrap();
    config.plan.steps = steps;
    config.plan.batch = 4;
    config.plan.rate = 5e-3;
    config.plan.warmup = 5;
    config.plan.evaluate_every = 1000;
    config.plan.save_every = 1000;
    config.data.samples = 5120;
    config.scales = vec![(256, 20), (1024, 30)];
    config.average = 0.9;
    config
}

/// New weights are drawn one after another from the device's numbers: nobody else may draw meanwhile.
static MAKING: Mutex<()> = Mutex::new(());

fn new_task(config: TrainingConfig, shape: FrameConfig, files: Files) -> Result<CodecTask, CodecTaskError> {
    let _making = MAKING.lock().unwrap();
    CodecTask::new(config, shape, files, &Device::flex())
}

/// Critics from the second step on.
fn critic() -> CriticConfig {
    let (windows, periods) = (vec![256, 512], vec![2, 5]);
    CriticConfig { from: 2, weight: 0.1, matching: 0.2, channels: 4, windows, periods, rate: 1.0 }
}

fn train(task: &mut CodecTask, steps: u64, out: &Path) -> End {
    let plan = config(steps).plan;
    run(task, (&plan, "a recipe"), out, &AtomicBool::new(false), &mut |_| {}).unwrap()
}

#[test]
fn a_small_codec_learns_and_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let files = recordings(folder.path());
    for (name, books, quantizer) in [
        ("fsq", 1, QuantizerConfig::Fsq { levels: vec![8, 8, 8] }),
        ("vq", 2, QuantizerConfig::CosineVq { codebook_size: 32, codebook_embed_dim: 4 }),
    ] {
        let (shape, out) = (shape(books, quantizer), folder.path().join(name));
        let mut task = new_task(config(60), shape.clone(), files.clone()).unwrap();
        assert_eq!(train(&mut task, 60, &out), End::Finished);
        let (names, rows) = read_table(&out.join("loss.csv")).unwrap();
        let mel = names.iter().position(|name| name == "mel").unwrap();
        let (first, last) = (rows[0][mel], rows[rows.len() - 1][mel]);
        println!("{name}: {first:.3} → {last:.3}, {:?}", task.score().unwrap().stoi);
        assert!(last < 0.8 * first, "{name}: {first} → {last}");
        assert!(out.join("samples/0-original.wav").is_file());

        let [weights, toml] = ["model.safetensors", "config.toml"].map(|file| out.join(file));
        task.result().save_f16(&weights).unwrap();
        fs::write(&toml, toml::to_string(&shape).unwrap()).unwrap();
        let codec = FrameCodec::open(&toml, &weights, &Device::flex()).unwrap();
        // A length that is not whole frames.
        let sound = Sound { samples: voice(9, 1.0).samples[..5001].to_vec(), rate: 16_000 };
        let codes = codec.encode(&sound).unwrap();
        assert_eq!((&codes.size[..], &codes.grid[..], codes.books), (&[5001][..], &[16][..], books));
        let back = codec.decode(&codes).unwrap();
        assert_eq!((back.samples.len(), back.rate), (5001, 16_000));
        assert!(back.samples.iter().all(|x| x.is_finite()));
        refuses(&codec, &sound, &codes);
    }
}

fn refuses(codec: &FrameCodec, sound: &Sound, codes: &Codes) {
    let says = |result: Result<Sound, jielong_core::CodecError>, what: &str| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let with = |change: &dyn Fn(&mut Codes)| {
        let mut codes = codes.clone();
        change(&mut codes);
        codec.decode(&codes)
    };
    says(with(&|codes| codes.values[3] = 1 << 20), "outside the book");
    says(with(&|codes| codes.size = vec![5001 + 320]), "17 frames");
    says(with(&|codes| codes.size = vec![1, 2]), "one size");
    says(with(&|codes| codes.values.truncate(5)), "5 codes");
    let other = Sound { rate: 8_000, ..sound.clone() };
    assert!(codec.encode(&other).unwrap_err().to_string().contains("8000"));
    let none = Sound { samples: Vec::new(), rate: 16_000 };
    assert!(codec.encode(&none).unwrap_err().to_string().contains("0 samples"));
}

#[test]
fn an_interrupted_run_comes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let files = recordings(folder.path());
    let shape = shape(3, QuantizerConfig::Fsq { levels: vec![5, 5] });
    let mut config = config(6);
    config.dropout = 0.5;
    config.critic = Some(critic());
    let new = || new_task(config.clone(), shape.clone(), files.clone()).unwrap();
    let bytes = |task: &CodecTask, name: &str| {
        let path = folder.path().join(name);
        task.result().save(&path).unwrap();
        fs::read(path).unwrap()
    };
    let mut whole = new();
    train(&mut whole, 6, &folder.path().join("whole"));
    let halves = folder.path().join("halves");
    // The first half sees the rates of the whole: it is stopped, not planned shorter.
    let stopped = AtomicBool::new(false);
    let plan = config.plan.clone();
    let end = run(&mut new(), (&plan, "a recipe"), &halves, &stopped, &mut |event| {
        if let jielong_nn::train::Event::Stepped { step, .. } = event {
            stopped.store(step.number == 3, std::sync::atomic::Ordering::Relaxed);
        }
    });
    assert_eq!(end.unwrap(), End::Interrupted(3));
    let mut resumed = new();
    assert_eq!(train(&mut resumed, 6, &halves), End::Finished);
    assert!(bytes(&whole, "a") == bytes(&resumed, "b"));
}

#[test]
fn configs_are_read_and_checked() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("configs/train")).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_string_lossy().starts_with("audio-") {
            continue;
        }
        count += 1;
        let config = TrainingConfig::open(&path).unwrap();
        config.plan.check().unwrap();
        let shape = FrameConfig::open(&config.codec).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let task = new_task(config, shape, recordings(folder.path())).unwrap();
        println!("{}: {} parameters", path.display(), task.parameters());
        assert!(2 * task.parameters() < 8_000_000);
    }
    assert!(count >= 3);
    let text = fs::read_to_string(root().join("configs/codec/speech.toml")).unwrap();
    for (from, to, says) in [
        ("hop = 320", "hop = 0", "`hop` = 0"),
        ("hop = 320", "hop = 321", "window"),
        ("kernel = 7", "kernel = 6", "kernel"),
        ("books = 1", "books = 65", "books"),
        ("levels = [8", "levels = [1", "levels"),
        ("kind = \"mel\"", "kind = \"bark\"", "bark"),
        ("channels = 192", "channels = 0", "encoder.1.channels"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = FrameConfig::from_toml(&text.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(says), "{to}: {error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut odd = config(1);
    odd.data.samples = 5000;
    let shape = shape(1, QuantizerConfig::Fsq { levels: vec![5] });
    let error = new_task(odd, shape, recordings(folder.path())).unwrap_err().to_string();
    assert!(error.contains("5000") && error.contains("320"), "{error}");
}

#[test]
fn critics_are_checked_and_learn() {
    let folder = tempfile::tempdir().unwrap();
    let files = recordings(folder.path());
    let shape = shape(1, QuantizerConfig::Fsq { levels: vec![5, 5] });
    let with = |change: &dyn Fn(&mut CriticConfig)| {
        let mut config = config(30);
        let mut critic = critic();
        change(&mut critic);
        config.critic = Some(critic);
        new_task(config, shape.clone(), files.clone())
    };
    for (change, says) in [
        (&(|critic: &mut CriticConfig| critic.channels = 0) as &dyn Fn(&mut CriticConfig), "channels"),
        (&|critic| critic.windows = vec![600], "windows"),
        (&|critic| critic.periods = vec![0], "period"),
        (&|critic| (critic.windows, critic.periods) = (vec![], vec![]), "no `windows`"),
    ] {
        let error = with(change).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    let device = Device::flex().autodiff();
    let mut judge = {
        let _making = MAKING.lock().unwrap();
        device.seed(1); // whatever other tests have drawn
        made(Critic::new(&critic(), &device))
    };
    let mut optimiser = AdamW::new(AdamWConfig::default());
    let batch = |noise: f32| {
        let row =
            |seed| voice(seed, 0.32).samples.into_iter().enumerate().map(move |(n, x)| x + noise * (n as f32).sin());
        let values: Vec<f32> = (0..4).flat_map(row).collect();
        Tensor::<2>::from_data(TensorData::new(values, [4, 5120]), &device)
    };
    let (real, made) = (batch(0.0), batch(0.3));
    let mut losses = Vec::new();
    for _ in 0..40 {
        let loss = judge.loss(&real, &made);
        losses.push(scalar(loss.clone()).unwrap());
        let mut gradients = Gradients::default();
        gradients.add(&judge, &mut loss.backward(), 1.0);
        judge = optimiser.step(judge, gradients, 1e-2).unwrap().0;
    }
    println!("critic {:.3} → {:.3}", losses[0], losses[39]);
    assert!(losses[39] < 0.6 * losses[0], "{losses:?}");
    let [verdict, matching] = judge.verdict(real.clone(), made).map(|part| scalar(part).unwrap());
    let [praise, same] = judge.verdict(real.clone(), real).map(|part| scalar(part).unwrap());
    assert!(praise < verdict && same < 1e-6 && matching > 0.01, "{verdict} {praise} {matching} {same}");
}
