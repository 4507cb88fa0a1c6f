//! What is agreed about permessage-deflate in the opening handshake: four parameters, in either role (RFC 7692 §5, §7.1).
//!
//! Refuses to know how bytes are compressed. Invariant: an [`Agreement`] obeys every rule of the offer that it answers; an
//! offer or answer with a parameter that is unknown, repeated or malformed agrees to nothing.

use std::fmt;

use super::super::frame::Role;
use super::super::handshake::Extension;

/// The extension's name (RFC 7692 §7).
pub const NAME: &str = "permessage-deflate";
/// Bits of the largest window of DEFLATE, which is what applies where nothing is said (§7.1.2).
pub const WINDOW_BITS: u8 = 15;
/// Bits of the smallest window that may be asked for (§7.1.2).
const WINDOW_LEAST: u8 = 8;

/// What one side is willing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Messages may refer to the messages before them, in both directions.
    pub takeover: bool,
    /// Bits of the largest window that either side shall use, 9 to 15.
    pub window_bits: u8,
}

/// What both sides are held to from the 101 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The server's messages do not refer to the messages before them (§7.1.1.1).
    pub server_no_context_takeover: bool,
    /// Nor do the client's (§7.1.1.2).
    pub client_no_context_takeover: bool,
    /// Bits of the server's window, if that is said (§7.1.2.1).
    pub server_max_window_bits: Option<u8>,
    /// Bits of the client's window, if that is said (§7.1.2.2).
    pub client_max_window_bits: Option<u8>,
}

/// Why an offer cannot be accepted, or an answer not be lived with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamError {
    /// A parameter that RFC 7692 does not define (§7.1).
    Unknown,
    /// A parameter that stands twice (§7.1).
    Repeated,
    /// A value where none may be, none where one must be, or not one of 8 to 15 (§7.1.1, §7.1.2).
    Value,
    /// An answer that leaves out what was asked for, or allows more than was offered (§7.1).
    #[cfg(any(test, feature = "client"))]
    NotOffered,
}

/// The parameters of one extension as they stand there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Params {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// The outer option: it stands there; the inner one: with a value.
    client_max_window_bits: Option<Option<u8>>,
}

impl Params {
    fn read(extension: &Extension<'_>) -> Result<Self, ParamError> {
        let mut params = Params::default();
        for (name, value) in extension.params() {
            let bits = || match value.map(|value| value.number()) {
                None => Ok(None),
                Some(Some(bits @ WINDOW_LEAST..=WINDOW_BITS)) => Ok(Some(bits)),
                Some(_) => Err(ParamError::Value),
            };
            let flag = if value.is_none() { Ok(true) } else { Err(ParamError::Value) };
            let repeated = match name {
                "server_no_context_takeover" => {
                    std::mem::replace(&mut params.server_no_context_takeover, flag?)
                }
                "client_no_context_takeover" => {
                    std::mem::replace(&mut params.client_no_context_takeover, flag?)
                }
                "server_max_window_bits" => {
                    let bits = bits()?.ok_or(ParamError::Value)?;
                    params.server_max_window_bits.replace(bits).is_some()
                }
                "client_max_window_bits" => params.client_max_window_bits.replace(bits()?).is_some(),
                _ => return Err(ParamError::Unknown),
            };
            if repeated {
                return Err(ParamError::Repeated);
            }
        }
        Ok(params)
    }
}

/// The server's part: the answer to the first offer that can be accepted; the offers stand in the client's order of
/// preference (§5.1). Other extensions are passed over.
pub fn accept<'b>(offers: impl IntoIterator<Item = Extension<'b>>, terms: Terms) -> Option<Agreement> {
    let mut named = offers.into_iter().filter(|extension| extension.name == NAME);
    named.find_map(|offer| Params::read(&offer).ok()).map(|offer| answer(&offer, terms))
}

fn answer(offer: &Params, terms: Terms) -> Agreement {
    let narrow = terms.window_bits < WINDOW_BITS;
    let server = offer.server_max_window_bits;
    let client = offer.client_max_window_bits;
    Agreement {
        // What the client asks for must be granted; what it does not ask for the server may still say (§7.1.1.1).
        server_no_context_takeover: !terms.takeover || offer.server_no_context_takeover,
        // A client that offers this will not take its context over anyway: said, it spares us the memory (§7.1.1.2).
        client_no_context_takeover: !terms.takeover || offer.client_no_context_takeover,
        // The answer to a limit is a limit that is not larger; without one, ours may be told (§7.1.2.1).
        server_max_window_bits: (narrow || server.is_some())
            .then(|| terms.window_bits.min(server.unwrap_or(WINDOW_BITS))),
        // A client that has not offered this may not be told to (§7.1.2.2).
        client_max_window_bits: client
            .filter(|bits| narrow || bits.is_some())
            .map(|bits| terms.window_bits.min(bits.unwrap_or(WINDOW_BITS))),
    }
}

impl Terms {
    /// The client's part: the one offer that it makes.
    #[cfg(any(test, feature = "client"))]
    pub fn offer(&self) -> String {
        let narrow = (self.window_bits < WINDOW_BITS).then_some(self.window_bits);
        let mut offer = Agreement {
            server_no_context_takeover: !self.takeover,
            client_no_context_takeover: !self.takeover,
            server_max_window_bits: narrow,
            client_max_window_bits: narrow,
        }
        .to_string();
        if narrow.is_none() {
            // Without a value: whatever the server says will be obeyed (§7.1.2.2).
            offer.push_str("; client_max_window_bits");
        }
        offer
    }

    /// Judges the server's answer to [`Terms::offer`].
    ///
    /// # Errors
    /// When it is no answer to that offer: the connection must be failed (§7.1).
    #[cfg(any(test, feature = "client"))]
    pub fn judge(&self, answer: &Extension<'_>) -> Result<Agreement, ParamError> {
        let answer = Params::read(answer)?;
        let most = self.window_bits;
        // A limit on the server is accepted by being named; where none was set, the server may set one itself.
        let server_fits = match answer.server_max_window_bits {
            Some(bits) => bits <= most,
            None => most == WINDOW_BITS,
        };
        // In an answer it must have a value, and that be no larger than the one that was offered.
        let client_fits = match answer.client_max_window_bits {
            Some(bits) => bits.is_some_and(|bits| bits <= most),
            None => true,
        };
        if !server_fits || !client_fits || !(self.takeover || answer.server_no_context_takeover) {
            return Err(ParamError::NotOffered);
        }
        Ok(Agreement {
            server_no_context_takeover: answer.server_no_context_takeover,
            // Where it was offered it holds, whether the server repeats it or not.
            client_no_context_takeover: answer.client_no_context_takeover || !self.takeover,
            server_max_window_bits: answer.server_max_window_bits,
            client_max_window_bits: Some(answer.client_max_window_bits.flatten().unwrap_or(most)),
        })
    }
}

impl Agreement {
    /// Whether the side in this role takes its context over, and the bits of the largest window that it may use.
    pub fn ours(&self, role: Role) -> (bool, u8) {
        let (without, bits) = match role {
            Role::Server => (self.server_no_context_takeover, self.server_max_window_bits),
            Role::Client => (self.client_no_context_takeover, self.client_max_window_bits),
        };
        (!without, bits.unwrap_or(WINDOW_BITS))
    }

    /// Whether the other side does.
    pub fn theirs(&self, role: Role) -> bool {
        match role {
            Role::Server => !self.client_no_context_takeover,
            Role::Client => !self.server_no_context_takeover,
        }
    }
}

impl fmt::Display for Agreement {
    /// As it stands in `Sec-WebSocket-Extensions`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if self.server_no_context_takeover {
            f.write_str("; server_no_context_takeover")?;
        }
        if self.client_no_context_takeover {
            f.write_str("; client_no_context_takeover")?;
        }
        if let Some(bits) = self.server_max_window_bits {
            write!(f, "; server_max_window_bits={bits}")?;
        }
        if let Some(bits) = self.client_max_window_bits {
            write!(f, "; client_max_window_bits={bits}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
