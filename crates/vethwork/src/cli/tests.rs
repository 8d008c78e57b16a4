//! The whole command line: what is listed, explained and on by default.

use super::Cli;
use clap::CommandFactory;
use std::collections::BTreeSet;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
    super::grammar::parse(Cli::command, &["vethwork", "version"].map(Into::into)).unwrap();
}

#[test]
fn the_contract_is_listed_and_nothing_that_is_not_there() {
    let listed: BTreeSet<String> = Cli::command()
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect();
    let contract = "adopt attach cluster completion create daemon events exec images import info inspect \
                    kill load logs network port ps release rename restart rm rmi run service start \
                    stop tag version wait";
    assert_eq!(
        listed
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" "),
        contract
    );
}

#[test]
fn every_flag_is_explained() {
    fn walk(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{}", command.get_name());
        for arg in command.get_arguments() {
            assert!(
                arg.get_help().is_some(),
                "{} {}",
                command.get_name(),
                arg.get_id()
            );
        }
        command.get_subcommands().for_each(walk);
    }
    walk(&Cli::command());
}

#[test]
fn signals_are_forwarded_unless_told_otherwise() {
    for command in ["run", "attach"] {
        for (flag, expected) in [(None, true), (Some("--sig-proxy=false"), false)] {
            let line = ["vethwork", command].into_iter().chain(flag).chain(["x"]);
            let line: Vec<_> = line.map(Into::into).collect();
            let matches = super::grammar::parse(Cli::command, &line).unwrap();
            let (_, matches) = matches.subcommand().unwrap();
            assert_eq!(matches.get_flag("sig_proxy"), expected, "{line:?}");
        }
    }
}
