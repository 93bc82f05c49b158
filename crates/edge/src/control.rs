//! The control socket in the data directory: one command a connection. A line of JSON in, lines of JSON out; what they mean is
//! `holon`'s. Whoever may open the file (mode 0600) is the node's administrator.

use crate::data_dir::DataDir;
use crate::limits;
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

const SOCKET_FILE: &str = "control.sock";

#[derive(Debug, Error)]
pub enum ControlError {
    #[error("the control socket in {path} cannot be made: {source}")]
    Bind { path: String, source: io::Error },
    #[error("no node runs on the data directory {path}; start one with `holon start`, or name another with --data-dir")]
    NoNode { path: String },
    #[error("the control socket of {path} cannot be opened: {source}; run the command as the user who runs the node")]
    Connect { path: String, source: io::Error },
}

/// Takes the lines of an answer. Lines beyond what a slow reader takes are dropped, but for the last one.
#[derive(Clone)]
pub struct ControlReplies {
    lines: mpsc::Sender<String>,
}

impl ControlReplies {
    pub fn progress(&self, line: String) {
        drop(self.lines.try_send(line));
    }
}

/// Carries out a command; gives the last line.
pub type ControlHandler = Rc<dyn Fn(String, ControlReplies) -> holon_kernel::LocalFuture<String>>;

pub struct ControlServer {
    listener: UnixListener,
}

/// A path of at most 108 bytes is allowed for a socket; this one is short however long the directory's is.
fn socket_address(directory: &impl AsRawFd) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET_FILE}", directory.as_raw_fd()))?)
}

impl ControlServer {
    /// Makes the socket anew; the data directory's lock says that no other node uses it.
    pub fn bind(data: &DataDir) -> Result<ControlServer, ControlError> {
        let failed = |source| ControlError::Bind { path: data.path().display().to_string(), source };
        let bound = || -> io::Result<UnixListener> {
            match rustix::fs::unlinkat(data.root(), SOCKET_FILE, rustix::fs::AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket: OwnedFd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            // Before the name exists, so that there is no moment in which others may connect.
            rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
            rustix::net::bind(&socket, &socket_address(&data.root())?)?;
            rustix::net::listen(&socket, 16)?;
            UnixListener::from_std(socket.into())
        };
        Ok(ControlServer { listener: bound().map_err(failed)? })
    }

    /// Serves until dropped. Call it inside a `LocalSet`.
    pub async fn serve(self, handler: ControlHandler) {
        let places = std::sync::Arc::new(tokio::sync::Semaphore::new(limits::CONTROL_CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the control socket could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            let handler = handler.clone();
            tokio::task::spawn_local(async move {
                if let Err(error) = serve_command(stream, handler).await {
                    tracing::debug!(%error, "a command on the control socket ended early");
                }
                drop(place);
            });
        }
    }
}

async fn serve_command(stream: UnixStream, handler: ControlHandler) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(limits::CONTROL_LINE_BYTES_MAX as u64));
    let mut line = String::new();
    tokio::time::timeout(limits::CONTROL_READ_TIMEOUT, reader.read_line(&mut line)).await??;
    if !line.ends_with('\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (sender, mut lines) = mpsc::channel(limits::CONTROL_LINES_WAITING_MAX);
    let mut work = handler(line, ControlReplies { lines: sender });
    let last = loop {
        tokio::select! {
            biased;
            Some(line) = lines.recv() => write_line(&mut writer, &line).await?,
            last = &mut work => break last,
        }
    };
    while let Ok(line) = lines.try_recv() {
        write_line(&mut writer, &line).await?;
    }
    write_line(&mut writer, &last).await
}

async fn write_line(writer: &mut (impl AsyncWriteExt + Unpin), line: &str) -> io::Result<()> {
    writer.write_all(line.as_bytes()).await?;
    writer.write_all(b"\n").await
}

/// Connects to the node that runs on a data directory, as a client.
pub fn control_connect(data_dir: &Path) -> Result<std::os::unix::net::UnixStream, ControlError> {
    let path = data_dir.display().to_string();
    let connected = || -> io::Result<OwnedFd> {
        let directory = std::fs::File::open(data_dir)?;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &socket_address(&directory)?)?;
        Ok(socket)
    };
    match connected() {
        Ok(socket) => Ok(socket.into()),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            Err(ControlError::NoNode { path })
        }
        Err(source) => Err(ControlError::Connect { path, source }),
    }
}
