//! Messages and parts of messages, lent or owned.
//!
//! Knows no connection. Invariant: a text message's bytes are UTF-8 (checked on the way in; given as `str` or
//! checked on the way out).

use std::borrow::Cow;

use crate::wire::frame::Opcode;

/// What a message is (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// Bytes.
    Binary,
}

/// One whole message. A received one is lent for the time of the callback, or owned if it arrived in pieces; sending
/// it on moves what is owned and copies what is lent.
///
/// ```
/// use tidegate::{Kind, Message};
/// let text = Message::from("hello");
/// assert_eq!((text.kind(), text.as_text(), text.len()), (Kind::Text, Some("hello"), 5));
/// let binary = Message::from(vec![1, 2, 3]);
/// assert_eq!((binary.kind(), binary.as_text(), binary.as_bytes()), (Kind::Binary, None, &[1, 2, 3][..]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub(crate) kind: Kind,
    pub(crate) payload: Cow<'a, [u8]>,
    /// It is sent as it is, also where compression has been agreed.
    #[cfg(feature = "deflate")]
    pub(crate) plain: bool,
}

impl<'a> Message<'a> {
    /// An empty message of this kind, to be filled.
    pub(crate) fn of(kind: Kind) -> Self {
        Message {
            kind,
            payload: Cow::Borrowed(&[]),
            #[cfg(feature = "deflate")]
            plain: false,
        }
    }

    /// A text message.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        let payload = match text.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Message { payload, ..Message::of(Kind::Text) }
    }

    /// A binary message.
    pub fn binary(bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Message { payload: bytes.into(), ..Message::of(Kind::Binary) }
    }

    /// Text or binary.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The payload, whatever the kind.
    pub fn as_bytes(&self) -> &[u8] {
        &self.payload
    }

    /// The payload of a text message; `None` for a binary one. (The text was checked when it arrived; a second check
    /// here is the price of having no `unsafe`. Use [`Message::as_bytes`] where bytes will do.)
    pub fn as_text(&self) -> Option<&str> {
        match self.kind {
            Kind::Text => simdutf8::basic::from_utf8(&self.payload).ok(),
            Kind::Binary => None,
        }
    }

    /// Length of the payload in bytes.
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// True when the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// The same message, to be sent as it is where compression has been agreed: for what is compressed already (pictures),
    /// and for secrets beside text of somebody else's making, whose length would tell of them. (Feature `deflate`.)
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn uncompressed(mut self) -> Self {
        self.plain = true;
        self
    }

    /// The same message, lent: to send it several times.
    pub fn borrowed(&self) -> Message<'_> {
        Message { payload: Cow::Borrowed(&self.payload), ..*self }
    }

    /// The same message, to keep or to hand to another thread; copies what is lent.
    pub fn into_owned(self) -> Message<'static> {
        let payload = Cow::Owned(self.payload.into_owned());
        Message {
            kind: self.kind,
            payload,
            #[cfg(feature = "deflate")]
            plain: self.plain,
        }
    }
}

impl<'a> From<&'a str> for Message<'a> {
    fn from(text: &'a str) -> Self {
        Message::text(text)
    }
}

impl From<String> for Message<'_> {
    fn from(text: String) -> Self {
        Message::text(text)
    }
}

impl<'a> From<&'a [u8]> for Message<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Message::binary(bytes)
    }
}

impl From<Vec<u8>> for Message<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Message::binary(bytes)
    }
}

impl<'a> From<&'a Message<'_>> for Message<'a> {
    fn from(message: &'a Message<'_>) -> Self {
        message.borrowed()
    }
}

/// A piece of a message that is taken in parts as it arrives; see `Context::receive_parts`.
///
/// Parts are cut where the network cut them: a text's character may be split between two parts. (The text is checked
/// all the same, and a part that cannot be continued to valid UTF-8 is never delivered.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Part<'a> {
    /// What the whole message is.
    pub kind: Kind,
    /// The bytes of this part; may be empty in the last one.
    pub bytes: &'a [u8],
    /// The first part of its message.
    pub first: bool,
    /// The last part of its message.
    pub last: bool,
}

/// The opcode that starts a message.
pub fn opcode(kind: Kind) -> Opcode {
    match kind {
        Kind::Text => Opcode::Text,
        Kind::Binary => Opcode::Binary,
    }
}

/// The frames of a message, each of `longest` bytes at the most: whether it is the last, opcode, payload.
pub fn fragments<'m>(
    message: &'m Message<'_>,
    longest: usize,
) -> impl ExactSizeIterator<Item = (bool, Opcode, &'m [u8])> {
    let count = message.len().div_ceil(longest).max(1);
    (0..count).map(move |i| {
        let opcode = if i == 0 { opcode(message.kind) } else { Opcode::Continuation };
        (i + 1 == count, opcode, &message.as_bytes()[i * longest..message.len().min((i + 1) * longest)])
    })
}
