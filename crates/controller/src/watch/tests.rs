//! Who is told of ends, and when.

use super::Watcher;
use crate::sandboxes::start_time;
use std::{
    process::{Child, Command},
    sync::{Arc, mpsc::channel},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(10);

fn sleeper() -> Child {
    Command::new("sleep").arg("1000").spawn().unwrap()
}

#[test]
fn an_end_is_told_once_and_that_of_another_start_at_once() {
    let watcher = Watcher::start().unwrap();
    let mut child = sleeper();
    let began = start_time(child.id()).unwrap();
    let (sender, ended) = channel();
    let other = sender.clone();
    let wait = watcher.on_end(child.id(), began + 1, move || other.send("other").unwrap());
    assert!(wait.is_none());
    assert_eq!(ended.recv_timeout(SOON), Ok("other"));
    let wait = watcher.on_end(child.id(), began, move || sender.send("this").unwrap());
    assert!(wait.is_some());
    child.kill().unwrap();
    assert_eq!(ended.recv_timeout(SOON), Ok("this"));
    child.wait().unwrap();
}

#[test]
fn a_wait_that_is_called_off_holds_nothing() {
    let watcher = Watcher::start().unwrap();
    let mut child = sleeper();
    let began = start_time(child.id()).unwrap();
    let held = Arc::new(());
    for _ in 0..3 {
        let holds = held.clone();
        let wait = watcher.on_end(child.id(), began, move || drop(holds));
        watcher.forget(wait.unwrap());
    }
    assert_eq!(Arc::strong_count(&held), 1);
    let (sender, ended) = channel();
    watcher.on_end(child.id(), began, move || sender.send(()).unwrap());
    child.kill().unwrap();
    assert_eq!(ended.recv_timeout(SOON), Ok(()));
    child.wait().unwrap();
}
