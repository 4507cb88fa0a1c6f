//! What a session is begun with: certificates, keys, whom to trust, tickets. From PEM in memory.
//!
//! Refuses to know files and the clock of the loop. Invariants: what exists can be used (a key fits its certificate, a
//! store of roots is not empty); no session is stored at the server, so what resumption costs lies with the clients;
//! tickets of one `ServerTls` are worth nothing to another, so that what is reloaded counts for everybody at once.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, ParsedCertificate, ResolvesServerCert, UnbufferedServerConnection, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig, SignatureScheme, SupportedCipherSuite};

use super::{Session, Stage, Tls};
use crate::wire::x509;

/// RFC 9112 over TLS (RFC 7301 §6): the one application protocol that is spoken here.
pub(super) const ALPN: &[u8] = b"http/1.1";

/// Why certificates, keys or roots cannot be used: one line that says what was wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSetupError(String);

impl TlsSetupError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        TlsSetupError(text.into())
    }

    /// The same, told of a file.
    pub(crate) fn of(self, file: impl fmt::Display) -> Self {
        TlsSetupError(format!("{file}: {}", self.0))
    }
}

impl fmt::Display for TlsSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsSetupError {}

pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

pub(super) fn unusable(error: Error) -> TlsSetupError {
    TlsSetupError(match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the key does not belong to the certificate; give the two that were made together".into()
        }
        Error::InvalidCertificate(error) => {
            format!("the certificate cannot be read ({error:?}); it must be X.509 version 3")
        }
        Error::General(text) => format!("the key cannot be used ({text}); take an RSA, ECDSA or Ed25519 key"),
        other => format!("cannot be used: {other}"),
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| no_pem(&error, "CERTIFICATE"))?;
    if found.is_empty() {
        return Err(no_pem(&pem::Error::NoItemsFound, "CERTIFICATE"));
    }
    Ok(found)
}

fn no_pem(error: &pem::Error, what: &str) -> TlsSetupError {
    TlsSetupError(match error {
        pem::Error::NoItemsFound => format!("has no -----BEGIN {what}----- in it; it must be PEM"),
        error => format!("is broken PEM: {error}; take a fresh copy"),
    })
}

pub(super) fn roots(pem: &[u8]) -> Result<Arc<RootCertStore>, TlsSetupError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate).map_err(unusable)?;
    }
    Ok(Arc::new(store))
}

/// Who a server or a client says it is: a certificate, those that lead to its issuer, and the key of the first.
#[derive(Clone, Debug)]
pub struct Identity(Arc<CertifiedKey>);

impl Identity {
    /// From PEM: the chain, its own certificate first, and the key (PKCS#8, PKCS#1 or SEC1; not encrypted).
    ///
    /// # Errors
    /// When one of them cannot be read, or the key is not that of the first certificate.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsSetupError> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsSetupError(
                "the key has no -----BEGIN PRIVATE KEY----- in it; it must be PEM and not encrypted".into(),
            ),
            error => no_pem(&error, "PRIVATE KEY"),
        })?;
        Ok(Identity(Arc::new(CertifiedKey::from_der(chain, key, &provider()).map_err(unusable)?)))
    }

    /// From when until when the certificate is valid, in seconds since 1970; `None` where that cannot be read from it.
    pub fn validity(&self) -> Option<(i64, i64)> {
        self.0.cert.first().and_then(|certificate| x509::validity(certificate))
    }

    /// The certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        self.0.cert.first().map_or(&[], |certificate| certificate.as_ref())
    }

    /// The last day on which it is valid, as `2026-11-21`.
    pub fn valid_until(&self) -> Option<String> {
        self.validity().map(|(_, until)| x509::date(until))
    }

    /// The SHA-256 of the certificate in DER, which is what programs show as its fingerprint.
    pub fn fingerprint(&self) -> Vec<u8> {
        match ring::cipher_suite::TLS13_AES_128_GCM_SHA256 {
            SupportedCipherSuite::Tls13(suite) => {
                suite.common.hash_provider.hash(self.certificate()).as_ref().to_vec()
            }
            SupportedCipherSuite::Tls12(_) => Vec::new(),
        }
    }

    #[cfg(any(test, feature = "client"))]
    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0)
    }

    fn is_for(&self, name: &ServerName<'_>) -> bool {
        let Some(certificate) = self.0.cert.first() else { return false };
        ParsedCertificate::try_from(certificate)
            .is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
    }

    fn signs(&self, schemes: &[SignatureScheme]) -> bool {
        self.0.key.choose_scheme(schemes).is_some()
    }
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Debug)]
enum ClientCertificates {
    No,
    Welcome(Arc<RootCertStore>),
    Required(Arc<RootCertStore>),
}

/// What a server needs to speak TLS. TLS 1.3 and 1.2, sessions resumed by tickets that the server keeps nothing of, ALPN
/// `http/1.1`.
///
/// ```no_run
/// use tidegate::{Config, ServerTls};
/// let tls = ServerTls::from_files("example.org.pem", "example.org.key")?;
/// let config = Config::default().tls(tls);
/// # Ok::<(), tidegate::TlsSetupError>(())
/// ```
#[derive(Clone)]
pub struct ServerTls {
    identities: Arc<Vec<Identity>>,
    clients: ClientCertificates,
    tickets: bool,
    /// All but the certificates, which each session gets with the resolver that hears what it asks for.
    config: Arc<ServerConfig>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTls({} identities)", self.identities.len())
    }
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && Arc::ptr_eq(&self.identities, &other.identities)
    }
}

impl Eq for ServerTls {}

impl ServerTls {
    /// A server with this one certificate, which asks clients for none.
    ///
    /// # Errors
    /// When the system has no randomness for the tickets' key.
    pub fn new(identity: Identity) -> Result<Self, TlsSetupError> {
        ServerTls::of(Arc::new(vec![identity]), ClientCertificates::No, true)
    }

    /// The same from PEM; see [`Identity::from_pem`].
    ///
    /// # Errors
    /// When certificate or key cannot be used.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsSetupError> {
        ServerTls::new(Identity::from_pem(chain, key)?)
    }

    fn of(
        identities: Arc<Vec<Identity>>,
        clients: ClientCertificates,
        tickets: bool,
    ) -> Result<Self, TlsSetupError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match &clients {
            ClientCertificates::No => builder.with_no_client_auth(),
            ClientCertificates::Welcome(roots) | ClientCertificates::Required(roots) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider());
                let verifier = match clients {
                    ClientCertificates::Welcome(_) => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                let verifier = verifier.build().map_err(|error| TlsSetupError(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let unasked = Asked { identities: Arc::clone(&identities), name: OnceLock::new() };
        let mut config = builder.with_cert_resolver(Arc::new(unasked));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        if tickets {
            config.ticketer = ring::Ticketer::new().map_err(unusable)?;
        } else {
            config.send_tls13_tickets = 0;
        }
        Ok(ServerTls { identities, clients, tickets, config: Arc::new(config) })
    }

    /// Adds a certificate: the first one whose names include the one that a client asks for (SNI), and whose key signs as
    /// the client can verify, is shown to it; where none does, the first of all that signs so.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        Arc::make_mut(&mut self.identities).push(identity);
        self
    }

    /// Asks clients for a certificate and refuses one that none of these roots (PEM) vouches for. Where it is `required`,
    /// a client without any is refused too; else the application sees which have one, in `Request::tls`.
    ///
    /// # Errors
    /// When there is no certificate in `roots`, or one that cannot be read.
    pub fn client_roots(self, pem: &[u8], required: bool) -> Result<Self, TlsSetupError> {
        let roots = roots(pem)?;
        let clients =
            if required { ClientCertificates::Required(roots) } else { ClientCertificates::Welcome(roots) };
        ServerTls::of(self.identities, clients, self.tickets)
    }

    /// Lets sessions be resumed by tickets, which is on by default: it spares certificates and signature. The key of the
    /// tickets changes every six hours, and the one before is honoured for as long.
    ///
    /// # Errors
    /// When the system has no randomness for that key.
    pub fn tickets(self, on: bool) -> Result<Self, TlsSetupError> {
        ServerTls::of(self.identities, self.clients, on)
    }

    /// The certificates with their keys, in the order in which they were given.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        self.identities.iter()
    }

    /// A session with a client that has just connected.
    pub(crate) fn accept(&self) -> Option<Tls> {
        let asked = Arc::new(Asked { identities: Arc::clone(&self.identities), name: OnceLock::new() });
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = Arc::clone(&asked) as Arc<dyn ResolvesServerCert>;
        let session = UnbufferedServerConnection::new(Arc::new(config)).ok()?;
        Some(Tls::new(Session::Server(session), Stage::Fresh, Some(asked)))
    }
}

/// Chooses the certificate of one session, and keeps the name that it asked for: rustls tells that to nobody else where
/// it is used without buffers.
#[derive(Debug)]
pub(super) struct Asked {
    identities: Arc<Vec<Identity>>,
    name: OnceLock<Box<str>>,
}

impl Asked {
    pub(super) fn name(&self) -> Option<Box<str>> {
        self.name.get().cloned()
    }
}

impl ResolvesServerCert for Asked {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let asked = hello.server_name();
        if let Some(name) = asked {
            // It is called once for a session, or twice, where the first hello had to be repeated with the same name.
            let _ = self.name.set(name.into());
        }
        let able = || self.identities.iter().filter(|identity| identity.signs(schemes));
        let name = asked.and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| able().find(|identity| identity.is_for(&name)));
        named.or_else(|| able().next()).map(|identity| Arc::clone(&identity.0))
    }
}
