//! Tables and cuts for frames.

use super::*;

fn header(fin: bool, opcode: Opcode, key: Option<[u8; 4]>, len: u64) -> Header {
    Header { fin, opcode, key, len }
}

const KEY: Option<[u8; 4]> = Some([1, 2, 3, 4]);

#[test]
fn legal_headers_both_ways() {
    use Opcode::{Binary, Close, Continuation, Ping, Pong, Text};
    let cases: &[(&[u8], Role, Header)] = &[
        (&[0x81, 0x80, 1, 2, 3, 4], Role::Server, header(true, Text, KEY, 0)),
        (&[0x02, 0xfd, 1, 2, 3, 4], Role::Server, header(false, Binary, KEY, 125)),
        (&[0x80, 0xfe, 0, 126, 1, 2, 3, 4], Role::Server, header(true, Continuation, KEY, 126)),
        (&[0x82, 0xfe, 0xff, 0xff, 1, 2, 3, 4], Role::Server, header(true, Binary, KEY, 65_535)),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4], Role::Server, header(true, Binary, KEY, 65_536)),
        (
            &[0x82, 0x7f, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            Role::Client,
            header(true, Binary, None, i64::MAX as u64),
        ),
        (&[0x88, 0x02], Role::Client, header(true, Close, None, 2)),
        (&[0x89, 0x7d], Role::Client, header(true, Ping, None, 125)),
        (&[0x8a, 0x00], Role::Client, header(true, Pong, None, 0)),
    ];
    for (bytes, role, expected) in cases {
        assert_eq!(Header::parse(bytes, *role), Ok(Some((*expected, bytes.len()))), "{bytes:x?}");
        let (encoded, len) = expected.encode();
        assert_eq!(&encoded[..len], *bytes);
        for cut in 0..bytes.len() {
            assert_eq!(Header::parse(&bytes[..cut], *role), Ok(None), "{bytes:x?} cut at {cut}");
        }
    }
}

#[test]
fn illegal_headers() {
    let cases: &[(&[u8], Role, FrameError)] = &[
        (&[0xc1], Role::Server, FrameError::Reserved),
        (&[0xa1], Role::Server, FrameError::Reserved),
        (&[0x91], Role::Server, FrameError::Reserved),
        (&[0x83], Role::Server, FrameError::Opcode),
        (&[0x87], Role::Server, FrameError::Opcode),
        (&[0x8b], Role::Server, FrameError::Opcode),
        (&[0x8f], Role::Server, FrameError::Opcode),
        (&[0x08], Role::Server, FrameError::ControlFragmented),
        (&[0x09], Role::Server, FrameError::ControlFragmented),
        (&[0x0a], Role::Server, FrameError::ControlFragmented),
        (&[0x81, 0x05], Role::Server, FrameError::NotMasked),
        (&[0x81, 0x85], Role::Client, FrameError::Masked),
        (&[0x89, 0xfe], Role::Server, FrameError::ControlTooLong),
        (&[0x88, 0x7f], Role::Client, FrameError::ControlTooLong),
        (&[0x82, 0x7e, 0, 0], Role::Client, FrameError::LengthNotMinimal),
        (&[0x82, 0x7e, 0, 125], Role::Client, FrameError::LengthNotMinimal),
        (&[0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff], Role::Client, FrameError::LengthNotMinimal),
        (&[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0], Role::Client, FrameError::LengthTooLong),
    ];
    for (bytes, role, expected) in cases {
        assert_eq!(Header::parse(bytes, *role), Err(*expected), "{bytes:x?}");
        let mut copy = bytes.to_vec();
        let mut input = Input::new(&mut copy);
        assert_eq!(take_whole(&mut input, *role, 1 << 20), None);
        assert_eq!(input.len(), bytes.len(), "nothing may be taken");
    }
}

/// (opcode, fin, payload, frames seen so far) in the order of arrival, pieces of a frame joined.
fn decode(bytes: &[u8], cuts: &[usize], role: Role) -> Result<Vec<(Opcode, bool, Vec<u8>)>, FrameError> {
    let mut decoder = FrameDecoder::default();
    let mut frames: Vec<(Opcode, bool, Vec<u8>)> = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&bytes.len()]) {
        let mut part = bytes[start..end].to_vec();
        let mut input = Input::new(&mut part);
        while let Some(piece) = decoder.next_piece(&mut input, role)? {
            if piece.first {
                frames.push((piece.header.opcode, piece.header.fin, Vec::new()));
            }
            let (_, _, payload) = frames.last_mut().expect("a first piece came before");
            payload.extend_from_slice(piece.payload);
            assert_eq!(piece.last, payload.len() as u64 == piece.header.len);
        }
        assert!(input.is_empty(), "the decoder keeps what it cannot finish");
        start = end;
    }
    assert!(decoder.is_idle());
    Ok(frames)
}

#[test]
fn any_cut_gives_the_same_frames() {
    let payloads: Vec<Vec<u8>> =
        [0, 1, 5, 125, 126, 300].iter().map(|&n| (0..n).map(|i| i as u8).collect()).collect();
    for role in [Role::Server, Role::Client] {
        let key = (role == Role::Server).then_some([9, 8, 7, 6]);
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (i, payload) in payloads.iter().enumerate() {
            let opcode = if i % 2 == 0 { Opcode::Binary } else { Opcode::Text };
            append(&mut bytes, true, opcode, payload, key);
            append(&mut bytes, true, Opcode::Ping, b"hi", key);
            expected.push((opcode, true, payload.clone()));
            expected.push((Opcode::Ping, true, b"hi".to_vec()));
        }
        assert_eq!(decode(&bytes, &[], role).as_ref(), Ok(&expected));
        let every_byte: Vec<usize> = (1..bytes.len()).collect();
        assert_eq!(decode(&bytes, &every_byte, role).as_ref(), Ok(&expected));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes, &[cut], role).as_ref(), Ok(&expected), "cut at {cut}");
        }
    }
}

#[test]
fn a_short_vector_at_all_partitions() {
    let mut bytes = Vec::new();
    append(&mut bytes, false, Opcode::Text, b"ab", Some([5, 6, 7, 8]));
    append(&mut bytes, true, Opcode::Continuation, b"", Some([1, 1, 1, 1]));
    let whole = decode(&bytes, &[], Role::Server);
    for partition in 0..1_u32 << (bytes.len() - 1) {
        let cuts: Vec<usize> = (1..bytes.len()).filter(|i| partition >> (i - 1) & 1 == 1).collect();
        assert_eq!(decode(&bytes, &cuts, Role::Server), whole, "cuts {cuts:?}");
    }
}

#[test]
fn a_header_is_announced_before_its_payload() {
    let mut decoder = FrameDecoder::default();
    let mut bytes = [0x82, 0x7f, 0, 0, 0, 1, 0, 0, 0, 0];
    let mut input = Input::new(&mut bytes);
    let piece = decoder.next_piece(&mut input, Role::Client).unwrap().expect("the header alone");
    assert_eq!((piece.header.len, piece.payload.len(), piece.first, piece.last), (1 << 32, 0, true, false));
    assert_eq!(decoder.next_piece(&mut input, Role::Client), Ok(None));
}

#[test]
fn whole_frames_are_taken_whole_and_others_left_alone() {
    let key = Some([1, 2, 3, 4]);
    let mut bytes = Vec::new();
    append(&mut bytes, true, Opcode::Text, b"hello", key);
    append(&mut bytes, true, Opcode::Ping, b"", key);
    for cut in 0..bytes.len() {
        let mut part = bytes[..cut].to_vec();
        let mut input = Input::new(&mut part);
        let taken =
            take_whole(&mut input, Role::Server, 100).map(|(opcode, payload)| (opcode, payload.to_vec()));
        assert_eq!(taken.is_some(), cut >= 11, "cut at {cut}");
        assert!(taken.is_none_or(|taken| taken == (Opcode::Text, b"hello".to_vec())));
    }
    let mut input = Input::new(&mut bytes);
    assert_eq!(take_whole(&mut input, Role::Server, 4), None, "longer than allowed");
    assert!(take_whole(&mut input, Role::Server, 5).is_some());
    assert_eq!(take_whole(&mut input, Role::Server, 5), None, "a control frame");
    assert_eq!(input.len(), 6);
}

#[test]
fn a_short_frame_is_what_every_frame_is() {
    let mut seen = 0;
    for [first, second] in (0..=u16::MAX).map(u16::to_be_bytes) {
        for tail in [0, 1, 4, 124, 125, 126, 300] {
            let mut bytes = [&[first, second, 0x81, 2, 3, 4][..], &vec![b'a'; tail]].concat();
            let mut copy = bytes.clone();
            let (mut input, mut other) = (Input::new(&mut bytes), Input::new(&mut copy));
            let Some((opcode, payload, ascii)) = take_short(&mut input) else {
                assert_eq!(input.len(), 6 + tail, "nothing is taken");
                continue;
            };
            assert_eq!(ascii, payload.is_ascii());
            let whole = take_whole(&mut other, Role::Server, CONTROL_MAX as u64);
            assert_eq!(Some((opcode, payload)), whole, "{first:x} {second:x}");
            assert_eq!(input.len(), other.len());
            seen += 1;
        }
    }
    // Texts and binaries of up to as many bytes as there are.
    assert_eq!(seen, 2 * [0, 1, 4, 124, 125, 125, 125].map(|tail| tail + 1).iter().sum::<usize>());
    for short in 0..6 {
        assert_eq!(take_short(&mut Input::new(&mut [0x81, 0x80, 1, 2, 3, 4][..short])), None);
    }
}
