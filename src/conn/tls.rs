//! L2: TLS between the bytes of a socket and a `Connection`: `open` makes plaintext of what came, `seal` makes records
//! of what goes. This file and those beside it in `tls/` are the only ones that name rustls.
//!
//! Refuses to know sockets, HTTP and the loop. The one exception to "time and randomness are arguments": rustls asks the
//! system for both itself, as its security hangs on them. Invariants: an idle session owns no buffer, since rustls works
//! in those that it is lent (its unbuffered API); of what came in at most `most` bytes are kept; what is owed to the
//! peer, and only that, waits in `outgoing`; after a failure nothing is handed to rustls again.

#[cfg(any(test, feature = "client"))]
mod client;
mod keys;
#[cfg(test)]
mod tests;

use std::fmt;

#[cfg(any(test, feature = "client"))]
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{
    AlertDescription, CertificateError, CommonState, Error, HandshakeKind, PeerMisbehaved, ProtocolVersion,
};

#[cfg(any(test, feature = "client"))]
pub use self::client::ClientTls;
use self::keys::Asked;
pub use self::keys::{Identity, ServerTls, TlsSetupError};
use super::error::TlsError;

/// Bytes of a record's header (RFC 8446 §5.1).
const HEADER: usize = 5;
/// What a record adds to its payload: header, explicit nonce (TLS 1.2), content type (TLS 1.3) and tag.
const OVERHEAD: usize = HEADER + 8 + 1 + 16;
/// Bytes of plaintext in a record (RFC 8446 §5.1).
const FRAGMENT: usize = 16 * 1024;
/// Bytes of plaintext that one [`Tls::seal`] takes.
pub const CHUNK: usize = 4 * FRAGMENT;
/// Room for what may come before and behind: a key update, a `close_notify`.
const SLACK: usize = 512;
/// Bytes that wait at the most where they are sent together with what is sealed next.
pub const JOIN: usize = 4 * 1024;
/// The buffer that one [`Tls::seal`] writes into, with what it joins.
pub const WIRE: usize = CHUNK + 4 * OVERHEAD + SLACK + JOIN;

/// What a peer is told that speaks HTTP where TLS belongs. It understands no record, so it gets none.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 53\r\n\r\n\
    this port speaks TLS: use https:// or wss:// with it\n";

/// The version of the protocol that two peers have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TlsVersion::Tls12 => "TLS 1.2",
            TlsVersion::Tls13 => "TLS 1.3",
        })
    }
}

/// How a session failed: the rule, and what a person may be told.
#[derive(Debug)]
pub struct Failed {
    /// The rule.
    pub error: TlsError,
    /// It in words, with what rustls knows beyond the rule.
    pub text: String,
}

impl Failed {
    fn new(error: TlsError) -> Self {
        Failed { error, text: error.to_string() }
    }
}

/// Both sides of rustls' unbuffered API, which has them in two types.
trait Records {
    type Role;
    fn process<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Role>;
    /// True while there are records to be taken from it.
    fn owes(&self) -> bool;
}

impl Records for UnbufferedServerConnection {
    type Role = ServerConnectionData;
    fn process<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Role> {
        self.process_tls_records(bytes)
    }

    fn owes(&self) -> bool {
        self.wants_write()
    }
}

#[cfg(any(test, feature = "client"))]
impl Records for UnbufferedClientConnection {
    type Role = ClientConnectionData;
    fn process<'c, 'i>(&'c mut self, bytes: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Role> {
        self.process_tls_records(bytes)
    }

    fn owes(&self) -> bool {
        self.wants_write()
    }
}

#[allow(clippy::large_enum_variant, reason = "a server's session lies in its box whole")]
enum Session {
    Server(UnbufferedServerConnection),
    #[cfg(any(test, feature = "client"))]
    Client(Box<UnbufferedClientConnection>),
}

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has come from the client.
    Fresh,
    /// The handshake is under way.
    Shaking,
    /// Plaintext goes both ways.
    Established,
    /// We have failed, or said that we have not understood a word. What waits goes out and nothing else.
    Failed,
}

/// One peer's session. See the module's text.
pub struct Tls {
    session: Session,
    stage: Stage,
    /// The peer's `close_notify` has come.
    peer_done: bool,
    /// Ours is among what is sent.
    notified: bool,
    /// Bytes of records that rustls has not done with.
    incoming: Vec<u8>,
    /// How many of these are whole records.
    whole: usize,
    /// Bytes that the kernel has not taken.
    outgoing: Vec<u8>,
    sent: usize,
    /// The name that the client asked for.
    asked: Option<std::sync::Arc<Asked>>,
    name: Option<Box<str>>,
    /// What of this has been entered in the loop's sums: bytes held, bytes waiting.
    pub entered: (usize, usize),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tls { stage, peer_done, notified, .. } = self;
        write!(f, "Tls({stage:?}, peer done {peer_done}, notified {notified}, {} waiting)", self.waiting())
    }
}

/// What [`Tls::open`] has made of the bytes.
struct Opened<'a> {
    plain: &'a mut Vec<u8>,
    outgoing: &'a mut Vec<u8>,
    peer_done: bool,
}

impl Tls {
    fn new(session: Session, stage: Stage, asked: Option<std::sync::Arc<Asked>>) -> Self {
        Tls {
            session,
            stage,
            peer_done: false,
            notified: false,
            incoming: Vec::new(),
            whole: 0,
            outgoing: Vec::new(),
            sent: 0,
            asked,
            name: None,
            entered: (0, 0),
        }
    }

    /// True until the handshake is done, also where it never will be.
    pub fn is_shaking(&self) -> bool {
        matches!(self.stage, Stage::Fresh | Stage::Shaking)
    }

    /// True when plaintext can be sealed.
    pub fn can_seal(&self) -> bool {
        self.stage == Stage::Established && !self.notified
    }

    /// True when the peer has said that nothing more comes from it.
    pub fn is_peer_done(&self) -> bool {
        self.peer_done
    }

    /// True when the session was established and the stream's end without `close_notify` is a truncation.
    pub fn is_cut_by_end(&self) -> bool {
        self.stage == Stage::Established && !self.peer_done
    }

    /// Memory held in buffers, in bytes.
    pub fn charge(&self) -> usize {
        self.incoming.capacity() + self.outgoing.capacity()
    }

    /// Bytes that the kernel has not taken.
    pub fn waiting(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// These bytes.
    pub fn outgoing(&self) -> &[u8] {
        &self.outgoing[self.sent..]
    }

    /// The kernel has taken `len` of them.
    pub fn took(&mut self, len: usize) {
        self.sent += len;
        if self.sent >= self.outgoing.len() {
            self.outgoing = Vec::new();
            self.sent = 0;
        }
    }

    /// Keeps what the kernel has not taken of bytes that were to go next; nothing else waits.
    pub fn keep(&mut self, bytes: &[u8]) {
        debug_assert!(self.waiting() == 0);
        self.outgoing = bytes.to_vec();
        self.sent = 0;
    }

    /// Moves what waits to the start of `wire`, where it is little enough; how much that was.
    pub fn join(&mut self, wire: &mut [u8]) -> usize {
        let len = self.waiting();
        if len > JOIN || len > wire.len() {
            return 0;
        }
        wire[..len].copy_from_slice(self.outgoing());
        self.took(len);
        len
    }

    /// Takes bytes from the socket and appends what they say to `plain`. What is incomplete is kept, `most` bytes at the
    /// most. Whatever this brings about to be sent is in [`Tls::outgoing`], after an error too.
    ///
    /// # Errors
    /// When the peer or the connection breaks a rule; from then on what comes is dropped.
    pub fn open(&mut self, mut bytes: &mut [u8], plain: &mut Vec<u8>, most: usize) -> Result<(), Failed> {
        if self.stage == Stage::Fresh
            && let Some(first) = bytes.first()
        {
            // RFC 8446 §5.1: a handshake begins with a record of type 22; a method, with a letter.
            if first.is_ascii_alphabetic() {
                self.outgoing.extend_from_slice(SPEAK_TLS);
                return Err(self.fail(Failed::new(TlsError::PlainHttp)));
            }
            self.stage = Stage::Shaking;
        }
        while !bytes.is_empty() && self.stage != Stage::Failed && !self.peer_done {
            if self.incoming.is_empty() {
                let whole = whole_records(bytes);
                let used = self.run(bytes, plain)?;
                self.incoming = bytes[used..].to_vec();
                self.whole = whole.saturating_sub(used);
                break;
            }
            let step = self.missing().min(bytes.len());
            let (now, later) = std::mem::take(&mut bytes).split_at_mut(step);
            self.incoming.extend_from_slice(now);
            bytes = later;
            self.resume(plain)?;
        }
        if self.incoming.len() > most {
            return Err(self.fail(Failed::new(TlsError::TooLong)));
        }
        if self.stage == Stage::Failed || self.peer_done {
            self.incoming = Vec::new();
        }
        Ok(())
    }

    /// How many bytes the record that is arriving lacks, or its header.
    fn missing(&self) -> usize {
        match self.incoming.get(self.whole..) {
            Some(&[_, _, _, high, low, ref rest @ ..]) => {
                usize::from(u16::from_be_bytes([high, low])).saturating_sub(rest.len()).max(1)
            }
            Some(header) => HEADER - header.len(),
            None => 1,
        }
    }

    /// Goes on with what is kept, where a header or a record has just become whole.
    fn resume(&mut self, plain: &mut Vec<u8>) -> Result<(), Failed> {
        let (begun, whole) = match self.incoming.get(self.whole..) {
            Some(&[_, _, _, high, low, ref rest @ ..]) => {
                let len = usize::from(u16::from_be_bytes([high, low]));
                (rest.is_empty(), (rest.len() == len).then_some(self.whole + HEADER + len))
            }
            _ => (false, None),
        };
        if let Some(whole) = whole {
            self.whole = whole;
        } else if !begun {
            return Ok(());
        }
        let mut incoming = std::mem::take(&mut self.incoming);
        let used = self.run(&mut incoming, plain)?;
        if used < incoming.len() {
            incoming.drain(..used);
            self.incoming = incoming;
        }
        self.whole = self.whole.saturating_sub(used);
        Ok(())
    }

    /// Lets rustls process `bytes`; how many of them it has done with.
    fn run(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, Failed> {
        let mut opened = Opened { plain, outgoing: &mut self.outgoing, peer_done: false };
        let result = match &mut self.session {
            Session::Server(session) => opened.run(session, bytes),
            #[cfg(any(test, feature = "client"))]
            Session::Client(session) => opened.run(&mut **session, bytes),
        };
        self.peer_done |= opened.peer_done;
        match result {
            Ok(used) => {
                if self.stage == Stage::Shaking && !self.facts().is_handshaking() {
                    self.stage = Stage::Established;
                    self.name = self.asked.take().and_then(|asked| asked.name());
                }
                Ok(used)
            }
            Err(error) => Err(self.fail(failed(&error))),
        }
    }

    fn fail(&mut self, failed: Failed) -> Failed {
        self.stage = Stage::Failed;
        self.incoming = Vec::new();
        failed
    }

    /// Makes records of `plain`, at most [`CHUNK`] bytes of it, at the start of `wire`, which has room for as many and
    /// [`SLACK`]; how long they are. `None` when no more can be sealed with these keys, or none at all.
    pub fn seal(&mut self, plain: &[u8], wire: &mut [u8]) -> Option<usize> {
        let plain = &plain[..plain.len().min(CHUNK)];
        self.write(Write::Plain(plain), wire)
    }

    /// Writes a `close_notify` to the start of `wire`; how long it is. Nothing is sealed from here on.
    pub fn close(&mut self, wire: &mut [u8]) -> Option<usize> {
        let len = self.can_seal().then(|| self.write(Write::Close, wire)).flatten();
        self.notified = true;
        len
    }

    fn write(&mut self, what: Write<'_>, wire: &mut [u8]) -> Option<usize> {
        // What is kept may be a part of a handshake message that rustls has seen already: it has to see it again.
        let mut incoming = std::mem::take(&mut self.incoming);
        let written = match &mut self.session {
            Session::Server(session) => what.write(session, &mut incoming, wire),
            #[cfg(any(test, feature = "client"))]
            Session::Client(session) => what.write(&mut **session, &mut incoming, wire),
        };
        self.incoming = incoming;
        written
    }

    fn facts(&self) -> &CommonState {
        match &self.session {
            Session::Server(session) => session,
            #[cfg(any(test, feature = "client"))]
            Session::Client(session) => session,
        }
    }
}

/// Length of the whole records at the start of `bytes`.
fn whole_records(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some(&[_, _, _, high, low, ref rest @ ..]) = bytes.get(whole..) {
        let len = usize::from(u16::from_be_bytes([high, low]));
        if rest.len() < len {
            break;
        }
        whole += HEADER + len;
    }
    whole
}

impl Opened<'_> {
    fn run<R: Records>(&mut self, session: &mut R, bytes: &mut [u8]) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } = session.process(&mut bytes[used..]);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        self.plain.extend_from_slice(record.payload);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(self.outgoing, |room| data.encode(room).map_err(too_small_to_encode));
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_done = true;
                    true
                }
                // More has to come; or plaintext may be written, which is not for now.
                Ok(_) => false,
                Err(error) => {
                    used += discard;
                    self.tell(session, &mut bytes[used..]);
                    return Err(error);
                }
            };
            used += discard;
            if !goes_on {
                return Ok(used);
            }
        }
    }

    /// After an error: takes the alert that tells the peer, if there is one, and what was to go before it. rustls hands that
    /// out before it looks at input again, which it must not be made to do twice.
    fn tell<R: Records>(&mut self, session: &mut R, bytes: &mut [u8]) {
        while session.owes() {
            match session.process(bytes).state {
                // Of a peer that then broke a rule, nothing is believed.
                Ok(ConnectionState::ReadTraffic(mut traffic)) => while traffic.next_record().is_some() {},
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(self.outgoing, |room| data.encode(room).map_err(too_small_to_encode));
                }
                _ => return,
            }
        }
    }
}

/// What to write.
#[derive(Clone, Copy)]
enum Write<'a> {
    Plain(&'a [u8]),
    Close,
}

impl Write<'_> {
    fn write<R: Records>(self, session: &mut R, kept: &mut [u8], wire: &mut [u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            match session.process(kept).state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => at += data.encode(&mut wire[at..]).ok()?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let written = match self {
                        Write::Plain(plain) => traffic.encrypt(plain, &mut wire[at..]),
                        Write::Close => traffic.queue_close_notify(&mut wire[at..]),
                    };
                    return written.map(|len| at + len).map_err(|error: EncryptError| error).ok();
                }
                // Nothing can be written: the handshake is not done, or the keys are used up.
                _ => return None,
            }
        }
    }
}

/// Appends what `write` writes, which says how much room it wants when it has too little.
fn append(out: &mut Vec<u8>, mut write: impl FnMut(&mut [u8]) -> Result<usize, usize>) {
    let at = out.len();
    if let Err(room) = write(&mut []) {
        out.resize(at + room, 0);
        let len = write(&mut out[at..]).unwrap_or(0);
        out.truncate(at + len);
    }
}

fn too_small_to_encode(error: EncodeError) -> usize {
    match error {
        EncodeError::InsufficientSize(error) => error.required_size,
        EncodeError::AlreadyEncoded => 0,
    }
}

/// What an error of rustls means to us.
fn failed(error: &Error) -> Failed {
    let rule = match error {
        Error::InvalidCertificate(error) => certificate_rule(error),
        Error::NoCertificatesPresented => TlsError::NoCertificate,
        Error::AlertReceived(alert) => return refused_by_peer(*alert),
        Error::DecryptError => TlsError::BadRecord,
        Error::PeerSentOversizedRecord => TlsError::RecordTooLong,
        Error::InvalidMessage(rustls::InvalidMessage::MessageTooLarge) => TlsError::RecordTooLong,
        Error::PeerMisbehaved(PeerMisbehaved::TooManyRenegotiationRequests) => TlsError::Renegotiation,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsError::Incompatible,
        _ => TlsError::Protocol,
    };
    let text = match error {
        Error::InvalidCertificate(error) => certificate_text(rule, error),
        Error::PeerIncompatible(_) | Error::PeerMisbehaved(_) | Error::InvalidMessage(_) => {
            format!("{rule}: {error}")
        }
        _ => rule.to_string(),
    };
    Failed { error: rule, text }
}

fn certificate_rule(error: &CertificateError) -> TlsError {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsError::CertificateExpired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsError::CertificateNotYetValid
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsError::CertificateName
        }
        // The latter where somebody trusted has the name of the issuer and not its key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsError::CertificateIssuer,
        _ => TlsError::Certificate,
    }
}

fn certificate_text(rule: TlsError, error: &CertificateError) -> String {
    use crate::wire::x509::date;
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("{rule} (on {})", date(not_after.as_secs() as i64))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("{rule} (not before {})", date(not_before.as_secs() as i64))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = if presented.is_empty() { "no name".into() } else { presented.join(", ") };
            format!("{rule}: asked for {}, it is for {names}", expected.to_str())
        }
        _ if rule == TlsError::Certificate => format!("{rule}: {error:?}"),
        _ => rule.to_string(),
    }
}

fn refused_by_peer(alert: AlertDescription) -> Failed {
    let error = TlsError::Alert(u8::from(alert));
    Failed { error, text: error.to_string() }
}

/// What is known of a session: lent, by a request and by the context.
#[derive(Clone, Copy, Debug)]
pub struct TlsSession<'a>(pub(crate) &'a Tls);

impl<'a> TlsSession<'a> {
    /// The version that both agreed on.
    pub fn version(&self) -> TlsVersion {
        match self.0.facts().protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        }
    }

    /// The name of the server that the client asked for (SNI, RFC 6066 §3); `None` where it did not, and on a connection
    /// of our own making.
    pub fn server_name(&self) -> Option<&'a str> {
        self.0.name.as_deref()
    }

    /// The application protocol agreed on (ALPN, RFC 7301): `http/1.1`, or none.
    pub fn alpn(&self) -> Option<&'a [u8]> {
        self.0.facts().alpn_protocol()
    }

    /// True when the session goes on from an earlier one, by a ticket: no certificate was sent and no signature made.
    pub fn is_resumed(&self) -> bool {
        self.0.facts().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The peer's certificate, and those that lead to its issuer, in DER; empty when it showed none. They have been
    /// verified, except those of a server towards `ClientTls::insecure`.
    pub fn certificates(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.facts().peer_certificates().unwrap_or_default().iter().map(|certificate| certificate.as_ref())
    }

    /// The cipher suite, by its registered name.
    pub fn cipher(&self) -> &'static str {
        let suite = self.0.facts().negotiated_cipher_suite();
        suite.and_then(|suite| suite.suite().as_str()).unwrap_or("unknown")
    }
}
