//! What a host's death costs one that leads to its endpoints: a thousand services over ten overlay
//! networks, with an endpoint each on two hosts, of which one dies; a third one asks.

use super::{
    adopt_into, first_address,
    growth::joining,
    load::{Answering, ask_one, open},
};
use crate::{
    Result, machine,
    report::{OURS, Table},
    samples::Samples,
    scene::Scene,
    segment::{Segment, until_known},
};
use serde_json::json;
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};
use vw_testkit::{Host, poll};

pub(crate) const NAME: &str = "host-death";

const NETWORKS: usize = 10;
const SERVICES: usize = 1000;
/// On each host that has endpoints: one on every network.
const SANDBOXES: usize = SERVICES / NETWORKS;
/// How many of them are asked: one kernel, which all hosts are of here, has room for a thousand neighbours
/// by default (`gc_thresh3`). Of the connections that are open when the host dies about half are to its
/// endpoints.
const ASKED: usize = 100;
/// A lease lasts less, and nothing takes longer.
const LONGEST: Duration = Duration::from_secs(60);
/// So often in a row nobody is led to the dead: each time half would be.
const ROW: usize = 12;

/// By which numbers endpoints answer.
const LIVES: u8 = 1;
const DIES: u8 = 2;

pub(crate) fn run() -> Result<Table> {
    let mut table = Table::new(NAME, "A host dies on which 1,000 services have an endpoint");
    let segment = Segment::new(3)?;
    let scenes: Result<Vec<Scene>> = (0..3).map(|host| segment.daemon(host)).collect();
    let mut scenes = scenes?;
    let near = segment.lab.host("near");
    let _servers = populate(&segment, &mut scenes, &near)?;
    let asking = &scenes[0];
    let (vips, dead) = known(asking)?;
    let asked: Vec<SocketAddr> = vips.iter().step_by(SERVICES / ASKED).copied().collect();
    let mut talks = Vec::new();
    for vip in &asked {
        // Neighbours may be told a moment after the rules.
        until_known(|| {
            talks.push(near.enter(|| open(*vip))?);
            Ok(())
        })?;
    }
    let before = machine::busy(asking.daemon.pid())?;
    // Its machine goes dark.
    segment.host(2).ip("link set eth0 down");
    let died = Instant::now();
    let is_dead = || is_dead(asking).then_some(());
    poll(LONGEST, is_dead).ok_or("its lease does not end")?;
    let over = Instant::now();
    let right = || led_to(asking).is_disjoint(&dead).then_some(());
    poll(LONGEST, right).ok_or("what is dead is led to for good")?;
    let seconds = |time: Duration| Samples::from_iter([time.as_secs_f64()]);
    let right = seconds(over.elapsed());
    let used = machine::busy(asking.daemon.pid())?.saturating_sub(before);
    table.row("taken for dead after", OURS, "s", &seconds(over - died));
    table.row("and no rule leads there after", OURS, "s", &right);
    table.row("processor time of who leads", OURS, "s", &seconds(used));
    for vip in &asked {
        for _ in 0..ROW {
            let (_, number) = near.enter(|| ask_one(*vip))?;
            if number != LIVES {
                return Err(format!("{vip} leads to {number}").into());
            }
        }
    }
    let living = talks.iter_mut().filter(|(_, number)| *number == LIVES);
    let (mut all, mut broken) = (0, 0);
    for (stream, _) in living {
        all += 1;
        broken += usize::from(!goes_on(stream));
    }
    table.note(format!(
        "{broken} of {all} open connections to living endpoints broke, and none of {} new ones failed or was led to the dead; {SERVICES} services on {NETWORKS} networks with an endpoint each on the host that dies and on another",
        asked.len() * ROW
    ));
    Ok(table)
}

/// Makes networks and services, and has every service have an endpoint on either of two hosts.
fn populate(segment: &Segment, scenes: &mut [Scene], near: &Host) -> Result<Vec<Answering>> {
    let [asks, others @ ..] = scenes else {
        return Err("there are three hosts".into());
    };
    let networks: Vec<String> = (0..NETWORKS).map(|number| format!("net{number}")).collect();
    for (number, name) in networks.iter().enumerate() {
        let body = json!({
            "Name": name, "Driver": "overlay", "Attachable": true,
            "IPAM": { "Config": [{ "Subnet": format!("10.{}.0.0/16", 90 + number) }] },
        });
        until_known(|| asks.client.post("/v1.41/networks/create", &body).map(drop))?;
        for service in 0..SANDBOXES {
            let body = json!({ "Name": format!("{name}-{service}"), "Network": name, "Drain": 0 });
            asks.client.post("/vethwork/services/create", &body)?;
        }
    }
    let on: Vec<&str> = networks.iter().map(String::as_str).collect();
    asks.adopt(near, &on)?;
    let mut servers = Vec::new();
    for (scene, number) in others.iter_mut().zip([LIVES, DIES]) {
        for at in 0..SANDBOXES {
            let end = segment.lab.host(&format!("{}{at}", end_name(number)));
            servers.push(Answering::start(&end, number)?);
            let service = format!("{}-{at}", on[0]);
            until_known(|| adopt_into(scene, &end, on[0], &service))?;
            for network in &on[1..] {
                let body = joining(&end, &format!("{network}-{at}"));
                let path = format!("/v1.41/networks/{network}/connect");
                until_known(|| scene.client.post(&path, &body).map(drop))?;
            }
        }
    }
    Ok(servers)
}

/// The services' addresses, and those of the endpoints on the host that dies, once all are known.
fn known(scene: &Scene) -> Result<(Vec<SocketAddr>, BTreeSet<IpAddr>)> {
    let found = || {
        let shown = scene.daemon.api("GET", "/vethwork/services", None).json();
        let services = shown.as_array()?;
        let (mut vips, mut dead) = (Vec::new(), BTreeSet::new());
        for service in services {
            vips.push(SocketAddr::new(first_address(&service["VirtualIPs"])?, 80));
            let ends = service["Endpoints"].as_array()?;
            // Hosts of one machine have one name.
            let dies = |name: &str| name.starts_with(&end_name(DIES));
            let there = ends
                .iter()
                .filter(|end| end["Name"].as_str().is_some_and(dies));
            dead.extend(there.filter_map(|end| first_address(&end["Addresses"])));
        }
        let all = services.len() == SERVICES && dead.len() == SERVICES;
        (all && dead.is_subset(&led_to(scene))).then_some((vips, dead))
    };
    poll(LONGEST, found).ok_or_else(|| "not all endpoints are known".into())
}

/// The addresses that rules of a host lead to.
fn led_to(scene: &Scene) -> BTreeSet<IpAddr> {
    let netns = scene.daemon.exec_root().join("netns");
    let list = format!(
        "for net in {}/*; do nsenter --net=$net nft list table inet vethwork_services 2>/dev/null || true; done",
        netns.display()
    );
    let rules = scene.host.sh(&list).stdout;
    let words = rules.split(|c: char| !c.is_ascii_digit() && c != '.');
    words.filter_map(|word| word.parse().ok()).collect()
}

/// How the names of sandboxes begin that answer by a number.
fn end_name(number: u8) -> String {
    format!("end{number}-")
}

fn is_dead(scene: &Scene) -> bool {
    let status = scene.daemon.api("GET", "/vethwork/cluster", None).json();
    let hosts = status["Hosts"].as_array();
    let mut hosts = hosts.into_iter().flatten();
    hosts.any(|host| host["Alive"] == false)
}

fn goes_on(stream: &mut TcpStream) -> bool {
    let mut byte = [7];
    stream.write_all(&byte).is_ok() && stream.read_exact(&mut byte).is_ok()
}
