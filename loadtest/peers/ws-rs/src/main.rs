//! Echo and chat with ws (ws-rs), one thread.
//!
//! Its broadcast goes to all connections, whatever their path: as long as all of them are members, that is the chat.

use ws::{Builder, Handler, Handshake, Message, Result, Sender, Settings};

/// The table of connections is made at the start, so it is as long as the runs here need.
const CONNECTIONS_MAX: usize = 20_000;

struct Peer {
    out: Sender,
    chats: bool,
}

impl Handler for Peer {
    fn on_open(&mut self, handshake: Handshake) -> Result<()> {
        self.chats = handshake.request.resource() == "/chat";
        Ok(())
    }

    fn on_message(&mut self, message: Message) -> Result<()> {
        if self.chats { self.out.broadcast(message) } else { self.out.send(message) }
    }
}

fn main() {
    let words = door::words();
    door::raise_descriptors();
    let settings = Settings {
        max_connections: CONNECTIONS_MAX,
        tcp_nodelay: true,
        max_fragment_size: door::MESSAGE_MAX,
        ..Settings::default()
    };
    let server = Builder::new().with_settings(settings).build(|out| Peer { out, chats: false });
    let listened = server.and_then(|server| server.listen(door::address(words.port)));
    if let Err(error) = listened {
        door::fail(&error.to_string());
    }
}
