//! What a process uses, as Linux tells it in /proc.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

/// Clock ticks per second in /proc: a constant of Linux' interface to programs (USER_HZ).
const TICKS: u64 = 100;

/// One process.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Pid(pub(super) u32);

impl Pid {
    /// The time that its threads have run, in user mode and in the kernel.
    pub(super) fn cpu_time(self) -> Result<Duration> {
        let Stat { ticks, .. } = self.stat()?;
        Ok(Duration::from_millis(ticks * 1000 / TICKS))
    }

    /// The same, in nanoseconds; threads that have ended do not count.
    pub(super) fn run_time(self) -> Result<Duration> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0)).context("read the threads of a process")?;
        let times = threads.flatten().filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
        });
        Ok(times.sum())
    }

    /// Its resident memory in bytes.
    pub(super) fn memory(self) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.0)).context("read the status of a process")?;
        resident(&text).context("a process has no VmRSS")
    }

    /// What everything has sent that is in the same network namespace.
    pub(super) fn sent(self) -> Result<Sent> {
        let path = format!("/proc/{}/net/dev", self.0);
        Ok(Sent::parse(&fs::read_to_string(path).context("read the interfaces of a process")?))
    }

    /// The processes that it has started.
    pub(super) fn children(self) -> Result<Vec<Self>> {
        let entries = fs::read_dir("/proc").context("read /proc")?.flatten();
        let pids = entries.filter_map(|entry| Some(Self(entry.file_name().to_str()?.parse().ok()?)));
        Ok(pids.filter(|pid| pid.stat().is_ok_and(|stat| stat.parent == self)).collect())
    }

    fn stat(self) -> Result<Stat> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0)).context("read the figures of a process")?;
        Stat::parse(&text).context("the figures of a process make no sense")
    }
}

/// How long this thread has worked; what else the machine does is not in it.
pub(super) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// How long this thread works on something.
pub(super) fn time_of(work: impl FnOnce()) -> Duration {
    let before = thread_time();
    work();
    thread_time().saturating_sub(before)
}

/// What a network namespace has sent, as its interfaces count it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Sent {
    /// Bytes of IP packets.
    pub(super) bytes: u64,
    packets: u64,
}

impl Sent {
    /// Bytes of Ethernet's header.
    const ETHERNET: u64 = 14;

    fn parse(dev: &str) -> Self {
        let lines = dev.lines().filter_map(|line| line.split_once(':'));
        let outside = lines.filter(|(name, _)| name.trim() != "lo");
        outside.fold(Self::default(), |sum, (_, counts)| {
            let mut sent = counts.split_whitespace().skip(8).map_while(|count| count.parse::<u64>().ok());
            let (bytes, packets) = (sent.next().unwrap_or(0), sent.next().unwrap_or(0));
            let bytes = bytes.saturating_sub(Self::ETHERNET * packets);
            Self { bytes: sum.bytes + bytes, packets: sum.packets + packets }
        })
    }
}

/// Parts of /proc/PID/stat.
#[derive(Debug, Eq, PartialEq)]
struct Stat {
    parent: Pid,
    ticks: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name, in parentheses, may have spaces and parentheses in it.
        let fields: Vec<_> = text.rsplit_once(") ")?.1.split(' ').collect();
        let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
        Some(Self { parent: Pid(u32::try_from(number(1)?).ok()?), ticks: number(11)? + number(12)? })
    }
}

fn resident(status: &str) -> Option<u64> {
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(kilobytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_behind_any_name() {
        let text = "4711 (odd) (name) S 42 4711 4711 0 -1 4194560 90 0 0 0 150 25 0 0 20 0 1 0 100 1000 10";
        assert_eq!(Stat::parse(text), Some(Stat { parent: Pid(42), ticks: 175 }));
        assert_eq!(Stat::parse("4711 (cut"), None);
        assert_eq!(Stat::parse("4711 (cut) S 1 2"), None);
    }

    #[test]
    fn memory_is_told_in_kilobytes() {
        assert_eq!(resident("Name:\tx\nVmHWM:\t  99 kB\nVmRSS:\t    1234 kB\n"), Some(1234 * 1024));
        assert_eq!(resident("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn what_went_out_is_counted_without_the_loopback_and_without_ethernet() {
        let dev = "Inter-|   Receive                            |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
            lo:  900  9 0 0 0 0 0 0  900  9 0 0 0 0 0 0\n  eth0:  1000 10 0 0 0 0 0 0  2000  20 0 0 0 0 0 0\n";
        assert_eq!(Sent::parse(dev), Sent { bytes: 2000 - 20 * 14, packets: 20 });
        assert_eq!(Sent::parse("nonsense"), Sent::default());
    }

    #[test]
    fn this_process_uses_something() {
        let pid = Pid(std::process::id());
        assert!(pid.memory().unwrap() > 100_000);
        assert!(pid.cpu_time().unwrap() < Duration::from_secs(3600));
        let before = pid.run_time().unwrap();
        while pid.run_time().unwrap() == before {}
    }
}
