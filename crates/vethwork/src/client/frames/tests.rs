//! Frames in pieces of any size.

use super::{Demux, Stream};

fn frame(stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&[stream, 0, 0, 0], length.as_slice(), payload].concat()
}

#[test]
fn frames_come_apart_in_pieces_of_any_size() {
    let sent = [
        frame(1, b"out"),
        frame(2, b""),
        frame(2, b"err\n"),
        frame(1, b"more"),
    ]
    .concat();
    for size in 1..=sent.len() {
        let mut demux = Demux::default();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for piece in sent.chunks(size) {
            demux
                .feed(piece, |stream, bytes| {
                    match stream {
                        Stream::Out => out.extend_from_slice(bytes),
                        _ => err.extend_from_slice(bytes),
                    }
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(
            (out.as_slice(), err.as_slice()),
            (&b"outmore"[..], &b"err\n"[..])
        );
    }
}

#[test]
fn an_unknown_stream_is_refused() {
    let refused = Demux::default()
        .feed(&frame(9, b"x"), |_, _| Ok(()))
        .unwrap_err();
    assert_eq!(refused.to_string(), "unrecognized input header: 9");
}
