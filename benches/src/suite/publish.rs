//! A sandbox joins a network that one port of the host then leads to, with none, 100 and 2,000
//! ports of others published already.

use crate::{
    Result,
    dockerd::Dockerd,
    report::{Aim, OURS, Table},
    samples::Samples,
    scene::{self, Scene},
};
use vw_testkit::{Host, Lab};

pub(crate) const NAME: &str = "publish";

const ROUNDS: usize = 100;
const DOCKER_ROUNDS: usize = 20;
const FIRST: u16 = 20_000;
/// How many are published by one sandbox.
const SHARE: u16 = 500;

pub(crate) fn run() -> Result<Table> {
    let lab = Lab::new();
    let mut table = Table::new(
        NAME,
        "Publishing a port beside others (attach with one port)",
    );
    let mut ours = Scene::start(&lab, "ours")?;
    ours.network("blue", "10.99.0.0/24")?;
    let (plain, one) = (lab.host("plain"), lab.host("one"));
    ours.adopt(&plain, &["blue"])?;
    ours.adopt_publishing(&one, &["blue"], &[8080])?;
    let mut published = 0;
    let mut first: Option<Samples> = None;
    for wanted in [0, 100, 2000] {
        while published < wanted {
            let more = SHARE.min(wanted - published);
            let ports: Vec<u16> = (0..more).map(|port| FIRST + published + port).collect();
            ours.adopt_publishing(&lab.host(&format!("many{published}")), &["blue"], &ports)?;
            published += more;
        }
        let [with, without] = by_turns(&mut ours, [&one, &plain])?;
        let what = format!("{wanted} published");
        match &first {
            None => table.row(&what, OURS, "ms", &with),
            Some(first) => table.grown(&what, "ms", (&with, first), Aim::AtMost(1.2)),
        }
        table.row(&format!("{what}, attach without"), OURS, "ms", &without);
        first.get_or_insert(with);
    }
    match Dockerd::start(&lab) {
        Ok(docker) => peer(&lab, &docker, &mut table, &first.unwrap_or_default())?,
        Err(error) => table.note(format!("without Docker: {error}")),
    }
    table.note("vethwork's ratio is to none published, Docker's to vethwork's at none published");
    Ok(table)
}

/// Has each of two leave and join in turn; answers how long the joins took.
fn by_turns(ours: &mut Scene, sandboxes: [&Host; 2]) -> Result<[Samples; 2]> {
    let mut taken = [Samples::default(), Samples::default()];
    let full = scene::links(&ours.host);
    for _ in 0..ROUNDS {
        for (sandbox, taken) in sandboxes.iter().zip(&mut taken) {
            ours.client.disconnect("blue", sandbox.name())?;
            scene::settle(&ours.host, full - 1)?;
            taken.push_millis(ours.client.connect("blue", sandbox.name())?);
        }
    }
    Ok(taken)
}

/// The same with Docker; each of its ports has a proxy of its own, so 2,000 are left out.
fn peer(lab: &Lab, docker: &Dockerd, table: &mut Table, ours: &Samples) -> Result<()> {
    docker.cli(&["network", "create", "blue"]);
    docker.run(lab, "one", &["--net", "blue", "-p", "8080:80"]);
    let mut client = docker.client()?;
    for published in [0, 100] {
        if published > 0 {
            let range = format!("{FIRST}-{}:1-{published}", FIRST + published - 1);
            docker.run(lab, "many", &["--net", "blue", "-p", &range]);
        }
        let mut taken = Samples::default();
        for _ in 0..DOCKER_ROUNDS {
            client.disconnect("blue", "one")?;
            taken.push_millis(client.connect("blue", "one")?);
        }
        let what = format!("{published} published");
        table.peer(&what, &docker.name, "ms", (&taken, ours), None);
    }
    Ok(())
}
