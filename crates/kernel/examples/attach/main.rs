//! What the executor adds to the bare kernel calls of an attachment.
//!
//! Attaches a ready sandbox to a bridge and detaches it, by plans and by hand-made netlink
//! requests in turn, in a namespace of its own, and prints the medians and their ratio:
//!
//! ```text
//! cargo build --release -p vw-kernel --example attach && sudo target/release/examples/attach
//! ```

mod floor;

use floor::Floor;
use rustix::{
    mount::{MountPropagationFlags, UnmountFlags},
    thread::UnshareFlags,
};
use std::{
    error::Error,
    time::{Duration, Instant},
};
use vw_hoststate::{
    Address, BridgeOptions, Link, LinkKind, Namespace, NamespaceSource, Netns, Object, Objects,
    Peer, Plan, PortOptions, Route, RouteKind, Step,
};
use vw_kernel::{Config, Failure, Kernel, LinuxKernel};
use vw_model::{MacAddr, SandboxId};

const ROUNDS: usize = 300;
const SANDBOX: SandboxId = SandboxId::from_bytes([7; 32]);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    // SAFETY: no other thread runs yet.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS)? };
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    let exec_root = std::env::temp_dir().join(format!("vwt-attach-{}", std::process::id()));
    let config = Config {
        exec_root: exec_root.clone(),
    };
    let kernel = LinuxKernel::open(&config)?;
    let result = measure(&kernel).and_then(|()| observe_many(&kernel));
    rustix::mount::unmount(exec_root.join("netns"), UnmountFlags::DETACH)?;
    std::fs::remove_dir_all(exec_root)?;
    result
}

fn measure(kernel: &LinuxKernel) -> Result<()> {
    apply(kernel, network()?.into_iter().map(Step::Create))?;
    let mut floor = Floor::open("vw0", &kernel.netns_path(SANDBOX))?;
    let attach = attachment("vw0123456789", SANDBOX, 7)?;
    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let plan = Plan::ordered(attach.iter().cloned().map(Step::Create));
        times[0].push(timed(|| Ok(done(kernel.apply(&plan))?))?);
        let plan = Plan::ordered(attach.iter().cloned().map(Step::Delete));
        times[1].push(timed(|| Ok(done(kernel.apply(&plan))?))?);
        kernel.flush_reaper()?;
        times[2].push(timed(|| floor.attach())?);
        times[3].push(timed(|| floor.detach())?);
        kernel.flush_reaper()?;
    }
    let [attach, detach, floor_attach, floor_detach] = times.map(p50);
    for (name, ours, bare) in [
        ("attach", attach, floor_attach),
        ("detach", detach, floor_detach),
    ] {
        println!(
            "{name}: executor p50 {ours:?}, bare netlink p50 {bare:?}, ratio {:.3}",
            ours.as_secs_f64() / bare.as_secs_f64()
        );
    }
    Ok(())
}

/// How long it takes to read back a thousand sandboxes.
fn observe_many(kernel: &LinuxKernel) -> Result<()> {
    let mut objects = network()?;
    for n in 0..1000_u16 {
        let [high, low] = n.to_be_bytes();
        let mut id = [8; 32];
        (id[0], id[1]) = (high, low);
        let sandbox = SandboxId::from_bytes(id);
        objects.push(namespace(sandbox));
        objects.extend(attachment(&format!("vw{n:010x}"), sandbox, 7)?);
    }
    let started = Instant::now();
    apply(kernel, objects.iter().cloned().map(Step::Create))?;
    println!("make 1,000 sandboxes: {:?}", started.elapsed());
    let keyed = objects.iter().map(|object| (object.key(), object.clone()));
    let expected: Objects = keyed.collect();
    let mut found = 0;
    let took = timed(|| {
        found = kernel.observe(&expected)?.objects.len();
        Ok(())
    })?;
    println!("observe 1,000 sandboxes, {found} objects: {took:?}");
    apply(kernel, objects.iter().cloned().map(Step::Delete))?;
    kernel.flush_reaper()?;
    Ok(())
}

fn apply(kernel: &LinuxKernel, steps: impl Iterator<Item = Step>) -> Result<()> {
    Ok(done(kernel.apply(&Plan::ordered(steps)))?)
}

fn done(result: std::result::Result<(), Failure>) -> std::result::Result<(), String> {
    result.map_err(|failure| format!("step {}: {}", failure.step, failure.source))
}

fn timed(f: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let started = Instant::now();
    f()?;
    Ok(started.elapsed())
}

fn p50(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn namespace(sandbox: SandboxId) -> Object {
    Object::Namespace(Namespace {
        netns: Netns::Sandbox(sandbox),
        source: NamespaceSource::New,
    })
}

fn network() -> Result<Vec<Object>> {
    let bridge = Link {
        netns: Netns::Host,
        name: "vw0".parse()?,
        kind: LinkKind::Bridge(BridgeOptions {
            mcast_snooping: false,
        }),
        mac: Some(MacAddr([0x02, 0x42, 0, 0, 0, 1])),
        mtu: 1500,
        port: None,
        alias: String::new(),
    };
    Ok(vec![namespace(SANDBOX), Object::Link(bridge)])
}

fn attachment(host: &str, sandbox: SandboxId, last: u8) -> Result<Vec<Object>> {
    let netns = Netns::Sandbox(sandbox);
    let pair = Link {
        netns: Netns::Host,
        name: host.parse()?,
        kind: LinkKind::Veth(Peer {
            netns,
            name: "eth0".parse()?,
            mac: MacAddr([0x02, 0x42, 10, 0, 0, last]),
        }),
        mac: None,
        mtu: 1500,
        port: Some(PortOptions {
            bridge: "vw0".parse()?,
            isolated: false,
            hairpin: false,
        }),
        alias: String::new(),
    };
    let address = Address {
        netns,
        link: "eth0".parse()?,
        addr: format!("10.0.0.{last}/24").parse()?,
    };
    let route = Route {
        netns,
        dst: "0.0.0.0/0".parse()?,
        kind: RouteKind::Unicast,
        via: Some("10.0.0.1".parse()?),
        link: Some("eth0".parse()?),
        metric: 0,
        mtu: None,
    };
    Ok(vec![
        Object::Link(pair),
        Object::Address(address),
        Object::Route(route),
    ])
}
