//! The thousandth endpoint of a bridge against its first.

use crate::{
    Result,
    report::{OURS, Table},
    samples::Samples,
    scene::{self, Scene},
};
use vw_testkit::Lab;

pub(crate) const NAME: &str = "scale";

const ROUNDS: usize = 100;
const MANY: usize = 900;

pub(crate) fn run() -> Result<Table> {
    let lab = Lab::new();
    let mut ours = Scene::start(&lab, "ours")?;
    ours.network("blue", "10.99.0.0/16")?;
    let sandbox = lab.host("sandbox");
    ours.adopt(&sandbox, &[])?;
    let mut table = Table::new(NAME, "Attach and detach with many endpoints on one bridge");
    let [attach, detach] = measure(&mut ours)?;
    table.row("attach, none there", OURS, "ms", &attach);
    table.row("detach, none there", OURS, "ms", &detach);
    for number in 0..MANY {
        ours.adopt(&lab.host(&format!("box{number}")), &["blue"])?;
    }
    let [attach_many, detach_many] = measure(&mut ours)?;
    let what = |verb| format!("{verb}, {MANY} there");
    table.grown(&what("attach"), "ms", (&attach_many, &attach), None);
    table.grown(&what("detach"), "ms", (&detach_many, &detach), None);
    table.note("a port more on a bridge of many takes the kernel longer; what is ours of it is not told apart");
    Ok(table)
}

fn measure(ours: &mut Scene) -> Result<[Samples; 2]> {
    let empty = scene::links(&ours.host);
    let [mut attach, mut detach] = [Samples::default(), Samples::default()];
    for _ in 0..ROUNDS {
        attach.push_millis(ours.client.connect("blue", "sandbox")?);
        detach.push_millis(ours.client.disconnect("blue", "sandbox")?);
        scene::settle(&ours.host, empty)?;
    }
    Ok([attach, detach])
}
