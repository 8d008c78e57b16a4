//! The rules on sources, one row a rule.
//!
//! Owns what each rule looks for, where it holds and what to do instead. An
//! exception is a comment on the line or the one above it,
//! `check-allow(rule): reason`, so that each can be found and weighed.

use super::{layers::PURE, source::SourceFile, violation::Violation};

/// The most lines that a file may have; its inline tests do not count, those in files of their own
/// do.
const LINES: usize = 600;

/// Where a rule holds.
enum Scope {
    /// In these layers, outside tests.
    Only(&'static [&'static str]),
    /// In every layer but these, outside tests.
    Except(&'static [&'static str]),
    /// In every layer, outside tests.
    Product,
    /// In every file.
    Everywhere,
    /// In tests alone.
    Tests,
}

/// What a rule looks for.
enum Needle {
    /// A path that begins so, imported by `use` or written out in the code.
    Path(&'static [&'static str]),
    /// These words in the code, strings and comments apart.
    Code(&'static [&'static str]),
    /// These words in string literals.
    Text(&'static [&'static str]),
    /// These words in comments.
    Comment(&'static [&'static str]),
    /// `Command::new` of one of these programs.
    Program(&'static [&'static str]),
}

struct Rule {
    name: &'static str,
    needle: Needle,
    scope: Scope,
    remedy: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        name: "pure",
        needle: Needle::Path(&[
            "std::fs",
            "std::env",
            "std::process",
            "std::thread",
            "std::os",
            "std::net::TcpStream",
            "std::net::TcpListener",
            "std::net::UdpSocket",
            "std::time::SystemTime::now",
            "std::time::Instant::now",
        ]),
        scope: Scope::Only(&PURE),
        remedy: "a pure crate does no I/O and reads no clock: take the value as an argument",
    },
    Rule {
        name: "pure",
        needle: Needle::Code(&["SystemTime::now", "Instant::now"]),
        scope: Scope::Only(&PURE),
        remedy: "a pure crate reads no clock: take the time as an argument",
    },
    Rule {
        name: "no-programs",
        needle: Needle::Program(&[
            "nft",
            "ip",
            "iptables",
            "ip6tables",
            "tc",
            "bridge",
            "sysctl",
            "conntrack",
            "ipset",
            "modprobe",
            "ethtool",
            "brctl",
            "nsenter",
            "mount",
            "umount",
            "sh",
            "bash",
        ]),
        scope: Scope::Product,
        remedy: "the kernel is spoken to by netlink, /proc and system calls: add a step to the kernel crate",
    },
    Rule {
        name: "programs-only-in-runtime",
        needle: Needle::Path(&["std::process::Command", "tokio::process"]),
        scope: Scope::Except(&["runtime", "kernel", "agents"]),
        remedy: "only runtime (the OCI runtime, conmon), kernel (iptables-restore) and agents (this \
                 binary itself) start programs",
    },
    Rule {
        name: "one-executor",
        needle: Needle::Code(&[
            "setns(",
            "unshare(",
            "move_into_link_name_space",
            "move_into_thread_name_spaces",
            "AF_NETLINK",
            "AddressFamily::NETLINK",
            "SIOCSIF",
            "TUNSETIFF",
        ]),
        scope: Scope::Except(&["kernel"]),
        remedy: "every kernel mutation comes from the executor in crates/kernel: plan it there",
    },
    Rule {
        name: "one-executor",
        needle: Needle::Text(&["\"/proc/sys/net", "/sys/class/net"]),
        scope: Scope::Except(&["kernel"]),
        remedy: "sysctls are steps of a plan: let the executor in crates/kernel read and write them",
    },
    Rule {
        name: "one-executor",
        needle: Needle::Path(&[
            "rustix::mount",
            "libc::mount",
            "libc::umount",
            "libc::umount2",
        ]),
        scope: Scope::Except(&["kernel", "runtime"]),
        remedy: "namespaces are mounted by kernel, root file systems by runtime; nothing else mounts",
    },
    Rule {
        name: "unfinished",
        needle: Needle::Code(&["todo!", "unimplemented!", "dbg!", "#[ignore"]),
        scope: Scope::Everywhere,
        remedy: "finish it, or refuse the request by name",
    },
    Rule {
        name: "unfinished",
        needle: Needle::Comment(&["FIXME", "TODO", "XXX"]),
        scope: Scope::Everywhere,
        remedy: "do it now, or open an issue",
    },
    Rule {
        name: "dead-code",
        needle: Needle::Code(&["allow(dead_code", "allow(unused"]),
        scope: Scope::Everywhere,
        remedy: "delete what nothing uses",
    },
    Rule {
        name: "no-sleep-in-tests",
        needle: Needle::Code(&["thread::sleep(", "time::sleep("]),
        scope: Scope::Tests,
        remedy: "wait for a condition: vw_testkit::eventually",
    },
];

/// Names that say nothing of what a module owns.
const EMPTY_NAMES: [&str; 8] = [
    "utils", "util", "helpers", "helper", "manager", "managers", "common", "misc",
];

/// The exempt file of `no-sleep-in-tests`: the one place where polling sleeps.
const POLLING: &str = "testkit/src/eventually.rs";

/// Holds one file against every rule; `test` says that all of it is test code.
pub(crate) fn check(file: &SourceFile, test: bool) -> Vec<Violation> {
    let mut found = Vec::new();
    found.extend(header(file));
    found.extend(module_name(file));
    found.extend(size(file, test));
    found.extend(bare_allow(file));
    for rule in RULES {
        for at in places(file, &rule.needle) {
            if applies(&rule.scope, file, test || file.in_inline_test(at)) {
                found.push(violation(file, file.line_of(at), rule.name, rule.remedy));
            }
        }
    }
    found.retain(|violation| !is_excepted(file, violation));
    found.sort();
    found.dedup_by(|a, b| (a.line, a.rule) == (b.line, b.rule));
    found
}

fn applies(scope: &Scope, file: &SourceFile, test: bool) -> bool {
    match scope {
        Scope::Everywhere => true,
        Scope::Tests => test && !file.path().ends_with(POLLING),
        Scope::Product => !test && file.layer().is_some(),
        Scope::Only(layers) => !test && file.layer().is_some_and(|layer| layers.contains(&layer)),
        Scope::Except(layers) => {
            !test && file.layer().is_some_and(|layer| !layers.contains(&layer))
        }
    }
}

/// Every byte at which a needle is found.
fn places(file: &SourceFile, needle: &Needle) -> Vec<usize> {
    match needle {
        Needle::Path(paths) => {
            let mut found: Vec<usize> = file
                .imports()
                .into_iter()
                .filter(|(_, import)| paths.iter().any(|path| is_within(import, path)))
                .map(|(at, _)| at)
                .collect();
            found.extend(words(&file.views.code, paths));
            found
        }
        Needle::Code(needles) => words(&file.views.code, needles),
        Needle::Text(needles) => words(&file.views.strings, needles),
        Needle::Comment(needles) => words(&file.views.comments, needles),
        Needle::Program(programs) => started_programs(file, programs),
    }
}

/// Whether an imported path is `path` or lies below it.
fn is_within(import: &str, path: &str) -> bool {
    import
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Where a needle stands as a word of its own.
fn words(view: &str, needles: &[&str]) -> Vec<usize> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    for needle in needles {
        for (at, _) in view.match_indices(needle) {
            let joins_before =
                needle.starts_with(is_word) && view[..at].chars().next_back().is_some_and(is_word);
            let joins_after = needle.ends_with(is_word)
                && view[at + needle.len()..]
                    .chars()
                    .next()
                    .is_some_and(is_word);
            // Constants of one family share a prefix (SIOCSIFADDR, TUNSETIFF…).
            let is_family = needle.starts_with("SIOC");
            if !joins_before && (!joins_after || is_family) {
                found.push(at);
            }
        }
    }
    found
}

/// Where `Command::new("program")` starts one of `programs`.
fn started_programs(file: &SourceFile, programs: &[&str]) -> Vec<usize> {
    let call = "Command::new(";
    file.views
        .code
        .match_indices(call)
        .filter(|(at, _)| {
            let argument = file.text[at + call.len()..].trim_start();
            argument
                .strip_prefix('"')
                .and_then(|rest| rest.split('"').next())
                .and_then(|program| program.rsplit('/').next())
                .is_some_and(|program| programs.contains(&program))
        })
        .map(|(at, _)| at)
        .collect()
}

fn header(file: &SourceFile) -> Option<Violation> {
    let first = file.text.lines().find(|line| !line.trim().is_empty());
    (!first.is_some_and(|line| line.starts_with("//!"))).then(|| {
        violation(
            file,
            1,
            "module-header",
            "open with `//!`: what it owns, and what it must not do",
        )
    })
}

fn module_name(file: &SourceFile) -> Option<Violation> {
    let named = |name: &str| EMPTY_NAMES.contains(&name);
    let parts = file.path().with_extension("");
    parts
        .iter()
        .filter_map(|part| part.to_str())
        .any(named)
        .then(|| violation(file, 1, "empty-name", "name the module after what it owns"))
}

fn size(file: &SourceFile, test: bool) -> Option<Violation> {
    let lines = match test {
        true => file.text.lines().count(),
        false => file.lines_without_tests(),
    };
    (lines > LINES).then(|| {
        violation(
            file,
            LINES,
            "file-size",
            "a file has at most 600 lines, inline tests apart: split it by what it owns",
        )
    })
}

/// `#[allow]` and `#[expect]` without a reason, written in it or as a comment beside it.
fn bare_allow(file: &SourceFile) -> Vec<Violation> {
    let mut found = Vec::new();
    for opening in ["[allow(", "[expect("] {
        for (at, _) in file.views.code.match_indices(opening) {
            let end = file.views.code[at..].find(']').unwrap_or(0);
            let line = file.line_of(at);
            let commented = [line, line - 1]
                .iter()
                .any(|&line| file.line(line).contains("// "));
            if !commented && !file.views.code[at..at + end].contains("reason") {
                found.push(violation(
                    file,
                    line,
                    "bare-allow",
                    "give the reason: `reason = \"…\"`",
                ));
            }
        }
    }
    found
}

fn is_excepted(file: &SourceFile, violation: &Violation) -> bool {
    let marker = format!("check-allow({}): ", violation.rule);
    [violation.line, violation.line.saturating_sub(1)]
        .iter()
        .any(|&line| file.line(line).contains(&marker))
}

fn violation(file: &SourceFile, line: usize, rule: &'static str, remedy: &str) -> Violation {
    Violation {
        path: file.path().to_path_buf(),
        line,
        rule,
        remedy: remedy.to_owned(),
    }
}
