//! A server behind TLS: it says which version it speaks, and takes new certificates without dropping anyone.
//!
//! Run it with `cargo run --features tls --example tls -- 127.0.0.1:9443 cert.pem key.pem`, and press Enter when the
//! files have changed. `docs/TLS.md` says how to make files to try it with.

use std::error::Error;
use std::io::stdin;
use std::thread;

use tidegate::{
    Config, ConnId, Context, Handle, Handler, Message, Reply, Request, Response, Server, ServerTls,
};

struct Echo;

impl Handler for Echo {
    fn on_request(&mut self, _: &mut Context<'_>, _: ConnId, request: &Request<'_>) -> Reply {
        if request.is_websocket() {
            return Reply::upgrade();
        }
        // The session is known here already, with the client's certificate if one was asked for.
        let spoken = request.tls().map_or("no TLS".into(), |tls| tls.version().to_string());
        Reply::Respond(Response::text(200, format!("{spoken}\n")))
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        cx.send(conn, msg);
    }
}

/// Reads the files again whenever a line comes. What cannot be used changes nothing.
fn reload_on_enter(handle: &Handle, certificate: &str, key: &str) {
    for _ in stdin().lines() {
        match ServerTls::from_files(certificate, key) {
            Ok(tls) => match handle.reload_tls(tls) {
                Ok(()) => println!("from here on with the new certificate"),
                Err(error) => eprintln!("{error}"),
            },
            Err(error) => eprintln!("the old one stays: {error}"),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(address), Some(certificate), Some(key)) = (words.next(), words.next(), words.next()) else {
        return Err("say ADDRESS:PORT CERT.pem KEY.pem".into());
    };
    // More certificates, each for its names, are added with `identity`; `client_roots_file` asks clients for theirs.
    let tls = ServerTls::from_files(&certificate, &key)?;
    let mut server = Server::bind(address, Config::default().tls(tls))?;
    if let Some(address) = server.local_addr() {
        println!("listening on {address}");
    }
    let handle = server.handle();
    thread::spawn(move || reload_on_enter(&handle, &certificate, &key));
    server.run(&mut Echo)?;
    Ok(())
}
