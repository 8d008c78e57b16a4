//! What is promised of the image store, on examples.

use super::{
    Images, Reference, Removed, changes,
    config::ImageConfig,
    layer::tests::{Dir, Tar, unprivileged},
    stream,
};
use expect_test::{Expect, expect};
use proptest::prelude::*;
use std::{fs, io::Write, os::unix::fs::MetadataExt, path::Path};
use tar::{Builder, Header};
use vw_model::ContainerSpec;

#[test]
fn references() {
    let check = |text: &str, expected: Expect| {
        let shown = text
            .parse::<Reference>()
            .map_or_else(|_| "refused".to_owned(), |name| name.to_string());
        expected.assert_eq(&shown);
    };
    check("web", expect!["web:latest"]);
    check("web:1.0", expect!["web:1.0"]);
    check("docker.io/library/web", expect!["web:latest"]);
    check("docker.io/team/web", expect!["team/web:latest"]);
    check("library/web", expect!["web:latest"]);
    check(
        "localhost:5000/a/b_c/d__e:T-1",
        expect!["localhost:5000/a/b_c/d__e:T-1"],
    );
    check(
        "registry.example/web",
        expect!["registry.example/web:latest"],
    );
    for bad in [
        "",
        "Web",
        "web:",
        "web:-1",
        "a//b",
        "/a",
        "a/",
        "a___b",
        "-a",
        "a:b:c",
        "a b",
        "../a",
        &"a".repeat(300),
        &"0".repeat(64),
    ] {
        check(bad, expect!["refused"]);
    }
}

proptest! {
    #[test]
    fn a_reference_reads_back(text in "[a-zA-Z0-9./:_-]{0,40}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }
    }
}

#[test]
fn instructions() {
    let mut config = ImageConfig::default();
    for change in [
        "CMD [\"a\", \"b\"]",
        "ENTRYPOINT run it",
        "ENV A=1 B='two words' C=\"3 \\\" 4\"",
        "env D one value",
        "EXPOSE 80 53/UDP 7000-7002",
        "LABEL x=y",
        "WORKDIR /srv",
        "WORKDIR sub",
        "USER web",
        "STOPSIGNAL SIGQUIT",
        "VOLUME /data /more",
    ] {
        changes::apply(&mut config, change).unwrap();
    }
    expect![[r#"{"User":"web","ExposedPorts":{"53/udp":{},"7000-7002/tcp":{},"80/tcp":{}},"Env":["A=1","B=two words","C=3 \" 4","D=one value"],"Entrypoint":["/bin/sh","-c","run it"],"Cmd":["a","b"],"Volumes":{"/data":{},"/more":{}},"WorkingDir":"/srv/sub","Labels":{"x":"y"},"StopSignal":"SIGQUIT"}"#]]
        .assert_eq(&serde_json::to_string(&config).unwrap());
    for (change, expected) in [
        (
            "RUN x",
            expect![
                "RUN is not a valid change command; use CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME or WORKDIR"
            ],
        ),
        ("CMD", expect!["CMD requires at least one argument"]),
        ("ENV A", expect!["ENV must have two arguments"]),
        (
            "ENV A=\"1",
            expect![[r#"ENV: a quote is not closed in "A=\"1""#]],
        ),
        ("EXPOSE 0", expect!["Invalid containerPort: 0"]),
        ("EXPOSE 9-8", expect!["Invalid containerPort: 9-8"]),
    ] {
        expected.assert_eq(&changes::apply(&mut config, change).unwrap_err().to_string());
    }
}

#[test]
fn an_image_fills_what_a_request_left_open() {
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let image = ImageConfig {
        entrypoint: Some(words(&["/entry"])),
        cmd: words(&["serve"]),
        env: words(&["A=1", "B=2"]),
        user: "web".to_owned(),
        ..ImageConfig::default()
    };
    let fill = |entrypoint: Option<&[&str]>, cmd: &[&str]| {
        let mut spec = ContainerSpec {
            entrypoint: entrypoint.map(words),
            cmd: words(cmd),
            env: words(&["B=3"]),
            ..ContainerSpec::default()
        };
        image.fill(&mut spec);
        assert_eq!(
            (spec.env, spec.user.as_str()),
            (words(&["A=1", "B=3"]), "web")
        );
        [spec.entrypoint.unwrap_or_default(), spec.cmd]
            .concat()
            .join(" ")
    };
    assert_eq!(fill(None, &[]), "/entry serve");
    assert_eq!(fill(None, &["x"]), "/entry x");
    assert_eq!(fill(Some(&["/mine"]), &[]), "/mine");
}

#[test]
fn import_list_tag_remove() {
    if unprivileged() {
        return;
    }
    let dir = Dir::new("store");
    let images = Images::open(&dir.0).unwrap();
    let tar = Tar::default().file("a", b"hello").finish();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let plain = images
        .import(tar.as_slice(), Some("one"), &["CMD a".to_owned()])
        .unwrap();
    let packed = images
        .import(gzip.finish().unwrap().as_slice(), None, &[])
        .unwrap();
    assert_eq!(plain.layers, packed.layers);
    assert_eq!((plain.size, plain.tags.len(), packed.tags.len()), (5, 1, 0));
    images.tag("one", "two:1").unwrap();
    let names: Vec<_> = images
        .list()
        .unwrap()
        .iter()
        .map(|image| image.tags.len())
        .collect();
    assert_eq!(names.iter().sum::<usize>(), 3);
    assert_eq!(images.get(&plain.id.hex()[..12]).unwrap().id, plain.id);

    // A second life finds the same.
    let images = Images::open(&dir.0).unwrap();
    let free = |_: &_| None;
    let error = |result: crate::Result<Vec<Removed>>| {
        result
            .unwrap_err()
            .to_string()
            .replace(plain.id.hex(), "ID")
            .replace(&plain.id.hex()[..12], "SHORT")
    };
    expect!["conflict: unable to remove repository reference \"ID\" (must be forced) - image is referenced in multiple repositories"]
        .assert_eq(&error(images.remove(plain.id.hex(), false, free)));
    assert_eq!(images.remove("two:1", false, free).unwrap().len(), 1);
    let used = |running| move |_: &_| Some(("c1".to_owned(), running));
    expect!["conflict: unable to remove repository reference \"one\" (must force) - container c1 is using its referenced image SHORT"]
        .assert_eq(&error(images.remove("one", false, used(false))));
    expect!["conflict: unable to remove repository reference \"one\" (cannot be forced) - image is being used by running container c1"]
        .assert_eq(&error(images.remove("one", true, used(true))));
    assert_eq!(images.remove("one", false, free).unwrap().len(), 2);
    assert!(
        dir.0
            .join("images/layers")
            .join(plain.layers[0].hex())
            .exists()
    );
    images.remove(packed.id.hex(), false, free).unwrap();
    assert!(
        !dir.0
            .join("images/layers")
            .join(plain.layers[0].hex())
            .exists()
    );
    expect!["No such image: one:latest"].assert_eq(&error(images.remove("one", false, free)));
    assert_eq!(images.list().unwrap().len(), 1);
}

#[test]
fn the_image_host_cannot_be_changed() {
    let dir = Dir::new("hosted");
    let images = Images::open(&dir.0).unwrap();
    assert_eq!(
        images.get("host").unwrap().tags[0].to_string(),
        "host:latest"
    );
    assert!(images.remove("host", true, |_| None).is_err());
    assert!(images.tag("host", "other").is_err());
    assert!(images.import(&[0; 1024][..], Some("host"), &[]).is_err());
}

fn layer_of(file: &str) -> (Vec<u8>, String) {
    let tar = Tar::default().file(file, b"x").finish();
    let digest = stream::digest(&tar);
    (tar, digest)
}

fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, data) in files {
        let mut header = Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, data.as_slice())
            .unwrap();
    }
    builder.into_inner().unwrap()
}

fn config_of(layers: &[&str]) -> Vec<u8> {
    let ids: Vec<_> = layers
        .iter()
        .map(|layer| format!("sha256:{layer}"))
        .collect();
    serde_json::json!({
        "architecture": super::config::architecture(), "os": "linux",
        "config": {"Env": ["A=1"], "Cmd": null, "Entrypoint": ["/e"], "ExposedPorts": {"80/tcp": {}}},
        "rootfs": {"type": "layers", "diff_ids": ids},
    })
    .to_string()
    .into_bytes()
}

#[test]
fn load_what_docker_saved() {
    if unprivileged() {
        return;
    }
    let dir = Dir::new("load");
    let images = Images::open(&dir.0).unwrap();
    let ((lower, lower_id), (upper, upper_id)) = (layer_of("a"), layer_of("b"));
    let config = config_of(&[&lower_id, &upper_id]);
    let name = format!("{}.json", stream::digest(&config));
    let manifest = serde_json::json!([{"Config": name, "RepoTags": ["web:1", "web:2"], "Layers": ["l/layer.tar", "u/layer.tar"]}]);
    let files = |upper: &[u8], config: &[u8]| {
        archive(&[
            ("l/layer.tar".to_owned(), lower.clone()),
            ("u/layer.tar".to_owned(), upper.to_vec()),
            (name.clone(), config.to_vec()),
            (
                "manifest.json".to_owned(),
                manifest.to_string().into_bytes(),
            ),
        ])
    };
    let loaded = images.load(files(&upper, &config).as_slice()).unwrap();
    assert_eq!(
        (loaded.len(), loaded[0].tags.len(), loaded[0].size),
        (1, 2, 2)
    );
    assert_eq!(loaded[0].id.hex(), stream::digest(&config));
    assert!(loaded[0].config.exposed_ports.contains_key("80/tcp"));
    images.remove(loaded[0].id.hex(), true, |_| None).unwrap();

    let wrong = |error: crate::Result<_>| {
        error
            .map(|_: Vec<super::Image>| ())
            .unwrap_err()
            .to_string()
    };
    let (other, other_id) = layer_of("c");
    let error = wrong(images.load(files(&other, &config).as_slice()));
    assert_eq!(
        error,
        format!(
            "invalid layer: it has the digest sha256:{other_id}, and sha256:{upper_id} was stated"
        )
    );
    let error = wrong(images.load(files(&upper, b"{}").as_slice()));
    assert!(
        error.starts_with("invalid archive: ") && error.contains("has the digest"),
        "{error}"
    );
    let error = wrong(images.load(archive(&[]).as_slice()));
    assert!(
        error.starts_with("invalid archive: it holds neither manifest.json"),
        "{error}"
    );
    let error = wrong(images.load(&[0x28, 0xb5, 0x2f, 0xfd, 0][..]));
    assert!(error.contains("zstd"), "{error}");
    assert_eq!(images.list().unwrap().len(), 1);
    assert_eq!(fs::read_dir(dir.0.join("images/tmp")).unwrap().count(), 0);
}

#[test]
fn load_an_oci_layout() {
    if unprivileged() {
        return;
    }
    let dir = Dir::new("oci");
    let images = Images::open(&dir.0).unwrap();
    let (layer, layer_id) = layer_of("a");
    let config = config_of(&[&layer_id]);
    let blob = |data: &[u8]| {
        (
            format!("blobs/sha256/{}", stream::digest(data)),
            data.to_vec(),
        )
    };
    let descriptor = |data: &[u8]| serde_json::json!({"mediaType": "m", "digest": format!("sha256:{}", stream::digest(data)), "size": data.len()});
    let manifest =
        serde_json::json!({"config": descriptor(&config), "layers": [descriptor(&layer)]})
            .to_string()
            .into_bytes();
    let mut ours = descriptor(&manifest);
    ours["annotations"] =
        serde_json::json!({"io.containerd.image.name": "docker.io/library/web:3"});
    let mut foreign = ours.clone();
    foreign["platform"] = serde_json::json!({"architecture": "other", "os": "linux"});
    let index = serde_json::json!({"manifests": [foreign, ours]})
        .to_string()
        .into_bytes();
    let mut blobs = vec![
        blob(&layer),
        blob(&config),
        blob(&manifest),
        ("index.json".to_owned(), index),
    ];
    let loaded = images.load(archive(&blobs).as_slice()).unwrap();
    assert_eq!(
        (loaded.len(), loaded[0].tags[0].to_string().as_str()),
        (1, "web:3")
    );
    blobs[0].1[0] ^= 1;
    let error = images
        .load(archive(&blobs).as_slice())
        .unwrap_err()
        .to_string();
    assert!(error.contains("has the digest"), "{error}");
}

#[test]
fn import_a_directory() {
    if unprivileged() {
        return;
    }
    let dir = Dir::new("directory");
    let from = dir.root();
    fs::create_dir(from.join("sub")).unwrap();
    fs::write(from.join("sub/file"), "text").unwrap();
    fs::hard_link(from.join("sub/file"), from.join("again")).unwrap();
    std::os::unix::fs::symlink("sub/file", from.join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
    let images = Images::open(&dir.0).unwrap();
    let image = images.import_directory(&from, Some("dir"), &[]).unwrap();
    let layers = images.layers(&image.id).unwrap().unwrap();
    let at = |path: &str| layers[0].join(path);
    assert_eq!(fs::read(at("link")).unwrap(), b"text");
    assert_eq!(fs::metadata(at("again")).unwrap().nlink(), 2);
    assert!(!at("socket").exists());
    let error = images
        .import_directory(Path::new("/no/such"), None, &[])
        .unwrap_err();
    assert!(error.to_string().contains("/no/such"), "{error}");
}
