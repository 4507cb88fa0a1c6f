//! The tool against a server of other people that does what it should: everything is answered, without an error.
//!
//! tokio-tungstenite, inside the test. Figures are not judged here, only that nothing is missing.

mod harness;

use std::net::Ipv4Addr;
use std::thread;

use futures_util::{SinkExt, StreamExt};
use harness::{assert_echoed, count, figure, measured, times};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Error;

/// Starts a server that echoes, on a thread that ends with the test; returns its URL.
fn server() -> String {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                // A connection that breaks is the tool's to tell.
                tokio::spawn(async { drop(echo(stream).await) });
            }
        });
    });
    url
}

async fn echo(stream: TcpStream) -> Result<(), Error> {
    stream.set_nodelay(true).map_err(Error::Io)?;
    let mut socket = accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

#[test]
fn all_is_echoed() {
    let url = server();
    for words in [
        &["--size", "20"][..],
        &["--size", "0:50%,1:25%,7:25%", "--depth", "3"],
        &["--binary", "--size", "20:70%,1KiB:25%,64KiB:5%", "--depth", "8"],
        &["--size", "64KiB", "--threads", "2"],
        &["--rate", "1k", "--poisson", "--binary"],
        &["--rate-each", "30", "--ping", "200ms"],
    ] {
        let run = ["echo", &url, "-n", "10", "--warmup", "100ms", "--duration", "1s"];
        let record = measured(&[&run, words].concat());
        assert_echoed(&record, words);
    }
}

#[test]
fn all_are_held() {
    let url = server();
    let record = measured(&["idle", &url, "-n", "300", "--ramp", "2k", "--steps", "3", "--hold", "500ms"]);
    assert_eq!(["opened", "held"].map(|name| count(&record, name)), [300; 2]);
    assert_eq!(["failed", "dropped", "errors"].map(|name| count(&record, name)), [0; 3]);
    assert_eq!(times(&record, "connect", "count"), 300.0);
    assert!(figure(&record, "joined_per_second") > 10.0);
}

#[test]
fn all_come_and_go() {
    let url = server();
    for words in [&["-n", "8"][..], &["-n", "100", "--rate", "200"], &["-n", "8", "--abort"]] {
        let record = measured(&[&["churn", &url, "--warmup", "0", "--duration", "1s"], words].concat());
        let opened = count(&record, "handshakes");
        assert!(opened > 20, "{words:?}: {opened}");
        let bad = ["failed", "dropped", "errors"];
        assert_eq!(bad.map(|name| count(&record, name)), [0; 3], "{words:?}: {}", record["errors"]);
        // Those that were on their way at the end came to be open behind it.
        let (all, at_once) = (count(&record, "opened"), words[1].parse::<u64>().unwrap());
        assert!((opened..=opened + at_once).contains(&all), "{words:?}: {all} of which {opened} in time");
        // All of them were planned in time.
        assert_eq!(times(&record, "connect", "count"), all as f64, "{words:?}");
    }
}
