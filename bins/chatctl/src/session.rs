//! `chatctl chat`: a line session. One thread reads lines, one follows `puncher`, one waits for signals.

use std::{
    io::BufRead,
    process::ExitCode,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use chat::{Input, LINE_LIMIT, SETTLE_TIMEOUT, Verdict};
use edge::{
    Common, Exit, Remote, WithExit,
    agent::{Answer, Client, Target, Writer},
};
use rustyline::{DefaultEditor, error::ReadlineError};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use wire::{
    agent::{FromPuncher, Local, Opened, Peers, ToPuncher},
    peer::Lane,
};

use crate::{
    args::Chat,
    render,
    room::{Entry, Room},
    screen::Screen,
};

const HELP: &str = "\
* what you type goes to everybody; a text that begins with / is typed with //
*   /to NAME text   to one member alone
*   /peers          who is there, by which path
*   /mute           microphone off or on; also /mute on, /mute off
*   /exit           the end, as Ctrl-D or Ctrl-C";

/// How long texts that are under way may hold up the end of a session on a terminal.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// How long a proper leave may take.
const LEAVE_WAIT: Duration = Duration::from_secs(3);
/// How often texts that are overdue are looked for.
const TICK: Duration = Duration::from_secs(5);

/// Runs a line session.
pub(crate) fn chat(args: &Chat, target: &Target, common: &Common) -> anyhow::Result<ExitCode> {
    let (client, opened) = Client::connect(target, Lane::Text, "chatctl chat")?;
    let (editor, screen) = Screen::open(common)?;
    let session = Arc::new(Session {
        writer: client.writer(),
        screen,
        leave_on_exit: args.leave_on_exit,
        state: Mutex::new(State { room: Room::default(), ending: false, puncher: Puncher::There, failed: None }),
        changed: Condvar::new(),
    });
    session.clone().watch_signals()?;
    let follower = session.clone();
    thread::spawn(move || follower.follow_to_the_end(client));
    match editor {
        Some(editor) => session.edit(editor, &opened),
        None => session.read(std::io::stdin().lock()),
    }
}

struct Session {
    writer: Writer,
    screen: Screen,
    leave_on_exit: bool,
    state: Mutex<State>,
    /// Told after every change of the state.
    changed: Condvar,
}

struct State {
    room: Room,
    /// Whether this side has begun to end.
    ending: bool,
    puncher: Puncher,
    /// The first text that did not reach everybody.
    failed: Option<Exit>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Puncher {
    There,
    /// It said that it ends.
    Left,
    /// It is gone without a word.
    Lost,
}

/// What a line leads to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    Line,
    End,
}

/// Lines.
impl Session {
    /// Reads lines from a terminal.
    fn edit(&self, mut editor: DefaultEditor, opened: &Opened) -> anyhow::Result<ExitCode> {
        let channel = Remote(&opened.channel).show();
        self.screen.say(&format!("* this is {channel}; /help says what you can type"))?;
        let prompt = format!("{}> ", Remote(&opened.name).show());
        loop {
            match editor.readline(&prompt) {
                Ok(line) => {
                    // A history that is full is no reason to stop.
                    let _ = editor.add_history_entry(line.as_str());
                    if self.take(&line)? == Next::End {
                        break;
                    }
                }
                Err(ReadlineError::Eof) => break,
                Err(ReadlineError::Interrupted) => {
                    self.end(LAST_WAIT);
                    return Ok(ExitCode::from(128 + SIGINT as u8));
                }
                Err(ReadlineError::Signal(_)) => {}
                Err(error) => {
                    self.end(LAST_WAIT);
                    return Err(error).context("read a line").exit(Exit::Io);
                }
            }
        }
        self.end(LAST_WAIT);
        Ok(ExitCode::SUCCESS)
    }

    /// Reads lines from anything else.
    fn read(&self, lines: impl BufRead) -> anyhow::Result<ExitCode> {
        for line in lines.lines() {
            let line = line.context("read stdin").exit(Exit::Data)?;
            if self.take(&line)? == Next::End {
                break;
            }
        }
        self.end(SETTLE_TIMEOUT);
        Ok(self.state().failed.map_or(ExitCode::SUCCESS, ExitCode::from))
    }

    fn take(&self, line: &str) -> anyhow::Result<Next> {
        match Input::parse(line) {
            Input::Nothing => {}
            Input::Say(text) => self.send(Peers::All, text)?,
            Input::To(rest) => self.send_to(rest)?,
            Input::Peers => {
                let table = render::peer_table(self.state().room.peers());
                self.screen.say(&table)?;
            }
            Input::Mute(muted) => self.writer.send(&ToPuncher::Local(Local::SetMute(muted)))?,
            Input::Help => self.screen.say(HELP)?,
            Input::Exit => return Ok(Next::End),
            Input::Unknown(command) => {
                self.screen.say(&format!("* there is no command {}; /help lists them", Remote(command).show()))?;
            }
        }
        Ok(Next::Line)
    }

    fn send_to(&self, rest: &str) -> anyhow::Result<()> {
        let found = {
            let state = self.state();
            let peers: Vec<_> = state.room.peers().collect();
            let names: Vec<_> = peers.iter().map(|peer| peer.name.as_str()).collect();
            chat::addressee(rest, &names).map(|(index, text)| (peers[index].tag, text))
        };
        match found {
            Ok((tag, text)) => self.send(Peers::One(tag), text),
            Err(error) => self.screen.say(&format!("* {error}; /peers shows who is there")),
        }
    }

    fn send(&self, to: Peers, text: &str) -> anyhow::Result<()> {
        let body = match chat::check(text, LINE_LIMIT) {
            Ok(body) => body,
            Err(error) => return self.screen.say(&format!("* {error}")),
        };
        let id = chat::new_id(edge::unix_millis(), edge::random()?);
        self.state().room.start(id, body, Instant::now());
        self.writer.send(&ToPuncher::Text { id, to, body: body.as_bytes().to_vec() })
    }
}

/// What `puncher` says.
impl Session {
    fn follow_to_the_end(&self, mut client: Client) {
        let followed = self.follow(&mut client);
        let puncher = match &followed {
            Ok(puncher) => *puncher,
            Err(_) => Puncher::Lost,
        };
        let ending = {
            let mut state = self.state();
            state.puncher = puncher;
            state.room.close();
            state.ending
        };
        let shown = self.show_entries();
        self.changed.notify_all();
        if ending {
            return;
        }
        // The thread that reads lines is waiting for one and can't be told.
        let outcome = match (puncher, followed.and(shown)) {
            (_, Err(error)) => Err(error),
            (Puncher::Left, _) => self.screen.say("* the call has ended").and_then(|()| self.screen.flush()),
            _ => self.screen.flush().and(Err(anyhow!("puncher has ended")).exit(Exit::Unavailable)),
        };
        self.screen.restore();
        std::process::exit(match outcome {
            Ok(()) => self.state().failed.map_or(0, |exit| exit as i32),
            Err(error) => {
                // The code as a number; `fail` also prints the line.
                let _ = edge::fail("chatctl", &error);
                edge::code_of(&error) as i32
            }
        });
    }

    fn follow(&self, client: &mut Client) -> anyhow::Result<Puncher> {
        loop {
            let tick = Instant::now() + TICK;
            let deadline = self.state().room.poll_timeout().map_or(tick, |due| due.min(tick));
            let answer = client.read_until(deadline)?;
            match answer {
                Answer::Record(FromPuncher::Closing) => return Ok(Puncher::Left),
                Answer::Record(record) => self.state().room.handle(record),
                Answer::Ended => return Ok(Puncher::Lost),
                Answer::TimedOut => self.state().room.handle_timeout(Instant::now()),
            }
            self.show_entries()?;
            self.changed.notify_all();
        }
    }

    /// Shows what there is to show. The state is not locked meanwhile: a terminal may be slow.
    fn show_entries(&self) -> anyhow::Result<()> {
        loop {
            let entry = {
                let mut state = self.state();
                let Some(entry) = state.room.poll_entry() else { return Ok(()) };
                if let Entry::Undelivered { receipt, .. } = &entry {
                    let exit = if receipt.verdict() == Verdict::Nobody { Exit::Unavailable } else { Exit::TryAgain };
                    state.failed.get_or_insert(exit);
                }
                entry
            };
            self.screen.show(&entry)?;
        }
    }
}

/// The end.
impl Session {
    /// Waits for texts that are under way, then leaves if that was asked for.
    fn end(&self, patience: Duration) {
        let mut state = self.state();
        state.ending = true;
        let under_way = |state: &mut State| !state.room.is_idle() && state.puncher == Puncher::There;
        state = self.wait_while(state, patience, under_way);
        if self.leave_on_exit && state.puncher == Puncher::There {
            drop(state);
            if self.writer.send(&ToPuncher::Leave).is_ok() {
                drop(self.wait_while(self.state(), LEAVE_WAIT, |state| state.puncher == Puncher::There));
            }
        }
    }

    fn watch_signals(self: Arc<Self>) -> anyhow::Result<()> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("watch for signals")?;
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                self.end(Duration::ZERO);
                self.screen.restore();
                std::process::exit(128 + signal);
            }
        });
        Ok(())
    }

    fn wait_while<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        patience: Duration,
        condition: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'a, State> {
        match self.changed.wait_timeout_while(state, patience, condition) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is consistent after every call, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
