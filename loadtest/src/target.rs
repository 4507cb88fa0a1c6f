//! Where a run connects to: from the words of the command line to addresses.
//!
//! Refuses to connect. Invariant: what cannot work is refused here, with one line that names it, before anything is
//! started.

pub mod veil;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use http::Uri;
use tidegate::program::failure::Failure;

use crate::cli::Common;
use crate::order::{Target, Veil, Version};

/// Connections of one source address. The default range of local ports is 28,232 wide (ip(7)), of which bind(2) looks
/// through every second one first; where most of these are taken, also by the TIME_WAIT of runs before, it looks long: at 10,000
/// from an address, nine tenths of the generator's time were that.
pub const PER_SOURCE: u64 = 2_000;

/// Where Debian and its like have the roots that browsers trust.
const WORLD: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The words of the command line that say where to connect to.
#[derive(Clone, Debug, Default)]
pub struct Words {
    pub url: String,
    /// `HOST:PORT:ADDRESS`, as curl writes it.
    pub resolve: Vec<String>,
    pub protocols: Vec<String>,
    /// `Name: value`.
    pub headers: Vec<String>,
    pub sources: Vec<IpAddr>,
    /// The file of those who may vouch for the server.
    pub ca: Option<String>,
    /// Whoever the server is, it is trusted.
    pub insecure: bool,
    pub tls_version: Option<Version>,
}

/// What a URL says.
struct Parts {
    /// Of a server that knows no WebSocket.
    raw: bool,
    /// Of a server that speaks TLS.
    tls: bool,
    /// As it stands there.
    host: String,
    port: u16,
    /// With the query.
    path: String,
}

impl Words {
    /// As the command line has them.
    pub fn of(common: &Common) -> Self {
        Words {
            url: common.url.clone(),
            resolve: common.resolve.clone(),
            protocols: common.protocol.clone(),
            headers: common.header.clone(),
            sources: common.source.clone(),
            ca: common.ca.clone(),
            insecure: common.insecure,
            tls_version: common.tls_version,
        }
    }

    /// The target of a run with so many connections.
    ///
    /// # Errors
    /// When the URL is none that can be tested, or its host has no address.
    pub fn target(&self, connections: u64) -> Result<Target, Failure> {
        let Parts { raw, tls, host, port, path } = self.parts()?;
        let tls = self.veil(tls, &host)?;
        let address = self.address(&host, port)?;
        let mut headers = Vec::new();
        for header in &self.headers {
            let (name, value) = header
                .split_once(':')
                .ok_or_else(|| Failure::usage(format!("--header {header}: write it as `Name: value`")))?;
            headers.push((name.trim().to_string(), value.trim().to_string()));
        }
        let authority =
            if port == default_port(tls.is_some()) { host.clone() } else { format!("{host}:{port}") };
        Ok(Target {
            address,
            host: authority,
            tls,
            path,
            protocols: self.protocols.clone(),
            headers,
            raw,
            sources: self.sources_for(address, connections)?,
        })
    }

    fn parts(&self) -> Result<Parts, Failure> {
        let url = &self.url;
        let wrong = |why: &str| Failure::usage(format!("{url}: {why}; write it as ws://HOST:PORT/PATH"));
        let uri: Uri = url.parse().map_err(|error| wrong(&format!("not a URL ({error})")))?;
        let (raw, tls) = match uri.scheme_str() {
            Some("ws") => (false, false),
            Some("wss") => (false, true),
            Some("raw") => (true, false),
            _ => return Err(wrong("a WebSocket server's URL begins with ws:// or wss://")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        // The parser gives no port also where one is written that is none.
        let written = uri.authority().and_then(|authority| authority.as_str().strip_prefix(host));
        let port = match written.ok_or_else(|| wrong("a user name has no place in it"))? {
            "" => default_port(tls),
            port => {
                let number =
                    port.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port > 0);
                number.ok_or_else(|| wrong("the port is no number from 1 to 65535"))?
            }
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Parts { raw, tls, host: host.to_string(), port, path: path.to_string() })
    }

    /// How TLS is spoken with this host, if the URL wants any.
    fn veil(&self, wanted: bool, host: &str) -> Result<Option<Veil>, Failure> {
        let url = &self.url;
        if !wanted {
            let flags = [
                ("--ca", self.ca.is_some()),
                ("--insecure", self.insecure),
                ("--tls-version", self.tls_version.is_some()),
            ];
            return match flags.into_iter().find(|(_, given)| *given) {
                Some((flag, _)) => {
                    Err(Failure::usage(format!("{flag}: {url} is not TLS; write it as wss://")))
                }
                None => Ok(None),
            };
        }
        if self.ca.is_none() && !self.insecure {
            return Err(Failure::usage(format!(
                "{url}: who may vouch for the server? --ca FILE names them (of the whole world: --ca {WORLD}), \
                 --insecure trusts anyone"
            )));
        }
        let veil = Veil { name: bare(host).into(), ca: self.ca.clone(), version: self.tls_version };
        veil::client(&veil).map_err(Failure::refused)?;
        Ok(Some(veil))
    }

    fn address(&self, host: &str, port: u16) -> Result<SocketAddr, Failure> {
        for entry in &self.resolve {
            let wrong = || Failure::usage(format!("--resolve {entry}: write it as HOST:PORT:ADDRESS"));
            let mut fields = entry.splitn(3, ':');
            let (Some(name), Some(number), Some(address)) = (fields.next(), fields.next(), fields.next())
            else {
                return Err(wrong());
            };
            let number: u16 = number.parse().map_err(|_| wrong())?;
            let address: IpAddr = bare(address).parse().map_err(|_| wrong())?;
            if name.eq_ignore_ascii_case(host) && number == port {
                return Ok(SocketAddr::new(address, port));
            }
        }
        let dns = |why: String| Failure::refused(format!("{host}: DNS has no address: {why}"));
        let found: Vec<SocketAddr> =
            (bare(host), port).to_socket_addrs().map_err(|error| dns(error.to_string()))?.collect();
        // Of a name with both, the older protocol: it is the one whose loopback network has many addresses.
        let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
        first.copied().ok_or_else(|| dns("the answer is empty".into()))
    }

    /// As many source addresses as so many connections need.
    fn sources_for(&self, address: SocketAddr, connections: u64) -> Result<Vec<IpAddr>, Failure> {
        if let Some(other) = self.sources.iter().find(|source| source.is_ipv4() != address.is_ipv4()) {
            return Err(Failure::usage(format!(
                "--source {other} cannot reach {address}: one is IPv4, one IPv6"
            )));
        }
        let loopback = matches!(address.ip(), IpAddr::V4(v4) if v4.is_loopback());
        if !self.sources.is_empty() || !loopback || connections <= PER_SOURCE {
            return Ok(self.sources.clone());
        }
        let wanted = connections.div_ceil(PER_SOURCE).min(250 * 250);
        // 127.64.0.1 and up: out of the way of addresses that people give to servers.
        Ok((0..wanted)
            .map(|at| {
                let (a, b) = ((at / 250) as u8, (at % 250) as u8 + 1);
                IpAddr::V4(Ipv4Addr::new(127, 64, a, b))
            })
            .collect())
    }
}

/// The port of a URL that names none.
fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// An IPv6 address without the brackets that URLs put around it.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(url: &str) -> Words {
        Words { url: url.into(), ..Words::default() }
    }

    #[test]
    fn urls() {
        let table = [
            ("ws://127.0.0.1:9001/chat?a=b", "127.0.0.1:9001", "127.0.0.1:9001", "/chat?a=b"),
            ("ws://127.0.0.1", "127.0.0.1:80", "127.0.0.1", "/"),
            ("ws://[::1]:9001/", "[::1]:9001", "[::1]:9001", "/"),
        ];
        for (url, address, host, path) in table {
            let target = words(url).target(1).unwrap();
            assert_eq!(target.address.to_string(), address);
            assert_eq!((target.host.as_str(), target.path.as_str()), (host, path));
            let raw = words(&url.replacen("ws", "raw", 1)).target(1).unwrap();
            assert_eq!(raw, Target { raw: true, ..target }, "{url}");
        }
    }

    #[test]
    fn tls_has_its_own_port_and_the_name_of_the_host() {
        for (url, host, name, address) in [
            ("wss://127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1:443"),
            ("wss://[::1]:9001/", "[::1]:9001", "::1", "[::1]:9001"),
        ] {
            let target = Words { insecure: true, ..words(url) }.target(1).unwrap();
            assert_eq!((target.host.as_str(), target.address.to_string().as_str()), (host, address));
            assert_eq!(target.tls, Some(Veil { name: name.into(), ca: None, version: None }));
        }
    }

    #[test]
    fn what_cannot_be_tested_is_refused() {
        for (url, said) in [
            ("http://127.0.0.1/", "begins with ws://"),
            ("127.0.0.1:9001", "begins with ws://"),
            ("wss://127.0.0.1/", "--ca FILE names them"),
            ("ws://", "not a URL"),
            ("ws:///x", "not a URL"),
            ("ws://127.0.0.1:99999/", "the port"),
            ("ws://127.0.0.1:/", "the port"),
            ("ws://127.0.0.1:0/", "the port"),
            ("ws://me:secret@127.0.0.1/", "user name"),
            ("ws://no.such.host.invalid/", "DNS has no address"),
        ] {
            let failure = words(url).target(1).unwrap_err().to_string();
            assert!(failure.contains(said), "{url}: {failure}");
        }
        let wss = |words: Words| words.target(1).unwrap_err().to_string();
        let ca = |file: &str| Some(file.to_string());
        assert!(wss(Words { insecure: true, ..words("ws://127.0.0.1/") }).contains("write it as wss://"));
        assert!(
            wss(Words { ca: ca("x"), ..words("raw://127.0.0.1/") }).contains("--ca: raw://127.0.0.1/ is not")
        );
        let missing = wss(Words { ca: ca("/nonexistent.pem"), ..words("wss://127.0.0.1/") });
        assert!(missing.starts_with("--ca: cannot read /nonexistent.pem: "), "{missing}");
        let empty = wss(Words { ca: ca("/dev/null"), ..words("wss://127.0.0.1/") });
        assert!(empty.starts_with("--ca: /dev/null: has no -----BEGIN CERTIFICATE-----"), "{empty}");
        let header = Words { headers: vec!["Origin".into()], ..words("ws://127.0.0.1/") };
        assert!(header.target(1).unwrap_err().to_string().contains("Name: value"));
    }

    #[test]
    fn a_name_is_resolved_as_told() {
        let told = |entry: &str| Words { resolve: vec![entry.into()], ..words("ws://a.invalid:81/") };
        assert_eq!(told("a.invalid:81:127.0.0.9").target(1).unwrap().address.to_string(), "127.0.0.9:81");
        assert_eq!(told("A.invalid:81:[::1]").target(1).unwrap().address.to_string(), "[::1]:81");
        assert!(told("a.invalid:82:127.0.0.9").target(1).unwrap_err().to_string().contains("DNS"));
        for wrong in ["a.invalid", "a.invalid:81", "a.invalid:x:127.0.0.1", "a.invalid:81:host"] {
            assert!(told(wrong).target(1).unwrap_err().to_string().contains("HOST:PORT:ADDRESS"));
        }
    }

    #[test]
    fn many_connections_get_many_sources() {
        let count = |connections| words("ws://127.0.0.1/").target(connections).unwrap().sources.len();
        assert_eq!((count(2_000), count(2_001), count(100_000), count(1_000_000)), (0, 2, 50, 500));
        let mut sources = words("ws://127.0.0.1/").target(5_000_000).unwrap().sources;
        assert!(sources.iter().all(IpAddr::is_loopback));
        sources.sort();
        sources.dedup();
        assert_eq!(sources.len(), 2_500);
        let wrong = Words { sources: vec!["::1".parse().unwrap()], ..words("ws://127.0.0.1/") };
        assert!(wrong.target(1).unwrap_err().to_string().contains("IPv6"));
    }
}
