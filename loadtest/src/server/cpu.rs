//! Our own side of the machine: CPU time, delay and memory of the generator, the common clock, and pinning.
//!
//! Refuses to know what the figures are judged against. Invariant: `monotonic_ns` is one clock for all processes of
//! the machine, so that stamps of several workers can be compared.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::{labelled_bytes, text};

/// CPU time of this thread, user and system, to the nanosecond.
pub fn thread_cpu() -> Duration {
    read(ClockId::ThreadCPUTime)
}

/// How long this thread has been ready to run and waited for a CPU, to the nanosecond.
///
/// It is the part of an event loop's lateness that is the machine's doing. `None` where the kernel keeps no such
/// account (`CONFIG_SCHED_INFO`).
pub fn thread_wait() -> Option<Duration> {
    waited(&text("/proc/thread-self/schedstat").ok()??)
}

/// Nanoseconds of `CLOCK_MONOTONIC`: the same in all processes of this machine, and never set back.
pub fn monotonic_ns() -> u64 {
    u64::try_from(read(ClockId::Monotonic).as_nanos()).unwrap_or(u64::MAX)
}

/// Anonymous memory of a process in bytes, to the page: its heaps and stacks, without files and shared memory.
pub fn process_rss_anon(pid: u32) -> Option<u64> {
    labelled_bytes(&text(&format!("/proc/{pid}/smaps_rollup")).ok()??, "Anonymous")
}

/// Lets this thread, and those that it starts from now on, run on one CPU only.
pub fn pin_this_thread(cpu: usize) -> Result<(), String> {
    pin_this_thread_to(&[cpu])
}

/// Lets this thread, and what it starts from now on, threads and processes, run on these CPUs only.
#[cfg(target_os = "linux")]
pub fn pin_this_thread_to(cpus: &[usize]) -> Result<(), String> {
    use rustix::thread::{CpuSet, sched_setaffinity};

    let mut set = CpuSet::new();
    for &cpu in cpus {
        if cpu >= CpuSet::MAX_CPU {
            return Err(format!(
                "CPU {cpu} is beyond the {} that can be named; take one of 0 to {}",
                CpuSet::MAX_CPU,
                CpuSet::MAX_CPU - 1
            ));
        }
        set.set(cpu);
    }
    sched_setaffinity(None, &set).map_err(|error| {
        format!(
            "cannot run on CPU {}: {error}; see /sys/devices/system/cpu/online and `taskset -p $$`",
            list(cpus)
        )
    })
}

#[cfg(not(target_os = "linux"))]
pub fn pin_this_thread_to(cpus: &[usize]) -> Result<(), String> {
    Err(format!("cannot run on CPU {} alone: pinning needs Linux; leave it out", list(cpus)))
}

/// `0,2,3`, as `taskset -c` writes it.
pub fn list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn read(clock: ClockId) -> Duration {
    // These clocks count up from zero; a negative one would be the kernel's mistake.
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

/// The second field of a `schedstat`: nanoseconds on a run queue.
fn waited(schedstat: &str) -> Option<Duration> {
    schedstat.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_field_is_the_wait() {
        let table = [
            ("57041 1234 1\n", Some(1234)),
            ("0 0 0", Some(0)),
            ("57041", None),
            ("", None),
            ("1 -2 3", None),
            ("1 18446744073709551616 3", None),
        ];
        for (text, expected) in table {
            assert_eq!(waited(text), expected.map(Duration::from_nanos), "{text:?}");
        }
    }

    #[test]
    fn work_costs_cpu_time() {
        let (cpu, clock) = (thread_cpu(), monotonic_ns());
        while thread_cpu() < cpu + Duration::from_millis(1) {}
        // A thread is on one CPU at a time, so the common clock went on at least as far.
        assert!(monotonic_ns() - clock >= 900_000);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_the_readings() {
        assert!(thread_wait().is_some());
        assert!(process_rss_anon(std::process::id()).is_some_and(|bytes| bytes > 4096));
        assert_eq!(process_rss_anon(0), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pinned_thread_runs_there_and_its_parent_where_it_did() {
        let allowed = |pid| rustix::thread::sched_getaffinity(pid).unwrap();
        let before = allowed(None);
        let cpu = (0..rustix::thread::CpuSet::MAX_CPU).find(|&cpu| before.is_set(cpu)).unwrap();
        std::thread::scope(|scope| {
            let pinned =
                scope.spawn(|| pin_this_thread(cpu).map(|()| allowed(None))).join().unwrap().unwrap();
            assert_eq!((pinned.count(), pinned.is_set(cpu)), (1, true));
        });
        assert_eq!(allowed(None), before);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_named() {
        for cpus in [&[1_000_000][..], &[usize::MAX], &[]] {
            let said = std::thread::scope(|scope| {
                scope.spawn(|| pin_this_thread_to(cpus)).join().unwrap().unwrap_err()
            });
            assert!(said.contains("CPU ") && said.contains(&list(cpus)), "{said}");
        }
    }
}
