//! Printing: to a pipe that may close, with colours only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use anyhow::{Context, Result};
use jielong_image::picture::{Filter, Picture};

static COLOR: OnceLock<bool> = OnceLock::new();

/// Fixes whether colours are used; `None` decides by the terminal and `NO_COLOR`.
pub fn set_color(always: Option<bool>) {
    let by_terminal = || io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let _ = COLOR.set(always.unwrap_or_else(by_terminal)); // set once, at the start
}

fn color() -> bool {
    COLOR.get().copied().unwrap_or(false)
}

/// Whether an error only says that the reader of our output has gone.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

/// An error with its causes, each said once: many texts end with their cause already.
pub fn explained(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Standard output.
pub struct Output(io::Stdout);

impl Output {
    pub fn new() -> Self {
        Self(io::stdout())
    }

    /// Prints text as it is, at once.
    pub fn print(&mut self, text: &str) -> Result<()> {
        self.0.write_all(text.as_bytes()).context("standard output")?;
        self.flush()
    }

    /// Prints a line.
    pub fn line(&mut self, text: &str) -> Result<()> {
        writeln!(self.0, "{text}").context("standard output")
    }

    /// Prints text that is not the point, such as what a template adds.
    pub fn dim(&mut self, text: &str) -> Result<()> {
        if color() { self.print(&format!("\x1b[2m{text}\x1b[0m")) } else { self.print(text) }
    }

    pub fn flush(&mut self) -> Result<()> {
        self.0.flush().context("standard output")
    }

    /// Prints a JSON value, indented.
    pub fn json(&mut self, value: &serde_json::Value) -> Result<()> {
        self.line(&serde_json::to_string_pretty(value)?)?;
        self.flush()
    }

    /// Shows a picture where colours are used, two pixels a character, at most `columns` wide.
    pub fn picture(&mut self, picture: &Picture, columns: usize) -> Result<()> {
        if !color() {
            return Ok(());
        }
        let columns = columns.min(picture.width);
        let height = (picture.height * columns).div_ceil(picture.width.max(1)).max(1);
        let small = picture.resize(columns, height + height % 2, Filter::Area)?;
        let mut text = String::new();
        for rows in small.rgb.chunks_exact(6 * columns) {
            let (upper, lower) = rows.split_at(3 * columns);
            for (above, below) in upper.as_chunks::<3>().0.iter().zip(lower.as_chunks::<3>().0) {
                let [[r, g, b], [s, h, c]] = [above, below];
                text.push_str(&format!("\x1b[38;2;{r};{g};{b}m\x1b[48;2;{s};{h};{c}m▀"));
            }
            text.push_str("\x1b[0m\n");
        }
        self.print(&text)
    }

    /// Prints a table whose columns are as wide as they need to be; all but the last are padded.
    pub fn table(&mut self, heads: &[&str], rows: &[Vec<String>]) -> Result<()> {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let line = |cells: &[String]| {
            let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let heads: Vec<String> = heads.iter().map(|h| h.to_string()).collect();
        if !heads.iter().all(String::is_empty) {
            let head = line(&heads);
            self.line(&if color() { format!("\x1b[1m{head}\x1b[0m") } else { head })?;
        }
        rows.iter().try_for_each(|row| self.line(&line(row)))?;
        self.flush()
    }
}

/// A bar for a share between 0 and 1, at most 20 characters.
pub fn bar(share: f64) -> String {
    let eighths = (share.clamp(0.0, 1.0) * 160.0).round() as usize;
    let mut bar = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        bar.extend(char::from_u32(0x2590 - (eighths % 8) as u32));
    }
    bar
}

/// Bytes in a unit that reads well.
pub fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", n as f64 / 1_048_576.0),
        1_073_741_824..1_099_511_627_776 => format!("{:.2} GiB", n as f64 / 1_073_741_824.0),
        1_099_511_627_776..1_125_899_906_842_624 => format!("{:.2} TiB", n as f64 / 1_099_511_627_776.0),
        _ => format!("{:.2} PiB", n as f64 / 1_125_899_906_842_624.0),
    }
}

/// A whole number with its thousands apart.
pub fn count(n: u128) -> String {
    let digits = n.to_string();
    let parts: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|part| str::from_utf8(part).ok()).collect();
    parts.join(" ")
}

/// A number with a prefix of the SI, from 1 to 999 and a letter.
pub fn si(value: f64) -> String {
    const PREFIXES: [&str; 9] = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
    let step = if value >= 1000.0 { ((value.log10() / 3.0) as usize).min(PREFIXES.len() - 1) } else { 0 };
    let short = value / 1000f64.powi(step as i32);
    let places = if short >= 100.0 || step == 0 && short.fract() == 0.0 { 0 } else { 1 };
    format!("{short:.places$} {}", PREFIXES[step]).trim_end().to_owned()
}

/// A time in a unit that reads well.
pub fn duration(seconds: f64) -> String {
    const UNITS: [(f64, &str); 6] =
        [(1e-6, "µs"), (1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h"), (86_400.0, "days")];
    const YEAR: f64 = 31_557_600.0; // Julian
    if seconds >= 2.0 * YEAR {
        return format!("{:.1} years", seconds / YEAR);
    }
    let fits = |(unit, _): &&(f64, &str)| seconds >= *unit;
    let (unit, name) = UNITS.iter().rev().find(fits).unwrap_or(&UNITS[0]);
    format!("{:.1} {name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let cause = || io::Error::other("no such file");
        let error = anyhow::Error::new(cause()).context("a.toml: no such file").context("codec");
        assert_eq!(explained(&error), "codec: a.toml: no such file");
        assert_eq!(explained(&anyhow::Error::new(cause()).context("a.toml")), "a.toml: no such file");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 12, 4096, 1_048_576].map(count), ["0", "12", "4 096", "1 048 576"]);
        assert_eq!([0.0, 12.0, 2.5, 4096.0, 3.25e13, 1e18].map(si), ["0", "12", "2.5", "4.1 k", "32.5 T", "1.0 E"]);
        let times = [2e-5, 0.0125, 3.0, 90.0, 7200.0, 200_000.0, 1e9].map(duration);
        assert_eq!(times, ["20.0 µs", "12.5 ms", "3.0 s", "1.5 min", "2.0 h", "2.3 days", "31.7 years"]);
        assert_eq!([1 << 30, 3 << 40, 5 << 50].map(bytes), ["1.00 GiB", "3.00 TiB", "5.00 PiB"]);
    }
}
