//! The address of an input: whether it is free before the start, and whether it answers after the start.

use std::net::{TcpListener, ToSocketAddrs};

use dynamo_runtime::protocols::EndpointId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::abi::Failure;

/// Returns the port, or a free one for 0. The crates bind the port late: they report a port in use only after
/// everything else has started, and then the runtime is already shut down. So the port is checked here before.
pub fn free_port(what: &str, host: &str, port: u16) -> Result<u16, Failure> {
    let unusable = |error: std::io::Error| {
        let reason = match error.kind() {
            std::io::ErrorKind::AddrInUse => "the port is already in use".to_string(),
            _ => error.to_string(),
        };
        let mut failure =
            Failure::new("Unavailable", "frontend.bind", format!("cannot listen on {host}:{port} ({what}): {reason}"));
        failure.details = Some(serde_json::json!({ "host": host, "port": port }));
        failure
    };
    let address = (host.trim_matches(['[', ']']), port).to_socket_addrs().map_err(unusable)?.next();
    let address = address.ok_or_else(|| Failure::invalid(format!("host: {host} has no address")))?;
    let listener = TcpListener::bind(address).map_err(unusable)?;
    Ok(listener.local_addr().map_err(unusable)?.port())
}

/// How to find out whether the input answers.
pub enum Probe {
    Http(String),
    Connect(String),
    Listed(EndpointId),
    None,
}

impl Probe {
    pub async fn answers(&self) -> bool {
        let (address, http) = match self {
            Probe::Listed(_) | Probe::None => return true,
            Probe::Http(address) => (address, true),
            Probe::Connect(address) => (address, false),
        };
        let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else { return false };
        if !http {
            return true;
        }
        let request = format!("GET /live HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        if stream.write_all(request.as_bytes()).await.is_err() {
            return false;
        }
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.is_ok() && &status[9..12] == b"200"
    }
}

#[cfg(test)]
mod tests;
