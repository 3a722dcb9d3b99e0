//! What the command line says.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Text with everybody in a channel, and the channels of a rendezvous.
///
/// `send`, `tail`, `peers` and `chat` talk to the puncher that has joined the channel.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) target: edge::agent::Target,
    #[command(flatten)]
    pub(crate) common: edge::Common,
}

const EXAMPLES: &str = "\
Examples:
  chatctl send 'dinner is ready'
  uptime | chatctl send -
  chatctl tail --json | jq -r .text
  puncher join lobby -- chatctl chat
  chatctl channels create den --kind invite --http http://talk.example.org:8470";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send a text; exit code 0 means that everybody who is there has it
    Send(Send),
    /// Print texts as they come
    Tail(Tail),
    /// Show who is there, by which path, and whose voice is heard
    Peers,
    /// Chat line by line
    ///
    /// Without a terminal, every line of stdin is sent to everybody who is there by then, and what comes is printed. It ends with stdin, once
    /// it is known what became of each text: the exit code is 0 if everybody had it, else that of the first text that did not get
    /// through: 69 if nobody has it, as when nobody was there, 75 if only some have, 65 if it is too long, 64 if it is no command.
    /// A script that has to wait for somebody uses `chatctl send --wait SECONDS`.
    Chat(Chat),
    /// List, create and delete the channels of a rendezvous
    Channels(Channels),
}

#[derive(Args, Debug)]
pub(crate) struct Send {
    /// Send to this member alone
    #[arg(long, value_name = "NAME")]
    pub(crate) to: Option<String>,
    /// Wait this long for somebody to be there
    #[arg(long, value_name = "SECONDS")]
    pub(crate) wait: Option<u32>,
    /// The text; `-` reads it from stdin
    #[arg(required = true, value_name = "TEXT")]
    pub(crate) text: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Tail {
    /// End after this many texts
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct Chat {
    /// End the puncher as well, with a proper leave
    #[arg(long)]
    pub(crate) leave_on_exit: bool,
    /// Also show each line that comes from this pipe: what other programs have to say, above the line being typed
    #[arg(long, value_name = "PIPE")]
    pub(crate) notices: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Channels {
    #[command(subcommand)]
    pub(crate) command: ChannelCommand,
    /// The HTTP interface of the rendezvous [default: port 8470 of the kept server]
    #[arg(long, value_name = "URL", env = "PUNCHLINE_HTTP", global = true)]
    pub(crate) http: Option<String>,
    /// The rendezvous, if --http is not given
    #[arg(long, value_name = "HOST[:UDP_PORT]", env = "PUNCHLINE_SERVER", global = true)]
    pub(crate) server: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChannelCommand {
    /// List the channels
    List,
    /// Create a channel that is kept; prints its name, or the invitation
    Create(Create),
    /// Delete a channel that was created here
    Delete(Delete),
}

#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The channel's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Who may join
    #[arg(long, value_enum, default_value_t = Kind::Open)]
    pub(crate) kind: Kind,
    /// What it is about; everybody can read this
    #[arg(long, default_value = "")]
    pub(crate) description: String,
    /// Who made it [default: your kept name]
    #[arg(long)]
    pub(crate) author: Option<String>,
    /// The channel's password is the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "password_fd")]
    pub(crate) password_file: Option<PathBuf>,
    /// The channel's password is the first line that comes from this descriptor
    #[arg(long, value_name = "FD")]
    pub(crate) password_fd: Option<i32>,
    /// Write the invitation to this file, for you alone, and not to stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) invite_file: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Delete {
    /// The channel's name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The channel's capability is the first line of this file [default: as kept when it was created here]
    #[arg(long, value_name = "FILE")]
    pub(crate) capability_file: Option<PathBuf>,
}

/// Who may join a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    /// Anyone on this server
    Open,
    /// Who knows the password
    Password,
    /// Who has the invitation
    Invite,
}

impl Kind {
    /// As the rendezvous spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Password => "password",
            Self::Invite => "invite",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_options_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_text_may_look_like_an_option_behind_two_dashes() {
        let cli = Cli::parse_from(["chatctl", "send", "--to", "bob", "--", "--json", "is", "text"]);
        let Command::Send(send) = cli.command else { panic!("send") };
        assert_eq!((send.to.as_deref(), send.text.join(" ")), (Some("bob"), "--json is text".into()));
        assert!(!cli.common.json);
    }
}
