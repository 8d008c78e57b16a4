//! Flags and small values as pflag reads them.

use super::{csv, filter, full_pair, pair, parse, truth};
use clap::{Arg, ArgAction, Command};

fn command() -> Command {
    let flag = |name: &'static str, short| {
        Arg::new(name)
            .long(name)
            .short(short)
            .action(ArgAction::SetTrue)
    };
    Command::new("x").subcommand(
        Command::new("y")
            .arg(flag("interactive", 'i'))
            .arg(flag("tty", 't')),
    )
}

#[test]
fn flags_may_carry_a_truth_value() {
    for (line, expected) in [
        ("x y", Some((false, false))),
        ("x y -it", Some((true, true))),
        ("x y -ti", Some((true, true))),
        ("x y -i=false -t", Some((false, true))),
        ("x y --tty=1 --interactive=F", Some((false, true))),
        ("x y --tty --tty=false", Some((false, false))),
        ("x y --tty=maybe", None),
        ("x y --tty false", None),
    ] {
        let line: Vec<_> = line.split(' ').map(Into::into).collect();
        let parsed = parse(command, &line).ok().and_then(|matches| {
            let (_, matches) = matches.subcommand()?;
            Some((matches.get_flag("interactive"), matches.get_flag("tty")))
        });
        assert_eq!(parsed, expected, "{line:?}");
    }
}

#[test]
fn help_hides_truth_values() {
    let line = ["x", "y", "--help"].map(Into::into);
    let help = parse(command, &line).unwrap_err().to_string();
    assert!(
        help.contains("-i, --interactive  \n") || help.contains("--interactive\n"),
        "{help}"
    );
}

#[test]
fn small_values_are_dockers() {
    assert_eq!(truth("T"), Ok(true));
    assert!(truth("yes").is_err());
    assert_eq!(filter(" Name = x=y "), Ok(("name".into(), "x=y".into())));
    assert_eq!(
        filter("x").unwrap_err(),
        "bad format of filter (expected name=value)"
    );
    assert_eq!(pair("a"), Ok(("a".into(), String::new())));
    assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
    assert!(pair("=b").is_err());
    assert!(full_pair("a=").is_err());
    assert_eq!(csv(r#"a=1,"b=2,3",c"#), ["a=1", "b=2,3", "c"]);
    assert_eq!(csv(""), [""]);
}

#[test]
fn lengths_of_time_are_read_as_go_writes_them() {
    for (text, nanos) in [
        ("0", 0),
        ("30s", 30_000_000_000),
        ("1m30s", 90_000_000_000),
        ("1.5s", 1_500_000_000),
        ("500ms", 500_000_000),
        ("2h", 7_200_000_000_000),
    ] {
        assert_eq!(super::duration(text), Ok(nanos), "{text}");
    }
    for text in ["", "30", "-1s", "s", "1x", "999999999h"] {
        assert!(super::duration(text).is_err(), "{text}");
    }
}

#[test]
fn a_service_is_named_with_a_weight_or_without() {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let named = super::service("web").unwrap().0;
    assert_eq!(named, [pair("vethwork.service", "web")]);
    let weighed = super::service("web,weight=3").unwrap().0;
    assert_eq!(
        weighed,
        [
            pair("vethwork.service", "web"),
            pair("vethwork.weight", "3")
        ]
    );
    assert!(super::service("").is_err() && super::service("web,heavy").is_err());
}
