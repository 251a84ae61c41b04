//! Connections of unit tests, and the frames on them.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::frames::{Frame, UNLIMITED, framed, take_frame};

/// Both ends of a connection.
pub async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

pub fn header(text: &'static [u8]) -> Frame {
    Frame { header: Bytes::from_static(text), data: Bytes::new() }
}

/// The frames that arrive until the connection ends or is reset.
pub async fn frames_until_end(socket: &mut TcpStream) -> Vec<Frame> {
    let (mut frames, mut buffer) = (Vec::new(), BytesMut::new());
    loop {
        while let Some(frame) = take_frame(&mut buffer, UNLIMITED).unwrap() {
            frames.push(frame);
        }
        match socket.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return frames,
            Ok(_) => {}
        }
    }
}

/// The next frame.
pub async fn next_frame(socket: &mut TcpStream, buffer: &mut BytesMut) -> Frame {
    loop {
        if let Some(frame) = take_frame(buffer, UNLIMITED).unwrap() {
            return frame;
        }
        assert_ne!(socket.read_buf(buffer).await.unwrap(), 0, "the connection ended");
    }
}

pub async fn write(socket: &mut TcpStream, header: &[u8], data: &[u8]) {
    socket.write_all(&framed(header, data)).await.unwrap();
}
