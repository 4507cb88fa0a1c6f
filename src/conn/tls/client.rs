//! The client's side: whom to trust, what to show, which name to ask for.
//!
//! Refuses to know files. Invariant: whom it trusts is said by whoever makes it; there is no default.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, version};

use super::keys::{ALPN, provider, roots, unusable};
use super::{Failed, Identity, Session, Stage, Tls, TlsSetupError, TlsVersion, failed};
use crate::conn::error::TlsError;

/// What a client needs to speak TLS with servers. Clones share the sessions that can be resumed.
///
/// ```no_run
/// # use tidegate::{ClientTls, TlsSetupError};
/// let trusting = ClientTls::from_file("/etc/ssl/certs/ca-certificates.crt")?;
/// let blind = ClientTls::insecure()?;
/// # Ok::<(), TlsSetupError>(())
/// ```
#[derive(Clone)]
pub struct ClientTls {
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<Identity>,
    name: Option<ServerName<'static>>,
    resumes: bool,
    /// The only version that is offered.
    only: Option<TlsVersion>,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl Eq for ClientTls {}

impl ClientTls {
    /// Trusts servers that these roots (PEM) vouch for, where the certificate has the name that was asked for.
    ///
    /// # Errors
    /// When there is no certificate in `roots`, or one that cannot be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsSetupError> {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots(pem)?, provider()).build();
        ClientTls::of(verifier.map_err(|error| TlsSetupError::new(error.to_string()))?, None, true, None)
    }

    /// Trusts every server, whoever it is: for measuring and trying out. That the server has the key of the certificate
    /// that it shows is still verified; that the certificate is anybody's in particular is not.
    ///
    /// # Errors
    /// None that is known; the same as of [`ClientTls::from_pem`] for the rest.
    pub fn insecure() -> Result<Self, TlsSetupError> {
        ClientTls::of(Arc::new(Anybody(provider())), None, true, None)
    }

    fn of(
        verifier: Arc<dyn ServerCertVerifier>,
        identity: Option<Identity>,
        resumes: bool,
        only: Option<TlsVersion>,
    ) -> Result<Self, TlsSetupError> {
        let versions = match only {
            Some(TlsVersion::Tls12) => &[&version::TLS12][..],
            Some(TlsVersion::Tls13) => &[&version::TLS13],
            None => rustls::ALL_VERSIONS,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier));
        let mut config = match &identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity.certified())))
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        if !resumes {
            config.resumption = rustls::client::Resumption::disabled();
        }
        Ok(ClientTls { verifier, identity, name: None, resumes, only, config: Arc::new(config) })
    }

    /// Asks for this name, and wants it in the certificate, instead of the host's of the `Connect`.
    ///
    /// # Errors
    /// When it is neither a DNS name nor an IP address.
    pub fn server_name(mut self, name: &str) -> Result<Self, TlsSetupError> {
        let wrong = || TlsSetupError::new(format!("{name:?} is neither a DNS name nor an IP address"));
        self.name = Some(host_name(name).ok_or_else(wrong)?);
        Ok(self)
    }

    /// Shows this certificate to servers that ask for one.
    ///
    /// # Errors
    /// As [`ClientTls::from_pem`].
    pub fn identity(self, identity: Identity) -> Result<Self, TlsSetupError> {
        let name = self.name;
        let tls = ClientTls::of(self.verifier, Some(identity), self.resumes, self.only)?;
        Ok(ClientTls { name, ..tls })
    }

    /// Whether sessions are resumed where a server has given a ticket; on by default.
    ///
    /// # Errors
    /// As [`ClientTls::from_pem`].
    pub fn resumption(self, on: bool) -> Result<Self, TlsSetupError> {
        let name = self.name;
        let tls = ClientTls::of(self.verifier, self.identity, on, self.only)?;
        Ok(ClientTls { name, ..tls })
    }

    /// Offers this version alone, instead of both.
    ///
    /// # Errors
    /// As [`ClientTls::from_pem`].
    pub fn only(self, version: TlsVersion) -> Result<Self, TlsSetupError> {
        let name = self.name;
        let tls = ClientTls::of(self.verifier, self.identity, self.resumes, Some(version))?;
        Ok(ClientTls { name, ..tls })
    }

    #[cfg(test)]
    pub(super) fn verifier(&self) -> Arc<dyn ServerCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// A session with the server at `host`, as the `Host` field has it; its first bytes wait.
    pub(crate) fn connect(&self, host: &str) -> Result<Tls, TlsError> {
        let name = self.name.clone().or_else(|| host_name(without_port(host))).ok_or(TlsError::BadName)?;
        let session = UnbufferedClientConnection::new(Arc::clone(&self.config), name)
            .map_err(|error| failed(&error).error)?;
        begin(session).map_err(|Failed { error, .. }| error)
    }
}

/// Begins a client's session: its ClientHello waits.
pub(super) fn begin(session: UnbufferedClientConnection) -> Result<Tls, Failed> {
    let mut tls = Tls::new(Session::Client(Box::new(session)), Stage::Shaking, None);
    tls.run(&mut [], &mut Vec::new())?;
    Ok(tls)
}

fn host_name(name: &str) -> Option<ServerName<'static>> {
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    match bare.parse::<IpAddr>() {
        Ok(address) => Some(ServerName::from(address)),
        Err(_) => ServerName::try_from(name.to_owned()).ok(),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
        }
        _ => host,
    }
}

/// Takes any server for the one that was meant.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
