//! What each rendezvous gave for the next start: objects of JSON, a line each, in the state directory.

use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use edge::{ServerAddr, dirs, secret_file};
use serde::{Deserialize, Serialize};
use wire::signal::{TICKET_LIFETIME, Ticket};

const FILE: &str = "tickets";
/// Of so many servers; those that were met last.
const MAX_SERVERS: usize = 64;
/// A ticket comes just when a call begins, and writing a file may take the time of a round trip.
const PATIENCE: Duration = Duration::from_secs(2);

/// The tickets of one rendezvous.
pub(crate) struct Tickets {
    path: PathBuf,
    server: String,
    /// Not in the file yet, and when it is to be.
    unwritten: Option<(Ticket, Instant)>,
}

#[derive(Deserialize, Serialize)]
struct Kept {
    server: String,
    /// In seconds since 1970.
    until: u64,
    ticket: Ticket,
}

impl Tickets {
    /// Those that the user was given by this server.
    pub(crate) fn of(server: &ServerAddr) -> anyhow::Result<Self> {
        Ok(Self::at(dirs::state_dir()?.join(FILE), server))
    }

    fn at(path: PathBuf, server: &ServerAddr) -> Self {
        Self { path, server: server.to_string(), unwritten: None }
    }

    /// The one to come back with. Without one everything works as well, a round trip later.
    pub(crate) fn latest(&self) -> Option<Ticket> {
        let now = unix_now();
        self.read().into_iter().rfind(|kept| kept.server == self.server && kept.until > now).map(|kept| kept.ticket)
    }

    /// Takes a ticket in the place of any other.
    pub(crate) fn keep(&mut self, ticket: Ticket, now: Instant) {
        self.unwritten = Some((ticket, now + PATIENCE));
    }

    /// When to write.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.unwritten.as_ref().map(|(_, due)| *due)
    }

    /// Writes down what was taken since the last time.
    pub(crate) fn write(&mut self) -> anyhow::Result<()> {
        let Some((ticket, _)) = self.unwritten.take() else { return Ok(()) };
        let now = unix_now();
        let mut all = self.read();
        all.retain(|kept| kept.server != self.server && kept.until > now);
        all.drain(..all.len().saturating_sub(MAX_SERVERS - 1));
        all.push(Kept { server: self.server.clone(), until: now + TICKET_LIFETIME.as_secs(), ticket });
        let mut text = String::new();
        for kept in &all {
            text.push_str(&serde_json::to_string(kept).context("write a ticket as JSON")?);
            text.push('\n');
        }
        secret_file::write_private(&self.path, text.as_bytes()).context("keep what makes the next start quicker")
    }

    fn read(&self) -> Vec<Kept> {
        if !self.path.exists() {
            return Vec::new();
        }
        match secret_file::read(&self.path) {
            Ok(text) => text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect(),
            Err(error) => {
                tracing::warn!("this start takes a round trip more: {error:#}");
                Vec::new()
            }
        }
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn ticket(number: u8) -> Ticket {
        Ticket { sealed: vec![number; wire::early::TICKET], key: [number; 32] }
    }

    fn of(dir: &tempfile::TempDir, server: &str) -> Tickets {
        Tickets::at(dir.path().join(FILE), &edge::parse_server(server).unwrap())
    }

    fn write(dir: &tempfile::TempDir, server: &str, number: u8) {
        let mut tickets = of(dir, server);
        tickets.keep(ticket(number), Instant::now());
        tickets.write().unwrap();
    }

    #[test]
    fn the_last_ticket_of_each_server_is_there_at_the_next_start_and_for_nobody_else_to_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of(&dir, "one.example").latest(), None);
        write(&dir, "one.example", 1);
        write(&dir, "two.example", 2);
        write(&dir, "one.example", 3);
        assert_eq!(of(&dir, "one.example").latest(), Some(ticket(3)));
        assert_eq!(of(&dir, "two.example").latest(), Some(ticket(2)));
        assert_eq!(of(&dir, "one.example:4000").latest(), None);
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_file_does_not_grow_and_can_always_be_read() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..=MAX_SERVERS {
            write(&dir, &format!("a-server-with-a-long-name-{number}.somewhere.example:65535"), number as u8);
        }
        let servers: Vec<_> = of(&dir, "x").read().into_iter().map(|kept| kept.server).collect();
        assert_eq!(servers.len(), MAX_SERVERS);
        assert!(servers[0].starts_with("a-server-with-a-long-name-1."), "{}", servers[0]);
    }

    #[test]
    fn an_expired_ticket_and_a_damaged_line_are_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let tickets = of(&dir, "one.example");
        let old = Kept { server: tickets.server.clone(), until: unix_now(), ticket: ticket(1) };
        let text = format!("{}\n{{\"server\":\n\0\n", serde_json::to_string(&old).unwrap());
        secret_file::write_private(&tickets.path, text.as_bytes()).unwrap();
        assert_eq!(tickets.latest(), None);
        write(&dir, "one.example", 2);
        assert_eq!(tickets.latest(), Some(ticket(2)));
        assert_eq!(tickets.read().len(), 1);
    }

    #[test]
    fn what_was_not_taken_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        of(&dir, "one.example").write().unwrap();
        assert!(!dir.path().join(FILE).exists());
    }
}
