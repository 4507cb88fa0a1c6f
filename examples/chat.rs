//! A chat: a `Router` with a page for health checks, a topic that everyone hears, and names in a side table.
//!
//! Connect several clients to `/chat`. The first message of each is its name, all others are what it says.

use tidegate::{Closed, Config, ConnId, ConnMap, Context, Handler, Message, Reply, Response, Router, Server};

const ROOM: &str = "room";

#[derive(Default)]
struct Chat {
    /// What we know of each connection. Entries are found by the connection's id and by nobody else's.
    names: ConnMap<String>,
}

impl Handler for Chat {
    fn on_open(&mut self, cx: &mut Context<'_>, conn: ConnId) {
        // From now on, everything that is published to the topic goes to this connection too.
        if cx.subscribe(conn, ROOM).is_err() {
            cx.close(conn, 1013, "the room is full");
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_>, conn: ConnId, msg: Message<'_>) {
        let text = msg.as_text().unwrap_or("(something that is not text)");
        match self.names.get(conn) {
            // Encoded once, however many listen.
            Some(name) => cx.publish(ROOM, format!("{name}: {text}")),
            None => {
                self.names.insert(conn, text.to_owned());
                cx.publish(ROOM, format!("{text} came in"))
            }
        };
    }

    fn on_close(&mut self, cx: &mut Context<'_>, conn: ConnId, why: &Closed) {
        if let Some(name) = self.names.remove(conn) {
            cx.publish(ROOM, format!("{name} left ({})", why.cause));
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".into());
    let mut app = Router::new();
    app.get("/health", |_, _, _| Reply::Respond(Response::text(200, "ok\n")));
    app.ws("/chat", Chat::default());
    let mut server = Server::bind(address, Config::default().message_max(4096))?;
    if let Some(address) = server.local_addr() {
        println!("listening on {address}");
    }
    server.run(&mut app)?;
    Ok(())
}
