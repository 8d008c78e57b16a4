//! What may be a name.

use super::*;
use std::fmt::Debug;

fn check<N>(accepted: &[&str], refused: &[&str], reasons: &[&str])
where
    N: FromStr<Err = Error> + Debug + AsRef<str>,
{
    for text in accepted {
        assert_eq!(text.parse::<N>().unwrap().as_ref(), *text);
    }
    for text in refused {
        let error = text.parse::<N>().expect_err(text);
        assert!(reasons.contains(&error.reason), "{text:?}: {error:?}");
    }
}

#[test]
fn network_names() {
    check::<NetworkName>(
        &["bridge", "a", "my net", "ünï", "a/b", "a.b_c-d"],
        &["", " ", " a", "a ", "/a", "a\nb", "a\0", &"x".repeat(256)],
        &["network-name-empty", "network-name-invalid"],
    );
}

#[test]
fn container_names() {
    check::<ContainerName>(
        &["ab", "a1", "0a", "web.1_x-y", &"x".repeat(255)],
        &[
            "",
            "a",
            "-ab",
            ".ab",
            "_ab",
            "a b",
            "a/b",
            "/ab",
            "aé",
            &"x".repeat(256),
        ],
        &["container-name-invalid"],
    );
}

#[test]
fn interface_names() {
    check::<IfName>(
        &[
            "e",
            "eth0",
            "vw-0123456789ab",
            "eth0.5",
            "ALL",
            "...",
            "br@x",
        ],
        &[
            "",
            ".",
            "..",
            "all",
            "default",
            "0123456789abcdef",
            "eth%d",
            "a/b",
            "a:b",
            "a b",
            "a\tb",
            "a\0",
            "a\u{a0}",
            "éééééééé",
        ],
        &["interface-name-invalid"],
    );
}
