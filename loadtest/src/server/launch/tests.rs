//! Tests of [`super`] with programs that every Unix has. Where a server must listen, the test itself does.

use std::net::TcpListener;

use super::*;

fn launch(command: &str, address: &str) -> Launch {
    Launch {
        command: command.to_string(),
        cpu: None,
        address: address.to_string(),
        ready_timeout: Duration::from_secs(60),
    }
}

/// A listener, so that whatever is launched seems ready, and its address.
fn listening() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// An address at which nothing listens, and what keeps it so: nobody can have the port of this one on all addresses.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("127.0.0.2:{}", listener.local_addr().unwrap().port());
    (listener, address)
}

/// Waits until it has said this.
fn hear(launched: &Launched, text: &str) {
    while !launched.output().contains(text) {
        thread::sleep(POLL);
    }
}

fn runs(pid: u32) -> bool {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::test_kill_process(pid).is_ok()
}

#[test]
fn words_are_split_and_filled_in() {
    let table = [
        ("server --port {port}", Some(vec![1]), vec!["server", "--port", "9001"]),
        ("'my server' \"a b\" c\\ d '{port}'", None, vec!["my server", "a b", "c d", "9001"]),
        (
            "s --on 127.0.0.1:{port} -c {cpu}",
            Some(vec![0, 2]),
            vec!["s", "--on", "127.0.0.1:9001", "-c", "0,2"],
        ),
        ("s '$HOME' ; {other}", None, vec!["s", "$HOME", ";", "{other}"]),
    ];
    for (command, cpu, expected) in table {
        let launch = Launch { cpu, ..launch(command, "[::1]:9001") };
        assert_eq!(launch.words().unwrap(), expected, "{command}");
    }
}

#[test]
fn what_cannot_be_started_is_named() {
    let table = [
        ("", "127.0.0.1:1", "empty"),
        ("   ", "127.0.0.1:1", "empty"),
        ("''", "127.0.0.1:1", "empty"),
        ("server 'a", "127.0.0.1:1", "quote"),
        ("server \\", "127.0.0.1:1", "quote"),
        ("server {cpu}", "127.0.0.1:1", "no CPU"),
        (
            "no-such-program-of-anybody --port {port}",
            "127.0.0.1:1",
            "no program `no-such-program-of-anybody`",
        ),
        ("/", "127.0.0.1:1", "cannot start the server `/`"),
        ("sleep 1", "127.0.0.1", "`127.0.0.1`"),
        ("sleep 1", "127.0.0.1:port", "`127.0.0.1:port`"),
        ("sleep 1", "", "``"),
    ];
    for (command, address, expected) in table {
        let said = launch(command, address).start().unwrap_err();
        assert!(said.contains(expected), "{command:?} {address:?}: {said}");
    }
    let (_listener, address) = listening();
    let said = Launch { cpu: Some(vec![1_000_000]), ..launch("sleep 100", &address) }.start().unwrap_err();
    assert!(said.contains("CPU 1000000"), "{said}");
}

#[test]
fn one_that_ends_at_once_is_quoted() {
    let (_listener, address) = silent();
    let table = [
        ("sh -c 'echo one; echo two >&2; exit 3'", "exit status: 3; it said:\n  one\n  two"),
        (
            "sh -c 'for i in 1 2 3 4 5 6 7 8 9 10 11; do echo $i; done; kill -9 $$'",
            "(SIGKILL); it said:\n  2\n",
        ),
        (
            "sh -c 'exit 0'",
            "exit status: 0, perhaps into the background; keep it in the foreground; it said nothing",
        ),
    ];
    for (command, expected) in table {
        let said = launch(command, &address).start().unwrap_err();
        assert!(said.contains("ended before it listened") && said.contains(expected), "{command}: {said}");
    }
}

#[test]
fn one_that_never_listens_is_stopped() {
    let (_listener, address) = silent();
    let launch = Launch { ready_timeout: Duration::ZERO, ..launch("sleep 100", &address) };
    let said = launch.start().unwrap_err();
    assert!(said.contains(&format!("does not listen on {address} after 0 s")), "{said}");
    assert!(!answers(&address).unwrap());
}

#[test]
fn several_run_and_none_outlives_its_drop() {
    let (_listener, address) = listening();
    assert!(answers(&address).unwrap());
    let mut all: Vec<_> = (0..3).map(|_| launch("sleep 100", &address).start().unwrap()).collect();
    let pids: Vec<_> = all.iter().map(Launched::pid).collect();
    for launched in &mut all {
        assert_eq!(launched.status(), None);
    }
    assert!(pids.iter().all(|&pid| runs(pid)));
    drop(all);
    assert!(!pids.into_iter().any(runs));
}

#[test]
fn one_that_is_asked_to_end_says_how() {
    let (_listener, address) = listening();
    let command = "sh -c 'trap \"echo bye; exit 7\" TERM; echo up; while :; do sleep 0.02; done'";
    let mut launched = launch(command, &address).start().unwrap();
    hear(&launched, "up");
    assert_eq!(launched.stop().unwrap().code(), Some(7));
    assert_eq!(launched.stop().unwrap().code(), Some(7), "again");
    hear(&launched, "bye");
    let mut killed = launch("sleep 100", &address).start().unwrap();
    assert!(killed.stop().unwrap().to_string().contains("SIGTERM"));
}

#[cfg(target_os = "linux")]
#[test]
fn what_it_started_ends_with_it() {
    let (_listener, address) = listening();
    // The inner one heeds no SIGTERM.
    let command = "sh -c 'sh -c \"trap : TERM; echo up; while :; do sleep 1; done\" & echo inner=$!=; wait'";
    let launched = launch(command, &address).start().unwrap();
    hear(&launched, "up");
    hear(&launched, "=\n");
    let inner: u32 = launched.output().split('=').nth(1).unwrap().parse().unwrap();
    assert!(runs(inner));
    drop(launched);
    // SIGKILL is under way, and its new parent is to wait for it, which not every machine's does.
    let ended = || {
        let status = std::fs::read_to_string(format!("/proc/{inner}/status"));
        status.map_or(true, |status| status.contains("State:\tZ") || status.contains("State:\tX"))
    };
    while !ended() {
        thread::sleep(POLL);
    }
}

#[test]
fn much_output_never_blocks_it_and_its_end_is_kept() {
    let (_listener, address) = silent();
    let mut launched = launch("sh -c 'head -c 1000000 /dev/zero | tr \"\\0\" x; echo the end'", &address)
        .spawn(&["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo the end"].map(String::from))
        .unwrap();
    while launched.status().is_none() {
        thread::sleep(POLL);
    }
    assert!(launched.last_lines().ends_with("xthe end"));
    assert_eq!(launched.output().len(), OUTPUT_MAX);
}

#[test]
fn a_tail_is_the_last_bytes() {
    let mut tail = Tail::default();
    for (bytes, len, last) in
        [(10, 10, 1), (OUTPUT_MAX, OUTPUT_MAX, 2), (1, OUTPUT_MAX, 3), (3 * OUTPUT_MAX, OUTPUT_MAX, 4)]
    {
        tail.add(&vec![last; bytes]);
        assert_eq!((tail.bytes.len(), tail.bytes.back()), (len, Some(&last)));
    }
    tail.add(&[]);
    assert_eq!(tail.bytes.len(), OUTPUT_MAX);
}

#[cfg(target_os = "linux")]
#[test]
fn it_runs_where_it_was_told_and_we_where_we_were() {
    use rustix::thread::sched_getaffinity;

    let (_listener, address) = listening();
    let before = sched_getaffinity(None).unwrap();
    let cpu = (0..rustix::thread::CpuSet::MAX_CPU).rev().find(|&cpu| before.is_set(cpu)).unwrap();
    let launch = Launch { cpu: Some(vec![cpu]), ..launch("sh -c 'echo cpu={cpu}; sleep 100'", &address) };
    let launched = launch.start().unwrap();
    hear(&launched, &format!("cpu={cpu}"));
    let set = sched_getaffinity(Some(launched.pid)).unwrap();
    assert_eq!((set.count(), set.is_set(cpu)), (1, true));
    assert_eq!(sched_getaffinity(None).unwrap(), before);
}
