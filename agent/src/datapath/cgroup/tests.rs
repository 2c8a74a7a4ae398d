use super::*;

#[test]
fn finds_cgroup2_wherever_it_is() {
    let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw";
    assert_eq!(find(unified), Some("/sys/fs/cgroup".into()));

    let hybrid = "31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                  32 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                  33 31 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
    assert_eq!(find(hybrid), Some("/sys/fs/cgroup/unified".into()));
}

#[test]
fn prefers_the_whole_hierarchy() {
    let both = "30 23 0:26 /kubepods/pod1 /mnt/part rw - cgroup2 cgroup2 rw\n\
                31 23 0:26 / /mnt/with\\040blank rw - cgroup2 cgroup2 rw";
    assert_eq!(find(both), Some("/mnt/with blank".into()));
}

#[test]
fn says_when_there_is_none() {
    assert_eq!(
        find("31 23 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw\nrubbish\n"),
        None
    );
}
