//! What a user sees of a run.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use jielong_image::plot::{Curve, lines};
use jielong_nn::train::{Event, Numbers, Plan, read_table};
use serde_json::{Value, json};

use super::super::{Global, files, output, progress};

/// What a user sees of a run.
pub struct Report<'a> {
    out: &'a Path,
    json: bool,
    quiet: bool,
    bar: Option<ProgressBar>,
    output: output::Output,
}

impl<'a> Report<'a> {
    pub fn new(global: &Global, json: bool, out: &'a Path) -> Self {
        Self { out, json, quiet: global.quiet, bar: progress::training(global), output: output::Output::new() }
    }

    /// For whoever sits there, not for a pipe.
    pub fn note(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) if !bar.is_finished() => bar.println(text),
            _ => eprintln!("{text}"),
        }
    }

    pub fn event(&mut self, event: Event, plan: &Plan) -> Result<()> {
        match event {
            Event::Damaged(error) => {
                self.note(&format!("warning: a checkpoint cannot be used, an earlier one is: {error}"));
            }
            Event::Resumed(step) => self.note(&format!("going on after step {step}")),
            Event::Stepped { step, losses, left } => {
                if let Some(bar) = &self.bar {
                    bar.set_length(plan.steps);
                    bar.set_position(step.number);
                    let loss = losses.first().map_or(f64::NAN, |loss| loss.1);
                    bar.set_message(format!("loss {loss:.4}, {} left", duration(left)));
                }
            }
            Event::Evaluated { step, scores } => {
                self.plot("loss")?;
                self.plot("scores")?;
                if self.json {
                    let mut line = json!({ "step": step.number });
                    scores.iter().for_each(|(name, value)| line[name] = (*value).into());
                    self.print(&line.to_string())?;
                } else {
                    self.print(&format!("step {:>7}  {}", step.number, text(scores)))?;
                }
            }
            Event::Saved { .. } => {}
        }
        Ok(())
    }

    fn print(&mut self, line: &str) -> Result<()> {
        let print = |output: &mut output::Output| {
            output.line(line)?;
            output.flush()
        };
        match &self.bar {
            Some(bar) => bar.suspend(|| print(&mut self.output)),
            None => print(&mut self.output),
        }
    }

    /// Draws a table of the run, if it is there yet.
    fn plot(&self, name: &str) -> Result<()> {
        let path = self.out.join(name).with_extension("csv");
        if !path.is_file() {
            return Ok(());
        }
        let (names, rows) = read_table(&path)?;
        let about = ["step", "epoch", "seconds", "rate", "perplexity"];
        let columns = names.iter().enumerate().filter(|(_, name)| !about.contains(&name.as_str()));
        let curve = |(column, name): (usize, &String)| {
            let points = rows.iter().filter_map(|row| Some([*row.first()?, *row.get(column)?])).collect();
            Curve { name: name.clone(), points }
        };
        let plot = lines(&format!("{name} by step"), &columns.map(curve).collect::<Vec<_>>());
        files::write(&path.with_extension("png"), &plot.to_png()?)
    }

    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    pub fn end(&mut self, what: &str, scores: Option<Value>, folder: &Path) -> Result<()> {
        let model = folder.join("model.safetensors");
        let bytes = std::fs::metadata(&model).with_context(|| model.display().to_string())?.len();
        if self.json {
            let line = json!({ what: folder, "bytes": bytes, "score": scores.unwrap_or(Value::Null) });
            return self.print(&line.to_string());
        }
        self.print(&format!("{what}: {} ({})", folder.display(), output::bytes(bytes)))
    }
}

fn text(scores: &Numbers) -> String {
    let one = |(name, value): &(String, f64)| match name.as_str() {
        "psnr" => format!("PSNR {value:.2} dB"),
        "ssim" => format!("SSIM {value:.4}"),
        "stoi" | "estoi" => format!("{} {value:.3}", name.to_uppercase()),
        "mel" => format!("mel distance {value:.3}"),
        "usage" => format!("codes used {:.1} %", 100.0 * value),
        "perplexity" => format!("perplexity {value:.1}"),
        "accuracy" | "preferred" => format!("{name} {:.1} %", 100.0 * value),
        _ => format!("{name} {value:.3}"),
    };
    scores.iter().map(one).collect::<Vec<_>>().join("  ")
}

/// Hours and minutes, or minutes and seconds.
fn duration(left: Duration) -> String {
    let seconds = left.as_secs();
    match seconds {
        3600.. => format!("{} h {:02} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}
