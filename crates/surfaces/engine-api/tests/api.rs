//! The API over a socket, against a controller with a fake kernel.

mod support;

use expect_test::{Expect, expect};
use serde_json::Value;
use std::io::{Read, Write};
use support::{Api, MOST_CLIENTS};

/// Sends requests in turn and compares all answers, one a line.
fn check(name: &str, requests: &[(&str, &str)], expected: Expect) {
    let api = Api::start(name);
    let answers = requests.iter().map(|(line, body)| {
        let answer = api.ask(line, body);
        format!("{line} {body}\n  {}\n", answer.trim_end())
    });
    expected.assert_eq(&answers.collect::<String>());
}

#[test]
fn versions_are_negotiated_as_docker_does() {
    let requests = [
        ("GET /v1.99/networks", ""),
        ("GET /v1.24/networks", ""),
        ("GET /v1.40/_ping", ""),
        ("GET /nonsense", ""),
        ("PUT /networks", ""),
    ];
    check(
        "versions",
        &requests,
        expect![[r#"
        GET /v1.99/networks 
          400 {"message":"client version 1.99 is too new. Maximum supported API version is 1.51"}
        GET /v1.24/networks 
          400 {"message":"client version 1.24 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version"}
        GET /v1.40/_ping 
          200 OK
        GET /nonsense 
          404 {"message":"page not found"}
        PUT /networks 
          404 {"message":"page not found"}
    "#]],
    );
}

#[test]
fn a_ping_tells_what_clients_negotiate_by() {
    let api = Api::start("ping");
    let head = api.raw("HEAD /_ping", "", "");
    let head = head.split("date:").next().unwrap();
    expect![[r#"
        HTTP/1.1 200 OK
        content-type: text/plain; charset=utf-8
        builder-version: 1
        swarm: inactive
        cache-control: no-cache, no-store, must-revalidate
        pragma: no-cache
        api-version: 1.51
        ostype: linux
        docker-experimental: false
        server: Vethwork/0.1.0 (linux)
        connection: close
    "#]]
    .assert_eq(&head.replace('\r', ""));
}

#[test]
fn networks_are_made_listed_and_removed() {
    let create = r#"{"Name":"n","Driver":"bridge","EnableIPv4":true,"EnableIPv6":false,"IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":"10.9.0.0/16","IPRange":"10.9.1.0/24","AuxiliaryAddresses":{"r":"10.9.0.9"}}]},"Labels":{"a":"b"},"Options":{"com.docker.network.bridge.name":"nn0"}}"#;
    let requests = [
        (
            "GET /networks?filters=%7B%22type%22%3A%5B%22builtin%22%5D%7D",
            "",
        ),
        ("POST /v1.51/networks/create", create),
        ("POST /v1.51/networks/create", create),
        ("GET /v1.51/networks/n", ""),
        ("GET /networks/n?scope=swarm", ""),
        ("GET /networks/n?verbose=maybe", ""),
        ("DELETE /networks/n", ""),
        ("DELETE /networks/n", ""),
        ("DELETE /networks/bridge", ""),
        ("POST /networks/prune", ""),
    ];
    check(
        "networks",
        &requests,
        expect![[r#"
        GET /networks?filters=%7B%22type%22%3A%5B%22builtin%22%5D%7D 
          200 [{"Name":"bridge","Id":"<id>","Created":"<time>","Scope":"local","Driver":"bridge","EnableIPv4":true,"EnableIPv6":false,"IPAM":{"Driver":"default","Options":null,"Config":[{"Subnet":"172.17.0.0/16","Gateway":"172.17.0.1"}]},"Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{"com.docker.network.bridge.default_bridge":"true","com.docker.network.bridge.name":"vw0"},"Labels":{}},{"Name":"host","Id":"<id>","Created":"<time>","Scope":"local","Driver":"host","EnableIPv4":true,"EnableIPv6":false,"IPAM":{"Driver":"default","Options":null,"Config":null},"Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{},"Labels":{}},{"Name":"none","Id":"<id>","Created":"<time>","Scope":"local","Driver":"null","EnableIPv4":true,"EnableIPv6":false,"IPAM":{"Driver":"default","Options":null,"Config":null},"Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{},"Labels":{}}]
        POST /v1.51/networks/create {"Name":"n","Driver":"bridge","EnableIPv4":true,"EnableIPv6":false,"IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":"10.9.0.0/16","IPRange":"10.9.1.0/24","AuxiliaryAddresses":{"r":"10.9.0.9"}}]},"Labels":{"a":"b"},"Options":{"com.docker.network.bridge.name":"nn0"}}
          201 {"Id":"<id>","Warning":""}
        POST /v1.51/networks/create {"Name":"n","Driver":"bridge","EnableIPv4":true,"EnableIPv6":false,"IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":"10.9.0.0/16","IPRange":"10.9.1.0/24","AuxiliaryAddresses":{"r":"10.9.0.9"}}]},"Labels":{"a":"b"},"Options":{"com.docker.network.bridge.name":"nn0"}}
          409 {"message":"network with name n already exists"}
        GET /v1.51/networks/n 
          200 {"Name":"n","Id":"<id>","Created":"<time>","Scope":"local","Driver":"bridge","EnableIPv4":true,"EnableIPv6":false,"IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":"10.9.0.0/16","IPRange":"10.9.1.0/24","Gateway":"10.9.1.0","AuxiliaryAddresses":{"r":"10.9.0.9"}}]},"Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},"Options":{"com.docker.network.bridge.name":"nn0"},"Labels":{"a":"b"}}
        GET /networks/n?scope=swarm 
          404 {"message":"network n not found"}
        GET /networks/n?verbose=maybe 
          400 {"message":"invalid value for verbose: maybe: strconv.ParseBool: parsing \"maybe\": invalid syntax"}
        DELETE /networks/n 
          204
        DELETE /networks/n 
          404 {"message":"network n not found"}
        DELETE /networks/bridge 
          403 {"message":"bridge is a pre-defined network and cannot be removed"}
        POST /networks/prune 
          200 {"NetworksDeleted":null}
    "#]],
    );
}

#[test]
fn bad_networks_are_refused_in_dockers_words() {
    let create = "POST /networks/create";
    let requests = [
        (create, ""),
        (create, "{"),
        (create, r#"{"Name":7}"#),
        (create, r#"{"Name":"n"} x"#),
        (create, r#"{"Name":"bridge"}"#),
        (create, r#"{"Name":"n","Driver":"nope"}"#),
        (create, r#"{"Name":"n","Scope":"galaxy"}"#),
        (
            create,
            r#"{"Name":"n","Ingress":true,"ConfigFrom":{"Network":"x"}}"#,
        ),
        (
            create,
            r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"10.9.0.1/16"},{"Subnet":"x"}]}}"#,
        ),
    ];
    check(
        "bad-networks",
        &requests,
        expect![[r#"
        POST /networks/create 
          400 {"message":"invalid network name: name is empty"}
        POST /networks/create {
          400 {"message":"invalid JSON: EOF while parsing an object at line 1 column 1"}
        POST /networks/create {"Name":7}
          400 {"message":"invalid JSON: invalid type: integer `7`, expected a string at line 1 column 9"}
        POST /networks/create {"Name":"n"} x
          400 {"message":"unexpected content after JSON"}
        POST /networks/create {"Name":"bridge"}
          403 {"message":"operation is not permitted on predefined bridge network"}
        POST /networks/create {"Name":"n","Driver":"nope"}
          404 {"message":"plugin \"nope\" not found: the drivers are bridge, host, null, overlay"}
        POST /networks/create {"Name":"n","Scope":"galaxy"}
          400 {"message":"invalid network scope \"galaxy\": use local or global"}
        POST /networks/create {"Name":"n","Ingress":true,"ConfigFrom":{"Network":"x"}}
          501 {"message":"Ingress is not supported by vethwork: leave it out"}
        POST /networks/create {"Name":"n","IPAM":{"Config":[{"Subnet":"10.9.0.1/16"},{"Subnet":"x"}]}}
          400 {"message":"invalid network config:\n* invalid subnet 10.9.0.1/16: it should be 10.9.0.0/16\n* invalid subnet x: invalid CIDR block notation"}
    "#]],
    );
}

#[test]
fn bad_filters_and_endpoints_are_refused_in_dockers_words() {
    let requests = [
        ("GET /networks?filters=%7B%22x%22%3A%5B%22y%22%5D%7D", ""),
        ("GET /networks?filters=x", ""),
        ("GET /networks/nope", ""),
        ("POST /networks/bridge/connect", r#"{"Container":"c"}"#),
        ("POST /networks/nope/disconnect", r#"{"Container":"c"}"#),
        (
            "POST /networks/bridge/connect",
            r#"{"Container":"c","EndpointConfig":{"IPAMConfig":{"IPv4Address":"x","IPv6Address":"::"},"MacAddress":"y"}}"#,
        ),
    ];
    check(
        "bad-filters",
        &requests,
        expect![[r#"
            GET /networks?filters=%7B%22x%22%3A%5B%22y%22%5D%7D 
              400 {"message":"invalid filter 'x'"}
            GET /networks?filters=x 
              400 {"message":"invalid filter"}
            GET /networks/nope 
              404 {"message":"network nope not found"}
            POST /networks/bridge/connect {"Container":"c"}
              404 {"message":"No such container: c"}
            POST /networks/nope/disconnect {"Container":"c"}
              404 {"message":"No such container: c"}
            POST /networks/bridge/connect {"Container":"c","EndpointConfig":{"IPAMConfig":{"IPv4Address":"x","IPv6Address":"::"},"MacAddress":"y"}}
              400 {"message":"invalid endpoint settings:\n* invalid IPv4 address: x\n* invalid IPv6 address: ::\n* invalid MAC address: y"}
        "#]],
    );
}

#[test]
fn bodies_are_json() {
    let api = Api::start("json");
    let answer = api.raw(
        "POST /networks/create",
        "Content-Type: text/plain\r\n",
        "{}",
    );
    expect![[r#"
        {"message":"unsupported Content-Type header (text/plain): must be 'application/json'"}
    "#]]
    .assert_eq(answer.split("\r\n\r\n").nth(1).unwrap());
}

#[test]
fn containers_that_are_not_there_answer_404() {
    let requests = [
        ("GET /containers/json?all=1", ""),
        ("GET /containers/c/json", ""),
        ("GET /containers/c/logs?stdout=1", ""),
        ("GET /containers/c/logs", ""),
        ("POST /containers/c/start", ""),
        ("POST /containers/c/stop", ""),
        ("POST /containers/c/kill", ""),
        ("POST /containers/c/wait", ""),
        ("POST /containers/c/wait?condition=later", ""),
        ("POST /containers/c/attach", ""),
        ("POST /containers/c/resize?h=1&w=1", ""),
        ("POST /containers/c/rename?name=dd", ""),
        ("DELETE /containers/c", ""),
    ];
    check(
        "no-containers",
        &requests,
        expect![[r#"
        GET /containers/json?all=1 
          200 []
        GET /containers/c/json 
          404 {"message":"No such container: c"}
        GET /containers/c/logs?stdout=1 
          404 {"message":"No such container: c"}
        GET /containers/c/logs 
          400 {"message":"Bad parameters: you must choose at least one stream"}
        POST /containers/c/start 
          404 {"message":"No such container: c"}
        POST /containers/c/stop 
          404 {"message":"No such container: c"}
        POST /containers/c/kill 
          404 {"message":"cannot kill container: c: No such container: c"}
        POST /containers/c/wait 
          404 {"message":"No such container: c"}
        POST /containers/c/wait?condition=later 
          400 {"message":"invalid condition: \"later\""}
        POST /containers/c/attach 
          404 {"message":"No such container: c"}
        POST /containers/c/resize?h=1&w=1 
          404 {"message":"No such container: c"}
        POST /containers/c/rename?name=dd 
          404 {"message":"No such container: c"}
        DELETE /containers/c 
          404 {"message":"No such container: c"}
    "#]],
    );
}

#[test]
fn execs_and_images_that_are_not_there_answer_404() {
    let requests = [
        ("GET /exec/e/json", ""),
        ("GET /images/a/b/json", ""),
        ("DELETE /images/a/b:1", ""),
        ("POST /containers/create", r#"{"Image":"nope"}"#),
        (
            "POST /images/create?fromImage=docker.io%2Flibrary%2Fx&tag=1",
            "",
        ),
        ("POST /vethwork/release/c", ""),
    ];
    check(
        "no-images",
        &requests,
        expect![[r#"
            GET /exec/e/json 
              404 {"message":"No such exec instance: e"}
            GET /images/a/b/json 
              404 {"message":"No such image: a/b:latest"}
            DELETE /images/a/b:1 
              404 {"message":"No such image: a/b:1"}
            POST /containers/create {"Image":"nope"}
              404 {"message":"No such image: nope:latest"}
            POST /images/create?fromImage=docker.io%2Flibrary%2Fx&tag=1 
              404 {"message":"pull access denied for x, repository does not exist or may require 'docker login': vethwork has no registry client; use `vethwork load` with an archive of `docker save`, or `vethwork import`"}
            POST /vethwork/release/c 
              404 {"message":"No such container: c"}
        "#]],
    );
}

#[test]
fn what_there_is_none_of_answers_so() {
    let requests = [
        ("GET /volumes", ""),
        ("POST /volumes/create", ""),
        ("GET /plugins", ""),
        ("GET /swarm", ""),
        ("GET /services", ""),
        ("POST /swarm/init", ""),
        ("POST /build", ""),
        ("POST /auth", ""),
        ("POST /containers/c/pause", ""),
        ("GET /containers/c/stats", ""),
        ("GET /system/df", ""),
        ("POST /images/prune", ""),
    ];
    check(
        "absent",
        &requests,
        expect![[r#"
        GET /volumes 
          200 {"Volumes":[],"Warnings":null}
        POST /volumes/create 
          501 {"message":"not implemented: vethwork has no volumes: mount a folder with --mount type=bind"}
        GET /plugins 
          200 []
        GET /swarm 
          503 {"message":"This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."}
        GET /services 
          503 {"message":"This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again."}
        POST /swarm/init 
          501 {"message":"not implemented: vethwork has no swarm mode"}
        POST /build 
          501 {"message":"not implemented: vethwork has no builds: build with another tool and use `vethwork load`"}
        POST /auth 
          501 {"message":"not implemented: vethwork has no registry client"}
        POST /containers/c/pause 
          501 {"message":"not implemented: vethwork has no pausing of containers: stop it"}
        GET /containers/c/stats 
          501 {"message":"not implemented: vethwork has no resource statistics"}
        GET /system/df 
          200 {"LayersSize":0,"Images":[{"Containers":0,"Created":0,"Id":"sha256:<id>","Labels":{},"ParentId":"","RepoDigests":[],"RepoTags":["host:latest"],"SharedSize":-1,"Size":0}],"Containers":[],"Volumes":[],"BuildCache":[]}
        POST /images/prune 
          200 {"ImagesDeleted":null,"SpaceReclaimed":0}
    "#]],
    );
}

#[test]
fn adopt_wants_one_source() {
    let adopt = "POST /vethwork/adopt";
    let requests = [
        (adopt, "{}"),
        (adopt, r#"{"Pid":1,"Netns":"/x"}"#),
        (adopt, r#"{"Netns":"x"}"#),
        (adopt, r#"{"Pid":4000000000}"#),
        (adopt, r#"{"Netns":"/nowhere/to/be/found"}"#),
    ];
    check(
        "adopt",
        &requests,
        expect![[r#"
        POST /vethwork/adopt {}
          400 {"message":"nothing to adopt: give Pid or Netns"}
        POST /vethwork/adopt {"Pid":1,"Netns":"/x"}
          400 {"message":"give either Pid or Netns, not both"}
        POST /vethwork/adopt {"Netns":"x"}
          400 {"message":"invalid Netns \"x\": give an absolute path"}
        POST /vethwork/adopt {"Pid":4000000000}
          404 {"message":"no process with the id 4000000000: it may have ended: No such file or directory (os error 2)"}
        POST /vethwork/adopt {"Netns":"/nowhere/to/be/found"}
          404 {"message":"no network namespace at /nowhere/to/be/found: No such file or directory (os error 2)"}
    "#]],
    );
}

#[test]
fn the_document_describes_what_is_routed() {
    let api = Api::start("openapi");
    let answer = api.ask("GET /vethwork/openapi.json", "");
    let document: Value = serde_json::from_str(&answer[4..]).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 10);
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let line = format!("{} {}", method.to_uppercase(), path.replace("{name}", "x"));
            let answer = api.ask(&line, "");
            assert!(!answer.contains("page not found"), "{line}: {answer}");
        }
    }
}

/// Adds the fields of an answer that its schema does not name.
fn unnamed(answer: &Value, schema: &Value, document: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(of) = schema["$ref"].as_str() {
        let schema = document.pointer(&of[1..]).expect("it is described");
        return unnamed(answer, schema, document, at, found);
    }
    if let Value::Array(items) = answer {
        let each = items.iter();
        each.for_each(|item| unnamed(item, &schema["items"], document, at, found));
    }
    // A map of whatever names has values of one kind.
    let (Value::Object(fields), true) = (answer, schema["additionalProperties"].is_null()) else {
        return;
    };
    let Some(named) = schema["properties"].as_object() else {
        return found.push(at.to_owned());
    };
    for (field, value) in fields {
        let at = format!("{at}.{field}");
        match named.get(field) {
            Some(schema) => unnamed(value, schema, document, &at, found),
            None => found.push(at),
        }
    }
}

#[test]
fn the_document_names_every_field_of_an_answer() {
    let api = Api::start("fields");
    let json = |answer: &str| -> Value { serde_json::from_str(&answer[4..]).unwrap() };
    let document = json(&api.ask("GET /vethwork/openapi.json", ""));
    api.ask("POST /networks/create", r#"{"Name":"shop"}"#);
    let web = r#"{"Name":"web","Network":"shop","Publish":["8080:80"]}"#;
    let made = api.ask("POST /vethwork/services/create", web);
    assert!(made.starts_with("201"), "{made}");
    let mut found = Vec::new();
    let netns = r#"{"Netns":"/proc/self/ns/net","Name":"one","Networks":[{"Network":"shop"}],"Labels":{"vethwork.service":"web"}}"#;
    let adopted = api.ask("POST /vethwork/adopt", netns);
    assert!(adopted.starts_with("201"), "{adopted}");
    for (path, asked) in [
        ("/vethwork/info", "/vethwork/info"),
        ("/vethwork/services", "/vethwork/services"),
        ("/vethwork/services/{name}", "/vethwork/services/web"),
    ] {
        let answer = api.ask(&format!("GET {asked}"), "");
        let content = &document["paths"][path]["get"]["responses"]["200"]["content"];
        let schema = &content["application/json"]["schema"];
        assert!(!schema.is_null(), "{path} has no schema");
        unnamed(&json(&answer), schema, &document, path, &mut found);
    }
    assert!(
        api.ask("GET /vethwork/services/web", "")
            .contains("EndpointID")
    );
    assert_eq!(found, [""; 0]);
}

#[test]
fn events_come_as_they_happen() {
    let api = Api::start("events");
    let mut listener = api.connect();
    listener
        .write_all(b"GET /events HTTP/1.1\r\nHost: api\r\n\r\n")
        .unwrap();
    let mut head = [0; 1024];
    let length = listener.read(&mut head).unwrap();
    assert!(head[..length].starts_with(b"HTTP/1.1 200 OK"));
    api.ask("POST /networks/create", r#"{"Name":"told"}"#);
    let mut event = [0; 4096];
    let length = listener.read(&mut event).unwrap();
    let text = String::from_utf8_lossy(&event[..length]).into_owned();
    assert!(
        text.contains(r#""Type":"network","Action":"create""#),
        "{text}"
    );
    assert!(text.contains(r#""name":"told""#), "{text}");
    let past = api.ask("GET /events?since=1&until=2", "");
    assert_eq!(past, "200 ");
}

#[test]
fn listeners_do_not_hold_the_daemon_up() {
    let api = Api::start("stop");
    let mut listener = api.connect();
    listener
        .write_all(b"GET /events HTTP/1.1\r\nHost: api\r\n\r\n")
        .unwrap();
    let mut head = [0; 1024];
    assert!(listener.read(&mut head).unwrap() > 0);
    let began = std::time::Instant::now();
    drop(api);
    assert!(began.elapsed() < std::time::Duration::from_secs(1));
    let mut rest = Vec::new();
    listener.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"0\r\n\r\n");
}

#[test]
fn a_client_too_many_is_told_so() {
    let api = Api::start("crowd");
    let ping = |stream: &mut std::os::unix::net::UnixStream| {
        // It may have been refused already.
        let _ = stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: api\r\n\r\n");
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    };
    let mut clients: Vec<_> = (0..MOST_CLIENTS).map(|_| api.connect()).collect();
    for client in &mut clients {
        assert!(ping(client).starts_with("HTTP/1.1 200 "));
    }
    let refused = ping(&mut api.connect());
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("too many clients"), "{refused}");
    clients.pop();
    let within = std::time::Duration::from_secs(20);
    vw_testkit::eventually("there is room again", within, || {
        ping(&mut api.connect()).starts_with("HTTP/1.1 200 ")
    });
}
