//! Small fixture texts, and the violations that they must and must not give.

use super::{
    layers::{self, Workspace},
    lexer::Views,
    rules,
    source::SourceFile,
};
use expect_test::{Expect, expect};
use std::path::Path;

fn source(path: &str, text: &str, expected: &Expect) {
    let file = SourceFile::new(path.into(), text);
    let found = rules::check(&file, super::source::is_test_path(Path::new(path)));
    let shown: String = found.iter().map(|found| format!("{found}\n")).collect();
    expected.assert_eq(&shown);
}

fn manifest(package: &str, folder: &str, dependencies: &str, expected: &Expect) {
    let others = ["vw-model", "vw-store", "vw-kernel", "vw-controller"].map(|name| {
        format!(r#"{{"name":"{name}","manifest_path":"/r/x/Cargo.toml","dependencies":[]}}"#)
    });
    let json = format!(
        r#"{{"packages":[{{"name":"{package}","manifest_path":"/r/{folder}/Cargo.toml","dependencies":[{dependencies}]}},{}],
           "metadata":{{"layers":{{"order":["model","ipam","kernel","store","controller","engine-api"]}}}}}}"#,
        others.join(",")
    );
    let workspace = Workspace::parse(json.as_bytes()).expect("fixture");
    let found = layers::check(Path::new("/r"), &workspace);
    let shown: String = found.iter().map(|found| format!("{found}\n")).collect();
    expected.assert_eq(&shown);
}

#[test]
fn a_pure_crate_does_no_io_however_it_is_imported() {
    source(
        "crates/ipam/src/pool.rs",
        "//! Pools.\nuse std::{collections::BTreeMap, fs::{self, File}};\nfn now() { let _ = std::time::Instant::now(); }\n// std::fs is only named here\nconst WHERE: &str = \"std::fs\";\n",
        &expect![[r#"
            crates/ipam/src/pool.rs:2: pure: a pure crate does no I/O and reads no clock: take the value as an argument
            crates/ipam/src/pool.rs:3: pure: a pure crate does no I/O and reads no clock: take the value as an argument
        "#]],
    );
}

#[test]
fn tests_of_a_pure_crate_are_free() {
    let text = "//! Pools.\n#[cfg(test)]\nmod tests {\n    use std::fs;\n    fn f() { fs::read(\"}\").unwrap(); }\n}\n";
    source("crates/ipam/src/pool.rs", text, &expect![""]);
    source(
        "crates/ipam/src/pool/tests.rs",
        "//! Tests.\nuse std::fs;\n",
        &expect![""],
    );
}

#[test]
fn only_the_executor_touches_the_kernel() {
    let text = "//! Ports.\nfn f() {\n    std::fs::write(\"/proc/sys/net/ipv4/ip_forward\", \"1\");\n    rustix::thread::move_into_link_name_space(fd, None);\n    rustix::mount::unmount(path);\n}\n";
    source(
        "crates/controller/src/port.rs",
        text,
        &expect![[r#"
            crates/controller/src/port.rs:3: one-executor: sysctls are steps of a plan: let the executor in crates/kernel read and write them
            crates/controller/src/port.rs:4: one-executor: every kernel mutation comes from the executor in crates/kernel: plan it there
            crates/controller/src/port.rs:5: one-executor: namespaces are mounted by kernel, root file systems by runtime; nothing else mounts
        "#]],
    );
    source("crates/kernel/src/port.rs", text, &expect![""]);
}

#[test]
fn no_program_does_the_kernels_work() {
    let text = "//! Rules.\nuse std::process::Command;\nfn f() { Command::new(\"/usr/sbin/nft\"); Command::new(\"runc\"); }\n";
    source(
        "crates/runtime/src/oci.rs",
        text,
        &expect![[r#"
            crates/runtime/src/oci.rs:3: no-programs: the kernel is spoken to by netlink, /proc and system calls: add a step to the kernel crate
        "#]],
    );
    source(
        "crates/controller/src/oci.rs",
        "//! Containers.\nuse std::process::{Child, Command};\n",
        &expect![[r#"
            crates/controller/src/oci.rs:2: programs-only-in-runtime: only runtime (the OCI runtime, conmon), kernel (iptables-restore) and agents (this binary itself) start programs
        "#]],
    );
    source(
        "tests/tests/ports.rs",
        "//! Ports.\nfn f() { Command::new(\"nft\"); }\n",
        &expect![""],
    );
}

#[test]
fn unfinished_work_is_found_and_words_in_strings_are_not() {
    source(
        "crates/store/src/log.rs",
        "//! The log.\nfn f() { todo!(); }\n// FIXME: later\nfn g() { panic!(\"TODO todo!()\") }\n#[allow(dead_code)]\nfn h() {}\n",
        &expect![[r#"
            crates/store/src/log.rs:2: unfinished: finish it, or refuse the request by name
            crates/store/src/log.rs:3: unfinished: do it now, or open an issue
            crates/store/src/log.rs:5: bare-allow: give the reason: `reason = "…"`
            crates/store/src/log.rs:5: dead-code: delete what nothing uses
        "#]],
    );
}

#[test]
fn a_module_has_a_header_a_telling_name_and_an_end() {
    let long = "fn f() {}\n".repeat(601);
    source(
        "crates/store/src/utils.rs",
        &long,
        &expect![[r#"
            crates/store/src/utils.rs:1: empty-name: name the module after what it owns
            crates/store/src/utils.rs:1: module-header: open with `//!`: what it owns, and what it must not do
            crates/store/src/utils.rs:600: file-size: a file has at most 600 lines, inline tests apart: split it by what it owns
        "#]],
    );
}

#[test]
fn a_file_of_tests_has_an_end_too_and_inline_tests_are_apart() {
    let long = format!("//! Long.\n{}", "fn f() {}\n".repeat(600));
    source(
        "tests/tests/ping.rs",
        &long,
        &expect![[r#"
            tests/tests/ping.rs:600: file-size: a file has at most 600 lines, inline tests apart: split it by what it owns
        "#]],
    );
    source(
        "crates/store/src/log/tests.rs",
        &long,
        &expect![[r#"
            crates/store/src/log/tests.rs:600: file-size: a file has at most 600 lines, inline tests apart: split it by what it owns
        "#]],
    );
    let inline = format!(
        "//! Short.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
        "fn f() {}\n".repeat(600)
    );
    source("crates/store/src/log.rs", &inline, &expect![""]);
}

#[test]
fn tests_wait_for_conditions() {
    let text = "//! Waiting.\nfn f() { std::thread::sleep(PAUSE); }\n";
    source(
        "tests/tests/ping.rs",
        text,
        &expect![[r#"
            tests/tests/ping.rs:2: no-sleep-in-tests: wait for a condition: vw_testkit::eventually
        "#]],
    );
    source("testkit/src/eventually.rs", text, &expect![""]);
}

#[test]
fn an_exception_is_written_beside_what_it_excuses() {
    source(
        "tests/tests/ping.rs",
        "//! Waiting.\n// check-allow(no-sleep-in-tests): the lease must be seen to expire\nfn f() { std::thread::sleep(LEASE); }\n",
        &expect![""],
    );
}

#[test]
fn a_crate_uses_only_those_before_it() {
    manifest(
        "vw-ipam",
        "crates/ipam",
        r#"{"name":"vw-model","kind":null},{"name":"vw-store","kind":null},{"name":"vw-kernel","kind":"dev"},{"name":"libc","kind":null}"#,
        &expect![[r#"
            crates/ipam/Cargo.toml:1: layer-order: ipam may use only crates named before it in workspace.metadata.layers, not vw-store
            crates/ipam/Cargo.toml:1: pure: ipam is pure: drop libc, and take what it reads as an argument
        "#]],
    );
}

#[test]
fn netlink_and_tokio_stay_where_they_belong() {
    manifest(
        "vw-controller",
        "crates/controller",
        r#"{"name":"netlink-bindings","kind":null},{"name":"tokio","kind":null},{"name":"rustix","kind":null}"#,
        &expect![[r#"
            crates/controller/Cargo.toml:1: netlink-only-in-kernel: only kernel may use netlink-bindings: go through its trait
            crates/controller/Cargo.toml:1: synchronous: controller is synchronous: drop tokio, or move the work to a crate above it
        "#]],
    );
}

#[test]
fn a_surface_reaches_no_store_kernel_or_driver() {
    manifest(
        "vw-engine-api",
        "crates/surfaces/engine-api",
        r#"{"name":"vw-controller","kind":null},{"name":"vw-store","kind":null},{"name":"tokio","kind":null}"#,
        &expect![[r#"
            crates/surfaces/engine-api/Cargo.toml:1: thin-surface: a surface submits commands to the controller: drop vw-store
        "#]],
    );
}

#[test]
fn a_crate_must_have_a_place_in_the_order() {
    manifest(
        "vw-extra",
        "crates/extra",
        "",
        &expect![[r#"
            crates/extra/Cargo.toml:1: layer-order: crate extra is not in workspace.metadata.layers: name its place in the order
        "#]],
    );
}

#[test]
fn code_strings_and_comments_are_told_apart() {
    let text = "a\"s\\\"t\" /* c /* d */ e */ 'x' r#\"q\"u\"# 'l b\"y\" // z\nfn f<'a>() {}";
    let words = |view: &str| view.split_whitespace().collect::<Vec<_>>().join(" ");
    let views = Views::of(text);
    expect!["a 'l b fn f<'a>() {}"].assert_eq(&words(&views.code));
    expect!["/* c /* d */ e */ // z"].assert_eq(&words(&views.comments));
    expect![[r##""s\"t" 'x' r#"q"u"# "y""##]].assert_eq(&words(&views.strings));
    assert_eq!(views.strings.len(), text.len());
}

#[test]
fn a_module_declared_for_tests_alone_is_test_code() {
    let file = SourceFile::new(
        "crates/store/src/lib.rs".into(),
        "//! The store.\n#[cfg(test)]\nmod fixtures;\npub mod log;\n",
    );
    let children: Vec<_> = file.test_only_children().collect();
    assert_eq!(children, [Path::new("crates/store/src/fixtures")]);
}
