//! Machines as tables: one reading changed at a time, and what the doctor makes of it.

use super::*;

/// A machine that holds a million connections, clients included.
fn large() -> Readings {
    Readings {
        nofile_soft: Some(1_024),
        nofile_hard: Some(2_000_000),
        nr_open: Some(2_000_000),
        file_max: Some(i64::MAX.cast_unsigned()),
        files_in_use: Some(1_000),
        epoll_watches: Some(4_000_000),
        somaxconn: Some(4_096),
        ports: Some((1_024, 65_535)),
        tcp_mem_pages: Some(2_000_000),
        page_bytes: Some(4_096),
        conntrack_max: Some(2_000_000),
        conntrack_in_use: Some(10),
        memory_available: Some(32 << 30),
        cgroup_left: None,
    }
}

fn row(readings: &Readings, connections: u64, name: &str) -> Row {
    rows(readings, connections).into_iter().find(|row| row.name.starts_with(name)).unwrap()
}

#[test]
fn a_large_machine_is_fine() {
    for row in rows(&large(), 60_000) {
        assert_eq!((row.verdict, row.advice.as_str()), (Verdict::Ok, ""), "{}", row.name);
    }
    assert_eq!(row(&large(), 60_000, "nofile").value, "1,024 / 2,000,000");
    assert_eq!(row(&large(), 60_000, "fs.file-max").value, "unlimited");
}

#[test]
fn each_limit_is_found() {
    type Change = fn(&mut Readings);
    let cases: &[(Change, &str, Verdict, &str)] = &[
        (|r| r.nofile_hard = Some(100_015), "nofile", Verdict::TooLow, "ulimit -Hn 100016"),
        (|r| r.nofile_hard = Some(100_016), "nofile", Verdict::Ok, ""),
        (|r| r.nofile_soft = Some(u64::MAX), "nofile", Verdict::Ok, ""),
        (|r| r.nr_open = Some(5), "fs.nr_open", Verdict::Ok, ""),
        (
            |r| (r.nr_open, r.nofile_hard) = (Some(5), Some(5)),
            "fs.nr_open",
            Verdict::TooLow,
            "sysctl -w fs.nr_open=100016",
        ),
        (
            |r| r.file_max = Some(101_015),
            "fs.file-max",
            Verdict::TooLow,
            "sysctl -w fs.file-max=201032 (1,000 open now)",
        ),
        (|r| r.file_max = Some(101_016), "fs.file-max", Verdict::Note, "clients on this machine double it"),
        (|r| r.file_max = Some(201_032), "fs.file-max", Verdict::Ok, ""),
        (
            |r| r.epoll_watches = Some(100_015),
            "fs.epoll",
            Verdict::TooLow,
            "sysctl -w fs.epoll.max_user_watches=200032",
        ),
        (
            |r| r.epoll_watches = Some(200_031),
            "fs.epoll",
            Verdict::Note,
            "clients of the same user double it",
        ),
        (|r| r.somaxconn = Some(128), "net.core.somaxconn", Verdict::Note, "bursts of more than 128 new"),
        (
            |r| r.ports = Some((32_768, 60_999)),
            "net.ipv4.ip_local",
            Verdict::Note,
            "28,232 ports per source address: 100,000 clients on one machine need 4 addresses (127.0.0.1 to ",
        ),
        (|r| r.ports = Some((5, 4)), "net.ipv4.ip_local", Verdict::Note, ""),
        (|r| r.tcp_mem_pages = Some(99_999), "net.ipv4.tcp_mem", Verdict::Note, "idle sockets hold no page"),
        (
            |r| r.conntrack_max = Some(100_009),
            "nf_conntrack_max",
            Verdict::TooLow,
            "sysctl -w net.netfilter.nf_conntrack_max=100010",
        ),
        (|r| r.conntrack_max = Some(100_010), "nf_conntrack_max", Verdict::Ok, ""),
        (|r| r.memory_available = Some(439_999_999), "memory available", Verdict::TooLow, "add memory"),
        (
            |r| r.memory_available = Some(440_000_000),
            "memory available",
            Verdict::Note,
            "4.2 KiB in the kernel and 100 bytes",
        ),
        (|r| r.memory_available = Some(880_000_000), "memory available", Verdict::Ok, ""),
        (|r| r.cgroup_left = Some(1), "memory left", Verdict::TooLow, "raise memory.max"),
    ];
    for (at, (change, name, verdict, start)) in cases.iter().enumerate() {
        let mut readings = large();
        change(&mut readings);
        let row = row(&readings, 100_000, name);
        assert_eq!(row.verdict, *verdict, "case {at}: {row:?}");
        assert!(row.advice.starts_with(start), "case {at}: {row:?}");
    }
}

#[test]
fn what_was_not_read_is_unknown_and_stops_nothing() {
    for row in rows(&Readings::default(), 10_000) {
        assert_eq!((row.verdict, row.value.as_str()), (Verdict::Unknown, "?"), "{}", row.name);
    }
}

#[test]
fn extremes_do_not_overflow() {
    let largest = Some(u64::MAX);
    let readings = Readings {
        nofile_soft: largest,
        nofile_hard: largest,
        nr_open: largest,
        file_max: largest,
        files_in_use: largest,
        epoll_watches: largest,
        somaxconn: largest,
        ports: Some((0, u64::MAX)),
        tcp_mem_pages: largest,
        page_bytes: largest,
        conntrack_max: largest,
        conntrack_in_use: largest,
        memory_available: largest,
        cgroup_left: largest,
    };
    for connections in [0, 1, u64::MAX] {
        assert!(!rows(&readings, connections).is_empty());
        assert!(!rows(&large(), connections).is_empty());
    }
}
