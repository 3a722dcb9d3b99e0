//! What a member is called: as given, as kept in the settings, asked for, or made from its key.

use std::io::{IsTerminal, Write};

use anyhow::{Context, anyhow};
use edge::{Common, Exit, Remote, WithExit, settings::Settings};
use registry::MemberName;
use wire::IdentityKey;

/// The name to join with; without one, and with nobody to ask, it is made from the key.
pub(crate) fn for_channel(
    given: Option<&str>,
    settings: &Settings,
    common: &Common,
    key: &IdentityKey,
) -> anyhow::Result<String> {
    if given.is_some() || settings.name.is_some() || can_ask(common) {
        return find(given, settings.clone(), common);
    }
    // A pipeline works as it is written, without a question in its way.
    let name = format!("guest-{}", &key.short()[..4]);
    tracing::warn!("no --name was given and none is kept, so the others see {name}");
    Ok(name)
}

/// The user's name, kept from now on.
pub(crate) fn keep(given: Option<&str>, common: &Common) -> anyhow::Result<String> {
    let mut settings = Settings::load()?;
    if let Some(name) = given {
        settings.name = Some(name.to_owned());
        settings.save()?;
    }
    find(None, settings, common)
}

/// The name that is given, else the one kept, else the one asked for once and kept.
fn find(given: Option<&str>, mut settings: Settings, common: &Common) -> anyhow::Result<String> {
    if let Some(name) = given {
        return Ok(name.to_owned());
    }
    if let Some(name) = &settings.name {
        let path = Settings::path()?;
        let doing = || format!("{}: the name {}", path.display(), Remote(name).show());
        return checked(name).with_context(doing).exit(Exit::Config);
    }
    let name = ask(common)?;
    settings.name = Some(name.clone());
    settings.save()?;
    Ok(name)
}

fn can_ask(common: &Common) -> bool {
    std::io::stdin().is_terminal() && !common.no_input
}

fn ask(common: &Common) -> anyhow::Result<String> {
    if !can_ask(common) {
        return Err(anyhow!("say who you are with --name NAME")).exit(Exit::Usage);
    }
    let login = std::env::var("USER").unwrap_or_default();
    let hint = if login.is_empty() { String::new() } else { format!(" [{}]", Remote(&login).show()) };
    loop {
        write!(std::io::stderr(), "Your name, as others shall see it{hint}: ").context("ask for a name")?;
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line).context("read the name")?;
        let typed = if line.trim().is_empty() { &login } else { line.trim() };
        match checked(typed) {
            Ok(name) => return Ok(name),
            Err(_) if read == 0 || typed.is_empty() => {
                return Err(anyhow!("say who you are with --name NAME")).exit(Exit::Usage);
            }
            Err(error) => writeln!(std::io::stderr(), "That is no name: {error}.").context("ask for a name")?,
        }
    }
}

fn checked(name: &str) -> anyhow::Result<String> {
    Ok(MemberName::parse(name)?.as_str().to_owned())
}
