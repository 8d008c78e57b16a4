//! Services through an outage: what stands, and who is led to, while a store or a host is away.

use crate::{
    balancers::{MEMBER, known},
    over_one_store,
    services::{addresses, alike, answer, led_to, network, who},
    stage::{Kind, LEASE, Stage, lease},
};
use std::{collections::BTreeSet, time::Duration};
use vw_testkit::{Host, eventually, poll, stays, traffic};

over_one_store! {
    a_daemon_that_starts_while_the_store_is_away_leads_on_and_counts_who_comes_and_goes,
    a_host_that_dies_takes_along_no_connection_of_another,
}

/// The service `web` on the network `shop`, known everywhere.
#[track_caller]
fn serve(stage: &Stage, options: &str) {
    network(stage, "", "shop");
    stage.cli(
        "a",
        &format!("service create --name web --network shop -p 8080:80 {options}"),
    );
    for host in stage.names() {
        known(stage, &host);
    }
}

/// Starts an endpoint that answers with its name.
#[track_caller]
fn endpoint(stage: &Stage, host: &str, name: &str) -> traffic::Server {
    let inside = stage.start(host, name, MEMBER);
    traffic::Server::tcp(&inside, name, "0.0.0.0:80")
}

fn a_daemon_that_starts_while_the_store_is_away_leads_on_and_counts_who_comes_and_goes(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b"]);
    serve(&stage, "--drain 0s");
    let near = stage.start("a", "near", "--network shop");
    let far = stage.start("b", "far", "--network shop");
    let stranger = stage.stranger();
    let _stay = [
        endpoint(&stage, "a", "one"),
        endpoint(&stage, "b", "two"),
        endpoint(&stage, "a", "goes"),
    ];
    alike(&stage, "web", 3);
    let vips = addresses(&stage, "a", "web");
    let vip = format!("{}:80", vips[0]);
    let [a, b] = ["a", "b"].map(|host| format!("{}:8080", stage.addr(host)));
    let ways = [
        (&near, &vip),
        (&far, &vip),
        (&stranger, &a),
        (&stranger, &b),
    ];
    let open = |(from, to): (&Host, &String)| ["one", "two"].map(|name| led_to(from, to, name));
    let mut talks: Vec<_> = ways.into_iter().flat_map(open).collect();
    let mut go_on = |when: &str| {
        for talk in &mut talks {
            let said = talk.say("on");
            said.unwrap_or_else(|error| panic!("{when}: {} is cut off: {error}", talk.answer.name));
        }
    };
    stage.pause_store();
    let asked = ways.map(|(from, to)| (from, to.clone()));
    let ((), outcomes) = traffic::meanwhile(&asked, traffic::without_loss, || stage.forget("a"));
    for outcome in outcomes {
        assert!(outcome.bad.is_empty(), "{outcome:?}");
        assert!(outcome.asked > 5, "{outcome:?}");
    }
    go_on("after a start without the store");
    assert_eq!(addresses(&stage, "a", "web"), vips);
    // Of its own this host knows who is there, also where it begins anew after that.
    stage.docker("a", "stop -t 0 goes");
    let _comes = endpoint(&stage, "a", "comes");
    let now = ["comes", "one", "two"];
    for start in ["the first", "the second"] {
        answer(&near, &vip, &now);
        answer(&stranger, &a, &now);
        go_on(start);
        if start == "the first" {
            stage.forget("a");
        }
    }
    stage.resume_store();
    eventually("both hosts agree", LEASE, || {
        go_on("as the store comes back");
        ["a", "b"].iter().all(|host| serving(&stage, host) == now)
    });
    alike(&stage, "web", 3);
    for (from, to) in ways {
        answer(from, to, &now);
    }
    assert_eq!(addresses(&stage, "b", "web"), vips);
    go_on("with the store");
    stage.end();
}

/// Who serves, as a host shows it.
#[track_caller]
pub(crate) fn serving(stage: &Stage, host: &str) -> Vec<String> {
    let shown = stage.api(host, "/vethwork/services/web");
    let all = shown["Endpoints"].as_array().expect("a list").iter();
    let serve = all.filter(|one| one["Serves"] == true);
    let mut names: Vec<_> = serve
        .map(|one| one["Name"].as_str().expect("a name").to_owned())
        .collect();
    names.sort();
    names
}

fn a_host_that_dies_takes_along_no_connection_of_another(kind: Kind) {
    let mut stage = Stage::new(kind, &["a", "b", "c"]);
    serve(&stage, "");
    let near = stage.start("c", "near", "--network shop");
    let stranger = stage.stranger();
    let stay = ["more", "one"];
    let _servers = [("a", stay[0]), ("a", stay[1]), ("b", "two")]
        .map(|(host, name)| endpoint(&stage, host, name));
    alike(&stage, "web", 3);
    let vip = format!("{}:80", addresses(&stage, "c", "web")[0]);
    // By a host without endpoints, and by that of the one that lives.
    let [a, c] = ["a", "c"].map(|host| format!("{}:8080", stage.addr(host)));
    let ways = [(&near, &vip), (&stranger, &c), (&stranger, &a)];
    let open = |(from, to): (&Host, &String)| stay.map(|name| led_to(from, to, name));
    let mut living: Vec<_> = ways.into_iter().flat_map(open).collect();
    let mut dying = ways.map(|(from, to)| led_to(from, to, "two"));
    let on = |talk: &mut traffic::Conversation| talk.say("on").is_ok();
    assert!(living.iter_mut().chain(&mut dying).all(on));
    stage.kill("b");
    assert!(dying.iter_mut().all(on), "its kernel carries packets");
    stage.cut("b");
    eventually("it is known to serve no more", lease(kind), || {
        assert!(living.iter_mut().all(on), "b dies");
        ["a", "c"].iter().all(|host| serving(&stage, host) == stay)
    });
    for (from, to) in ways {
        let led = who(traffic::tcp, from, to);
        assert_eq!(led, BTreeSet::from(stay.map(str::to_owned)), "to {to}");
    }
    eventually("who was led to it is told", LEASE, || {
        !dying.iter_mut().any(on)
    });
    stays(
        "who is led elsewhere goes on",
        Duration::from_secs(1),
        || living.iter_mut().all(on),
    );
    let all = ["more", "one", "two"];
    stage.mend("b");
    stage.start_inside("b");
    let back = poll(LEASE, || (serving(&stage, "c") == all).then_some(()));
    assert!(back.is_some(), "{:?}", serving(&stage, "c"));
    for (from, to) in ways {
        answer(from, to, &all);
    }
    assert!(living.iter_mut().all(on), "b is back");
    stage.end();
}
