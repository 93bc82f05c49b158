//! The lines between the nodes: each node's door for peers is reached by way of a relay here, so that a node can be cut off
//! without privileges.
//!
//! ```text
//!   node 2 (127.0.1.2) ──► relay at 127.0.0.1:7000, which node 1 advertises ──► door of node 1 at 127.0.1.1:7000
//! ```
//!
//! A node comes from its own address, so the relay knows who calls whom. While one of them is cut off, what either says is
//! swallowed without a word: nobody is told that the line is dead, as when a cable is pulled. When it is healed, the lines that
//! lost something are closed, as TCP would give them up. A node that is dead is seen as dead: its connections end at once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// What is carried at a time, bytes: some envelopes.
const CARRIED_BYTES: usize = 64 << 10;

/// A node by its place, from 0.
pub type Place = usize;

pub struct Links {
    /// Where calls of each node come from.
    sources: Vec<IpAddr>,
    cut: RefCell<BTreeSet<Place>>,
    /// Changes when a node is healed.
    healed: watch::Sender<u64>,
    swallowed_bytes: Cell<u64>,
}

impl Links {
    pub fn new(sources: Vec<IpAddr>) -> Rc<Links> {
        let (healed, _) = watch::channel(0);
        Rc::new(Links { sources, cut: RefCell::default(), healed, swallowed_bytes: Cell::new(0) })
    }

    /// Carries what comes to `listener` to the door of a node, for as long as the demo runs.
    pub fn serve(self: &Rc<Self>, listener: TcpListener, to: Place, door: SocketAddr) {
        let links = self.clone();
        tokio::task::spawn_local(async move {
            loop {
                match listener.accept().await {
                    Ok((caller, address)) => {
                        let from = links.sources.iter().position(|source| *source == address.ip());
                        tokio::task::spawn_local(links.clone().connect(caller, from, to, door));
                    }
                    // Out of descriptors, most likely: others are given back soon.
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                }
            }
        });
    }

    /// From now on nothing passes between this node and the others.
    pub fn cut(&self, node: Place) {
        self.cut.borrow_mut().insert(node);
    }

    pub fn heal(&self, node: Place) {
        self.cut.borrow_mut().remove(&node);
        self.healed.send_modify(|count| *count += 1);
    }

    /// What was not carried, because one side was cut off.
    pub fn swallowed_bytes(&self) -> u64 {
        self.swallowed_bytes.get()
    }

    /// Whoever is no node of ours (one that asks to join) may talk to all that are not cut off.
    fn is_cut(&self, from: Option<Place>, to: Place) -> bool {
        let cut = self.cut.borrow();
        cut.contains(&to) || from.is_some_and(|from| cut.contains(&from))
    }

    async fn connect(self: Rc<Self>, caller: TcpStream, from: Option<Place>, to: Place, door: SocketAddr) {
        let mut healed = self.healed.subscribe();
        if self.is_cut(from, to) {
            return self.swallow(caller, from, to, &mut healed).await;
        }
        // A door that nobody answers is a dead node: the caller's connection ends with it.
        let Ok(called) = self.call(from, door).await else { return };
        let (from_caller, to_caller) = caller.into_split();
        let (from_called, to_called) = called.into_split();
        let line = Line { links: &self, from, to, broken: Cell::new(false) };
        // An end of one direction is passed on, and the other goes on; what breaks breaks both.
        let both = async { tokio::try_join!(line.carry(from_caller, to_called), line.carry(from_called, to_caller)) };
        drop(both.await);
    }

    async fn call(&self, from: Option<Place>, door: SocketAddr) -> std::io::Result<TcpStream> {
        let socket = if door.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(source) = from.and_then(|from| self.sources.get(from)) {
            socket.bind(SocketAddr::new(*source, 0))?; // the node called sees who calls
        }
        let stream = socket.connect(door).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A call that nobody hears: it is neither answered nor refused.
    async fn swallow(&self, mut caller: TcpStream, from: Option<Place>, to: Place, healed: &mut watch::Receiver<u64>) {
        let mut buffer = vec![0; CARRIED_BYTES];
        let listen = async {
            while let Ok(count @ 1..) = caller.read(&mut buffer).await {
                self.count_swallowed(count);
            }
        };
        let until_healed = async { while healed.changed().await.is_ok() && self.is_cut(from, to) {} };
        tokio::select! {
            () = listen => {}
            () = until_healed => {}
        }
    }

    fn count_swallowed(&self, bytes: usize) {
        self.swallowed_bytes.set(self.swallowed_bytes.get() + bytes as u64);
    }
}

/// One connection between two nodes.
struct Line<'a> {
    links: &'a Links,
    from: Option<Place>,
    to: Place,
    /// Something was swallowed.
    broken: Cell<bool>,
}

/// The line is of no use any more.
struct Broken;

impl Line<'_> {
    async fn carry(&self, mut input: OwnedReadHalf, mut output: OwnedWriteHalf) -> Result<(), Broken> {
        let mut buffer = vec![0; CARRIED_BYTES];
        let mut healed = self.links.healed.subscribe();
        let mut over = false;
        loop {
            let read = async {
                match over {
                    true => std::future::pending().await,
                    false => input.read(&mut buffer).await,
                }
            };
            let count = tokio::select! {
                biased;
                _ = healed.changed() => None,
                count = read => Some(count),
            };
            let cut = self.links.is_cut(self.from, self.to);
            match count {
                None if self.broken.get() && !cut => return Err(Broken),
                None => {}
                // Not even the end of a connection passes.
                Some(Ok(0) | Err(_)) if cut => {
                    self.broken.set(true);
                    over = true;
                }
                Some(Ok(count)) if cut => {
                    self.broken.set(true);
                    self.links.count_swallowed(count);
                }
                Some(_) if self.broken.get() => return Err(Broken),
                Some(Ok(0)) => return output.shutdown().await.map_err(|_| Broken),
                Some(Ok(count)) => output.write_all(&buffer[..count]).await.map_err(|_| Broken)?,
                Some(Err(_)) => return Err(Broken),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Two nodes that each echo what they are told; the relay to node 1, and its address.
    async fn relay() -> (Rc<Links>, SocketAddr) {
        let door = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let at = door.local_addr().expect("address");
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = door.accept().await {
                tokio::task::spawn_local(async move {
                    let mut buffer = [0; 64];
                    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                        stream.write_all(&buffer[..count]).await.expect("written");
                    }
                });
            }
        });
        let links = Links::new(["127.0.0.11", "127.0.0.12", "127.0.0.13"].map(|ip| ip.parse().expect("ip")).to_vec());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        links.serve(listener, 1, at);
        (links, address)
    }

    async fn call(source: &str, address: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("socket");
        socket.bind(SocketAddr::new(source.parse().expect("ip"), 0)).expect("bind");
        socket.connect(address).await.expect("connected")
    }

    async fn echoes(stream: &mut TcpStream) -> Option<bool> {
        stream.write_all(b"x").await.ok()?;
        let answer = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut [0; 1])).await;
        answer.ok().map(|read| matches!(read, Ok(1)))
    }

    #[tokio::test]
    async fn who_is_cut_off_hears_nothing_and_is_told_nothing_until_healed() {
        let test = async {
            let (links, address) = relay().await;
            let (mut first, mut third) = (call("127.0.0.11", address).await, call("127.0.0.13", address).await);
            assert_eq!((echoes(&mut first).await, echoes(&mut third).await), (Some(true), Some(true)));
            links.cut(0);
            assert_eq!(echoes(&mut first).await, None, "silence, not an end");
            assert_eq!(echoes(&mut third).await, Some(true), "others go on");
            let mut again = call("127.0.0.11", address).await;
            assert_eq!(echoes(&mut again).await, None, "a new call is not heard either");
            assert_eq!(links.swallowed_bytes(), 2);
            links.cut(1);
            assert_eq!(echoes(&mut third).await, None, "the one that is called is cut off");
            links.heal(1);
            links.heal(0);
            for lost in [&mut first, &mut again, &mut third] {
                let mut left = Vec::new();
                let ended = tokio::time::timeout(Duration::from_secs(5), lost.read_to_end(&mut left)).await;
                assert!(ended.is_ok() && left.is_empty(), "a line that lost something is closed");
            }
            let mut fresh = call("127.0.0.11", address).await;
            assert_eq!(echoes(&mut fresh).await, Some(true));
        };
        tokio::task::LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn ends_pass_on_each_for_itself() {
        let test = async {
            let (_links, address) = relay().await;
            let mut stream = call("127.0.0.12", address).await;
            stream.write_all(b"last words").await.expect("written");
            stream.shutdown().await.expect("shut");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.expect("an answer after our end");
            assert_eq!(answer, b"last words");
        };
        tokio::task::LocalSet::new().run_until(test).await;
    }
}
