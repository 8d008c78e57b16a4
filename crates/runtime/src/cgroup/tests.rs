//! What is promised of control groups, on examples.

use super::hierarchies;
use expect_test::{Expect, expect};

fn check(mountinfo: &str, expected: Expect) {
    let found = hierarchies(mountinfo).into_iter();
    let lines = found.map(|h| {
        format!(
            "{} unified={} cpuset={}\n",
            h.at.display(),
            h.unified,
            h.cpuset
        )
    });
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn hierarchies_of_each_version() {
    check(
        "26 1 0:24 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n\
         30 1 8:1 / / rw - ext4 /dev/vda rw\n",
        expect![[r#"
            /sys/fs/cgroup unified=true cpuset=false
        "#]],
    );
    check(
        "25 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
         26 25 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
         27 25 0:25 / /sys/fs/cgroup/cpuset rw shared:3 - cgroup cgroup rw,cpuset\n\
         28 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
         29 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
         31 25 0:26 / /mnt/elsewhere rw - cgroup cgroup rw,pids\n",
        expect![[r#"
            /sys/fs/cgroup/unified unified=true cpuset=false
            /sys/fs/cgroup/cpuset unified=false cpuset=true
            /sys/fs/cgroup/cpu,cpuacct unified=false cpuset=false
        "#]],
    );
}
