//! Ctrl-C: the first stops what is being generated, the second the program.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code of a program that was interrupted.
pub const INTERRUPTED: i32 = 130;

static FLAG: AtomicBool = AtomicBool::new(false);
static INSTALLED: OnceLock<()> = OnceLock::new();

/// The flag that Ctrl-C sets. The first call takes the signal over.
pub fn flag() -> &'static AtomicBool {
    INSTALLED.get_or_init(|| {
        let handler = || {
            if FLAG.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED);
            }
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            eprintln!("warning: Ctrl-C will end the program at once: {error}");
        }
    });
    &FLAG
}
