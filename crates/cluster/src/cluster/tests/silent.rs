//! A store that is connected and does not answer: who waits behind whoever asks it.

use super::*;
use std::{sync::Condvar, thread};
use vw_model::Error;
use vw_store::cluster::memory::{Call, Fate, Weather};

/// Lets whoever asks wait.
#[derive(Default)]
struct Silence {
    silent: Mutex<bool>,
    changed: Condvar,
}

impl Silence {
    fn set(&self, silent: bool) {
        *self.silent.lock().unwrap() = silent;
        self.changed.notify_all();
    }
}

impl Weather for Silence {
    fn before(&self, _: &str, _: Call) -> Fate {
        let silent = self.silent.lock().unwrap();
        drop(self.changed.wait_while(silent, |silent| *silent).unwrap());
        Fate::Answered
    }
}

/// A host of so much patience, with a network of which it has a block and one of which it has none.
fn host(patience: Duration) -> (Host, Arc<Silence>, NetworkId, NetworkId) {
    let store = MemoryStore::new();
    let host = Host::patient(patience, store.client("host-1"), 1);
    let (blue, red) = (host.create("blue").id, host.create("red").id);
    host.connect(blue, "one");
    // What it holds is known to be its own: else it waits to know it.
    let known = || host.cluster.core.state().is_compared(blue);
    eventually("all is compared", SOON, known);
    let silence = Arc::new(Silence::default());
    store.set_weather(silence.clone());
    (host, silence, blue, red)
}

fn lease(cluster: &Cluster, network: NetworkId) -> Result<IpNet, Error> {
    let endpoint = EndpointId::from_bytes(random());
    cluster.lease(network, Family::V4, None, endpoint)
}

/// Leases of a network on another thread.
fn leasing(host: &Host, network: NetworkId) -> thread::JoinHandle<Result<IpNet, Error>> {
    let cluster = host.cluster.clone();
    thread::spawn(move || lease(&cluster, network))
}

/// Has one ask the store in vain, by whoever it is of this host.
fn ask_in_vain(host: &Host, silence: &Silence, of: NetworkId) -> thread::JoinHandle<()> {
    silence.set(true);
    let asks = leasing(host, of);
    let taken = || host.cluster.core.state().turns.taken;
    eventually("somebody asks", SOON, taken);
    // Whatever it is told once the store answers.
    thread::spawn(move || drop(asks.join().unwrap()))
}

#[test]
fn who_would_wait_behind_one_that_asks_a_silent_store_is_told_so_soon() {
    let (host, silence, blue, red) = host(Duration::from_secs(3));
    let asks = ask_in_vain(&host, &silence, red);
    let error = lease(&host.cluster, red).unwrap_err();
    assert_eq!(error.reason, "cluster-store-unavailable", "{error}");
    assert!(error.message.contains("no answer for"), "{error}");
    // Known by now.
    let start = std::time::Instant::now();
    let error = lease(&host.cluster, red).unwrap_err();
    assert_eq!(error.reason, "cluster-store-unavailable", "{error}");
    assert!(start.elapsed() < Duration::from_secs(1), "it waited");
    lease(&host.cluster, blue).expect("there is room in its own block");
    silence.set(false);
    asks.join().unwrap();
    eventually("the store is asked again", SOON, || {
        lease(&host.cluster, red).is_ok()
    });
}

#[test]
fn an_address_that_comes_free_here_is_taken_while_another_asks_a_silent_store() {
    let (host, silence, blue, red) = host(Duration::from_secs(60));
    let asks = ask_in_vain(&host, &silence, red);
    let last = EndpointId::from_bytes(random());
    let mut had = host.lease(blue, last);
    while let Some(more) = room(&host, blue, last) {
        had = more;
    }
    let waits = leasing(&host, blue);
    stays("there is no room", Duration::from_millis(300), || {
        !waits.is_finished()
    });
    host.cluster.release(blue, had.addr(), last);
    let got = waits.join().unwrap();
    silence.set(false);
    assert_eq!(got.expect("it came free"), had);
    asks.join().unwrap();
}

/// Takes an address of its own block, while there are any.
fn room(host: &Host, network: NetworkId, holder: EndpointId) -> Option<IpNet> {
    let mut state = host.cluster.core.state();
    let held = state.holdings.0.get_mut(&network)?;
    held.take_first(Family::V4, holder)
}
