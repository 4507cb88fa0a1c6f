//! SIGTERM and SIGINT: the first asks the loop to shut down gracefully, the second ends the process. SIGHUP, where TLS is
//! spoken: the certificates are read again.
//!
//! Refuses to know how the loop shuts down. Invariant: a thread that sleeps in the kernel until a signal
//! comes, so that the loop itself never looks for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidegate::Handle;
use tidegate::program::failure::{Failure, complain};

use super::tls;
use crate::NAME;
use crate::settings::tls::Source;

/// Exit code of a second signal: connections were cut.
const CUT: i32 = 1;

/// Starts to heed signals; `open` is the number of connections to tell the user, `source` where certificates come from.
/// Without TLS, SIGHUP does what it does to any program.
///
/// # Errors
/// When the kernel grants no signal handler or no thread.
pub fn heed(handle: Handle, open: Arc<AtomicU64>, source: Option<Source>) -> Result<(), Failure> {
    let refused = |error| Failure::refused(format!("cannot wait for signals: {error}"));
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(refused)?;
    if source.is_some() {
        signals.add_signal(SIGHUP).map_err(refused)?;
    }
    let wait = move || {
        let mut asked = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                reload(&handle, source.as_ref());
                continue;
            }
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

fn reload(handle: &Handle, source: Option<&Source>) {
    let files = match source {
        Some(files @ Source::Files { .. }) => files,
        _ => return complain(NAME, "the certificate was made at the start; there is no file to read again"),
    };
    let reloaded = tls::load(files).map_err(|failure| failure.to_string()).and_then(|tls| {
        let (lines, warnings) = (tls::lines(&tls), tls::warnings(&tls));
        handle.reload_tls(tls).map_err(|error| format!("{error}; signal again"))?;
        Ok((lines, warnings))
    });
    match reloaded {
        Err(error) => complain(NAME, format!("certificates stay as they are: {error}")),
        Ok((lines, warnings)) => {
            complain(NAME, format!("certificates read again: {}", lines.join("; ")));
            warnings.iter().for_each(|warning| complain(NAME, format!("warning: {warning}")));
        }
    }
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
