//! Sounds: how well their tokens are predicted, beside n-grams.

use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};
use jielong::mixed::{Material, Mixed, MixedConfig, Ngram, TaskConfig};
use jielong_core::{Model, Token};
use serde_json::{Value, json};

use super::super::{Global, interrupt, output, progress};
use super::Args;

/// Tokens of the n-grams that sounds are compared with.
const NGRAMS: [usize; 3] = [1, 3, 5];

/// How well the tokens of held-out sounds are predicted, in nats: by the model, and by n-grams.
pub fn score(mixed: &Mixed, task: &TaskConfig, args: &Args, global: &Global) -> Result<()> {
    let config = MixedConfig { tasks: vec![task.clone()], ..mixed.config.clone() };
    let mut coding = None;
    let material = Material::gather(&config, &mixed.media, &global.sources, &mut |_, done, count| {
        if let Some(bar) = coding.get_or_insert_with(|| progress::counted(global, count, "coded")) {
            bar.set_position(done as u64);
        }
        !interrupt::flag().load(Ordering::Relaxed)
    })?;
    if let Some(bar) = coding.flatten() {
        bar.finish_and_clear();
    }
    let corpus = material.corpus(mixed.pipeline.tokenizer()?, mixed.pipeline.model.context(), args.limit)?;
    let ids = |tokens: &[Token]| -> Vec<u32> { tokens.iter().map(|token| token.0).collect() };
    let learned: Vec<Vec<u32>> = corpus.learned().map(|example| ids(&example.tokens())).collect();
    let ngrams: Vec<Ngram> = NGRAMS.iter().map(|n| Ngram::new(learned.iter().map(Vec::as_slice), n - 1)).collect();
    let bar = progress::counted(global, corpus.held_out().len(), "sounds");
    let (mut sums, mut count, mut samples) = (vec![0.0; 1 + NGRAMS.len()], 0, 0);
    for example in corpus.held_out() {
        ensure!(!interrupt::flag().load(Ordering::Relaxed), "stopped");
        let (tokens, given) = (example.tokens(), example.prompt.tokens.len());
        let ids = ids(&tokens);
        for answer in mixed.media.vocab.split(&example.answer) {
            samples += mixed.media.dimensions(&answer)?;
        }
        for (at, (loss, possible)) in mixed.losses(&tokens, given)?.into_iter().enumerate() {
            let at = given + at;
            count += 1;
            sums[0] += loss;
            for (sum, ngram) in sums[1..].iter_mut().zip(&ngrams) {
                *sum -= ngram.probability(&ids[..at], ids[at], possible).ln();
            }
        }
        if let Some(bar) = &bar {
            bar.inc(1);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    ensure!(count > 0, "{} has no held-out example", task.data);
    let perplexity: Vec<f64> = sums.iter().map(|sum| (sum / f64::from(count)).exp()).collect();
    let bits = sums[0] / std::f64::consts::LN_2 / samples as f64;
    let names = std::iter::once("the model".to_owned()).chain(NGRAMS.iter().map(|n| format!("{n}-grams")));
    let rows: Vec<(String, f64)> = names.zip(perplexity).collect();
    let mut out = output::Output::new();
    if args.model.json {
        let ways: Vec<Value> = rows.iter().map(|(way, value)| json!({ "way": way, "perplexity": value })).collect();
        return out.json(
            &json!({ "examples": corpus.held_out().len(), "tokens": count, "ways": ways, "bits_per_sample": bits }),
        );
    }
    let head = format!("{} held-out sounds, {count} tokens", corpus.held_out().len());
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(way, value)| vec![way, format!("{value:.1}")]).collect();
    out.table(&[&head, "perplexity of a token"], &rows)?;
    out.line(&format!("the model says them in {bits:.4} bits per sample"))
}
