//! A model in several files, as `gguf-split` writes them.
//!
//! Each is a GGUF file of its own: `split.no` counts from 0, `split.count` is the number of files, `split.tensors.count` that
//! of all tensors. The metadata of the model is in the first.

use std::path::{Path, PathBuf};

use jielong_nn::weights::WeightsError;

use super::{Gguf, GgufError};

/// The most files, by the five digits of their names.
const MOST: u64 = 99_999;

/// Adds the tensors of all other files to the first. A model that is not split is left as it is.
pub(super) fn join(first: &mut Gguf) -> Result<(), GgufError> {
    let count = first.u64("split.count")?.unwrap_or(0);
    if count <= 1 {
        return Ok(());
    }
    let path = first.path.clone();
    let damaged = |problem: String| WeightsError::damaged(&path, problem);
    if count > MOST {
        return Err(damaged(format!("`split.count` is {count}, at most {MOST} files can be")).into());
    }
    let number = number(first)?;
    let Some(stem) = stem(&path, number, count) else {
        let problem = format!(
            "is part {} of {count} of a model, its name does not end in -{:05}-of-{count:05}.gguf",
            number.saturating_add(1),
            number.saturating_add(1)
        );
        return Err(damaged(problem).into());
    };
    if number != 0 {
        let first = name(&path, &stem, 0, count);
        return Err(damaged(format!("is part {} of {count}; open the first, {}", number + 1, first.display())).into());
    }
    let mut problems = Vec::new();
    for number in 1..count {
        match part(&name(&path, &stem, number, count), number, count) {
            Err(error) => problems.push(error.to_string()),
            Ok(part) => {
                for view in part.weights.iter() {
                    if let Err(view) = first.weights.insert(view.clone()) {
                        problems.push(format!("`{}` is there twice, also in {}", view.name(), part.path.display()));
                    }
                }
            }
        }
    }
    let found = first.weights.iter().count() as u64;
    let claimed = first.u64("split.tensors.count")?;
    if let Some(claimed) = claimed.filter(|&claimed| problems.is_empty() && claimed != found) {
        problems.push(format!("`split.tensors.count` is {claimed}, the {count} files hold {found} tensors"));
    }
    if problems.is_empty() { Ok(()) } else { Err(WeightsError::Damaged { path, problems }.into()) }
}

/// Opens another part, which has to say that it is this one.
fn part(path: &Path, expected: u64, count: u64) -> Result<Gguf, GgufError> {
    let part = Gguf::open_one(path)?;
    let (found, of) = (number(&part)?, part.u64("split.count")?.unwrap_or(0));
    if (found, of) != (expected, count) {
        let problem = format!("`split.no` {found} of `split.count` {of}, expected {expected} of {count}");
        return Err(WeightsError::damaged(path, problem).into());
    }
    Ok(part)
}

fn number(part: &Gguf) -> Result<u64, GgufError> {
    Ok(part.u64("split.no")?.unwrap_or(0))
}

/// What the names of all parts begin with.
fn stem(path: &Path, number: u64, count: u64) -> Option<String> {
    let number = number.checked_add(1)?;
    let stem = path.file_name()?.to_str()?.strip_suffix(&format!("-{number:05}-of-{count:05}.gguf"))?;
    Some(stem.into())
}

/// The path of part `number`, counted from 0.
fn name(first: &Path, stem: &str, number: u64, count: u64) -> PathBuf {
    first.with_file_name(format!("{stem}-{:05}-of-{count:05}.gguf", number + 1))
}
