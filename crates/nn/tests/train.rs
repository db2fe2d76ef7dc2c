//! The training loop: the same bits with and without interruption, and whatever can break a run folder.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use jielong_nn::module::uniform;
use jielong_nn::train::{
    AdamWConfig, End, Event, Item, Learner, Losses, Numbers, Plan, Random, Step, Task, TaskError, TrainError, latest,
    run, scalar,
};

#[derive(Module, Debug)]
struct Net {
    hidden: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
    out: Param<Tensor<2>>,
}

impl Net {
    fn new(device: &Device) -> Self {
        Self {
            hidden: uniform([2, 16], 1.0, device),
            bias: uniform([16], 1.0, device),
            out: uniform([16, 1], 0.5, device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        (x.matmul(self.hidden.val()) + self.bias.val().unsqueeze()).tanh().matmul(self.out.val())
    }
}

/// Learns the product of two numbers.
struct Product {
    net: Learner<Net>,
    device: Device,
    full: bool,
}

/// The random numbers of a device are drawn by all threads: new weights are made by one test at a time.
static MAKING: Mutex<()> = Mutex::new(());

impl Product {
    fn new() -> Self {
        let _making = MAKING.lock().unwrap();
        let device = Device::flex().autodiff();
        device.seed(7);
        Self { net: Learner::new(Net::new(&device), AdamWConfig::default(), 0.9), device, full: false }
    }

    fn batch(&self, batch: &[Item]) -> (Tensor<2>, Tensor<2>) {
        let mut inputs = Vec::new();
        for item in batch {
            let mut random = Random::at(&[item.index as u64]);
            let mut noise = Random::at(&[item.seed]);
            inputs.extend((0..2).map(|_| (random.between(-1.0, 1.0) + noise.between(-0.01, 0.01)) as f32));
        }
        let products: Vec<f32> = inputs.chunks(2).map(|pair| pair[0] * pair[1]).collect();
        let tensor =
            |values, width| Tensor::<2>::from_data(TensorData::new(values, [batch.len(), width]), &self.device);
        (tensor(inputs, 2), tensor(products, 1))
    }

    fn loss(&self, net: &Net, batch: &[Item]) -> Tensor<1> {
        let (x, y) = self.batch(batch);
        let difference = net.forward(x) - y;
        (difference.clone() * difference).mean()
    }
}

impl Task for Product {
    fn items(&self) -> usize {
        50
    }

    fn learn(&mut self, batch: &[Item], step: &Step) -> Result<Numbers, TaskError> {
        let loss = self.loss(self.net.module(), batch);
        Ok(vec![("loss".into(), self.net.add(loss, step.share)?)])
    }

    fn update(&mut self, step: &Step) -> Result<(), TaskError> {
        self.net.update(step.rate)?;
        Ok(())
    }

    fn evaluate(&mut self, _: &Step, _: &Path) -> Result<Numbers, TaskError> {
        let items: Vec<Item> = (100..200).map(|index| Item { index, seed: 0 }).collect();
        Ok(vec![("held_out".into(), scalar(self.loss(&self.net.result(), &items))?)])
    }

    fn save(&self, folder: &Path) -> Result<(), TaskError> {
        self.net.save(folder, "model")?;
        if self.full { Err("no space left".into()) } else { Ok(()) }
    }

    fn load(&mut self, folder: &Path) -> Result<(), TaskError> {
        Ok(self.net.load(folder, "model")?)
    }
}

fn plan() -> Plan {
    Plan {
        steps: 10,
        batch: 3,
        accumulate: 2,
        rate: 0.02,
        last_rate: 0.1,
        warmup: 2,
        seed: 5,
        log_every: 3,
        evaluate_every: 4,
        save_every: 2,
    }
}

fn go(out: &Path, plan: &Plan, watch: &mut dyn FnMut(Event)) -> Result<End, TrainError> {
    run(&mut Product::new(), (plan, "recipe\none"), out, &AtomicBool::new(false), watch)
}

/// Trains until this step is made, as if Ctrl-C came then.
fn until(out: &Path, step: u64) -> Result<End, TrainError> {
    let cancel = AtomicBool::new(false);
    let mut watch = |event: Event| {
        if let Event::Stepped { step: at, .. } = event {
            cancel.store(at.number == step, Ordering::Relaxed);
        }
    };
    run(&mut Product::new(), (&plan(), "recipe\none"), out, &cancel, &mut watch)
}

fn last(out: &Path) -> (u64, PathBuf) {
    let (found, _) = latest(out).unwrap();
    found.map(|(manifest, folder)| (manifest.step, folder)).unwrap()
}

fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let tensors = files.filter(|entry| entry.path().extension().is_some_and(|e| e == "safetensors"));
    tensors.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

/// A table without its column of seconds.
fn table(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    rows.map(|mut row| {
        if row.len() > 3 {
            row.remove(2);
        }
        row
    })
    .collect()
}

#[test]
fn an_interrupted_run_comes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let mut losses = Vec::new();
    let mut watch = |event: Event| {
        if let Event::Stepped { losses: found, .. } = event {
            losses.push(found[0].1);
        }
    };
    assert_eq!(go(&whole, &plan(), &mut watch).unwrap(), End::Finished);
    assert_eq!(losses.len(), 10);
    assert_eq!(until(&parts, 5).unwrap(), End::Interrupted(5));
    assert_eq!(last(&parts).0, 5);
    assert_eq!(until(&parts, 6).unwrap(), End::Interrupted(6));
    assert_eq!(go(&parts, &plan(), &mut |_| {}).unwrap(), End::Finished);
    let [a, b] = [&whole, &parts].map(|out| bytes(&last(out).1));
    assert_eq!(a.len(), 3);
    assert_eq!(a, b);
    assert_eq!(table(&whole.join("scores.csv")), table(&parts.join("scores.csv")));
    let rows = table(&whole.join("loss.csv"));
    assert_eq!(rows[0], ["step", "epoch", "rate", "loss"]);
    let steps: Vec<&str> = rows[1..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!(steps, ["2", "3", "4", "6", "8", "9", "10"]);
    // A finished run is not begun again.
    let mut watch = |event: Event| assert!(matches!(event, Event::Resumed(10)), "{event:?}");
    assert_eq!(go(&whole, &plan(), &mut watch).unwrap(), End::Finished);
}

#[test]
fn it_learns() {
    let folder = tempfile::tempdir().unwrap();
    let mut scores = Vec::new();
    let long = Plan { steps: 400, batch: 16, evaluate_every: 200, save_every: 400, ..plan() };
    go(folder.path(), &long, &mut |event| {
        if let Event::Evaluated { scores: found, .. } = event {
            scores.push(found[0].1);
        }
    })
    .unwrap();
    assert!(scores[1] < 0.01, "{scores:?}");
}

#[test]
fn a_kill_at_any_moment_leaves_the_checkpoint_before() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    until(out, 5).unwrap();
    let before = bytes(&last(out).1);
    // What a killed process leaves: parts of the next folder, half a row.
    let partial = out.join("checkpoints/.partial-6");
    fs::create_dir(&partial).unwrap();
    for name in ["model.safetensors", "manifest.json", "manifest.json.partial"] {
        fs::write(partial.join(name), b"half").unwrap();
        assert_eq!((last(out).0, bytes(&last(out).1)), (5, before.clone()));
    }
    let rows = fs::read_to_string(out.join("loss.csv")).unwrap();
    fs::write(out.join("loss.csv"), rows.clone() + "6,0.7,0.1,0.2,0.3\n7,0.").unwrap();
    until(out, 6).unwrap();
    assert!(!partial.exists());
    let again = fs::read_to_string(out.join("loss.csv")).unwrap();
    assert!(again.starts_with(&rows) && again.ends_with('\n') && again.lines().count() == rows.lines().count() + 1);
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    until(out, 5).unwrap();
    let names = ["model.safetensors", "optimiser.safetensors", "manifest.json", "manifest.sha256"];
    let place = last(out).1;
    for name in names {
        let path = place.join(name);
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for bad in [Some(flipped), Some(good[..good.len() - 1].to_vec()), Some(Vec::new()), None] {
            match bad {
                Some(bad) => fs::write(&path, bad).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let (found, problems) = latest(out).unwrap();
            assert_eq!(found.unwrap().0.step, 4);
            let message = problems[0].to_string();
            let culprit = if name == "manifest.sha256" { "manifest" } else { name };
            assert!(message.contains(culprit), "{message}");
            fs::write(&path, &good).unwrap();
        }
    }
    fs::write(place.join("model.safetensors"), b"no").unwrap();
    let mut damaged = Vec::new();
    go(out, &plan(), &mut |event| {
        if let Event::Damaged(error) = event {
            damaged.push(error.to_string());
        }
    })
    .unwrap();
    assert!(damaged.len() == 1 && damaged[0].contains("SHA-256"), "{damaged:?}");
    assert_eq!(last(out).0, 10);
    for step in ["step-000000008", "step-000000010"] {
        fs::write(out.join("checkpoints").join(step).join("model.safetensors"), b"no").unwrap();
    }
    let error = go(out, &plan(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("step-000000008") && error.contains("step-000000010"), "{error}");
}

#[test]
fn a_full_disk_leaves_the_checkpoint_before() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    until(out, 5).unwrap();
    let before = bytes(&last(out).1);
    let mut task = Product { full: true, ..Product::new() };
    let error = run(&mut task, (&plan(), "recipe\none"), out, &AtomicBool::new(false), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
    assert_eq!((last(out).0, bytes(&last(out).1)), (5, before));
    assert_eq!(fs::read_dir(out.join("checkpoints")).unwrap().count(), 2);
    assert_eq!(go(out, &plan(), &mut |_| {}).unwrap(), End::Finished);
}

#[test]
fn only_one_process_and_one_recipe_trains_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/run");
    let mut refused = 0;
    go(&out, &plan(), &mut |event| {
        if let Event::Saved { .. } = event {
            let second = go(&out, &plan(), &mut |_| {});
            assert!(matches!(second, Err(TrainError::Locked(_))), "{second:?}");
            refused += 1;
        }
    })
    .unwrap();
    assert_eq!(refused, 5);
    let longer = Plan { steps: 12, ..plan() };
    let error =
        run(&mut Product::new(), (&longer, "recipe\nother"), &out, &AtomicBool::new(false), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("`one`, now `other`"), "{error}");
    assert_eq!(go(&out, &longer, &mut |_| {}).unwrap(), End::Finished);
    assert_eq!(last(&out).0, 12);
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = go(&file, &plan(), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("file/checkpoints"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let wild = Plan { rate: 1e30, ..plan() };
    let error = go(folder.path(), &wild, &mut |_| {}).unwrap_err();
    assert!(matches!(&error, TrainError::Diverged { name, .. } if name == "loss"), "{error}");
}

#[test]
fn a_learner_goes_on_from_its_files() {
    let items: Vec<Item> = (0..8).map(|index| Item { index, seed: 0 }).collect();
    let step = |task: &mut Product| {
        let loss = task.loss(task.net.module(), &items);
        task.net.add(loss, 1.0).unwrap();
        task.net.update(0.01).unwrap()
    };
    let files = ["average", "model", "optimiser", "other-average", "other-optimiser", "other"];
    for average in [0.9, 0.0] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let new = || {
            let task = Product::new();
            let net = Learner::new(Net::new(&task.device), AdamWConfig::default(), average);
            Product { net, ..task }
        };
        let (mut task, mut again) = (new(), new());
        assert_eq!(task.net.parameters(), 2 * 16 + 16 + 16);
        step(&mut task);
        let [last, mean] = [task.net.module(), &task.net.result()].map(|net| net.out.val().into_data());
        assert_eq!(last == mean, average == 0.0);

        ["model", "other"].iter().for_each(|name| task.net.save(folder, name).unwrap());
        let expected = files.iter().filter(|name| average > 0.0 || !name.ends_with("average"));
        let expected: Vec<String> = expected.map(|name| format!("{name}.safetensors")).collect();
        assert_eq!(bytes(folder).into_keys().collect::<Vec<_>>(), expected);
        again.net.load(folder, "other").unwrap();
        assert_eq!(step(&mut task), step(&mut again));
        let [whole, parts] = [&task, &again].map(|task| {
            task.net.save(folder, "model").unwrap();
            bytes(folder)
        });
        assert!(whole == parts && whole["model.safetensors"] != whole["other.safetensors"]);

        fs::remove_file(folder.join("other.safetensors")).unwrap();
        let error = again.net.load(folder, "other").unwrap_err().to_string();
        assert!(error.contains("other.safetensors"), "{error}");
    }
}

#[test]
fn a_loss_of_parts_says_each() {
    let mut task = Product::new();
    let items = [Item { index: 0, seed: 0 }];
    let loss = task.loss(task.net.module(), &items);
    let value = scalar(loss.clone()).unwrap();
    let mut losses = Losses::new(&task.device);
    losses.add("twice", 2.0, loss.clone()).unwrap();
    losses.add("of a config".to_owned(), 0.0, loss).unwrap();
    let found = task.net.add_all(losses, 0.5).unwrap();
    assert_eq!(found, [("loss".into(), 2.0 * value), ("twice".into(), value), ("of a config".into(), value)]);
}
