//! Who a job works for, where several share a repository: VolSync tells a mover neither the name of its resource nor that of the volume, only the
//! pod has a name.

/// What the operator puts before the name of a resource.
const PREFIXES: [&str; 2] = ["volsync-src-", "volsync-dst-"];

/// The letters of the five that Kubernetes adds to the names of pods: no vowels, and no digits that look like letters.
const SUFFIX: &str = "bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LEN: usize = 5;

/// Names of pods are at most so long: of what they are made of as much is kept as has room before the suffix, and the rest is lost without a trace.
const NAME_MAX: usize = 63;

/// Digits of the time that a `CronJob` puts into the names of its jobs: minutes since 1970.
const MINUTES_LEN: usize = 8;

/// The name of the resource or job that a pod belongs to: `app` for `volsync-src-app-x7k2p` and for `volsync-dst-app-q9d4z`, `nightly` for
/// `nightly-29384756-x7k2p`. A name that is none of a pod stays.
pub(super) fn of_pod(pod: &str) -> String {
    let job = without_suffix(pod);
    for prefix in PREFIXES {
        if let Some(resource) = job.strip_prefix(prefix).filter(|name| !name.is_empty()) {
            return resource.to_owned();
        }
    }
    match job.rsplit_once('-') {
        Some((cron, minutes))
            if job.len() < pod.len()
                && !cron.is_empty()
                && minutes.len() == MINUTES_LEN
                && minutes.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            cron.to_owned()
        }
        Some(_) | None => job.to_owned(),
    }
}

/// Whether the end may be missing of the name that the pod was called after: then two of them may look like one, or one like many.
pub(super) fn may_be_cut(pod: &str) -> bool {
    pod.len() == NAME_MAX && without_suffix(pod).len() < NAME_MAX
}

fn without_suffix(pod: &str) -> &str {
    let Some((job, suffix)) = pod.len().checked_sub(SUFFIX_LEN).and_then(|at| pod.split_at_checked(at)) else {
        return pod;
    };
    if !suffix.chars().all(|letter| SUFFIX.contains(letter)) {
        return pod;
    }
    match job.strip_suffix('-') {
        Some(job) if !job.is_empty() => job,
        None if pod.len() == NAME_MAX => job,
        Some(_) | None => pod,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_may_lack_its_end_is_known() {
        let cut = |job: &str| {
            let room = NAME_MAX - SUFFIX_LEN;
            let mut pod = format!("{job}-");
            pod.truncate(room);
            may_be_cut(&format!("{pod}x7k2p"))
        };
        for (letters, is_cut) in [(1, false), (44, false), (45, true), (46, true), (47, true), (51, true)] {
            assert_eq!(cut(&format!("volsync-src-{}", "a".repeat(letters))), is_cut, "{letters}");
        }
        // A dash where the cut is, and the digits of a time before it.
        assert!(cut(&format!("volsync-src-{}-0", "a".repeat(45))));
        for (letters, is_cut) in [(47, false), (48, true), (49, true), (52, true)] {
            assert_eq!(cut(&format!("{}-29384756", "b".repeat(letters))), is_cut, "{letters}");
        }
        assert!(!may_be_cut(&"A".repeat(NAME_MAX)), "the name of no pod");
    }

    #[test]
    fn source_and_destination_of_one_name_are_one() {
        let long = "a".repeat(46);
        for (pod, identity) in [
            ("volsync-src-app-x7k2p".to_owned(), "app"),
            ("volsync-dst-app-q9d4z".to_owned(), "app"),
            ("volsync-src-my-app-data-bbbbb".to_owned(), "my-app-data"),
            (format!("volsync-src-{long}x7k2p"), long.as_str()),
            (format!("volsync-dst-{long}q9d4z"), long.as_str()),
            ("nightly-29384756-x7k2p".to_owned(), "nightly"),
            ("nightly-29384756".to_owned(), "nightly-29384756"),
            ("restore-x7k2p".to_owned(), "restore"),
            ("laptop".to_owned(), "laptop"),
            ("db-state".to_owned(), "db-state"),
            ("x7k2p".to_owned(), "x7k2p"),
            ("-x7k2p".to_owned(), "-x7k2p"),
            (String::new(), ""),
        ] {
            assert_eq!(of_pod(&pod), identity, "{pod}");
        }
    }
}
