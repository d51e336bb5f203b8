//! What the pod of a job would be called: a source of a shared repository is known by it.

use crate::schedule::board::{Method, ResourceId, Role};

/// Longest name of a job (`JobNameMaxLength` in VolSync's `internal/controller/utils/utils.go`); VolSync puts a hash of the resource's name in the place of a longer one.
const JOB_MAX: usize = 63;

/// What Kubernetes keeps of a job's name, with a dash behind it, before it adds five letters.
const KEPT: usize = 58;

/// Five letters that Kubernetes might have chosen.
const SUFFIX: &str = "xxxxx";

/// The name of a pod for this resource.
pub(super) fn of_pod(id: &ResourceId, method: Method) -> String {
    let end = match id.role {
        Role::Source => "src",
        Role::Destination => "dst",
    };
    let prefix = match method {
        Method::Restic => format!("volsync-{end}-"),
        Method::Rclone => format!("volsync-rclone-{end}-"),
    };
    let mut job = format!("{prefix}{}", id.name);
    if job.len() > JOB_MAX {
        job = format!("{prefix}{:08x}", crc32(id.name.as_bytes()));
    }
    let base: String = format!("{job}-").chars().take(KEPT).collect();
    base + SUFFIX
}

/// The checksum of IEEE 802.3, bit by bit: names are short.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    let bit = |crc: u32| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_what_volsync_and_kubernetes_make_of_them() {
        // The check value of this checksum.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        let name_of = |name: &str, method| {
            let id = ResourceId { namespace: "prod".to_owned(), name: name.to_owned(), role: Role::Source };
            of_pod(&id, method)
        };
        let restic = |letters: usize| name_of(&"a".repeat(letters), Method::Restic);
        for letters in [1, 44, 45] {
            assert_eq!(restic(letters), format!("volsync-src-{}-xxxxx", "a".repeat(letters)));
        }
        for letters in [46, 47, 51] {
            assert_eq!(restic(letters), format!("volsync-src-{}xxxxx", "a".repeat(46)), "{letters}");
        }
        for letters in [52, 200] {
            let hash = crc32("a".repeat(letters).as_bytes());
            assert_eq!(restic(letters), format!("volsync-src-{hash:08x}-xxxxx"), "{letters}");
        }
        assert_eq!(name_of("web", Method::Rclone), "volsync-rclone-src-web-xxxxx");
    }
}
