//! Events as lines, and who gets which.

use super::{EventFilter, Request, line, tell};
use crate::{filters::Filters, query::Query, version::ApiVersion};
use expect_test::expect;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{broadcast, mpsc};
use vw_controller::event::{Event, EventType};

fn event(kind: EventType, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
    let attributes = attributes
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()));
    Event {
        kind,
        action: action.to_owned(),
        id: id.to_owned(),
        attributes: attributes.collect(),
        time: UNIX_EPOCH + Duration::new(1_700_000_000, 5),
    }
}

fn container() -> Event {
    let attributes = [("name", "web"), ("image", "nginx:1"), ("tier", "front")];
    event(EventType::Container, "exec_create: ls", "c1f", &attributes)
}

fn network() -> Event {
    event(
        EventType::Network,
        "connect",
        "n1f",
        &[("name", "net"), ("container", "c1f")],
    )
}

#[test]
fn events_are_written_as_docker_writes_them() {
    let text = |event| String::from_utf8(line(&event).to_vec()).unwrap();
    expect![[r#"
        {"status":"exec_create: ls","id":"c1f","from":"nginx:1","Type":"container","Action":"exec_create: ls","Actor":{"ID":"c1f","Attributes":{"image":"nginx:1","name":"web","tier":"front"}},"scope":"local","time":1700000000,"timeNano":1700000000000000005}
    "#]].assert_eq(&text(container()));
    expect![[r#"
        {"Type":"network","Action":"connect","Actor":{"ID":"n1f","Attributes":{"container":"c1f","name":"net"}},"scope":"local","time":1700000000,"timeNano":1700000000000000005}
    "#]].assert_eq(&text(network()));
}

#[test]
fn filters_choose() {
    for (filters, of_container, of_network) in [
        ("{}", true, true),
        (r#"{"type":["network"]}"#, false, true),
        (r#"{"event":["exec_create"]}"#, true, false),
        (r#"{"event":["connect","die"]}"#, false, true),
        (r#"{"container":["web"]}"#, true, false),
        (r#"{"container":["c1"]}"#, true, false),
        (r#"{"container":["other"]}"#, false, false),
        (r#"{"network":["net"]}"#, false, true),
        (r#"{"image":["nginx"]}"#, true, false),
        (r#"{"image":["nginx:1"]}"#, true, false),
        (r#"{"label":["tier=front"]}"#, true, false),
        (r#"{"scope":["swarm"]}"#, false, false),
        (r#"{"volume":["v"]}"#, false, false),
    ] {
        let filter = EventFilter::parse(Filters::parse(filters).unwrap()).unwrap();
        let kept = (filter.keeps(&container()), filter.keeps(&network()));
        assert_eq!(kept, (of_container, of_network), "{filters}");
    }
    assert!(EventFilter::parse(Filters::parse(r#"{"x":["y"]}"#).unwrap()).is_err());
}

#[test]
fn an_end_before_the_start_is_refused() {
    let error = Request::parse(&Query::parse("since=20&until=10"), ApiVersion::MAX).unwrap_err();
    assert_eq!(
        error.message,
        "`since` time (20) cannot be after `until` time (10)"
    );
}

#[test]
fn created_images_are_told_from_1_46_on() {
    let created = event(EventType::Image, "create", "i", &[]);
    let at = |minor| Request::parse(&Query::default(), ApiVersion::v1(minor)).unwrap();
    assert!(at(46).keeps(&created) && !at(45).keeps(&created));
}

#[tokio::test]
async fn an_event_that_is_recent_and_live_is_told_once() {
    let (feed, live) = broadcast::channel(8);
    let (client, mut told) = mpsc::channel(8);
    let request = Request::parse(&Query::parse("since=1"), ApiVersion::MAX).unwrap();
    feed.send(network()).unwrap();
    feed.send(container()).unwrap();
    drop(feed);
    tell(request, vec![network()], live, client).await;
    assert_eq!(told.recv().await, Some(line(&network())));
    assert_eq!(told.recv().await, Some(line(&container())));
    assert_eq!(told.recv().await, None);
}

#[tokio::test]
async fn a_client_that_falls_behind_is_dropped() {
    let (feed, live) = broadcast::channel(1);
    let (client, mut told) = mpsc::channel(8);
    let request = Request::parse(&Query::default(), ApiVersion::MAX).unwrap();
    for _ in 0..3 {
        feed.send(Event {
            time: SystemTime::now(),
            ..network()
        })
        .unwrap();
    }
    tell(request, Vec::new(), live, client).await;
    assert_eq!(told.recv().await, None);
}
