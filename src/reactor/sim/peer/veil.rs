//! TLS at a scripted client's end: what it sends is sealed, what it receives is opened, by the client's side of the same
//! library.
//!
//! Refuses to know frames. Invariant: the lengths of what it seals depend on nothing but the lengths of what is said, so
//! that a seed means the same history, although keys are drawn by the system. (The certificate is Ed25519 for that: its
//! signatures have one length.)

#[cfg(feature = "tls")]
mod spoken {
    use std::fmt;
    use std::sync::OnceLock;

    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SerialNumber};

    use crate::conn::tls::{ClientTls, ServerTls, Tls, WIRE};

    /// Bytes of unfinished handshakes that a client keeps.
    const MOST: usize = 32 * 1024;

    /// Both ends of the sessions of one world.
    #[derive(Debug)]
    pub struct Terms {
        pub server: ServerTls,
        client: ClientTls,
    }

    impl Terms {
        pub fn new() -> Self {
            static PEM: OnceLock<(String, String)> = OnceLock::new();
            let (chain, key) = PEM.get_or_init(|| {
                let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
                let mut params = CertificateParams::new(["sim".to_owned()]).expect("a name");
                params.serial_number = Some(SerialNumber::from(1));
                (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
            });
            let server = ServerTls::from_pem(chain.as_bytes(), key.as_bytes()).expect("a server's side");
            Terms { server, client: ClientTls::from_pem(chain.as_bytes()).expect("a client's side") }
        }

        pub fn veil(&self) -> Veil {
            Veil { client: self.client.clone(), tls: None }
        }
    }

    /// A client's session. It begins when there is something to say, so that earlier ones have left their tickets.
    pub struct Veil {
        client: ClientTls,
        tls: Option<Tls>,
    }

    impl fmt::Debug for Veil {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.tls.fmt(f)
        }
    }

    impl Veil {
        fn tls(&mut self) -> &mut Tls {
            self.tls.get_or_insert_with(|| self.client.connect("sim").expect("a hello"))
        }

        /// Opens what was received; false when the server has ended the session with an alert, or broke a rule.
        pub fn open(&mut self, bytes: &mut [u8], plain: &mut Vec<u8>) -> bool {
            self.tls().open(bytes, plain, MOST).is_ok()
        }

        /// Appends to `wire` what the session has to say, and what `plain` becomes once it is established.
        pub fn seal(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>) {
            let tls = self.tls();
            let waiting = tls.outgoing().len();
            wire.extend_from_slice(tls.outgoing());
            tls.took(waiting);
            while !plain.is_empty() && tls.can_seal() {
                let (at, step) = (wire.len(), plain.len().min(5_000));
                wire.resize(at + WIRE, 0);
                let len = tls.seal(&plain[..step], &mut wire[at..]).expect("keys that are not used up");
                wire.truncate(at + len);
                plain.drain(..step);
            }
        }

        /// The `close_notify`, if it can be said.
        pub fn close(&mut self) -> Vec<u8> {
            let mut wire = vec![0; WIRE];
            let len = self.tls().close(&mut wire).unwrap_or(0);
            wire.truncate(len);
            wire
        }

        /// True when the handshake is done.
        pub fn is_open(&self) -> bool {
            self.tls.as_ref().is_some_and(|tls| !tls.is_shaking())
        }

        /// True when the server has said that nothing more comes.
        pub fn is_over(&self) -> bool {
            self.tls.as_ref().is_some_and(Tls::is_peer_done)
        }
    }
}

#[cfg(not(feature = "tls"))]
mod spoken {
    use std::convert::Infallible;

    /// Nobody speaks it in this build.
    #[derive(Debug)]
    pub struct Veil(Infallible);

    impl Veil {
        pub fn open(&mut self, _: &mut [u8], _: &mut Vec<u8>) -> bool {
            match self.0 {}
        }

        pub fn seal(&mut self, _: &mut Vec<u8>, _: &mut Vec<u8>) {
            match self.0 {}
        }

        pub fn close(&mut self) -> Vec<u8> {
            match self.0 {}
        }

        pub fn is_open(&self) -> bool {
            match self.0 {}
        }

        pub fn is_over(&self) -> bool {
            match self.0 {}
        }
    }
}

pub use spoken::*;
