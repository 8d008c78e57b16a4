//! Detach keys: their grammar, and what is held back for them.

use super::{DetachKeys, KeyWatch};

#[test]
fn detach_keys_are_dockers() {
    for (text, keys) in [
        ("ctrl-p,ctrl-q", Some(vec![16, 17])),
        (
            "ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_",
            Some(vec![0, 27, 28, 29, 30, 31]),
        ),
        ("a,b", Some(vec![b'a', b'b'])),
        ("", Some(vec![])),
        ("ctrl-P", None),
        ("ctrl-", None),
        ("ab", None),
        ("a,,b", None),
    ] {
        let parsed = text.parse::<DetachKeys>().ok();
        assert_eq!(parsed.map(|parsed| parsed.keys), keys, "{text}");
    }
}

#[test]
fn keys_are_held_back_until_it_is_clear() {
    type Case<'a> = (&'a [&'a [u8]], &'a [u8], bool);
    let cases: &[Case<'_>] = &[
        (&[b"abc"], b"abc", false),
        (&[b"a\x10", b"\x11b"], b"a", true),
        (&[b"\x10b"], b"\x10b", false),
        (&[b"\x10", b"\x10\x11"], b"\x10", true),
        (&[b"\x11\x10"], b"\x11", false),
    ];
    for (pieces, expected, detached) in cases {
        let mut watch = KeyWatch::new(vec![0x10, 0x11]);
        let (mut sent, mut ended) = (Vec::new(), false);
        for piece in *pieces {
            let (send, end) = watch.feed(piece);
            sent.extend(send);
            ended |= end;
        }
        assert_eq!(
            (sent.as_slice(), ended),
            (*expected, *detached),
            "{pieces:?}"
        );
    }
}

#[test]
fn without_keys_everything_is_sent() {
    assert_eq!(
        KeyWatch::new(Vec::new()).feed(b"\x10\x11"),
        (b"\x10\x11".to_vec(), false)
    );
}
