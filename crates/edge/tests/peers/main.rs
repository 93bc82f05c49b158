//! The door for peers: nodes in one process that call each other over loopback sockets.

mod calls;
mod damage;
mod support;
mod throughput;
mod tls;
