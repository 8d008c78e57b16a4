//! Health checks and names of services as text.

use super::Probe;
use crate::ServiceName;

#[test]
fn health_checks_are_read_and_shown_alike() {
    for text in [
        "tcp:80",
        "http:8080/",
        "http:8080/healthz?full=1",
        "exec:test -e /run/ready && ! pgrep x",
        "exec:[\"/bin/probe\",\"--all of it\"]",
        "exec:[ -e /run/ready ]",
        "exec:[\"/bin/sh\",\"-c\",\"[]\"]",
    ] {
        assert_eq!(text.parse::<Probe>().unwrap().to_string(), text);
    }
    assert_eq!("http:80".parse::<Probe>().unwrap().to_string(), "http:80/");
    for text in [
        "",
        "80",
        "tcp:",
        "tcp:0",
        "tcp:70000",
        "udp:5",
        "exec:",
        "exec: ",
        "exec:[]",
        "exec:[\"\"]",
        "exec:a\0b",
        "http:80/a b",
        "http:/x",
    ] {
        let error = text.parse::<Probe>().unwrap_err();
        assert_eq!(error.reason, "health-invalid", "{text}");
    }
}

#[test]
fn a_service_is_named_by_one_label_of_a_domain() {
    for text in ["web", "web-1", "a", "WEB_2"] {
        assert!(text.parse::<ServiceName>().is_ok(), "{text}");
    }
    let long = "a".repeat(64);
    for text in ["", "-web", "web.blue", "a b", "tasks.web", long.as_str()] {
        let error = text.parse::<ServiceName>().unwrap_err();
        assert_eq!(error.reason, "service-name-invalid", "{text}");
    }
}
