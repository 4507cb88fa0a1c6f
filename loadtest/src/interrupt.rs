//! The user's Ctrl-C, or the end of the terminal: noticed between two steps of a run, so that servers and workers are ended in good order.
//!
//! Invariant: the first one ends the run with one line; workers leave it to their parent.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tidegate::program::failure::Failure;

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on Ctrl-C, SIGTERM and SIGHUP only leave a note.
pub fn heed() {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Under nohup(1) it is ignored, and stays so.
        if signal == SIGHUP && hangup_ignored() {
            continue;
        }
        // Were it refused, the signal would end the program as it always did.
        let _ = signal_hook::flag::register(signal, Arc::clone(asked));
    }
}

/// Whether we were started with SIGHUP ignored: the lowest bit of that mask (proc_pid_status(5)).
fn hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// # Errors
/// When the user wants the run to end.
pub fn check() -> Result<(), Failure> {
    if ASKED.get().is_some_and(|asked| asked.load(Ordering::Relaxed)) {
        return Err(Failure::refused("interrupted; nothing was measured to the end"));
    }
    Ok(())
}
