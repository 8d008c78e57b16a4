//! What the daemons keep in memory: without anything, and with 100 endpoints.

use crate::{
    Result,
    dockerd::Dockerd,
    machine::resident,
    report::{OURS, Table},
    samples::Samples,
    scene::Scene,
};
use vw_testkit::Lab;

pub(crate) const NAME: &str = "memory";

const ENDPOINTS: usize = 100;

pub(crate) fn run() -> Result<Table> {
    let lab = Lab::new();
    let mut table = Table::new(NAME, "Resident memory of the daemon");
    let mut ours = Scene::start(&lab, "ours")?;
    ours.network("blue", "10.99.0.0/16")?;
    let idle = now(&[ours.daemon.pid()])?;
    for number in 0..ENDPOINTS {
        ours.adopt(&lab.host(&format!("box{number}")), &["blue"])?;
    }
    let full = now(&[ours.daemon.pid()])?;
    let docker = match Dockerd::start(&lab) {
        Ok(docker) => docker,
        Err(error) => {
            table.row("idle", OURS, "MiB", &idle);
            table.row("100 endpoints", OURS, "MiB", &full);
            table.note(format!("without Docker: {error}"));
            return Ok(table);
        }
    };
    docker.cli(&["network", "create", "blue"]);
    let (name, both) = (&docker.name, format!("{} + containerd", docker.name));
    let idle_docker = [now(&[docker.pid()])?, now(&docker.daemons()?)?];
    for number in 0..ENDPOINTS {
        docker.run(&lab, &format!("box{number}"), &["--net", "blue"]);
    }
    let full_docker = [now(&[docker.pid()])?, now(&docker.daemons()?)?];
    for (what, mine, [alone, with]) in [
        ("idle", idle, idle_docker),
        ("100 endpoints", full, full_docker),
    ] {
        table.row(what, OURS, "MiB", &mine);
        table.peer(what, name, "MiB", (&alone, &mine), None);
        table.peer(what, &both, "MiB", (&with, &mine), None);
    }
    table.note("100 adopted sandboxes here, 100 containers there; shims and programs not counted");
    Ok(table)
}

/// What processes keep in memory together.
fn now(processes: &[u32]) -> Result<Samples> {
    let each = processes.iter().map(|&pid| resident(pid));
    let total: f64 = each.sum::<std::io::Result<f64>>()?;
    Ok([total].into_iter().collect())
}
