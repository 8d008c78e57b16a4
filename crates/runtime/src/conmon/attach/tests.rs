//! What is read when conmon goes before it has read all.

use super::{AttachStream, Stream};
use crate::layout::RunDir;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind,
    listen, recv, send, socket_with,
};

#[test]
fn output_behind_a_reset_is_read() {
    let folder = std::env::temp_dir().join(format!("vw-attach-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a fresh folder");
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    );
    let listener = socket.expect("such sockets are there");
    let address = SocketAddrUnix::new(folder.join("attach")).expect("a short path");
    bind(&listener, &address).expect("the folder is ours");
    listen(&listener, 1).expect("it is bound");
    let stream = AttachStream::connect(&RunDir(folder.clone()), "web").expect("it listens");
    let conmon = accept(&listener).expect("somebody connected");

    stream.send(b"read").expect("it is there");
    stream.send(b"unread").expect("it is there");
    let mut buffer = [0; 16];
    recv(&conmon, &mut buffer[..], RecvFlags::empty()).expect("input came");
    for piece in [&b"\x02out"[..], b"\x03err"] {
        send(&conmon, piece, SendFlags::empty()).expect("the client is there");
    }
    // With input unread, this resets the connection.
    drop(conmon);
    let read = std::iter::from_fn(|| stream.recv(&mut buffer).expect("no reset is told"));
    let read: Vec<_> = read.collect();
    assert_eq!(read, [(Stream::Stdout, 3), (Stream::Stderr, 3)]);
    std::fs::remove_dir_all(&folder).expect("it is ours");
}
