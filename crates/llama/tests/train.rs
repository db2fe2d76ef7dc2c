//! A tiny model is trained: what is regular is learned, what does not count is not, and a run goes on to the same bits.

#![allow(clippy::unwrap_used)]

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, FloatDType};
use jielong_core::{Model, Token};
use jielong_llama::train::{LlamaTask, NewModel, Pair, PreferenceTask, Row, Rows, Settings, Trained};
use jielong_llama::{Compute, Llama, LoadOptions};
use jielong_nn::train::{AdamWConfig, End, Event, Plan, Random, TaskError, run};

/// Texts that count up from a random number, modulo 10; then a question, 10, and its answer, the number that comes next. The kinds
/// are the lower and the upper half.
struct Counting {
    answers_only: bool,
    kinds: Vec<(String, Range<u32>)>,
}

impl Counting {
    fn new(answers_only: bool) -> Self {
        Self { answers_only, kinds: vec![("low".into(), 0..5), ("high".into(), 5..10), ("never".into(), 11..12)] }
    }

    fn random(&self, random: &mut Random, length: usize) -> Row {
        let mut row = Row::default();
        while row.tokens.len() + 8 <= length {
            let first = random.below(10) as u32;
            let mut tokens: Vec<u32> = (0..6).map(|at| (first + at) % 10).collect();
            tokens.extend([10, (first + 6) % 10]);
            let weight = if self.answers_only { 0.0 } else { 1.0 };
            row.push(&tokens, &[weight, weight, weight, weight, weight, weight, 0.0, 1.0]);
        }
        row
    }
}

impl Rows for Counting {
    fn items(&self) -> usize {
        100
    }

    fn row(&self, seed: u64, _: usize, length: usize) -> Result<Row, TaskError> {
        Ok(self.random(&mut Random::at(&[seed]), length))
    }

    fn held_out(&self, length: usize) -> Vec<Row> {
        (0..5).map(|index| self.random(&mut Random::at(&[u64::MAX, index]), length)).collect()
    }

    fn kinds(&self) -> &[(String, Range<u32>)] {
        &self.kinds
    }
}

fn task(answers_only: bool) -> LlamaTask<Counting> {
    shared(answers_only, 1)
}

/// The CPU so many times, each with its part of a batch.
fn shared(answers_only: bool, devices: usize) -> LlamaTask<Counting> {
    let shape = NewModel {
        hidden: 32,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        intermediate: 64,
        context: 40,
        rope_theta: 10_000.0,
        tied: true,
        norm_eps: 1e-5,
    };
    let compute = Compute::Burn { device: Device::flex().autodiff(), dtype: FloatDType::F32 };
    let model = Llama::new(&shape.config(12, None, &[]).unwrap(), 1, &[], &LoadOptions { compute, context: None });
    let optimiser = AdamWConfig::default();
    let settings =
        Settings { length: 40, batch: 2, optimiser, average: 0.9, beside: vec![Device::flex(); devices - 1] };
    LlamaTask::new(model.unwrap(), Counting::new(answers_only), settings).unwrap()
}

fn plan(steps: u64) -> Plan {
    Plan {
        steps,
        batch: 4,
        accumulate: 2,
        rate: 1e-2,
        last_rate: 0.1,
        warmup: 5,
        seed: 3,
        log_every: 10,
        evaluate_every: 20,
        save_every: 10,
    }
}

fn train(task: &mut LlamaTask<Counting>, out: &Path, stop: Option<u64>) -> (End, Vec<(String, f64)>) {
    let flag = AtomicBool::new(false);
    let mut last = Vec::new();
    let end = run(task, (&plan(60), "counting"), out, &flag, &mut |event| match event {
        Event::Stepped { step, .. } if Some(step.number) == stop => flag.store(true, Ordering::Relaxed),
        Event::Evaluated { scores, .. } => last = scores.clone(),
        _ => {}
    });
    (end.unwrap(), last)
}

fn next(model: &Llama, tokens: &[u32]) -> usize {
    let tokens: Vec<Token> = tokens.iter().map(|&token| Token(token)).collect();
    let logits = model.next(&tokens, &mut model.new_state().unwrap()).unwrap().0;
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}

#[test]
fn what_is_regular_is_learned_and_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let mut task_ = task(false);
    let (end, scores) = train(&mut task_, &whole, None);
    assert_eq!(end, End::Finished);
    let score = |name: &str| scores.iter().find(|(found, _)| found == name).map(|(_, value)| *value);
    assert!(score("loss").unwrap() < 0.1, "{scores:?}");
    assert!(score("low").is_some() && score("high").is_some() && score("never").is_none(), "{scores:?}");
    let model = task_.result();
    assert_eq!(next(&model, &[8, 9, 0, 1]), 2);
    assert_eq!(next(&model, &[3, 4, 5, 6, 7, 8, 10]), 9);

    assert_eq!(train(&mut task(false), &parts, Some(17)).0, End::Interrupted(17));
    let (end, again) = train(&mut task(false), &parts, None);
    assert_eq!((end, again), (End::Finished, scores));
    for file in ["model.safetensors", "optimiser.safetensors", "average.safetensors"] {
        let read = |out: &Path| std::fs::read(out.join("checkpoints/step-000000060").join(file)).unwrap();
        assert_eq!(read(&whole), read(&parts), "{file}");
    }
}

/// What several devices learn of a batch is what one learns, but for the order of sums; and it goes on to the same bits.
#[test]
fn devices_share_out_the_batches() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |devices: usize| {
        let (out, mut losses) = (folder.path().join(devices.to_string()), Vec::new());
        let never = AtomicBool::new(false);
        run(&mut shared(false, devices), (&plan(10), "counting"), &out, &never, &mut |event| {
            if let Event::Stepped { losses: found, .. } = event {
                losses.push(found[0].1);
            }
        })
        .unwrap();
        losses
    };
    let one = losses(1);
    assert!(one[9] < one[0] - 0.1, "{one:?}");
    for devices in [2, 3, 4, 5] {
        let several = losses(devices);
        assert!(several.iter().zip(&one).all(|(a, b)| (a - b).abs() < 1e-3), "{devices}: {several:?}, {one:?}");
    }

    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let (_, scores) = train(&mut shared(false, 3), &whole, None);
    assert_eq!(train(&mut shared(false, 3), &parts, Some(17)).0, End::Interrupted(17));
    assert_eq!(train(&mut shared(false, 3), &parts, None), (End::Finished, scores));
}

/// With the weights of supervised fine-tuning nothing is learned but answers.
#[test]
fn what_does_not_count_is_not_learned() {
    let folder = tempfile::tempdir().unwrap();
    let mut task = task(true);
    train(&mut task, folder.path(), None);
    let model = task.result();
    for first in 0..10u32 {
        let mut tokens: Vec<u32> = (0..6).map(|at| (first + at) % 10).collect();
        tokens.push(10);
        assert_eq!(next(&model, &tokens), (first as usize + 6) % 10);
        // The question has never been predicted.
        tokens.pop();
        assert_ne!(next(&model, &tokens), 10);
    }
}

/// Pairs in whose chosen answer a number is said again; what is held out is compared with another answer.
#[test]
fn the_answer_that_is_liked_becomes_likelier() {
    let folder = tempfile::tempdir().unwrap();
    let mut before = task(true);
    train(&mut before, &folder.path().join("base"), Some(12));
    let pair = |first: u32, other: u32| {
        let row = |answer: u32| {
            let mut row = Row::default();
            row.push(&[first, 10, answer], &[0.0, 0.0, 1.0]);
            row
        };
        Pair { chosen: row(first), rejected: row((first + other) % 10) }
    };
    let compute = Compute::Burn { device: Device::flex().autodiff(), dtype: FloatDType::F32 };
    let options = LoadOptions { compute, context: None };
    let base = folder.path().join("model");
    before.result().save(&base, jielong_kernels::Dtype::F32).unwrap();
    let (optimiser, beside) = (AdamWConfig::default(), vec![Device::flex()]);
    let settings = Settings { length: 8, batch: 4, optimiser, average: 0.0, beside };
    let model = Llama::from_folder(&base, &options).unwrap();
    let pairs = [1, 4].map(|other| (0..10).map(|first| pair(first, other)).collect());
    let mut tuned = PreferenceTask::new(model, pairs, 0.1, &settings).unwrap();
    let out = folder.path().join("tuned");
    let flag = AtomicBool::new(false);
    let mut scores = Vec::new();
    let plan = Plan { steps: 40, accumulate: 1, rate: 3e-3, ..plan(40) };
    run(&mut tuned, (&plan, "liked"), &out, &flag, &mut |event| {
        if let Event::Evaluated { scores: found, .. } = event {
            scores.push(found.clone());
        }
    })
    .unwrap();
    let loss = |scores: &[(String, f64)]| scores.iter().find(|(name, _)| name == "loss").unwrap().1;
    let last = scores.last().unwrap();
    assert!(loss(last) < std::f64::consts::LN_2, "{scores:?}"); // ln 2: nothing has moved
    let model = tuned.result();
    for first in 0..10 {
        let tokens = [Token(first), Token(10)];
        let logits = model.next(&tokens, &mut model.new_state().unwrap()).unwrap().0;
        assert!(logits[first as usize] > logits[(first as usize + 1) % 10], "{first}");
    }
}
