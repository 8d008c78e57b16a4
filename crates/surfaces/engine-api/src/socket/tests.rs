//! A socket between a runtime and a client that reads slowly, and one that wakes nobody.

use super::Socket;
use std::{
    future::{Future, poll_fn},
    io::{Read, Write},
    os::unix::net::UnixStream,
    task::Poll,
    thread,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// More than a socket holds.
const MUCH: usize = 4 << 20;

fn pair() -> (Socket<UnixStream>, UnixStream) {
    let (ours, client) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    (Socket::new(ours).unwrap(), client)
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn what_a_slow_client_reads_is_whole() {
    let (mut socket, mut client) = pair();
    let bytes_sent = bytes(MUCH);
    let mut sent = Box::pin(socket.write_all(&bytes_sent));
    // Nobody reads yet.
    let waits = poll_fn(|context| Poll::Ready(sent.as_mut().poll(context).is_pending())).await;
    assert!(waits, "there was room for all at once");
    let reading = thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).map(|_| got)
    });
    sent.await.unwrap();
    socket.shutdown().await.unwrap();
    assert_eq!(reading.join().unwrap().unwrap(), bytes(MUCH));
}

#[tokio::test]
async fn what_a_client_sends_in_pieces_is_read_to_its_end() {
    let (mut socket, mut client) = pair();
    let writing = thread::spawn(move || {
        for piece in bytes(MUCH).chunks(70_001) {
            client.write_all(piece).unwrap();
        }
    });
    let mut got = Vec::new();
    socket.read_to_end(&mut got).await.unwrap();
    writing.join().unwrap();
    assert_eq!(got, bytes(MUCH));
}

#[tokio::test]
async fn room_is_not_waited_for_where_there_is_some() {
    let (mut socket, mut client) = pair();
    for _ in 0..3 {
        client.write_all(b"question").unwrap();
        let mut asked = [0; 8];
        socket.read_exact(&mut asked).await.unwrap();
        socket.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
    }
    assert!(socket.room.is_none());
}
