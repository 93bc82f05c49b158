//! A door: a listening socket whose connections are spread over the shards.
//!
//! One task accepts for all shards and hands each socket to the shard with the fewest connections. A listener a shard
//! (SO_REUSEPORT) would spread by a hash of the address instead, which leaves cores idle when there are as few connections as a driver
//! opens. Being accepted costs one hop between threads, once a connection.

use crate::connection::{Accepted, Behind};
use crate::inbox::Input;
use crate::limits;
use crate::runner::ShardHandle;
use holon_base::ServiceId;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

#[derive(Debug, Error)]
pub enum DoorError {
    #[error(
        "the {name} door cannot open: {address} is taken by another process; move it with {flag}, or stop the other"
    )]
    Taken { name: String, address: SocketAddr, flag: String },
    #[error("the {name} door cannot open: {address} is not an address of this machine; choose another with {flag}")]
    NotLocal { name: String, address: SocketAddr, flag: String },
    #[error("the {name} door cannot open: port {} needs privileges; choose one above 1023 with {flag}", .address.port())]
    Privileged { name: String, address: SocketAddr, flag: String },
    #[error("the {name} door cannot open at {address}: {source}; move it with {flag}")]
    Other { name: String, address: SocketAddr, flag: String, source: std::io::Error },
}

fn door_error(name: &str, address: SocketAddr, flag: &str, source: std::io::Error) -> DoorError {
    let (name, flag) = (name.to_string(), flag.to_string());
    match source.kind() {
        std::io::ErrorKind::AddrInUse => DoorError::Taken { name, address, flag },
        std::io::ErrorKind::AddrNotAvailable => DoorError::NotLocal { name, address, flag },
        std::io::ErrorKind::PermissionDenied => DoorError::Privileged { name, address, flag },
        _ => DoorError::Other { name, address, flag, source },
    }
}

/// Holds its address, but refuses connections until it listens: a client is not left waiting for a node that recovers.
pub struct BoundDoor {
    name: String,
    flag: String,
    address: SocketAddr,
    socket: TcpSocket,
}

impl BoundDoor {
    /// `flag` is the one that moves the door, for messages.
    pub fn bind(name: &str, address: SocketAddr, flag: &str) -> Result<BoundDoor, DoorError> {
        let failed = |error| door_error(name, address, flag, error);
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
        // A restarted node must not wait for the sockets of its former life to time out.
        socket.set_reuseaddr(true).map_err(failed)?;
        socket.bind(address).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(BoundDoor { name: name.to_string(), flag: flag.to_string(), address, socket })
    }

    /// With the port the system chose, if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn listen(self) -> Result<TcpListener, DoorError> {
        let (name, flag, address) = (self.name, self.flag, self.address);
        self.socket.listen(limits::LISTEN_BACKLOG).map_err(|error| door_error(&name, address, &flag, error))
    }

    /// Opens the door. Runs on the runtime it is called in, until [`Door::close`].
    pub fn open(self, service: ServiceId, shards: Vec<ShardHandle>, limits: DoorLimits) -> Result<Door, DoorError> {
        self.open_before(Behind::Session(service), shards, limits)
    }

    /// Opens the door for other nodes: the shards were started with [`crate::Peers`].
    pub fn open_for_peers(self, shards: Vec<ShardHandle>, limits: DoorLimits) -> Result<Door, DoorError> {
        self.open_before(Behind::Peers, shards, limits)
    }

    fn open_before(self, behind: Behind, shards: Vec<ShardHandle>, limits: DoorLimits) -> Result<Door, DoorError> {
        let (name, address) = (self.name.clone(), self.address);
        let listener = self.listen()?;
        let state = Arc::new(DoorState { limits, ..DoorState::default() });
        let accepting = Accepting { name: name.clone(), behind, shards, state: state.clone() };
        tokio::spawn(accepting.run(listener));
        Ok(Door { name, address, state })
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct DoorLimits {
    pub connections_max: usize,
    pub connections_per_address_max: usize,
}

#[derive(Default)]
struct DoorState {
    limits: DoorLimits,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    open: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    closing: Notify,
    closed: Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorFigures {
    pub connections: usize,
    pub accepted_total: u64,
    pub refused_total: u64,
}

pub struct Door {
    name: String,
    address: SocketAddr,
    state: Arc<DoorState>,
}

impl Door {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn figures(&self) -> DoorFigures {
        DoorFigures {
            connections: self.state.open.load(Ordering::Relaxed),
            accepted_total: self.state.accepted.load(Ordering::Relaxed),
            refused_total: self.state.refused.load(Ordering::Relaxed),
        }
    }

    /// No more connections; those that are open stay (see [`ShardHandle::drain`]). Those that the system had already
    /// established but nobody had accepted are ended in order: dropping the listener with them in its backlog would reset
    /// them. What is given back is ready when the address is free; it need not be waited for.
    pub fn close(&self) -> impl Future<Output = ()> + use<> {
        self.state.closing.notify_one();
        let state = self.state.clone();
        async move { state.closed.notified().await }
    }
}

/// A place at a door and on a shard, given back on drop.
pub(crate) struct Admission {
    state: Arc<DoorState>,
    address: IpAddr,
    on_shard: Arc<AtomicUsize>,
}

impl DoorState {
    fn admit(self: &Arc<Self>, address: IpAddr, on_shard: Arc<AtomicUsize>) -> Option<Admission> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.get(&address).copied().unwrap_or(0);
        if count >= self.limits.connections_per_address_max
            || self.open.load(Ordering::Relaxed) >= self.limits.connections_max
        {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        by_address.insert(address, count + 1);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        on_shard.fetch_add(1, Ordering::Relaxed);
        Some(Admission { state: self.clone(), address, on_shard })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut by_address = self.state.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
        self.state.open.fetch_sub(1, Ordering::Relaxed);
        self.on_shard.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The task behind an open door.
struct Accepting {
    name: String,
    behind: Behind,
    shards: Vec<ShardHandle>,
    state: Arc<DoorState>,
}

impl Accepting {
    async fn run(self, listener: TcpListener) {
        let mut turn = 0usize;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.state.closing.notified() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                // The least loaded; among equals each in turn.
                Ok((stream, peer)) => {
                    turn = turn.wrapping_add(1);
                    self.hand_over(stream, peer, turn);
                }
                Err(error) => {
                    // Out of descriptors or memory: others have to end first.
                    tracing::warn!(door = self.name, %error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        if let Ok(listener) = listener.into_std() {
            end_waiting(&listener);
        }
        self.state.closed.notify_one();
    }

    fn hand_over(&self, stream: TcpStream, peer: SocketAddr, turn: usize) {
        let shards = &self.shards;
        let from_turn = (0..shards.len()).map(|step| &shards[(turn + step) % shards.len()]);
        let count = |shard: &ShardHandle| match self.behind {
            Behind::Session(_) => shard.connections.clone(),
            Behind::Peers => shard.peer_connections.clone(),
        };
        let Some(shard) = from_turn.min_by_key(|shard| count(shard).load(Ordering::Relaxed)) else { return };
        let Some(admission) = self.state.admit(peer.ip(), count(shard)) else {
            // The 1st, 2nd, 4th, 8th, …: whoever storms the door must not fill the log as well.
            let refused = self.state.refused.load(Ordering::Relaxed);
            if refused.is_power_of_two() {
                tracing::warn!(door = self.name, %peer, refused, "a connection beyond the limits was refused");
            }
            return;
        };
        match prepare(stream) {
            Ok(stream) => {
                let behind = self.behind;
                shard.inbox.push(Input::Connection(Accepted { stream, peer, behind, admission }));
            }
            Err(error) => tracing::warn!(door = self.name, %peer, %error, "a connection could not be handed over"),
        }
    }
}

/// Accepts what waits in the backlog of a listener that is to close, and ends each in order. Asks the system itself: the
/// reactor may not have seen the latest yet. A connection that arrives between the last look and the close is reset; nobody can
/// prevent that.
fn end_waiting(listener: &std::net::TcpListener) {
    for _ in 0..limits::LISTEN_BACKLOG {
        match listener.accept() {
            Ok((stream, _)) => farewell(stream),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            // One that the client has given up meanwhile; or no descriptors, and then the loop ends by its bound.
            Err(_) => {}
        }
    }
}

/// Ends a connection that was never served. Closed with input unread it would be reset, so what has come is thrown away.
pub(crate) fn farewell(mut stream: std::net::TcpStream) {
    use std::io::Read;
    if stream.set_nonblocking(true).is_err() || stream.shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let mut discarded = [0; 4096];
    let mut left = limits::GOODBYE_BYTES_MAX;
    while left > 0 {
        match stream.read(&mut discarded) {
            Ok(0) | Err(_) => return,
            Ok(count) => left = left.saturating_sub(count),
        }
    }
}

/// A peer that vanished without a word (power, cable) is found out by the system after [`limits::KEEPALIVE_IDLE`].
fn prepare(stream: TcpStream) -> std::io::Result<std::net::TcpStream> {
    rustix::net::sockopt::set_socket_keepalive(&stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(&stream, limits::KEEPALIVE_IDLE)?;
    stream.into_std()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn who_waits_at_a_door_that_closes_is_told_so_in_order() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("address");
        // Established by the system, accepted by nobody; one has even begun to talk.
        let mut silent = std::net::TcpStream::connect(address).expect("connect");
        let mut eager = std::net::TcpStream::connect(address).expect("connect");
        eager.write_all(b"hello").expect("write");
        end_waiting(&listener);
        drop(listener);
        for client in [&mut silent, &mut eager] {
            client.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
            assert_eq!(client.read(&mut [0; 1]).expect("an end, not a reset"), 0);
        }
    }
}
