//! Both sides of TLS against each other: whole, byte by byte, cut at every byte; and peers that break the rules.

use rustls::crypto::cipher::{OutboundChunks, OutboundPlainMessage};
use rustls::{ConnectionTrafficSecrets, ContentType, SupportedCipherSuite};

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519};

use super::*;

/// A self-signed certificate for these names and its key, in PEM.
fn made(names: &[&str]) -> (String, String) {
    made_with(names, |_| {})
}

fn made_with(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
    let mut params = CertificateParams::new(names.clone()).unwrap();
    params.distinguished_name.push(DnType::CommonName, names.concat());
    change(&mut params);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn server_tls(names: &[&str]) -> (ServerTls, ClientTls) {
    let (chain, key) = made(names);
    let server = ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    (server, ClientTls::from_pem(chain.as_bytes()).unwrap())
}

const MOST: usize = 32 * 1024;

/// One end, with what it has read.
struct End {
    tls: Tls,
    plain: Vec<u8>,
    failed: Option<Failed>,
}

impl End {
    fn new(tls: Tls) -> Self {
        End { tls, plain: Vec::new(), failed: None }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        if let Err(failed) = self.tls.open(&mut bytes, &mut self.plain, MOST) {
            assert!(self.failed.replace(failed).is_none(), "fails once");
        }
    }

    fn speak(&mut self) -> Vec<u8> {
        let bytes = self.tls.outgoing().to_vec();
        self.tls.took(bytes.len());
        bytes
    }

    fn say(&mut self, text: &[u8]) -> Vec<u8> {
        let mut wire = vec![0; WIRE];
        let len = self.tls.seal(text, &mut wire).unwrap();
        wire.truncate(len);
        wire
    }

    fn close(&mut self) -> Vec<u8> {
        let mut wire = vec![0; WIRE];
        let len = self.tls.close(&mut wire).unwrap();
        wire.truncate(len);
        wire
    }
}

struct Pair {
    client: End,
    server: End,
}

fn pair(server: &ServerTls, client: &ClientTls) -> Pair {
    pair_at(server, client, "localhost:9001")
}

fn pair_at(server: &ServerTls, client: &ClientTls, host: &str) -> Pair {
    Pair { client: End::new(client.connect(host).unwrap()), server: End::new(server.accept().unwrap()) }
}

impl Pair {
    /// Carries what waits to and fro, in pieces as `cut` makes them, until nobody has anything to say.
    fn shake(&mut self, cut: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
        loop {
            let up = self.client.speak();
            cut(&up).iter().for_each(|piece| self.server.hear(piece));
            let down = self.server.speak();
            cut(&down).iter().for_each(|piece| self.client.hear(piece));
            if up.is_empty() && down.is_empty() {
                return;
            }
        }
    }

    fn shaken(mut self) -> Self {
        self.shake(|bytes| vec![bytes.to_vec()]);
        assert!(self.client.failed.is_none(), "{:?}", self.client.failed);
        assert!(self.server.failed.is_none(), "{:?}", self.server.failed);
        assert!(self.client.tls.can_seal() && self.server.tls.can_seal());
        self
    }
}

fn bytewise(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.iter().map(|&byte| vec![byte]).collect()
}

#[test]
fn both_ways_and_nothing_is_kept() {
    let (server, client) = server_tls(&["localhost"]);
    let mut pair = pair(&server, &client).shaken();
    let long = vec![7; 100_000];
    let mut sent = 0;
    while sent < long.len() {
        let wire = pair.client.say(&long[sent..]);
        pair.server.hear(&wire);
        sent += CHUNK;
    }
    assert_eq!(pair.server.plain, long);
    let wire = pair.server.say(b"back");
    pair.client.hear(&wire);
    assert_eq!(pair.client.plain, b"back");
    assert_eq!((pair.server.tls.charge(), pair.client.tls.charge()), (0, 0), "no buffer while idle");
    let session = TlsSession(&pair.server.tls);
    assert_eq!(session.version(), TlsVersion::Tls13);
    assert_eq!((session.server_name(), session.alpn()), (Some("localhost"), Some(&b"http/1.1"[..])));
    assert_eq!((session.is_resumed(), session.certificates().count()), (false, 0));
    assert_eq!(TlsSession(&pair.client.tls).certificates().count(), 1);
}

#[test]
fn cut_byte_by_byte() {
    let (server, client) = server_tls(&["localhost"]);
    let mut pair = pair(&server, &client);
    pair.shake(bytewise);
    assert!(pair.client.tls.can_seal() && pair.server.tls.can_seal());
    let wire = [pair.client.say(b"one"), pair.client.say(&[2; 20_000]), pair.client.close()].concat();
    bytewise(&wire).iter().for_each(|piece| pair.server.hear(piece));
    assert_eq!((&pair.server.plain[..3], pair.server.plain.len()), (&b"one"[..], 20_003));
    assert!(pair.server.tls.is_peer_done() && !pair.server.tls.is_cut_by_end());
    assert_eq!(pair.server.tls.charge(), 0);
}

/// The handshake's first flight each way, and records, in two pieces at every place.
#[test]
fn cut_at_every_byte() {
    let (server, client) = server_tls(&["localhost"]);
    let hello = client.connect("localhost").unwrap().outgoing().len();
    for at in 0..=hello {
        let mut pair = pair(&server, &client);
        pair.shake(|bytes| {
            let (one, other) = bytes.split_at(at.min(bytes.len()));
            vec![one.to_vec(), other.to_vec()]
        });
        assert!(pair.client.tls.can_seal() && pair.server.tls.can_seal(), "cut at {at}");
    }
    let mut pair = pair(&server, &client).shaken();
    for at in 0..60 {
        pair.server.plain.clear();
        let wire = [pair.client.say(b"0123456789"), pair.client.say(b"abc")].concat();
        let (one, other) = wire.split_at(at.min(wire.len()));
        pair.server.hear(one);
        pair.server.hear(other);
        assert_eq!(pair.server.plain, b"0123456789abc", "cut at {at}");
        assert_eq!(pair.server.tls.charge(), 0, "cut at {at}");
    }
}

#[test]
fn sessions_are_resumed_by_tickets_of_the_same_server() {
    let (server, client) = server_tls(&["localhost"]);
    let resumed = |server: &ServerTls, client: &ClientTls| {
        let pair = pair(server, client).shaken();
        let both = [&pair.server.tls, &pair.client.tls].map(|tls| TlsSession(tls).is_resumed());
        assert_eq!(both[0], both[1]);
        both[0]
    };
    assert!(!resumed(&server, &client));
    assert!(resumed(&server, &client.clone()), "clones share what can be resumed");
    let blind = client.clone().resumption(false).unwrap();
    assert!(!resumed(&server, &blind) && !resumed(&server, &blind));
    // The name was heard although no certificate was sent.
    let pair = pair(&server, &client).shaken();
    assert_eq!(TlsSession(&pair.server.tls).server_name(), Some("localhost"));
    // What is reloaded counts at once.
    let reloaded = server.clone().tickets(true).unwrap();
    assert!(!resumed(&reloaded, &client));
    let without = server.tickets(false).unwrap();
    assert!(!resumed(&without, &client) && !resumed(&without, &client));
}

#[test]
fn the_certificate_is_chosen_by_name() {
    let [(one, one_key), (two, two_key)] = [made(&["one.test"]), made(&["two.test", "*.two.test"])];
    let identity = |chain: &str, key: &str| Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let server = ServerTls::new(identity(&one, &one_key)).unwrap().identity(identity(&two, &two_key));
    let client = ClientTls::insecure().unwrap();
    let table =
        [("one.test", 0), ("two.test:443", 1), ("deep.two.test", 1), ("three.test", 0), ("127.0.0.1", 0)];
    let certificates: Vec<&[u8]> = server.identities().map(Identity::certificate).collect();
    for (host, place) in table {
        let pair = pair_at(&server, &client, host).shaken();
        let shown = TlsSession(&pair.client.tls).certificates().next().unwrap().to_vec();
        assert_eq!(shown, certificates[place], "{host}");
    }
}

/// What the client says of a server's certificate, and what the server hears of it.
fn verdict(server: &ServerTls, client: &ClientTls, host: &str) -> (TlsError, String, Option<TlsError>) {
    let mut pair = pair_at(server, client, host);
    pair.shake(|bytes| vec![bytes.to_vec()]);
    let client = pair.client.failed.expect("a client that refuses");
    assert!(!pair.server.tls.can_seal());
    (client.error, client.text, pair.server.failed.map(|failed| failed.error))
}

#[test]
fn certificates_that_are_not_acceptable_are_told_apart() {
    let trusting = |chain: &str| ClientTls::from_pem(chain.as_bytes()).unwrap();
    let (chain, key) = made(&["localhost"]);
    let server = ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let (error, text, heard) = verdict(&server, &trusting(&chain), "elsewhere.test:9001");
    assert_eq!((error, heard), (TlsError::CertificateName, Some(TlsError::Alert(42))));
    let told = "the server's certificate is for another name: asked for elsewhere.test, it is for";
    assert!(text.starts_with(told) && text.contains("localhost"), "{text}");

    // A stranger, and one that has the name of one who is trusted.
    for (names, alert) in [("stranger.test", 48), ("localhost", 51)] {
        let (stranger, _) = made(&[names]);
        let (error, text, heard) = verdict(&server, &trusting(&stranger), "localhost");
        assert_eq!((error, heard), (TlsError::CertificateIssuer, Some(TlsError::Alert(alert))));
        assert_eq!(text, "nobody trusted vouches for the peer's certificate");
    }

    let (old, key) = made_with(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 2, 3);
        params.not_after = rcgen::date_time_ymd(2002, 3, 4);
    });
    let identity = Identity::from_pem(old.as_bytes(), key.as_bytes()).unwrap();
    let (from, until) = identity.validity().unwrap();
    assert_eq!([from, until].map(crate::wire::x509::date), ["2001-02-03", "2002-03-04"]);
    let (error, text, heard) = verdict(&ServerTls::new(identity).unwrap(), &trusting(&old), "localhost");
    assert_eq!((error, heard), (TlsError::CertificateExpired, Some(TlsError::Alert(45))));
    assert_eq!(text, "the peer's certificate has expired (on 2002-03-04)");

    let (early, key) =
        made_with(&["localhost"], |params| params.not_before = rcgen::date_time_ymd(2999, 1, 2));
    let server = ServerTls::from_pem(early.as_bytes(), key.as_bytes()).unwrap();
    let (error, text, _) = verdict(&server, &trusting(&early), "localhost");
    assert_eq!(error, TlsError::CertificateNotYetValid);
    assert_eq!(text, "the peer's certificate is not valid yet (not before 2999-01-02)");
}

#[test]
fn clients_show_certificates_where_they_are_asked() {
    let [(ours, ours_key), (theirs, theirs_key)] = [made(&["localhost"]), made(&["client.test"])];
    let (stranger, stranger_key) = made(&["stranger.test"]);
    let plain = ServerTls::from_pem(ours.as_bytes(), ours_key.as_bytes()).unwrap();
    let trusting = ClientTls::from_pem(ours.as_bytes()).unwrap();
    let showing = |chain: &str, key: &str| {
        let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        trusting.clone().identity(identity).unwrap()
    };
    for required in [false, true] {
        let server = plain.clone().client_roots(theirs.as_bytes(), required).unwrap();
        let pair = pair(&server, &showing(&theirs, &theirs_key)).shaken();
        let shown: Vec<&[u8]> = TlsSession(&pair.server.tls).certificates().collect();
        assert_eq!(shown.len(), 1, "required {required}");

        let mut pair = pair_at(&server, &trusting, "localhost");
        pair.shake(|bytes| vec![bytes.to_vec()]);
        let failed = pair.server.failed.map(|failed| failed.error);
        assert_eq!(failed, required.then_some(TlsError::NoCertificate));

        let mut pair = pair_at(&server, &showing(&stranger, &stranger_key), "localhost");
        pair.shake(|bytes| vec![bytes.to_vec()]);
        let failed = pair.server.failed.map(|failed| failed.error);
        assert_eq!(failed, Some(TlsError::CertificateIssuer));
        let told = pair.client.failed.map(|failed| failed.error);
        assert!(matches!(told, Some(TlsError::Alert(_))), "the client hears of it: {told:?}");
    }
}

#[test]
fn what_is_no_tls_is_told_apart() {
    let (server, _) = server_tls(&["localhost"]);
    let table: [(&[u8], TlsError, &[u8]); 6] = [
        (b"GET / HTTP/1.1\r\n", TlsError::PlainHttp, b"HTTP/1.1 400 "),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08", TlsError::Protocol, b"\x15\x03"),
        (b"\x16\x03\x01\x00\x05abcde", TlsError::Protocol, b""),
        (b"\x16\x03\x01\xff\xff", TlsError::RecordTooLong, b"\x15\x03"),
        (b"\x17\x03\x03\x00\x01a", TlsError::Protocol, b"\x15\x03"),
        (b"\x15\x03\x01\x00\x02\x02\x28", TlsError::Alert(40), b""),
    ];
    for (bytes, error, answer) in table {
        let mut end = End::new(server.accept().unwrap());
        end.hear(bytes);
        assert_eq!(end.failed.as_ref().map(|failed| failed.error), Some(error), "{}", bytes.escape_ascii());
        assert!(end.speak().starts_with(answer), "{}", bytes.escape_ascii());
        end.hear(b"more");
        assert_eq!((end.tls.charge(), end.plain.len()), (0, 0), "what comes later is dropped");
    }
}

/// The length that is announced for the answer in plain HTTP is the one that it has.
#[test]
fn the_plain_answer_is_framed() {
    let text = std::str::from_utf8(SPEAK_TLS).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())));
}

#[test]
fn changed_and_repeated_records_are_refused() {
    let (server, client) = server_tls(&["localhost"]);
    let mut pair = pair(&server, &client).shaken();
    let whole = pair.client.say(b"hello");
    for at in HEADER..whole.len() {
        let mut pair = pair_at(&server, &client, "localhost").shaken();
        let mut wire = pair.client.say(b"hello");
        let place = at.min(wire.len() - 1);
        wire[place] ^= 1;
        pair.server.hear(&wire);
        assert_eq!(pair.server.failed.map(|failed| failed.error), Some(TlsError::BadRecord), "byte {at}");
        assert!(pair.server.plain.is_empty());
    }
    pair.server.hear(&whole);
    pair.server.hear(&whole);
    assert_eq!(pair.server.failed.map(|failed| failed.error), Some(TlsError::BadRecord), "a record twice");
    assert_eq!(pair.server.plain, b"hello");
}

#[test]
fn oversized_records_are_refused_at_their_header() {
    let (server, client) = server_tls(&["localhost"]);
    let mut pair = pair(&server, &client).shaken();
    pair.server.hear(b"\x17\x03\x03\x41\x01");
    pair.server.hear(b"");
    // RFC 8446 §5.2: 2^14 + 256 bytes; rustls takes what RFC 5246 §6.2.3 allows, 2^14 + 2048.
    assert!(pair.server.failed.is_none());
    let mut pair = pair_at(&server, &client, "localhost").shaken();
    pair.server.hear(b"\x17\x03\x03\x48\x01");
    assert_eq!(pair.server.failed.map(|failed| failed.error), Some(TlsError::RecordTooLong));
}

/// A handshake message that announces much and comes in small records is kept up to the limit, and no further.
#[test]
fn limit_tls_handshake_max() {
    let (server, _) = server_tls(&["localhost"]);
    let mut end = End::new(server.accept().unwrap());
    // A ClientHello of 60,000 bytes, RFC 8446 §4.
    end.hear(b"\x16\x03\x01\x00\x04\x01\x00\xea\x60");
    let piece = [&b"\x16\x03\x01\x03\xe8"[..], &[0; 1000]].concat();
    let mut heard = 0;
    while end.failed.is_none() {
        assert!(end.tls.charge() <= 2 * (MOST + piece.len()), "{} kept", end.tls.charge());
        end.hear(&piece);
        heard += piece.len();
    }
    assert_eq!(end.failed.map(|failed| failed.error), Some(TlsError::TooLong));
    assert!((MOST..MOST + 2 * piece.len()).contains(&heard), "{heard} bytes");
}

#[test]
fn the_end_is_told_from_a_truncation() {
    let (server, client) = server_tls(&["localhost"]);
    let mut pair = pair(&server, &client).shaken();
    assert!(pair.server.tls.is_cut_by_end(), "an end now would be one");
    let wire = [pair.client.say(b"last"), pair.client.close(), b"garbage behind it".to_vec()].concat();
    pair.server.hear(&wire);
    assert_eq!((&pair.server.plain[..], pair.server.failed.is_none()), (&b"last"[..], true));
    assert!(pair.server.tls.is_peer_done() && !pair.server.tls.is_cut_by_end());
    let wire = [pair.server.say(b"still"), pair.server.close()].concat();
    pair.client.hear(&wire);
    assert_eq!((&pair.client.plain[..], pair.client.tls.is_peer_done()), (&b"still"[..], true));
    assert!(!pair.server.tls.can_seal() && pair.server.tls.close(&mut vec![0; WIRE]).is_none(), "said once");
}

#[test]
fn keys_and_certificates_that_do_not_do_are_explained() {
    let [(chain, key), (other, _)] = [made(&["a.test"]), made(&["b.test"])];
    let table = [
        (&other[..], &key[..], "the key does not belong to the certificate"),
        ("", &key, "has no -----BEGIN CERTIFICATE----- in it; it must be PEM"),
        (&chain, &chain, "the key has no -----BEGIN PRIVATE KEY----- in it"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", &key, "is broken PEM: "),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &key,
            "the certificate cannot be read",
        ),
    ];
    for (chain, key, start) in table {
        let error = ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
        assert!(!error.contains('\n'), "one line: {error}");
    }
    assert!(ClientTls::insecure().unwrap().server_name("not a name").is_err());
    assert!(ClientTls::insecure().unwrap().connect("also not a name:80").is_err());
}

#[test]
fn waiting_bytes_are_joined_or_go_first() {
    let (server, client) = server_tls(&["localhost"]);
    let mut tls = pair(&server, &client).shaken().server.tls;
    let mut wire = vec![0; WIRE];
    tls.keep(&[1; JOIN]);
    assert_eq!((tls.join(&mut wire), tls.waiting(), tls.charge()), (JOIN, 0, 0));
    tls.keep(&[1; JOIN + 1]);
    assert_eq!((tls.join(&mut wire), tls.waiting()), (0, JOIN + 1));
    tls.took(JOIN);
    assert_eq!((tls.outgoing().len(), tls.join(&mut wire)), (1, 1));
}

/// What an idle session of a server costs on the heap once it has been used, how much of that is ours, and that a message
/// leaves nothing behind.
#[test]
fn an_idle_session_costs_what_rustls_needs() {
    let (server, client) = server_tls(&["localhost"]);
    for resumed in [false, true] {
        let mut bytes = 0;
        let mut client_end = End::new(client.connect("localhost").unwrap());
        let mut begun = None;
        // Only what the server does is counted.
        let counted = |f: &mut dyn FnMut()| allocation_counter::measure(f);
        bytes += counted(&mut || begun = Some(Box::new(server.accept().unwrap()))).bytes_current;
        let mut tls = begun.unwrap();
        let (mut wire, mut plain) = (vec![0; WIRE], Vec::with_capacity(100));
        loop {
            let mut up = client_end.speak();
            bytes += counted(&mut || tls.open(&mut up, &mut plain, MOST).unwrap()).bytes_current;
            let down = tls.outgoing().to_vec();
            bytes += counted(&mut || tls.took(tls.waiting())).bytes_current;
            client_end.hear(&down);
            if up.is_empty() && down.is_empty() {
                break;
            }
        }
        assert!(tls.can_seal() && TlsSession(&tls).is_resumed() == resumed);
        for round in 0..3 {
            plain.clear();
            let mut record = client_end.say(b"a message of twenty.");
            let opened = counted(&mut || tls.open(&mut record, &mut plain, MOST).unwrap());
            let sealed = counted(&mut || assert!(tls.seal(&plain, &mut wire).is_some()));
            bytes += opened.bytes_current + sealed.bytes_current;
            let left = opened.bytes_current + sealed.bytes_current;
            // The first one makes a queue in rustls that stays.
            assert!(round == 0 || left == 0, "{left} bytes stay of message {round}");
            println!(
                "allocations to open a record: {}, to seal one: {}",
                opened.count_total, sealed.count_total
            );
        }
        let own = size_of::<Tls>() - size_of::<UnbufferedServerConnection>();
        let name = tls.name.as_ref().map_or(0, |name| name.len());
        let elsewhere = bytes as usize - size_of::<Tls>() - name;
        println!(
            "resumed {resumed}: {bytes} bytes: rustls' connection {}",
            bytes as usize - own - name - elsewhere
        );
        println!("    rustls elsewhere {elsewhere}, ours {own}, the name {name}");
        assert!(bytes <= 10_000, "{bytes} bytes");
        assert!(own + name <= 200, "{own} bytes are ours, and {name} of a name");
    }
}

/// A record of TLS 1.2 in a client's place: the next one of its session, of any content type.
fn forged(session: UnbufferedClientConnection) -> impl FnMut(ContentType, &[u8]) -> Vec<u8> {
    let suite = session.negotiated_cipher_suite().unwrap();
    let (secrets, _) = session.dangerous_into_kernel_connection().unwrap();
    let (mut number, secrets) = secrets.tx;
    let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another suite: {suite:?}") };
    let SupportedCipherSuite::Tls12(suite) = suite else { panic!("another version: {suite:?}") };
    let (fixed, explicit) = iv.as_ref().split_at(4);
    let mut encrypter = suite.aead_alg.encrypter(key, fixed, explicit);
    move |typ, payload| {
        let version = ProtocolVersion::TLSv1_2;
        let message = OutboundPlainMessage { typ, version, payload: OutboundChunks::Single(payload) };
        let record = encrypter.encrypt(message, number).unwrap().encode();
        number += 1;
        record
    }
}

#[test]
fn renegotiation_is_refused() {
    let (server, client) = server_tls(&["localhost"]);
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let mut config = builder
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(client.verifier())
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let session = UnbufferedClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let client_end = End::new(client::begin(session).unwrap());
    let pair = Pair { client: client_end, server: End::new(server.accept().unwrap()) }.shaken();
    let Session::Client(session) = pair.client.tls.session else { panic!("a client") };
    let (mut server, mut record) = (pair.server, forged(*session));

    let hello = client.connect("localhost").unwrap().outgoing()[HEADER..].to_vec();
    server.hear(&record(ContentType::Handshake, &hello));
    // RFC 5246 §7.2.2: a warning, no_renegotiation, and the session goes on.
    assert!(server.failed.is_none() && server.speak()[0] == 21);
    server.hear(&record(ContentType::ApplicationData, b"still here"));
    assert_eq!(server.plain, b"still here");
    server.hear(&record(ContentType::Handshake, &hello));
    assert_eq!(server.failed.map(|failed| failed.error), Some(TlsError::Renegotiation), "once is enough");
}
