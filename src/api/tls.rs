//! Certificates, keys and roots out of files.
//!
//! Refuses to know what they are good for. Invariant: a file that cannot be used is named, with what is wrong about it and
//! what to do, and at most [`FILE_MAX`] bytes of it are read.

use std::fs::File;
use std::io::Read;
use std::path::Path;

#[cfg(any(test, feature = "client"))]
use crate::conn::tls::ClientTls;
use crate::conn::tls::{Identity, ServerTls, TlsSetupError};

/// Bytes of a file of PEM; all roots of the world are a fifth of a megabyte.
const FILE_MAX: u64 = 4 * 1024 * 1024;

fn read(path: &Path) -> Result<Vec<u8>, TlsSetupError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes));
    let file = path.display();
    read.map_err(|error| {
        TlsSetupError::new(format!("cannot read {file}: {error}; check its path and who may read it"))
    })?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(TlsSetupError::new(format!("{file}: is longer than 4MiB; is it the right file?")));
    }
    Ok(bytes)
}

impl Identity {
    /// The same as [`Identity::from_pem`], from files. One file may hold both.
    ///
    /// # Errors
    /// When a file cannot be read or used; the error names it.
    pub fn from_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsSetupError> {
        let (chain, key) = (chain.as_ref(), key.as_ref());
        let (certificates, secret) = (read(chain)?, read(key)?);
        let files = format!("{} with {}", chain.display(), key.display());
        Identity::from_pem(&certificates, &secret).map_err(|error| error.of(files))
    }
}

impl ServerTls {
    /// The same as [`ServerTls::from_pem`], from files. One file may hold both.
    ///
    /// # Errors
    /// When a file cannot be read or used; the error names it.
    pub fn from_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, TlsSetupError> {
        ServerTls::new(Identity::from_files(chain, key)?)
    }

    /// The same as [`ServerTls::client_roots`], from a file.
    ///
    /// # Errors
    /// When the file cannot be read or used; the error names it.
    pub fn client_roots_file(self, path: impl AsRef<Path>, required: bool) -> Result<Self, TlsSetupError> {
        let path = path.as_ref();
        self.client_roots(&read(path)?, required).map_err(|error| error.of(path.display()))
    }
}

#[cfg(any(test, feature = "client"))]
impl ClientTls {
    /// The same as [`ClientTls::from_pem`], from a file.
    ///
    /// # Errors
    /// When the file cannot be read or used; the error names it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TlsSetupError> {
        let path = path.as_ref();
        ClientTls::from_pem(&read(path)?).map_err(|error| error.of(path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let table = [
            ("/nonexistent/ca.pem", "cannot read /nonexistent/ca.pem: "),
            ("/dev/zero", "/dev/zero: is longer than 4MiB; is it the right file?"),
            ("/dev/null", "/dev/null: has no -----BEGIN CERTIFICATE----- in it; it must be PEM"),
        ];
        for (path, start) in table {
            let error = ClientTls::from_file(path).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
        let error = ServerTls::from_files("/dev/null", "/dev/null").unwrap_err().to_string();
        assert!(error.starts_with("/dev/null with /dev/null: has no -----BEGIN CERTIFICATE-----"), "{error}");
    }
}
