//! Who a job works for, where several share a repository: VolSync tells a mover neither the name of its resource nor that of the volume, only the
//! pod has a name.

/// What the operator puts before the name of a resource.
const PREFIXES: [&str; 2] = ["volsync-src-", "volsync-dst-"];

/// The letters of the five that Kubernetes adds to the names of pods: no vowels, and no digits that look like letters.
const SUFFIX: &str = "bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LEN: usize = 5;

/// Pods whose names would be longer lose the dash before the suffix.
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
