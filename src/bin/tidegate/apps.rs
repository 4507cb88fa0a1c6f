//! The applications that the program serves, by name, and the router that serves them all.
//!
//! Refuses to know sockets and settings. Invariant: topics and timer tags of the applications differ, so
//! that they can share one loop; no application keeps a timer while nobody listens.

mod beat;
mod chat;
mod crowd;
mod discard;
mod echo;
mod game;
mod live;
mod push;

use tidegate::{Handler, Reply, Response, Router};

const PAGE: &str = include_str!("page/index.html");

/// Tags of timers, one per application that has one.
mod tag {
    pub const PUSH: u64 = 1;
    pub const GAME: u64 = 2;
    pub const LIVE: u64 = 3;
    pub const CROWD: u64 = 4;
}

/// An application that can be served alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    /// Sends every message back.
    Echo,
    /// Sends every message to everyone.
    Chat,
    /// Sends binary messages back, and texts to everyone, a few at a time.
    Crowd,
    /// Tells everyone the time once a second.
    Push,
    /// Moves players on a field, twenty times a second.
    Game,
    /// Takes messages and drops them.
    Discard,
}

const APPS: &[(&str, App)] = &[
    ("echo", App::Echo),
    ("chat", App::Chat),
    ("crowd", App::Crowd),
    ("push", App::Push),
    ("game", App::Game),
    ("discard", App::Discard),
];

impl App {
    /// The application of this name.
    pub fn named(name: &str) -> Option<Self> {
        APPS.iter().find(|(known, _)| *known == name).map(|(_, app)| *app)
    }

    /// All names, for help and messages.
    pub fn names() -> String {
        APPS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        APPS.iter().find(|(_, app)| *app == self).map_or("", |(name, _)| name)
    }

    /// A fresh instance.
    pub fn handler(self) -> Box<dyn Handler> {
        match self {
            App::Echo => Box::new(echo::Echo),
            App::Chat => Box::new(chat::Chat),
            App::Crowd => Box::new(crowd::Crowd::default()),
            App::Push => Box::new(push::Push::new()),
            App::Game => Box::new(game::Game::new()),
            App::Discard => Box::new(discard::Discard::default()),
        }
    }
}

/// The page at `/`, every application at its path, counters at `/live` and `/health`.
pub fn all() -> Router {
    let mut router = Router::new();
    router.get("/", |_, _, _| {
        let page = Response::new(200).content_type("text/html; charset=utf-8").body(PAGE);
        // A new build may bring a new page; browsers ask again.
        Reply::Respond(page.header("cache-control", "no-cache"))
    });
    router.get("/health", |_, _, _| Reply::Respond(Response::text(200, "ok")));
    router.ws("/echo", echo::Echo);
    router.ws("/chat", chat::Chat);
    router.ws("/crowd", crowd::Crowd::default());
    router.ws("/push", push::Push::new());
    router.ws("/game", game::Game::new());
    router.ws("/discard", discard::Discard::default());
    router.ws("/live", live::Live::new());
    router
}

/// Paths of [`all`] that speak WebSocket, for the summary.
pub const PATHS: &[&str] = &["/echo", "/chat", "/crowd", "/push", "/game", "/discard", "/live"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_applications_and_back() {
        for (name, app) in APPS {
            assert_eq!(App::named(name), Some(*app));
            assert_eq!(app.name(), *name);
            assert!(PATHS.contains(&format!("/{name}").as_str()));
        }
        assert_eq!(App::named("live"), None);
        assert_eq!(App::names(), "echo, chat, crowd, push, game, discard");
    }
}
