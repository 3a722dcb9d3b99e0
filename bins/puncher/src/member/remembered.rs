//! Where the members of a channel were reached last: the way back in if the rendezvous does not answer any more.

use std::{
    fmt::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;

use super::writer::Writer;

/// Addresses that are kept of one channel.
const MAX_ADDRS: usize = 16;
/// An address that nobody was reached at for so many seconds is forgotten: 30 days.
const FORGET_AFTER: u64 = 30 * 24 * 3600;
const HEADER: &str = "# Where members of this channel were reached: address, last time (seconds since 1970)\n";

/// A file of addresses, the latest first; written after each new one, and at the end.
pub(crate) struct Remembered {
    path: PathBuf,
    addrs: Vec<(SocketAddr, u64)>,
}

impl Remembered {
    /// What is known of a channel of a server. A file that can't be read is as good as none: it costs a way back, no call.
    pub(crate) fn load(channel: &str, server: &str) -> anyhow::Result<Self> {
        let name = edge::dirs::file_stem(&format!("{channel}@{server}"));
        Ok(Self::at(&edge::dirs::state_subdir("members")?.join(name), now()))
    }

    fn at(path: &Path, now: u64) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(%error, path = %path.display(), "the members' addresses could not be read");
            }
            String::new()
        });
        let is_fresh = |(_, at): &(SocketAddr, u64)| now.saturating_sub(*at) < FORGET_AFTER;
        let mut addrs: Vec<_> = text.lines().filter_map(parse).filter(is_fresh).collect();
        addrs.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
        addrs.truncate(MAX_ADDRS);
        Self { path: path.to_owned(), addrs }
    }

    /// The addresses, the latest first.
    pub(crate) fn addrs(&self) -> Vec<SocketAddr> {
        self.addrs.iter().map(|(addr, _)| *addr).collect()
    }

    /// Somebody was reached there.
    pub(crate) fn note(&mut self, addr: SocketAddr, writer: &Writer) {
        if self.put_in_front(addr, now()) {
            self.save(writer);
        }
    }

    /// Tells whether the address was not known.
    fn put_in_front(&mut self, addr: SocketAddr, at: u64) -> bool {
        let before = self.addrs.len();
        self.addrs.retain(|(known, _)| *known != addr);
        let is_new = self.addrs.len() == before;
        self.addrs.insert(0, (addr, at));
        self.addrs.truncate(MAX_ADDRS);
        is_new
    }

    /// Writes the file.
    pub(crate) fn save(&self, writer: &Writer) {
        let mut text = HEADER.to_owned();
        for (addr, at) in &self.addrs {
            let _ = writeln!(text, "{addr} {at}");
        }
        let path = self.path.clone();
        writer.write(&self.path, move || {
            edge::secret_file::write_private(&path, text.as_bytes()).context("keep where members were reached")
        });
    }
}

fn parse(line: &str) -> Option<(SocketAddr, u64)> {
    let (addr, at) = line.split_once(' ')?;
    Some((addr.parse().ok()?, at.trim().parse().ok()?))
}

fn now() -> u64 {
    edge::unix_millis() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 7], port))
    }

    #[test]
    fn addresses_come_back_the_latest_first_and_old_ones_do_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lobby");
        let mut kept = Remembered::at(&path, 0);
        for (port, at) in [(1, 100), (2, 200), (1, 300)] {
            kept.put_in_front(addr(port), at);
        }
        let writer = Writer::start().expect("a thread");
        kept.save(&writer);
        drop(writer);

        assert_eq!(Remembered::at(&path, 301).addrs(), [addr(1), addr(2)]);
        assert_eq!(Remembered::at(&path, 250 + FORGET_AFTER).addrs(), [addr(1)]);
    }

    #[test]
    fn a_damaged_file_costs_its_damaged_lines_and_takes_bounded_room() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lobby");
        let lines: String =
            (1..100).map(|port| format!("{} {port}\nnonsense\n{} x\n", addr(port), addr(port))).collect();
        std::fs::write(&path, lines).expect("write");

        let kept = Remembered::at(&path, 100).addrs();

        assert_eq!((kept.len(), kept[0]), (MAX_ADDRS, addr(99)));
    }
}
