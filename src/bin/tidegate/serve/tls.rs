//! Certificates for the server: out of files or made on the spot, read again on demand, and what is to be said of them.
//!
//! Refuses to know rustls. Invariant: what cannot be used is told with its file, and what is in use stays in use then.

use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, DnType, KeyPair};
use tidegate::program::failure::Failure;
use tidegate::{Identity, ServerTls, TlsSetupError};

use crate::settings::tls::{Pair, Source};

/// Days before its end from which a certificate is warned of.
const SOON: i64 = 14;
const DAY: i64 = 86_400;
/// The names of one that is made on the spot: whoever tries it out does so on this machine.
const NEAR: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Reads or makes what the settings name.
///
/// # Errors
/// When a file cannot be read or used, or the system has no randomness.
pub fn load(source: &Source) -> Result<ServerTls, Failure> {
    match source {
        Source::SelfSigned => self_signed(),
        Source::Files { pairs, client_ca, client_required } => {
            let loaded = read(pairs).and_then(|tls| match client_ca {
                Some(roots) => tls.client_roots_file(roots, *client_required),
                None => Ok(tls),
            });
            loaded.map_err(|error| Failure::refused(error.to_string()))
        }
    }
}

fn read((first, others): &(Pair, Vec<Pair>)) -> Result<ServerTls, TlsSetupError> {
    let mut tls = ServerTls::from_files(&first.0, &first.1)?;
    for (certificate, key) in others {
        tls = tls.identity(Identity::from_files(certificate, key)?);
    }
    Ok(tls)
}

fn self_signed() -> Result<ServerTls, Failure> {
    let refused =
        |error: &dyn std::fmt::Display| Failure::refused(format!("cannot make a certificate: {error}"));
    let key = KeyPair::generate().map_err(|error| refused(&error))?;
    let mut params = CertificateParams::new(NEAR.map(String::from)).map_err(|error| refused(&error))?;
    params.distinguished_name.push(DnType::CommonName, "tidegate, to try it out");
    let certificate = params.self_signed(&key).map_err(|error| refused(&error))?;
    ServerTls::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes())
        .map_err(|error| refused(&error))
}

/// One line for each certificate: its fingerprint, and its last day.
pub fn lines(tls: &ServerTls) -> Vec<String> {
    let line = |identity: &Identity| {
        let digits: Vec<String> = identity.fingerprint().iter().map(|byte| format!("{byte:02X}")).collect();
        let until = identity.valid_until().map_or(String::new(), |date| format!(", until {date}"));
        format!("SHA-256 {}{until}", digits.join(":"))
    };
    tls.identities().map(line).collect()
}

/// What clients will not like about the certificates.
pub fn warnings(tls: &ServerTls) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64);
    tls.identities().enumerate().filter_map(|(at, identity)| warning(at + 1, identity, now)).collect()
}

fn warning(number: usize, identity: &Identity, now: i64) -> Option<String> {
    let (from, until) = identity.validity()?;
    let date = identity.valid_until().unwrap_or_default();
    if until < now {
        Some(format!(
            "certificate {number} has expired on {date}, and clients refuse it: renew it, then send SIGHUP"
        ))
    } else if from > now {
        Some(format!(
            "certificate {number} is not valid yet, and clients refuse it: check this machine's clock"
        ))
    } else if until < now + SOON * DAY {
        Some(format!("certificate {number} expires on {date}: renew it, then send SIGHUP"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_made_and_told() {
        let tls = load(&Source::SelfSigned).unwrap();
        let told = lines(&tls);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("SHA-256 ") && told[0].matches(':').count() == 31, "{told:?}");
        assert!(warnings(&tls).is_empty(), "{:?}", warnings(&tls));
    }

    #[test]
    fn certificates_are_warned_of_in_time() {
        let tls = load(&Source::SelfSigned).unwrap();
        let identity = tls.identities().next().unwrap();
        let (from, until) = identity.validity().unwrap();
        let table = [
            (from - 1, Some("is not valid yet")),
            (from, None),
            (until - SOON * DAY, None),
            (until - SOON * DAY + 1, Some("expires on")),
            (until + 1, Some("has expired on")),
        ];
        for (now, part) in table {
            let told = warning(1, identity, now);
            assert_eq!(told.is_some(), part.is_some(), "{now}: {told:?}");
            assert!(told.is_none_or(|told| told.contains(part.unwrap())), "{now}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let pairs = (("/nonexistent/a.pem".into(), "/nonexistent/a.key".into()), Vec::new());
        let source = Source::Files { pairs, client_ca: None, client_required: false };
        let failure = load(&source).unwrap_err();
        assert_eq!(failure.code(), 1);
        assert!(failure.to_string().starts_with("cannot read /nonexistent/a.pem: "), "{failure}");
    }
}
