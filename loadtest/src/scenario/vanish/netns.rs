//! `Namespace`: a network namespace of the run's own, with one link to it that can be cut.
//!
//! Refuses to know sockets. Invariants: names hold our process's number and addresses are taken only when no route of
//! the machine knows them, so nothing that is there is touched; it is gone when it is dropped.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use http::Uri;
use tidegate::program::failure::Failure;

/// Networks that are tried, of four addresses each, from 10.200.0.0 on.
const NETWORKS: u32 = 1_024;

/// See the module's text.
pub struct Namespace {
    name: String,
    /// The link's end outside.
    outer: String,
    /// The link's end inside.
    inner: String,
    /// Its address outside, where the server is reached.
    pub near: Ipv4Addr,
    /// Its address inside, where the peers are.
    pub far: Ipv4Addr,
}

impl Namespace {
    /// Makes it, with the link up.
    ///
    /// # Errors
    /// When this is not root, `ip` is missing, or it refuses.
    pub fn make() -> Result<Self, Failure> {
        if !rustix::process::geteuid().is_root() {
            return Err(Failure::refused(
                "--how netns makes a network namespace, so it needs root; or use --how stop",
            ));
        }
        let own = std::process::id();
        let network = free_network(own)?;
        let address = |last: u32| Ipv4Addr::from(u32::from(network) + last);
        // Dropped on each way out from here, it removes what was made so far.
        let namespace = Namespace {
            name: format!("loadtest{own}"),
            outer: format!("lto{own}"),
            inner: format!("lti{own}"),
            near: address(1),
            far: address(2),
        };
        let Namespace { name, outer, inner, near, far } = &namespace;
        for words in [
            format!("netns add {name}"),
            format!("link add {outer} type veth peer name {inner} netns {name}"),
            format!("addr add {near}/30 dev {outer}"),
            format!("link set {outer} up"),
            format!("-n {name} addr add {far}/30 dev {inner}"),
        ] {
            ip(&words)?;
        }
        namespace.link(true)?;
        Ok(namespace)
    }

    /// The words that run a program in it.
    pub fn prefix(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(String::from).to_vec()
    }

    /// Mends the link, or cuts it inside: both ends then lose what is sent, and none is told.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn link(&self, up: bool) -> Result<(), Failure> {
        let state = if up { "up" } else { "down" };
        ip(&format!("-n {} link set {} {state}", self.name, self.inner)).map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The link first: a namespace lives on as long as a process in it, the link must not.
        let _ = ip(&format!("link del {}", self.outer));
        let _ = ip(&format!("netns del {}", self.name));
    }
}

/// The same URL with the address at which the server is reached from inside.
///
/// # Errors
/// When the URL is none.
pub fn reach(near: Ipv4Addr, url: &str) -> Result<String, Failure> {
    let uri: Uri = url.parse().map_err(|error| Failure::usage(format!("{url}: not a URL ({error})")))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let scheme = uri.scheme_str().unwrap_or("ws");
    Ok(format!("{scheme}://{near}:{}{path}", uri.port_u16().unwrap_or(80)))
}

/// The first network that no route and no address of the machine has to do with.
fn free_network(own: u32) -> Result<Ipv4Addr, Failure> {
    for number in (0..NETWORKS).map(|at| (own + at) % NETWORKS) {
        let network = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 200, 0, 0)) + 4 * number);
        let wider = ip(&format!("-4 route show table all to match {network}/30"))?;
        let narrower = ip(&format!("-4 route show table all to root {network}/30"))?;
        let taken =
            wider.lines().chain(narrower.lines()).any(|line| !line.trim_start().starts_with("default"));
        if !taken {
            return Ok(network);
        }
    }
    Err(Failure::refused(
        "--how netns: all networks from 10.200.0.0/30 to 10.200.15.252/30 are taken; free one",
    ))
}

/// Runs `ip`, and returns what it says.
fn ip(words: &str) -> Result<String, Failure> {
    let run = Command::new("ip").args(words.split(' ')).stdin(Stdio::null()).output();
    let output = run.map_err(|error| {
        Failure::refused(format!(
            "--how netns needs the program `ip` (package iproute2): {error}; or use --how stop"
        ))
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(Failure::refused(format!("`ip {words}` failed: {}", why.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_gets_the_address_inside() {
        let near = Ipv4Addr::new(10, 200, 0, 1);
        for (url, reached) in [
            ("ws://127.0.0.1:9001/chat?a=b", "ws://10.200.0.1:9001/chat?a=b"),
            ("ws://[::1]:81", "ws://10.200.0.1:81/"),
            ("ws://localhost", "ws://10.200.0.1:80/"),
            ("raw://localhost:81", "raw://10.200.0.1:81/"),
        ] {
            assert_eq!(reach(near, url).unwrap(), reached);
        }
        assert!(reach(near, "ws://a b").is_err());
    }
}
