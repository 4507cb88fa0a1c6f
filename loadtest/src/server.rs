//! The server under test, as a process of this machine: started, watched, and what the kernel spends on it.
//!
//! Refuses to know scenarios and the WebSocket protocol. Invariant: a reading that cannot be had is `None` or an error,
//! never a zero. It reads Linux's /proc; elsewhere it compiles and has no readings.

pub mod cpu;
pub mod kernel;
pub mod launch;
pub mod machine;
pub mod process;
pub mod slabs;
pub mod sockets;

use std::fs;
use std::io;

/// A file of /proc as text; `None` when it, its process or its thread is not there (any more).
///
/// Any other failure is one of ours, such as being out of descriptors, and says nothing about the process.
fn text(path: &str) -> io::Result<Option<String>> {
    match fs::read(path) {
        // A process may call itself anything, UTF-8 or not.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error means that the process or thread has ended: a file opened before that answers ESRCH.
fn is_absence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// The first number on the line `label:` of a text such as /proc/meminfo, in the unit of that line.
fn labelled(text: &str, label: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(label)?.strip_prefix(':')?.split_whitespace().next()?.parse().ok())
}

/// The same in bytes, for lines in `kB`, by which the kernel means 1,024 bytes.
fn labelled_bytes(text: &str, label: &str) -> Option<u64> {
    labelled(text, label)?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_matched_whole() {
        let text = "Name:\tVmRSS\nVmRSSx:\t 1 kB\nVmRSS:\t    1764 kB\nSlab:\nHuge: 18446744073709551615 kB\nBad: -1\n";
        assert_eq!(labelled(text, "VmRSS"), Some(1764));
        assert_eq!(labelled_bytes(text, "VmRSS"), Some(1764 * 1024));
        for absent in ["Vm", "Slab", "Bad", "Name", "None", ""] {
            assert_eq!(labelled(text, absent), None, "{absent:?}");
        }
        assert_eq!(labelled_bytes(text, "Huge"), None, "more bytes than can be counted");
    }

    #[test]
    fn a_file_that_is_not_there_is_no_error() {
        assert!(matches!(text("/proc/0/stat"), Ok(None)));
        assert!(text("/").is_err(), "a directory is not a text");
    }
}
