//! What a client needs to speak TLS, made of the words that order it.
//!
//! Refuses to know connections. Invariant: what is made trusts nobody whom the words do not name.

use tidegate::{ClientTls, TlsVersion};

use crate::order::{Veil, Version};

/// A client that keeps no tickets.
///
/// # Errors
/// When the file cannot be used or the name is none that a certificate could have, as text.
pub fn client(veil: &Veil) -> Result<ClientTls, String> {
    let client = match &veil.ca {
        Some(file) => ClientTls::from_file(file).map_err(|error| format!("--ca: {error}"))?,
        None => ClientTls::insecure().map_err(|error| error.to_string())?,
    };
    let client = client.resumption(false).map_err(|error| error.to_string())?;
    let client = match veil.version {
        Some(Version::Tls12) => client.only(TlsVersion::Tls12),
        Some(Version::Tls13) => client.only(TlsVersion::Tls13),
        None => Ok(client),
    };
    client.and_then(|client| client.server_name(&veil.name)).map_err(|error| error.to_string())
}
