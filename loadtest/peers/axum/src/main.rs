//! Echo and chat with axum, one thread.
//!
//! Below it is tungstenite; see that server for the read buffer.

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use door::streams;
use tokio::sync::broadcast::Sender;

const READ_BUFFER: usize = 16 << 10;

fn sized(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BUFFER)
        .max_message_size(door::MESSAGE_MAX)
        .max_frame_size(door::MESSAGE_MAX)
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    sized(upgrade).on_upgrade(|socket| async {
        // A connection that breaks is its peer's to tell.
        let _ = streams::echo(socket, is_data).await;
    })
}

async fn chat(State(chat): State<Sender<Message>>, upgrade: WebSocketUpgrade) -> Response {
    sized(upgrade).on_upgrade(|socket| streams::join(socket, is_data, chat))
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}

fn main() {
    let words = door::words();
    let app = Router::new().route("/echo", any(echo)).route("/chat", any(chat)).with_state(streams::chat());
    let served = streams::run(async { axum::serve(streams::listener(words.port), app).await });
    if let Err(error) = served {
        door::fail(&error.to_string());
    }
}
