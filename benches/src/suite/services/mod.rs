//! Services: what their address and their ports cost a connection, against none, against a rule made
//! by hand and against a proxy; with how many services; how even the spread is; and whether a
//! request fails while endpoints come and go.

mod load;
pub(crate) mod many;
mod others;

use crate::{
    Result,
    api::Client,
    report::{Aim, OURS, Table},
    samples::Samples,
    scene::{self, Scene},
};
use load::{Answering, ask_many, ask_one};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Instant,
};
use vw_testkit::{Host, Lab};

pub(crate) const NAME: &str = "services";

/// Rounds by turns, and connections a round.
const ROUNDS: usize = 20;
const CONNECTIONS: usize = 200;
/// Connections whose spread is looked at.
const SPREAD: usize = 100_000;
const CHANGES: usize = 1000;
/// Endpoints that come and go.
const MOVING: usize = 4;
const ENDPOINTS: usize = 3;
const STARTS: usize = 3;

/// What asks, what is asked, and the daemon between.
struct Stage {
    scene: Scene,
    near: Host,
    outside: Host,
    ends: Vec<Host>,
    addresses: Vec<IpAddr>,
    vip: IpAddr,
    _servers: Vec<Answering>,
}

pub(crate) fn run() -> Result<Table> {
    let lab = Lab::new();
    let mut stage = Stage::set(&lab)?;
    let mut table = Table::new(
        NAME,
        "Services: connections by an address or a port of theirs",
    );
    compared(&lab, &stage, &mut table)?;
    spread(&stage, &mut table)?;
    changes(&lab, &mut stage, &mut table)?;
    numbers(&mut stage, &mut table)?;
    table.note("a connection: connect, one byte, close; direct, by hand and nginx lead to the same endpoints, and pass the same host");
    Ok(table)
}

impl Stage {
    fn set(lab: &Lab) -> Result<Self> {
        let mut scene = Scene::start(lab, "ours")?;
        let outside = lab.host("outside");
        lab.link(&scene.host, "wire", &outside, "wire");
        scene.host.ip("addr add 192.0.2.1/24 dev wire");
        outside.ip("addr add 192.0.2.2/24 dev wire");
        scene.network("blue", "10.99.0.0/16")?;
        let near = lab.host("near");
        scene.adopt(&near, &["blue"])?;
        let body = json!({ "Name": "web", "Network": "blue", "Publish": ["8080:80"], "Drain": 2_000_000_000_i64 });
        scene.client.post("/vethwork/services/create", &body)?;
        let ends: Vec<Host> = (0..ENDPOINTS)
            .map(|number| lab.host(&format!("end{number}")))
            .collect();
        for end in &ends {
            join(&mut scene, end)?;
        }
        let answering = ends
            .iter()
            .zip(0..)
            .map(|(end, number)| Answering::start(end, number));
        let servers: Vec<Answering> = answering.collect::<std::io::Result<_>>()?;
        let web = inspect(&scene)?;
        let vip = first_address(&web["VirtualIPs"]).ok_or("no virtual address")?;
        let listed = web["Endpoints"].as_array().cloned().unwrap_or_default();
        let of = |end: &Host| {
            let found = listed.iter().find(|one| one["Name"] == end.name());
            found.and_then(|one| first_address(&one["Addresses"]))
        };
        let addresses: Option<Vec<IpAddr>> = ends.iter().map(of).collect();
        Ok(Self {
            scene,
            near,
            outside,
            addresses: addresses.ok_or("an endpoint has no address")?,
            ends,
            vip,
            _servers: servers,
        })
    }

    fn by_vip(&self) -> SocketAddr {
        SocketAddr::new(self.vip, 80)
    }
}

fn first_address(list: &Value) -> Option<IpAddr> {
    list[0].as_str()?.split('/').next()?.parse().ok()
}

fn inspect(scene: &Scene) -> Result<Value> {
    let shown = scene.daemon.cli(["service", "inspect", "web"]).ok();
    let mut shown: Value = serde_json::from_str(&shown)?;
    Ok(shown[0].take())
}

fn join(scene: &mut Scene, end: &Host) -> Result<()> {
    let body = json!({
        "Netns": end.netns(), "Name": end.name(), "Networks": [{ "Network": "blue" }],
        "Labels": { "vethwork.service": "web" },
    });
    scene.client.post("/vethwork/adopt", &body).map(drop)
}

/// The same endpoints by every way, by turns.
fn compared(lab: &Lab, stage: &Stage, table: &mut Table) -> Result<()> {
    let direct = SocketAddr::new(stage.addresses[0], 80);
    let by_hand = others::by_hand(&stage.scene.host, &stage.addresses)?;
    let port: SocketAddr = "192.0.2.1:8080".parse()?;
    let mut ways = vec![
        ("to an address", "direct", &stage.near, direct),
        ("to an address", OURS, &stage.near, stage.by_vip()),
        ("to an address", "nft numgen", &stage.near, by_hand),
        ("to a port, from outside", OURS, &stage.outside, port),
    ];
    let nginx = others::Nginx::start(lab, &stage.scene.host, &stage.addresses);
    match &nginx {
        Ok(_) => {
            ways.push((
                "to an address",
                "nginx stream",
                &stage.near,
                "10.99.0.1:9000".parse()?,
            ));
            ways.push((
                "to a port, from outside",
                "nginx stream",
                &stage.outside,
                "192.0.2.1:9000".parse()?,
            ));
        }
        Err(error) => table.note(format!("without nginx: {error}")),
    }
    let mut taken = vec![Samples::default(); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, _, from, to), taken) in ways.iter().zip(&mut taken) {
            taken.extend(&ask_many(from, *to, CONNECTIONS)?);
        }
    }
    for (what, of) in [("to an address", 1), ("to a port, from outside", 3)] {
        table.row(what, OURS, "us", &taken[of]);
        for (at, (kind, who, ..)) in ways.iter().enumerate() {
            if *kind == what && at != of {
                let aim = (*who == "nft numgen").then_some(Aim::AtMost(1.1));
                table.peer(what, who, "us", (&taken[at], &taken[of]), aim);
            }
        }
    }
    others::end_by_hand(&stage.scene.host);
    Ok(())
}

/// Pearson's chi-squared of many connections over the endpoints.
fn spread(stage: &Stage, table: &mut Table) -> Result<()> {
    let mut counts = [0_usize; ENDPOINTS];
    let to = stage.by_vip();
    let counted = stage.near.enter(|| -> Result<()> {
        for _ in 0..SPREAD {
            counts[usize::from(ask_one(to)?.1)] += 1;
        }
        Ok(())
    });
    counted?;
    let expected = SPREAD as f64 / ENDPOINTS as f64;
    let value: f64 = counts
        .iter()
        .map(|count| (*count as f64 - expected).powi(2) / expected)
        .sum();
    table.row(
        "chi-squared of 100,000",
        OURS,
        "",
        &Samples::from_iter([value]),
    );
    table.note(format!("{counts:?} of {SPREAD} connections; chi-squared of two degrees of freedom exceeds 9.2 once in a hundred even spreads"));
    Ok(())
}

/// Endpoints come and go under load; what fails is counted.
fn changes(lab: &Lab, stage: &mut Stage, table: &mut Table) -> Result<()> {
    let moving: Vec<Host> = (0..MOVING)
        .map(|number| lab.host(&format!("moving{number}")))
        .collect();
    stage.scene.network("green", "10.98.0.0/16")?;
    let mut servers = Vec::new();
    for end in &moving {
        stage.scene.adopt(end, &["green"])?;
        servers.push(Answering::start(end, 0)?);
    }
    let (done, asked, failed) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let port: SocketAddr = "192.0.2.1:8080".parse()?;
    let ways = [(&stage.near, stage.by_vip()), (&stage.outside, port)];
    let client = &mut stage.scene.client;
    let taken = thread::scope(|scope| {
        for (from, to) in ways {
            let (done, asked, failed) = (&done, &asked, &failed);
            scope.spawn(move || {
                from.enter(|| {
                    while !done.load(Ordering::Relaxed) {
                        asked.fetch_add(1, Ordering::Relaxed);
                        failed.fetch_add(usize::from(ask_one(to).is_err()), Ordering::Relaxed);
                    }
                });
            });
        }
        let taken = come_and_go(client, &moving);
        done.store(true, Ordering::Relaxed);
        taken
    })?;
    let (asked, failed) = (asked.into_inner(), failed.into_inner());
    table.row("an endpoint comes or goes, under load", OURS, "ms", &taken);
    table.row(
        "failed requests",
        OURS,
        "",
        &Samples::from_iter([failed as f64]),
    );
    table.note(format!(
        "{failed} of {asked} requests failed during {} endpoint changes",
        taken.len()
    ));
    Ok(())
}

/// How long each change took.
fn come_and_go(client: &mut Client, moving: &[Host]) -> Result<Samples> {
    let mut taken = Samples::default();
    for _ in 0..CHANGES / MOVING / 2 {
        for end in moving {
            taken.push_millis(client.timed("/v1.41/networks/blue/connect", &joining(end))?);
        }
        for end in moving {
            taken.push_millis(client.disconnect("blue", end.name())?);
        }
    }
    Ok(taken)
}

fn joining(end: &Host) -> Value {
    json!({
        "Container": end.name(),
        "EndpointConfig": { "DriverOpts": { "vethwork.service": "web" } },
    })
}

/// With more and more services: a connection, beside a direct one by turns, and an endpoint that
/// joins.
fn numbers(stage: &mut Stage, table: &mut Table) -> Result<()> {
    let mut first: Option<Samples> = None;
    let mut services = 1;
    for wanted in [10, 100, 1000, 10_000] {
        while services < wanted {
            let body = json!({ "Name": format!("s{services}"), "Network": "blue" });
            stage
                .scene
                .client
                .post("/vethwork/services/create", &body)?;
            services += 1;
        }
        let [connections, direct, joins] = with_so_many(stage)?;
        let what = format!("a connection, {wanted} services");
        table.row(&what, OURS, "us", &connections);
        table.peer(&what, "direct", "us", (&direct, &connections), None);
        let what = format!("an endpoint joins, {wanted} services");
        match &first {
            None => table.row(&what, OURS, "ms", &joins),
            Some(first) => table.grown(&what, "ms", (&joins, first), Aim::AtMost(1.1)),
        }
        first.get_or_insert(joins);
        if wanted >= 1000 {
            let starts = starts(&mut stage.scene)?;
            table.row(
                &format!("start with {wanted} services"),
                OURS,
                "ms",
                &starts,
            );
        }
    }
    table.note("connections with many services: the ratio to direct ones must not grow by a tenth");
    Ok(())
}

fn with_so_many(stage: &mut Stage) -> Result<[Samples; 3]> {
    let [mut connections, mut direct, mut joins] = [(); 3].map(|()| Samples::default());
    let straight = SocketAddr::new(stage.addresses[0], 80);
    let by_vip = stage.by_vip();
    for _ in 0..ROUNDS {
        connections.extend(&ask_many(&stage.near, by_vip, CONNECTIONS)?);
        direct.extend(&ask_many(&stage.near, straight, CONNECTIONS)?);
        let end = &stage.ends[ENDPOINTS - 1];
        let client = &mut stage.scene.client;
        let full = scene::links(&stage.scene.host);
        client.disconnect("blue", end.name())?;
        scene::settle(&stage.scene.host, full - 1)?;
        joins.push_millis(client.timed("/v1.41/networks/blue/connect", &joining(end))?);
    }
    Ok([connections, direct, joins])
}

/// From the start of a daemon that was killed until its API answers.
fn starts(scene: &mut Scene) -> Result<Samples> {
    let mut taken = Samples::default();
    for _ in 0..STARTS {
        scene.daemon.kill9();
        let began = Instant::now();
        scene.daemon.restart();
        taken.push_millis(began.elapsed());
    }
    scene.client = Client::open(&scene.daemon.socket())?;
    Ok(taken)
}
