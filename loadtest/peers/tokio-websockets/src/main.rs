//! Echo and chat with tokio-websockets, one thread.

use door::streams;
use tokio::net::TcpStream;
use tokio::sync::broadcast::Sender;
use tokio_websockets::{Config, Limits, Message, ServerBuilder};

async fn serve(stream: TcpStream, chat: Sender<Message>) -> Option<()> {
    let builder = ServerBuilder::new()
        // A message that comes in one frame goes back in one.
        .config(Config::default().frame_size(door::MESSAGE_MAX))
        .limits(Limits::default().max_payload_len(Some(door::MESSAGE_MAX)));
    let (request, socket) = builder.accept(stream).await.ok()?;
    if request.uri().path() == "/chat" {
        streams::join(socket, is_data, chat).await;
        return Some(());
    }
    streams::echo(socket, is_data).await
}

fn is_data(message: &Message) -> bool {
    message.is_text() || message.is_binary()
}

fn main() {
    streams::serve(door::words().port, serve)
}
