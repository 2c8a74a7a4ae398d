//! Where cgroup2 is mounted: /sys/fs/cgroup on most nodes, elsewhere on hybrid ones.

use std::{fs, path::PathBuf};

use super::DatapathError;

/// The root of the first cgroup2 mount that shows the whole hierarchy.
pub fn cgroup2_root() -> Result<PathBuf, DatapathError> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    find(&mountinfo).ok_or(DatapathError::NoCgroup2)
}

/// proc(5): `36 35 98:0 /root /mount/point options optional… - type source superoptions`.
fn find(mountinfo: &str) -> Option<PathBuf> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        (right.split(' ').next()? == "cgroup2").then_some((root, mount_point))
    });
    let mut first = None;
    for (root, mount_point) in mounts {
        if root == "/" {
            return Some(unescape(mount_point));
        }
        first.get_or_insert_with(|| unescape(mount_point));
    }
    first
}

/// mountinfo writes blanks and the like as `\040`.
fn unescape(field: &str) -> PathBuf {
    let mut path = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        path.push_str(before);
        match after
            .get(..3)
            .and_then(|octal| u8::from_str_radix(octal, 8).ok())
        {
            Some(byte) => {
                path.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                path.push('\\');
                rest = after;
            }
        }
    }
    path.push_str(rest);
    path.into()
}

#[cfg(test)]
mod tests;
