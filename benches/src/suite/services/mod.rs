//! Services: what their address and their ports cost a connection and a request, against none,
//! against a rule made by hand and against a proxy; with how many services; how even the spread is;
//! and whether a request fails while endpoints come and go.

pub(crate) mod death;
mod growth;
pub(crate) mod hosts;
mod load;
pub(crate) mod many;
mod others;
mod ways;
mod wide;

use crate::{
    Result,
    api::Client,
    bare::Bare,
    report::{Aim, OURS, Table},
    samples::Samples,
    scene::Scene,
};
use growth::{Growth, joining};
use load::{Answering, ask_one, meanwhile};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use vw_testkit::{Host, Lab};
use ways::Way;

pub(crate) const NAME: &str = "services";

/// Connections whose spread is looked at.
const SPREAD: usize = 100_000;
const CHANGES: usize = 1000;
/// Endpoints that come and go.
const MOVING: usize = 4;
const ENDPOINTS: usize = 3;
/// The service that is asked by its port.
const FRONT: &str = "front";
/// How many services there are in all, one after the other.
const NUMBERS: [usize; 4] = [10, 100, 1000, 10_000];

/// What asks, what is asked, and the daemon between.
struct Stage {
    scene: Scene,
    near: Host,
    outside: Host,
    addresses: Vec<IpAddr>,
    vip: IpAddr,
    /// Endpoints that can be reached from outside by their own addresses too.
    open: Vec<IpAddr>,
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
    numbers(&lab, &mut stage, &mut table)?;
    table.note("a connection: connect, one byte, close; a request: one byte there and back on a connection that stays; direct, by hand and nginx lead to the same endpoints, and pass the same host; what is asked by a port is on a network with nat-unprotected, whose endpoints are reached directly from outside as well; over IPv6 to endpoints without it the host translates");
    Ok(table)
}

impl Stage {
    fn set(lab: &Lab) -> Result<Self> {
        let mut scene = Scene::start(lab, "ours")?;
        let outside = lab.host("outside");
        lab.link(&scene.host, "wire", &outside, "wire");
        for (end, number) in [(&scene.host, 1), (&outside, 2)] {
            end.ip(&format!("addr add 192.0.2.{number}/24 dev wire"));
            end.ip(&format!("addr add 2001:db8::{number}/64 dev wire nodad"));
        }
        scene.network("blue", "10.99.0.0/16")?;
        let near = lab.host("near");
        scene.adopt(&near, &["blue"])?;
        let body = json!({ "Name": "web", "Network": "blue", "Publish": ["8080:80"], "Drain": 2_000_000_000_i64 });
        scene.client.post("/vethwork/services/create", &body)?;
        let mut servers = members(lab, &mut scene, "blue", "web")?;
        let web = inspect(&scene, "web")?;
        unprotected(&mut scene, &outside)?;
        servers.extend(members(lab, &mut scene, "open", FRONT)?);
        let open = endpoints(&inspect(&scene, FRONT)?)?;
        let vip = first_address(&web["VirtualIPs"]).ok_or("no virtual address")?;
        Ok(Self {
            scene,
            near,
            outside,
            addresses: endpoints(&web)?,
            vip,
            open,
            _servers: servers,
        })
    }

    fn by_vip(&self) -> SocketAddr {
        SocketAddr::new(self.vip, 80)
    }
}

/// A network whose endpoints are reached from outside without a port of the host's, and a service.
fn unprotected(scene: &mut Scene, outside: &Host) -> Result<()> {
    let body = json!({
        "Name": "open", "IPAM": { "Config": [{ "Subnet": "10.98.0.0/16" }] },
        "Options": { "com.docker.network.bridge.gateway_mode_ipv4": "nat-unprotected" },
    });
    scene.client.post("/v1.41/networks/create", &body)?;
    outside.ip("route add 10.98.0.0/16 via 192.0.2.1");
    let body = json!({ "Name": FRONT, "Network": "open", "Publish": ["8081:80"] });
    scene.client.post("/vethwork/services/create", &body)?;
    Ok(())
}

/// The endpoints of a service, which answer with their numbers.
fn members(lab: &Lab, scene: &mut Scene, network: &str, service: &str) -> Result<Vec<Answering>> {
    let mut servers = Vec::new();
    for number in 0..ENDPOINTS {
        let end = lab.host(&format!("{service}{number}"));
        adopt_into(scene, &end, network, service)?;
        servers.push(Answering::start(&end, number as u8)?);
    }
    Ok(servers)
}

fn first_address(list: &Value) -> Option<IpAddr> {
    list[0].as_str()?.split('/').next()?.parse().ok()
}

/// A service as it is shown.
fn inspect(scene: &Scene, service: &str) -> Result<Value> {
    let shown = scene.daemon.cli(["service", "inspect", service]).ok();
    let mut shown: Value = serde_json::from_str(&shown)?;
    Ok(shown[0].take())
}

/// The addresses of the endpoints of a service that is shown so.
fn endpoints(service: &Value) -> Result<Vec<IpAddr>> {
    let ends = service["Endpoints"].as_array().ok_or("no endpoints")?;
    let addresses: Option<Vec<IpAddr>> = ends
        .iter()
        .map(|end| first_address(&end["Addresses"]))
        .collect();
    addresses.ok_or_else(|| "an endpoint has no address".into())
}

/// Adopts a namespace on a network, as an endpoint of a service.
fn adopt_into(scene: &mut Scene, end: &Host, network: &str, service: &str) -> Result<()> {
    let body = json!({
        "Netns": end.netns(), "Name": end.name(), "Networks": [{ "Network": network }],
        "Labels": { "vethwork.service": service },
    });
    scene.client.post("/vethwork/adopt", &body).map(drop)
}

/// The same endpoints by every way, by turns.
fn compared(lab: &Lab, stage: &Stage, table: &mut Table) -> Result<()> {
    let (to_address, to_port) = ("to an address", "to a port, from outside");
    let direct = SocketAddr::new(stage.addresses[0], 80);
    let by_hand = others::by_hand(&stage.scene.host, &stage.addresses)?;
    let [port, port_by_hand]: [SocketAddr; 2] =
        ["192.0.2.1:8081".parse()?, "192.0.2.1:8090".parse()?];
    others::port_by_hand(&stage.scene.host, port_by_hand, &stage.open);
    let (near, outside) = (&stage.near, &stage.outside);
    let mut ways = vec![
        Way::new(to_address, OURS, near, stage.by_vip()),
        Way::new(to_address, "direct", near, direct),
        Way::new(to_address, "nft numgen", near, by_hand),
        Way::new(to_port, OURS, outside, port),
        Way::new(
            to_port,
            "direct",
            outside,
            SocketAddr::new(stage.open[0], 80),
        ),
        Way::new(to_port, "nft numgen", outside, port_by_hand),
    ];
    ways.extend(translated(stage)?);
    let ports: [(u16, &[IpAddr]); 2] = [(9000, &stage.addresses), (9001, &stage.open)];
    let nginx = others::Nginx::start(lab, &stage.scene.host, &ports);
    match &nginx {
        Ok(_) => ways.extend([
            Way::new(to_address, others::NGINX, near, "10.99.0.1:9000".parse()?),
            Way::new(to_port, others::NGINX, outside, "192.0.2.1:9001".parse()?),
        ]),
        Err(error) => table.note(format!("without nginx: {error}")),
    }
    let aim = |who: &str| (who == "nft numgen").then_some(Aim::AtMost(1.1));
    ways::compare(table, ways, aim)?;
    others::end_by_hand(&stage.scene.host);
    Ok(())
}

/// The port over IPv6, which none of the endpoints has, and over IPv4.
fn translated(stage: &Stage) -> Result<[Way<'_>; 4]> {
    let (host, outside) = (&stage.scene.host, &stage.outside);
    let (from_host, from_outside) = ("to a port by ::1", "to a port by IPv6, from outside");
    Ok([
        Way::new(from_host, OURS, host, "[::1]:8080".parse()?),
        Way::new(from_host, "by 127.0.0.1", host, "127.0.0.1:8080".parse()?),
        Way::new(from_outside, OURS, outside, "[2001:db8::1]:8080".parse()?),
        Way::new(from_outside, "by IPv4", outside, "192.0.2.1:8080".parse()?),
    ])
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
    let mut servers = Vec::new();
    for end in &moving {
        stage.scene.adopt(end, &[])?;
        servers.push(Answering::start(end, 0)?);
    }
    let port: SocketAddr = "192.0.2.1:8080".parse()?;
    let ways = [(&stage.near, stage.by_vip()), (&stage.outside, port)];
    let client = &mut stage.scene.client;
    let (taken, meanwhile) = meanwhile(&ways, || come_and_go(client, &moving))?;
    table.row("an endpoint comes or goes, under load", OURS, "ms", &taken);
    table.row("failed connections", OURS, "", &meanwhile.bad());
    table.note(format!(
        "{meanwhile} during {} endpoint changes",
        taken.len()
    ));
    Ok(())
}

/// How long each change took.
fn come_and_go(client: &mut Client, moving: &[Host]) -> Result<Samples> {
    let mut taken = Samples::default();
    for _ in 0..CHANGES / MOVING / 2 {
        for end in moving {
            let path = "/v1.41/networks/blue/connect";
            taken.push_millis(client.timed(path, &joining(end, "web"))?);
        }
        for end in moving {
            taken.push_millis(client.disconnect("blue", end.name())?);
        }
    }
    Ok(taken)
}

/// With more and more services.
fn numbers(lab: &Lab, stage: &mut Stage, table: &mut Table) -> Result<()> {
    let [guest, beside] = ["guest", "beside"].map(|name| lab.host(name));
    stage.scene.adopt(&guest, &[])?;
    let bridge = others::bridge(&stage.scene.host, "10.99.0.1");
    let addresses = [2, 1].map(|end| Ipv4Addr::new(10, 99, 254, end));
    let bare = Bare::on(&stage.scene.host, &beside, &bridge, addresses)?;
    let ends = stage.addresses.iter();
    let growth = Growth {
        near: &stage.near,
        vip: stage.by_vip(),
        ends: ends.map(|addr| SocketAddr::new(*addr, 80)).collect(),
        guest: (&guest, "blue", "web"),
        bare: &bare,
    };
    let (mut first, mut services) = (None, 2);
    for wanted in NUMBERS {
        while services < wanted {
            let body = json!({ "Name": format!("s{services}"), "Network": "blue" });
            let path = "/vethwork/services/create";
            stage.scene.client.post(path, &body)?;
            services += 1;
        }
        let count = format!("{wanted} services");
        growth.measure(&mut stage.scene, (&count, &mut first), table)?;
        let port: SocketAddr = "192.0.2.1:8080".parse()?;
        let ways = [(growth.near, growth.vip), (&stage.outside, port)];
        growth::starts(&mut stage.scene, &ways, &count, table)?;
    }
    Ok(())
}
