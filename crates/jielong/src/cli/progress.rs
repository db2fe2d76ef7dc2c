//! Progress on standard error, with the time left; only where a person sees it.

use std::io::IsTerminal;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use jielong::sources::Progress;

use super::Global;

fn visible(global: &Global) -> bool {
    !global.quiet && std::io::stderr().is_terminal()
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Reading a long prompt. Nothing is shown for one that is read at once.
pub struct Prefill {
    bar: Option<ProgressBar>,
    visible: bool,
    total: usize,
}

/// Prompts that are worth a bar.
const LONG: usize = 1024;

impl Prefill {
    pub fn new(global: &Global, total: usize) -> Self {
        Self { bar: None, visible: visible(global), total }
    }

    /// So many tokens of the prompt are read.
    pub fn advance(&mut self, done: usize) {
        self.advance_of(done, self.total);
    }

    /// The same, of a total that is known now.
    pub fn advance_of(&mut self, done: usize, total: usize) {
        self.total = total;
        if !self.visible || total < LONG || done >= total {
            return self.finish();
        }
        let bar = self.bar.get_or_insert_with(|| {
            ProgressBar::new(total as u64).with_style(style("reading {bar:30} {pos}/{len} tokens, {eta} left"))
        });
        bar.set_position(done as u64);
    }

    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Bytes of a work of which the length is known once it has begun.
pub struct Bytes {
    bar: Option<ProgressBar>,
    visible: bool,
    what: &'static str,
}

impl Bytes {
    pub fn new(global: &Global, what: &'static str) -> Self {
        Self { bar: None, visible: visible(global), what }
    }

    /// So many bytes are done, of so many.
    pub fn advance_of(&mut self, done: u64, total: u64) {
        if !self.visible {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| bytes_bar(self.what, total));
        bar.set_position(done);
    }

    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn bytes_bar(what: &str, total: u64) -> ProgressBar {
    ProgressBar::new(total)
        .with_style(style("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left"))
        .with_message(what.to_owned())
}

/// A bar for training, where it is seen; what is left is in its message, for its own guess would count what an earlier process
/// did.
pub fn training(global: &Global) -> Option<ProgressBar> {
    visible(global).then(|| ProgressBar::new(0).with_style(style("{bar:30} {pos}/{len} steps, {msg}")))
}

/// A bar for so many of these, where it is seen.
pub fn counted(global: &Global, count: usize, what: &str) -> Option<ProgressBar> {
    let style = style(&format!("{{bar:30}} {{pos}}/{{len}} {what}, {{eta}} left"));
    visible(global).then(|| ProgressBar::new(count as u64).with_style(style))
}

/// Fetching a model.
pub struct Fetch {
    bar: Mutex<Option<ProgressBar>>,
    visible: bool,
    quiet: bool,
}

impl Fetch {
    pub fn new(global: &Global) -> Self {
        Self { bar: Mutex::new(None), visible: visible(global), quiet: global.quiet }
    }

    fn with(&self, act: impl FnOnce(&mut Option<ProgressBar>)) {
        match self.bar.lock() {
            Ok(mut bar) => act(&mut bar),
            Err(poisoned) => act(&mut poisoned.into_inner()),
        }
    }
}

impl Progress for Fetch {
    fn start(&self, what: &str, bytes: Option<u64>) {
        if !self.visible {
            if !self.quiet {
                let size = bytes.map_or(String::new(), |n| format!(" ({})", super::output::bytes(n)));
                eprintln!("fetching {what}{size}");
            }
            return;
        }
        let bar = match bytes {
            Some(bytes) => bytes_bar(what, bytes),
            None => ProgressBar::new_spinner()
                .with_style(style("{msg} {spinner} {bytes} {bytes_per_sec}"))
                .with_message(what.to_owned()),
        };
        self.with(|place| *place = Some(bar));
    }

    fn count(&self, what: &str, things: u64) {
        if !self.visible {
            if !self.quiet {
                eprintln!("making {what} ({things})");
            }
            return;
        }
        let bar = ProgressBar::new(things).with_style(style("{msg} {bar:30} {pos}/{len}, {eta} left"));
        bar.set_message(what.to_owned());
        self.with(|place| *place = Some(bar));
    }

    fn advance(&self, bytes: u64) {
        self.with(|bar| {
            if let Some(bar) = bar {
                bar.set_position(bytes);
            }
        });
    }

    fn finish(&self) {
        self.with(|bar| {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
            }
        });
    }

    fn note(&self, text: &str) {
        if !self.quiet {
            self.with(|bar| match bar {
                Some(bar) => bar.println(text),
                None => eprintln!("{text}"),
            });
        }
    }
}
