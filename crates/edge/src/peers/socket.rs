//! The sockets between nodes: a node that vanished without a word (power, cable) is found out in seconds.

use crate::limits;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use tokio::net::{TcpSocket, TcpStream};

pub(crate) async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
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
