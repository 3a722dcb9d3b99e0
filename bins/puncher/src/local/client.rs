//! One local program at the agent socket: what it sends, and what waits to be read by it.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Read, Write},
    iter::once,
};

use mio::{Registry, Token, net::UnixStream};
use wire::{
    DecodeError,
    agent::{FromPuncher, MAX_RECORD, ToPuncher},
    frame,
    peer::Lane,
};

use crate::net::socket::interest;

/// Voice that a program has not read is dropped, oldest first, beyond this many records (2 s of one speaker).
const MAX_VOICE_WAITING: usize = 200;
/// A program that lets this many bytes of anything else wait has stopped reading, and is cut off.
const MAX_BYTES_WAITING: usize = 16 * 1024 * 1024;
/// So many records are written at once: as many as come between two turns of the loop.
const MOST_AT_ONCE: usize = 16;

/// Why a program's connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Gone {
    #[error("it closed the connection")]
    Closed,
    #[error("it does not speak the protocol: {0}")]
    Garbage(#[from] DecodeError),
    #[error("it has stopped reading")]
    Stuck,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// One connected program.
pub(crate) struct Client {
    stream: UnixStream,
    reader: frame::Reader<ToPuncher>,
    /// A record that was taken too early.
    withheld: Option<ToPuncher>,
    lane: Option<Lane>,
    waiting: VecDeque<Record>,
    /// Bytes of the first waiting record that are already written.
    written: usize,
    bytes_waiting: usize,
    voice_waiting: usize,
    /// Whether the loop is told of room to write.
    awaits_room: bool,
    /// Whether the program has closed the connection. What it said before is still to be read.
    is_closed: bool,
    /// Voice records that were dropped because the program was slow.
    pub(crate) dropped: u64,
}

struct Record {
    bytes: Vec<u8>,
    is_voice: bool,
}

impl Client {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            reader: frame::Reader::new("agent record", MAX_RECORD),
            withheld: None,
            lane: None,
            waiting: VecDeque::new(),
            written: 0,
            bytes_waiting: 0,
            voice_waiting: 0,
            awaits_room: false,
            is_closed: false,
            dropped: 0,
        }
    }

    pub(crate) fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// The lane that the program has opened.
    pub(crate) fn lane(&self) -> Option<Lane> {
        self.lane
    }

    pub(crate) fn open(&mut self, lane: Lane) {
        self.lane = Some(lane);
    }

    /// The same, to wait for it.
    pub(crate) fn stream_ref(&self) -> &UnixStream {
        &self.stream
    }

    /// Reads some of what is there, by a buffer whose content means nothing; whether there may be more. The records are then taken
    /// with [`Self::next_record`].
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<bool, Gone> {
        match self.stream.read(buffer) {
            Ok(0) => Err(Gone::Closed),
            Ok(len) => {
                self.reader.push(&buffer[..len]);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn next_record(&mut self) -> Result<Option<ToPuncher>, Gone> {
        match self.withheld.take() {
            Some(record) => Ok(Some(record)),
            None => Ok(self.reader.next()?),
        }
    }

    /// Gives a record back, to be the next one.
    pub(crate) fn withhold(&mut self, record: ToPuncher) {
        self.withheld = Some(record);
    }

    /// Whether something waits for the program, and it may still take it.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the program can still be told something, as far as is known.
    pub(crate) fn is_listening(&self) -> bool {
        !self.is_closed
    }

    /// Queues a record and writes what the program's side has room for.
    pub(crate) fn send(&mut self, record: &FromPuncher) -> Result<(), Gone> {
        self.queue(record)?;
        self.flush()
    }

    /// Queues a record, to be written with the next [`Self::flush`].
    pub(crate) fn queue(&mut self, record: &FromPuncher) -> Result<(), Gone> {
        if self.is_closed {
            return Ok(());
        }
        let is_voice = matches!(record, FromPuncher::Voice { .. });
        if is_voice && self.voice_waiting >= MAX_VOICE_WAITING {
            self.drop_oldest_voice();
        }
        let bytes = frame::frame(record);
        self.bytes_waiting += bytes.len();
        self.voice_waiting += usize::from(is_voice);
        self.waiting.push_back(Record { bytes, is_voice });
        if self.bytes_waiting > MAX_BYTES_WAITING { Err(Gone::Stuck) } else { Ok(()) }
    }

    /// Writes what waits, as far as there is room.
    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        while !self.waiting.is_empty() {
            match self.write() {
                Ok(len) => self.forget_written(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset].contains(&error.kind()) => {
                    self.stop_listening();
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<usize> {
        let mut waiting = self.waiting.iter().map(|record| record.bytes.as_slice());
        let first = waiting.next().map_or(&[][..], |bytes| &bytes[self.written..]);
        if self.waiting.len() == 1 {
            return self.stream.write(first);
        }
        let all: Vec<_> = once(first).chain(waiting).take(MOST_AT_ONCE).map(IoSlice::new).collect();
        self.stream.write_vectored(&all)
    }

    fn forget_written(&mut self, len: usize) {
        self.written += len;
        while let Some(record) = self.waiting.front().filter(|record| record.bytes.len() <= self.written) {
            self.written -= record.bytes.len();
            self.forget(0);
        }
    }

    /// Lets the loop wait for what this connection needs; after anything was queued or written.
    pub(crate) fn watch(&mut self, token: Token, registry: &Registry) -> Result<(), Gone> {
        let is_blocked = !self.waiting.is_empty();
        if is_blocked != self.awaits_room {
            registry.reregister(&mut self.stream, token, interest(is_blocked))?;
            self.awaits_room = is_blocked;
        }
        Ok(())
    }

    /// Nothing more is told; the end of the connection is found by reading, behind what the program said last.
    fn stop_listening(&mut self) {
        self.is_closed = true;
        self.waiting.clear();
        (self.written, self.bytes_waiting, self.voice_waiting) = (0, 0, 0);
    }

    fn drop_oldest_voice(&mut self) {
        // A record that is half written can't be taken back.
        let first = usize::from(self.written > 0);
        if let Some(index) = (first..self.waiting.len()).find(|index| self.waiting[*index].is_voice) {
            self.forget(index);
            self.dropped += 1;
        }
    }

    fn forget(&mut self, index: usize) {
        if let Some(record) = self.waiting.remove(index) {
            self.bytes_waiting -= record.bytes.len();
            self.voice_waiting -= usize::from(record.is_voice);
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::PeerTag;

    use super::*;

    fn pair() -> (Client, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a socket pair");
        ours.set_nonblocking(true).expect("non-blocking");
        (Client::new(UnixStream::from_std(ours)), theirs)
    }

    fn voice(number: u32) -> FromPuncher {
        FromPuncher::Voice { from: PeerTag(1), came_us: 7, packet: number.to_be_bytes().repeat(200) }
    }

    fn drain(client: &mut Client, theirs: &mut std::os::unix::net::UnixStream) -> Vec<FromPuncher> {
        theirs.set_nonblocking(true).expect("non-blocking");
        let mut reader = frame::Reader::new("record", MAX_RECORD);
        let mut buffer = vec![0; 1 << 16];
        let mut records = Vec::new();
        loop {
            client.flush().expect("flush");
            match theirs.read(&mut buffer) {
                Ok(len) => reader.push(&buffer[..len]),
                Err(_) => return records,
            }
            while let Some(record) = reader.next().expect("a record") {
                records.push(record);
            }
        }
    }

    #[test]
    fn a_slow_reader_loses_the_oldest_voice_and_no_text() {
        let (mut client, mut theirs) = pair();
        for number in 0..5000 {
            client.send(&voice(number)).expect("send");
        }
        client.send(&FromPuncher::Closing).expect("send");

        let dropped = client.dropped;
        let records = drain(&mut client, &mut theirs);

        assert!(dropped > 0);
        assert_eq!(records.len() as u64, 5001 - dropped);
        assert_eq!(records.last(), Some(&FromPuncher::Closing));
        assert_eq!(records[records.len() - 2], voice(4999));
    }

    #[test]
    fn what_is_queued_is_written_at_once() {
        let (mut client, mut theirs) = pair();
        for number in 0..5 {
            client.queue(&voice(number)).expect("queue");
        }
        theirs.set_nonblocking(true).expect("non-blocking");
        assert!(theirs.read(&mut [0]).is_err(), "nothing before");

        client.flush().expect("flush");

        let records = drain(&mut client, &mut theirs);
        assert_eq!(records, (0..5).map(voice).collect::<Vec<_>>());
    }

    fn is_told_of_room(poll: &mut mio::Poll) -> bool {
        let mut events = mio::Events::with_capacity(4);
        poll.poll(&mut events, Some(std::time::Duration::ZERO)).expect("poll");
        events.iter().any(mio::event::Event::is_writable)
    }

    #[test]
    fn what_a_program_reads_wakes_nobody_unless_something_waits_for_room() {
        let (mut client, mut theirs) = pair();
        let mut poll = mio::Poll::new().expect("a queue");
        poll.registry().register(client.stream(), Token(7), interest(false)).expect("register");
        let mut send_and_read = |count| {
            for number in 0..count {
                client.send(&voice(number)).expect("send");
            }
            client.watch(Token(7), poll.registry()).expect("watch");
            let _ = theirs.read(&mut vec![0; 1 << 20]).expect("read");
            let is_told = is_told_of_room(&mut poll);
            drain(&mut client, &mut theirs);
            client.watch(Token(7), poll.registry()).expect("watch");
            is_told
        };

        assert!(!send_and_read(1));
        assert!(send_and_read(5000));
        assert!(!send_and_read(1));
    }

    #[test]
    fn what_a_program_said_before_it_closed_is_read_though_it_can_be_told_nothing_more() {
        let (mut client, mut theirs) = pair();
        theirs.write_all(&frame::frame(&ToPuncher::Leave)).expect("write");
        drop(theirs);

        client.send(&FromPuncher::Closing).expect("no failure yet");

        assert!(!client.is_listening());
        while client.read(&mut [0; 64]).is_ok_and(|has_more| has_more) {}
        assert!(matches!(client.read(&mut [0; 64]), Err(Gone::Closed | Gone::Io(_))));
        assert_eq!(client.next_record().expect("a record"), Some(ToPuncher::Leave));
    }

    #[test]
    fn a_program_that_never_reads_is_cut_off_before_memory_runs_out() {
        let (mut client, _theirs) = pair();
        let text = FromPuncher::Refused("x".repeat(1 << 20));
        let sent = (0..64).take_while(|_| client.send(&text).is_ok()).count();
        assert!(sent < 20, "{sent} MiB were queued");
    }
}
