//! Texts: letter for letter, and word for word.

use anyhow::Result;
use serde_json::json;

use super::super::output;
use super::words::WordErrors;
use super::{Case, Job};

/// Answers of which one may be right.
const TOP: u64 = 5;

pub fn score(job: &Job, cases: &[Case], media: Option<usize>, out: &mut output::Output) -> Result<()> {
    let sequences = job.mixed.sequences()?;
    let (mut first, mut any, mut errors, mut rows) = (0, 0, WordErrors::default(), Vec::new());
    for case in cases {
        job.step()?;
        let given = media.zip(case.this.file.as_deref()).map(|(kind, path)| job.mixed.media.of_file(kind, path));
        let given = given.transpose()?;
        let right = job.task.answer.fill(|name| case.this.fields.get(name).map(String::as_str))?;
        let ask = job.ask(*case, given.as_ref())?;
        let mut said = Vec::new();
        for seed in 0..TOP {
            said.push(sequences.text_of(&job.answer(&ask, &[], seed)?)?);
        }
        errors.add(&right, &said[0]);
        first += usize::from(said.first() == Some(&right));
        any += usize::from(said.contains(&right));
        rows.push(json!({ "right": right, "said": said }));
    }
    job.finish();
    let share = |count: usize| count as f64 / cases.len() as f64;
    if job.args.model.json {
        return out.json(&json!({
            "examples": cases.len(), "first": share(first), "any_of": TOP, "any": share(any),
            "word_error_rate": errors.rate(), "answers": rows,
        }));
    }
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let any_of = format!("any of {TOP} that are drawn");
    out.table(
        &[&format!("{} held-out examples", cases.len()), "exactly right"],
        &[vec!["the first that is drawn".into(), percent(share(first))], vec![any_of, percent(share(any))]],
    )?;
    out.line(&format!("word error rate of the first: {}", percent(errors.rate())))
}
