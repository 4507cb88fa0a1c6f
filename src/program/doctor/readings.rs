//! The limits of this machine as numbers, read from the process and from `/proc` and `/sys`.
//!
//! Refuses to judge them. Invariant: what cannot be read is `None`, never a guess, and no file is read
//! beyond `FILE_MAX` bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::process::{Resource, getrlimit};

/// Bytes of a file under `/proc`; the ones read here are far smaller.
const FILE_MAX: u64 = 64 * 1024;

/// What the machine says; unlimited is `u64::MAX`, unreadable is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// `RLIMIT_NOFILE`, soft.
    pub nofile_soft: Option<u64>,
    /// `RLIMIT_NOFILE`, hard.
    pub nofile_hard: Option<u64>,
    /// `fs.nr_open`: the highest that `RLIMIT_NOFILE` can be raised to.
    pub nr_open: Option<u64>,
    /// `fs.file-max`: open files of the whole machine.
    pub file_max: Option<u64>,
    /// Open files of the whole machine now.
    pub files_in_use: Option<u64>,
    /// `fs.epoll.max_user_watches`: descriptors in the epoll sets of one user.
    pub epoll_watches: Option<u64>,
    /// `net.core.somaxconn`.
    pub somaxconn: Option<u64>,
    /// `net.ipv4.ip_local_port_range`, first and last.
    pub ports: Option<(u64, u64)>,
    /// `net.ipv4.tcp_mem`, the third number: pages of all TCP buffers.
    pub tcp_mem_pages: Option<u64>,
    /// Bytes of a page.
    pub page_bytes: Option<u64>,
    /// `net.netfilter.nf_conntrack_max`; `None` also when nothing is tracked.
    pub conntrack_max: Option<u64>,
    /// Tracked connections now.
    pub conntrack_in_use: Option<u64>,
    /// `MemAvailable`, in bytes.
    pub memory_available: Option<u64>,
    /// What is left of the control group's `memory.max`, in bytes; `None` also when there is no limit.
    pub cgroup_left: Option<u64>,
}

impl Readings {
    /// Asks this machine.
    pub fn of_this_machine() -> Self {
        let nofile = getrlimit(Resource::Nofile);
        Readings {
            nofile_soft: Some(nofile.current.unwrap_or(u64::MAX)),
            nofile_hard: Some(nofile.maximum.unwrap_or(u64::MAX)),
            nr_open: number("/proc/sys/fs/nr_open", 0),
            file_max: number("/proc/sys/fs/file-max", 0),
            files_in_use: number("/proc/sys/fs/file-nr", 0),
            epoll_watches: number("/proc/sys/fs/epoll/max_user_watches", 0),
            somaxconn: number("/proc/sys/net/core/somaxconn", 0),
            ports: number("/proc/sys/net/ipv4/ip_local_port_range", 0)
                .zip(number("/proc/sys/net/ipv4/ip_local_port_range", 1)),
            tcp_mem_pages: number("/proc/sys/net/ipv4/tcp_mem", 2),
            page_bytes: u64::try_from(rustix::param::page_size()).ok(),
            conntrack_max: number("/proc/sys/net/netfilter/nf_conntrack_max", 0),
            conntrack_in_use: number("/proc/sys/net/netfilter/nf_conntrack_count", 0),
            memory_available: content("/proc/meminfo").and_then(|text| memory_available(&text)),
            cgroup_left: content("/proc/self/cgroup").and_then(|text| cgroup_left(&text)),
        }
    }
}

fn content(path: impl AsRef<Path>) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(FILE_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

fn number(path: impl AsRef<Path>, at: usize) -> Option<u64> {
    content(path)?.split_whitespace().nth(at)?.parse().ok()
}

fn memory_available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The tightest of the limits from our own group up to the root.
fn cgroup_left(cgroup: &str) -> Option<u64> {
    let own = unified_group(cgroup)?;
    Path::new(own)
        .ancestors()
        .filter_map(|group| {
            let folder = Path::new("/sys/fs/cgroup").join(group.strip_prefix("/").ok()?);
            let max = number(folder.join("memory.max"), 0)?;
            Some(max.saturating_sub(number(folder.join("memory.current"), 0)?))
        })
        .min()
}

/// Our group in the second version's hierarchy; the first version's controllers are not asked.
fn unified_group(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo() {
        let table = [
            ("MemTotal:  24684096 kB\nMemAvailable:   24309720 kB\n", Some(24_309_720 * 1024)),
            ("MemTotal:  24684096 kB\n", None),
            ("MemAvailable:  lots kB\n", None),
            ("MemAvailable:  18446744073709551615 kB\n", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(memory_available(text), expected, "{text:?}");
        }
    }

    #[test]
    fn groups() {
        assert_eq!(unified_group("9:memory:/x\n0::/user.slice/a.scope\n"), Some("/user.slice/a.scope"));
        assert_eq!(unified_group("9:memory:/x\n"), None);
    }

    #[test]
    fn what_is_not_there_is_none() {
        assert_eq!(content("/nonexistent"), None);
        assert_eq!(number("/nonexistent", 0), None);
    }
}
