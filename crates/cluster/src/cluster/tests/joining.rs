//! What is asked of a host that has only just started.

use super::*;
use std::sync::Condvar;
use vw_store::cluster::memory::{Call, Fate, Weather};

/// Hosts' own threads are not answered until it is over.
#[derive(Default)]
struct Slow {
    over: Mutex<bool>,
    changed: Condvar,
}

impl Weather for Slow {
    fn before(&self, _client: &str, _call: Call) -> Fate {
        let thread = std::thread::current();
        if thread
            .name()
            .is_some_and(|name| name.starts_with("cluster-"))
        {
            let over = self.over.lock().unwrap();
            drop(self.changed.wait_while(over, |over| !*over).unwrap());
        }
        Fate::Answered
    }
}

#[test]
fn what_is_asked_at_the_start_waits_until_the_host_has_joined() {
    let store = MemoryStore::new();
    let slow = Arc::new(Slow::default());
    store.set_weather(slow.clone());
    let host = Host::new(&store, 1);
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            host.cluster
                .create_network(spec("blue"), &request(&[]), &[], true)
        });
        let given_up = scope.spawn(|| host.cluster.forget("nobody"));
        stays("they wait", Duration::from_millis(100), || {
            !asked.is_finished() && !given_up.is_finished()
        });
        *slow.over.lock().unwrap() = true;
        slow.changed.notify_all();
        asked.join().unwrap().expect("a network");
        // Not that it has not joined.
        let unknown = given_up.join().unwrap().unwrap_err();
        assert_eq!(unknown.kind, Kind::NotFound, "{unknown}");
    });
}

#[test]
fn what_is_asked_at_the_start_is_refused_at_once_while_the_store_is_away() {
    let store = MemoryStore::new();
    let client = store.client("host-1");
    client.cut(true);
    let host = Host::start(client, Arc::new(Memory::new()), 1);
    let away = |delta: &Delta| matches!(delta, Delta::Store(StoreState::Away { .. }));
    eventually("it is away", SOON, || host.told.count(away) > 0);
    let began = std::time::Instant::now();
    let made = host
        .cluster
        .create_network(spec("blue"), &request(&[]), &[], true);
    assert_eq!(made.unwrap_err().kind, Kind::Unavailable);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(2), "it took {took:?}");
}
