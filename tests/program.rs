//! The program `tidegate` from outside: applications, settings, failures, signals, `doctor`.

mod harness;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use harness::child::Running;
use harness::peer::{BINARY, Peer, TEXT, handshake};
use tidegate::{Config, Unit};

fn tidegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments);
    command
}

/// Starts `tidegate serve` on a free port.
fn serve(arguments: &[&str]) -> (Running, SocketAddr) {
    let running = Running::start(tidegate(&["serve", "--bind", "127.0.0.1:0"]).args(arguments));
    let address = running.address();
    (running, address)
}

/// A file that goes with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-program-{}-{name}.toml", std::process::id()));
        fs::write(&path, content).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The program must fail with this code and one line on standard error, and print nothing else.
fn expect_failure(command: &mut Command, code: i32, parts: &[&str]) {
    let mut running = Running::start(command);
    let status = running.wait();
    let (lines, errors) = running.rest();
    assert_eq!((status.code(), lines.len()), (Some(code), 0), "{command:?}: {lines:?} {errors:?}");
    assert_eq!(errors.len(), 1, "{command:?}: {errors:?}");
    assert!(errors[0].starts_with("tidegate: "), "{errors:?}");
    for part in parts {
        assert!(errors[0].contains(part), "{command:?}: {part} is not in {errors:?}");
    }
}

#[test]
fn every_application_at_its_path() {
    let (_running, address) = serve(&[]);
    let mut page = Peer::connect(address);
    page.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let answer = page.answer();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(answer.text().contains("<html"));
    page.write("GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((page.answer().text(), page.answer().status), ("ok", 404));

    let mut echo = Peer::open_at(address, "/echo");
    echo.send(TEXT, "hello");
    assert_eq!(echo.message().text(), "hello");
    let (mut ann, mut ben) = (Peer::open_at(address, "/chat"), Peer::open_at(address, "/chat"));
    // Ann's own message comes back to her, so Ben is in by then or gets it later; his reaches both.
    ben.send(TEXT, "from Ben");
    assert_eq!((ann.message().text(), ben.message().text()), ("from Ben", "from Ben"));
    let (mut cid, mut dot) = (Peer::open_at(address, "/crowd"), Peer::open_at(address, "/crowd"));
    dot.send(BINARY, [1, 2]);
    assert_eq!(dot.message().payload, [1, 2]);
    cid.send(TEXT, "from Cid");
    cid.send(BINARY, [3]);
    dot.send(TEXT, "from Dot");
    assert_eq!((cid.message().text(), dot.message().text()), ("from Cid", "from Cid"));
    assert_eq!((cid.message().payload, dot.message().text()), (vec![3], "from Dot"));
    let mut push = Peer::open_at(address, "/push");
    assert!(push.message().text().contains("\"seq\":1,"));
    let mut game = Peer::open_at(address, "/game");
    game.send(BINARY, [3, 4]);
    let tick = game.message().payload;
    assert_eq!((tick.len(), &tick[4..6]), (6 + 8, &[1, 0][..]), "one player");
    let mut discard = Peer::open_at(address, "/discard");
    discard.send(TEXT, "into the void");
    discard.close(1000, "");
    assert_eq!(discard.frame().close().0, 1000, "nothing before it");
    let mut live = Peer::open_at(address, "/live");
    assert!(live.message().text().contains("\"queued_bytes\":"));
}

#[test]
fn one_application_on_every_path() {
    for (app, path) in [("echo", "/"), ("chat", "/any/path?at=all")] {
        let (_running, address) = serve(&["--app", app]);
        let mut peer = Peer::open_at(address, path);
        peer.send(TEXT, app);
        assert_eq!(peer.message().text(), app);
        let mut plain = Peer::connect(address);
        plain.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(plain.answer().status, 426);
    }
}

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let file =
        File::new("precedence", "message_max = \"1KiB\"\napp = \"echo\"\norigin = [\"https://a.b\"]\n");
    // The file's value, then the flag's.
    for (flags, fits, too_long) in [(&[][..], 1024, 1025), (&["--message-max", "2k"][..], 2000, 2001)] {
        let mut arguments = vec!["--config", file.path()];
        arguments.extend(flags);
        let (_running, address) = serve(&arguments);
        let mut peer = Peer::open(address);
        peer.send(BINARY, vec![1; fits]);
        assert_eq!(peer.message().payload.len(), fits);
        peer.send(BINARY, vec![1; too_long]);
        assert_eq!(peer.frame().close().0, 1009);
        let mut foreign = Peer::connect(address);
        foreign.write(handshake("/").replace("\r\n\r\n", "\r\nOrigin: https://c.d\r\n\r\n"));
        assert_eq!(foreign.answer().status, 403);
    }
}

/// A value that every rule allows, in the notation of flag and file, and one that none does.
fn samples(unit: Unit) -> (&'static str, &'static str) {
    match unit {
        Unit::Bytes => ("256KiB", "1KiX"),
        Unit::Time => ("7s", "7"),
        Unit::Flag => ("true", "perhaps"),
        Unit::Choice(words) => (words[words.len() - 1], "perhaps"),
        _ => ("100", "many"),
    }
}

#[test]
fn every_setting_by_flag_and_by_file() {
    let mut arguments = Vec::new();
    let mut content = String::new();
    for field in Config::fields() {
        let value = match field.name {
            "backlog_low" => "32KiB",
            "backlog_high" => "128KiB",
            "target_max" => "4KiB",
            "head_max" => "8KiB",
            "memory_max" => "64MiB",
            "deflate_level" | "deflate_memory_level" | "deflate_window_bits" => "9",
            // What the kernel or the build may refuse.
            "busy_poll" | "defer_accept" => "off",
            _ => samples(field.unit).0,
        };
        arguments.extend([format!("--{}", field.name.replace('_', "-")), value.to_owned()]);
        content += &format!("{} = \"{value}\"\n", field.name);
    }
    let by_flag: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let file = File::new("every", &content);
    for arguments in [&by_flag[..], &["--config", file.path()]] {
        let (running, address) = serve(&[arguments, &["--app", "echo"]].concat());
        let mut peer = Peer::open(address);
        peer.send(TEXT, "on");
        assert_eq!(peer.message().text(), "on");
        drop(running);
    }
}

#[test]
fn every_wrong_value_is_refused_by_its_name() {
    let file =
        |field: &str, value: &str| File::new(&format!("wrong-{field}"), &format!("{field} = \"{value}\"\n"));
    for field in Config::fields() {
        let wrong = samples(field.unit).1;
        let flag = format!("--{}", field.name.replace('_', "-"));
        expect_failure(&mut tidegate(&["serve", &flag, wrong]), 2, &[&flag, wrong]);
        let file = file(field.name, wrong);
        expect_failure(&mut tidegate(&["serve", "--config", file.path()]), 2, &[":1: ", field.name, wrong]);
    }
}

#[test]
fn failures_are_one_line_with_their_code() {
    let (_running, address) = serve(&[]);
    let taken = address.to_string();
    expect_failure(&mut tidegate(&["serve", "--bind", &taken]), 1, &[&taken, "in use"]);
    expect_failure(&mut tidegate(&["serve", "--bind", "192.0.2.1:9001"]), 1, &["192.0.2.1:9001"]);
    expect_failure(&mut tidegate(&["serve", "--bind", "nowhere"]), 2, &["--bind", "nowhere"]);
    expect_failure(&mut tidegate(&["serve", "--bind", "127.0.0.1:99999"]), 2, &["99999"]);
    expect_failure(&mut tidegate(&["serve", "--app", "doom"]), 2, &["doom", "echo, chat"]);
    expect_failure(&mut tidegate(&["serve", "--origin", "example.org"]), 2, &["example.org", "https://"]);
    expect_failure(&mut tidegate(&["serve", "--log", "loud"]), 2, &["loud", "debug"]);
    expect_failure(&mut tidegate(&["serve", "--mesage-max", "1"]), 2, &["--mesage-max", "--message-max"]);
    expect_failure(
        &mut tidegate(&["serve", "--backlog-low", "1GiB"]),
        2,
        &["backlog-low", "below backlog_high"],
    );
    expect_failure(&mut tidegate(&["serve", "--config", "/nonexistent.toml"]), 1, &["/nonexistent.toml"]);
    expect_failure(&mut tidegate(&["serve", "--config", "/"]), 1, &["cannot read /"]);
    for (name, content, part) in [
        ("syntax", "\n\nmessage_max = = 1\n", ":3: is no TOML"),
        ("unknown", "message_maxx = 1\n", ":1: message_maxx = 1: there is no such setting"),
        ("section", "[limits]\nmessage_max = 1\n", "no sections"),
        ("type", "message_max = true\n", "must be a number"),
        ("rule", "accept_budget = 0\n", "must be at least 1"),
    ] {
        let file = File::new(name, content);
        expect_failure(&mut tidegate(&["serve", "--config", file.path()]), 2, &[part]);
    }
    expect_failure(&mut tidegate(&[]), 2, &["subcommand"]);
    expect_failure(&mut tidegate(&["sevre"]), 2, &["serve"]);
    expect_failure(&mut tidegate(&["doctor", "--connections", "many"]), 2, &["--connections many"]);
}

#[test]
fn a_signal_shuts_down_gracefully() {
    for signal in ["TERM", "INT"] {
        let (mut running, address) = serve(&["--app", "echo"]);
        let mut peers: Vec<Peer> = (0..20).map(|_| Peer::open(address)).collect();
        running.signal(signal);
        for peer in &mut peers {
            assert_eq!(peer.frame().close().0, 1001);
            peer.close(1001, "");
            peer.expect_end();
        }
        assert_eq!(running.wait().code(), Some(0));
        let (lines, errors) = running.rest();
        let report = lines.last().unwrap();
        assert!(report.contains("20 told to go away, 20 closed, 0 cut"), "{report}");
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].contains("telling 20 connections to go away"), "{errors:?}");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let (mut running, address) = serve(&["--shutdown-timeout", "1h", "--close-timeout", "1h"]);
    let mut stubborn = Peer::open_at(address, "/echo");
    running.signal("TERM");
    assert_eq!(stubborn.frame().close().0, 1001);
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(1));
    let (_, errors) = running.rest();
    assert!(errors.last().unwrap().contains("cut"), "{errors:?}");
}

/// With a second thread, each recv(2) and send(2) of the first would be dearer.
#[cfg(target_os = "linux")]
#[test]
fn the_loop_is_the_only_thread() {
    let (running, address) = serve(&["--app", "echo"]);
    let mut peer = Peer::open(address);
    peer.send(TEXT, "in");
    assert_eq!(peer.frame().text(), "in");
    let threads = std::fs::read_dir(format!("/proc/{}/task", running.id())).unwrap();
    assert_eq!(threads.count(), 1);
}

#[test]
fn the_soft_descriptor_limit_is_raised() {
    let script = r#"ulimit -S -n 256; exec "$0" serve --bind 127.0.0.1:0 --app echo"#;
    let running = Running::start(Command::new("sh").args(["-c", script, env!("CARGO_BIN_EXE_tidegate")]));
    let address = running.address();
    let line = std::iter::repeat_with(|| running.line()).find(|line| line.contains("descriptors")).unwrap();
    assert!(line.contains("(raised from 256)"), "{line}");
    let mut peers: Vec<Peer> = (0..400).map(|_| Peer::open(address)).collect();
    peers[399].send(TEXT, "in");
    assert_eq!(peers[399].message().text(), "in");
}

#[test]
fn doctor_in_text_and_json() {
    let run = |arguments: &[&str]| {
        let mut running = Running::start(tidegate(&["doctor"]).args(arguments).env("NO_COLOR", "1"));
        let code = running.wait().code().unwrap();
        let (lines, errors) = running.rest();
        assert_eq!(errors, [""; 0]);
        (code, lines.join("\n"))
    };
    let (code, text) = run(&["--connections", "10"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("nofile") && text.contains("Nothing here stops 10 connections."), "{text}");
    let (code, text) = run(&["--connections", "2000000000"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("TOO LOW") && text.contains("cannot hold 2,000,000,000"), "{text}");
    for (connections, enough) in [("10", true), ("2000000000", false)] {
        let (code, text) = run(&["--connections", connections, "--json"]);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((json["enough"].as_bool(), code), (Some(enough), i32::from(!enough)));
        let rows = json["rows"].as_array().unwrap();
        assert!(rows.iter().all(|row| row["name"].is_string() && row["value"].is_string()), "{text}");
    }
}
