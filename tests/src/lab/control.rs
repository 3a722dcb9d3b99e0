//! How programs in a running lab change it: one line to a Unix socket, one line back.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
};

use anyhow::{Context, bail};

use super::{Lab, settings};

/// The variable that names the socket.
pub const VARIABLE: &str = "LAB_CONTROL";

/// Serves requests until the process ends.
///
/// # Errors
/// If the socket can't be made.
pub fn serve(mut lab: Lab, path: &Path) -> anyhow::Result<()> {
    let listener = UnixListener::bind(path).with_context(|| format!("bind {}", path.display()))?;
    let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            // Who went away does not need the answer.
            let _ = answer(&mut lab, &stream);
        }
    });
    thread.map(|_| ()).context("start a thread for the control socket")
}

/// Sends a request to the lab that this process is in.
///
/// # Errors
/// If there is none, or it refuses.
pub fn request(words: &[String]) -> anyhow::Result<()> {
    let path = std::env::var_os(VARIABLE).with_context(|| format!("not in a lab ({VARIABLE} is not set)"))?;
    let mut stream = UnixStream::connect(path).context("find the lab")?;
    writeln!(stream, "{}", words.join(" ")).context("ask the lab")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).context("hear from the lab")?;
    match answer.trim() {
        "ok" => Ok(()),
        refusal => bail!("{refusal}"),
    }
}

fn answer(lab: &mut Lab, mut stream: &UnixStream) -> anyhow::Result<()> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    match obey(lab, line.trim()) {
        Ok(()) => writeln!(stream, "ok")?,
        Err(error) => writeln!(stream, "{error:#}")?,
    }
    Ok(())
}

fn obey(lab: &mut Lab, line: &str) -> anyhow::Result<()> {
    let (verb, rest) = line.split_once(' ').context("a request is a verb and a name")?;
    let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    match (verb, rest) {
        ("wire", _) => lab.wire(name, &rest.parse()?),
        ("reboot", "") => lab.reboot(name),
        ("reboot", outage) => lab.reboot_for(name, settings::duration(outage)?),
        ("renumber", "") => lab.renumber(name),
        ("roam", router) if !router.is_empty() => lab.roam(name, router),
        ("second", router) if !router.is_empty() => lab.second(name, router),
        ("loss", rest) if rest.contains(' ') => {
            let (to, share) = rest.split_once(' ').context("a loss is FROM TO SHARE")?;
            lab.loss(name, to, settings::share(share)?)
        }
        ("cable", "in" | "out") => lab.cable(name, rest == "in"),
        _ => bail!("the lab does not know {line:?}"),
    }
}
