//! Who is asked and does not hear.

use super::*;
use rustix::{
    net::listen,
    process::{Signal, kill_process_group},
};
use std::time::Instant;

#[test]
fn who_hears_nobody_holds_nobody_up() {
    let folder = std::env::temp_dir().join(format!("vw-agent-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    listen(&listener, 4).unwrap();
    let before = Instant::now();
    let found = || Agent::find(&path).map(|_| ());
    assert!(matches!(found(), Err(AgentError::Silent { .. })));
    let mut waiting = Vec::new();
    while let Ok(stream) = connect(&path) {
        waiting.push(stream);
    }
    assert!(matches!(found(), Err(AgentError::Silent { .. })));
    let stopped = Agent::stop(&path);
    assert!(matches!(stopped, Err(AgentError::Silent { .. })));
    assert!(before.elapsed() < SHORT * 2, "one alone was waited for");
    drop((waiting, listener));
    assert!(matches!(found(), Err(AgentError::Away { .. })));
    assert!(Agent::stop(&path).is_ok(), "nobody is there");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn only_who_carries_packets_is_taken_for_that() {
    let folder = std::env::temp_dir().join(format!("vw-agent-own-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    assert!(Agent::process(&path).is_none());
    let _listener = UnixListener::bind(&path).unwrap();
    assert!(Agent::process(&path).is_none(), "it is this one");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn who_does_not_serve_yet_is_known_by_its_socket() {
    let folder = std::env::temp_dir().join(format!("vw-agent-held-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let input = OwnedFd::from(listener.try_clone().unwrap());
    let mut child = Command::new("sh")
        .args(["-c", "sleep 1000; true", COMMAND])
        .stdin(Stdio::from(input))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let group = Pid::from_child(&child);
    let found = || Agent::process(&path);
    let by_who_made_it = found();
    listen(&listener, 0).unwrap();
    // One waits where none may: who asks then is told nothing.
    let waiting = connect(&path);
    let by_nobody = found();
    kill_process_group(group, Signal::KILL).unwrap();
    child.wait().unwrap();
    assert!(by_who_made_it.is_some() && by_nobody.is_some());
    assert!(found().is_none(), "it has ended");
    drop((waiting, listener));
    fs::remove_dir_all(&folder).unwrap();
}
