//! What each rendezvous gave for the next start: objects of JSON, a line each, in the state directory.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use edge::{ServerAddr, dirs, secret_file};
use serde::{Deserialize, Serialize};
use wire::signal::{TICKET_LIFETIME, Ticket};

use super::writer::Writer;

const FILE: &str = "tickets";
/// Of so many servers; those that were met last.
const MAX_SERVERS: usize = 64;

/// The tickets of one rendezvous.
pub(crate) struct Tickets {
    path: PathBuf,
    server: String,
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
        Self { path, server: server.to_string() }
    }

    /// The one to come back with. Without one everything works as well, a round trip later.
    pub(crate) fn latest(&self) -> Option<Ticket> {
        let now = unix_now();
        read(&self.path)
            .into_iter()
            .rfind(|kept| kept.server == self.server && kept.until > now)
            .map(|kept| kept.ticket)
    }

    /// Takes a ticket in the place of any other.
    pub(crate) fn keep(&self, ticket: Ticket, writer: &Writer) {
        let kept = Kept { server: self.server.clone(), until: unix_now() + TICKET_LIFETIME.as_secs(), ticket };
        let path = self.path.clone();
        writer.write(&self.path, move || write(&path, kept).context("keep what makes the next start quicker"));
    }
}

fn write(path: &Path, ticket: Kept) -> anyhow::Result<()> {
    secret_file::change(path, |text| with(&text, ticket).map(Some))
}

fn with(text: &str, ticket: Kept) -> anyhow::Result<String> {
    let now = unix_now();
    let mut all = parse(text);
    all.retain(|kept| kept.server != ticket.server && kept.until > now);
    all.drain(..all.len().saturating_sub(MAX_SERVERS - 1));
    all.push(ticket);
    let mut text = String::new();
    for kept in &all {
        text.push_str(&serde_json::to_string(kept).context("write a ticket as JSON")?);
        text.push('\n');
    }
    Ok(text)
}

fn read(path: &Path) -> Vec<Kept> {
    if !path.exists() {
        return Vec::new();
    }
    match secret_file::read(path) {
        Ok(text) => parse(&text),
        Err(error) => {
            tracing::warn!("this start takes a round trip more: {error:#}");
            Vec::new()
        }
    }
}

fn parse(text: &str) -> Vec<Kept> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
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

    fn keep(dir: &tempfile::TempDir, server: &str, number: u8) {
        let mut writer = Writer::start().unwrap();
        of(dir, server).keep(ticket(number), &writer);
        writer.finish();
        assert!(writer.failure().is_none());
    }

    #[test]
    fn the_last_ticket_of_each_server_is_there_at_the_next_start_and_for_nobody_else_to_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of(&dir, "one.example").latest(), None);
        keep(&dir, "one.example", 1);
        keep(&dir, "two.example", 2);
        keep(&dir, "one.example", 3);
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
            keep(&dir, &format!("a-server-with-a-long-name-{number}.somewhere.example:65535"), number as u8);
        }
        let servers: Vec<_> = read(&of(&dir, "x").path).into_iter().map(|kept| kept.server).collect();
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
        keep(&dir, "one.example", 2);
        assert_eq!(tickets.latest(), Some(ticket(2)));
        assert_eq!(read(&tickets.path).len(), 1);
    }
}
