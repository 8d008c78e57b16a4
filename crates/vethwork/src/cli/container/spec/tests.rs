//! Lines to requests, and contradictions refused.

use super::Spec;
use clap::{Args, Command, FromArgMatches};
use expect_test::{Expect, expect};
use serde_json::Value;

fn body(line: &str) -> Result<Value, String> {
    let command = Spec::augment_args(
        Command::new("create")
            .no_binary_name(true)
            .disable_help_flag(true),
    );
    let matches = command
        .try_get_matches_from(line.split_whitespace())
        .map_err(|error| {
            error
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        })?;
    Spec::from_arg_matches(&matches).unwrap().body(true)
}

fn check(line: &str, expected: Expect) {
    let shown = match body(line) {
        Ok(body) => format!("{body:#}"),
        Err(error) => format!("ERROR {error}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn a_command_is_taken_as_it_stands() {
    let words = |line: &str| body(line).unwrap()["Cmd"].to_string();
    assert_eq!(
        words("host sh -c -it --name=x"),
        r#"["sh","-c","-it","--name=x"]"#
    );
    assert_eq!(words("-i host -- x"), r#"["--","x"]"#);
    assert_eq!(words("host"), "null");
}

#[test]
fn a_small_request_says_little() {
    check(
        "host",
        expect![[r#"
        {
          "AttachStderr": true,
          "AttachStdout": true,
          "HostConfig": {
            "NetworkMode": "default",
            "RestartPolicy": {
              "MaximumRetryCount": 0,
              "Name": "no"
            }
          },
          "Image": "host",
          "NetworkingConfig": {
            "EndpointsConfig": {
              "default": {}
            }
          }
        }"#]],
    );
}

#[test]
fn a_request_says_what_was_asked() {
    check(
        "--rm -p 8080:80 -v /a:/b:ro --network n1 --ip 10.0.0.9 host true",
        expect![[r#"
        {
          "AttachStderr": true,
          "AttachStdout": true,
          "Cmd": [
            "true"
          ],
          "ExposedPorts": {
            "80/tcp": {}
          },
          "HostConfig": {
            "AutoRemove": true,
            "Binds": [
              "/a:/b:ro"
            ],
            "NetworkMode": "n1",
            "PortBindings": {
              "80/tcp": [
                {
                  "HostIp": "",
                  "HostPort": "8080"
                }
              ]
            },
            "RestartPolicy": {
              "MaximumRetryCount": 0,
              "Name": "no"
            }
          },
          "Image": "host",
          "NetworkingConfig": {
            "EndpointsConfig": {
              "n1": {
                "IPAMConfig": {
                  "IPv4Address": "10.0.0.9"
                }
              }
            }
          }
        }"#]],
    );
}

#[test]
fn what_contradicts_is_refused_in_dockers_words() {
    for (line, expected) in [
        (
            "--rm --restart always host",
            "conflicting options: cannot specify both --restart and --rm",
        ),
        (
            "--restart :3 host",
            "invalid restart policy format: no policy provided before colon",
        ),
        (
            "--restart on-failure:x host",
            "invalid restart policy format: maximum retry count must be an integer",
        ),
        (
            "--network name=n,ip=10.0.0.2 --ip 10.0.0.3 host",
            "conflicting options: cannot specify both --ip and per-network IPv4 address",
        ),
        (
            "--network name=n,alias=a --network-alias b host",
            "conflicting options: cannot specify both --network-alias and per-network alias",
        ),
        (
            "--network-alias b host",
            "network-scoped aliases are only supported for user-defined networks: default",
        ),
        (
            "--network n --network n host",
            "network \"n\" is specified multiple times",
        ),
        (
            "--network host --network n host",
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes: host",
        ),
        ("-e =x host", "invalid environment variable: =x"),
        (
            "--env-file /nonexistent host",
            "open /nonexistent: No such file or directory (os error 2)",
        ),
        (
            "--pull always host",
            "error: invalid value 'always' for '--pull <POLICY>': there is no registry client: bring images in with load or import",
        ),
        (
            "--add-host a:x host",
            "error: invalid value 'a:x' for '--add-host <HOST:IP>': invalid IP address in add-host: \"x\"",
        ),
        ("--expose 1:2 host", "invalid port format for --expose: 1:2"),
    ] {
        assert_eq!(body(line).unwrap_err(), expected, "{line}");
    }
}
