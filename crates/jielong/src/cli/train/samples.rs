//! What a transformer has learned so far, to be looked at: answers to held-out examples, beside what was held out.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use jielong::mixed::{Ask, Corpus, Example, File, Mixed, TaskConfig};
use jielong_audio::sound::Sound;
use jielong_core::{SamplerConfig, Segment};
use jielong_image::train::grid;
use jielong_nn::train::spread;

use super::super::{files, interrupt};

/// Examples of each task that are answered.
const EACH: usize = 8;
/// Columns of a sheet.
const COLUMNS: usize = 8;
/// Silence between two sounds, in seconds.
const PAUSE: f32 = 0.3;

/// Held-out examples, task by task.
pub struct Samples(Vec<(TaskConfig, Vec<Example>)>);

impl Samples {
    /// Some examples of each task, spread over all that are held out.
    pub fn of(tasks: &[TaskConfig], corpus: &Corpus) -> Self {
        let some = |held_out: &[Example]| -> Vec<Example> { spread(held_out, EACH).cloned().collect() };
        Self(tasks.iter().zip(corpus.held_out_by_task()).map(|(task, all)| (task.clone(), some(all))).collect())
    }

    /// Answers all until the run is interrupted, and writes `samples/TASK-step-N.png`, `.wav` or `.txt` into the folder of the run.
    pub fn write(&self, mixed: &Mixed, step: u64, out: &Path) -> Result<()> {
        let folder = out.join("samples");
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        for (task, examples) in &self.0 {
            let stopped = || interrupt::flag().load(Ordering::Relaxed);
            let answers = examples
                .iter()
                .zip(0..)
                .take_while(|_| !stopped())
                .map(|(example, seed)| Answered::of(mixed, task, example, seed));
            let answers = answers.collect::<Result<Vec<_>>>().with_context(|| format!("task `{}`", task.name))?;
            if stopped() {
                break;
            }
            let path = |ending| folder.join(format!("{}-step-{step:09}.{ending}", task.name));
            match mixed.media.file(mixed.media.vocab.kind(&task.answer.kind)?) {
                File::Picture => {
                    let stacks: Vec<_> = answers.iter().map(|answer| answer.pictures(mixed)).collect::<Result<_>>()?;
                    let Some(sheet) = grid(&stacks, COLUMNS) else { continue };
                    files::write(&path("png"), &sheet.to_png()?)?;
                }
                File::Sound => {
                    let sounds: Vec<_> = answers.iter().map(|answer| answer.sounds(mixed)).collect::<Result<_>>()?;
                    let Some(sound) = after_each_other(sounds.into_iter().flatten()) else { continue };
                    files::write(&path("wav"), &sound.to_wav()?)?;
                }
                File::Record => {
                    let lines: Vec<_> = answers.iter().map(|answer| answer.line(mixed)).collect::<Result<_>>()?;
                    files::write(&path("txt"), lines.concat().as_bytes())?;
                }
            }
        }
        Ok(())
    }
}

/// An example with the answer of the model.
struct Answered {
    given: Vec<Segment>,
    answer: Segment,
    right: Segment,
}

impl Answered {
    /// Where nothing is given, the first half of what was held out is.
    fn of(mixed: &Mixed, task: &TaskConfig, example: &Example, seed: u64) -> Result<Self> {
        let vocab = &mixed.media.vocab;
        let ask = mixed.ask_as(task, example.prompt.clone())?;
        let right = vocab.split(&example.answer).into_iter().next().context("an example without an answer")?;
        let frame = vocab.kinds()[right.kind].frame();
        let half = if task.prompt.is_empty() { right.values.len() / frame / 2 * frame } else { 0 };
        let sampling = SamplerConfig { seed: Some(seed), ..ask.sampling };
        let max_new_tokens = right.values.len() - half + 1;
        let ask = Ask { begun: right.values[..half].to_vec(), max_new_tokens, sampling, ..ask };
        let answer = mixed.answer(&ask, &mut |_| {})?.segment;
        Ok(Self { given: vocab.split(&example.prompt.tokens), answer, right })
    }

    /// What is given, if it is a picture; what the model draws; what was held out.
    fn pictures(&self, mixed: &Mixed) -> Result<Vec<jielong_image::picture::Picture>> {
        let given = self.given.iter().filter(|given| given.kind == self.right.kind);
        given.chain([&self.answer, &self.right]).map(|segment| mixed.media.picture(segment)).collect()
    }

    /// What the model says, and what was held out.
    fn sounds(&self, mixed: &Mixed) -> Result<Vec<Sound>> {
        let said = [&self.answer, &self.right].into_iter().filter(|segment| !segment.values.is_empty());
        said.map(|segment| mixed.media.sound(segment)).collect()
    }

    /// What the model writes, and what was held out.
    fn line(&self, mixed: &Mixed) -> Result<String> {
        let text = |segment| Ok::<_, anyhow::Error>(mixed.sequences()?.text_of(segment)?.replace(['\t', '\n'], " "));
        Ok(format!("{}\t{}\n", text(&self.answer)?, text(&self.right)?))
    }
}

fn after_each_other(sounds: impl Iterator<Item = Sound>) -> Option<Sound> {
    sounds.reduce(|mut all, sound| {
        all.samples.extend(vec![0.0; (PAUSE * all.rate as f32) as usize]);
        all.samples.extend(sound.samples);
        all
    })
}
