//! Training of a small codec: it learns, an interrupted run comes to the same bits, and configs are checked.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use jielong_image::picture::{Picture, Reading};
use jielong_image::train::{
    Changes, CodecTask, CodecTaskError, CriticConfig, DataConfig, Files, Kind, TrainingConfig, UpkeepConfig, Weights,
};
use jielong_image::vq::{VqCodec, VqConfig};
use jielong_nn::quantizer::QuantizerConfig;
use jielong_nn::train::{AdamWConfig, End, Event, Plan, latest, read_table, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Discs of some colours on white.
fn pictures(folder: &Path, count: usize) -> Vec<PathBuf> {
    let picture = |index: usize| {
        let (x, y, radius) = (8 + index * 7 % 17, 8 + index * 5 % 17, 3 + index % 6);
        let colour = [(index * 53 % 200) as u8, (index * 91 % 200) as u8, (index * 29 % 200) as u8];
        let inside = |i: usize| (i % 32).abs_diff(x).pow(2) + (i / 32).abs_diff(y).pow(2) <= radius * radius;
        let rgb = (0..1024).flat_map(|i| if inside(i) { colour } else { [255; 3] }).collect();
        Picture::new(32, 32, rgb).unwrap()
    };
    let write = |index: usize| {
        let path = folder.join(format!("{index:03}.png"));
        fs::write(&path, picture(index).to_png().unwrap()).unwrap();
        path
    };
    (0..count).map(write).collect()
}

fn files(folder: &Path) -> Files {
    let mut all = pictures(folder, 40);
    let held_out = all.split_off(32);
    Files { train: all, held_out }
}

fn shape(quantizer: QuantizerConfig) -> VqConfig {
    VqConfig {
        ch: 16,
        stem: 4,
        encoder_ch_mult: vec![1, 1],
        decoder_ch_mult: vec![1, 1],
        num_res_blocks: 1,
        z_channels: 8,
        norm_groups: 4,
        norm_eps: 1e-6,
        quantizer,
    }
}

fn vq() -> QuantizerConfig {
    QuantizerConfig::Vq { codebook_size: 64, codebook_embed_dim: 4, codebook_l2_norm: true }
}

fn config(steps: u64) -> TrainingConfig {
    TrainingConfig {
        factors: Default::default(),
        kind: Kind::ImageCodec,
        codec: PathBuf::new(),
        out: PathBuf::new(),
        device: "cpu".into(),
        data: DataConfig { source: String::new(), size: 32, scored: 8 },
        plan: Plan {
            steps,
            batch: 4,
            accumulate: 1,
            rate: 2e-3,
            last_rate: 0.1,
            warmup: 2,
            seed: 3,
            log_every: 5,
            evaluate_every: steps,
            save_every: steps,
        },
        optimiser: AdamWConfig::default(),
        average: 0.9,
        loss: Weights::default(),
        changes: Changes { flip: 0.5, shift: 0.1, zoom: 0.2, hue: 90.0 },
        upkeep: UpkeepConfig { decay: 0.5, below: 0.1, every: 2 },
        critic: Some(CriticConfig { from: 3, weight: 0.05, channels: 8, layers: 2, rate: 1.0 }),
    }
}

/// The random numbers of a device are drawn by all threads: new weights are made by one test at a time.
static MAKING: Mutex<()> = Mutex::new(());

fn new(config: &TrainingConfig, shape: VqConfig, files: Files) -> Result<CodecTask, CodecTaskError> {
    let _making = MAKING.lock().unwrap();
    CodecTask::new(config.clone(), shape, files, &Device::flex())
}

fn train(config: &TrainingConfig, quantizer: QuantizerConfig, out: &Path, stop: u64) -> (End, CodecTask) {
    let data = tempfile::tempdir().unwrap();
    let mut task = new(config, shape(quantizer), files(data.path())).unwrap();
    let cancel = AtomicBool::new(false);
    let mut watch = |event: Event| {
        if let Event::Stepped { step, .. } = event {
            cancel.store(step.number == stop, Ordering::Relaxed);
        }
    };
    let end = run(&mut task, (&config.plan, "recipe"), out, &cancel, &mut watch).unwrap();
    (end, task)
}

#[test]
fn an_interrupted_run_comes_to_the_same_bits() {
    for quantizer in [vq(), QuantizerConfig::Fsq { levels: vec![5, 4, 3] }] {
        let folder = tempfile::tempdir().unwrap();
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        assert_eq!(train(&config(10), quantizer.clone(), &whole, 0).0, End::Finished);
        assert_eq!(train(&config(10), quantizer.clone(), &parts, 5).0, End::Interrupted(5));
        assert_eq!(train(&config(10), quantizer.clone(), &parts, 0).0, End::Finished);
        let [a, b] = [&whole, &parts].map(|out| latest(out).unwrap().0.unwrap());
        assert_eq!(a.0.files.len(), 6);
        assert_eq!(a.0.files, b.0.files, "{quantizer:?}"); // names, sizes and hashes
        for name in ["scores.csv", "samples/step-000000010.png"] {
            assert_eq!(fs::read(whole.join(name)).unwrap(), fs::read(parts.join(name)).unwrap(), "{name}");
        }
    }
}

#[test]
fn a_codec_learns_discs() {
    let folder = tempfile::tempdir().unwrap();
    let plain = TrainingConfig { critic: None, changes: Changes::default(), ..config(150) };
    let (_, task) = train(&plain, vq(), folder.path(), 0);
    let (names, rows) = read_table(&folder.path().join("loss.csv")).unwrap();
    let expected =
        ["step", "epoch", "seconds", "rate", "loss", "l1", "l2", "gradient", "ssim", "codebook", "commitment"];
    assert_eq!(names, expected);
    let (first, last) = (rows[0][4], rows[rows.len() - 1][4]);
    let score = task.score().unwrap();
    println!("loss {first:.3} → {last:.3}, {score:?}");
    assert!(last < 0.5 * first, "{first} → {last}");
    assert!(score.psnr > 15.0 && score.usage() > 0.1, "{score:?}");
    // The result is a codec, from a file of half size too.
    let path = folder.path().join("model.safetensors");
    task.result().save_f16(&path).unwrap();
    assert!(fs::metadata(&path).unwrap().len() < 2 * task.parameters() as u64 + 30_000);
    let toml = folder.path().join("config.toml");
    fs::write(&toml, toml::to_string(&shape(vq())).unwrap()).unwrap();
    let codec = VqCodec::open(&toml, &path, &Device::flex()).unwrap();
    let looks = codec.looks().unwrap();
    assert_eq!((looks.len(), looks[0].width, looks[63].height), (64, 8, 8));
    let sheet = folder.path().join("samples/step-000000150.png");
    assert!(Picture::open(&sheet, &Reading::default()).unwrap().width > 8 * 32);
}

#[test]
fn configs_are_read_and_checked() {
    for entry in fs::read_dir(root().join("configs/train")).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_string_lossy().starts_with("image-") {
            continue;
        }
        let config = TrainingConfig::open(&path).unwrap();
        config.plan.check().unwrap();
        let shape = VqConfig::open(&config.codec).unwrap();
        let some = Files { train: vec![PathBuf::new()], held_out: vec![PathBuf::new()] };
        let task = new(&config, shape, some).unwrap();
        println!("{}: {} parameters", path.display(), task.parameters());
        assert!(2 * task.parameters() < 12 << 20);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.toml");
    let text = fs::read_to_string(root().join("configs/train/image-codec.toml")).unwrap();
    for (from, to, says) in [
        ("rate = 1e-3", "rat = 1e-3", "rat"),
        ("kind = \"image-codec\"", "kind = \"sound\"", "sound"),
        ("flip = 0.5", "flop = 0.5", "flop"),
        ("[plan]", "[plan", "train.toml"),
    ] {
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = TrainingConfig::open(&path).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("train.toml"), "{error}");
    }
    let new = |config: TrainingConfig, files: Files| new(&config, shape(vq()), files).err();
    let some = || Files { train: vec![PathBuf::new()], held_out: vec![PathBuf::new()] };
    let size = |size| TrainingConfig { data: DataConfig { size, ..config(1).data }, ..config(1) };
    assert!(matches!(new(size(36), some()), Some(CodecTaskError::Size { size: 36, patch: 8 })));
    assert!(matches!(new(size(8), some()), Some(CodecTaskError::Size { .. })));
    assert!(matches!(new(config(1), Files::default()), Some(CodecTaskError::NoPictures { .. })));
    let critic = CriticConfig { from: 0, weight: 1.0, channels: 6, layers: 2, rate: 1.0 };
    let odd = TrainingConfig { critic: Some(critic), ..config(1) };
    assert!(matches!(new(odd, some()), Some(CodecTaskError::Critic(6, 2))));
}
