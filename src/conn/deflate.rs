//! Compression of one connection and of one loop: who compresses with what, and what is left of it between messages
//! (RFC 7692 §6, §7.2).
//!
//! Refuses to know topics and budgets. Invariants: a connection without context takeover holds nothing; what is compressed
//! without looking back may be sent to anyone who can hold its window; a compressor that takes its context over has seen
//! every compressed message that its peer has seen, or begins anew.

use std::borrow::Cow;

use super::error::ProtocolError;
use super::incoming::Arrival;
use super::incoming::inflate::Lent;
use super::message::{Kind, Message, fragments};
use super::{Connection, Flags, Incoming, Loan, Received, Rules, Unfinished};
use crate::ground::input::Input;
use crate::ground::limits::Limits;
use crate::wire::deflate::negotiation::{Agreement, Terms, WINDOW_BITS};
use crate::wire::deflate::{Deflater, Inflater, ROOM};
use crate::wire::frame::{self, Role};

/// Bits of the window that is used for all who cannot hold the loop's own.
const NARROW_BITS: u8 = 9;

/// The compressed forms that a message can have for those who do not take contexts over: [`Codecs::pack`] makes one of
/// each, whatever the number of recipients.
pub const VARIANTS: usize = 2;

/// Sums of what was compressed and inflated, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Messages before they were compressed.
    pub deflated_from: u64,
    /// The same after it.
    pub deflated_to: u64,
    /// Compressed messages as they came.
    pub inflated_from: u64,
    /// The same inflated.
    pub inflated_to: u64,
}

/// What one loop compresses and inflates with. Nothing is allocated before it is needed.
#[derive(Debug)]
pub struct Codecs {
    level: u8,
    memory_level: u8,
    window_bits: u8,
    /// One for each variant: the loop's window, and the narrow one.
    deflaters: [Option<Deflater>; VARIANTS],
    /// What no message needs at the moment.
    spare: Option<Inflater>,
    room: Vec<u8>,
    packed: Vec<u8>,
    /// Bytes that the peer being read may still inflate to in this turn.
    pub left: usize,
    /// Sums.
    pub tally: Tally,
}

impl Codecs {
    /// None in use.
    pub fn new(limits: &Limits) -> Self {
        // `Config` has checked them; what is not from there is kept within bounds when it is used.
        let small = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        Codecs {
            level: small(limits.deflate_level),
            memory_level: small(limits.deflate_memory_level).clamp(1, 9),
            window_bits: small(limits.deflate_window_bits).clamp(NARROW_BITS, WINDOW_BITS),
            deflaters: [const { None }; VARIANTS],
            spare: None,
            room: Vec::new(),
            packed: Vec::new(),
            left: limits.inflate_budget,
            tally: Tally::default(),
        }
    }

    /// Room for one step.
    pub fn room(&mut self) -> &mut [u8] {
        // Zeros for the time being; it is made once.
        if self.room.is_empty() {
            self.room = vec![0; ROOM];
        }
        &mut self.room
    }

    /// Bits of the loop's window.
    pub fn window_bits(&self) -> u8 {
        self.window_bits
    }

    fn deflater(&self, window_bits: u8) -> Deflater {
        Deflater::new(self.level, self.memory_level, window_bits)
    }

    /// An inflater that has seen nothing, until the end of a message.
    pub fn inflater(&mut self) -> Inflater {
        self.spare.take().unwrap_or_default()
    }

    /// Takes it back. One is kept.
    pub fn give_back(&mut self, mut inflater: Inflater) {
        if self.spare.is_none() {
            inflater.reset();
            self.spare = Some(inflater);
        }
    }

    /// A message in the compressed form of a variant; `None` where that would not be shorter. The room of what is returned
    /// is best given back with [`Codecs::recycle`].
    pub fn pack(&mut self, variant: usize, message: &[u8]) -> Option<Vec<u8>> {
        let fresh = [self.window_bits, NARROW_BITS];
        let mut deflater = match self.deflaters[variant].take() {
            Some(deflater) => deflater,
            None => self.deflater(fresh[variant]),
        };
        let packed = self.pack_with(&mut deflater, message);
        deflater.reset();
        self.deflaters[variant] = Some(deflater);
        packed
    }

    fn pack_with(&mut self, deflater: &mut Deflater, message: &[u8]) -> Option<Vec<u8>> {
        let mut packed = std::mem::take(&mut self.packed);
        let shorter = deflater.message(message, self.room(), &mut packed);
        self.tally.deflated_from += message.len() as u64;
        self.tally.deflated_to += if shorter { packed.len() } else { message.len() } as u64;
        if shorter {
            return Some(packed);
        }
        self.recycle(packed);
        None
    }

    /// Takes back the room of a message that has been copied away, unless it is large.
    pub fn recycle(&mut self, mut packed: Vec<u8>) {
        if packed.capacity() <= ROOM {
            packed.clear();
            self.packed = packed;
        }
    }
}

/// What a connection has of its own: compressor and inflater that remember, made when they are first needed.
#[derive(Debug)]
pub struct Dedicated {
    /// Bits of our window, if we take our context over.
    sends: Option<u8>,
    deflater: Option<Deflater>,
    /// The peer has seen what our compressor has not.
    stale: bool,
    /// The peer takes its context over.
    receives: bool,
    inflater: Option<Inflater>,
    /// Memory that this may hold, in bytes: so much of the budget is taken.
    pub claim: usize,
}

impl Dedicated {
    /// What an agreement takes; `None` where neither side takes its context over.
    fn of(agreement: &Agreement, role: Role, codecs: &Codecs) -> Option<Self> {
        let (takes_over, bits) = agreement.ours(role);
        Dedicated::new(takes_over.then(|| bits.min(codecs.window_bits)), agreement.theirs(role), codecs)
    }

    /// The most that an agreement on these terms can take.
    pub fn at_most(terms: Terms, codecs: &Codecs) -> Option<Self> {
        Dedicated::new(terms.takeover.then_some(codecs.window_bits), terms.takeover, codecs)
    }

    fn new(sends: Option<u8>, receives: bool, codecs: &Codecs) -> Option<Self> {
        let claim = sends.map_or(0, |bits| Deflater::cost(codecs.memory_level, bits))
            + if receives { Inflater::COST } else { 0 };
        let some = sends.is_some() || receives;
        some.then_some(Dedicated { sends, deflater: None, stale: false, receives, inflater: None, claim })
    }
}

impl Connection {
    /// From here on messages may be compressed.
    pub fn agree_on_deflate(&mut self, agreement: &Agreement, codecs: &Codecs) {
        let role = self.role();
        self.flags.set(Flags::DEFLATE, true);
        self.flags.set(Flags::NARROW, agreement.ours(role).1 < codecs.window_bits);
        if let Some(dedicated) = Dedicated::of(agreement, role, codecs) {
            self.extra().deflate = Some(Box::new(dedicated));
        }
    }

    /// The variant of shared compressed frames that this connection gets, if it gets any.
    pub fn variant(&self) -> Option<usize> {
        self.flags.has(Flags::DEFLATE).then(|| usize::from(self.flags.has(Flags::NARROW)))
    }

    /// A message that was compressed without looking back goes to this connection. Its peer now remembers what our own
    /// compressor has not seen: that must not look back either.
    pub fn outdate(&mut self) {
        if let Some(dedicated) = self.dedicated() {
            dedicated.stale = true;
        }
    }

    fn dedicated(&mut self) -> Option<&mut Dedicated> {
        self.extra.as_mut()?.deflate.as_deref_mut()
    }

    /// Bytes that were read and put off to the next turn.
    pub fn put_off(&self, unfinished: &Unfinished) -> usize {
        match unfinished.get(&self.received) {
            Some(Received::Frames(incoming)) => incoming.unread(),
            _ => 0,
        }
    }

    /// The next arrival where compression has been agreed.
    pub(super) fn next_inflated<'b>(
        &mut self,
        incoming: &mut Incoming,
        input: &mut Input<'b>,
        rules: &Rules,
        codecs: &mut Codecs,
    ) -> Result<Option<Arrival<'b>>, ProtocolError> {
        let dedicated = self.dedicated().filter(|dedicated| dedicated.receives);
        let own = dedicated.map(|dedicated| &mut dedicated.inflater);
        incoming.next_inflated(input, rules, &mut Lent { codecs, own })
    }

    /// A message in compressed form, if that is agreed, wanted, worth it, and shorter.
    pub(super) fn pack(&mut self, message: &Message<'_>, loan: &mut Loan<'_>) -> Option<Vec<u8>> {
        let variant = self.variant()?;
        if !worth_packing(message, loan.limits) {
            return None;
        }
        let own = self.dedicated().and_then(|own| own.sends.map(|bits| (own, bits)));
        let Some((own, bits)) = own else { return loan.codecs.pack(variant, message.as_bytes()) };
        let mut deflater = match own.deflater.take() {
            Some(deflater) => deflater,
            None => loan.codecs.deflater(bits),
        };
        if std::mem::take(&mut own.stale) {
            deflater.reset();
        }
        let packed = loan.codecs.pack_with(&mut deflater, message.as_bytes());
        // What it has now seen goes out as it is, so the peer will not have seen it.
        own.stale = packed.is_none();
        own.deflater = Some(deflater);
        packed
    }

    /// Queues a message that has been compressed.
    pub(super) fn send_packed(
        &mut self,
        opcode: frame::Opcode,
        packed: Vec<u8>,
        loan: &mut Loan<'_>,
    ) -> bool {
        if packed.len() > loan.limits.fragment_bytes.min(loan.limits.cork_bytes / 2) {
            return self.send_long(opcode, packed, frame::RSV1, loan);
        }
        let key = self.key(loan.rng);
        self.write(loan, packed.len(), |out| append_packed(out, true, opcode, &packed, key));
        loan.codecs.recycle(packed);
        false
    }
}

/// True for a message that is to be compressed where that is agreed.
pub fn worth_packing(message: &Message<'_>, limits: &Limits) -> bool {
    !message.plain && message.len() >= limits.deflate_min
}

/// Appends the first or only frame of a compressed message.
pub fn append_packed(
    out: &mut Vec<u8>,
    fin: bool,
    opcode: frame::Opcode,
    payload: &[u8],
    key: Option<[u8; 4]>,
) {
    let start = out.len();
    frame::append(out, fin, opcode, payload, key);
    out[start] |= frame::RSV1;
}

/// Calls `each` with what appends a frame, for each frame of a message that has been compressed: of `longest` bytes at the
/// most, and only the first with RSV1 (RFC 7692 §6.1).
pub fn packed_fragments(
    kind: Kind,
    packed: &[u8],
    longest: usize,
    mut each: impl FnMut(&dyn Fn(&mut Vec<u8>)),
) {
    let whole = Message { payload: Cow::Borrowed(packed), ..Message::of(kind) };
    for (i, (last, opcode, payload)) in fragments(&whole, longest).enumerate() {
        if i == 0 {
            each(&|out| append_packed(out, last, opcode, payload, None));
        } else {
            each(&|out| frame::append(out, last, opcode, payload, None));
        }
    }
}
