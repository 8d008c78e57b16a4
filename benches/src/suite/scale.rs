//! The thousandth endpoint of a bridge against its first, by turns with the bare netlink calls on a
//! bridge of as many ports: what grows is told apart into the kernel's part and ours.

use crate::{
    Result,
    bare::Bare,
    report::{OURS, Table},
    samples::Samples,
    scene::{self, Scene, timed},
};
use vw_testkit::{Host, Lab};

pub(crate) const NAME: &str = "scale";

const ROUNDS: usize = 100;
const MANY: usize = 900;
const BARE: &str = "bare netlink";

pub(crate) fn run() -> Result<Table> {
    let lab = Lab::new();
    let mut ours = Scene::start(&lab, "ours")?;
    ours.network("blue", "10.99.0.0/16")?;
    ours.adopt(&lab.host("sandbox"), &[])?;
    let near = lab.host("bare");
    let bare = Bare::open(&near, &lab.host("inside"))?;
    let mut table = Table::new(NAME, "Attach and detach with many endpoints on one bridge");
    let first = measure(&mut ours, (&near, &bare))?;
    show(&mut table, "none", &first, None);
    for number in 0..MANY {
        ours.adopt(&lab.host(&format!("box{number}")), &["blue"])?;
    }
    bare.fill(&lab.host("crowd"), MANY)?;
    let many = measure(&mut ours, (&near, &bare))?;
    show(&mut table, &MANY.to_string(), &many, Some(&first));
    table.note("bare: on a bridge of as many ports in a namespace of its own");
    table.note("growth: what so many there add to each, ours less the kernel's");
    Ok(table)
}

/// What attaching and detaching took.
struct Taken {
    ours: [Samples; 2],
    bare: [Samples; 2],
}

fn show(table: &mut Table, there: &str, taken: &Taken, first: Option<&Taken>) {
    for (at, verb) in ["attach", "detach"].into_iter().enumerate() {
        let what = format!("{verb}, {there} there");
        let (ours, bare) = (&taken.ours[at], &taken.bare[at]);
        match first {
            None => table.row(&what, OURS, "ms", ours),
            Some(first) => table.grown(&what, "ms", (ours, &first.ours[at]), None),
        }
        table.rounds(&what, BARE, "ms", (bare, ours), None);
        if let Some(first) = first {
            let grown = |now: &Samples, then: &Samples| now.median() - then.median();
            let kernel = grown(bare, &first.bare[at]);
            let ours = grown(ours, &first.ours[at]) - kernel;
            let [kernel, ours] = [kernel, ours].map(|grown| Samples::from_iter([grown]));
            table.row(&format!("{verb}, growth"), BARE, "ms", &kernel);
            table.row(&format!("{verb}, growth"), OURS, "ms", &ours);
        }
    }
}

fn measure(ours: &mut Scene, (near, bare): (&Host, &Bare)) -> Result<Taken> {
    let (mine, theirs) = (scene::links(&ours.host), scene::links(near));
    let mut taken = Taken {
        ours: Default::default(),
        bare: Default::default(),
    };
    let [attach, detach] = &mut taken.ours;
    let [bare_attach, bare_detach] = &mut taken.bare;
    for _ in 0..ROUNDS {
        attach.push_millis(ours.client.connect("blue", "sandbox")?);
        detach.push_millis(ours.client.disconnect("blue", "sandbox")?);
        scene::settle(&ours.host, mine)?;
        bare_attach.push_millis(timed(|| bare.attach())?);
        bare_detach.push_millis(timed(|| bare.detach())?);
        scene::settle(near, theirs)?;
    }
    Ok(taken)
}
