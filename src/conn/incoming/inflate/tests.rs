//! Compressed messages at every cut, and every limit while they are inflated.

use super::super::tests::{RULES, told};
use super::*;
use crate::conn::deflate::append_packed;
use crate::ground::limits::Limits;
use crate::wire::deflate::Deflater;
use crate::wire::frame::append;

fn packed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut room = vec![0; ROOM];
    assert!(Deflater::new(6, 8, 15).message(message, &mut room, &mut out), "not shorter");
    out
}

/// A connection's receiving half, with or without context takeover.
struct Half {
    incoming: Incoming,
    codecs: Codecs,
    own: Option<Option<Inflater>>,
    rules: Rules,
}

impl Half {
    fn new(takeover: bool, rules: Rules) -> Self {
        let limits = Limits { inflate_budget: usize::MAX, ..Limits::default() };
        Half {
            incoming: Incoming::default(),
            codecs: Codecs::new(&limits),
            own: takeover.then_some(None),
            rules,
        }
    }

    /// Arrivals as text; the last one may be an error.
    fn hear(&mut self, bytes: &[u8], seen: &mut Vec<String>) -> bool {
        let mut bytes = bytes.to_vec();
        let mut input = Input::new(&mut bytes);
        loop {
            let mut lent = Lent { codecs: &mut self.codecs, own: self.own.as_mut() };
            match self.incoming.next_inflated(&mut input, &self.rules, &mut lent) {
                Ok(None) => return true,
                Ok(Some(arrival)) => seen.push(told(&arrival)),
                Err(error) => {
                    seen.push(format!("{error:?}"));
                    return false;
                }
            }
        }
    }

    fn hear_cut(&mut self, bytes: &[u8], cut: usize) -> Vec<String> {
        let mut seen = Vec::new();
        let _ = self.hear(&bytes[..cut], &mut seen) && self.hear(&bytes[cut..], &mut seen);
        seen
    }
}

/// Compressed or plain, final or not, what, payload.
type Sketch<'a> = (bool, bool, Opcode, &'a [u8]);

fn frames(list: &[Sketch<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(compressed, fin, opcode, payload) in list {
        if compressed {
            append_packed(&mut bytes, fin, opcode, payload, None);
        } else {
            append(&mut bytes, fin, opcode, payload, None);
        }
    }
    bytes
}

use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};

/// "Hello", as RFC 7692 §7.2.3 has it: fixed codes, stored, final, in two blocks, and referring to the one before.
const HELLO: &[u8] = &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
const STORED: &[u8] = &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00];
const FINAL: &[u8] = &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
const AGAIN: &[u8] = &[0xf2, 0x00, 0x11, 0x00, 0x00];

#[test]
fn compressed_tables_at_every_cut() {
    let hello = "Text [72, 101, 108, 108, 111]";
    let reserved = "Frame(Reserved)";
    let cases: &[(&[Sketch<'_>], &[&str])] = &[
        (&[(true, true, Text, HELLO)], &[hello]),
        (&[(true, true, Text, STORED), (true, true, Text, FINAL)], &[hello, hello]),
        // Plain messages between compressed ones, and nothing at all.
        (&[(true, true, Text, HELLO), (false, true, Text, b"Hello"), (true, true, Text, HELLO)], &[hello; 3]),
        (&[(true, true, Binary, &[0])], &["Binary []"]),
        (&[(true, true, Binary, b"")], &["Binary []"]),
        // Fragments, empty ones too, with control frames between them (RFC 7692 §6.1).
        (
            &[
                (true, false, Text, &HELLO[..1]),
                (false, true, Ping, b"p"),
                (false, false, Continuation, b""),
                (false, false, Continuation, &HELLO[1..3]),
                (false, true, Pong, b""),
                (false, true, Continuation, &HELLO[3..]),
            ],
            &["ping [112]", "pong", hello],
        ),
        (&[(true, false, Text, b""), (false, true, Continuation, HELLO)], &[hello]),
        (&[(true, false, Text, HELLO), (false, true, Continuation, b"")], &[hello]),
        // RSV1 belongs on the first frame of a message and nowhere else.
        (&[(true, false, Text, &HELLO[..2]), (true, true, Continuation, &HELLO[2..])], &[reserved]),
        (&[(false, false, Text, b"a"), (true, true, Continuation, b"b")], &[reserved]),
        (&[(true, true, Ping, b"")], &[reserved]),
        (&[(true, true, Close, b"\x03\xe8")], &[reserved]),
        (&[(true, false, Text, HELLO), (true, true, Text, HELLO)], &["Frame(MessageUnfinished)"]),
        // Not DEFLATE, cut off, text that is none, and a character that ends nowhere.
        (&[(true, true, Text, &[0xff; 9])], &["BadDeflate"]),
        (&[(true, true, Text, &[0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00])], &["BadText"]),
        (&[(true, true, Text, &[0x00, 0x01, 0x00, 0xfe, 0xff, 0xe2, 0x00])], &["BadText"]),
    ];
    for takeover in [false, true] {
        for (list, expected) in cases {
            let bytes = frames(list);
            for cut in 0..=bytes.len() {
                let seen = Half::new(takeover, RULES).hear_cut(&bytes, cut);
                assert_eq!(seen, *expected, "{list:?} cut at {cut}, takeover {takeover}");
            }
            let mut half = Half::new(takeover, RULES);
            let mut seen = Vec::new();
            let _ = bytes.chunks(1).all(|byte| half.hear(byte, &mut seen));
            assert_eq!(seen, *expected, "{list:?} byte by byte");
        }
    }
}

#[test]
fn a_context_is_taken_over_where_that_was_agreed() {
    let bytes = frames(&[(true, true, Text, HELLO), (true, true, Text, AGAIN)]);
    let hello = "Text [72, 101, 108, 108, 111]";
    assert_eq!(Half::new(true, RULES).hear_cut(&bytes, 0), [hello, hello]);
    assert_eq!(Half::new(false, RULES).hear_cut(&bytes, 0), [hello, "BadDeflate"]);
    // A message that is cut off in a block is found at its end, where nothing is remembered.
    let cut = frames(&[(true, true, Text, &HELLO[..4])]);
    assert_eq!(Half::new(false, RULES).hear_cut(&cut, 0), ["BadDeflate"]);
}

#[test]
fn size_and_ratio_are_limited_while_inflating() {
    let zeros = packed(&vec![0; 32 << 20]);
    let bomb = frames(&[(true, true, Binary, &zeros)]);
    let ample = Rules { message_max: 1 << 30, frame_max: 1 << 30, ..RULES };
    let unjudged = Rules { inflate_ratio_max: 2_000, ..ample };
    let big = |max: u64| Rules { message_max: max, frame_max: 1 << 30, inflate_ratio_max: 2_000, ..RULES };
    let table = [
        (ample, "RatioTooHigh", RATIO_FLOOR + ROOM as u64),
        (big(1 << 20), "MessageTooBig", (1 << 20) + 1),
        (big(100), "MessageTooBig", 101),
        (big((32 << 20) - 1), "MessageTooBig", 32 << 20),
    ];
    for (rules, error, most) in table {
        let mut half = Half::new(false, rules);
        assert_eq!(half.hear_cut(&bomb, 0), [error]);
        let made = (usize::MAX - half.codecs.left) as u64;
        assert!(made <= most, "{made} bytes inflated, {most} allowed");
        assert!(half.incoming.charge() as u64 <= rules.message_max.min(most) * 4);
    }
    for rules in [big(32 << 20), unjudged] {
        assert_eq!(Half::new(false, rules).hear_cut(&bomb, 0).len(), 1);
    }
    // A short message may repeat itself as much as it likes.
    let short = frames(&[(true, true, Binary, &packed(&vec![0; RATIO_FLOOR as usize]))]);
    let strict = Rules { inflate_ratio_max: 2, ..ample };
    assert!(Half::new(false, strict).hear_cut(&short, 0)[0].starts_with("Binary"));
    // Declared lengths are judged too, with some room for what does not compress.
    let long = [&[0xc2, 126], &2_000_u16.to_be_bytes()[..]].concat();
    assert_eq!(Half::new(false, big(1_000)).hear_cut(&long, 4), ["MessageTooBig"]);
    assert_eq!(Half::new(false, big(1_900)).hear_cut(&long, 4), [""; 0]);
}

/// What is inflated in a turn is at most the budget and what comes of one piece; the rest is heard afterwards, in order.
#[test]
fn the_budget_of_a_turn_puts_the_rest_off() {
    let message = vec![7; 200_000];
    let mut bytes = Vec::new();
    for _ in 0..20 {
        bytes.extend(frames(&[(true, true, Binary, &packed(&message)), (false, true, Ping, b"")]));
    }
    let mut half = Half::new(true, RULES);
    half.codecs.left = 300_000;
    let mut seen = Vec::new();
    half.hear(&bytes, &mut seen);
    let mut turns = 1;
    while half.incoming.unread() > 0 {
        assert!(half.incoming.charge() >= half.incoming.unread());
        assert!(!half.incoming.is_idle());
        // Nothing overtakes what waits.
        half.hear(b"", &mut seen);
        half.codecs.left = 300_000;
        let rest = half.incoming.take_unread();
        half.hear(&rest, &mut seen);
        turns += 1;
    }
    assert_eq!((seen.len(), turns), (40, 11));
    assert!(seen.chunks(2).all(|pair| pair[0].starts_with("Binary [7, 7") && pair[1] == "ping []"));
    assert!(half.incoming.is_idle());
}

#[test]
fn compressed_parts_arrive_as_they_come() {
    let rules = Rules { parts: true, message_max: 10, streamed_message_max: 1 << 20, ..RULES };
    let message: Vec<u8> = (0..200_000_u32).map(|i| b'a' + (u64::from(i).pow(2) % 23) as u8).collect();
    let packed = packed(&message);
    let (one, two) = packed.split_at(packed.len() / 2);
    let bytes =
        frames(&[(true, false, Text, one), (false, true, Ping, b""), (false, true, Continuation, two)]);
    for takeover in [false, true] {
        let (mut half, mut seen) = (Half::new(takeover, rules), Vec::new());
        for chunk in bytes.chunks(700) {
            assert!(half.hear(chunk, &mut seen));
        }
        let parts: Vec<&String> = seen.iter().filter(|line| line.starts_with("part")).collect();
        assert!(parts.len() > 2 && seen.contains(&"ping []".into()));
        assert!(parts[0].ends_with("true false") && parts[parts.len() - 1].ends_with("false true"));
        let bytes: usize = parts.iter().map(|part| part.matches(", ").count() + 1).sum();
        assert!(bytes >= message.len() && bytes <= message.len() + 1);
        assert!(half.incoming.is_idle());
    }
    let (mut half, mut seen) = (Half::new(false, Rules { streamed_message_max: 1_000, ..rules }), Vec::new());
    assert!(!half.hear(&bytes, &mut seen));
    assert_eq!(seen.last().map(String::as_str), Some("MessageTooBig"));
}

/// An inflater is charged while a message holds it, and the loop has it again afterwards.
#[test]
fn an_inflater_is_held_no_longer_than_its_message() {
    let bytes = frames(&[(true, true, Text, HELLO)]);
    let mut half = Half::new(false, RULES);
    let mut seen = Vec::new();
    half.hear(&bytes[..5], &mut seen);
    assert!(half.incoming.charge() >= Inflater::COST);
    half.hear(&bytes[5..], &mut seen);
    assert_eq!((seen.len(), half.incoming.charge()), (1, 0));
    // Nothing of a message that we do not want any more is inflated.
    half.rules.discard = true;
    assert_eq!(
        half.hear_cut(&frames(&[(true, true, Text, &[0xff; 9]), (false, true, Ping, b"")]), 3),
        ["ping []"]
    );
}
