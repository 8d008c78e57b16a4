//! Frames, half-close and detach keys over a pair of pipes.

use super::{DetachKeys, Output, run};
use crate::version::ApiVersion;
use expect_test::expect;
use std::{
    io::{self, Write},
    sync::mpsc,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vw_controller::command::{Attached, Chunk};

fn chunk(stderr: bool, text: &str) -> Chunk {
    Chunk {
        stderr,
        bytes: text.into(),
    }
}

const BOTH: Output = Output {
    stdout: true,
    stderr: true,
    tty: false,
};

#[test]
fn frames_tell_the_streams_apart() {
    let out = BOTH.encode(chunk(false, "hi")).unwrap();
    assert_eq!(out.as_ref(), b"\x01\0\0\0\0\0\0\x02hi");
    let err = BOTH.encode(chunk(true, "")).unwrap();
    assert_eq!(err.as_ref(), b"\x02\0\0\0\0\0\0\0");
    let only_out = Output {
        stderr: false,
        ..BOTH
    };
    assert_eq!(only_out.encode(chunk(true, "x")), None);
    let terminal = Output {
        tty: true,
        ..only_out
    };
    assert_eq!(terminal.encode(chunk(true, "x")).unwrap().as_ref(), b"x");
}

#[test]
fn the_content_type_is_the_versions() {
    let terminal = Output { tty: true, ..BOTH };
    expect!["application/vnd.docker.multiplexed-stream"]
        .assert_eq(BOTH.content_type(ApiVersion::v1(42)));
    expect!["application/vnd.docker.raw-stream"].assert_eq(BOTH.content_type(ApiVersion::v1(41)));
    expect!["application/vnd.docker.raw-stream"].assert_eq(terminal.content_type(ApiVersion::MAX));
}

#[test]
fn detach_keys_are_held_back_until_complete() {
    for (keys, input, passed, detached) in [
        ("", "ab\x10\x11cd", "ab", true),
        ("", "a\x10b\x11", "a\x10b\x11", false),
        ("", "\x10\x10\x11", "\x10", true),
        ("", "x\x10", "x", false),
        ("ctrl-a,z", "\x01z", "", true),
        ("q", "aqb", "a", true),
    ] {
        let mut keys = DetachKeys::parse(keys).unwrap();
        let mut all = Vec::new();
        let mut left = false;
        for byte in input.bytes() {
            let (bytes, found) = keys.filter(&[byte]);
            all.extend(bytes);
            if found {
                left = true;
                break;
            }
        }
        assert_eq!(
            (all.as_slice(), left),
            (passed.as_bytes(), detached),
            "{input:?}"
        );
    }
    for bad in ["ctrl-", "ctrl-A", "ab", "ctrl-p,,", "é"] {
        assert!(DetachKeys::parse(bad).is_err(), "{bad}");
    }
}

/// Standard input that tells what it got, and when it was closed.
struct Sink(mpsc::Sender<Option<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .send(Some(bytes.to_vec()))
            .map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // The test may have ended.
        let _ = self.0.send(None);
    }
}

type Process = mpsc::Sender<io::Result<Chunk>>;

fn attached(tty: bool) -> (Attached, Process, mpsc::Receiver<Option<Vec<u8>>>) {
    let (output, from_process) = mpsc::channel();
    let (sink, input) = mpsc::channel();
    let attached = Attached {
        tty,
        output: from_process,
        input: Some(Box::new(Sink(sink))),
    };
    (attached, output, input)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_close_ends_the_input_and_not_the_output() {
    let (mut client, server) = tokio::io::duplex(64);
    let (attached, output, input) = attached(false);
    let stream = tokio::spawn(run(server, attached, BOTH, None));
    client.write_all(b"typed").await.unwrap();
    client.shutdown().await.unwrap();
    let got = tokio::task::spawn_blocking(move || (input.recv().unwrap(), input.recv().unwrap()));
    assert_eq!(got.await.unwrap(), (Some(b"typed".to_vec()), None));
    output.send(Ok(chunk(false, "after"))).unwrap();
    drop(output);
    let mut text = Vec::new();
    client.read_to_end(&mut text).await.unwrap();
    assert_eq!(text, b"\x01\0\0\0\0\0\0\x05after");
    stream.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn detach_keys_end_the_stream_while_output_stays_open() {
    let (mut client, server) = tokio::io::duplex(64);
    let (attached, output, _input) = attached(true);
    let keys = Some(DetachKeys::parse("").unwrap());
    let terminal = Output { tty: true, ..BOTH };
    let stream = tokio::spawn(run(server, attached, terminal, keys));
    client.write_all(b"\x10\x11").await.unwrap();
    let mut text = Vec::new();
    client.read_to_end(&mut text).await.unwrap();
    assert_eq!(text, b"");
    stream.await.unwrap();
    drop(output);
}
