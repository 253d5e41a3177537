//! `process_*`, read from what Linux says about this process.

use super::Sample;

/// Kernel clock ticks per second as user space sees them: a constant of Linux' ABI.
const TICKS_PER_SECOND: f64 = 100.0;

/// Samples from the contents of `/proc/self/stat`, `/proc/self/limits` and the number of entries in `/proc/self/fd`.
/// `started` is in seconds since the epoch. What cannot be read is left out.
pub fn process_samples(stat: &str, limits: &str, open_files: usize, started: f64, page_bytes: f64) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut add = |name, help, kind, value| {
        samples.push(Sample {
            name,
            help,
            kind,
            labels: Vec::new(),
            value,
        })
    };
    // The second field is the command in parentheses and may contain anything; numbers follow the last one.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    let number = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
    if let (Some(user), Some(system)) = (number(11), number(12)) {
        let seconds = (user + system) / TICKS_PER_SECOND;
        add(
            "process_cpu_seconds_total",
            "User and system CPU seconds.",
            "counter",
            seconds,
        );
    }
    if let (Some(bytes), Some(pages)) = (number(20), number(21)) {
        add("process_virtual_memory_bytes", "Virtual memory.", "gauge", bytes);
        add(
            "process_resident_memory_bytes",
            "Resident memory.",
            "gauge",
            pages * page_bytes,
        );
    }
    if open_files > 0 {
        add("process_open_fds", "Open file descriptors.", "gauge", open_files as f64);
    }
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    if let Some(max) = limit.and_then(|rest| rest.split_whitespace().next()?.parse().ok()) {
        add("process_max_fds", "Limit of open file descriptors.", "gauge", max);
    }
    add(
        "process_start_time_seconds",
        "When the process started, in seconds since the epoch.",
        "gauge",
        started,
    );
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_linux_text() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 9 0 777 1000000 25 184467 1";
        let limits = "Limit  Soft Limit\nMax open files            1024                 4096                 files\n";
        let samples = process_samples(stat, limits, 7, 5.0, 4096.0);
        let value = |name| {
            samples
                .iter()
                .find(|sample| sample.name == name)
                .map(|sample| sample.value)
        };
        assert_eq!(value("process_cpu_seconds_total"), Some(2.0));
        assert_eq!(value("process_resident_memory_bytes"), Some(102_400.0));
        assert_eq!(value("process_max_fds"), Some(1024.0));
        assert_eq!(value("process_open_fds"), Some(7.0));
        assert_eq!(process_samples("", "", 0, 5.0, 4096.0).len(), 1);
    }
}
