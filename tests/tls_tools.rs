//! The server over TLS, seen by what everybody has: OpenSSL's `s_client`, and curl.
//!
//! Knows the public interface only. Invariant: a tool that is missing fails the test, with what to install.

mod harness;

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};

use harness::{Running, Script, start, until};
use rcgen::{CertificateParams, DnType, KeyPair};
use tidegate::{Config, Reply, Response, ServerTls};

/// A server with a certificate of its own for `localhost`, the file of which goes with it.
struct Veiled {
    server: Running,
    ca: PathBuf,
}

fn answering(config: Config) -> Running {
    start(config, || Script::new().request(|_, _, _| Reply::Respond(Response::text(200, "heard"))))
}

impl Veiled {
    fn start(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let certificate = params.self_signed(&key).unwrap();
        let ca = std::env::temp_dir().join(format!("tidegate-tools-{}-{name}.pem", std::process::id()));
        fs::write(&ca, certificate.pem()).unwrap();
        let tls = ServerTls::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        Veiled { server: answering(Config::default().tls(tls)), ca }
    }

    fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// `openssl s_client`, which trusts this server's certificate and nobody else's.
    fn s_client(&self, more: &[&str], input: &str) -> Said {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &self.address().to_string(), "-servername", "localhost"]);
        command.args(["-CAfile", self.ca.to_str().unwrap(), "-verify_return_error"]).args(more);
        Tool::start(&mut command, "openssl", input).end()
    }

    fn curl(&self, more: &[&str]) -> Said {
        curl(self.address(), &[&["--cacert", self.ca.to_str().unwrap()], more].concat())
    }

    /// `https://localhost:PORT/`
    fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/", self.address().port())
    }
}

impl Drop for Veiled {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.ca);
    }
}

fn curl(address: SocketAddr, more: &[&str]) -> Said {
    let there = format!("localhost:{}:{}", address.port(), address.ip());
    let mut command = Command::new("curl");
    // Without a file of the user's, a proxy of the machine's, and a meter.
    command.args(["-q", "--noproxy", "*", "--silent", "--show-error", "--resolve", &there]).args(more);
    Tool::start(&mut command, "curl", "").end()
}

/// What a tool said on both its outputs, and its exit code.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    text: String,
}

impl Said {
    #[track_caller]
    fn has(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.text.contains(part), "no {part:?} in {self:?}");
        }
        self
    }
}

/// A tool in progress; it ends with its handle.
struct Tool {
    child: Child,
    said: Vec<JoinHandle<String>>,
    /// Open to the end: `s_client` leaves when its input is over.
    _input: ChildStdin,
}

impl Tool {
    fn start(command: &mut Command, package: &str, input: &str) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{error}: apt-get install {package}: {command:?}"));
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        let said = vec![read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap())];
        Tool { child, said, _input: stdin }
    }

    fn end(mut self) -> Said {
        let status = until("the end of the tool", || self.child.try_wait().unwrap());
        let text = self.said.drain(..).map(|said| said.join().unwrap()).collect();
        Said { code: status.code(), text }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The server's answer to it ends the session.
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[test]
fn openssl_speaks_both_versions() {
    let veiled = Veiled::start("versions");
    for (flag, version) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let said = veiled.s_client(&["-ign_eof", flag, "-alpn", "h2,http/1.1"], REQUEST);
        let new = format!("New, {version}, Cipher is ");
        said.has(&[&new, "Verification: OK", "ALPN protocol: http/1.1", "HTTP/1.1 200 OK", "heard"]);
        assert_eq!(said.code, Some(0), "{said:?}");
    }
    let stats = veiled.server.stats_when("two ends", |stats| stats.connections == 0);
    assert_eq!((stats.tls_handshakes, stats.tls_resumed, stats.ended_tls), (2, 0, 0));
}

#[test]
fn openssl_comes_back_with_its_ticket() {
    let veiled = Veiled::start("tickets");
    let ticket = veiled.ca.with_extension("ticket");
    let file = ticket.to_str().unwrap();
    for (flag, version) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let first = veiled.s_client(&["-ign_eof", flag, "-sess_out", file], REQUEST);
        first.has(&[&format!("New, {version}"), "HTTP/1.1 200 OK"]);
        let second = veiled.s_client(&["-ign_eof", flag, "-sess_in", file], REQUEST);
        second.has(&[&format!("Reused, {version}"), "HTTP/1.1 200 OK"]);
    }
    let _ = fs::remove_file(&ticket);
    let stats = veiled.server.stats_when("four handshakes", |stats| stats.tls_handshakes == 4);
    assert_eq!(stats.tls_resumed, 2);
}

#[test]
fn openssl_is_refused_a_second_handshake_within_the_first() {
    let veiled = Veiled::start("again");
    let said = veiled.s_client(&["-tls1_2"], "R\n");
    said.has(&["Secure Renegotiation IS supported", "RENEGOTIATING", "no renegotiation"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let stats = veiled.server.stats_when("the end", |stats| stats.connections == 0);
    assert_eq!(stats.tls_handshakes, 1);
}

#[test]
fn openssl_is_told_that_its_version_is_too_old() {
    let veiled = Veiled::start("old");
    // OpenSSL itself offers such versions at this level only.
    for flag in ["-tls1_1", "-tls1"] {
        let said = veiled.s_client(&[flag, "-cipher", "ALL:@SECLEVEL=0"], "");
        // Not `protocol version`: what these versions do not send, which signatures they take, is missed first.
        said.has(&["alert handshake failure"]);
        assert_eq!(said.code, Some(1), "{flag}: {said:?}");
    }
    let stats = veiled.server.stats_when("two ends", |stats| stats.ended_tls == 2);
    assert_eq!((stats.tls_handshakes, stats.connections), (0, 0));
}

#[test]
fn openssl_is_told_that_there_is_no_http2() {
    let veiled = Veiled::start("alpn");
    let said = veiled.s_client(&["-alpn", "h2"], "");
    said.has(&["alert no application protocol"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    veiled.server.stats_when("the end", |stats| stats.ended_tls == 1);
}

#[test]
fn curl_gets_a_page_from_whom_it_trusts() {
    let veiled = Veiled::start("curl");
    for version in [&["--tlsv1.3"][..], &["--tlsv1.2", "--tls-max", "1.2"]] {
        let said = veiled.curl(&[version, &[&veiled.url("https")]].concat());
        assert_eq!((said.code, said.text.as_str()), (Some(0), "heard"));
    }
    // 60: the certificate is not to be trusted.
    let by_address = format!("https://{}/", veiled.address());
    assert_eq!(veiled.curl(&[&by_address]).code, Some(60), "its name is another");
    let blind = curl(veiled.address(), &[&veiled.url("https")]);
    assert_eq!(blind.code, Some(60), "nobody vouches for it: {blind:?}");
}

#[test]
fn curl_is_told_when_it_speaks_the_wrong_language() {
    let veiled = Veiled::start("wrong");
    let said = veiled.curl(&["--include", &veiled.url("http")]);
    said.has(&["HTTP/1.1 400 Bad Request", "this port speaks TLS: use https:// or wss://"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    veiled.server.stats_when("plain HTTP", |stats| stats.plain_on_tls_port == 1);

    let plain = answering(Config::default());
    let said = curl(plain.address, &[&format!("https://localhost:{}/", plain.address.port())]);
    // 35: no TLS was there.
    assert_eq!(said.code, Some(35), "{said:?}");
    plain.stats_when("TLS", |stats| stats.tls_on_plain_port == 1);
}
