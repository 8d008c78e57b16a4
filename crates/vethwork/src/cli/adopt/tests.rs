//! Lines to requests.

use super::Adopt;
use clap::{Args, Command, FromArgMatches};
use expect_test::{Expect, expect};

fn check(line: &str, expected: Expect) {
    let command = Adopt::augment_args(Command::new("adopt").no_binary_name(true));
    let parsed = command.try_get_matches_from(line.split_whitespace());
    let shown = match parsed {
        Ok(matches) => match Adopt::from_arg_matches(&matches).unwrap().body() {
            Ok(body) => body.to_string(),
            Err(error) => format!("ERROR {error}"),
        },
        Err(error) => format!("REFUSED {:?}", error.kind()),
    };
    expected.assert_eq(&shown);
}

#[test]
fn sources_and_networks_become_one_request() {
    check(
        "--pid 7 --network n1",
        expect![[r#"{"Networks":[{"EndpointConfig":{},"Network":"n1"}],"Pid":7}"#]],
    );
    check(
        "--netns blue --name x --network n1,ip=10.0.0.9,alias=a --network name=n2 --resolv-conf \
         -p 8080:80 -P --expose 90 --dns 1.1.1.1 --label a=b",
        expect![[
            r#"{"Dns":["1.1.1.1"],"ExposedPorts":{"80/tcp":{},"90/tcp":{}},"Labels":{"a":"b"},"Name":"x","Netns":"/run/netns/blue","Networks":[{"EndpointConfig":{"Aliases":["a"],"IPAMConfig":{"IPv4Address":"10.0.0.9"}},"Network":"n1"},{"EndpointConfig":{},"Network":"n2"}],"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]},"PublishAllPorts":true,"ResolvConf":true}"#
        ]],
    );
    check(
        "--netns /proc/self/ns/net --net n1",
        expect![[
            r#"{"Netns":"/proc/self/ns/net","Networks":[{"EndpointConfig":{},"Network":"n1"}]}"#
        ]],
    );
    check("--network n1", expect!["REFUSED MissingRequiredArgument"]);
    check(
        "--pid 7 --netns x --network n1",
        expect!["REFUSED ArgumentConflict"],
    );
    check("--pid 0 --network n1", expect!["REFUSED ValueValidation"]);
    check("--pid 7", expect!["REFUSED MissingRequiredArgument"]);
    check(
        "--pid 7 --network n1 -p x",
        expect!["ERROR invalid containerPort: x"],
    );
}
