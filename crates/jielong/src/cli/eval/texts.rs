//! Texts: letter for letter.

use anyhow::Result;
use serde_json::json;

use super::super::output;
use super::{Case, Job};

/// Answers of which one may be right.
const TOP: u64 = 5;

pub fn score(job: &Job, cases: &[Case], media: Option<usize>, out: &mut output::Output) -> Result<()> {
    let sequences = job.mixed.sequences()?;
    let (mut first, mut any, mut rows) = (0, 0, Vec::new());
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
        first += usize::from(said.first() == Some(&right));
        any += usize::from(said.contains(&right));
        rows.push(json!({ "right": right, "said": said }));
    }
    job.finish();
    let share = |count: usize| count as f64 / cases.len() as f64;
    if job.args.model.json {
        return out.json(&json!({
            "examples": cases.len(), "first": share(first), "any_of": TOP, "any": share(any), "answers": rows,
        }));
    }
    let percent = |count: usize| format!("{:.1} %", 100.0 * share(count));
    let any_of = format!("any of {TOP} that are drawn");
    out.table(
        &[&format!("{} held-out examples", cases.len()), "exactly right"],
        &[vec!["the first that is drawn".into(), percent(first)], vec![any_of, percent(any)]],
    )
}
