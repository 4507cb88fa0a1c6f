//! The process's limit of open descriptors: read it, and raise the soft limit to the hard one.
//!
//! Refuses to know who needs them. Invariant: the soft limit is never lowered, and a refusal of the kernel
//! leaves the program running with what it has.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_ends_at_the_hard_limit_and_stays_there() {
        let hard = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise().after, hard);
        assert_eq!(raise(), Raised { before: hard, after: hard });
    }
}
