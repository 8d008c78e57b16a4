//! A resolver file is read again when it changed, and only then.

use super::*;

fn servers(files: &ResolverFiles, path: &Path) -> Vec<String> {
    let conf = files.read(path).unwrap_or_default();
    let servers = conf.nameservers.iter();
    servers.map(|server| server.addr.to_string()).collect()
}

fn file(name: &str) -> PathBuf {
    let name = format!("vw-resolver-{}-{name}", std::process::id());
    std::env::temp_dir().join(name)
}

#[test]
fn each_change_is_seen_at_once_also_of_the_same_length() {
    let path = file("changes");
    let files = ResolverFiles::default();
    for octet in 1..=9 {
        fs::write(&path, format!("nameserver 192.0.2.{octet}\n")).unwrap();
        assert_eq!(servers(&files, &path), [format!("192.0.2.{octet}")]);
        assert_eq!(servers(&files, &path), [format!("192.0.2.{octet}")]);
    }
    fs::remove_file(&path).unwrap();
    assert!(servers(&files, &path).is_empty());
}

#[test]
fn only_a_file_that_has_rested_is_kept() {
    let path = file("rests");
    fs::write(&path, "").unwrap();
    let stamp = Stamp::of(&fs::metadata(&path).unwrap());
    fs::remove_file(&path).unwrap();
    let now = SystemTime::now();
    assert!(!stamp.is_settled(now));
    assert!(stamp.is_settled(now + 3 * SETTLED));
    // A clock that was set back is no reason to trust the file.
    assert!(!stamp.is_settled(now - 3 * SETTLED));
}
