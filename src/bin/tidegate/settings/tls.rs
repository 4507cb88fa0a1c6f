//! What is said about TLS: which certificates, at which addresses, and whether clients are asked for theirs.
//!
//! Refuses to open a file. Invariant: what [`Wish::settle`] lets through can be meant in one way only.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Written, addresses, list, switch, word};

/// The settings that are about TLS.
pub(super) const NAMES: [&str; 6] =
    ["tls_cert", "tls_key", "tls_bind", "tls_client_ca", "tls_client_required", "tls_self_signed"];

/// A certificate's file, and that of its key.
pub type Pair = (PathBuf, PathBuf);

/// Where certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Files, each certificate with the one of its key.
    Files {
        /// The first is shown where no name fits.
        pairs: (Pair, Vec<Pair>),
        client_ca: Option<PathBuf>,
        client_required: bool,
    },
    /// One is made at the start.
    SelfSigned,
}

/// What has been written so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub binds: Vec<SocketAddr>,
    pub certs: Vec<String>,
    pub keys: Vec<String>,
    pub client_ca: Option<String>,
    pub client_required: bool,
    pub self_signed: bool,
}

impl Wish {
    /// Takes one value.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn put(&mut self, name: &str, written: &Written) -> Result<(), String> {
        match name {
            "tls_cert" => self.certs = list(written)?,
            "tls_key" => self.keys = list(written)?,
            "tls_bind" => self.binds = addresses(written)?,
            "tls_client_ca" => self.client_ca = Some(word(written)?.into()),
            "tls_client_required" => self.client_required = switch(written)?,
            _ => self.self_signed = switch(written)?,
        }
        Ok(())
    }

    /// What it comes to: nothing, where nothing was written.
    ///
    /// # Errors
    /// The rule that is broken, with the name of the setting.
    pub fn settle(&self) -> Result<Option<Source>, (&'static str, String)> {
        let (certs, keys) = (self.certs.len(), self.keys.len());
        if self.self_signed {
            if certs + keys > 0 || self.client_ca.is_some() {
                return Err((
                    "tls_self_signed",
                    "there are certificates already; leave one of both out".into(),
                ));
            }
            return Ok(Some(Source::SelfSigned));
        }
        if certs == 0 {
            let orphan = [
                ("tls_key", keys > 0),
                ("tls_client_ca", self.client_ca.is_some()),
                ("tls_client_required", self.client_required),
                ("tls_bind", !self.binds.is_empty()),
            ];
            return match orphan.into_iter().find(|(_, written)| *written) {
                Some((name, _)) => Err((name, "there is no certificate; set tls-cert too".into())),
                None => Ok(None),
            };
        }
        if keys != 0 && keys != certs {
            let rule = format!(
                "{keys} for {certs} certificates; give as many, in the same order, or none where each is in the \
                 certificate's file"
            );
            return Err(("tls_key", rule));
        }
        if self.client_required && self.client_ca.is_none() {
            return Err(("tls_client_required", "nobody vouches for clients; set tls-client-ca too".into()));
        }
        let keys = if keys == 0 { &self.certs } else { &self.keys };
        let mut pairs = self.certs.iter().zip(keys).map(|(cert, key)| (cert.into(), key.into()));
        let Some(first) = pairs.next() else { return Ok(None) };
        let pairs = (first, pairs.collect());
        let client_ca = self.client_ca.as_ref().map(PathBuf::from);
        Ok(Some(Source::Files { pairs, client_ca, client_required: self.client_required }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_has_one_meaning_or_none() {
        let list = |items: &[&str]| items.iter().map(|&item| item.into()).collect::<Vec<String>>();
        let with =
            |certs: &[&str], keys: &[&str]| Wish { certs: list(certs), keys: list(keys), ..Wish::default() };
        let pairs = |wish: Wish| match wish.settle() {
            Ok(Some(Source::Files { pairs, .. })) => 1 + pairs.1.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(Wish::default().settle(), Ok(None));
        assert_eq!(pairs(with(&["a"], &["b"])), 1);
        assert_eq!(pairs(with(&["a", "b"], &[])), 2, "the keys are in the same files");
        let self_signed = Wish { self_signed: true, ..Wish::default() };
        assert_eq!(self_signed.settle(), Ok(Some(Source::SelfSigned)));
        let refused = [
            (Wish { self_signed: true, ..with(&["a"], &[]) }, "tls_self_signed"),
            (with(&[], &["k"]), "tls_key"),
            (with(&["a", "b"], &["k"]), "tls_key"),
            (Wish { client_required: true, ..with(&["a"], &[]) }, "tls_client_required"),
            (Wish { client_ca: Some("c".into()), ..Wish::default() }, "tls_client_ca"),
            (Wish { binds: vec![([127, 0, 0, 1], 1).into()], ..Wish::default() }, "tls_bind"),
        ];
        for (wish, name) in refused {
            assert_eq!(wish.settle().unwrap_err().0, name, "{wish:?}");
        }
    }
}
