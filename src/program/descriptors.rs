//! The process's limit of open descriptors: read it, and raise the soft limit to the hard one.
//!
//! Refuses to know who needs them. Invariant: the soft limit is never lowered, and a refusal of the kernel
//! leaves the program running with what it has.

use std::fs::File;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit before and after an attempt to raise it; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// The soft limit that the program was started with.
    pub before: Option<u64>,
    /// The soft limit now in force.
    pub after: Option<u64>,
}

/// Raises the soft `RLIMIT_NOFILE` to the hard one.
pub fn raise() -> Raised {
    let Rlimit { current: before, maximum } = getrlimit(Resource::Nofile);
    if before != maximum {
        // A kernel that refuses leaves the old limit, which is then what is reported.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
    Raised { before, after: getrlimit(Resource::Nofile).current }
}

/// Makes the kernel's table of this process's descriptors large enough for so many; false when it could not.
///
/// The kernel doubles a full table, and in a process with threads each doubling waits until all processors have left
/// what reads the old one: some 10 ms in which whoever opened the descriptor stands still. A table that has grown stays
/// large.
pub fn make_room(descriptors: u64) -> bool {
    let Ok(highest) = i32::try_from(descriptors.saturating_sub(1)) else { return false };
    // The duplicate gets the lowest number from there on, and is closed at once.
    File::open("/dev/null").is_ok_and(|file| fcntl_dupfd_cloexec(&file, highest).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_up_to_the_limit() {
        let hard = raise().after.unwrap_or(4_096);
        assert!(make_room(hard.min(2_000)));
        assert!(!make_room(u64::MAX));
    }

    #[test]
    fn raising_ends_at_the_hard_limit_and_stays_there() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise().after, hard);
        assert_eq!(raise(), Raised { before: hard, after: hard });
    }
}
