//! Socket options, read back from accepted sockets.
//!
//! Refuses to know the loop. Invariant: what the kernel may refuse to an ordinary user is either in force or told.

use std::net::TcpStream as Plain;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn plain() -> ListenOptions {
    ListenOptions {
        backlog: 16,
        nodelay: true,
        reuse_port: false,
        recv_buffer: 0,
        send_buffer: 0,
        keepalive: Duration::ZERO,
        busy_poll: Duration::ZERO,
        quickack: false,
        defer_accept: Duration::ZERO,
    }
}

fn listening(options: ListenOptions) -> io::Result<(MioIo, SocketAddr)> {
    let mut io = MioIo::new(16, options)?;
    let address = io.listen(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    Ok((io, address))
}

/// Waits for a connection and makes it key 0.
fn accept(io: &mut MioIo) {
    let socket = until(io, |io| io.accept(0));
    io.adopt(socket.0, 0, false).unwrap();
}

/// Waits until an operation is possible.
fn until<T>(io: &mut MioIo, mut operation: impl FnMut(&mut MioIo) -> io::Result<T>) -> T {
    let began = Instant::now();
    loop {
        match operation(io) {
            Ok(value) => return value,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        assert!(began.elapsed() < PATIENCE, "in vain");
        io.wait(Some(Duration::from_millis(10)), &mut Vec::new()).unwrap();
    }
}

fn accepted(io: &MioIo) -> SockRef<'_> {
    SockRef::from(io.sockets[0].as_ref().unwrap())
}

#[test]
fn a_listener_hands_its_options_down() {
    let options = ListenOptions {
        nodelay: false,
        recv_buffer: 20_000,
        send_buffer: 30_000,
        keepalive: Duration::from_secs(77),
        ..plain()
    };
    for (options, nodelay, keepalive) in [(options, false, true), (plain(), true, false)] {
        let set = options.recv_buffer > 0;
        let (mut io, address) = listening(options).unwrap();
        let _peer = Plain::connect(address).unwrap();
        accept(&mut io);
        let socket = accepted(&io);
        assert_eq!(socket.tcp_nodelay().unwrap(), nodelay);
        assert_eq!(socket.keepalive().unwrap(), keepalive);
        assert!(!keepalive || socket.tcp_keepalive_time().unwrap() == Duration::from_secs(77));
        // The kernel counts its own bookkeeping too, and so doubles what it was told (socket(7)).
        assert_eq!(socket.recv_buffer_size().unwrap() == 40_000, set);
        assert_eq!(socket.send_buffer_size().unwrap() == 60_000, set);
        assert_eq!(socket.busy_poll().unwrap_or(0), 0);
    }
}

#[test]
fn busy_poll_is_in_force_or_told() {
    let options = ListenOptions { busy_poll: Duration::from_micros(50), ..plain() };
    match listening(options) {
        Ok((mut io, address)) => {
            let _peer = Plain::connect(address).unwrap();
            accept(&mut io);
            assert_eq!(accepted(&io).busy_poll().unwrap(), 50);
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            let text = error.to_string();
            assert!(
                text.starts_with("SO_BUSY_POLL is refused (busy_poll); it wants CAP_NET_ADMIN"),
                "{text}"
            );
        }
    }
}

/// The kernel leaves the mode once replies are seen to carry its acknowledgements.
#[test]
fn quickack_is_set_again_after_each_read() {
    for quickack in [false, true] {
        let (mut io, address) = listening(ListenOptions { quickack, ..plain() }).unwrap();
        let mut peer = Plain::connect(address).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        accept(&mut io);
        let began = Instant::now();
        let mut left = 0;
        for round in 0.. {
            peer.write_all(b"?").unwrap();
            assert_eq!(until(&mut io, |io| io.read(0, &mut [0; 8])), 1);
            let on = accepted(&io).tcp_quickack().unwrap();
            assert!(on || !quickack, "round {round}");
            left += u32::from(!on);
            if left > 0 || quickack && round == 50 {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "the kernel never leaves the mode by itself");
            assert_eq!(io.write(0, &[IoSlice::new(b"!")]).unwrap(), 1);
            peer.read_exact(&mut [0]).unwrap();
        }
    }
}

#[cfg(feature = "defer_accept")]
#[test]
fn defer_accept_is_set_on_the_listener() {
    let option = |io: &MioIo| {
        let (level, mut seconds) = (uapi::c::IPPROTO_TCP, 0_i32);
        let fd = io.listeners[0].as_raw_fd();
        uapi::getsockopt(fd, level, uapi::c::TCP_DEFER_ACCEPT, &mut seconds).unwrap();
        seconds
    };
    let (io, _) = listening(plain()).unwrap();
    assert_eq!(option(&io), 0);
    // The kernel rounds up to the time of so many repeated SYN-ACKs: 1, 3, 7, 15 s.
    let (mut io, address) =
        listening(ListenOptions { defer_accept: Duration::from_millis(2_500), ..plain() }).unwrap();
    assert_eq!(option(&io), 3);
    let (silent, mut speaker) = (Plain::connect(address).unwrap(), Plain::connect(address).unwrap());
    speaker.write_all(b"first").unwrap();
    let (_, peer) = until(&mut io, |io| io.accept(0));
    assert_eq!(peer, speaker.local_addr().unwrap(), "the one that came first has said nothing");
    drop(silent);
}
