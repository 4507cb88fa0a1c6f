//! What machine a run was made on: the facts without which its figures cannot be compared.
//!
//! Refuses to know whose it is: neither host name nor address is among them. Invariant: a fact that cannot be read is
//! left out.

use std::collections::BTreeMap;
use std::fs;

use super::{labelled_bytes, text};

/// Kernel, processor, memory and what else there is, by name.
pub fn facts() -> BTreeMap<String, String> {
    let read = |path: &str| text(path).ok().flatten();
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    let policies = governors();
    let facts = [
        ("kernel", Some(kernel())),
        ("architecture", Some(std::env::consts::ARCH.to_string())),
        ("processor", processor(&cpuinfo)),
        (
            "cores online",
            read("/sys/devices/system/cpu/online").and_then(|list| count(&list)).map(|n| n.to_string()),
        ),
        ("cores usable", std::thread::available_parallelism().ok().map(|cores| cores.to_string())),
        ("memory", read("/proc/meminfo").and_then(|text| memory(&text))),
        ("governor", (!policies.is_empty()).then(|| policies.join(", "))),
        ("load average", read("/proc/loadavg").and_then(|text| load(&text))),
        ("virtual machine", hypervisor(&cpuinfo).then(|| "yes (hypervisor flag)".to_string())),
        ("container", container()),
    ];
    facts.into_iter().filter_map(|(name, fact)| Some((name.to_string(), fact?))).collect()
}

fn kernel() -> String {
    let uname = rustix::system::uname();
    format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy())
}

/// The names differ by architecture; some tell none.
fn processor(cpuinfo: &str) -> Option<String> {
    let value = |name| after(cpuinfo, name).filter(|value| !value.is_empty()).map(str::to_string);
    ["model name", "cpu model", "cpu", "Processor", "uarch"].into_iter().find_map(value)
}

fn hypervisor(cpuinfo: &str) -> bool {
    after(cpuinfo, "flags").is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

/// What is behind `name :` on the first such line.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(key, value)| (key.trim(), value.trim())).find(|&(key, _)| key == name).map(|(_, value)| value)
}

/// How many numbers a list such as `0-3,8` holds.
fn count(list: &str) -> Option<u64> {
    list.trim().split(',').try_fold(0_u64, |sum, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

fn memory(meminfo: &str) -> Option<String> {
    let gibibytes = |name| labelled_bytes(meminfo, name).map(|bytes| bytes as f64 / f64::from(1 << 30));
    let (total, available) = (gibibytes("MemTotal")?, gibibytes("MemAvailable")?);
    Some(format!("{total:.1} GiB, {available:.1} GiB available"))
}

/// Over 1, 5 and 15 minutes.
fn load(loadavg: &str) -> Option<String> {
    let words: Vec<_> = loadavg.split_whitespace().take(3).collect();
    (words.len() == 3).then(|| words.join(" "))
}

/// How the cores choose their frequency: each way that occurs, once. Virtual machines tell none.
fn governors() -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir("/sys/devices/system/cpu/cpufreq")
        .into_iter()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("scaling_governor")).ok())
        .map(|governor| governor.trim().to_string())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Container runtimes leave a file of their own.
fn container() -> Option<String> {
    let there = |path: &str| fs::exists(path).unwrap_or(false);
    let named = fs::read_to_string("/run/systemd/container").ok().map(|name| name.trim().to_string());
    named
        .or_else(|| there("/.dockerenv").then(|| "docker".to_string()))
        .or_else(|| there("/run/.containerenv").then(|| "podman".to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_named_as_their_architecture_does() {
        let table = [
            (
                "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some CPU @ 2.50GHz\nmodel name\t: Other\n",
                Some("Some CPU @ 2.50GHz"),
            ),
            ("processor : 0\ncpu : POWER9: altivec\n", Some("POWER9: altivec")),
            ("processor\t: 0\nBogoMIPS\t: 50.00\n", None),
            ("model name\t:\n", None),
            ("model name", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(processor(text).as_deref(), expected, "{text:?}");
        }
        for (text, expected) in
            [("flags\t: fpu hypervisor lahf\n", true), ("flags\t: hypervisors\n", false), ("", false)]
        {
            assert_eq!(hypervisor(text), expected, "{text:?}");
        }
    }

    #[test]
    fn cores_are_counted() {
        let table = [
            ("0\n", Some(1)),
            ("0-3", Some(4)),
            ("0-3,8,10-11\n", Some(7)),
            ("", None),
            ("3-0", None),
            ("0-x", None),
            ("0-18446744073709551615", None),
        ];
        for (list, expected) in table {
            assert_eq!(count(list), expected, "{list:?}");
        }
    }

    #[test]
    fn memory_and_load_are_short() {
        let meminfo = "MemTotal:       25165824 kB\nMemFree: 1 kB\nMemAvailable:   524288 kB\n";
        assert_eq!(memory(meminfo).as_deref(), Some("24.0 GiB, 0.5 GiB available"));
        assert_eq!(memory("MemTotal: 1 kB"), None);
        assert_eq!(load("0.52 0.58 0.59 1/123 4567\n").as_deref(), Some("0.52 0.58 0.59"));
        assert_eq!(load("0.52 0.58"), None);
    }

    #[test]
    fn this_machine_has_facts_but_no_name() {
        let facts = facts();
        assert!(facts.contains_key("kernel"), "{facts:?}");
        if cfg!(target_os = "linux") {
            for name in ["memory", "load average", "cores online"] {
                assert!(facts.contains_key(name), "{name}: {facts:?}");
            }
        }
        assert!(facts.keys().all(|name| !name.contains("host")), "{facts:?}");
    }
}
