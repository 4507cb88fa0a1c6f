//! The user's Ctrl-C: noticed between two steps of a run, so that servers and workers are ended in good order.
//!
//! Invariant: the first one ends the run with one line; workers leave it to their parent.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use tidegate::program::failure::Failure;

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on Ctrl-C and SIGTERM only leave a note.
pub fn heed() {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        // Were it refused, the signal would end the program as it always did.
        let _ = signal_hook::flag::register(signal, Arc::clone(asked));
    }
}

/// # Errors
/// When the user wants the run to end.
pub fn check() -> Result<(), Failure> {
    if ASKED.get().is_some_and(|asked| asked.load(Ordering::Relaxed)) {
        return Err(Failure::refused("interrupted; nothing was measured to the end"));
    }
    Ok(())
}
