//! Tables, cuts and limits for messages.

use super::*;
use crate::conn::incoming::assembly::GROWTH;
use crate::conn::spares::Memory;
use crate::wire::frame::append;

pub(super) const RULES: Rules = Rules {
    role: Role::Client,
    message_max: 1 << 20,
    streamed_message_max: 1 << 20,
    frame_max: 1 << 20,
    fragments_max: 100,
    parts: false,
    discard: false,
    #[cfg(feature = "deflate")]
    inflate_ratio_max: 200,
};

/// An arrival as text.
pub(super) fn told(arrival: &Arrival<'_>) -> String {
    match arrival {
        Arrival::Message(m) => format!("{:?} {:?}", m.kind(), m.as_bytes()),
        Arrival::Part(p) => format!("part {:?} {} {}", p.bytes, p.first, p.last),
        #[cfg(feature = "deflate")]
        Arrival::Inflated { bytes, first, last, .. } => format!("part {bytes:?} {first} {last}"),
        Arrival::Ping(payload) => format!("ping {payload:?}"),
        Arrival::Pong => "pong".into(),
        Arrival::Close(code, reason) => format!("close {code:?} {reason}"),
    }
}

/// Arrivals as text, so that lent and owned ones compare: the same whether long messages are copied to where they stay or
/// read into it, `least` bytes at a time or more.
fn arrivals(bytes: &[u8], cuts: &[usize], rules: &Rules) -> Vec<String> {
    let copied = arrivals_with(bytes, cuts, rules, usize::MAX);
    for least in [1, 2, 50] {
        assert_eq!(arrivals_with(bytes, cuts, rules, least), copied, "{least} at {cuts:?}");
    }
    copied
}

fn arrivals_with(bytes: &[u8], cuts: &[usize], rules: &Rules, least: usize) -> Vec<String> {
    let mut incoming = Incoming::default();
    // What is in them must not come out.
    let memory = Memory::new(1 << 21, usize::MAX);
    memory.keep(vec![0xaa; 1 << 20]);
    memory.keep(vec![0xaa; 2_000]);
    let mut seen = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        let mut part = bytes[start..end].to_vec();
        start = end;
        let mut rest = part.as_mut_slice();
        loop {
            // As from a socket that may have more to give than it has at this moment.
            let (arrival, left) = if let Some(room) = incoming.place_len(rest.len() + 3, least) {
                incoming.make_place(room, &memory);
                let (here, left) = rest.split_at_mut(room.min(rest.len()));
                incoming.place(room)[..here.len()].copy_from_slice(here);
                (incoming.arrived_in_place(here.len()), left)
            } else {
                let mut input = Input::new(rest);
                let arrival = incoming.next(&mut input, rules, &memory);
                (arrival, input.take(usize::MAX))
            };
            rest = left;
            match arrival {
                Ok(None) if rest.is_empty() => break,
                Ok(None) => {}
                Ok(Some(arrival)) => seen.push(told(&arrival)),
                Err(error) => {
                    seen.push(format!("{error:?}"));
                    return seen;
                }
            }
        }
    }
    seen
}

fn frames(list: &[(bool, Opcode, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (fin, opcode, payload) in list {
        append(&mut bytes, *fin, *opcode, payload, None);
    }
    bytes
}

use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};

/// Every case at every single cut, and byte by byte, gives what it gives whole.
#[test]
fn tables_at_every_cut() {
    type Case<'a> = (&'a [(bool, Opcode, &'a [u8])], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (&[(true, Text, b"hi")], &["Text [104, 105]"]),
        (&[(true, Text, b"")], &["Text []"]),
        (&[(false, Binary, b"a"), (true, Continuation, b"b")], &["Binary [97, 98]"]),
        (&[(false, Binary, b""), (false, Continuation, b""), (true, Continuation, b"")], &["Binary []"]),
        (
            &[
                (false, Text, b"\xe2"),
                (true, Ping, b"p"),
                (false, Continuation, b"\x82"),
                (true, Pong, b""),
                (true, Continuation, b"\xac"),
            ],
            &["ping [112]", "pong", "Text [226, 130, 172]"],
        ),
        (&[(true, Close, b"\x03\xe8bye")], &["close Some(1000) bye"]),
        (&[(true, Close, b"")], &["close None "]),
        (&[(true, Continuation, b"")], &["Frame(NothingToContinue)"]),
        (
            &[(true, Text, b"ok"), (false, Continuation, b"x")],
            &["Text [111, 107]", "Frame(NothingToContinue)"],
        ),
        (&[(false, Text, b"a"), (true, Text, b"b")], &["Frame(MessageUnfinished)"]),
        (&[(true, Text, b"\xff")], &["BadText"]),
        (&[(true, Text, b"\xe2\x82")], &["BadText"]),
        (&[(false, Text, b"\xe2\x82"), (true, Continuation, b"")], &["BadText"]),
        (&[(true, Close, b"\x03")], &["Frame(CloseTooShort)"]),
        (&[(true, Close, b"\x03\xed")], &["Frame(CloseCode)"]),
        (&[(true, Close, b"\x03\xe8\xff")], &["Frame(CloseReason)"]),
    ];
    for (list, expected) in cases {
        let bytes = frames(list);
        assert_eq!(arrivals(&bytes, &[], &RULES), *expected, "{list:?}");
        let every_byte: Vec<usize> = (1..bytes.len()).collect();
        assert_eq!(arrivals(&bytes, &every_byte, &RULES), *expected, "{list:?} byte by byte");
        for cut in 0..bytes.len() {
            assert_eq!(arrivals(&bytes, &[cut], &RULES), *expected, "{list:?} cut at {cut}");
        }
    }
}

#[test]
fn bad_text_is_refused_before_its_frame_has_arrived() {
    let mut bytes = vec![0x81, 0x7e, 0x10, 0x00];
    bytes.extend_from_slice(b"good\xff");
    assert_eq!(arrivals(&bytes, &[], &RULES), ["BadText"]);
}

#[test]
fn a_declared_length_is_judged_at_the_header() {
    let rules = Rules { message_max: 1000, ..RULES };
    assert_eq!(arrivals(&[0x82, 0x7e, 0x03, 0xe9], &[], &rules), ["MessageTooBig"]);
    let rules = Rules { frame_max: 999, ..RULES };
    assert_eq!(arrivals(&[0x82, 0x7e, 0x03, 0xe8], &[], &rules), ["FrameTooBig"]);
    let bytes = frames(&[(false, Binary, &[0; 600]), (true, Continuation, &[0; 401])]);
    assert_eq!(arrivals(&bytes, &[], &Rules { message_max: 1000, ..RULES }), ["MessageTooBig"]);
    // The longest length there is, continued by the longest there is: no arithmetic overflows.
    let mut bytes = vec![0x02, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(
        arrivals(&bytes, &[], &Rules { message_max: u64::MAX, frame_max: u64::MAX, ..RULES }),
        [""; 0]
    );
    bytes[0] = 0x80;
    assert_eq!(arrivals(&bytes, &[], &RULES), ["Frame(NothingToContinue)"]);
}

#[test]
fn too_many_fragments() {
    let mut list: Vec<(bool, Opcode, &[u8])> = vec![(false, Binary, b"")];
    list.extend(std::iter::repeat_n((false, Continuation, &b""[..]), 99));
    assert_eq!(arrivals(&frames(&list), &[], &RULES), [""; 0]);
    list.push((false, Continuation, b""));
    assert_eq!(arrivals(&frames(&list), &[], &RULES), ["TooManyFragments"]);
}

/// Memory follows what has arrived, not what was announced, and tiny fragments cost no more than their bytes.
#[test]
fn memory_grows_with_arrival() {
    let rules = Rules { fragments_max: 200_000, message_max: 1 << 30, frame_max: 1 << 30, ..RULES };
    let mut incoming = Incoming::default();
    let mut announced = vec![0x02, 0x7f, 0, 0, 0, 0, 0x20, 0, 0, 0];
    announced.extend_from_slice(&[0; 100]);
    assert_eq!(incoming.next(&mut Input::new(&mut announced), &rules, &Memory::default()), Ok(None));
    assert!(incoming.charge() <= GROWTH * 100, "{} bytes held for 100 received", incoming.charge());

    let mut incoming = Incoming::default();
    let mut wire = 0;
    for i in 0..131_000 {
        let opcode = if i == 0 { Binary } else { Continuation };
        let mut bytes = frames(&[(false, opcode, b"x")]);
        wire += bytes.len();
        assert_eq!(incoming.next(&mut Input::new(&mut bytes), &rules, &Memory::default()), Ok(None));
    }
    assert!(incoming.charge() * 10 <= wire * 11, "{} bytes held for {wire} on the wire", incoming.charge());
}

#[test]
fn parts_arrive_as_they_come() {
    let rules = Rules { parts: true, ..RULES };
    let bytes = frames(&[
        (false, Text, b"abc"),
        (true, Ping, b""),
        (false, Continuation, b""),
        (true, Continuation, b"de"),
    ]);
    let expected =
        ["part [97, 98] true false", "part [99] false false", "ping []", "part [100, 101] false true"];
    assert_eq!(arrivals(&bytes, &[4], &rules), expected);
    assert_eq!(arrivals(&frames(&[(true, Binary, b"")]), &[], &rules), ["part [] true true"]);
}

/// The rule at a message's beginning is its rule to the end.
#[test]
fn parts_are_not_switched_within_a_message() {
    let whole = RULES;
    let parts = Rules { parts: true, ..RULES };
    let bytes = frames(&[(false, Binary, b"ab"), (true, Continuation, b"cd")]);
    for (first, second, expected) in [(whole, parts, "Message"), (parts, whole, "Part")] {
        let (mut one, mut two) = (bytes[..4].to_vec(), bytes[4..].to_vec());
        let mut incoming = Incoming::default();
        incoming.next(&mut Input::new(&mut one), &first, &Memory::default()).unwrap();
        let mut rest = Input::new(&mut two);
        let last = incoming.next(&mut rest, &second, &Memory::default()).unwrap();
        let kind = match last {
            Some(Arrival::Message(message)) if message.as_bytes() == b"abcd" => "Message",
            Some(Arrival::Part(part)) if part.bytes == b"cd" && part.last => "Part",
            other => panic!("{other:?}"),
        };
        assert_eq!(kind, expected);
    }
}

#[test]
fn discarded_data_leaves_control_frames() {
    let rules = Rules { discard: true, ..RULES };
    let bytes = frames(&[
        (true, Text, b"\xff"),
        (false, Binary, b"x"),
        (true, Close, b"\x03\xe8"),
        (true, Continuation, b"y"),
    ]);
    for cut in 0..bytes.len() {
        assert_eq!(arrivals(&bytes, &[cut], &rules), ["close Some(1000) "]);
    }
}
