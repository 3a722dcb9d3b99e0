//! Writes a WAV file of speech, for members of a call who have no microphone.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use edge::{Exit, WithExit};
use tests::speech::{Utterance, speak, write_wav};

/// Writes speech to a 48 kHz mono WAV file, each utterance at its time.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example:\n  speech --voice en-gb --seconds 6 hello.wav '1: Hello there.' '4: Bye.'")]
struct Args {
    /// Where it goes
    file: PathBuf,
    /// What is said when: seconds from the start, a colon, the words
    #[arg(required = true)]
    utterances: Vec<Utterance>,
    /// A voice of espeak-ng
    #[arg(long, default_value = "en")]
    voice: String,
    /// How long the file is
    #[arg(long, default_value = "12")]
    seconds: f64,
    #[command(flatten)]
    common: edge::Common,
}

fn main() -> ExitCode {
    let args: Args = match edge::parse() {
        Ok(args) => args,
        Err(code) => return code,
    };
    args.common.start();
    edge::run("speech", || {
        let speech = speak(&args.voice, &args.utterances, args.seconds).exit(Exit::Unavailable)?;
        write_wav(&args.file, &speech).exit(Exit::CannotCreate)
    })
}
