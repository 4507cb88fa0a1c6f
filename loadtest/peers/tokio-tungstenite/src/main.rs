//! Echo and chat with tokio-tungstenite, one thread.
//!
//! Its read buffer of 128 KiB is filled with zeros before each read; with the 16 KiB here small messages cost less and
//! large ones somewhat more.

use door::streams;
use tokio::net::TcpStream;
use tokio::sync::broadcast::Sender;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

const READ_BUFFER: usize = 16 << 10;

async fn serve(stream: TcpStream, chat: Sender<Message>) -> Option<()> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(door::MESSAGE_MAX))
        .max_frame_size(Some(door::MESSAGE_MAX));
    let mut chats = false;
    let path = |request: &Request, response: Response| {
        chats = request.uri().path() == "/chat";
        Ok(response)
    };
    let socket = accept_hdr_async_with_config(stream, path, Some(config)).await.ok()?;
    if chats {
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
