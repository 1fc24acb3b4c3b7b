//! What a server and its children use, as the kernel counts it.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// The kernel counts processor time in hundredths of a second, on all architectures that Paddock
/// supports.
const TICK: Duration = Duration::from_millis(10);

/// The processor time that a process and its children have used so far.
pub(crate) fn processor_time(id: u32) -> Result<Duration> {
    let mut ticks = 0;
    for id in tree(id) {
        let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name of the process, in parentheses, may contain spaces.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        for place in [11, 12] {
            ticks += fields.get(place).context("the times of a process")?.parse::<u32>()?;
        }
    }
    Ok(TICK * ticks)
}

/// The resident memory of a process and its children, in KiB.
pub(crate) fn memory_kib(id: u32) -> Result<u64> {
    let mut sum = 0;
    for id in tree(id) {
        let text = fs::read_to_string(format!("/proc/{id}/status"))?;
        let figure = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("its memory")?;
        sum += figure.trim().trim_end_matches(" kB").parse::<u64>()?;
    }
    Ok(sum)
}

/// A process and all that it has started.
fn tree(id: u32) -> Vec<u32> {
    let mut found = vec![id];
    let mut next = 0;
    while let Some(id) = found.get(next) {
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        next += 1;
    }
    found
}
