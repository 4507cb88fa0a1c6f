//! `listener_retry`: a server without descriptors, in a process of its own with a low limit (`EMFILE`).
#![cfg(target_os = "linux")]

mod harness;

use std::process::Command;
use std::thread;

use harness::child::{Running, example};
use harness::peer::{Peer, TEXT};
use harness::{ms, until};

/// Processor time of a process so far, user and system, in clock ticks (proc(5); a tick is ten milliseconds).
fn cpu_ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn limit_listener_retry() {
    let script = format!("ulimit -n 40; exec {} 127.0.0.1:0", example("echo").display());
    let server = Running::start(Command::new("sh").args(["-c", &script]));
    let address = server.address();
    // Connections until the first that gets no place: it is told so.
    let mut peers = Vec::new();
    let refused = loop {
        let mut peer = Peer::connect(address);
        peer.write(harness::peer::handshake("/"));
        let answer = peer.answer();
        if answer.status != 101 {
            break answer;
        }
        peers.push(peer);
        assert!(peers.len() < 40, "the limit does not bind");
    };
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert!(peers.len() > 20, "{} places", peers.len());
    // While others wait at the door and nothing can be done for them, the server does not spin.
    let waiting: Vec<Peer> = (0..5).map(|_| Peer::connect(address)).collect();
    let before = cpu_ticks(server.id());
    thread::sleep(ms(500));
    let spent = cpu_ticks(server.id()) - before;
    assert!(spent < 20, "{spent} ticks of processor time in half a second");
    // Those inside do not notice.
    for peer in &mut peers {
        peer.send(TEXT, "still here");
        assert_eq!(peer.message().text(), "still here");
    }
    drop(waiting);
    // A place that becomes free is given to the next one.
    peers.truncate(10);
    let mut peer = until("a free place", || {
        let mut peer = Peer::connect(address);
        peer.write(harness::peer::handshake("/"));
        (peer.answer().status == 101).then_some(peer)
    });
    peer.send(TEXT, "in");
    assert_eq!(peer.message().text(), "in");
}
