//! Starts the server under test, waits until it listens, keeps the end of what it says, and stops it.
//!
//! Refuses to know what the server is; its command is the user's. Invariants: no shell is involved; the server can
//! never block on what it prints; it does not outlive its [`Launched`], nor does anything else in its process group.
//!
//! One thing would need more: that the server dies with us if we are killed outright. `PR_SET_PDEATHSIG` is to be set
//! between fork and exec, which is unsafe code, and there is none here. A `kill -9` of loadtest leaves the server.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::cpu;
use crate::interrupt;

/// What is kept of the server's output: the end of it.
const OUTPUT_MAX: usize = 64 * 1024;
/// Lines of it that an error quotes.
const QUOTED: usize = 10;
/// Between two looks at the server.
const POLL: Duration = Duration::from_millis(20);
/// For one attempt to connect: a host that drops packets answers none.
const CONNECT: Duration = Duration::from_millis(500);
/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(10);
/// For its last words to arrive once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A server to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Program and words, quoted as for a shell. `{port}` and `{cpu}` stand for the port and the CPUs (`0,2`).
    pub command: String,
    /// The CPUs that it may run on; all that we may if `None`.
    pub cpu: Option<Vec<usize>>,
    /// `host:port` where it will listen.
    pub address: String,
    pub ready_timeout: Duration,
}

/// A server that was started here, stopped on drop.
#[derive(Debug)]
pub struct Launched {
    child: Child,
    /// Also the process group's.
    pid: Pid,
    /// Once it has ended and was waited for. From then on the pid may be another's.
    status: Option<ExitStatus>,
    output: Arc<Mutex<Tail>>,
    /// Is closed at the end of its output.
    said_all: Receiver<()>,
}

/// Whether something accepts connections at this address.
///
/// To be asked before the first server is started: a forgotten one that still listens would be taken for it.
pub fn answers(address: &str) -> Result<bool, String> {
    Ok(connects(&resolve(address)?))
}

impl Launch {
    /// Starts it and waits until it accepts connections; it sees some that are closed without a word.
    ///
    /// Of several servers on one port (`SO_REUSEPORT`), the second one on is ready as soon as the first is:
    /// [`Launched::status`] tells later whether one could not share the port and ended.
    pub fn start(&self) -> Result<Launched, String> {
        let addresses = resolve(&self.address)?;
        let words = self.words()?;
        let mut launched = self.spawn(&words)?;
        let deadline = Instant::now() + self.ready_timeout;
        loop {
            interrupt::check().map_err(|failure| failure.to_string())?;
            // First that it runs, then that it answers: another one may listen there.
            if let Some(status) = launched.status() {
                let said = launched.last_lines();
                // Success is how a program ends that goes on in the background.
                let hint = if status.success() {
                    ", perhaps into the background; keep it in the foreground"
                } else {
                    ""
                };
                return Err(format!(
                    "the server `{}` ended before it listened: {status}{hint}{said}",
                    self.command
                ));
            }
            if connects(&addresses) {
                return Ok(launched);
            }
            if Instant::now() >= deadline {
                let (timeout, address) = (self.ready_timeout.as_secs_f64(), &self.address);
                let said = launched.last_lines();
                return Err(format!(
                    "the server `{}` does not listen on {address} after {timeout} s; \
                     compare the address with what it says, or give it longer{said}",
                    self.command
                ));
            }
            thread::sleep(POLL);
        }
    }

    /// The command's words with everything put in.
    fn words(&self) -> Result<Vec<String>, String> {
        let command = &self.command;
        let mut words = shlex::split(command).ok_or_else(|| {
            format!("the server's command `{command}` has a quote or backslash without its end")
        })?;
        if words.first().is_none_or(String::is_empty) {
            return Err("the server's command is empty; give a program and its words".to_string());
        }
        let port = self.address.rsplit_once(':').map_or("", |(_, port)| port);
        for word in &mut words {
            *word = word.replace("{port}", port);
            if word.contains("{cpu}") {
                let Some(cpus) = &self.cpu else {
                    return Err(format!(
                        "the server's command `{command}` asks for {{cpu}}, but no CPU was named for it"
                    ));
                };
                *word = word.replace("{cpu}", &cpu::list(cpus));
            }
        }
        Ok(words)
    }

    fn spawn(&self, words: &[String]) -> Result<Launched, String> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "there is no program `{}` to start as the server; give its path, or a name that is in PATH",
                words[0]
            ),
            _ => format!("cannot start the server `{}`: {error}", self.command),
        };
        // One pipe for both, so that their order is kept.
        let (output, input) = io::pipe().map_err(failed)?;
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).process_group(0).stdin(Stdio::null());
        command.stdout(input.try_clone().map_err(failed)?).stderr(input);
        let child = self.spawn_pinned(&mut command)?.map_err(failed)?;
        // The command holds our copies of the pipe's end; only without them does its output end.
        drop(command);
        let tail = Arc::new(Mutex::new(Tail::default()));
        let (done, said_all) = channel();
        let launched = Launched {
            pid: Pid::from_child(&child),
            child,
            status: None,
            output: Arc::clone(&tail),
            said_all,
        };
        // Not joined: what the server started in a group of its own may keep the pipe open for ever.
        thread::Builder::new()
            .name("server output".to_string())
            .spawn(move || {
                drain(output, &tail);
                drop(done);
            })
            .map_err(failed)?;
        Ok(launched)
    }

    /// Spawns from a thread that is already pinned, for a process inherits where its parent thread may run. So not one
    /// instruction of the server runs elsewhere, and no thread or child of it escapes; pinning it afterwards would race
    /// with those that it starts first.
    fn spawn_pinned(&self, command: &mut Command) -> Result<io::Result<Child>, String> {
        let Some(cpus) = &self.cpu else { return Ok(command.spawn()) };
        thread::scope(|scope| {
            let spawning = thread::Builder::new().spawn_scoped(scope, || {
                cpu::pin_this_thread_to(cpus).map_err(|error| format!("for the server: {error}"))?;
                Ok(command.spawn())
            });
            let spawning =
                spawning.map_err(|error| format!("cannot start a thread to start the server: {error}"))?;
            spawning.join().map_err(|_| "the thread that starts the server failed".to_string())?
        })
    }
}

impl Launched {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() && self.look() == Ok(true) {
            self.collect();
        }
        self.status
    }

    /// The end of what it has said, at most 64 KiB; what is no UTF-8 is replaced.
    pub fn output(&self) -> String {
        // A tail is whole between any two bytes.
        let tail = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let (front, back) = tail.bytes.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }

    /// Asks it to end (SIGTERM), and does not wait. It may have ended before.
    pub fn ask_to_end(&mut self) {
        if self.status().is_none() && self.look() == Ok(false) {
            // A failure means that it has ended meanwhile, which is what is wanted.
            let _ = kill_process_group(self.pid, Signal::TERM);
        }
    }

    /// Asks it to end (SIGTERM), insists after 10 s (SIGKILL), and tells how it ended. It may have ended before.
    ///
    /// `None` only if the kernel would not say.
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.ask_to_end();
        if self.status().is_none() {
            let deadline = Instant::now() + GRACE;
            while self.look() == Ok(false) && Instant::now() < deadline {
                thread::sleep(POLL);
            }
            self.collect();
        }
        self.status
    }

    /// The last line that it said, once it has ended.
    pub fn last_words(&mut self) -> Option<String> {
        let _ = self.said_all.recv_timeout(LAST_WORDS);
        self.output().lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_string)
    }

    /// Whether it has ended. It is only looked at, not waited for in the kernel's sense: until that, neither its pid nor
    /// its group can be another's, and may be signalled.
    ///
    /// Fails if somebody else waited for it, such as the kernel itself when we were started with SIGCHLD ignored.
    fn look(&self) -> rustix::io::Result<bool> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.pid), look).map(|status| status.is_some())
    }

    /// Ends whatever is left of the group, and waits for the server.
    fn collect(&mut self) {
        if self.look().is_ok() {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        self.status = self.child.wait().ok();
    }

    /// For the end of an error: its last lines, if there are any.
    fn last_lines(&mut self) -> String {
        if self.status.is_some() {
            let _ = self.said_all.recv_timeout(LAST_WORDS);
        }
        let output = self.output();
        let lines: Vec<_> =
            output.lines().rev().filter(|line| !line.trim().is_empty()).take(QUOTED).collect();
        if lines.is_empty() {
            return "; it said nothing".to_string();
        }
        lines.iter().rev().fold("; it said:".to_string(), |text, line| text + "\n  " + line)
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
struct Tail {
    bytes: VecDeque<u8>,
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(OUTPUT_MAX)..];
        let excess = (self.bytes.len() + bytes.len()).saturating_sub(OUTPUT_MAX);
        self.bytes.drain(..excess);
        self.bytes.extend(bytes);
    }
}

/// Reads to the end, so that the server never waits for a reader.
fn drain(mut output: impl Read, tail: &Mutex<Tail>) {
    let mut buffer = [0; 8192];
    loop {
        match output.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => tail.lock().unwrap_or_else(PoisonError::into_inner).add(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn resolve(address: &str) -> Result<Vec<SocketAddr>, String> {
    let found: Vec<_> = address
        .to_socket_addrs()
        .map_err(|error| {
            format!("cannot find the server's address `{address}`: {error}; give it as host:port")
        })?
        .collect();
    if found.is_empty() {
        return Err(format!("the server's name in `{address}` has no address; give another one"));
    }
    Ok(found)
}

fn connects(addresses: &[SocketAddr]) -> bool {
    addresses.iter().any(|address| {
        // Where nothing listens, TCP may give our end the very port that we call, and so connect us to ourselves.
        let stream = TcpStream::connect_timeout(address, CONNECT);
        stream.is_ok_and(|stream| stream.local_addr().is_ok_and(|own| own != *address))
    })
}

#[cfg(test)]
mod tests;
