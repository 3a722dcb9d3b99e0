//! `chatctl chat`: a line session. One thread reads lines, one follows `puncher`, one waits for signals.
//!
//! On a terminal every end is the reading thread's: the others say why, and break its wait for a line with SIGINT to this process, so
//! that the line editor itself gives the terminal back. Elsewhere a wait for a line can't be broken, and they exit.

use std::{
    io::BufRead,
    process::ExitCode,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use chat::{AddresseeError, Input, LINE_LIMIT, SETTLE_TIMEOUT, Verdict};
use edge::{
    Common, Exit, Remote, WithExit,
    agent::{Answer, Client, Target, Writer},
};
use rustix::process::{getpid, kill_process};
use rustyline::{
    DefaultEditor,
    error::{ReadlineError, Signal},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use wire::{
    PeerTag,
    agent::{FromPuncher, Opened, Peers, ToPuncher},
    local::{Ask, Local},
    peer::Lane,
};

use crate::{
    args::Chat,
    lines::next_line,
    notices, render,
    room::{Entry, Room},
    screen::Screen,
};

const HELP: &str = "\
* what you type goes to everybody; a text that begins with / is typed with //
*   /to NAME text   to one member alone
*   /peers          who is there, by which path, and whose voice is heard
*   /mute           microphone off or on; also /mute on, /mute off, /unmute
*   /deafen         all sound and the microphone off or on; also /deafen on, /deafen off, /undeafen
*   /volume NAME DB how loud one is played, in decibels from -60 to 12, or off, or on
*   /exit           the end, as Ctrl-D or Ctrl-C";

/// How long texts that are under way may hold up the end of a session on a terminal.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// How long a proper leave may take.
const LEAVE_WAIT: Duration = Duration::from_secs(3);
/// How long `puncher` may take to say who is there.
const INTRODUCTION_WAIT: Duration = Duration::from_secs(2);
/// How often a wait for a line is broken until it is.
const BREAK_INTERVAL: Duration = Duration::from_millis(50);
/// How often texts that are overdue are looked for.
const TICK: Duration = Duration::from_secs(5);

/// Runs a line session.
pub(crate) fn chat(args: &Chat, target: &Target, common: &Common) -> anyhow::Result<ExitCode> {
    let (client, opened) = Client::connect(target, Lane::Text, "chatctl chat")?;
    let (editor, screen) = Screen::open(common)?;
    let screen = Arc::new(screen);
    if let Some(pipe) = &args.notices {
        notices::watch(pipe, Arc::clone(&screen))?;
    }
    let session = Arc::new(Session {
        target: target.clone(),
        writer: client.writer(),
        screen,
        leave_on_exit: args.leave_on_exit,
        state: Mutex::new(State::default()),
        changed: Condvar::new(),
    });
    session.clone().watch_signals(editor.is_some())?;
    // If puncher has ended already, whoever follows it says so.
    let _ = session.ask(Ask::Status);
    let follower = session.clone();
    match editor {
        Some(editor) => {
            let interrupted = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(SIGINT, interrupted.clone()).context("watch for signals")?;
            thread::spawn(move || follower.follow_for_the_editor(client));
            session.edit(editor, &opened, &interrupted)
        }
        None => {
            thread::spawn(move || follower.follow_or_exit(client));
            session.read(std::io::stdin().lock())
        }
    }
}

struct Session {
    target: Target,
    writer: Writer,
    screen: Arc<Screen>,
    leave_on_exit: bool,
    state: Mutex<State>,
    /// Told after every change of the state.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    room: Room,
    /// Whether an entry was taken from the room and is not on the screen yet.
    showing: bool,
    /// Whether this side has begun to end.
    ending: bool,
    /// The signal that asks for the end.
    signal: Option<i32>,
    /// Whether the line editor is done.
    edited: bool,
    puncher: Puncher,
    /// The first text that did not reach everybody.
    failed: Option<Exit>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Puncher {
    #[default]
    There,
    /// It said that it ends.
    Left,
    /// It is gone without a word.
    Lost,
}

/// Why another thread wants the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    Signal(i32),
    Puncher(Puncher),
}

/// How the line editor ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Edited {
    /// With `/exit` or Ctrl-D.
    Finished,
    /// With Ctrl-C, or because another thread wants the end.
    Interrupted,
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
    fn edit(&self, mut editor: DefaultEditor, opened: &Opened, interrupted: &AtomicBool) -> anyhow::Result<ExitCode> {
        self.wait_for_introduction();
        let channel = Remote(&opened.channel).show();
        let alone = if self.is_alone() { ", and nobody else is here yet" } else { "" };
        self.screen.say(&format!("* this is {channel}{alone}; /help says what you can type"))?;
        let prompt = format!("{}> ", Remote(&opened.name).show());
        let edited = self.edit_lines(&mut editor, &prompt, interrupted);
        drop(editor);
        self.state().edited = true;
        self.changed.notify_all();
        let ending = self.asked_to_end();
        self.end(if matches!(ending, Some(Ending::Signal(_))) { Duration::ZERO } else { LAST_WAIT });
        match (edited?, ending) {
            (_, Some(Ending::Signal(signal))) => Ok(code_of_signal(signal)),
            (_, Some(Ending::Puncher(Puncher::Lost))) => Err(anyhow!("puncher has ended")).exit(Exit::Unavailable),
            (_, Some(Ending::Puncher(_))) => self.screen.say("* the call has ended").map(|()| ExitCode::SUCCESS),
            (Edited::Interrupted, None) => Ok(code_of_signal(SIGINT)),
            (Edited::Finished, None) => Ok(ExitCode::SUCCESS),
        }
    }

    fn edit_lines(&self, editor: &mut DefaultEditor, prompt: &str, interrupted: &AtomicBool) -> anyhow::Result<Edited> {
        while self.asked_to_end().is_none() {
            if interrupted.load(Ordering::Relaxed) {
                return Ok(Edited::Interrupted);
            }
            match editor.readline(prompt) {
                Ok(line) => {
                    // A history that is full is no reason to stop.
                    let _ = editor.add_history_entry(line.as_str());
                    if self.take(&line)? == Next::End {
                        return Ok(Edited::Finished);
                    }
                }
                Err(ReadlineError::Eof) => return Ok(Edited::Finished),
                Err(ReadlineError::Interrupted | ReadlineError::Signal(Signal::Interrupt)) => {
                    return Ok(Edited::Interrupted);
                }
                Err(ReadlineError::Signal(_)) => {}
                Err(error) => return Err(error).context("read a line").exit(Exit::Io),
            }
        }
        Ok(Edited::Interrupted)
    }

    /// Why another thread wants the end.
    fn asked_to_end(&self) -> Option<Ending> {
        let state = self.state();
        match (state.signal, state.puncher) {
            (Some(signal), _) => Some(Ending::Signal(signal)),
            (None, Puncher::There) => None,
            (None, gone) => Some(Ending::Puncher(gone)),
        }
    }

    /// Reads lines from anything else.
    fn read(&self, mut lines: impl BufRead) -> anyhow::Result<ExitCode> {
        self.wait_for_introduction();
        while let Some(line) = next_line(&mut lines)? {
            let next = match line {
                Ok(line) => self.take(&line)?,
                Err(error) => self.refuse(Exit::Data, &error.to_string()).map(|()| Next::Line)?,
            };
            if next == Next::End {
                break;
            }
        }
        self.end(SETTLE_TIMEOUT);
        Ok(self.state().failed.map_or(ExitCode::SUCCESS, ExitCode::from))
    }

    /// Waits until it is known who is there: the first line may be for one of them.
    fn wait_for_introduction(&self) {
        let is_waiting = |state: &mut State| !state.room.is_introduced() && state.puncher == Puncher::There;
        drop(self.wait_while(self.state(), INTRODUCTION_WAIT, is_waiting));
    }

    /// Whether it is known that nobody else is there.
    fn is_alone(&self) -> bool {
        let state = self.state();
        state.room.is_introduced() && state.room.peers().next().is_none()
    }

    fn take(&self, line: &str) -> anyhow::Result<Next> {
        match Input::parse(line) {
            Input::Nothing => {}
            Input::Say(text) => self.send(Peers::All, text)?,
            Input::To(rest) => self.send_to(rest)?,
            Input::Peers => {
                self.refresh();
                let table = render::peer_table(self.state().room.peers());
                self.screen.say(&table)?;
            }
            Input::Mute(muted) => self.ask(Ask::Mute(muted))?,
            Input::Deafen(deafened) => self.ask(Ask::Deafen(deafened))?,
            Input::Volume(rest) => self.set_volume(rest)?,
            Input::Help => self.screen.say(HELP)?,
            Input::Exit => return Ok(Next::End),
            Input::Unknown(command) => {
                let why = format!("there is no command {}; /help lists them", Remote(command).show());
                self.refuse(Exit::Usage, &why)?;
            }
        }
        Ok(Next::Line)
    }

    /// Asks how long the round trips are now; without an answer those of before stand.
    fn refresh(&self) {
        let asked = Client::connect(&self.target, Lane::Control, "chatctl chat");
        match asked.and_then(|(mut client, _)| client.roster()) {
            Ok(now) => self.state().room.note_round_trips(&now),
            Err(error) => tracing::debug!(error = format!("{error:#}"), "ask who is there"),
        }
    }

    fn send_to(&self, rest: &str) -> anyhow::Result<()> {
        match self.addressee(rest) {
            Ok((tag, text)) => self.send(Peers::One(tag), text),
            Err(error) => self.refuse(Exit::Unavailable, &format!("{error}; /peers shows who is there")),
        }
    }

    /// Says why a line was not sent, which also counts as the first that did not get through.
    fn refuse(&self, exit: Exit, why: &str) -> anyhow::Result<()> {
        self.state().failed.get_or_insert(exit);
        self.screen.say(&format!("* {why}"))
    }

    fn set_volume(&self, rest: &str) -> anyhow::Result<()> {
        match self.addressee(rest).map(|(peer, word)| (peer, word.parse())) {
            Ok((peer, Ok(volume))) => self.ask(Ask::Volume { peer, volume }),
            Ok((_, Err(error))) => self.screen.say(&format!("* that is {error}: /volume NAME DB")),
            Err(error) => self.screen.say(&format!("* {error}; /peers shows who is there")),
        }
    }

    /// Who is named first in a line, and what is said behind it.
    fn addressee<'a>(&self, line: &'a str) -> Result<(PeerTag, &'a str), AddresseeError> {
        let state = self.state();
        let peers: Vec<_> = state.room.peers().map(|(peer, _)| peer).collect();
        let names: Vec<_> = peers.iter().map(|peer| peer.name.as_str()).collect();
        chat::addressee(line, &names).map(|(index, text)| (peers[index].tag, text))
    }

    /// Asks the talks here for something; what they say comes as it comes.
    fn ask(&self, what: Ask) -> anyhow::Result<()> {
        let id = edge::talks::number()?;
        self.state().room.ask(id, &what);
        self.writer.send(&ToPuncher::Local(Local::Ask { id, what }))
    }

    fn send(&self, to: Peers, text: &str) -> anyhow::Result<()> {
        let body = match chat::check(text, LINE_LIMIT) {
            Ok(body) => body,
            Err(error) => return self.refuse(Exit::Data, &error.to_string()),
        };
        let id = chat::new_id(edge::unix_millis(), edge::random()?);
        self.state().room.start(id, body, Instant::now());
        self.writer.send(&ToPuncher::Text { id, to, body: body.as_bytes().to_vec() })
    }
}

/// What `puncher` says.
impl Session {
    /// Follows `puncher` to its end, then ends the wait for a line.
    fn follow_for_the_editor(&self, mut client: Client) {
        let followed = self.follow(&mut client);
        self.state().room.close();
        if let Err(error) = self.show_entries().and_then(|()| self.screen.flush()) {
            tracing::debug!(error = format!("{error:#}"), "The last things could not be shown");
        }
        self.note_end(&followed);
        self.break_wait();
    }

    /// Follows `puncher` to its end, then exits, unless the other threads are about to.
    fn follow_or_exit(&self, mut client: Client) {
        let followed = self.follow(&mut client);
        self.state().room.close();
        let shown = self.show_entries();
        if self.note_end(&followed) {
            return;
        }
        let outcome = match (followed, shown) {
            (Err(error), _) | (_, Err(error)) => Err(error),
            (Ok(Puncher::Lost), _) => Err(anyhow!("puncher has ended")).exit(Exit::Unavailable),
            _ => self.screen.say("* the call has ended"),
        };
        match outcome {
            Ok(()) => std::process::exit(self.state().failed.map_or(0, |exit| exit as i32)),
            Err(error) => edge::fail_now("chatctl", &error),
        }
    }

    /// Notes that `puncher` is gone; returns whether this side is ending anyway.
    fn note_end(&self, followed: &anyhow::Result<Puncher>) -> bool {
        let mut state = self.state();
        state.puncher = followed.as_ref().map_or(Puncher::Lost, |puncher| *puncher);
        self.changed.notify_all();
        state.ending
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
                let entry = state.room.poll_entry();
                state.showing = entry.is_some();
                let Some(entry) = entry else { return Ok(()) };
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
        let under_way = |state: &mut State| (state.showing || !state.room.is_idle()) && state.puncher == Puncher::There;
        state = self.wait_while(state, patience, under_way);
        if self.leave_on_exit && state.puncher == Puncher::There {
            drop(state);
            if self.writer.send(&ToPuncher::Leave).is_ok() {
                drop(self.wait_while(self.state(), LEAVE_WAIT, |state| state.puncher == Puncher::There));
            }
        }
    }

    fn watch_signals(self: Arc<Self>, has_editor: bool) -> anyhow::Result<()> {
        // While a line is edited SIGINT is the editor's.
        let watched = if has_editor { &[SIGHUP, SIGTERM][..] } else { &[SIGHUP, SIGTERM, SIGINT] };
        let mut signals = Signals::new(watched).context("watch for signals")?;
        thread::spawn(move || {
            let Some(signal) = signals.forever().next() else { return };
            self.state().signal = Some(signal);
            if has_editor {
                return self.break_wait();
            }
            self.end(Duration::ZERO);
            std::process::exit(128 + signal);
        });
        Ok(())
    }

    /// Breaks the editor's wait for a line. The editor may be between two lines, where the signal does nothing: hence again.
    fn break_wait(&self) {
        let mut state = self.state();
        while !state.edited {
            if let Err(error) = kill_process(getpid(), rustix::process::Signal::INT) {
                tracing::debug!(%error, "The wait for a line could not be broken");
            }
            state = self.wait_while(state, BREAK_INTERVAL, |state| !state.edited);
        }
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

fn code_of_signal(signal: i32) -> ExitCode {
    u8::try_from(128 + signal).map_or(ExitCode::FAILURE, ExitCode::from)
}
