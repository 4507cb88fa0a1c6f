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

type Change = fn(&mut Readings);

fn server(server: u64) -> Need {
    Need { server, ..Need::default() }
}

fn row(readings: &Readings, need: &Need, name: &str) -> Row {
    rows(readings, need).into_iter().find(|row| row.name.starts_with(name)).unwrap()
}

#[test]
fn a_large_machine_is_fine() {
    for row in rows(&large(), &server(60_000)) {
        assert_eq!((row.verdict, row.advice.as_str()), (Verdict::Ok, ""), "{}", row.name);
    }
    assert_eq!(row(&large(), &server(60_000), "nofile").value, "1,024 / 2,000,000");
    assert_eq!(row(&large(), &server(60_000), "fs.file-max").value, "unlimited");
}

#[test]
fn each_limit_is_found() {
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
        let row = row(&readings, &server(100_000), name);
        assert_eq!(row.verdict, *verdict, "case {at}: {row:?}");
        assert!(row.advice.starts_with(start), "case {at}: {row:?}");
    }
}

/// Both ends of 100,000 connections, the clients in 4 processes.
const BOTH: Need = Need { server: 100_000, clients: 100_000, processes: 4, sources: 4 };

#[test]
fn a_large_machine_holds_clients_too() {
    for need in [BOTH, Need { server: 0, ..BOTH }, Need { processes: 0, sources: 2, ..BOTH }] {
        for row in rows(&large(), &need) {
            assert_eq!((row.verdict, row.advice.as_str()), (Verdict::Ok, ""), "{}", row.name);
        }
    }
    let named = |need: &Need, name: &str| rows(&large(), need).iter().any(|row| row.name == name);
    assert!(named(&BOTH, "net.core.somaxconn"));
    assert!(!named(&Need { server: 0, ..BOTH }, "net.core.somaxconn"), "clients listen nowhere");
}

#[test]
fn what_clients_need() {
    let far = Need { server: 0, ..BOTH };
    let one = Need { processes: 1, sources: 1, ..BOTH };
    let unset = Need { processes: 0, sources: 0, ..BOTH };
    let cases: &[(Need, &str, &str)] = &[
        (BOTH, "nofile", "25,016"),
        (far, "nofile", "25,016"),
        (Need { clients: 100_001, ..far }, "nofile", "25,017"),
        (one, "nofile", "100,016"),
        (unset, "nofile", "100,016"),
        (BOTH, "fs.nr_open", "25,016"),
        // In use, the server with its reserve, and the clients with one each.
        (BOTH, "fs.file-max", "201,080"),
        (far, "fs.file-max", "101,064"),
        (unset, "fs.file-max", "201,032"),
        (BOTH, "fs.epoll", "200,080"),
        (far, "fs.epoll", "100,064"),
        (BOTH, "net.ipv4.ip_local", "25,000 per source"),
        (one, "net.ipv4.ip_local", "100,000 per source"),
        (unset, "net.ipv4.ip_local", "100,000 per source"),
        (BOTH, "nf_conntrack_max", "100,010"),
        (far, "nf_conntrack_max", "100,010"),
        // 100,000 times 4,300 + 100 and 4,300 + 1,024 bytes.
        (BOTH, "memory available", "927 MiB"),
        (far, "memory available", "508 MiB"),
    ];
    for (need, name, needed) in cases {
        assert_eq!(row(&large(), need, name).needed, *needed, "{name}: {need:?}");
    }
}

/// A need, a machine, and what the row of that name says.
type Case = (Need, Change, &'static str, Verdict, &'static str);

fn judge(cases: &[Case]) {
    for (at, (need, change, name, verdict, start)) in cases.iter().enumerate() {
        let mut readings = large();
        change(&mut readings);
        let row = row(&readings, need, name);
        assert_eq!(row.verdict, *verdict, "case {at}: {row:?}");
        assert!(row.advice.starts_with(start), "case {at}: {row:?}");
        assert_eq!(row.advice.is_empty(), row.verdict == Verdict::Ok, "case {at}: {row:?}");
    }
}

#[test]
fn each_limit_of_descriptors_is_found_for_clients() {
    let far = Need { server: 0, ..BOTH };
    judge(&[
        (far, |r| r.nofile_hard = Some(25_015), "nofile", Verdict::TooLow, "ulimit -Hn 25016"),
        (far, |r| r.nofile_hard = Some(25_016), "nofile", Verdict::Ok, ""),
        (
            BOTH,
            |r| r.nofile_hard = Some(25_016),
            "nofile",
            Verdict::Note,
            "a server started from here needs more: ulimit -Hn 100016",
        ),
        (BOTH, |r| r.nofile_hard = Some(100_016), "nofile", Verdict::Ok, ""),
        (
            far,
            |r| (r.nr_open, r.nofile_hard) = (Some(5), Some(5)),
            "fs.nr_open",
            Verdict::TooLow,
            "sysctl -w fs.nr_open=25016",
        ),
        (
            BOTH,
            |r| (r.nr_open, r.nofile_hard) = (Some(30_000), Some(30_000)),
            "fs.nr_open",
            Verdict::Note,
            "a server started from here needs more: sysctl -w fs.nr_open=100016",
        ),
        (
            BOTH,
            |r| r.file_max = Some(201_079),
            "fs.file-max",
            Verdict::TooLow,
            "sysctl -w fs.file-max=201080 (1,000 open now)",
        ),
        (BOTH, |r| r.file_max = Some(201_080), "fs.file-max", Verdict::Ok, ""),
        (far, |r| r.epoll_watches = Some(100_064), "fs.epoll", Verdict::Ok, ""),
        (
            BOTH,
            |r| r.epoll_watches = Some(200_079),
            "fs.epoll",
            Verdict::TooLow,
            "sysctl -w fs.epoll.max_user_watches=200080",
        ),
    ]);
}

#[test]
fn each_other_limit_is_found_for_clients() {
    let far = Need { server: 0, ..BOTH };
    let narrow: Change = |r| r.ports = Some((32_768, 60_999));
    judge(&[
        (BOTH, narrow, "net.ipv4.ip_local", Verdict::Ok, ""),
        (
            Need { sources: 3, ..BOTH },
            narrow,
            "net.ipv4.ip_local",
            Verdict::TooLow,
            "28,232 ports per source address: 100,000 clients need 4 addresses (127.0.0.1 to 127.0.0.4), named \
             with --source, or a wider range: ",
        ),
        (
            Need { sources: 0, ..far },
            narrow,
            "net.ipv4.ip_local",
            Verdict::TooLow,
            "28,232 ports per source address: 100,000 clients need 4 addresses (of this machine), named with",
        ),
        (Need { clients: 28_232, sources: 1, ..far }, narrow, "net.ipv4.ip_local", Verdict::Ok, ""),
        (BOTH, |r| r.tcp_mem_pages = Some(200_000), "net.ipv4.tcp_mem", Verdict::Ok, ""),
        (BOTH, |r| r.tcp_mem_pages = Some(199_999), "net.ipv4.tcp_mem", Verdict::Note, "idle sockets"),
        (BOTH, |r| r.conntrack_max = Some(100_010), "nf_conntrack_max", Verdict::Ok, ""),
        (BOTH, |r| r.conntrack_max = Some(100_009), "nf_conntrack_max", Verdict::TooLow, "sysctl -w"),
        (BOTH, |r| r.memory_available = Some(972_400_000), "memory available", Verdict::Ok, ""),
        (
            BOTH,
            |r| r.memory_available = Some(972_399_999),
            "memory available",
            Verdict::TooLow,
            "add memory, or hold fewer connections; 4.2 KiB in the kernel for either end, 100 bytes in the server",
        ),
        (far, |r| r.memory_available = Some(532_400_000), "memory available", Verdict::Ok, ""),
        (
            far,
            |r| r.cgroup_left = Some(532_399_999),
            "memory left",
            Verdict::TooLow,
            "raise memory.max of the control group (systemd: MemoryMax=, containers: --memory); 4.2 KiB in the \
             kernel and 1.0 KiB in the client each",
        ),
    ]);
}

#[test]
fn what_was_not_read_is_unknown_and_stops_nothing() {
    for need in [server(10_000), BOTH, Need { server: 0, ..BOTH }] {
        for row in rows(&Readings::default(), &need) {
            assert_eq!((row.verdict, row.value.as_str()), (Verdict::Unknown, "?"), "{}", row.name);
        }
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
    let numbers = [0, 1, u64::MAX];
    let pairs = numbers.iter().flat_map(|&a| numbers.map(|b| (a, b)));
    for (server, clients) in pairs {
        for (processes, sources) in [(0, 0), (1, u64::MAX), (u64::MAX, 1), (u64::MAX, u64::MAX)] {
            let need = Need { server, clients, processes, sources };
            assert!(!rows(&readings, &need).is_empty());
            assert!(!rows(&large(), &need).is_empty());
        }
    }
}
