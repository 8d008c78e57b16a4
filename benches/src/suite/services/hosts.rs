//! Services over several hosts: what a connection and a request cost by a service's address, with
//! the endpoint here and on another host, and by a published port from outside, asked on a host with
//! the endpoint and on one without; whether a connection fails while endpoints come and go on every
//! host; and what grows with the number of services, and should not.
//!
//! By hand and with nginx the same is made in the same place as ours: in a sandbox on the network,
//! whose ports the host publishes.

use super::{
    adopt_into, first_address,
    growth::joining,
    inspect,
    load::{Answering, ask_one, meanwhile},
    others::{self, NGINX, Nginx},
    ways::{self, Way},
    wide::Wide,
};
use crate::{
    Result,
    api::Client,
    report::{OURS, Table},
    samples::Samples,
    scene::Scene,
    segment::{Segment, adopt_on_wide, make_wide, until_known},
    suite::traffic::address_of,
};
use serde_json::{Map, Value, json};
use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};
use vw_testkit::{Host, Lab, poll};

pub(crate) const NAME: &str = "service-hosts";

const HOSTS: usize = 3;
/// How often an endpoint of each host comes and goes: a thousand changes and a few on all.
const CHANGES: usize = 170;
/// An endpoint is led to within this.
const SOON: Duration = Duration::from_secs(20);
/// The one whose endpoint lies on the second host, and the one of the first host.
const SERVICES: [(&str, u16); 2] = [("there", 8080), ("here", 8081)];

struct Stage {
    segment: Segment,
    scenes: Vec<Scene>,
    /// On the first host.
    near: Host,
    /// Addresses of the services, and of their endpoints.
    vips: [IpAddr; 2],
    ends: [IpAddr; 2],
    _servers: Vec<Answering>,
}

pub(crate) fn run() -> Result<Table> {
    let mut table = Table::new(NAME, "Services over several hosts, on an overlay network");
    let mut stage = Stage::set()?;
    compared(&mut stage, &mut table)?;
    changes(&mut stage, &mut table)?;
    numbers(&mut stage, &mut table)?;
    table.note("a connection: connect, one byte, close; a request: one byte there and back on a connection that stays; direct: from the first host over the same network, to the same endpoint; by hand and nginx: in a sandbox of the network on the host that is asked, which publishes its ports");
    Ok(table)
}

impl Stage {
    fn set() -> Result<Self> {
        // The last is who asks from outside.
        let segment = Segment::new(HOSTS + 1)?;
        let scenes: Result<Vec<Scene>> = (0..HOSTS).map(|host| segment.daemon(host)).collect();
        let mut scenes = scenes?;
        make_wide(&mut scenes[0])?;
        let near = segment.lab.host("near");
        adopt_on_wide(&mut scenes[0], &near)?;
        for (name, port) in SERVICES {
            let body = json!({
                "Name": name, "Network": "wide", "Drain": 2_000_000_000_i64,
                "Publish": [format!("{port}:80")],
            });
            let created = scenes[0].client.post("/vethwork/services/create", &body);
            created?;
        }
        let (mut servers, mut found) = (Vec::new(), Vec::new());
        for ((name, _), host) in SERVICES.into_iter().zip([1, 0]) {
            let end = segment.lab.host(name);
            servers.push(Answering::start(&end, 0)?);
            until_known(|| adopt_into(&mut scenes[host], &end, "wide", name))?;
            let known = || {
                let shown = inspect(&scenes[0], name).ok()?;
                let end = first_address(&shown["Endpoints"][0]["Addresses"])?;
                Some((first_address(&shown["VirtualIPs"])?, end))
            };
            found.push(poll(SOON, known).ok_or("an endpoint is not known")?);
        }
        Ok(Self {
            segment,
            scenes,
            near,
            vips: [found[0].0, found[1].0],
            ends: [found[0].1, found[1].1],
            _servers: servers,
        })
    }

    fn outside(&self) -> &Host {
        self.segment.host(HOSTS)
    }
}

fn at(addr: impl Into<IpAddr>, port: u16) -> SocketAddr {
    SocketAddr::new(addr.into(), port)
}

/// A port of the host of that number, from 0.
fn port_of(host: u8, port: u16) -> SocketAddr {
    at([192, 0, 2, host + 1], port)
}

/// What an administrator would make on a host: a sandbox on the network that leads on to endpoints,
/// its port 80 to the first and 81 to the second by a rule, and 9000 and 9001 by nginx, the first of
/// each published as 8090 and as 9000.
fn balancer(lab: &Lab, scene: &mut Scene, ends: [IpAddr; 2]) -> Result<(Host, Result<Nginx>)> {
    let sandbox = lab.host(&format!("hand-{}", scene.host.name()));
    let bound = |(host, port): (u16, u16)| {
        let binding = json!([{ "HostIp": "0.0.0.0", "HostPort": host.to_string() }]);
        (format!("{port}/tcp"), binding)
    };
    let bindings: Map<String, Value> = [(8090, 80), (9000, 9000)].map(bound).into_iter().collect();
    let body = json!({
        "Netns": sandbox.netns(), "Name": sandbox.name(), "PortBindings": bindings,
        "Networks": [{ "Network": "wide" }],
    });
    until_known(|| scene.client.post("/vethwork/adopt", &body).map(drop))?;
    others::by_hand_inside(&sandbox, &[(80, ends[0]), (81, ends[1])]);
    let ports: [(u16, &[IpAddr]); 2] = [(9000, &ends[..1]), (9001, &ends[1..])];
    let nginx = Nginx::start(lab, &sandbox, &ports);
    Ok((sandbox, nginx))
}

/// The same endpoints by every way, by turns.
fn compared(stage: &mut Stage, table: &mut Table) -> Result<()> {
    let [first, second, _] = &mut stage.scenes[..] else {
        return Err("there are three hosts".into());
    };
    let lab = &stage.segment.lab;
    let (sandbox, nginx) = balancer(lab, first, stage.ends)?;
    // The one of the second host is asked from outside alone.
    let (_other, other_nginx) = balancer(lab, second, stage.ends)?;
    let hand = address_of(&sandbox)?;
    let (near, outside) = (&stage.near, stage.outside());
    let mut ways = Vec::new();
    let by_address = [
        ("to an address, endpoint elsewhere", 0),
        ("to an address, endpoint here", 1_u16),
    ];
    for (what, which) in by_address {
        let (vip, end) = (
            stage.vips[usize::from(which)],
            stage.ends[usize::from(which)],
        );
        ways.extend([
            Way::new(what, OURS, near, at(vip, 80)),
            Way::new(what, "direct", near, at(end, 80)),
            Way::new(what, "nft numgen", near, at(hand, 80 + which)),
        ]);
        if nginx.is_ok() {
            ways.push(Way::new(what, NGINX, near, at(hand, 9000 + which)));
        }
    }
    let by_port = [
        ("to a port, host with the endpoint", 1),
        ("to a port, host without it", 0),
    ];
    for (what, host) in by_port {
        ways.extend([
            Way::new(what, OURS, outside, port_of(host, SERVICES[0].1)),
            Way::new(what, "direct", near, at(stage.ends[0], 80)),
            Way::new(what, "nft numgen", outside, port_of(host, 8090)),
        ]);
        if nginx.is_ok() && other_nginx.is_ok() {
            ways.push(Way::new(what, NGINX, outside, port_of(host, 9000)));
        }
    }
    for error in [&nginx, &other_nginx]
        .into_iter()
        .filter_map(|one| one.as_ref().err())
    {
        table.note(format!("without nginx: {error}"));
    }
    // A balancer stands a moment after its service.
    for way in &ways {
        until_known(|| way.leads())?;
    }
    ways::compare(table, ways, |_| None)
}

/// On every host an endpoint comes and goes, by turns of its own, while clients ask by the address
/// and by the port of every host.
fn changes(stage: &mut Stage, table: &mut Table) -> Result<()> {
    let (mut moving, mut servers) = (Vec::new(), Vec::new());
    for (number, scene) in (1..).zip(&mut stage.scenes) {
        let end = stage.segment.lab.host(&format!("moving{number}"));
        scene.adopt(&end, &[])?;
        servers.push(Answering::start(&end, number)?);
        moving.push((end, number));
    }
    let (near, outside) = (&stage.near, stage.segment.host(HOSTS));
    let by_vip = at(stage.vips[0], 80);
    let mut ways = vec![(near, by_vip)];
    let ports = (0..)
        .take(HOSTS)
        .map(|host| (outside, port_of(host, SERVICES[0].1)));
    ways.extend(ports);
    for (from, to) in &ways {
        until_known(|| from.enter(|| ask_one(*to).map(drop)).map_err(Into::into))?;
    }
    let clients = stage.scenes.iter_mut().map(|scene| &mut scene.client);
    let each: Vec<(&mut Client, &(Host, u8))> = clients.zip(&moving).collect();
    let (taken, meanwhile) = meanwhile(&ways, || {
        thread::scope(|scope| {
            let started: Vec<_> = each
                .into_iter()
                .map(|(client, end)| scope.spawn(|| come_and_go(client, end, (near, by_vip))))
                .collect();
            let mut all = [Samples::default(), Samples::default()];
            for one in started {
                let one = one.join().map_err(|_| "a client panicked")??;
                all.iter_mut()
                    .zip(&one)
                    .for_each(|(all, one)| all.extend(one));
            }
            Ok(all)
        })
    })?;
    let [joins, leaves] = taken;
    table.row("an endpoint joins, under load", OURS, "ms", &joins);
    table.row("an endpoint leaves, under load", OURS, "ms", &leaves);
    table.row("failed connections", OURS, "", &meanwhile.bad());
    table.note(format!(
        "{meanwhile} during {} endpoint changes on {HOSTS} hosts; who leaves waits for a second in which nothing came",
        joins.len() + leaves.len()
    ));
    Ok(())
}

/// How long each join and each leave took; between the two, the client is led there.
fn come_and_go(
    client: &mut Client,
    (end, number): &(Host, u8),
    (near, vip): (&Host, SocketAddr),
) -> Result<[Samples; 2]> {
    let mut taken = [Samples::default(), Samples::default()];
    let body = joining(end, SERVICES[0].0);
    for _ in 0..CHANGES {
        taken[0].push_millis(client.timed("/v1.41/networks/wide/connect", &body)?);
        let led = || {
            let answer = near.enter(|| ask_one(vip)).ok()?;
            (answer.1 == *number).then_some(())
        };
        poll(SOON, led).ok_or("nobody is led to an endpoint that joined")?;
        taken[1].push_millis(client.disconnect("wide", end.name())?);
    }
    Ok(taken)
}

/// With more and more services, of which every host leads to each.
fn numbers(stage: &mut Stage, table: &mut Table) -> Result<()> {
    let lab = &stage.segment.lab;
    let [guest, stays] = ["guest", "stays"].map(|name| lab.host(name));
    let [first, second, third] = &mut stage.scenes[..] else {
        return Err("there are three hosts".into());
    };
    for scene in [&mut *first, &mut *second, &mut *third] {
        scene.reconnect()?;
    }
    first.adopt(&guest, &[])?;
    second.adopt(&stays, &[])?;
    let others = ["asks2", "asks3"].map(|name| lab.host(name));
    adopt_on_wide(second, &others[0])?;
    adopt_on_wide(third, &others[1])?;
    let wide = Wide {
        near: &stage.near,
        vip: at(stage.vips[0], 80),
        end: at(stage.ends[0], 80),
        guest: &guest,
        stays: &stays,
        others: &others,
    };
    wide.measure([first, second], SERVICES.len(), table)
}
