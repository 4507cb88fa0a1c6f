//! SIGTERM and SIGINT: the first asks the loop to shut down gracefully, the second ends the process. SIGHUP, where TLS is
//! spoken: the certificates are read again.
//!
//! Refuses to know how the loop shuts down. Invariant: there is no thread that waits for signals. In a process that has ever
//! had a second thread, glibc does more in each system call that could be cancelled, such as recv(2) and send(2).

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::{io, thread};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};
use tidegate::Handle;
use tidegate::program::failure::{Failure, complain};

use super::tls;
use crate::NAME;
use crate::settings::tls::Source;

/// Exit code of a second signal: connections were cut.
const CUT: i32 = 1;

/// The signals that have come and were not obeyed yet.
pub struct Signals {
    handle: Handle,
    source: Option<Source>,
    end: Arc<AtomicBool>,
    renew: Arc<AtomicBool>,
    /// Readable when one has come.
    bell: UnixStream,
    ending: bool,
    /// The thread that reads certificates, one at a time.
    reading: Option<JoinHandle<()>>,
}

impl Signals {
    /// Starts to heed signals; `source` is where certificates come from. Without TLS, SIGHUP does what it does to any program.
    ///
    /// # Errors
    /// When the kernel grants no signal handler.
    pub fn heed(handle: Handle, source: Option<Source>) -> Result<Self, Failure> {
        let refused = |error| Failure::refused(format!("cannot wait for signals: {error}"));
        let (bell, button) = UnixStream::pair().map_err(refused)?;
        bell.set_nonblocking(true).map_err(refused)?;
        let (end, renew) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let heed = |signal, flag: &Arc<AtomicBool>| -> io::Result<()> {
            // In this order: who is woken finds the flag.
            flag::register(signal, Arc::clone(flag))?;
            pipe::register(signal, button.try_clone()?).map(drop)
        };
        heed(SIGTERM, &end).and_then(|()| heed(SIGINT, &end)).map_err(refused)?;
        if source.is_some() {
            heed(SIGHUP, &renew).map_err(refused)?;
        }
        Ok(Signals { handle, source, end, renew, bell, ending: false, reading: None })
    }

    /// Does what the signals ask for that have come since the last time; `open` tells the number of connections.
    pub fn obey(&mut self, open: impl FnOnce() -> u64) {
        // First the bell, then the flags: one that comes between is obeyed now, and rings for nothing later.
        self.hush();
        if self.renew.swap(false, Ordering::Relaxed) {
            self.renew();
        }
        // Two of them in one turn are one, as a terminal and timeout(1) send both to a process and to its group.
        if !self.end.swap(false, Ordering::Relaxed) {
            return;
        }
        if self.ending {
            complain(NAME, "stopped at once; connections still open were cut");
            std::process::exit(CUT);
        }
        self.ending = true;
        complain(NAME, goodbye(open()));
        if let Err(error) = self.handle.shutdown() {
            complain(NAME, format!("cannot shut down gracefully: {error}; signal again to stop at once"));
        }
    }

    /// Takes what rang. Were it left, a full socket would ring no more.
    fn hush(&mut self) {
        while self.bell.read(&mut [0; 64]).is_ok_and(|len| len > 0) {}
    }

    /// Reads the certificates again, on a thread of its own: files may be slow.
    fn renew(&mut self) {
        if self.reading.as_ref().is_some_and(|reading| !reading.is_finished()) {
            return complain(NAME, "certificates are still being read; signal again when they have been");
        }
        let (handle, source) = (self.handle.clone(), self.source.clone());
        let reading = thread::Builder::new().name("certificates".into());
        match reading.spawn(move || reload(&handle, source.as_ref())) {
            Ok(reading) => self.reading = Some(reading),
            Err(error) => {
                complain(NAME, format!("certificates stay as they are: no thread to read them: {error}"))
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
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
