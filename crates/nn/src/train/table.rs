//! Numbers by step, as CSV files that a run appends to.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Numbers, TrainError, files};

/// A CSV file whose first column is the step.
#[derive(Debug)]
pub(super) struct Table {
    path: PathBuf,
    file: Option<File>,
}

impl Table {
    /// The table at this place, without the rows after `step`: those steps are made again.
    pub(super) fn open(path: PathBuf, step: u64) -> Result<Self, TrainError> {
        let cut = || -> io::Result<Option<File>> {
            let text = match std::fs::read_to_string(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                text => text?,
            };
            let kept = |line: &&str| {
                let number = line.split(',').next().and_then(|number| number.parse::<u64>().ok());
                line.ends_with('\n') && number.is_none_or(|number| number <= step)
            };
            let rows: String = text.split_inclusive('\n').filter(kept).collect();
            if rows != text {
                files::replace(&path, rows.as_bytes())?;
            }
            if rows.is_empty() { Ok(None) } else { File::options().append(true).open(&path).map(Some) }
        };
        match cut() {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(TrainError::File { path, source }),
        }
    }

    /// Adds a row; the first brings the names of its columns.
    pub(super) fn add(&mut self, step: u64, numbers: &Numbers) -> Result<(), TrainError> {
        let mut text = String::new();
        let file = match &mut self.file {
            Some(file) => Ok(file),
            none => {
                text = numbers.iter().fold("step".into(), |names: String, (name, _)| names + "," + name) + "\n";
                File::create(&self.path).map(|file| none.insert(file))
            }
        };
        let _ = write!(text, "{step}"); // to a string: never fails
        numbers.iter().for_each(|(_, number)| {
            let _ = write!(text, ",{}", Rounded(*number));
        });
        text.push('\n');
        let written = file.and_then(|file| file.write_all(text.as_bytes()));
        written.map_err(|source| TrainError::File { path: self.path.clone(), source })
    }
}

/// Six digits, or more before the point.
struct Rounded(f64);

impl std::fmt::Display for Rounded {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self.0 {
            value if value == value.trunc() && value.abs() < 1e15 => write!(f, "{value}"),
            value if value.abs() >= 1.0 => write!(f, "{value:.5}"),
            value if value.abs() >= 1e-4 => write!(f, "{value:.8}"),
            value => write!(f, "{value:.5e}"),
        }
    }
}

/// The mean of numbers since it was last asked for.
#[derive(Debug, Default)]
pub(super) struct Mean {
    sums: Numbers,
    count: usize,
}

impl Mean {
    pub(super) fn add(&mut self, numbers: &Numbers) {
        if self.count == 0 {
            self.sums.clone_from(numbers);
        } else {
            self.sums.iter_mut().zip(numbers).for_each(|((_, sum), (_, number))| *sum += number);
        }
        self.count += 1;
    }

    /// Nothing if nothing was added.
    pub(super) fn take(&mut self) -> Option<Numbers> {
        let (sums, count) = (std::mem::take(&mut self.sums), std::mem::take(&mut self.count));
        (count > 0).then(|| sums.into_iter().map(|(name, sum)| (name, sum / count as f64)).collect())
    }
}

/// The rows of a table, by the names of its columns: for plots.
///
/// # Errors
/// [`TrainError::File`]. Cells that are no numbers are NaN.
pub fn read(path: &Path) -> Result<(Vec<String>, Vec<Vec<f64>>), TrainError> {
    let text = std::fs::read_to_string(path).map_err(|source| TrainError::File { path: path.to_path_buf(), source })?;
    let mut lines = text.lines();
    let names = lines.next().unwrap_or_default().split(',').map(str::to_owned).collect();
    let rows = lines.map(|line| line.split(',').map(|cell| cell.parse().unwrap_or(f64::NAN)).collect()).collect();
    Ok((names, rows))
}
