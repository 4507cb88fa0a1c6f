//! SIGTERM and SIGINT: the first asks the loop to shut down gracefully, the second ends the process.
//!
//! Refuses to know how the loop shuts down. Invariant: a thread that sleeps in the kernel until a signal
//! comes, so that the loop itself never looks for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidegate::Handle;
use tidegate::program::failure::{Failure, complain};

use crate::NAME;

/// Exit code of a second signal: connections were cut.
const CUT: i32 = 1;

/// Starts to heed signals; `open` is the number of connections to tell the user.
///
/// # Errors
/// When the kernel grants no signal handler or no thread.
pub fn heed(handle: Handle, open: Arc<AtomicU64>) -> Result<(), Failure> {
    let refused = |error| Failure::refused(format!("cannot wait for signals: {error}"));
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(refused)?;
    let wait = move || {
        let mut asked = false;
        for _ in signals.forever() {
            if asked {
                complain(NAME, "stopped at once; connections still open were cut");
                std::process::exit(CUT);
            }
            asked = true;
            complain(NAME, goodbye(open.load(Ordering::Relaxed)));
            if let Err(error) = handle.shutdown() {
                complain(NAME, format!("cannot shut down gracefully: {error}; signal again to stop at once"));
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map(drop).map_err(refused)
}

fn goodbye(open: u64) -> String {
    let connections = if open == 1 { "connection" } else { "connections" };
    format!("shutting down: telling {open} {connections} to go away (signal again to stop at once)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goodbye_counts_properly() {
        for (open, part) in
            [(0, "telling 0 connections to"), (1, "telling 1 connection to"), (2, "telling 2 connections to")]
        {
            assert!(goodbye(open).contains(part));
        }
    }
}
