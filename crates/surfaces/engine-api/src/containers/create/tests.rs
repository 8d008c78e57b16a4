//! Create requests against the commands and refusals they become.

use super::command;
use crate::{containers::config::CreateRequest, errors::ApiError, json, version::ApiVersion};
use expect_test::{Expect, expect, expect_file};
use vw_controller::command::ContainerCreate;

/// What `docker create` of Docker 28 sends with most of its flags.
const DOCKER: &str = include_str!("docker-28.json");

fn created(body: &str, version: ApiVersion) -> Result<(ContainerCreate, Vec<String>), ApiError> {
    let request: CreateRequest = json::parse(body.as_bytes())?;
    command("web", request, version)
}

fn with_host(host: &str) -> Result<(ContainerCreate, Vec<String>), ApiError> {
    created(
        &format!(r#"{{"Image":"i","HostConfig":{host}}}"#),
        ApiVersion::MAX,
    )
}

#[test]
fn every_flag_of_dockers_client_arrives() {
    let (command, warnings) = created(DOCKER, ApiVersion::v1(50)).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    expect_file!["docker-28.txt"]
        .assert_eq(&format!("{:#?}\n{:#?}", command.container, command.sandbox));
}

#[test]
fn what_was_given_is_kept_to_be_shown_again() {
    let (command, _) = created(DOCKER, ApiVersion::v1(50)).unwrap();
    let given: serde_json::Value = serde_json::from_str(DOCKER).unwrap();
    let given = given["HostConfig"].as_object().unwrap();
    let kept = command.host_config.as_object().unwrap();
    for (key, value) in given {
        let completed = matches!(key.as_str(), "IpcMode" | "CgroupnsMode" | "LogConfig");
        assert!(
            completed || kept.get(key) == Some(value),
            "{key}: {:?}",
            kept.get(key)
        );
    }
}

/// What each is refused with, one a line.
fn refusals(status: u16, hosts: &[&str]) -> String {
    let refused = hosts.iter().map(|host| {
        let error = with_host(host).unwrap_err();
        assert_eq!(error.status, status, "{host}");
        format!("{host}\n  {}\n", error.message)
    });
    refused.collect()
}

#[test]
fn options_without_effect_are_refused_by_name() {
    let refused = refusals(
        501,
        &[
            r#"{"CpuQuota":1}"#,
            r#"{"Devices":[{"PathOnHost":"/dev/null"}]}"#,
            r#"{"PidMode":"host"}"#,
            r#"{"IpcMode":"container:x"}"#,
            r#"{"LogConfig":{"Type":"syslog"}}"#,
            r#"{"Links":["db:d"]}"#,
            r#"{"SecurityOpt":["seccomp={}"]}"#,
            r#"{"Binds":["v:/x"]}"#,
            r#"{"Mounts":[{"Type":"volume","Target":"/x"}]}"#,
            r#"{"MemorySwap":-1}"#,
        ],
    );
    expect![[r#"
        {"CpuQuota":1}
          CpuQuota is not supported by vethwork: limit processors with --cpus
        {"Devices":[{"PathOnHost":"/dev/null"}]}
          Devices is not supported by vethwork: use --privileged for the host's devices
        {"PidMode":"host"}
          PidMode is not supported by vethwork: each container has its own
        {"IpcMode":"container:x"}
          IpcMode is not supported by vethwork: each container has its own
        {"LogConfig":{"Type":"syslog"}}
          LogConfig is not supported by vethwork: output goes to one file a container, without rotation
        {"Links":["db:d"]}
          Links is not supported by vethwork: use a network of your own, where containers find each other by name
        {"SecurityOpt":["seccomp={}"]}
          SecurityOpt "seccomp={}" is not supported by vethwork: use no-new-privileges or seccomp=unconfined
        {"Binds":["v:/x"]}
          the volume "v" is not supported by vethwork: there are no volumes; bind an absolute path or use a tmpfs
        {"Mounts":[{"Type":"volume","Target":"/x"}]}
          Mount type "volume" is not supported by vethwork: there are no volumes; bind an absolute path or use a tmpfs
        {"MemorySwap":-1}
          MemorySwap is not supported by vethwork: limit memory with --memory
    "#]].assert_eq(&refused);
}

#[test]
fn malformed_options_are_refused_in_dockers_words() {
    let refused = refusals(
        400,
        &[
            r#"{"RestartPolicy":{"Name":"sometimes"}}"#,
            r#"{"RestartPolicy":{"Name":"always","MaximumRetryCount":-1}}"#,
            r#"{"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":-1}}"#,
            r#"{"RestartPolicy":{"Name":"always"},"AutoRemove":true}"#,
            r#"{"Memory":1000}"#,
            r#"{"PortBindings":{"x/tcp":[]}}"#,
            r#"{"PortBindings":{"80/tcp":[{"HostPort":"x"}]}}"#,
            r#"{"PortBindings":{"80/tcp":[{"HostIp":"x"}]}}"#,
            r#"{"Dns":["x"]}"#,
            r#"{"ExtraHosts":["x"]}"#,
            r#"{"ExtraHosts":["x:y"]}"#,
            r#"{"NetworkMode":"container:"}"#,
            r#"{"NetworkMode":"container:c","Dns":["1.1.1.1"]}"#,
            r#"{"NetworkMode":"container:c","PortBindings":{"80/tcp":null}}"#,
            r#"{"Sysctls":{"net.ipv4.conf.eth0.forwarding":"1"}}"#,
        ],
    );
    expect![[r#"
        {"RestartPolicy":{"Name":"sometimes"}}
          invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'
        {"RestartPolicy":{"Name":"always","MaximumRetryCount":-1}}
          invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative
        {"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":-1}}
          invalid restart policy: maximum retry count cannot be negative
        {"RestartPolicy":{"Name":"always"},"AutoRemove":true}
          can't create 'AutoRemove' container with restart policy
        {"Memory":1000}
          Minimum memory limit allowed is 6MB
        {"PortBindings":{"x/tcp":[]}}
          invalid port specification: "x/tcp"
        {"PortBindings":{"80/tcp":[{"HostPort":"x"}]}}
          invalid port specification: "x"
        {"PortBindings":{"80/tcp":[{"HostIp":"x"}]}}
          invalid IP address: x
        {"Dns":["x"]}
          bad nameserver address x: use an IP address
        {"ExtraHosts":["x"]}
          bad format for add-host: "x"
        {"ExtraHosts":["x:y"]}
          invalid IP address in add-host: "y"
        {"NetworkMode":"container:"}
          Invalid network mode: invalid container format container:<name|id>
        {"NetworkMode":"container:c","Dns":["1.1.1.1"]}
          conflicting options: dns and the network mode
        {"NetworkMode":"container:c","PortBindings":{"80/tcp":null}}
          conflicting options: port publishing and the container type network mode
        {"Sysctls":{"net.ipv4.conf.eth0.forwarding":"1"}}
          interface specific sysctl setting "net.ipv4.conf.eth0.forwarding" must be supplied using driver option 'com.docker.network.endpoint.sysctls'
    "#]].assert_eq(&refused);
}

#[test]
fn malformed_mounts_are_refused_in_dockers_words() {
    let refused = refusals(
        400,
        &[
            r#"{"Binds":["/a:b"]}"#,
            r#"{"Binds":["/a:/b:huh"]}"#,
            r#"{"Binds":["/a:/b:ro:z"]}"#,
            r#"{"Binds":["/a:/b"],"Tmpfs":{"/b":""}}"#,
            r#"{"Mounts":[{"Type":"bind","Target":"/x"}]}"#,
            r#"{"Mounts":[{"Type":"tmpfs","Target":"/x","BindOptions":{}}]}"#,
            r#"{"Mounts":[{"Type":"odd","Target":"/x"}]}"#,
        ],
    );
    expect![[r#"
        {"Binds":["/a:b"]}
          invalid mount config: invalid mount path: 'b' mount path must be absolute
        {"Binds":["/a:/b:huh"]}
          invalid mode: huh
        {"Binds":["/a:/b:ro:z"]}
          invalid volume specification: '/a:/b:ro:z'
        {"Binds":["/a:/b"],"Tmpfs":{"/b":""}}
          Duplicate mount point: /b
        {"Mounts":[{"Type":"bind","Target":"/x"}]}
          invalid mount config for type "bind": field Source must not be empty
        {"Mounts":[{"Type":"tmpfs","Target":"/x","BindOptions":{}}]}
          BindOptions must not be specified on mount type "tmpfs"
        {"Mounts":[{"Type":"odd","Target":"/x"}]}
          invalid mount config for type "odd": mount type unknown
    "#]]
    .assert_eq(&refused);
}

#[test]
fn a_request_names_an_image() {
    let refused = |body: &str, expected: Expect| {
        expected.assert_eq(&created(body, ApiVersion::MAX).unwrap_err().message);
    };
    refused(
        "{}",
        expect!["config cannot be empty in order to create a container"],
    );
    refused(
        r#"{"Cmd":["x"]}"#,
        expect!["no image specified: name one in Image"],
    );
    refused(
        r#"{"Image":"i","Env":["=x"]}"#,
        expect!["invalid environment variable: =x"],
    );
    let request: CreateRequest = json::parse(br#"{"Image":"i"}"#).unwrap();
    let error = command("-bad", request, ApiVersion::MAX).unwrap_err();
    expect!["Invalid container name (-bad), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"]
        .assert_eq(&error.message);
}

fn networks(body: &str, minor: u32) -> String {
    match created(&format!(r#"{{"Image":"i",{body}}}"#), ApiVersion::v1(minor)) {
        Ok((command, warnings)) => {
            let names =
                command
                    .sandbox
                    .networks
                    .iter()
                    .map(|(name, settings)| match settings.mac {
                        Some(mac) => format!("{name}({mac})"),
                        None => name.clone(),
                    });
            let names: Vec<_> = names.collect();
            let warned = if warnings.is_empty() { "" } else { " warned" };
            format!(
                "{:?} {:?} {}{warned}",
                command.mode,
                command.mode_text,
                names.join(",")
            )
        }
        Err(error) => error.message,
    }
}

#[test]
fn network_modes_choose_networks() {
    let shown = [
        (r#""Cmd":[]"#, 51),
        (r#""HostConfig":{"NetworkMode":"default"}"#, 51),
        (r#""HostConfig":{"NetworkMode":"host"},"NetworkingConfig":{"EndpointsConfig":{"host":null}}"#, 51),
        (r#""HostConfig":{"NetworkMode":"none"},"NetworkingConfig":{"EndpointsConfig":{"n":{}}}"#, 51),
        (r#""HostConfig":{"NetworkMode":"host"},"NetworkingConfig":{"EndpointsConfig":{"n":{}}}"#, 51),
        (r#""HostConfig":{"NetworkMode":"container:c"}"#, 51),
        (r#""HostConfig":{"NetworkMode":"z"},"NetworkingConfig":{"EndpointsConfig":{"a":{},"z":null}}"#, 51),
        (r#""HostConfig":{"NetworkMode":"z"},"NetworkingConfig":{"EndpointsConfig":{"a":{},"z":null}}"#, 43),
        (r#""NetworkingConfig":{"EndpointsConfig":{"default":{"MacAddress":"02:00:00:00:00:01"}}}"#, 51),
        (r#""NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:00:00:00:00:01"}}}"#, 43),
        (r#""MacAddress":"02:00:00:00:00:02""#, 43),
        (r#""MacAddress":"02:00:00:00:00:02""#, 44),
        (r#""MacAddress":"02:00:00:00:00:02","HostConfig":{"NetworkMode":"host"}"#, 43),
        (r#""MacAddress":"02:00:00:00:00:02","NetworkingConfig":{"EndpointsConfig":{"n":{}}}"#, 43),
        (r#""MacAddress":"02:00:00:00:00:02","NetworkingConfig":{"EndpointsConfig":{"n":{}}}"#, 51),
    ]
    .map(|(body, minor)| format!("1.{minor} {body}\n  {}\n", networks(body, minor)));
    expect![[r#"
        1.51 "Cmd":[]
          Networks "bridge" bridge
        1.51 "HostConfig":{"NetworkMode":"default"}
          Networks "bridge" bridge
        1.51 "HostConfig":{"NetworkMode":"host"},"NetworkingConfig":{"EndpointsConfig":{"host":null}}
          Host "host" 
        1.51 "HostConfig":{"NetworkMode":"none"},"NetworkingConfig":{"EndpointsConfig":{"n":{}}}
          container cannot be connected to multiple networks with one of the networks in private (none) mode
        1.51 "HostConfig":{"NetworkMode":"host"},"NetworkingConfig":{"EndpointsConfig":{"n":{}}}
          container sharing network namespace with another container or host cannot be connected to any other network
        1.51 "HostConfig":{"NetworkMode":"container:c"}
          Container("c") "container:c" 
        1.51 "HostConfig":{"NetworkMode":"z"},"NetworkingConfig":{"EndpointsConfig":{"a":{},"z":null}}
          Networks "z" z,a
        1.43 "HostConfig":{"NetworkMode":"z"},"NetworkingConfig":{"EndpointsConfig":{"a":{},"z":null}}
          Container cannot be created with multiple network endpoints: a, z
        1.51 "NetworkingConfig":{"EndpointsConfig":{"default":{"MacAddress":"02:00:00:00:00:01"}}}
          Networks "bridge" bridge(02:00:00:00:00:01)
        1.43 "NetworkingConfig":{"EndpointsConfig":{"bridge":{"MacAddress":"02:00:00:00:00:01"}}}
          Networks "bridge" bridge
        1.43 "MacAddress":"02:00:00:00:00:02"
          Networks "bridge" bridge(02:00:00:00:00:02)
        1.44 "MacAddress":"02:00:00:00:00:02"
          Networks "bridge" bridge(02:00:00:00:00:02) warned
        1.43 "MacAddress":"02:00:00:00:00:02","HostConfig":{"NetworkMode":"host"}
          conflicting options: mac-address and the network mode
        1.43 "MacAddress":"02:00:00:00:00:02","NetworkingConfig":{"EndpointsConfig":{"n":{}}}
          Networks "bridge" bridge(02:00:00:00:00:02)
        1.51 "MacAddress":"02:00:00:00:00:02","NetworkingConfig":{"EndpointsConfig":{"n":{}}}
          unable to migrate container-wide MAC address to a specific network: HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks
    "#]].assert_eq(&shown.concat());
}

#[test]
fn an_entry_point_may_be_taken_away() {
    let entrypoint = |body: &str| {
        created(&format!(r#"{{"Image":"i",{body}}}"#), ApiVersion::MAX)
            .unwrap()
            .0
            .container
            .entrypoint
    };
    assert_eq!(entrypoint(r#""Cmd":"one word""#), None);
    assert_eq!(entrypoint(r#""Entrypoint":null"#), None);
    assert_eq!(entrypoint(r#""Entrypoint":[""]"#), Some(Vec::new()));
    assert_eq!(
        entrypoint(r#""Entrypoint":"sh""#),
        Some(vec!["sh".to_owned()])
    );
}
