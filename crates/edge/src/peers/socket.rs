//! The sockets between nodes: a node that vanished without a word (power, cable) is found out in seconds.

use crate::limits;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use tokio::net::{TcpSocket, TcpStream};

/// From `source`, if both are loopback addresses of one family: elsewhere the system knows the way better.
pub(crate) async fn connect(address: SocketAddr, source: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    let on_this_machine = |ip: &IpAddr| ip.is_loopback() && ip.is_ipv4() == address.is_ipv4();
    if let Some(source) = source.filter(|source| on_this_machine(source) && on_this_machine(&address.ip())) {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    prepare(&stream)?;
    Ok(stream)
}

/// For both sides.
pub(crate) fn prepare(stream: impl AsFd) -> std::io::Result<()> {
    use rustix::net::sockopt;
    // A batch is written whole; waiting to merge it with the next would only delay it.
    sockopt::set_tcp_nodelay(&stream, true)?;
    sockopt::set_socket_keepalive(&stream, true)?;
    sockopt::set_tcp_keepidle(&stream, limits::PEER_KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&stream, limits::PEER_KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(&stream, limits::PEER_KEEPALIVE_PROBES)?;
    // Bytes that were not acknowledged for so long, or a window that stayed shut: also a process that was halted.
    let timeout_ms = u32::try_from(limits::PEER_UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(&stream, timeout_ms)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn nodes_of_one_machine_are_told_apart_by_where_they_come_from() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let from = |source: &str| connect(address, Some(source.parse().expect("an address")));
        for (source, seen) in [("127.0.0.9", "127.0.0.9"), ("192.0.2.1", "127.0.0.1"), ("::1", "127.0.0.1")] {
            let connected = from(source).await.expect("connected");
            assert_eq!(connected.local_addr().expect("address").ip().to_string(), seen, "asked for {source}");
            let (_, peer) = listener.accept().await.expect("accepted");
            assert_eq!(peer.ip().to_string(), seen);
        }
    }

    #[test]
    fn sockets_notice_a_node_that_vanished() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let stream = std::net::TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        prepare(&stream).expect("prepared");
        assert!(sockopt::tcp_nodelay(&stream).expect("option"));
        assert!(sockopt::socket_keepalive(&stream).expect("option"));
        assert_eq!(sockopt::tcp_keepidle(&stream).expect("option"), limits::PEER_KEEPALIVE_IDLE);
        assert_eq!(
            u128::from(sockopt::tcp_user_timeout(&stream).expect("option")),
            limits::PEER_UNACKNOWLEDGED_MAX.as_millis()
        );
    }
}
