//! What a peer offers in its handshake: subprotocols, and extensions with their parameters.
//!
//! Refuses to know which of them are accepted. Invariant: an extension that is yielded has obeyed the
//! grammar to its end, so its parameters cannot fail any more. RFC 6455 §4.1 item 10, §9.1.

use super::super::head::{Fields, RequestHead, is_token, is_token_byte};
use super::HandshakeError;

/// Subprotocols that one client may offer. Each is compared with all before it.
pub const PROTOCOLS_MAX: usize = 32;

/// The subprotocols that the client offers, the one it likes best first.
pub fn protocols<'b, 'h>(head: &RequestHead<'b, 'h>) -> impl Iterator<Item = &'b str> + Clone + use<'b, 'h> {
    head.fields()
        .elements("sec-websocket-protocol")
        .filter(|name| is_token(name))
        .filter_map(|name| str::from_utf8(name).ok())
}

pub(super) fn check_protocols(head: &RequestHead<'_, '_>) -> Result<(), HandshakeError> {
    let offered = head.fields().elements("sec-websocket-protocol");
    for (index, name) in offered.clone().enumerate() {
        if index >= PROTOCOLS_MAX {
            return Err(HandshakeError::TooManyProtocols);
        }
        if !is_token(name) {
            return Err(HandshakeError::BadProtocol);
        }
        // RFC 6455 §4.1 item 10: all MUST be unique.
        if offered.clone().take(index).any(|earlier| earlier == name) {
            return Err(HandshakeError::ProtocolRepeated);
        }
    }
    Ok(())
}

/// The extensions in `Sec-WebSocket-Extensions`, over all its lines and in order.
///
/// Ends after the first error.
pub fn extensions<'b, 'h>(
    fields: Fields<'b, 'h>,
) -> Extensions<'b, impl Iterator<Item = &'b [u8]> + Clone + use<'b, 'h>> {
    Extensions { lines: fields.lines("sec-websocket-extensions"), rest: Cursor(b"") }
}

/// See [`extensions`].
#[derive(Clone, Debug)]
pub struct Extensions<'b, L> {
    lines: L,
    rest: Cursor<'b>,
}

impl<'b, L: Iterator<Item = &'b [u8]>> Iterator for Extensions<'b, L> {
    type Item = Result<Extension<'b>, HandshakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // RFC 9110 §5.6.1.2: empty elements do not count.
            while self.rest.take(b',') {}
            if !self.rest.0.is_empty() {
                break;
            }
            self.rest = Cursor(self.lines.next()?);
        }
        let extension = self.rest.extension();
        if extension.is_none() {
            self.rest = Cursor(b"");
            while self.lines.next().is_some() {}
        }
        Some(extension.ok_or(HandshakeError::BadExtension))
    }
}

/// One extension that a peer offers.
#[derive(Clone, Copy, Debug)]
pub struct Extension<'b> {
    /// Its name, a token.
    pub name: &'b str,
    params: Cursor<'b>,
}

impl<'b> Extension<'b> {
    /// Its parameters in order.
    pub fn params(&self) -> Params<'b> {
        Params(self.params)
    }
}

/// See [`Extension::params`].
#[derive(Clone, Copy, Debug)]
pub struct Params<'b>(Cursor<'b>);

impl<'b> Iterator for Params<'b> {
    type Item = (&'b str, Option<Value<'b>>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.take(b';') { self.0.param() } else { None }
    }
}

/// The value of a parameter; once unquoted, a token (RFC 6455 §9.1).
#[derive(Clone, Copy, Debug)]
pub struct Value<'b>(&'b [u8]);

impl<'b> Value<'b> {
    /// The value without its quotes and escapes.
    pub fn bytes(self) -> impl Iterator<Item = u8> + use<'b> {
        // A backslash is no token byte, so every one that is left is an escape.
        self.0.iter().copied().filter(|&b| b != b'\\')
    }

    /// Whether the value is this text.
    pub fn is(self, text: &str) -> bool {
        self.bytes().eq(text.bytes())
    }

    /// The value as a decimal number without leading zeros; `None` for anything else and above 255.
    pub fn number(self) -> Option<u8> {
        let mut bytes = self.bytes().peekable();
        let zero_leads = bytes.peek() == Some(&b'0');
        let mut number = None;
        for (index, byte) in bytes.enumerate() {
            if !byte.is_ascii_digit() || (zero_leads && index > 0) {
                return None;
            }
            number = Some(number.unwrap_or(0u8).checked_mul(10)?.checked_add(byte - b'0')?);
        }
        number
    }
}

/// What is left of a line. White space may stand between any two parts (RFC 6455 §2.1, implied LWS).
#[derive(Clone, Copy, Debug)]
struct Cursor<'b>(&'b [u8]);

impl<'b> Cursor<'b> {
    /// Takes this byte and the white space around it.
    fn take(&mut self, byte: u8) -> bool {
        self.0 = self.0.trim_ascii_start();
        match self.0.split_first() {
            Some((&first, rest)) if first == byte => {
                self.0 = rest.trim_ascii_start();
                true
            }
            _ => false,
        }
    }

    fn token(&mut self) -> Option<&'b [u8]> {
        let end = self.0.iter().position(|&b| !is_token_byte(b)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        (!token.is_empty()).then_some(token)
    }

    /// What follows an opening quote, up to and with the closing one.
    fn quoted(&mut self) -> Option<&'b [u8]> {
        let mut bytes = self.0.iter().enumerate();
        let mut is_empty = true;
        while let Some((index, &byte)) = bytes.next() {
            let byte = match byte {
                b'"' => {
                    let value = self.0.get(..index)?;
                    self.0 = self.0.get(index + 1..)?;
                    return (!is_empty).then_some(value);
                }
                // RFC 9110 §5.6.4: a backslash makes the next byte plain.
                b'\\' => *bytes.next()?.1,
                byte => byte,
            };
            // RFC 6455 §9.1: unquoted it MUST be a token.
            if !is_token_byte(byte) {
                return None;
            }
            is_empty = false;
        }
        None
    }

    // extension-param = token [ "=" (token | quoted-string) ]
    fn param(&mut self) -> Option<(&'b str, Option<Value<'b>>)> {
        let name = str::from_utf8(self.token()?).ok()?;
        if !self.take(b'=') {
            return Some((name, None));
        }
        let value = match self.0.strip_prefix(b"\"") {
            Some(rest) => {
                self.0 = rest;
                self.quoted()?
            }
            None => self.token()?,
        };
        Some((name, Some(Value(value))))
    }

    // extension = extension-token *( ";" extension-param ), then a comma or the end of the line
    fn extension(&mut self) -> Option<Extension<'b>> {
        let name = str::from_utf8(self.token()?).ok()?;
        let params = *self;
        while self.take(b';') {
            self.param()?;
        }
        (self.0.is_empty() || self.take(b',')).then_some(Extension { name, params })
    }
}
