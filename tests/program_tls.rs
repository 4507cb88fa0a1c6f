//! The program `tidegate` with certificates: from files, made at the start, read again on SIGHUP, and refused.
//!
//! Invariant: every certificate is made by the test that uses it, in a folder that goes with it.

mod harness;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use harness::child::Running;
use harness::peer::{Peer, TEXT, frame, handshake};
use harness::{PATIENCE, until};
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A folder of files that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-tls-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a certificate for `host` and its key; returns the certificate.
    fn made(&self, host: &str, until: i32) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, host);
        params.not_after = date_time_ymd(until, 2, 3);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(self.path("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tidegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["serve", "--bind", "127.0.0.1:0", "--app", "echo"]).args(arguments);
    command
}

/// Opens a WebSocket over TLS with a server that shows `certificate`, and lets it echo. One that has just been read is shown
/// to those who come after the turn in which the loop hears of it, so the first may still see the one before.
fn echoes(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
) -> StreamOwned<ClientConnection, TcpStream> {
    until("an echo under this certificate", || try_echo(address, certificate).ok())
}

fn try_echo(
    address: SocketAddr,
    certificate: &CertificateDer<'static>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket);
    stream.write_all(handshake("/").as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    echo(&mut stream);
    Ok(stream)
}

fn echo(stream: &mut StreamOwned<ClientConnection, TcpStream>) {
    stream.write_all(&frame(true, TEXT, b"hello")).unwrap();
    let mut back = [0; 7];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"\x81\x05hello");
}

/// The lines up to the one of the certificate, and the address in them.
fn started(running: &Running) -> (SocketAddr, String) {
    let address = running.address();
    (address, running.line())
}

#[test]
fn certificates_are_served_and_read_again() {
    let folder = Folder::new("again");
    let old = folder.made("localhost", 2090);
    let (cert, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    let running = Running::start(&mut tidegate(&["--tls-cert", &cert, "--tls-key", &key]));
    let (address, line) = started(&running);
    assert!(line.contains("certificate   SHA-256 ") && line.ends_with(", until 2090-02-03"), "{line}");
    let mut before = echoes(address, &old);

    let new = folder.made("localhost", 2080);
    running.signal("HUP");
    let line = running.error_line();
    assert!(line.starts_with("tidegate: certificates read again: SHA-256 "), "{line}");
    assert!(line.ends_with(", until 2080-02-03"), "{line}");
    echoes(address, &new);
    echo(&mut before);

    fs::write(&cert, "no certificate").unwrap();
    running.signal("HUP");
    let line = running.error_line();
    let told = format!(
        "tidegate: certificates stay as they are: {cert} with {key}: has no -----BEGIN CERTIFICATE-----"
    );
    assert!(line.starts_with(&told), "{line}");
    echoes(address, &new);

    folder.made("localhost", 2010);
    running.signal("HUP");
    assert!(running.error_line().contains("read again"));
    let line = running.error_line();
    assert!(line.starts_with("tidegate: warning: certificate 1 has expired on 2010-02-03"), "{line}");
}

#[test]
fn one_is_made_to_try_it_out() {
    let running = Running::start(&mut tidegate(&["--tls-self-signed"]));
    let (address, line) = started(&running);
    assert!(line.contains("certificate   SHA-256 "), "{line}");
    let mut peer = Peer::connect(address);
    peer.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(peer.answer().status, 400, "plain HTTP is told what this port speaks");
    running.signal("HUP");
    assert!(running.error_line().contains("there is no file to read again"));
}

#[test]
fn plain_and_tls_have_addresses_of_their_own() {
    let folder = Folder::new("both");
    let certificate = folder.made("localhost", 2090);
    let (cert, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    let flags = ["--tls-bind", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key];
    let running = Running::start(&mut tidegate(&flags));
    let (plain, veiled) = (running.address(), running.address());
    let mut peer = Peer::open(plain);
    peer.send(TEXT, "hello");
    assert_eq!(peer.message().text(), "hello");
    echoes(veiled, &certificate);
}

#[test]
fn what_cannot_be_served_is_told_in_one_line() {
    let [folder, other] = [Folder::new("one"), Folder::new("other")];
    folder.made("localhost", 2090);
    other.made("localhost", 2090);
    let (cert, key, wrong) = (folder.path("cert.pem"), folder.path("key.pem"), other.path("key.pem"));
    let table: [(&[&str], i32, &str); 5] = [
        (&["--tls-cert", &cert, "--tls-key", &wrong], 1, "the key does not belong to the certificate"),
        (&["--tls-cert", "/nonexistent.pem", "--tls-key", &key], 1, "cannot read /nonexistent.pem"),
        (&["--tls-key", &key], 2, "--tls-key: there is no certificate; set tls-cert too"),
        (&["--tls-self-signed", "--tls-cert", &cert], 2, "there are certificates already"),
        (&["--tls-cert", &cert, "--tls-client-required"], 2, "set tls-client-ca too"),
    ];
    for (flags, code, part) in table {
        let mut running = Running::start(&mut tidegate(flags));
        let status = running.wait();
        let (lines, errors) = running.rest();
        assert_eq!((status.code(), lines.len(), errors.len()), (Some(code), 0, 1), "{flags:?}: {errors:?}");
        assert!(errors[0].contains(part), "{errors:?}");
    }
}
