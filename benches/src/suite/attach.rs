//! A running sandbox joins and leaves a network, through the API.
//!
//! Docker's container is on another network besides, as a container of Docker's must be; its
//! default route stays where it is, which saves Docker time.

use crate::{
    Result,
    bare::Bare,
    dockerd::Dockerd,
    report::{Aim, OURS, Table},
    samples::Samples,
    scene::{self, Scene, timed},
};
use std::time::Duration;
use vw_testkit::Lab;

pub(crate) const NAME: &str = "attach";

const ROUNDS: usize = 200;
/// Docker takes a hundred times as long; its p99 needs no more.
const DOCKER_EVERY: usize = 2;

/// What one of those compared took.
#[derive(Default)]
struct Taken {
    attach: Samples,
    detach: Samples,
}

impl Taken {
    fn push(&mut self, attach: Duration, detach: Duration) {
        self.attach.push_millis(attach);
        self.detach.push_millis(detach);
    }
}

pub(crate) fn run() -> Result<Table> {
    let lab = Lab::new();
    let mut ours = Scene::start(&lab, "ours")?;
    let sandbox = lab.host("sandbox");
    ours.network("blue", "10.99.0.0/24")?;
    ours.adopt(&sandbox, &[])?;
    let (near, far) = (lab.host("bare"), lab.host("inside"));
    let bare = Bare::open(&near, &far)?;
    let mut table = Table::new(
        NAME,
        "Attach and detach of a running sandbox through the API",
    );
    let docker = Dockerd::start(&lab);
    let mut peer = match &docker {
        Ok(docker) => {
            docker.cli(&["network", "create", "base"]);
            docker.cli(&["network", "create", "blue"]);
            docker.run(&lab, "sandbox", &["--net", "base"]);
            Some((docker, docker.client()?))
        }
        Err(error) => {
            table.note(format!("without Docker: {error}"));
            None
        }
    };
    let empty = scene::links(&ours.host);
    // The first makes what stays, such as the sandbox's resolver.
    ours.client.connect("blue", "sandbox")?;
    ours.client.disconnect("blue", "sandbox")?;
    let [mut mine, mut floor, mut dockers] = [(); 3].map(|()| Taken::default());
    for round in 0..ROUNDS {
        scene::settle(&ours.host, empty)?;
        let attach = ours.client.connect("blue", "sandbox")?;
        mine.push(attach, ours.client.disconnect("blue", "sandbox")?);
        scene::settle(&ours.host, empty)?;
        floor.push(timed(|| bare.attach())?, timed(|| bare.detach())?);
        if let Some((_, client)) = &mut peer
            && round % DOCKER_EVERY == 0
        {
            let attach = client.connect("blue", "sandbox")?;
            dockers.push(attach, client.disconnect("blue", "sandbox")?);
        }
    }
    let peer = peer.map(|(docker, _)| (docker.name.as_str(), &dockers));
    show(&mut table, &mine, &floor, peer);
    table.note("bare: veth pair, address, default route; no engine, no API, no lease, no name");
    Ok(table)
}

fn show(table: &mut Table, mine: &Taken, floor: &Taken, docker: Option<(&str, &Taken)>) {
    type Part = fn(&Taken) -> &Samples;
    let parts: [(&str, Part, Option<Aim>); 2] = [
        ("attach", |taken| &taken.attach, Some(Aim::AtMost(2.0))),
        ("detach", |taken| &taken.detach, None),
    ];
    for (what, of, aim) in parts {
        table.row(what, OURS, "ms", of(mine));
        table.rounds(what, "bare netlink", "ms", (of(floor), of(mine)), aim);
        if let Some((name, taken)) = docker {
            table.peer(what, name, "ms", (of(taken), of(mine)), Aim::AtMost(0.1));
        }
    }
}
