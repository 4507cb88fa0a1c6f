//! `loadtest` over TLS: what it counts is what the server counted, whom it trusts, and what it says of whom it does not.
//!
//! Invariant: every certificate is made by the test that uses it, in a file that goes with it.

mod harness;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use harness::{
    LENIENT, PATIENCE, Serving, assert_echoed, count, figure, fresh, loadtest, measured, tidegate, times,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, date_time_ymd};
use tidegate::{Config, ConnId, Context, Handle, Handler, Message, Server, ServerTls, Stats, Turn};

/// A self-signed certificate, in a file that goes with it, and the server's side of it.
struct Made {
    file: PathBuf,
    tls: ServerTls,
}

impl Made {
    fn new(name: &str, until: i32) -> Self {
        Made::with(name, until, IsCa::NoCa)
    }

    fn with(name: &str, until: i32, authority: IsCa) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = date_time_ymd(until, 2, 3);
        params.is_ca = authority;
        let certificate = params.self_signed(&key).unwrap();
        let file = fresh(".pem");
        fs::write(&file, certificate.pem()).unwrap();
        let tls = ServerTls::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        Made { file, tls }
    }

    fn file(&self) -> &str {
        self.file.to_str().unwrap()
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        cx.send(conn, msg);
    }
}

/// A server on a thread of the test, which tells in the end what it has counted.
struct Counting {
    address: SocketAddr,
    handle: Handle,
    thread: JoinHandle<Stats>,
}

impl Counting {
    fn start(config: Config) -> Self {
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut server = Server::bind("127.0.0.1:0", config).expect("a free port");
            tell.send((server.local_addr().unwrap(), server.handle())).unwrap();
            while !matches!(server.turn(&mut Echo, None).unwrap(), Turn::Stopped(_)) {}
            server.stats()
        });
        let (address, handle) = told.recv_timeout(PATIENCE).expect("a server that listens");
        Counting { address, handle, thread }
    }

    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/", self.address.port())
    }

    fn end(self) -> Stats {
        self.handle.shutdown().unwrap();
        self.thread.join().unwrap()
    }
}

fn wss(made: &Made) -> Counting {
    Counting::start(Config::default().tls(made.tls.clone()))
}

#[test]
fn echoes_are_those_that_the_server_counted() {
    let made = Made::new("localhost", 2090);
    for version in [&[][..], &["--tls-version", "1.2"], &["--tls-version", "1.3"]] {
        let server = wss(&made);
        let url = server.url("wss");
        let words = ["echo", &url, "--ca", made.file(), "-n", "10", "--size", "20:50%,40KiB:50%"];
        let times = ["--warmup", "0", "--duration", "300ms", "--threads", "2"];
        let record = measured(&[&words[..], &times, version].concat());
        assert_echoed(&record, &words);
        assert_eq!((count(&record, "tls_full"), count(&record, "tls_resumed")), (10, 0));
        let stats = server.end();
        assert_eq!((stats.tls_handshakes, stats.tls_resumed, stats.ended_truncated), (10, 0, 0));
        assert_eq!(stats.messages_in, count(&record, "sent"));
    }
}

#[test]
fn idle_connections_are_held_and_what_they_cost_is_told() {
    let server = Serving::start(&["--tls-self-signed"]);
    let (url, pid) = (format!("wss://{}/echo", server.address), server.id().to_string());
    let words = ["idle", &url, "--insecure", "-n", "60", "--hold", "200ms", "--server-pid", &pid];
    let record = measured(&[&words[..], &["--workers", "2"]].concat());
    assert_eq!((count(&record, "held"), count(&record, "tls_full")), (60, 60));
    for side in ["server", "client"] {
        assert!(figure(&record, &format!("{side}_bytes_per_connection")).is_finite());
    }
}

#[test]
fn churn_tells_whole_handshakes_from_resumed_ones() {
    let made = Made::new("localhost", 2090);
    for version in ["1.2", "1.3"] {
        let server = wss(&made);
        let url = server.url("wss");
        let words = ["churn", &url, "--ca", made.file(), "-n", "4", "--tls-version", version];
        let record =
            measured(&[&words[..], &["--warmup", "300ms", "--duration", "400ms", "--threads", "2"]].concat());
        let (full, resumed) = (count(&record, "tls_full"), count(&record, "tls_resumed"));
        assert!(full > 10 && resumed > 10, "TLS {version}: {full} and {resumed}");
        assert_eq!(full + resumed, count(&record, "opened"));
        assert_eq!([count(&record, "failed"), count(&record, "errors")], [0, 0], "{}", record["errors"]);
        for name in ["tls_full", "tls_resumed"] {
            assert!(times(&record, name, "count") > 0.0);
        }
        assert!(figure(&record, "full_per_second") > 0.0 && figure(&record, "resumed_per_second") > 0.0);
        let stats = server.end();
        assert_eq!((stats.tls_handshakes, stats.tls_resumed), (full + resumed, resumed), "TLS {version}");
    }
}

#[test]
fn the_share_that_resumes_is_the_one_asked_for() {
    let made = Made::new("localhost", 2090);
    let server = Counting::start(Config::default().tls(made.tls.clone().tickets(false).unwrap()));
    let url = server.url("wss");
    let short = ["--warmup", "0", "--duration", "300ms"];
    let words = ["churn", &url, "--ca", made.file(), "-n", "4", "--resume", "100%"];
    let record = measured(&[&words[..], &short].concat());
    assert_eq!(count(&record, "tls_resumed"), 0, "the server gives no tickets");
    assert!(record["notes"].to_string().contains("the server may give no tickets"), "{}", record["notes"]);
    assert_eq!(server.end().tls_resumed, 0);

    let server = wss(&made);
    let url = server.url("wss");
    let words = ["churn", &url, "--ca", made.file(), "-n", "2", "--resume", "50%"];
    let record = measured(&[&words[..], &short].concat());
    let (full, resumed) = (count(&record, "tls_full"), count(&record, "tls_resumed"));
    // Those that are to resume have no ticket at first.
    assert!(resumed > 0 && resumed <= full, "{full} and {resumed}");
}

#[test]
fn all_that_dial_do_so_over_tls() {
    let server = Serving::start(&["--tls-self-signed"]);
    let url = |path: &str| format!("wss://{}{path}", server.address);
    let (echo, chat) = (url("/echo"), url("/chat"));
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let command = format!("{} serve --bind 127.0.0.1:{{port}} --tls-self-signed", tidegate().display());
    let own = format!("wss://{free}/crowd");
    let table: [&[&str]; 5] = [
        &["fanout", &chat, "-n", "5", "--rate", "20", "--warmup", "0", "--duration", "300ms"],
        &["storm", &echo, "-n", "20", "--rounds", "1"],
        &["slow", &chat, "-n", "5", "--rate", "20", "--warmup", "0", "--duration", "300ms"],
        &["hold", &own, "-n", "10", "--pinged-within", "0", "--patience", "1s", "--server", &command],
        &[
            "search",
            &echo,
            "-n",
            "4",
            "--until",
            "errors<1",
            "--from",
            "50",
            "--to",
            "100",
            "--duration",
            "200ms",
        ],
    ];
    for words in table {
        let ended = loadtest(&[words, &LENIENT, &["--insecure"]].concat());
        assert!(matches!(ended.code(), Some(0 | 3)), "{words:?}: {ended:?}");
    }
}

/// One complaint, with this exit code and these words in it.
#[track_caller]
fn is_refused(words: &[&str], code: i32, parts: &[&str]) {
    let ended = loadtest(words);
    let complaints = ended.stderr.lines().filter(|line| line.starts_with("loadtest: ")).count();
    assert_eq!((ended.code(), complaints), (Some(code), 1), "{words:?}: {ended:?}");
    for part in parts {
        assert!(ended.stderr.contains(part), "{words:?}: no {part:?} in {}", ended.stderr);
    }
}

#[test]
fn a_certificate_that_is_not_to_be_trusted_is_told() {
    let good = Made::new("localhost", 2090);
    let authority = Made::with("localhost", 2090, IsCa::Ca(BasicConstraints::Unconstrained));
    let table = [
        (authority, true, "CaUsedAsEndEntity", "CA:FALSE"),
        (Made::new("localhost", 2010), true, "has expired (on 2010-02-03)", "renew it"),
        (Made::new("elsewhere.test", 2090), true, "for another name: asked for localhost", "--resolve"),
        (Made::new("localhost", 2090), false, "nobody trusted vouches", "--ca"),
    ];
    for (made, own, part, advice) in table {
        let server = wss(&made);
        let url = server.url("wss");
        let ca = if own { made.file() } else { good.file() };
        for scenario in [&["echo"][..], &["idle"], &["churn", "--warmup", "10s"]] {
            is_refused(&[scenario, &[&url, "--ca", ca]].concat(), 1, &[part, advice, &url]);
        }
        let words = ["echo", &url, "--insecure", "-n", "10", "--warmup", "0", "--duration", "200ms"];
        assert_echoed(&measured(&words), &words);
    }
}

#[test]
fn trust_is_never_taken_for_granted() {
    let made = Made::new("localhost", 2090);
    let server = wss(&made);
    let url = server.url("wss");
    is_refused(&["echo", &url], 2, &[&url, "--ca FILE names them", "--insecure"]);
    is_refused(&["echo", &url, "--ca", "/nonexistent.pem"], 1, &["--ca: cannot read /nonexistent.pem"]);
    is_refused(&["churn", &server.url("ws"), "--resume", "50%"], 2, &["--resume", "write it as wss://"]);
    assert_eq!(server.end().accepted, 0, "nobody was asked");
}

#[test]
fn the_wrong_scheme_is_told() {
    let made = Made::new("localhost", 2090);
    let (veiled, plain) = (wss(&made), Counting::start(Config::default()));
    for scenario in ["echo", "churn"] {
        is_refused(&[scenario, &veiled.url("ws")], 1, &["speaks TLS; write it as wss://"]);
        is_refused(&[scenario, &plain.url("wss"), "--insecure"], 1, &["speaks no TLS; write it as ws://"]);
    }
}
