//! The loop.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::checkpoint::{self, Manifest};
use super::files::Lock;
use super::order::Order;
use super::table::{Mean, Table};
use super::{End, Event, Numbers, Plan, Step, Task, TrainError};

/// Trains in the folder `out`, from its last whole checkpoint if it has one, until all steps are made or `cancel` is set.
///
/// `recipe` is what must be the same for a run to go on, as text of a few lines.
///
/// # Errors
/// [`TrainError`]. What was checkpointed stays, and the same call goes on from there.
pub fn run<T: Task>(
    task: &mut T,
    (plan, recipe): (&Plan, &str),
    out: &Path,
    cancel: &AtomicBool,
    watch: &mut dyn FnMut(Event),
) -> Result<End, TrainError> {
    plan.check()?;
    if task.items() == 0 {
        return Err(TrainError::NoItems);
    }
    let checkpoints = out.join("checkpoints");
    fs::create_dir_all(&checkpoints).map_err(|source| TrainError::File { path: checkpoints.clone(), source })?;
    let _lock = Lock::take(out)?;
    checkpoint::sweep(&checkpoints)?;
    let mut at = resume(task, (plan, recipe), out, watch)?;
    let mut losses = Table::open(out.join("loss.csv"), at.step)?;
    let mut scores = Table::open(out.join("scores.csv"), at.step)?;
    let mut order = Order::new(task.items(), plan.seed);
    let (begun, already, resumed) = (Instant::now(), at.seconds, at.step);
    let mut mean = Mean::default();
    while at.step < plan.steps {
        let number = at.step + 1;
        let share = 1.0 / plan.accumulate as f64;
        let step = Step { number, of: plan.steps, rate: plan.rate(number), share, seed: plan.seed };
        let failed = |source| TrainError::Task { step: number, source };
        let mut found = Mean::default();
        for _ in 0..plan.accumulate {
            let batch = order.take(at.position, plan.batch);
            found.add(&task.learn(&batch, &step).map_err(failed)?);
            at.position += plan.batch as u64;
        }
        let found = found.take().unwrap_or_default();
        if let Some((name, value)) = found.iter().find(|(_, value)| !value.is_finite()) {
            return Err(TrainError::Diverged { step: number, name: name.clone(), value: *value });
        }
        task.update(&step).map_err(failed)?;
        mean.add(&found);
        at.step = number;
        let elapsed = begun.elapsed();
        at.seconds = already + elapsed.as_secs_f64();
        let left = elapsed.as_secs_f64() / (number - resumed) as f64 * (plan.steps - number) as f64;
        watch(Event::Stepped { step, losses: &found, left: Duration::from_secs_f64(left) });

        let last = number == plan.steps;
        let every = |steps| last || number.is_multiple_of(steps);
        let epoch = at.position as f64 / task.items() as f64;
        let mut row = |mean: Numbers| {
            let about = [("epoch", epoch), ("seconds", at.seconds), ("rate", step.rate)];
            let about = about.map(|(name, value)| (name.to_owned(), value));
            losses.add(number, &about.into_iter().chain(mean).collect())
        };
        if every(plan.save_every) || every(plan.log_every) {
            mean.take().map_or(Ok(()), &mut row)?;
        }
        if every(plan.evaluate_every) {
            let found = task.evaluate(&step, out).map_err(failed)?;
            scores.add(number, &found)?;
            watch(Event::Evaluated { step, scores: &found });
        }
        let interrupted = cancel.load(Ordering::Relaxed);
        let save = interrupted || every(plan.save_every);
        if save {
            mean.take().map_or(Ok(()), &mut row)?;
        }
        if save {
            let folder = checkpoint::save(&checkpoints, at.clone(), |folder| task.save(folder))?;
            watch(Event::Saved { step: number, folder: &folder });
        }
        if interrupted && !last {
            return Ok(End::Interrupted(number));
        }
    }
    Ok(End::Finished)
}

/// Where the run goes on.
fn resume<T: Task>(
    task: &mut T,
    (plan, recipe): (&Plan, &str),
    out: &Path,
    watch: &mut dyn FnMut(Event),
) -> Result<Manifest, TrainError> {
    let (found, problems) = checkpoint::latest(out)?;
    let Some((manifest, folder)) = found else {
        if !problems.is_empty() {
            return Err(TrainError::AllDamaged(problems));
        }
        return Ok(Manifest {
            format: 0,
            step: 0,
            position: 0,
            seed: plan.seed,
            seconds: 0.0,
            recipe: recipe.into(),
            files: Default::default(),
        });
    };
    problems.into_iter().for_each(|problem| watch(Event::Damaged(problem)));
    if manifest.recipe != recipe {
        let line = |text: &str, number: usize| text.lines().nth(number).unwrap_or("nothing").to_owned();
        let lines = manifest.recipe.lines().count().max(recipe.lines().count());
        let differ = (0..lines).find(|&n| line(&manifest.recipe, n) != line(recipe, n)).unwrap_or(lines);
        let (found, asked) = (line(&manifest.recipe, differ), line(recipe, differ));
        return Err(TrainError::OtherRun { folder: out.to_path_buf(), found, asked });
    }
    task.load(&folder).map_err(|source| TrainError::Task { step: manifest.step, source })?;
    watch(Event::Resumed(manifest.step));
    Ok(Manifest { files: Default::default(), ..manifest })
}
