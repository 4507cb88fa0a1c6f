//! `listener_retry` and the reserved descriptor: a server that has no descriptor left (`EMFILE`), in a process of its
//! own with a low limit. The process is this test again, started with a variable set.
#![cfg(target_os = "linux")]

mod harness;

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use harness::child::Running;
use harness::peer::{Peer, TEXT, handshake};
use harness::{Script, ms, until};
use tidegate::{Config, Message, Server};

const MARK: &str = "TIDEGATE_TEST_SERVER";

/// A server that takes orders: "snatch" starts a thread that takes every descriptor it can get, "hold" stops it,
/// "free" gives them back. Everything is answered with the number of peers refused for want of a descriptor.
fn serve() {
    let mut server = Server::bind("127.0.0.1:0", Config::default().listener_retry(ms(50))).unwrap();
    println!("\nlistening on {}", server.local_addr().unwrap());
    let snatching = Arc::new(AtomicBool::new(false));
    let snatched = Arc::<Mutex<Vec<File>>>::default();
    let mut app = Script::new().message(move |cx, conn, msg| {
        match msg.as_text() {
            Some("snatch") => {
                snatching.store(true, Ordering::SeqCst);
                let (snatching, snatched) = (Arc::clone(&snatching), Arc::clone(&snatched));
                thread::spawn(move || {
                    while snatching.load(Ordering::SeqCst) {
                        if let Ok(file) = File::open("/dev/null") {
                            snatched.lock().unwrap().push(file);
                        }
                    }
                });
            }
            Some("hold") => snatching.store(false, Ordering::SeqCst),
            Some("free") => snatched.lock().unwrap().clear(),
            _ => {}
        }
        cx.send(conn, Message::text(cx.stats().refused_descriptors.to_string()));
    });
    server.run(&mut app).unwrap();
}

/// Gives an order; returns the number of refused peers.
fn order(peer: &mut Peer, word: &str) -> u64 {
    peer.send(TEXT, word);
    peer.message().text().parse().unwrap()
}

/// Processor time of a process so far, user and system, in clock ticks (proc(5); a tick is ten milliseconds).
fn cpu_ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn expect_no_spin(server: &Running) {
    let before = cpu_ticks(server.id());
    // Time itself is what is looked at here.
    thread::sleep(ms(500));
    let spent = cpu_ticks(server.id()) - before;
    assert!(spent < 20, "{spent} ticks of processor time in half a second");
}

#[test]
fn limit_listener_retry() {
    if std::env::var_os(MARK).is_some() {
        return serve();
    }
    let test = std::env::current_exe().unwrap();
    let script = format!("ulimit -n 40; exec '{}' --exact limit_listener_retry --nocapture", test.display());
    let server = Running::start(Command::new("sh").args(["-c", &script]).env(MARK, "1"));
    let address = server.address();
    // Connections until the first that gets no place: it is told so.
    let mut peers = Vec::new();
    let refused = loop {
        let mut peer = Peer::connect(address);
        peer.write(handshake("/"));
        let answer = peer.answer();
        if answer.status != 101 {
            break answer;
        }
        peers.push(peer);
        assert!(peers.len() < 40, "the limit does not bind");
    };
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(order(&mut peers[0], "count"), 1);
    expect_no_spin(&server);

    // A place that becomes free is given to the next one.
    peers.pop();
    let peer = until("a free place", || {
        let mut peer = Peer::connect(address);
        peer.write(handshake("/"));
        (peer.answer().status == 101).then_some(peer)
    });
    peers.push(peer);

    // Even the reserved descriptor is lost when somebody else in the process is quicker: now nobody can be told.
    order(&mut peers[0], "snatch");
    let mut waiting = until("a peer that gets no answer", || {
        let mut peer = Peer::connect(address);
        peer.socket.set_read_timeout(Some(ms(300))).unwrap();
        peer.rest().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock).then_some(peer)
    });
    let refused = order(&mut peers[0], "hold");
    expect_no_spin(&server);
    for peer in &mut peers {
        assert_eq!(order(peer, "those inside do not notice"), refused);
    }
    // No event tells that there are descriptors again; trying again from time to time does.
    order(&mut peers[0], "free");
    waiting.socket.set_read_timeout(Some(harness::PATIENCE)).unwrap();
    waiting.upgrade("/");
    order(&mut waiting, "in");
}
