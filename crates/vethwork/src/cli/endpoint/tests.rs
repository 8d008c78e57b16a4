//! Both forms of --network.

use super::network_option;
use expect_test::{Expect, expect};

fn check(text: &str, expected: Expect) {
    let shown = match network_option(text) {
        Ok((network, endpoint)) => format!("{network} {}", endpoint.to_json()),
        Err(error) => format!("ERROR {error}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn networks_have_a_short_and_a_long_form() {
    check("n1", expect!["n1 {}"]);
    check("container:x", expect!["container:x {}"]);
    check(
        "name=n1,alias=a,alias=b,ip=10.0.0.2,ip6=fd00::2,mac-address=02:00:00:00:00:01",
        expect![[
            r#"n1 {"Aliases":["a","b"],"IPAMConfig":{"IPv4Address":"10.0.0.2","IPv6Address":"fd00::2"},"MacAddress":"02:00:00:00:00:01"}"#
        ]],
    );
    check(
        "n1,gw-priority=-2,driver-opt=k=v,link-local-ip=169.254.1.1",
        expect![[
            r#"n1 {"DriverOpts":{"k":"v"},"GwPriority":-2,"IPAMConfig":{"LinkLocalIPs":["169.254.1.1"]}}"#
        ]],
    );
    check("", expect!["ERROR invalid syntax for network"]);
    check("a,b", expect!["ERROR invalid field a,b"]);
    check("alias=x", expect!["ERROR network name/id is not specified"]);
    check("name=n,nope=1", expect!["ERROR invalid field key nope"]);
    check(
        "name=n,driver-opt=k",
        expect!["ERROR invalid key value pair format in driver options"],
    );
    check(
        "name=n,gw-priority=x",
        expect!["ERROR invalid gw-priority (x): use a whole number"],
    );
}
