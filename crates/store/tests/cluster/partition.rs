//! Stores on hosts of a laboratory: a member that its peers cannot reach any more, while the
//! hosts of the cluster can; and addresses of IPv6.

use super::{faults, replay::Replay};
use std::{sync::Arc, time::Duration};
use vw_store::cluster::ClusterStore;
use vw_testkit::{Host, Lab, cluster_stores::Place, require_programs, require_root};

/// Less than the time after which a silent stream is begun anew.
const SOON: Duration = Duration::from_secs(30);

/// Three members, and the host that asks them.
struct Scene {
    members: [Host; 3],
    client: Host,
    places: Vec<Place>,
}

impl Scene {
    fn new(lab: &Lab) -> Self {
        let [a, b, c, client] = ["a", "b", "c", "client"].map(|name| lab.host(name));
        lab.lan(
            "switch",
            &[
                (&a, "eth0", &["192.0.2.1/24"]),
                (&b, "eth0", &["192.0.2.2/24"]),
                (&c, "eth0", &["192.0.2.3/24"]),
                (&client, "eth0", &["192.0.2.4/24"]),
            ],
        );
        let members = [a, b, c];
        let places = members.iter().zip(1..);
        Self {
            places: places
                .map(|(host, number)| Place::host(host, &format!("192.0.2.{number}")))
                .collect(),
            members,
            client,
        }
    }

    /// Goes on by the other members when the first is cut off.
    fn goes_on(&self, open: impl FnOnce() -> Arc<dyn ClusterStore> + Send) {
        let first = &self.members[0];
        self.client.enter(|| {
            faults::member_lost(&*open(), || {
                first
                    .sh("nft add table inet cut; \
                         nft 'add chain inet cut in { type filter hook input priority 0; }'; \
                         nft add rule inet cut in ip saddr '{ 192.0.2.2, 192.0.2.3 }' drop")
                    .must();
            });
        });
    }
}

#[cfg(feature = "etcd")]
#[test]
fn etcd_goes_on_without_a_member_that_is_cut_off() {
    require_root!();
    require_programs!("etcd", "etcdctl", "nft");
    let lab = Lab::new();
    let scene = Scene::new(&lab);
    let etcd = vw_testkit::cluster_stores::Etcd::start(&lab, &scene.places);
    scene.goes_on(|| faults::open(&etcd.url(), &[]));
}

#[cfg(feature = "etcd")]
#[test]
fn a_watch_of_a_server_that_was_started_anew_while_it_was_cut_off_goes_on_soon() {
    require_root!();
    require_programs!("etcd", "etcdctl", "nft");
    let lab = Lab::new();
    let scene = Scene::new(&lab);
    let mut etcd = vw_testkit::cluster_stores::Etcd::start(&lab, &scene.places[..1]);
    let server = &scene.members[0];
    // Its kernel says for long that a connection is over.
    server.sh("sysctl -w net.ipv4.tcp_orphan_retries=1").must();
    let store = scene.client.enter(|| faults::open(&etcd.url(), &[]));
    let mut replay = scene.client.enter(|| {
        faults::make(&*store, "anew/a");
        let mut replay = Replay::follow(&*store, "anew");
        replay.step().expect("nothing was missed");
        replay
    });
    server
        .sh("nft add table inet cut; \
             nft 'add chain inet cut in { type filter hook input priority 0; }'; \
             nft 'add chain inet cut out { type filter hook output priority 0; }'; \
             nft add rule inet cut in ip saddr 192.0.2.4 drop; \
             nft add rule inet cut out ip daddr 192.0.2.4 drop")
        .must();
    etcd.kill(0);
    let known = || {
        let left = server.sh("ss -Htan state all dst 192.0.2.4").stdout;
        !left.trim().is_empty()
    };
    vw_testkit::eventually("its connections are over", SOON, || !known());
    etcd.restart(0);
    server.sh("nft delete table inet cut").must();
    etcd.wait();
    scene.client.enter(|| {
        faults::make(&*faults::open(&etcd.url(), &[]), "anew/b");
        // A stream that is silent is begun anew only after a minute.
        let told = vw_testkit::poll(SOON, || {
            replay.step().expect("nothing was missed");
            replay.value("anew/b").map(|_| ())
        });
        assert!(told.is_some());
    });
}

#[cfg(feature = "consul")]
#[test]
fn consul_goes_on_without_a_server_that_is_cut_off() {
    require_root!();
    require_programs!("consul", "nft");
    let lab = Lab::new();
    let scene = Scene::new(&lab);
    let consul = vw_testkit::cluster_stores::Consul::start(&lab, &scene.places);
    scene.goes_on(|| faults::open(&consul.url(), &[]));
}

#[cfg(feature = "zookeeper")]
#[test]
fn zookeeper_goes_on_without_a_server_that_is_cut_off() {
    use vw_testkit::cluster_stores::ZooKeeper;
    require_root!();
    require_programs!("java", "nft");
    vw_testkit::require!(
        ZooKeeper::is_installed(),
        "needs the classes of zookeeper: run `scripts/install-deps`"
    );
    let lab = Lab::new();
    let scene = Scene::new(&lab);
    let zookeeper = ZooKeeper::start(&lab, &scene.places);
    scene.goes_on(|| faults::open(&zookeeper.url(), &[]));
}

#[cfg(all(feature = "etcd", feature = "consul", feature = "zookeeper"))]
#[test]
fn every_store_is_reached_over_ipv6() {
    use vw_testkit::cluster_stores::{Consul, Etcd, ZooKeeper};
    require_root!();
    require_programs!("etcd", "etcdctl", "consul", "java");
    vw_testkit::require!(
        ZooKeeper::is_installed(),
        "needs the classes of zookeeper: run `scripts/install-deps`"
    );
    let lab = Lab::new();
    let host = lab.host("a");
    host.ip("addr add 2001:db8::1/64 dev lo nodad");
    let places = [Place::host(&host, "2001:db8::1")];
    let (etcd, consul, zookeeper) = (
        Etcd::start(&lab, &places),
        Consul::start(&lab, &places),
        ZooKeeper::start(&lab, &places),
    );
    for url in [etcd.url(), consul.url(), zookeeper.url()] {
        assert!(url.contains("://[2001:db8::1]:"), "{url}");
        host.enter(|| faults::make(&*faults::open(&url, &[]), "ipv6/a"));
    }
}
