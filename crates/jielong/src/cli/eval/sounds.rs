//! Sounds: how well their tokens are predicted, beside n-grams; and whether what is said can be written down again.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use jielong::mixed::{Material, MixedConfig, Ngram, Part, TaskConfig};
use jielong_core::{Model, Segment, Token};
use serde_json::{Value, json};

use super::super::{interrupt, output, progress};
use super::words::WordErrors;
use super::{Case, Job};

/// Tokens of the n-grams that sounds are compared with.
const NGRAMS: [usize; 3] = [1, 3, 5];

pub fn score(job: &Job, cases: &[Case], out: &mut output::Output) -> Result<()> {
    let prediction = Prediction::of(job)?;
    job.finish();
    let words = match writer(job) {
        Some(writer) => Some(written(job, writer, cases)?),
        None => None,
    };
    let Prediction { sounds, tokens, ways, bits } = prediction;
    if job.args.model.json {
        let ways: Vec<Value> = ways.iter().map(|(way, value)| json!({ "way": way, "perplexity": value })).collect();
        let mut object = json!({ "examples": sounds, "tokens": tokens, "ways": ways, "bits_per_sample": bits });
        if let Some(words) = words {
            object["word_error_rate"] = json!({ "said": words[0].rate(), "recorded": words[1].rate() });
        }
        return out.json(&object);
    }
    let head = format!("{sounds} held-out sounds, {tokens} tokens");
    let rows: Vec<Vec<String>> = ways.into_iter().map(|(way, value)| vec![way, format!("{value:.1}")]).collect();
    out.table(&[&head, "perplexity of a token"], &rows)?;
    out.line(&format!("the model says them in {bits:.4} bits per sample"))?;
    let Some(words) = words else { return Ok(()) };
    let [said, recorded] = words.map(|words| format!("{:.1} %", 100.0 * words.rate()));
    let head = format!("{} held-out texts, written by the model", cases.len());
    out.table(
        &[&head, "word error rate"],
        &[vec!["as it says them".into(), said], vec!["as recorded".into(), recorded]],
    )
}

/// How well the tokens of held-out sounds are predicted.
struct Prediction {
    sounds: usize,
    tokens: usize,
    /// Perplexity of the model, and of n-grams.
    ways: Vec<(String, f64)>,
    /// Bits that the model takes for a sample.
    bits: f64,
}

impl Prediction {
    fn of(job: &Job) -> Result<Self> {
        let Job { mixed, task, global, .. } = *job;
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
        let corpus = material.corpus(mixed.pipeline.tokenizer()?, mixed.pipeline.model.context(), job.args.limit)?;
        let ids = |tokens: &[Token]| -> Vec<u32> { tokens.iter().map(|token| token.0).collect() };
        let learned: Vec<Vec<u32>> = corpus.learned().map(|example| ids(&example.tokens())).collect();
        let ngrams: Vec<Ngram> = NGRAMS.iter().map(|n| Ngram::new(learned.iter().map(Vec::as_slice), n - 1)).collect();
        let (mut sums, mut tokens, mut samples) = (vec![0.0; 1 + NGRAMS.len()], 0, 0);
        for example in corpus.held_out() {
            job.step()?;
            let (example_tokens, given) = (example.tokens(), example.prompt.tokens.len());
            let ids = ids(&example_tokens);
            for answer in mixed.media.vocab.split(&example.answer) {
                samples += mixed.media.dimensions(&answer)?;
            }
            for (at, (loss, possible)) in mixed.losses(&example_tokens, given)?.into_iter().enumerate() {
                let at = given + at;
                tokens += 1;
                sums[0] += loss;
                for (sum, ngram) in sums[1..].iter_mut().zip(&ngrams) {
                    *sum -= ngram.probability(&ids[..at], ids[at], possible).ln();
                }
            }
        }
        ensure!(tokens > 0, "{} has no held-out example", task.data);
        let bits = sums[0] / std::f64::consts::LN_2 / samples as f64;
        let names = std::iter::once("the model".to_owned()).chain(NGRAMS.iter().map(|n| format!("{n}-grams")));
        let ways = names.zip(sums.iter().map(|sum| (sum / tokens as f64).exp())).collect();
        Ok(Self { sounds: corpus.held_out().len(), tokens, ways, bits })
    }
}

/// The task that writes down what this one says, from the same data.
fn writer<'a>(job: &Job<'a>) -> Option<&'a TaskConfig> {
    let kinds = job.mixed.media.vocab.kinds();
    let is_media = |part: &Part| kinds.iter().any(|kind| kind.name == part.kind && kind.is_media());
    let reads = !job.task.prompt.iter().any(is_media);
    let said: Vec<&str> = job.task.prompt.iter().flat_map(Part::fields).collect();
    let writes = |other: &&TaskConfig| {
        let hears = other.prompt.iter().any(|part| part.kind == job.task.answer.kind);
        let mut written = other.answer.fields().peekable();
        let same = written.peek().is_some() && written.all(|field| said.contains(&field));
        other.data == job.task.data && hears && !is_media(&other.answer) && same
    };
    job.mixed.config.tasks.iter().filter(|_| reads).find(writes)
}

/// Words that are wrong where the model writes what it says itself, through sound and back, and where it writes the recordings.
fn written(job: &Job, writer: &TaskConfig, cases: &[Case]) -> Result<[WordErrors; 2]> {
    let (mixed, mut errors) = (job.mixed, [WordErrors::default(); 2]);
    let bar = progress::counted(job.global, cases.len(), "written");
    for (case, seed) in cases.iter().zip(0..) {
        ensure!(!interrupt::flag().load(Ordering::Relaxed), "stopped");
        let field = |name: &str| case.this.fields.get(name).map(String::as_str);
        let right = writer.answer.fill(field)?;
        let write = |given: &Segment, errors: &mut WordErrors| -> Result<()> {
            let ask = job.args.model.ask(mixed, mixed.ask_task(writer, field, Some(given))?)?;
            errors.add(&right, &mixed.sequences()?.text_of(&job.answer(&ask, &[], seed)?)?);
            Ok(())
        };
        let said = job.answer(&job.ask(*case, None)?, &[], seed)?;
        match said.values.is_empty() {
            true => errors[0].add(&right, ""),
            false => write(&mixed.media.of_sound(said.kind, &mixed.media.sound(&said)?)?, &mut errors[0])?,
        }
        let path = case.this.file.as_deref().context("an entry without a recording")?;
        write(&mixed.media.of_file(said.kind, path)?, &mut errors[1])?;
        if let Some(bar) = &bar {
            bar.inc(1);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(errors)
}
